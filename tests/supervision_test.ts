/**
 * What the supervisor decides, with processes and a time of the test's own: reloads, deaths, recycling, the
 * watchdog, drains. That each effect takes place on real processes is shown elsewhere.
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";

import type { Config } from "../lib/config/config.ts";

import { LOOK_INTERVAL_MS, MIN_HEALTHY_MS } from "../lib/supervisor/health.ts";
import { releaseMemory } from "../lib/os/release_memory.ts";
import { type Behaviour, fakeHelper, FakeProcess, FakeWorld } from "./doubles/fake_world.ts";
import "./harness/libraries.ts";

/** How long a reload waits for old workers to stop accepting. */
const STOP_ACCEPTING_MS = 5_000;

/** What a process may take over its deadline, and what one that seems stuck gets. */
const DRAIN_MARGIN_MS = 2_000;
const STUCK_GRACE_MS = 2_000;

const RELOAD: Config["reload"] = {
  readyDeadlineMs: 10_000,
  idleGraceMs: 100,
  drainDeadlineMs: 30_000,
  shutdownDelayMs: 0,
  maxDraining: 8,
  keep: 5,
};

/** The processes from `id` on behave so, until told otherwise. */
function from(world: FakeWorld, behaviour: Behaviour): void {
  const first = world.processes.length + 1;
  world.behave = (id) => id >= first ? behaviour : {};
}

/** When each process was started, from the `from`th on. */
function startsOf(processes: readonly FakeProcess[]): number[] {
  return processes.map(({ started }) => started);
}

// ---- a reload ----

// The C library is loaded once for the whole process.
const LOADING = { sanitizeResources: false } as const;

Deno.test(
  "decision: the supervisor keeps nothing of generations that have ended",
  LOADING,
  async () => {
    await using world = await FakeWorld.start({ config: { reload: RELOAD } });
    const snapshots: WeakRef<Config>[] = [];
    for (let reload = 1; reload <= 4; reload++) {
      world.configure({});
      snapshots.push(new WeakRef(world.config));
      assertEquals((await world.reload()).outcome, "done");
    }
    world.configure({});
    await world.time.pass(RELOAD.drainDeadlineMs);
    // What the last steps of a drain hold counts for nobody.
    const [ended, serving] = [snapshots.slice(0, -1), snapshots.at(-1)!];
    releaseMemory();
    assertEquals(ended.map((each) => each.deref() === undefined), [true, true, true]);
    assert(serving.deref() !== undefined, "the one that serves is there");
  },
);

const BROKEN: Record<string, [Behaviour, string]> = {
  "ends at once": [{ before: "hello", does: { exits: 3 } }, "exited with status 3"],
  "says nothing": [
    { before: "hello", does: "hangs" },
    "did not say hello within 10000 ms",
  ],
  "takes no listeners": [
    { before: "received", does: "hangs" },
    "did not take its listeners within 10000 ms",
  ],
  "says why it cannot load": [{ before: "ready", does: { fails: "no database" } }, "no database"],
  "exits while it loads": [{ before: "ready", does: { exits: 7 } }, "exited with status 7"],
  "is never ready": [
    { before: "ready", does: "hangs" },
    "did not load and open the app within 10000 ms",
  ],
  "is ready too late": [{ startMs: 10_001 }, "did not load and open the app within 10000 ms"],
  "does not accept": [{ before: "accepting", does: "hangs" }, "did not accept within 10000 ms"],
  "dies when it is to accept": [
    { before: "accepting", does: { exits: 4 } },
    "exited with status 4",
  ],
};

for (const [what, [behaviour, reason]] of Object.entries(BROKEN)) {
  Deno.test(`decision: a candidate that ${what} is refused, is gone, and is not tried again by itself`, async () => {
    await using world = await FakeWorld.start({ config: { reload: RELOAD } });
    const [old] = world.living();
    from(world, behaviour);
    const refused = await world.reload();
    assertEquals([refused.outcome, refused.generation], ["refused", 1]);
    assertStringIncludes(refused.reason!, reason);
    assertEquals([world.living(), old!.accepting, old!.drainReason], [[old!], true, undefined]);
    assertEquals(world.processes.filter(({ alive }) => alive), [old!]);
    assertEquals(world.spawners.filter(({ closed }) => !closed).length, 1);
    await world.time.pass(120_000);
    assertEquals(world.processes.length, 2);
    world.behave = () => ({});
    assertEquals((await world.reload()).outcome, "done");
  });
}

Deno.test("decision: a candidate that is ready within its deadline is taken, however slow", async () => {
  await using world = await FakeWorld.start({ config: { reload: RELOAD } });
  from(world, { startMs: 9_999 });
  assertEquals((await world.reload()).outcome, "done");
});

