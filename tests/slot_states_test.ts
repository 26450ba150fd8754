/**
 * What a slot decides: every state with every event, in no time and without a process. That each act takes
 * place is shown by the tests of the supervisor's decisions, and on real processes.
 */
import { assert, assertEquals } from "@std/assert";
import {
  backoffMs,
  CRASH_LOOP_AFTER,
  MIN_HEALTHY_MS,
  type Recycle,
} from "../lib/supervisor/health.ts";
import type { SlotAct, SlotEvent, SlotState } from "../lib/supervisor/slot_events.ts";
import {
  inCrashLoop,
  next,
  type Now,
  type Slot,
  type Step,
} from "../lib/supervisor/slot_states.ts";

const NOW: Now = { ms: 1_000_000, jitter: 1 };

const LIMIT = {
  act: "recycle",
  cause: "limit",
  facts: { reason: "maxAgeMs", limit: 1, found: 2 },
} as const;
const STUCK = { act: "recycle", cause: "stuck" } as const;
const UNFIT = { act: "recycle", cause: "unfit" } as const;

const EVENTS: { [Type in SlotEvent["type"]]: Extract<SlotEvent, { type: Type }> } = {
  start: { type: "start" },
  ready: { type: "ready", answeringMs: MIN_HEALTHY_MS },
  startFailed: { type: "startFailed", reason: "no good" },
  died: { type: "died", how: "exited", livedMs: 7, servedMs: 5, spare: false },
  recycle: { type: "recycle", recycle: LIMIT },
  timer: { type: "timer" },
  drain: { type: "drain", cause: "stopping", keep: false },
  cut: { type: "cut" },
  close: { type: "close" },
};

const KEEP = { type: "drain", cause: "replaced", keep: true } as const;

function slotIn(state: SlotState, more: Partial<Slot> = {}): Slot {
  const recycled = state.startsWith("replacing") && { recycle: LIMIT };
  const drained = state === "draining" && { cause: "stopping" as const };
  return { restart: true, deaths: 0, recycleFromMs: 0, ...recycled, ...drained, ...more, state };
}

/** The state after a step, and what is done. */
function read({ slot, acts }: Step): string {
  return [slot.state, ...acts.map(({ act }) => act)].join(" ");
}

function actOf<Kind extends SlotAct["act"]>({ acts }: Step, kind: Kind) {
  return acts.find(({ act }) => act === kind) as Extract<SlotAct, { act: Kind }> | undefined;
}

// ---- the table ----

const DRAIN = "draining abort drain";
const CUT = "cut abort kill";
const CLOSE = "closed abort closeSpawner";

