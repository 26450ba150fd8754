import { assert, assertEquals } from "@std/assert";
import { LIVED_MS } from "../../lib/supervisor/backoff.ts";
import { assertNothingLost, loadDuring, startLoadApp } from "../harness/load_app.ts";
import { isAlive } from "../harness/process.ts";
import { PLAIN_APP } from "../harness/project.ts";
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
    await until("four that left", () => server.eventsOf("worker_left").length >= 4, 90_000);
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
    event === "worker_recycled" || event === "worker_left"
  );
  const names = (events: LogEvent[]) => events.map(({ event, worker }) => `${event} ${worker}`);
  assertEquals(
    names(turns),
    names(
      turns.filter(({ event }) => event === "worker_recycled").flatMap((event, index) =>
        [event, { ...event, event: "worker_left" }].slice(0, turns.length - 2 * index)
      ),
    ),
  );
  assertEquals(server.eventsOf("worker_lost"), []);
  for (const { cut, end } of server.eventsOf("worker_left")) assertEquals([cut, end], [0, "ended"]);
});

Deno.test("a worker that has reached a limit goes on until it has served for a while", async () => {
  await using server = await Server.start({ config: { recycle: { maxRequests: 1 } } });
  const { time } = server.eventsOf("worker_ready")[0]!;
  for (let count = 0; count < 5; count++) await server.text("/");
  const recycled = await server.waitFor("worker_recycled");
  const servedMs = Date.parse(String(recycled.time)) - Date.parse(String(time));
  assert(servedMs >= LIVED_MS, `recycled after ${servedMs} ms`);
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

Deno.test("a worker whose successor does not start goes on, and is recycled when one does", async () => {
  await using server = await Server.start({
    config: { recycle: { maxRequests: 5 }, reload: { idleGraceMs: 100 } },
  });
  const [old] = await server.workers();
  await server.project.write("app.ts", "throw new Error('no good');");
  for (let count = 0; count < 6; count++) await server.text("/");
  await server.waitFor("worker_start_failed", 2);
  assertEquals(await server.text("/"), "one /");
  assertEquals(await server.workers(), [old]);
  await server.project.write("app.ts", PLAIN_APP.replace("one", "two"));
  await server.waitFor("worker_recycled");
  await until("the new one", async () => await server.text("/") === "two /");
  assertEquals(server.eventsOf("worker_lost"), []);
});

Deno.test("a reload while a recycled worker drains waits for both, and counts both", async () => {
  const app = `
    export default {
      async fetch(request) {
        const { pathname } = new URL(request.url);
        if (pathname === "/slow") await new Promise((resolve) => setTimeout(resolve, 16_000));
        return new Response("one");
      },
    };`;
  await using server = await Server.start({
    files: { "app.ts": app },
    config: { recycle: { maxRequests: 3 }, reload: { idleGraceMs: 100 } },
  });
  const slow = server.text("/slow");
  for (let count = 0; count < 4; count++) await server.text("/");
  await server.waitFor("worker_recycled");
  const slowToo = server.text("/slow");
  await until("the second one in flight", async () => {
    const { generations } = await server.status();
    return generations[0]!.workers[0]!.process?.inFlight === 1;
  });
  await server.project.configure({ recycle: {} });
  assertEquals((await server.hangUp()).event, "reload_done");
  assertEquals([await slow, await slowToo], ["one", "one"]);
  const { answered, cut, outcome } = await server.waitFor("generation_ended");
  assertEquals([answered, cut, outcome], [2, 0, "drained"]);
});

Deno.test("TERM while a worker is recycled ends all, with nothing lost and exit 0", async () => {
  await using server = await Server.start({
    config: { workers: 2, recycle: { maxAgeMs: 10_000 }, reload: { idleGraceMs: 100 } },
  });
  await server.waitFor("worker_recycled");
  server.signal("SIGTERM");
  assertEquals((await server.exited()).code, 0);
  assertEquals(server.eventsOf("worker_lost"), []);
});
