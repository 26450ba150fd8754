/** What is to become of a process that lives: judged by what is known of it from outside. Pure. */
import type { Config, HelperConfig } from "../config/config.ts";
import type { WorkerProcess } from "./worker_process.ts";

/** How long an instance of a helper may hold on to a call that is over, or say nothing at all. */
const STUCK_MARGIN_MS = 2_000;

/** By which part a worker's own limits differ from those of the config, at the most. */
const JITTER = 0.1;

export type Verdict =
  /** It is of no use any more, and in the way. */
  | { readonly act: "kill"; readonly reason: string }
  /** Another one is to take its place; one that is only worn out loses nothing. */
  | { readonly act: "renew"; readonly cause: "worn_out"; readonly facts: WornOut }
  | { readonly act: "renew"; readonly cause: "stuck" | "unfit" }
  /** Its event loop turns, and connections wait all the same. */
  | { readonly act: "renew"; readonly cause: "not_accepting" };

export type Renewal = Extract<Verdict, { act: "renew" }>;

/** Which limit a worker has reached. */
export interface WornOut {
  readonly reason: keyof Config["recycle"];
  /** Its own one, of its part of chance. */
  readonly limit: number;
  readonly found: number;
}

/**
 * Which limit a worker has reached, if any.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 *
 * const seen = { maxRequests: 950, maxAgeMs: 0, maxMemoryBytes: 0 };
 * assertEquals(wornOut({ maxRequests: 1000 }, seen, 0), {
 *   reason: "maxRequests",
 *   limit: 900,
 *   found: 950,
 * });
 * assertEquals(wornOut({ maxRequests: 1000 }, seen, 1), undefined);
 * ```
 *
 * @param chance 0 to 1, of this worker: those that started together do not all leave together
 */
export function wornOut(
  limits: Config["recycle"],
  seen: Readonly<Record<keyof Config["recycle"], number>>,
  chance: number,
): WornOut | undefined {
  for (const reason of ["maxRequests", "maxAgeMs", "maxMemoryBytes"] as const) {
    const wanted = limits[reason];
    if (wanted === undefined) continue;
    const limit = Math.round(wanted * (1 - JITTER + 2 * JITTER * chance));
    const found = Math.round(seen[reason]);
    if (found >= limit) return { reason, limit, found };
  }
  return undefined;
}

/** What a worker has open besides its clients' connections. */
const OWN_DESCRIPTORS = 48;

/**
 * Whether a worker accepts nothing since its clients have all descriptors that it may have. Another
 * one would be as full soon, and what its clients do is their own.
 */
export function isFull(connections: number, descriptorLimit: number): boolean {
  return connections + OWN_DESCRIPTORS >= descriptorLimit;
}

/** A call that its helper does not let go of keeps the others waiting. */
export function judgeHelper(
  process: Pick<WorkerProcess, "figures" | "silentMs">,
  { timeoutMs }: HelperConfig,
): Verdict | undefined {
  const { figures: { overdueMs = 0 }, silentMs } = process;
  if (overdueMs > STUCK_MARGIN_MS) {
    return { act: "kill", reason: `held on to a call ${overdueMs} ms longer than it may` };
  }
  return judgeSilence(silentMs, timeoutMs + STUCK_MARGIN_MS);
}

/** A process that tells nothing of itself for too long is stuck. */
export function judgeSilence(silentMs: number, limitMs: number): Verdict | undefined {
  if (silentMs <= limitMs) return undefined;
  return { act: "kill", reason: `said nothing for ${Math.round(silentMs)} ms` };
}