Deno.test("decision: a config that is wrong is refused before anything is started", async () => {
  let wrong = false;
  const strike = (name: string) => {
    if (wrong && name === "readConfig") throw new Error("no such key: lisen");
  };
  await using world = await FakeWorld.start({ strike });
  wrong = true;
  const { outcome, reason } = await world.reload();
  assertEquals([outcome, reason], ["refused", "no such key: lisen"]);
  assertEquals(world.processes.length, 1);
  wrong = false;
});

Deno.test("decision: of a candidate of which one worker fails none has been told to accept", async () => {
  await using world = await FakeWorld.start({ config: { workers: 3, reload: RELOAD } });
  const old = world.living();
  world.behave = (id) => id === 5 ? { startMs: 1_000, before: "ready", does: { exits: 1 } } : {};
  assertEquals((await world.reload()).outcome, "refused");
  const candidates = world.processes.slice(3);
  assertEquals(candidates.length, 3);
  for (const { commands, alive } of candidates) {
    const told = commands.map(({ type }) => type);
    assert(!told.includes("accept"), `${told}`);
    assert(!alive);
  }
  assertEquals(world.living(), old);
});

Deno.test("decision: the old generation is told to drain when all of the new one accept, not before", async () => {
  await using world = await FakeWorld.start({ config: { workers: 2, reload: RELOAD } });
  const old = world.living();
  world.behave = (id) => id === 4 ? { startMs: 3_000 } : {};
  const reload = world.supervisor.reload();
  await world.time.pass(2_999);
  assertEquals(old.map(({ drainReason }) => drainReason), [undefined, undefined]);
  assertEquals(world.processes.map(({ accepting }) => accepting), [true, true, false, false]);
  await world.time.pass(1);
  assertEquals((await reload).outcome, "done");
  assertEquals(old.map(({ drainReason }) => drainReason), ["replaced", "replaced"]);
  assertEquals(world.processes.map(({ accepting }) => accepting), [false, false, true, true]);
});

Deno.test("decision: a reload is done when every old worker has stopped accepting, not before", async () => {
  await using world = await FakeWorld.start({ config: { workers: 2, reload: RELOAD } });
  const [one, other] = world.living();
  other!.hang();
  const reload = world.supervisor.reload();
  await world.time.pass(4_000);
  assertEquals([one!.accepting, other!.accepting], [false, true]);
  assertEquals(world.living().filter(({ accepting }) => accepting).length, 3);
  assertEquals(world.eventsOf("reload_done"), []);
  other!.wake();
  assertEquals((await reload).outcome, "done");
  assertEquals(other!.accepting, false);
  assertEquals([world.time.nowMs, world.eventsOf("still_accepting")], [4_000, []]);
});

Deno.test("decision: an old worker that dies instead has stopped accepting too", async () => {
  await using world = await FakeWorld.start({ config: { reload: RELOAD } });
  const [old] = world.living();
  old!.hang();
  const reload = world.supervisor.reload();
  await world.time.pass(1_000);
  assertEquals(world.eventsOf("reload_done"), []);
  old!.exit();
  assertEquals((await reload).outcome, "done");
  assertEquals(world.eventsOf("still_accepting"), []);
});

Deno.test("decision: an old worker that never says so delays the outcome by five seconds and no more, and is killed at its deadline", async () => {
  await using world = await FakeWorld.start({
    config: { reload: RELOAD, watchdog: { pulseDeadlineMs: 0 } },
  });
  const [old] = world.living();
  old!.hang();
  assertEquals((await world.reload()).outcome, "done");
  assertEquals(world.eventsOf("reload_done")[0]!.atMs, STOP_ACCEPTING_MS);
  assertEquals(world.eventsOf("still_accepting").map(({ generation }) => generation), [1]);
  await world.waitFor("generation_ended");
  assertEquals(old!.killedAtMs, RELOAD.drainDeadlineMs + DRAIN_MARGIN_MS);
  assertEquals(world.eventsOf("generation_ended")[0]!.outcome, "killed");
});

Deno.test("decision: a stop does not wait for what an old worker has to say", async () => {
  await using world = await FakeWorld.start({
    config: { reload: RELOAD, watchdog: { pulseDeadlineMs: 0 } },
  });
  world.living()[0]!.hang();
  let outcome: string | undefined;
  void world.supervisor.reload().then((result) => outcome = result.outcome);
  await world.time.pass(1_000);
  assertEquals(outcome, undefined);
  void world.supervisor.stop();
  await world.time.pass(0);
  assertEquals(outcome, "done");
  assertEquals(world.eventsOf("still_accepting"), []);
});

