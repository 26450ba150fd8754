/** How a process is judged, and when one that died is replaced: by figures and a clock of the test's own. */
import { assert, assertEquals } from "@std/assert";
import type { Config } from "../lib/config/config.ts";
import { PULSE_INTERVAL_MS } from "../lib/protocol/limits.ts";
import { AcceptHealth } from "../lib/supervisor/accept_health.ts";
import {
  backoffMs,
  Heartbeat,
  helperHealth,
  LOOK_INTERVAL_MS,
  MIN_HEALTHY_MS,
  recycleReason,
  silentHealth,
  type WorkerFacts,
  workerHealth,
} from "../lib/supervisor/health.ts";

Deno.test("a worker's limits lie within a tenth of the config's, by chance, and the first one reached counts", () => {
  const seen = {
    maxRequests: 1000,
    maxAgeMs: 1000,
    maxMemoryBytes: 1000,
    maxServerNameBytes: 1000,
    maxGivenUpPercent: 1000,
  };
  assertEquals(recycleReason({}, seen, 0), undefined);
  for (const [chance, limit] of [[0, 900], [0.5, 1000], [1, 1100]] as const) {
    for (const reason of Object.keys(seen) as (keyof typeof seen)[]) {
      const found = recycleReason({ [reason]: 1000 }, { ...seen, [reason]: limit }, chance);
      assertEquals(found, { reason, limit, found: limit });
      assertEquals(
        recycleReason({ [reason]: 1000 }, { ...seen, [reason]: limit - 1 }, chance),
        undefined,
      );
    }
  }
  assertEquals(recycleReason({ maxAgeMs: 10, maxMemoryBytes: 10 }, seen, 0)?.reason, "maxAgeMs");
});

Deno.test("silence is counted in the time that the supervisor itself was awake", () => {
  const heartbeat = new Heartbeat(0);
  for (let nowMs = 1_000; nowMs <= 5_000; nowMs += LOOK_INTERVAL_MS) heartbeat.tick(nowMs);
  assertEquals(heartbeat.silentMs, 5_000);
  heartbeat.tick(3_600_000);
  assertEquals(heartbeat.silentMs, 6_000, "an hour without a tick counts as a second");
  heartbeat.received();
  assertEquals(heartbeat.silentMs, 0);
  heartbeat.tick(3_601_000);
  assertEquals(heartbeat.silentMs, 1_000);
});

Deno.test("waits for a replacement double from 100 ms to 30 s, and stay there, less up to half by chance", () => {
  const waits = Array.from({ length: 2000 }, (_, index) => backoffMs(index + 1, 1));
  assertEquals(waits.slice(0, 10), [100, 200, 400, 800, 1600, 3200, 6400, 12800, 25600, 30000]);
  assert(waits.slice(10).every((ms) => ms === 30_000));
  for (const [index, mostMs] of waits.entries()) {
    assertEquals(backoffMs(index + 1, 0), mostMs / 2);
    const ms = backoffMs(index + 1, Math.random());
    assert(ms >= mostMs / 2 && ms <= mostMs, `${ms} ms`);
  }
  assert(
    new Set(Array.from({ length: 100 }, () => backoffMs(20, Math.random()))).size > 50,
    "by chance",
  );
});

// ---- workers ----

const WATCHDOG = { pulseDeadlineMs: 4_000 };
const FINE: WorkerFacts = {
  silentMs: 0,
  servedMs: MIN_HEALTHY_MS,
  jitter: 0.5,
  used: {
    maxRequests: 0,
    maxAgeMs: 0,
    maxMemoryBytes: 0,
    maxServerNameBytes: 0,
    maxGivenUpPercent: 0,
  },
};
const ALONE = { recycling: false, idlePulses: 0 };
const OLD = { ...FINE, used: { ...FINE.used, maxAgeMs: 2_000 } };
/** One more pulse than the deadline has. */
const IDLE = { ...ALONE, idlePulses: WATCHDOG.pulseDeadlineMs / PULSE_INTERVAL_MS + 1 };

function causeOf(
  facts: WorkerFacts,
  generation: Parameters<typeof workerHealth>[1],
  config: Partial<Config> = {},
): string | undefined {
  const action = workerHealth(facts, generation, {
    recycle: { maxAgeMs: 1_000 },
    watchdog: WATCHDOG,
    ...config,
  });
  return action?.act === "recycle" ? action.cause : action?.act;
}

Deno.test("health: a worker that answers and has reached no limit goes on", () => {
  assertEquals(causeOf(FINE, ALONE), undefined);
  assertEquals(causeOf({ ...FINE, silentMs: WATCHDOG.pulseDeadlineMs }, ALONE), undefined);
  assertEquals(causeOf(OLD, ALONE, { recycle: {} }), undefined);
});

Deno.test("health: a worker that is silent beyond the deadline is stuck, however young, and beside another", () => {
  const silent = { ...FINE, silentMs: WATCHDOG.pulseDeadlineMs + 1, servedMs: 0 };
  assertEquals(causeOf(silent, ALONE), "stuck");
  assertEquals(causeOf(silent, { ...IDLE, recycling: true }), "stuck");
  assertEquals(causeOf({ ...OLD, ...silent }, ALONE), "stuck");
  assertEquals(causeOf(silent, ALONE, { watchdog: { pulseDeadlineMs: 0 } }), undefined);
});

