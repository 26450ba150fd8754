import { assert, assertEquals } from "@std/assert";
import { assertNothingLost, loadDuring, startLoadApp } from "../harness/load_app.ts";
import { isAlive } from "../harness/process.ts";
import { type LogEvent, Server } from "../harness/server.ts";
import { until } from "../harness/wait.ts";

const QUICK = { idleGraceMs: 2_000, drainDeadlineMs: 20_000 };

/** Holds on to 200 MB from the first request on. */
const GREEDY_APP = `
let held;
export default {
  fetch() {
    held ??= new Uint8Array(200_000_000).fill(1);
    return new Response("one " + held.length);
  },
};
`;

Deno.test("workers are recycled under every kind of load, one at a time, and nothing is lost", async () => {
  await using server = await startLoadApp({
    workers: 3,
    reload: QUICK,
    recycle: { maxRequests: 2_000, maxAgeMs: 12_000 },
  });
  const report = await loadDuring(server, async () => {
    await until("four that left", () => server.eventsOf("worker_drained").length >= 4, 90_000);
  });
  assertNothingLost(report);
  assert(report.total.ok > 100);
  const recycled = server.eventsOf("worker_recycled");
  for (const { reason, limit, found, role } of recycled) {
    assert(["maxRequests", "maxAgeMs"].includes(String(reason)), String(reason));
    assert(Number(found) >= Number(limit));
    const wanted = reason === "maxRequests" ? 2_000 : 12_000;
    assert(Number(limit) >= 0.9 * wanted && Number(limit) <= 1.1 * wanted, `${limit}`);
    assert(String(role).startsWith("worker."));
  }
  // Each left before the next one's place was taken.
  const turns = server.events.filter(({ event }) =>
    event === "worker_recycled" || event === "worker_drained"
  );
  const names = (events: LogEvent[]) => events.map(({ event, worker }) => `${event} ${worker}`);
  assertEquals(
    names(turns),
    names(
      turns.filter(({ event }) => event === "worker_recycled").flatMap((event, index) =>
        [event, { ...event, event: "worker_drained" }].slice(0, turns.length - 2 * index)
      ),
    ),
  );
  assertEquals(server.eventsOf("worker_lost"), []);
  for (const { cut, end } of server.eventsOf("worker_drained")) {
    assertEquals([cut, end], [0, "ended"]);
  }
});

Deno.test("a worker that takes too much memory is recycled", async () => {
  await using server = await Server.start({
    files: { "app.ts": GREEDY_APP },
    config: { recycle: { maxMemoryBytes: 150_000_000 }, reload: { idleGraceMs: 100 } },
  });
  const [old] = await server.workers();
  assertEquals(await server.text("/"), "one 200000000");
  const { pid, reason, found } = await server.waitFor("worker_recycled");
  assertEquals([pid, reason], [old, "maxMemoryBytes"]);
  assert(Number(found) > 200_000_000);
  await until("the end of the old one", () => !isAlive(old!));
  const { workers } = (await server.status()).generations[0]!;
  assertEquals(workers[0]!.replacements, 1);
});