Deno.test("decision: one reload at a time: a hundred that come meanwhile are one more", async () => {
  await using world = await FakeWorld.start({ config: { reload: RELOAD } });
  world.behave = () => ({ startMs: 1_000 });
  const first = world.supervisor.reload();
  await world.time.pass(500);
  const later = Array.from({ length: 100 }, () => world.supervisor.reload());
  await world.time.pass(400);
  assertEquals(world.living().length, 2);
  await world.time.pass(10_000);
  assertEquals((await first).generation, 2);
  assertEquals(
    new Set((await Promise.all(later)).map(({ generation }) => generation)),
    new Set([3]),
  );
  assertEquals(world.processes.length, 3);
});

Deno.test("decision: never more generations drain than the config allows, and what is read is what is there then", async () => {
  await using world = await FakeWorld.start({
    config: { reload: { ...RELOAD, maxDraining: 2 } },
  });
  const held: FakeProcess[] = [];
  for (let round = 0; round < 2; round++) {
    const [worker] = world.living().filter(({ accepting }) => accepting);
    worker!.hold();
    held.push(worker!);
    assertEquals((await world.reload()).outcome, "done");
  }
  const waiting = world.supervisor.reload();
  await world.time.pass(5_000);
  assertEquals(world.eventsOf("reload_waits").map(({ draining }) => draining), [2]);
  assertEquals(world.supervisor.status().reload, "waiting");
  assertEquals(world.processes.length, 3);
  world.configure({ workers: 2 });
  held[0]!.release();
  await world.time.pass(1_000);
  assertEquals((await waiting).outcome, "done");
  assertEquals(world.living().filter(({ accepting }) => accepting).length, 2);
  held[1]!.release();
});

Deno.test("decision: a stop while a reload waits for a drain ends all, and the reload is refused", async () => {
  await using world = await FakeWorld.start({
    config: { reload: { ...RELOAD, maxDraining: 1 } },
  });
  const [old] = world.living();
  old!.hold();
  await world.reload();
  const waiting = world.supervisor.reload();
  await world.waitFor("reload_waits");
  setTimeout(() => old!.release(), 1_000);
  await world.stop(1_000);
  assertEquals((await waiting).outcome, "refused");
  assertEquals(world.processes.length, 2);
});

Deno.test("decision: a stop while a candidate starts gives it up, and drains the old one", async () => {
  await using world = await FakeWorld.start({ config: { reload: RELOAD } });
  const [old] = world.living();
  from(world, { startMs: 5_000 });
  const reload = world.supervisor.reload();
  await world.time.pass(1_000);
  await world.stop(100);
  assertEquals((await reload).outcome, "refused");
  assertEquals(old!.drainReason, "stopping");
  assertEquals(world.eventsOf("generation_ended").map(({ outcome }) => outcome), ["drained"]);
});

Deno.test("decision: a stop before it serves is no failure, and leaves nothing", async () => {
  const world = await FakeWorld.create({ config: { reload: RELOAD } });
  world.behave = () => ({ startMs: 5_000 });
  const start = world.supervisor.start();
  await world.time.pass(1_000);
  await world.stop(100);
  await start;
  assertEquals(world.eventsOf("serving"), []);
  await world[Symbol.asyncDispose]();
});

// ---- deaths ----

Deno.test("decision: the wait before a replacement doubles with each death, up to half a minute, and never ends in a rush", async () => {
  await using world = await FakeWorld.start();
  from(world, { before: "ready", does: { exits: 7 } });
  world.living()[0]!.exit();
  await world.waitFor("worker_start_failed", 12);
  const starts = startsOf(world.processes.slice(1));
  const gaps = starts.map((ms, index) => ms - (starts[index - 1] ?? 0));
  for (const [index, gap] of gaps.entries()) {
    const mostMs = Math.min(30_000, 100 * 2 ** index);
    assert(gap >= mostMs / 2 && gap <= mostMs, `${gap} ms before try ${index + 1}`);
  }
  const logged = world.eventsOf("worker_start_failed").map(({ nextTryMs }) => nextTryMs);
  assertEquals(logged.slice(0, -1), gaps.slice(1));
  const before = world.processes.length;
  await world.time.pass(600_000);
  const tries = world.processes.length - before;
  assert(tries >= 19 && tries <= 41, `${tries} tries in ten minutes`);
});

Deno.test("decision: a reload with good code ends the tries of the old generation", async () => {
  await using world = await FakeWorld.start();
  from(world, { before: "ready", does: { exits: 7 } });
  world.living()[0]!.exit();
  await world.waitFor("worker_start_failed", 4);
  world.behave = () => ({});
  assertEquals((await world.reload()).outcome, "done");
  const { length } = world.processes;
  await world.time.pass(120_000);
  assertEquals(world.processes.length, length);
  assertEquals(world.supervisor.status().generations.map(({ generation }) => generation), [2]);
});

