/** What a place for one process does at each event: a table of states and events. Pure. */
import { backoffMs, CRASH_LOOP_AFTER, MIN_HEALTHY_MS, type Recycle } from "./health.ts";
import type { DrainCause } from "./drain.ts";
import type { SlotAct, SlotEvent, SlotState } from "./slot_events.ts";

export interface Slot {
  readonly state: SlotState;
  /** Whether one that died is replaced. */
  readonly restart: boolean;
  /** How many died or hung one soon after the other. */
  readonly deaths: number;
  /** None is recycled before that, but by order. */
  readonly recycleFromMs: number;
  /** Why it is replaced, or told to drain. */
  readonly recycle?: Recycle;
  readonly cause?: DrainCause;
}

/** What is known when an event comes. */
export interface Now {
  readonly ms: number;
  /** 0 to 1, by chance. */
  readonly jitter: number;
}

export interface Step {
  readonly slot: Slot;
  /** To be done in this order. */
  readonly acts: readonly SlotAct[];
}

type Cell<Type extends SlotEvent["type"]> = (
  slot: Slot,
  event: Extract<SlotEvent, { type: Type }>,
  now: Now,
) => Step;
type Row = { readonly [Type in SlotEvent["type"]]: Cell<Type> };

/** Whether processes died or hung one soon after the other, and none has served for long since. */
export function inCrashLoop({ deaths }: Slot, answeringMs: number): boolean {
  return deaths >= CRASH_LOOP_AFTER && answeringMs < MIN_HEALTHY_MS;
}

/** What `event` leads to. */
export function next(slot: Slot, event: SlotEvent, now: Now): Step {
  const cell = TABLE[slot.state][event.type] as Cell<SlotEvent["type"]>;
  return cell(slot, event, now);
}

function to(state: SlotState, slot: Slot, ...acts: SlotAct[]): Step {
  return { slot: { ...slot, state }, acts };
}

const abort = (why: string): SlotAct => ({ act: "abort", why });

// ---- the cells ----

/** It makes no difference in this state. */
const stay = (slot: Slot): Step => ({ slot, acts: [] });

const start = (slot: Slot) => to("starting", slot, { act: "bringUp" });
const restart = (slot: Slot) => to("restarting", slot, { act: "bringUp" });

const serve = (slot: Slot) => to("serving", slot, { act: "takePlace" });
const takeOver: Cell<"ready"> = ({ recycle, ...slot }, { answeringMs }) => {
  // One that hung counts as a death; one that could be replaced in good order ends the series.
  const deaths = recycle!.cause === "stuck" ? deathsAfter(slot, answeringMs) : 0;
  return to("serving", { ...slot, deaths }, { act: "takePlace", recycle: recycle! });
};
/** It came up as it was given up: it may have connections, which a drain does not cut. */
const endLate = (slot: Slot) => to(slot.state, slot, { act: "endLate", cause: slot.cause });

const giveUp = (slot: Slot) => to("ended", slot);

/** The old one goes on. */
const keepOld: Cell<"startFailed"> = (slot, { reason }, now) => {
  const { deaths, nextTryMs, act } = failure(slot, reason, now);
  return to("serving", { ...slot, deaths, recycleFromMs: now.ms + nextTryMs }, act);
};
const retry: Cell<"startFailed"> = (slot, { reason }, now) => {
  const { deaths, nextTryMs, act } = failure(slot, reason, now);
  return waitOrEnd({ ...slot, deaths }, act, nextTryMs);
};

const lose: Cell<"died"> = (slot, { how, livedMs, servedMs, spare }, { jitter }) => {
  const deaths = deathsAfter(slot, servedMs);
  const act: SlotAct = { act: "tellLost", how, livedMs };
  // The second one in a row waits all the same: what kills them would have the spare ones too.
  const ms = spare && deaths === 1 ? 0 : backoffMs(deaths, jitter);
  return waitOrEnd({ ...slot, deaths }, act, ms);
};
/** The one that is about to take its place is there sooner than another would be. */
const loseOld: Cell<"died"> = (slot, { how, livedMs, servedMs }) => {
  const deaths = deathsAfter(slot, servedMs);
  return to("replacing_lost", { ...slot, deaths }, { act: "tellLost", how, livedMs });
};