/** What each event leads to: the state after it and what is done. */
const EXPECTED: Record<SlotState, Record<SlotEvent["type"], string>> = {
  empty: {
    start: "starting bringUp",
    ready: "empty endLate",
    startFailed: "empty",
    died: "empty",
    recycle: "empty",
    timer: "empty",
    ...{ drain: DRAIN, cut: CUT, close: CLOSE },
  },
  starting: {
    start: "starting",
    ready: "serving takePlace",
    startFailed: "ended",
    died: "starting",
    recycle: "starting",
    timer: "starting",
    ...{ drain: DRAIN, cut: CUT, close: CLOSE },
  },
  serving: {
    start: "serving",
    ready: "serving endLate",
    startFailed: "serving",
    died: "waiting tellLost wait",
    recycle: "replacing tellUnhealthy bringUp",
    timer: "serving",
    ...{ drain: DRAIN, cut: CUT, close: CLOSE },
  },
  replacing: {
    start: "replacing",
    ready: "serving takePlace",
    startFailed: "serving tellStartFailed",
    died: "replacing_lost tellLost",
    recycle: "replacing",
    timer: "replacing",
    ...{ drain: DRAIN, cut: CUT, close: CLOSE },
  },
  replacing_lost: {
    start: "replacing_lost",
    ready: "serving takePlace",
    startFailed: "waiting tellStartFailed wait",
    died: "replacing_lost",
    recycle: "replacing_lost",
    timer: "replacing_lost",
    ...{ drain: DRAIN, cut: CUT, close: CLOSE },
  },
  waiting: {
    start: "waiting",
    ready: "waiting endLate",
    startFailed: "waiting",
    died: "waiting",
    recycle: "waiting",
    timer: "restarting bringUp",
    ...{ drain: DRAIN, cut: CUT, close: CLOSE },
  },
  restarting: {
    start: "restarting",
    ready: "serving takePlace",
    startFailed: "waiting tellStartFailed wait",
    died: "restarting",
    recycle: "restarting",
    timer: "restarting",
    ...{ drain: DRAIN, cut: CUT, close: CLOSE },
  },
  ended: {
    start: "ended",
    ready: "ended endLate",
    startFailed: "ended",
    died: "ended",
    recycle: "ended",
    timer: "ended",
    ...{ drain: DRAIN, cut: CUT, close: CLOSE },
  },
  draining: {
    start: "draining",
    ready: "draining endLate",
    startFailed: "draining",
    died: "draining",
    recycle: "draining",
    timer: "draining",
    ...{ drain: "draining", cut: CUT, close: CLOSE },
  },
  keeping: {
    start: "keeping",
    ready: "keeping endLate",
    startFailed: "keeping",
    died: "keeping",
    recycle: "draining letGo",
    timer: "keeping",
    ...{ drain: "draining letGo", cut: CUT, close: CLOSE },
  },
  cut: {
    start: "cut",
    ready: "cut endLate",
    startFailed: "cut",
    died: "cut",
    recycle: "cut",
    timer: "cut",
    ...{ drain: "cut drain", cut: CUT, close: CLOSE },
  },
  closed: {
    start: "closed",
    ready: "closed endLate",
    startFailed: "closed",
    died: "closed",
    recycle: "closed",
    timer: "closed",
    ...{ drain: "closed", cut: "closed", close: "closed" },
  },
};

for (const [state, row] of Object.entries(EXPECTED) as [SlotState, typeof EXPECTED.empty][]) {
  Deno.test(`slot: what each event leads to while it is ${state}`, () => {
    const found = Object.fromEntries(
      Object.entries(EVENTS).map(([type, event]) => [type, read(next(slotIn(state), event, NOW))]),
    );
    assertEquals(found, row);
  });
}

// ---- what a cell depends on ----

Deno.test("slot: deaths in a row are counted, and one that served for long begins the row anew", () => {
  const after = (deaths: number, servedMs: number) =>
    next(slotIn("serving", { deaths }), { ...EVENTS.died, servedMs }, NOW).slot.deaths;
  assertEquals([0, 1, 7].map((deaths) => after(deaths, MIN_HEALTHY_MS - 1)), [1, 2, 8]);
  assertEquals([0, 1, 7].map((deaths) => after(deaths, MIN_HEALTHY_MS)), [1, 1, 1]);
  const lost = next(slotIn("replacing", { deaths: 3 }), EVENTS.died, NOW);
  assertEquals([lost.slot.deaths, actOf(lost, "tellLost")?.how], [4, "exited"]);
});

Deno.test("slot: each failed start doubles the wait, says so, and chance makes it up to half shorter", () => {
  for (const jitter of [0, 0.5, 1]) {
    let slot = slotIn("serving");
    let step = next(slot, EVENTS.died, { ms: 0, jitter });
    for (let deaths = 1; deaths <= 12; deaths++) {
      const { ms } = actOf(step, "wait")!;
      assertEquals(ms, backoffMs(deaths, jitter));
      const told = actOf(step, "tellStartFailed");
      if (deaths > 1) assertEquals([told?.nextTryMs, told?.reason], [ms, "no good"]);
      slot = next(step.slot, EVENTS.timer, { ms: 0, jitter }).slot;
      step = next(slot, EVENTS.startFailed, { ms: 0, jitter });
    }
  }
});

Deno.test("slot: where a spare one waits, the first that dies is replaced at once, and the next ones wait", () => {
  const waitOf = (deaths: number, servedMs = 5) =>
    actOf(
      next(slotIn("serving", { deaths }), { ...EVENTS.died, spare: true, servedMs }, NOW),
      "wait",
    )!.ms;
  assertEquals([waitOf(0), waitOf(1), waitOf(2)], [0, backoffMs(2, 1), backoffMs(3, 1)]);
  assertEquals(waitOf(5, MIN_HEALTHY_MS), 0);
});