Deno.test("decision: a stop while a worker waits to be replaced ends at once", async () => {
  await using world = await FakeWorld.start();
  from(world, { before: "ready", does: { exits: 7 } });
  world.living()[0]!.exit();
  await world.waitFor("worker_start_failed", 8);
  const atMs = world.time.nowMs;
  await world.stop(0);
  assertEquals(world.time.nowMs, atMs);
});

Deno.test("decision: a replacement that hangs is killed at its deadline and tried again; a stop meanwhile ends it", async () => {
  await using world = await FakeWorld.start({ config: { reload: RELOAD } });
  from(world, { before: "ready", does: "hangs" });
  world.living()[0]!.exit();
  const { reason } = await world.waitFor("worker_start_failed", 2);
  assertStringIncludes(String(reason), "did not load and open the app within 10000 ms");
  assertEquals(world.processes.slice(1).map(({ killedAtMs, started }) => killedAtMs! - started), [
    10_000,
    10_000,
  ]);
  await world.time.passUntil("another one", () => world.processes.length === 4);
  await world.stop(0);
});

Deno.test("decision: two workers that die make status fail when neither is there, and serving again is told once", async () => {
  await using world = await FakeWorld.start({ config: { workers: 2 } });
  const [one, other] = world.living();
  from(world, { before: "ready", does: { exits: 7 } });
  one!.exit();
  await world.waitFor("worker_start_failed", 6);
  assertEquals([world.supervisor.status().state, world.eventsOf("crash_loop_started")], [
    "serving",
    [],
  ]);
  other!.exit();
  assertEquals((await world.waitFor("crash_loop_started")).generation, 1);
  assertEquals(world.supervisor.status().state, "failing");
  world.behave = () => ({});
  await world.waitFor("worker_ready", 3);
  // One that has only just come may be about to die like those before it.
  const readyMs = world.time.nowMs;
  const { atMs } = await world.waitFor("crash_loop_ended");
  assert(
    atMs >= readyMs + MIN_HEALTHY_MS && atMs <= readyMs + MIN_HEALTHY_MS + LOOK_INTERVAL_MS,
    `${atMs}`,
  );
  await world.time.pass(60_000);
  assertEquals([
    world.eventsOf("crash_loop_started").length,
    world.eventsOf("crash_loop_ended").length,
  ], [1, 1]);
});

for (const then of ["exits", "hangs"] as const) {
  Deno.test(`decision: a worker that serves for a moment and ${then} is an accident, three in a row are failing, and good code ends it`, async () => {
    await using world = await FakeWorld.start({
      config: { watchdog: { pulseDeadlineMs: 20_000 } },
    });
    from(world, { servesMs: 2_000, then });
    const ended = then === "exits" ? "worker_lost" : "worker_stuck";
    if (then === "exits") world.living()[0]!.exit();
    else world.living()[0]!.hang();
    await world.waitFor(ended, 2);
    assertEquals(world.eventsOf("crash_loop_started"), []);
    await world.waitFor("crash_loop_started");
    const lost = world.eventsOf(ended).length;
    assert(lost >= 3, `${lost}`);
    await world.waitFor(ended, lost + 4);
    assertEquals(world.eventsOf("crash_loop_ended"), []);
    world.behave = () => ({});
    assertEquals((await world.reload()).outcome, "done");
    assertEquals((await world.waitFor("crash_loop_ended", 1, 1_000)).generation, 2);
    assertEquals(world.eventsOf("crash_loop_started").length, 1);
  });
}

Deno.test("decision: workers that served for long before they died are replaced soon each time", async () => {
  await using world = await FakeWorld.start();
  for (let death = 1; death <= 6; death++) {
    await world.time.pass(MIN_HEALTHY_MS);
    world.living()[0]!.exit();
    const atMs = world.time.nowMs;
    const next = await world.waitFor("worker_ready", death + 1);
    assert(next.atMs - atMs <= 100, `${next.atMs - atMs} ms`);
  }
  assertEquals(world.eventsOf("crash_loop_started"), []);
});

// ---- recycling ----

