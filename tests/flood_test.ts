/** What a worker sends without end costs the supervisor little. */
import { assert, assertEquals } from "@std/assert";
import { RateLimit } from "../lib/protocol/rate.ts";
import { ticksOf } from "./harness/process.ts";
import { Server } from "./harness/server.ts";

/** Clock ticks of a second (proc_pid_stat(5)), on each architecture of Linux. */
const TICKS_PER_SECOND = 100;

Deno.test("a worker that prints empty lines without end keeps the supervisor busy for less than a quarter of the time", async () => {
  await using server = await Server.start({
    files: {
      "app.ts": `import fs from "node:fs";
        import { Buffer } from "node:buffer";
        const lines = Buffer.alloc(65536, "\\n");
        export default { fetch() { for (;;) fs.writeSync(1, lines); } };`,
    },
    // It is not replaced for that.
    config: { watchdog: { pulseDeadlineMs: 0 } },
  });
  const flooding = server.text().catch(() => {});
  await server.waitFor("worker_output_dropped");
  const [startMs, before] = [performance.now(), ticksOf(server.pid)];
  await server.waitFor("worker_output_dropped", 5);
  const ticks = ticksOf(server.pid) - before;
  const lasted = (performance.now() - startMs) / 1000 * TICKS_PER_SECOND;
  assert(4 * ticks < lasted, `${ticks} of ${lasted} ticks`);
  await server.cut();
  await flooding;
});

Deno.test("what is spent beyond a rate is waited for", () => {
  let nowMs = 0;
  const rate = new RateLimit(100, 10, () => nowMs);
  assertEquals(rate.spend(100), 0);
  assertEquals(rate.spend(20), 2_000);
  // Each adds to what is owed.
  assertEquals(rate.spend(10), 3_000);
  assertEquals(rate.take(), false);
  nowMs = 3_000;
  assertEquals(rate.spend(0), 0);
  assertEquals(rate.take(), false);
  nowMs = 3_100;
  assertEquals(rate.take(), true);
});