Deno.test("slot: what is not to be restarted is not, whenever it dies", () => {
  const slot = { restart: false };
  assertEquals(read(next(slotIn("serving", slot), EVENTS.died, NOW)), "ended tellLost");
  assertEquals(
    read(next(slotIn("replacing_lost", slot), EVENTS.startFailed, NOW)),
    "ended tellStartFailed",
  );
});

Deno.test("slot: one that hung counts as a death when it is replaced, one that reached a limit ends the row", () => {
  const after = (recycle: Recycle, answeringMs: number) =>
    next(slotIn("replacing", { deaths: 2, recycle }), { type: "ready", answeringMs }, NOW).slot;
  assertEquals(after(STUCK, 2_000).deaths, 3);
  assertEquals(after(STUCK, MIN_HEALTHY_MS).deaths, 1);
  assertEquals([after(LIMIT, 0).deaths, after(UNFIT, 0).deaths], [0, 0]);
  assertEquals(after(STUCK, 0).recycle, undefined);
});

Deno.test("slot: the old one leaves for the cause for which it is replaced", () => {
  for (const recycle of [LIMIT, STUCK, UNFIT]) {
    const begun = next(slotIn("serving"), { type: "recycle", recycle }, NOW);
    assertEquals(actOf(begun, "tellUnhealthy")?.recycle, recycle);
    assertEquals(actOf(next(begun.slot, EVENTS.ready, NOW), "takePlace")?.recycle, recycle);
  }
  assertEquals(
    actOf(next(slotIn("restarting"), EVENTS.ready, NOW), "takePlace")?.recycle,
    undefined,
  );
});

Deno.test("slot: a replacement that did not start is tried again after its wait, and at once by order", () => {
  const failed = next(slotIn("replacing", { deaths: 4 }), EVENTS.startFailed, NOW);
  const { nextTryMs } = actOf(failed, "tellStartFailed")!;
  assertEquals([failed.slot.deaths, nextTryMs], [5, backoffMs(5, NOW.jitter)]);
  const at = (ms: number, recycle: typeof LIMIT | typeof STUCK | typeof UNFIT) =>
    next(failed.slot, { type: "recycle", recycle }, { ...NOW, ms: NOW.ms + ms }).slot.state;
  for (const recycle of [LIMIT, STUCK]) {
    assertEquals([at(nextTryMs - 1, recycle), at(nextTryMs, recycle)], ["serving", "replacing"]);
  }
  assertEquals(at(0, UNFIT), "replacing");
});

Deno.test("slot: one that comes up too late drains in a drain, and is killed after a cut and at any other time", () => {
  const causeIn = (slot: Slot) => actOf(next(slot, EVENTS.ready, NOW), "endLate")!.cause;
  const draining = next(slotIn("replacing"), { ...EVENTS.drain, cause: "replaced" }, NOW).slot;
  assertEquals(causeIn(draining), "replaced");
  assertEquals(causeIn(next(draining, EVENTS.cut, NOW).slot), undefined);
  assertEquals(causeIn(next(draining, EVENTS.close, NOW).slot), undefined);
  assertEquals(causeIn(slotIn("serving")), undefined);
});

Deno.test("slot: what is kept for its WebSockets ends when it is told again, at a limit, and by force when it hangs", () => {
  for (const state of Object.keys(EXPECTED) as SlotState[]) {
    if (["draining", "keeping", "cut", "closed"].includes(state)) continue;
    const kept = next(slotIn(state), KEEP, NOW);
    assertEquals(read(kept), "keeping abort drain", state);
    assertEquals(actOf(kept, "drain")?.keep, true);
    assertEquals(actOf(next(slotIn(state), EVENTS.drain, NOW), "drain")?.keep, false);
  }
  const { slot } = next(slotIn("serving"), KEEP, NOW);
  assertEquals(actOf(next(slot, EVENTS.drain, NOW), "letGo")?.cause, "stopping");
  const limited = next(slot, EVENTS.recycle, NOW);
  assertEquals(actOf(limited, "letGo"), { act: "letGo", cause: "replaced", recycle: LIMIT });
  const stuck = next(slot, { type: "recycle", recycle: STUCK }, NOW);
  assertEquals(read(stuck), "draining tellUnhealthy kill");
  assertEquals(read(next(stuck.slot, EVENTS.recycle, NOW)), "draining");
});