Deno.test("decision: worn-out workers are replaced one at a time: the next one's turn comes when the last has left", async () => {
  await using world = await FakeWorld.start({
    config: { workers: 3, reload: RELOAD, recycle: { maxAgeMs: 60_000 } },
  });
  const old = world.living();
  for (const worker of old) worker.hold();
  await world.waitFor("worker_recycled");
  const leaving = old.filter(({ drainReason }) => drainReason !== undefined);
  assertEquals(leaving.map(({ drainReason }) => drainReason), ["replaced"]);
  assertEquals(world.living().filter(({ accepting }) => accepting).length, 3);
  // All of them are due by now.
  await world.time.pass(20_000);
  assertEquals(world.eventsOf("worker_recycled").length, 1);
  leaving[0]!.release();
  await world.waitFor("worker_recycled", 2);
  for (const worker of old) if (worker.inFlight > 0) worker.release();
  await world.waitFor("worker_recycled", 3);
  await world.waitFor("worker_drained", 3);
  const turns = world.events.filter(({ event }) =>
    event === "worker_recycled" || event === "worker_drained"
  ).map(({ event }) => event).slice(0, 6);
  assertEquals(turns, [1, 2, 3].flatMap(() => ["worker_recycled", "worker_drained"]));
  for (const { reason, found, limit } of world.eventsOf("worker_recycled").slice(0, 3)) {
    assertEquals(reason, "maxAgeMs");
    assert(Number(limit) >= 54_000 && Number(limit) <= 66_000 && Number(found) >= Number(limit));
  }
  assertEquals(world.eventsOf("worker_lost"), []);
});

Deno.test("decision: a worker is not recycled before it has served for a while", async () => {
  await using world = await FakeWorld.start({ config: { recycle: { maxRequests: 1 } } });
  const [worker] = world.living();
  worker!.answered = 5;
  const { atMs, reason } = await world.waitFor("worker_recycled");
  assertEquals(reason, "maxRequests");
  assert(atMs >= MIN_HEALTHY_MS && atMs <= MIN_HEALTHY_MS + 2 * LOOK_INTERVAL_MS, `${atMs}`);
});

Deno.test("decision: a worker whose successor does not start goes on, and the tries grow further apart", async () => {
  await using world = await FakeWorld.start({ config: { recycle: { maxAgeMs: 20_000 } } });
  const [old] = world.living();
  from(world, { before: "ready", does: { fails: "no good" } });
  await world.waitFor("worker_start_failed", 9);
  assertEquals([world.living(), old!.accepting, old!.drainReason], [[old!], true, undefined]);
  const starts = startsOf(world.processes.slice(1));
  const gaps = starts.slice(1).map((ms, index) => ms - starts[index]!);
  for (
    const [index, { nextTryMs }] of world.eventsOf("worker_start_failed").slice(0, 8).entries()
  ) {
    assert(Number(nextTryMs) >= 100 * 2 ** index / 2, `${nextTryMs}`);
    const gap = gaps[index]!;
    assert(gap >= Number(nextTryMs) && gap <= Number(nextTryMs) + 2 * LOOK_INTERVAL_MS, `${gap}`);
  }
  world.behave = () => ({});
  await world.waitFor("worker_recycled");
  assertEquals(old!.drainReason, "replaced");
  assertEquals(world.eventsOf("worker_lost"), []);
});

/** Has a worker that is recycled, and the one that takes its place, hold what they have. */
async function holdBoth(world: FakeWorld) {
  const [first] = world.living();
  first!.hold();
  await world.waitFor("worker_recycled");
  const [second] = world.living().filter(({ accepting }) => accepting);
  second!.hold();
  return [first!, second!] as const;
}

Deno.test("decision: a reload while a recycled worker drains waits for both, and counts both", async () => {
  await using world = await FakeWorld.start({
    config: { reload: RELOAD, recycle: { maxAgeMs: 20_000 } },
  });
  const [first, second] = await holdBoth(world);
  world.configure({ recycle: {} });
  assertEquals((await world.reload()).outcome, "done");
  first.release();
  await world.time.pass(1_000);
  assertEquals(world.eventsOf("generation_ended"), []);
  second.release();
  const { answered, cut, outcome } = await world.waitFor("generation_ended");
  assertEquals([answered, cut, outcome], [2, 0, "drained"]);
});

Deno.test("decision: a worker that dies while its successor comes up is told as lost, and that one takes its place", async () => {
  await using world = await FakeWorld.start({ config: { recycle: { maxAgeMs: 20_000 } } });
  const [old] = world.living();
  from(world, { startMs: 3_000 });
  await world.time.passUntil("the next one", () => world.processes.length === 2);
  await world.time.pass(1_000);
  old!.exit();
  const lost = await world.waitFor("worker_lost");
  const { end, cut, atMs } = await world.waitFor("worker_drained");
  assertEquals([lost.pid, end, cut, atMs - lost.atMs], [old!.pid, "ended", null, 2_000]);
  await world.time.pass(10_000);
  assertEquals([world.processes.length, world.eventsOf("worker_lost").length], [2, 1]);
});

