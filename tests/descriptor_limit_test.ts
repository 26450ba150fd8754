import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { formatStatus } from "../lib/cli/status.ts";
import { Figures } from "../lib/metrics/figures.ts";
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
    const { waiting, descriptorLimit, hint } = await server.waitFor("accepting_stalled");
    assertEquals([Number(waiting) > 0, descriptorLimit], [true, DESCRIPTORS]);
    assertStringIncludes(String(hint), "limits.descriptors");
    const status = await server.status();
    assertEquals([status.accepting, status.waiting[status.listeners[0]!]! > 0], [false, true]);
    assertStringIncludes(formatStatus(status), "NOT ACCEPTING");
    const figures = new Figures();
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
