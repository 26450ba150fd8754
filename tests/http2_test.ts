import { assert, assertEquals } from "@std/assert";
import { BusyHttp2Client } from "./harness/http2.ts";
import { Server } from "./harness/server.ts";
import { until } from "./harness/wait.ts";

/** Answers of one connection do not come all at once, or it would be idle between them. */
const SLOW_APP = `
let asked = 0;
export default {
  async fetch() {
    await new Promise((resolve) => setTimeout(resolve, 50 + asked++ % 16 * 20));
    return new Response("slow");
  },
};
`;

Deno.test("a busy HTTP/2 connection is asked to go at a reload and loses nothing", async () => {
  await using server = await Server.start({
    files: { "app.ts": SLOW_APP },
    config: { reload: { idleGraceMs: 200, drainDeadlineMs: 120_000 } },
  });
  const clients = await Promise.all(
    Array.from({ length: 4 }, () => BusyHttp2Client.open(server.project.port, "slow", 16)),
  );
  await until("a load on each", () => clients.every(({ answered }) => answered > 20));
  assertEquals((await server.reload()).outcome, "done");
  // Nothing but the server ends them: they ask until they are told to go.
  await Promise.all(clients.map(({ ended }) => ended));
  assertEquals(clients.flatMap(({ lost }) => lost), []);
  assert(clients.every(({ told }) => told), "one was not asked to go");
  const { outcome, cut } = await server.waitFor("generation_ended");
  assertEquals([outcome, cut], ["drained", 0]);
});