Deno.test("decision: where that successor fails too, another one is tried when the log says so", async () => {
  await using world = await FakeWorld.start({ config: { recycle: { maxAgeMs: 20_000 } } });
  const [old] = world.living();
  from(world, { startMs: 3_000, before: "ready", does: { exits: 3 } });
  await world.time.passUntil("the next one", () => world.processes.length === 2);
  old!.exit();
  const { nextTryMs, atMs } = await world.waitFor("worker_start_failed");
  await world.time.passUntil("another one", () => world.processes.length === 3);
  assertEquals(world.processes[2]!.started, atMs + Number(nextTryMs));
  world.behave = () => ({});
});

Deno.test("decision: a second order to stop cuts those too that another one has replaced", async () => {
  await using world = await FakeWorld.start({
    config: { reload: RELOAD, recycle: { maxAgeMs: 20_000 } },
  });
  const [first, second] = await holdBoth(world);
  void world.supervisor.stop();
  await world.time.pass(1_000);
  assertEquals([first.alive, second.alive], [true, true]);
  const { nowMs } = world.time;
  world.supervisor.cut();
  await world.stop(0);
  assertEquals([first.killedAtMs, second.killedAtMs], [nowMs, nowMs]);
});

Deno.test("decision: a stop while a worker is recycled ends all, with nothing lost", async () => {
  await using world = await FakeWorld.start({
    config: { workers: 2, reload: RELOAD, recycle: { maxAgeMs: 20_000 } },
  });
  world.behave = () => ({ startMs: 1_000 });
  await world.time.passUntil("the next one", () => world.processes.length === 3);
  await world.stop(1_000);
  assertEquals(world.eventsOf("worker_lost"), []);
  assertEquals(world.processes.map(({ killedAtMs }) => killedAtMs).slice(0, 2), [
    undefined,
    undefined,
  ]);
});

// ---- the watchdog ----

const WATCHDOG = { pulseDeadlineMs: 4_000 };

Deno.test("decision: a stuck worker is replaced, another one first, and is killed after its grace", async () => {
  await using world = await FakeWorld.start({ config: { workers: 2, watchdog: WATCHDOG } });
  const [stuck, other] = world.living();
  world.behave = () => ({ startMs: 3_000 });
  await world.time.pass(10_000);
  stuck!.hang();
  const { silentMs, pid, atMs } = await world.waitFor("worker_stuck");
  assertEquals(pid, stuck!.pid);
  assert(Number(silentMs) > WATCHDOG.pulseDeadlineMs);
  assert(atMs <= 10_000 + WATCHDOG.pulseDeadlineMs + 2 * LOOK_INTERVAL_MS, `${atMs}`);
  const replaced = await world.waitFor("worker_replaced");
  assertEquals([replaced.atMs, stuck!.alive], [atMs + 3_000, true]);
  const left = await world.waitFor("worker_drained");
  assertEquals([left.pid, left.end, left.cut], [stuck!.pid, "killed", null]);
  assertEquals(stuck!.killedAtMs, replaced.atMs + STUCK_GRACE_MS);
  assertEquals(other!.drainReason, undefined);
  assertEquals([world.living().length, world.eventsOf("worker_lost")], [2, []]);
});

Deno.test("decision: a worker that comes to itself while it is replaced drains, and is not killed", async () => {
  await using world = await FakeWorld.start({ config: { watchdog: WATCHDOG } });
  const [worker] = world.living();
  worker!.hold();
  world.behave = () => ({ startMs: 3_000 });
  worker!.hang();
  await world.waitFor("worker_stuck");
  worker!.wake();
  await world.waitFor("worker_replaced");
  await world.time.pass(20_000);
  assertEquals(worker!.alive, true);
  worker!.release();
  const { end, answered } = await world.waitFor("worker_drained");
  assertEquals([end, answered], ["ended", 1]);
});

Deno.test("decision: a worker that says nothing for less than the deadline is let be, and 0 lets all be", async () => {
  await using world = await FakeWorld.start({ config: { watchdog: WATCHDOG } });
  const [worker] = world.living();
  for (let round = 0; round < 5; round++) {
    worker!.hang();
    await world.time.pass(WATCHDOG.pulseDeadlineMs - LOOK_INTERVAL_MS);
    worker!.wake();
    await world.time.pass(2 * LOOK_INTERVAL_MS);
  }
  assertEquals(world.living(), [worker!]);
  world.configure({ watchdog: { pulseDeadlineMs: 0 } });
  await world.reload();
  const [next] = world.living();
  next!.hang();
  await world.time.pass(120_000);
  assertEquals([world.living(), world.eventsOf("worker_stuck")], [[next!], []]);
  next!.wake();
});

