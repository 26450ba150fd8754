/** What is to become of a process that lives, by what is known of it from outside. Pure. */
import type { Config, HelperConfig } from "../config/config.ts";
import { PULSE_INTERVAL_MS } from "../protocol/limits.ts";

/** How often what lives is looked at: processes, and listeners that a worker can make stop. */
export const LOOK_INTERVAL_MS = 1_000;

/** A process that served as long as this ends a series of quick deaths. */
export const MIN_HEALTHY_MS = 10_000;

/** How many deaths in a row, of those that never served so long, are no accident any more. */
export const CRASH_LOOP_AFTER = 3;

/** The first wait before a process that died is replaced, at the most. */
const FIRST_WAIT_MS = 100;

/** The longest wait: the time an operator may have to wait for a recovery that nobody ordered. */
const LONGEST_WAIT_MS = 30_000;

/** How long an instance of a helper may hold on to a call that is over, or say nothing at all. */
const STUCK_MARGIN_MS = 2_000;

/**
 * How much a worker keeps of names that clients ask for, where there are several certificates: the runtime
 * forgets none, and strangers make them up.
 */
const MAX_SERVER_NAME_BYTES = 64 * 2 ** 20;

/** How many connections a worker may have given up that nobody can end, of those that it may have. */
const MAX_GIVEN_UP_PERCENT = 50;

/** By which part a worker's own limits differ from those of the config, at the most. */
const JITTER = 0.1;

export type HealthAction =
  /** It is in the way. */
  | { readonly act: "kill"; readonly reason: string }
  /** Another one is to take its place, which loses nothing. */
  | { readonly act: "recycle"; readonly cause: "limit"; readonly facts: RecycleReason }
  /** The same, by order. */
  | { readonly act: "recycle"; readonly cause: "unfit" }
  /** Its event loop stands still; or it turns, and connections wait all the same. */
  | { readonly act: "recycle"; readonly cause: "stuck" | "not_accepting" };

export type Recycle = Extract<HealthAction, { act: "recycle" }>;

/** Those of the config, and of what a runtime keeps that nobody can take away. */
const RECYCLE_LIMITS = [
  ...["maxRequests", "maxAgeMs", "maxMemoryBytes"] as const,
  ...["maxServerNameBytes", "maxGivenUpPercent"] as const,
];
type RecycleLimit = typeof RECYCLE_LIMITS[number];

/** Which limit a worker has reached. */
export interface RecycleReason {
  readonly reason: RecycleLimit;
  /** Its own one, of its part of chance. */
  readonly limit: number;
  readonly found: number;
}

export interface WorkerFacts extends Readonly<Record<"silentMs" | "servedMs" | "jitter", number>> {
  /** How much it has come to of what is limited. */
  readonly used: Readonly<Record<RecycleLimit, number>>;
}

/**
 * Judges a worker. Those that have reached a limit leave one at a time: the others serve meanwhile, and
 * one more is enough.
 *
 * @param generation whether one of its workers is being replaced, and for how many pulses of each
 *   connections have waited while none is full
 */
export function workerHealth(
  { silentMs, servedMs, jitter, used }: WorkerFacts,
  { recycling, idlePulses }: { readonly recycling: boolean; readonly idlePulses: number },
  { recycle, watchdog: { pulseDeadlineMs } }: Pick<Config, "recycle" | "watchdog">,
): HealthAction | undefined {
  const watched = pulseDeadlineMs > 0;
  if (watched && silentMs > pulseDeadlineMs) return { act: "recycle", cause: "stuck" };
  // One that has reached a limit from the start is not to be replaced without end.
  if (servedMs < MIN_HEALTHY_MS || recycling) return undefined;
  if (watched && idlePulses > pulseDeadlineMs / PULSE_INTERVAL_MS) {
    return { act: "recycle", cause: "not_accepting" };
  }
  const limits = {
    ...recycle,
    maxServerNameBytes: MAX_SERVER_NAME_BYTES,
    maxGivenUpPercent: MAX_GIVEN_UP_PERCENT,
  };
  const facts = recycleReason(limits, used, jitter);
  return facts && { act: "recycle", cause: "limit", facts };
}

/**
 * Which limit a worker has reached, if any.
 *
 * @param jitter 0 to 1, of this worker: those that started together do not all leave together
 */
export function recycleReason(
  limits: Partial<Readonly<Record<RecycleLimit, number | undefined>>>,
  seen: WorkerFacts["used"],
  jitter: number,
): RecycleReason | undefined {
  for (const reason of RECYCLE_LIMITS) {
    const wanted = limits[reason];
    if (wanted === undefined) continue;
    const limit = Math.round(wanted * (1 - JITTER + 2 * JITTER * jitter));
    const found = Math.round(seen[reason]);
    if (found >= limit) return { reason, limit, found };
  }
  return undefined;
}

/** Judges a helper: a call that it does not let go of keeps the others waiting. */
export function helperHealth(
  { overdueMs = 0, silentMs }: {
    readonly overdueMs?: number | undefined;
    readonly silentMs: number;
  },
  { timeoutMs }: Pick<HelperConfig, "timeoutMs">,
): HealthAction | undefined {
  if (overdueMs > STUCK_MARGIN_MS) {
    return { act: "kill", reason: `held on to a call ${overdueMs} ms longer than it may` };
  }
  return silentHealth(silentMs, timeoutMs + STUCK_MARGIN_MS);
}

/** A process that tells nothing of itself for too long is stuck. */
export function silentHealth(silentMs: number, limitMs: number): HealthAction | undefined {
  if (silentMs <= limitMs) return undefined;
  return { act: "kill", reason: `said nothing for ${Math.round(silentMs)} ms` };
}

/**
 * How long to wait before the next try: doubled with each death, up to a ceiling, and up to half of
 * it less by chance, so that several that died of one cause do not all try at once.
 *
 * @param deaths how many died in a row, at least 1
 * @param jitter 0 to 1
 */
export function backoffMs(deaths: number, jitter: number): number {
  const mostMs = Math.min(LONGEST_WAIT_MS, FIRST_WAIT_MS * 2 ** (deaths - 1));
  return Math.round(mostMs * (1 + jitter) / 2);
}

/**
 * How long a process has said nothing, in the time that the supervisor itself was awake. Where the
 * whole machine stood still, or the supervisor did, ticks come late, and what the process said
 * meanwhile has not been read yet: however long it was, it counts as one interval.
 */
export class Heartbeat {
  #silentMs = 0;
  #tickedMs: number;

  constructor(nowMs: number) {
    this.#tickedMs = nowMs;
  }

  /** As of the last tick, in milliseconds. */
  get silentMs(): number {
    return this.#silentMs;
  }

  /** To be called every {@link LOOK_INTERVAL_MS}. */
  tick(nowMs: number): void {
    this.#silentMs += Math.min(nowMs - this.#tickedMs, LOOK_INTERVAL_MS);
    this.#tickedMs = nowMs;
  }

  received(): void {
    this.#silentMs = 0;
  }
}