const replace: Cell<"recycle"> = (slot, { recycle }, now) => {
  if (recycle.cause !== "unfit" && now.ms < slot.recycleFromMs) return stay(slot);
  const tellUnhealthy = { act: "tellUnhealthy", recycle } as const;
  return to("replacing", { ...slot, recycle }, tellUnhealthy, { act: "bringUp" });
};

const drain: Cell<"drain"> = (slot, { cause, keep }) => {
  const state = keep ? "keeping" : "draining";
  return to(state, { ...slot, cause }, abort("is draining"), { act: "drain", cause, keep });
};
const letGo: Cell<"drain"> = (slot, { cause }) =>
  to("draining", { ...slot, cause }, { act: "letGo", cause });
/** None takes its place: one that hangs is killed, another one ends what it was kept for. */
const endKept: Cell<"recycle"> = (slot, { recycle }) => {
  const tellUnhealthy = { act: "tellUnhealthy", recycle } as const;
  if (recycle.cause === "stuck") return to("draining", slot, tellUnhealthy, { act: "kill" });
  return to("draining", slot, { act: "letGo", cause: "replaced", recycle });
};
/** What was killed is waited for as what drains. */
const drainCut: Cell<"drain"> = (slot, { cause }) =>
  to("cut", slot, { act: "drain", cause, keep: false });
const cut = ({ cause: _, ...slot }: Slot) => to("cut", slot, abort("was cut"), { act: "kill" });
const close = ({ cause: _, ...slot }: Slot) =>
  to("closed", slot, abort("is gone"), { act: "closeSpawner" });

function deathsAfter({ deaths }: Slot, servedMs: number): number {
  return servedMs >= MIN_HEALTHY_MS ? 1 : deaths + 1;
}

function failure(slot: Slot, reason: string, { jitter }: Now) {
  const deaths = slot.deaths + 1;
  const nextTryMs = backoffMs(deaths, jitter);
  return { deaths, nextTryMs, act: { act: "tellStartFailed", reason, nextTryMs } as const };
}

function waitOrEnd(slot: Slot, told: SlotAct, ms: number): Step {
  return slot.restart ? to("waiting", slot, told, { act: "wait", ms }) : to("ended", slot, told);
}

/**
 * A process is heard to have died only while the slot counts on it: before it serves, its start fails,
 * and one that drains is waited for. What comes up in a state in which nothing is brought up is killed.
 */
// deno-fmt-ignore
const TABLE: Readonly<Record<SlotState, Row>> = {
  empty:          { start,       ready: endLate,  startFailed: stay,    died: stay,    recycle: stay,    timer: stay,    drain,           cut,       close },
  starting:       { start: stay, ready: serve,    startFailed: giveUp,  died: stay,    recycle: stay,    timer: stay,    drain,           cut,       close },
  serving:        { start: stay, ready: endLate,  startFailed: stay,    died: lose,    recycle: replace, timer: stay,    drain,           cut,       close },
  replacing:      { start: stay, ready: takeOver, startFailed: keepOld, died: loseOld, recycle: stay,    timer: stay,    drain,           cut,       close },
  replacing_lost: { start: stay, ready: takeOver, startFailed: retry,   died: stay,    recycle: stay,    timer: stay,    drain,           cut,       close },
  waiting:        { start: stay, ready: endLate,  startFailed: stay,    died: stay,    recycle: stay,    timer: restart, drain,           cut,       close },
  restarting:     { start: stay, ready: serve,    startFailed: retry,   died: stay,    recycle: stay,    timer: stay,    drain,           cut,       close },
  ended:          { start: stay, ready: endLate,  startFailed: stay,    died: stay,    recycle: stay,    timer: stay,    drain,           cut,       close },
  draining:       { start: stay, ready: endLate,  startFailed: stay,    died: stay,    recycle: stay,    timer: stay,    drain: stay,     cut,       close },
  keeping:        { start: stay, ready: endLate,  startFailed: stay,    died: stay,    recycle: endKept, timer: stay,    drain: letGo,   cut,       close },
  cut:            { start: stay, ready: endLate,  startFailed: stay,    died: stay,    recycle: stay,    timer: stay,    drain: drainCut, cut,       close },
  closed:         { start: stay, ready: endLate,  startFailed: stay,    died: stay,    recycle: stay,    timer: stay,    drain: stay,     cut: stay, close: stay },
};