Deno.test("decision: nobody is condemned where the supervisor stood still", async () => {
  await using world = await FakeWorld.start({ config: { workers: 2, watchdog: WATCHDOG } });
  const workers = world.living();
  for (const ms of [8_000, 3_600_000]) {
    await world.time.pass(5_000);
    await world.time.standStill(ms);
    await world.time.pass(10_000);
    assertEquals([world.living(), world.eventsOf("worker_stuck")], [workers, []]);
  }
});

Deno.test("decision: a stuck worker whose successor does not start is replaced when one does", async () => {
  await using world = await FakeWorld.start({ config: { watchdog: WATCHDOG } });
  const [worker] = world.living();
  from(world, { before: "ready", does: { fails: "no good" } });
  worker!.hang();
  await world.waitFor("worker_start_failed", 4);
  assertEquals(worker!.alive, true);
  world.behave = () => ({});
  const { pid, end } = await world.waitFor("worker_drained");
  assertEquals([pid, end], [worker!.pid, "killed"]);
});

// ---- drains ----

Deno.test("decision: a worker that finishes in time is let, and at its deadline the rest is cut and counted", async () => {
  await using world = await FakeWorld.start({ config: { workers: 2, reload: RELOAD } });
  const [one, other] = world.living();
  one!.hold();
  other!.hold();
  other!.hold();
  await world.reload();
  await world.time.pass(29_000);
  one!.release();
  other!.release();
  assertEquals([one!.alive, other!.alive], [false, true]);
  const { outcome, answered, cut } = await world.waitFor("generation_ended");
  assertEquals([outcome, answered, cut], ["cut", 2, 1]);
  assertEquals(other!.killedAtMs, undefined);
});

Deno.test("decision: a worker that does not react is killed at the deadline and its margin; a stop adds what it announces", async () => {
  const reload = { ...RELOAD, shutdownDelayMs: 7_000 };
  await using world = await FakeWorld.start({
    config: { reload, watchdog: { pulseDeadlineMs: 0 } },
  });
  const [old] = world.living();
  old!.hang();
  await world.reload();
  await world.waitFor("generation_ended");
  assertEquals(old!.killedAtMs, 30_000 + DRAIN_MARGIN_MS);
  const [worker] = world.living();
  worker!.hang();
  const { nowMs } = world.time;
  await world.stop();
  assertEquals(worker!.killedAtMs, nowMs + 7_000 + 30_000 + DRAIN_MARGIN_MS);
  assertEquals(world.eventsOf("generation_ended").map(({ outcome }) => outcome), [
    "killed",
    "killed",
  ]);
});

Deno.test("decision: helpers drain when the workers that call them have left, and each within its deadline", async () => {
  const world = await FakeWorld.create({ config: { reload: RELOAD } });
  world.configure({ helpers: [fakeHelper(world.config, "job")] });
  const start = world.supervisor.start();
  await world.waitFor("serving");
  await start;
  await using _ = world;
  const [worker] = world.living();
  const [helper] = world.living("helper");
  worker!.hold();
  await world.reload();
  await world.time.pass(10_000);
  assertEquals([worker!.drainReason, helper!.drainReason], ["replaced", undefined]);
  helper!.hold();
  worker!.release();
  await world.time.pass(10_000);
  assertEquals([helper!.alive, world.eventsOf("generation_ended")], [true, []]);
  helper!.release();
  await world.waitFor("generation_ended");
  assertEquals([helper!.drainReason, helper!.alive], ["replaced", false]);
});

Deno.test("decision: a second order to stop cuts what the first lets finish", async () => {
  await using world = await FakeWorld.start({ config: { reload: RELOAD } });
  const [worker] = world.living();
  worker!.hold();
  void world.supervisor.stop();
  await world.time.pass(5_000);
  assertEquals([worker!.alive, world.eventsOf("stopped")], [true, []]);
  world.supervisor.cut();
  await world.stop(0);
  assertEquals(worker!.killedAtMs, 5_000);
  assertEquals(world.eventsOf("generation_ended")[0]!.outcome, "killed");
});

Deno.test("decision: status tells a start, an upgrade and a stop from serving", async () => {
  await using fresh = await FakeWorld.create();
  assertEquals(fresh.supervisor.status().state, "starting");
  await using world = await FakeWorld.start({ config: { reload: RELOAD } });
  assertEquals(world.supervisor.status().state, "serving");
  const [worker] = world.living();
  worker!.hold();
  void world.supervisor.stop();
  assertEquals(world.supervisor.status().state, "stopping");
  world.supervisor.cut();
  await world.stop(0);
});

