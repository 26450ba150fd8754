import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { EXIT } from "../../lib/base/exit_code.ts";
import { PLAIN_APP } from "../harness/project.ts";
import { runCommand, Server } from "../harness/server.ts";
import { until } from "../harness/wait.ts";

/** An app whose workers die as long as a file is there. */
const PROJECT = {
  files: {
    "app.ts": `
      try {
        Deno.statSync("./data/exit");
        Deno.exit(7);
      } catch (error) {
        if (!(error instanceof Deno.errors.NotFound)) throw error;
      }
      ${PLAIN_APP}
    `,
    "data/keep": "",
  },
  config: { unveil: { "./data": "r" } },
};

Deno.test("workers that die one after the other make status fail, until one lives; the log says so once each", async () => {
  await using server = await Server.start({
    ...PROJECT,
    config: { ...PROJECT.config, workers: 2 },
  });
  assertEquals((await server.status()).state, "serving");
  await server.project.write("data/exit", "");
  const [first, second] = await server.workers();
  Deno.kill(first!, "SIGKILL");
  await server.waitFor("worker_start_failed", 4);
  // As long as one of two serves, nothing fails for a client.
  assertEquals([(await server.status()).state, server.eventsOf("crash_loop_started").length], [
    "serving",
    0,
  ]);
  Deno.kill(second!, "SIGKILL");
  assertEquals((await server.waitFor("crash_loop_started")).generation, 1);
  assertEquals((await server.status()).state, "failing");
  const { code, stdout } = await runCommand(server.project, "status");
  assertEquals(code, EXIT.failing);
  assertStringIncludes(stdout, "FAILING");
  // Whoever connects now waits in the kernel, for a worker that lives.
  const waiting = Array.from({ length: 20 }, (_, index) => server.text(`/${index}`));
  await Deno.remove(server.project.path("data/exit"));
  assertEquals(
    new Set((await Promise.all(waiting)).map((text) => text.split(" ")[0])),
    new Set(["one"]),
  );
  assertEquals((await server.waitFor("crash_loop_ended")).generation, 1);
  assertEquals((await runCommand(server.project, "status")).code, EXIT.ok);
  assertEquals([
    server.eventsOf("crash_loop_started").length,
    server.eventsOf("crash_loop_ended").length,
  ], [
    1,
    1,
  ]);
});

Deno.test("connections wait in the kernel while no worker lives, each with what it has sent, and are answered", async () => {
  await using server = await Server.start(PROJECT);
  await server.project.write("data/exit", "");
  Deno.kill((await server.workers())[0]!, "SIGKILL");
  await server.waitFor("worker_start_failed", 2);
  const { port } = server.project;
  const connections = await Promise.all(
    Array.from({ length: 200 }, () => Deno.connect({ hostname: "127.0.0.1", port })),
  );
  const request = new TextEncoder().encode(
    "GET /x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
  );
  for (const connection of connections) await connection.write(request);
  await server.waitFor("worker_start_failed", 4);
  await Deno.remove(server.project.path("data/exit"));
  const answers = await Promise.all(connections.map(async (connection) => {
    return await new Response(connection.readable).text();
  }));
  assert(answers.every((answer) => answer.endsWith("one /x")), answers[0]);
  await until("all of them counted", async () => {
    return (await server.status()).generations[0]!.workers[0]!.process?.accepted === 200;
  });
});