Deno.test("slot: deaths in a row are a crash loop until one has served for long", () => {
  const slot = slotIn("serving", { deaths: CRASH_LOOP_AFTER });
  assertEquals(inCrashLoop(slot, MIN_HEALTHY_MS - 1), true);
  assertEquals(inCrashLoop(slot, MIN_HEALTHY_MS), false);
  assertEquals(inCrashLoop({ ...slot, deaths: CRASH_LOOP_AFTER - 1 }, 0), false);
});

// ---- every order of events ----

/** A slot, and what has become of its acts: all that can come next follows from these. */
interface World {
  readonly slot: Slot;
  readonly bringingUp: boolean;
  readonly waiting: boolean;
  readonly alive: boolean;
}

/** What can come now. */
function possible({ slot, bringingUp, waiting, alive }: World): SlotEvent[] {
  return [
    ...slot.state === "empty" ? [EVENTS.start] : [],
    ...bringingUp ? [EVENTS.ready, EVENTS.startFailed] : [],
    ...alive ? [EVENTS.died, EVENTS.recycle, { ...EVENTS.recycle, recycle: STUCK }] : [],
    ...waiting ? [EVENTS.timer] : [],
    ...[EVENTS.drain, KEEP, EVENTS.cut, EVENTS.close],
  ];
}

function step(world: World, event: SlotEvent, ms: number): World {
  const { slot, acts } = next(world.slot, event, { ms, jitter: 0.5 });
  const did = (kind: SlotAct["act"]) => acts.some(({ act }) => act === kind);
  const was = {
    bringingUp: world.bringingUp && event.type !== "ready" && event.type !== "startFailed",
    waiting: world.waiting && event.type !== "timer",
    alive: world.alive && event.type !== "died",
  };
  const where = `${event.type} in ${world.slot.state}`;
  const ending = ["draining", "keeping", "cut", "closed"].includes(slot.state);
  assert(!(did("bringUp") && (was.bringingUp || was.waiting)), `${where}: two at once`);
  assert(!(did("wait") && (was.bringingUp || was.waiting)), `${where}: waits beside another`);
  assert(!(ending && (did("bringUp") || did("wait"))), `${where}: begins something in an end`);
  assert(!(did("takePlace") && event.type !== "ready"), `${where}: nobody to take the place`);
  const found: World = {
    slot: { ...slot, deaths: Math.min(slot.deaths, 4), recycleFromMs: 0 },
    bringingUp: was.bringingUp || did("bringUp"),
    waiting: !did("abort") && was.waiting || did("wait"),
    alive: was.alive || did("takePlace"),
  };
  // As long as it is to go on, something is there, or is to come.
  const idle = !found.alive && !found.bringingUp && !found.waiting;
  assert(!idle || ending || slot.state === "empty" || slot.state === "ended", `${where}: lost`);
  if (event.type === "died" && !ending) assert(did("tellLost"), `${where}: untold`);
  return found;
}

Deno.test("slot: in every order of events one is brought up at a time, none is given up for good, and nothing begins in an end", () => {
  const begin = { slot: slotIn("empty"), bringingUp: false, waiting: false, alive: false };
  const seen = new Map<string, World>([[JSON.stringify(begin), begin]]);
  for (const world of seen.values()) {
    for (const event of possible(world)) {
      for (const ms of [0, 1_000_000]) {
        const found = step(world, event, ms);
        seen.set(JSON.stringify(found), found);
      }
    }
  }
  const states = new Set([...seen.values()].map(({ slot }) => slot.state));
  assertEquals([...states].sort(), Object.keys(EXPECTED).sort());
});