Deno.test("decision: of several workers that may have changed a listener each is replaced in turn, and a lone one killed", async () => {
  for (const workers of [1, 2]) {
    await using world = await FakeWorld.start({ config: { workers } });
    const old = world.living();
    const [listener] = world.listeners;
    listener!.changed.push("1:9");
    const { options } = await world.waitFor("listener_changed");
    assertEquals(options, ["1:9"]);
    if (workers === 1) {
      assertStringIncludes(String((await world.waitFor("worker_lost")).how), "changed");
    } else await world.waitFor("worker_recycled", 2);
    await world.waitFor("worker_ready", 2 * workers);
    assertEquals(old.some(({ alive }) => alive), false);
    assertEquals(world.eventsOf("worker_lost").length, workers === 1 ? 1 : 0);
  }
});

Deno.test("decision: a listener that a worker made stop is opened again, and all workers are replaced", async () => {
  await using world = await FakeWorld.start({ config: { workers: 2 } });
  const old = world.living();
  world.listeners[0]!.halted = true;
  await world.waitFor("listener_stopped");
  await world.waitFor("worker_ready", 4);
  assertEquals(old.map(({ alive }) => alive), [false, false]);
  assertStringIncludes(String(world.eventsOf("worker_lost")[0]!.how), "stop");
});

// ---- spare workers ----

/** A server with a worker and a spare one that is ready. */
async function withSpare(): Promise<FakeWorld> {
  const world = await FakeWorld.start({ config: { reload: RELOAD, spare: 1 } });
  await world.time.pass(1);
  return world;
}

const spares = (world: FakeWorld) => world.supervisor.status().generations.at(-1)!.spares!.length;

Deno.test("decision: a spare worker accepts nothing until the worker dies, and then at once, and another one waits", async () => {
  await using world = await withSpare();
  const [worker, spare] = world.processes;
  assertEquals([worker!.accepting, spare!.accepting, spares(world)], [true, false, 1]);
  worker!.exit();
  await world.time.pass(1);
  assertEquals([spare!.accepting, world.processes.length], [true, 3]);
  await world.time.pass(1);
  assertEquals([world.processes[2]!.accepting, spares(world)], [false, 1]);
  assertEquals(world.supervisor.status().generations[0]!.replacements, 1);
});

Deno.test("decision: with a spare worker, those that keep dying are waited for all the same", async () => {
  await using world = await withSpare();
  world.processes[0]!.exit();
  await world.time.pass(2);
  world.processes[1]!.exit();
  await world.time.pass(50);
  assertEquals(world.living().filter(({ accepting }) => accepting), []);
  await world.time.pass(200);
  assertEquals(world.living().filter(({ accepting }) => accepting).length, 1);
});

Deno.test("decision: a spare worker takes the place of a stuck one without a start", async () => {
  await using world = await withSpare();
  const [stuck, spare] = world.processes;
  stuck!.hang();
  await world.waitFor("worker_stuck");
  await world.time.pass(1);
  assertEquals(spare!.accepting, true);
});

Deno.test("decision: a spare worker that dies is told and replaced, with growing waits, while the worker serves on", async () => {
  await using world = await withSpare();
  from(world, { before: "ready", does: { exits: 3 } });
  world.processes[1]!.exit();
  await world.waitFor("spare_lost", 4);
  const lost = world.eventsOf("spare_lost");
  for (const [index, { atMs }] of lost.slice(1).entries()) {
    const { atMs: beforeMs, nextTryMs } = lost[index]!;
    assert(atMs - beforeMs >= Number(nextTryMs) && Number(nextTryMs) >= 50 * 2 ** index);
  }
  assertEquals([world.processes[0]!.accepting, spares(world)], [true, 0]);
  assertEquals(world.eventsOf("worker_lost"), []);
  world.behave = () => ({});
  await world.time.passUntil("a spare one", () => spares(world) === 1, 60_000);
});

Deno.test("decision: a reload ends the spare worker of the old version, and the new one has its own", async () => {
  await using world = await withSpare();
  const [, spare] = world.processes;
  assertEquals((await world.reload()).outcome, "done");
  await world.time.pass(1);
  assertEquals([spare!.alive, spares(world), world.living().length], [false, 1, 2]);
});

Deno.test("decision: where the spare worker does not come to accept, another one is started", async () => {
  await using world = await withSpare();
  from(world, { before: "accepting", does: { exits: 5 } });
  world.processes[1]!.exit();
  await world.time.passUntil("another spare one", () => world.processes.length === 3);
  world.behave = () => ({});
  await world.time.passUntil("that it is ready", () => spares(world) === 1);
  world.processes[0]!.exit();
  await world.time.passUntil("a worker", () => world.living().some(({ accepting }) => accepting));
  assertEquals(world.processes[2]!.alive, false);
});
