import { assertEquals } from "@std/assert";
import { Server } from "./harness/server.ts";
import { sleep, until } from "./harness/wait.ts";

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
    for (const connection of held) connection.close();
    // Nothing but the clients' leaving brings it back.
    assertEquals(await server.text("/after"), "one /after");
    assertEquals(await server.workers(), [pid]);
  });
}

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
