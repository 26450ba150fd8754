import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { formatStatus } from "../../lib/cli/status_text.ts";
import { plain } from "../../lib/cli/text.ts";
import { Stats } from "../../lib/metrics/stats.ts";
import { Project } from "../harness/project.ts";
import { Server } from "../harness/server.ts";
import { sleep, until } from "../harness/wait.ts";

/** Fewer than the connections that are opened. */
const DESCRIPTORS = 64;
const CONNECTIONS = 150;

for (const engine of ["native", "node"]) {
  Deno.test(`a worker that ran out of descriptors accepts again when clients have gone (${engine})`, async () => {
    await using server = await Server.start({
      config: { engine, limits: { descriptors: DESCRIPTORS } },
    });
    const { port } = server.project;
    const held: Deno.Conn[] = [];
    for (let left = CONNECTIONS; left > 0; left--) {
      held.push(await Deno.connect({ hostname: "127.0.0.1", port }));
    }
    const [pid] = await server.workers();
    await until("the worker to have no descriptor left", () => {
      return [...Deno.readDirSync(`/proc/${pid}/fd`)].length >= DESCRIPTORS;
    });
    const { waiting, descriptorLimit, hint } = await server.waitFor("accepting_stalled");
    assertEquals([Number(waiting) > 0, descriptorLimit], [true, DESCRIPTORS]);
    assertStringIncludes(String(hint), "limits.descriptors");
    const status = await server.status();
    assertEquals([status.accepting, status.waiting[status.listeners[0]!]! > 0], [false, true]);
    assertStringIncludes(formatStatus(status, { width: 80, paint: plain }), "NOT ACCEPTING");
    const figures = new Stats();
    figures.observe(status);
    assertMatch(await figures.text(), /^holdfast_accepting 0$/m);
    assertMatch(await figures.text(), /^holdfast_waiting\{listen="[^"]+"\} [1-9]/m);
    for (const connection of held) connection.close();
    // Nothing but the clients' leaving brings it back.
    assertEquals(await server.text("/after"), "one /after");
    assertEquals(await server.workers(), [pid]);
    await server.waitFor("accepting_again");
    assertEquals((await server.status()).accepting, true);
    assertEquals(server.eventsOf("accepting_stalled").length, 1);
  });
}

Deno.test("a Unix socket is accepted on again when clients have gone", async () => {
  await using server = await Server.start({
    config: { listen: ["unix:./web.sock"], limits: { descriptors: DESCRIPTORS } },
  });
  const path = server.project.path("web.sock");
  const [pid] = await server.workers();
  using client = Deno.createHttpClient({ proxy: { transport: "unix", path } });
  for (let round = 0; round < 2; round++) {
    const held = await Promise.all(
      Array.from({ length: CONNECTIONS }, () => Deno.connect({ transport: "unix", path })),
    );
    await until("the worker to have no descriptor left", () => {
      return [...Deno.readDirSync(`/proc/${pid}/fd`)].length >= DESCRIPTORS;
    });
    for (const connection of held) connection.close();
    const response = await fetch("http://holdfast.test/u", { client });
    assertEquals(await response.text(), "one /u");
  }
  assertEquals(await server.workers(), [pid]);
});

Deno.test("a Unix socket is accepted on for longer than the look at its accepting takes", async () => {
  await using server = await Server.start({ config: { listen: ["unix:./web.sock"] } });
  const path = server.project.path("web.sock");
  using client = Deno.createHttpClient({ proxy: { transport: "unix", path } });
  for (let round = 0; round < 3; round++) {
    const response = await fetch("http://holdfast.test/u", { client });
    assertEquals(await response.text(), "one /u");
    // Three looks, one a second.
    await sleep(1_100);
  }
});

Deno.test("a supervisor that may open few files serves, or says what it lacks", async (t) => {
  for (const limit of [50, 64, 72, 96, 128]) {
    await t.step(`with ${limit}`, async () => {
      const project = await Project.create({ config: { workers: 2, log: { folder: "./log" } } });
      await using server = await Server.startOn(project, {
        prefix: ["sh", "-c", `ulimit -n ${limit}; exec "$@"`, "sh"],
        wait: "nothing",
      });
      const ended = await Promise.race([
        server.ended.then(({ code }) => code),
        server.waitFor("serving").then(() => undefined, () => undefined),
      ]);
      if (ended !== undefined) {
        assert([71, 75].includes(ended), `status ${ended}`);
        assertMatch(server.log, /too many open files/i);
        return;
      }
      for (let left = 3; left > 0; left--) {
        const { outcome, reason } = await server.reload();
        if (outcome === "refused") assertMatch(reason!, /too many open files/i);
        assertEquals(await server.text(), "one /");
      }
    });
  }
});

Deno.test("commands are answered again after the supervisor ran out of descriptors", async () => {
  const project = await Project.create({});
  await using server = await Server.startOn(project, {});
  const path = project.path(".holdfast/control.sock");
  await server.status();
  const few = [...Deno.readDirSync(`/proc/${server.pid}/fd`)].length + 8;
  await new Deno.Command("prlimit", { args: [`--nofile=${few}`, "--pid", String(server.pid)] })
    .output();
  const clients = await Promise.all(
    Array.from({ length: 16 }, () => Deno.connect({ transport: "unix", path })),
  );
  await until("it to have none left", () => {
    return [...Deno.readDirSync(`/proc/${server.pid}/fd`)].length >= few;
  });
  for (const client of clients) client.close();
  assertEquals((await server.status()).accepting, true);
});