Deno.test("health: a worker that has reached a limit waits its turn, and until it has served for a while", () => {
  assertEquals(causeOf(OLD, ALONE), "limit");
  assertEquals(causeOf({ ...OLD, servedMs: MIN_HEALTHY_MS - 1 }, ALONE), undefined);
  assertEquals(causeOf(OLD, { ...ALONE, recycling: true }), undefined);
});

Deno.test("health: workers of which none accepts are replaced one at a time, after the deadline in pulses", () => {
  assertEquals(causeOf(FINE, IDLE), "not_accepting");
  assertEquals(causeOf(FINE, { ...IDLE, idlePulses: IDLE.idlePulses - 1 }), undefined);
  assertEquals(causeOf(FINE, { ...IDLE, recycling: true }), undefined);
  assertEquals(causeOf({ ...FINE, servedMs: MIN_HEALTHY_MS - 1 }, IDLE), undefined);
  assertEquals(causeOf(FINE, IDLE, { watchdog: { pulseDeadlineMs: 0 } }), undefined);
  assertEquals(causeOf(OLD, IDLE), "not_accepting");
});

// ---- helpers, the logger and the metrics process ----

Deno.test("health: a helper is killed that holds on to a call, or says nothing longer than a call may take", () => {
  const reasonOf = (facts: Parameters<typeof helperHealth>[0]) => {
    const action = helperHealth(facts, { timeoutMs: 5_000 });
    return action?.act === "kill" ? action.reason : action?.act;
  };
  assertEquals(reasonOf({ silentMs: 7_000, overdueMs: 2_000 }), undefined);
  assertEquals(reasonOf({ silentMs: 7_000 }), undefined);
  assertEquals(
    reasonOf({ silentMs: 0, overdueMs: 2_001 }),
    "held on to a call 2001 ms longer than it may",
  );
  assertEquals(reasonOf({ silentMs: 7_001.4 }), "said nothing for 7001 ms");
});

Deno.test("health: what is silent beyond its limit is killed", () => {
  assertEquals(silentHealth(10_000, 10_000), undefined);
  assertEquals(silentHealth(10_001, 10_000), { act: "kill", reason: "said nothing for 10001 ms" });
});

// ---- accepting ----

/** Looks once a pulse, with so many connections that wait, and one worker's figures. */
function looks(
  health: AcceptHealth,
  rows: readonly (readonly [waiting: number, accepted: number, connections?: number])[],
) {
  let pulses = 0;
  return rows.map(([waiting, accepted, connections = 1]) =>
    health.look(waiting, [{ id: 1, pulses: ++pulses, accepted, connections }], () => [100])
  );
}

Deno.test("health: what waits and is not accepted is told after three pulses, and its end when none waits", () => {
  const changes = looks(new AcceptHealth(), [[5, 9], [5, 9], [5, 9], [5, 9], [1, 10], [0, 11]]);
  const told = { connections: 1, full: false };
  assertEquals(changes, [
    ...[undefined, undefined, undefined],
    { ...told, stalled: true, descriptorLimit: 100 },
    undefined,
    { ...told, stalled: false, descriptorLimit: Infinity },
  ]);
});

Deno.test("health: whoever accepts now and then is not stalled, nor who has nobody waiting", () => {
  const slow = new AcceptHealth();
  assertEquals(looks(slow, [[5, 1], [5, 1], [5, 1], [5, 2], [5, 2], [5, 2]]).filter(Boolean), []);
  assertEquals([slow.idlePulses, slow.stalled], [2, false]);
  const idle = new AcceptHealth();
  assertEquals(looks(idle, Array.from({ length: 9 }, () => [0, 1] as const)).filter(Boolean), []);
  assertEquals([idle.idlePulses, idle.stalled], [0, false]);
});

Deno.test("health: workers that are full of clients stall, which is told, and are not to be replaced for it", () => {
  const health = new AcceptHealth();
  const full = Array.from({ length: 6 }, () => [5, 9, 52] as const);
  assertEquals(looks(health, full)[3], {
    ...{ stalled: true, connections: 52, descriptorLimit: 100, full: true },
  });
  assertEquals(health.idlePulses, 0);
  const almost = new AcceptHealth();
  looks(almost, full.map(([waiting, accepted]) => [waiting, accepted, 51]));
  assertEquals(almost.idlePulses, 5);
});

Deno.test("health: a worker that sends no pulse does not stall the rest, and another worker begins anew", () => {
  const health = new AcceptHealth();
  const worker = { accepted: 1, connections: 0 };
  for (let pulses = 1; pulses <= 9; pulses++) {
    health.look(5, [{ ...worker, id: 1, pulses }, { ...worker, id: 2, pulses: 7 }], () => [100]);
  }
  assertEquals([health.idlePulses, health.stalled], [0, false]);
  for (let pulses = 1; pulses <= 3; pulses++) {
    health.look(5, [{ ...worker, id: 3, pulses }], () => [100]);
  }
  assertEquals([health.idlePulses, health.stalled], [2, false]);
});
