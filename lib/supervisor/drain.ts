/** How processes are told to finish what they have, and how they left. */
import type { Config } from "../config/config.ts";
import type { ToWorker } from "../protocol/to_worker.ts";
import { bestEffort } from "./best_effort.ts";
import { killWorker } from "./bring_up.ts";
import { settlesWithin } from "./timeouts.ts";
import type { WorkerProcess } from "./worker_process.ts";

/** What a process may take over its own deadline before it is killed. */
export const DRAIN_MARGIN_MS = 2_000;

/** What a process that seems stuck may take to show that it is not, before it is killed. */
const STUCK_GRACE_MS = 2_000;

/** Why a process is told to drain. */
export type DrainCause = Extract<ToWorker, { type: "drain" }>["reason"];

/** How a process left that was told to drain, and its last words if it came to say them. */
export interface DrainOutcome {
  readonly end: "ended" | "killed";
  readonly drained: WorkerProcess["drained"];
}

/** How WebSockets may stay in a drain. */
export interface Keeping {
  /** For how long. */
  readonly deadlineMs: number;
  /** Settles when they may not any more, with the reason. */
  readonly letGo: Promise<DrainCause>;
}

/** What is left of a generation when its last worker is gone. */
export interface GenerationRecord {
  readonly generation: number;
  /** How long the drain took, in milliseconds. */
  readonly drainMs: number;
  /** For how long it was kept for its WebSockets after that. */
  readonly keptMs?: number;
  /** Requests answered during the drain. */
  readonly answered: number;
  /** Connections that were cut at the deadline; `null` if a worker could not say. */
  readonly cut: number | null;
  readonly outcome: "drained" | "cut" | "killed" | "died";
}

/**
 * Lets a process finish what it has, until its deadline. Never fails.
 *
 * @param seemsStuck whether it may be unable to: it is killed soon unless it says something
 * @param keeping how its WebSockets may stay before that; it has no more time for anything else
 */
export async function drainProcess(
  process: WorkerProcess | undefined,
  cause: DrainCause,
  { shutdownDelayMs, drainDeadlineMs }: Config["reload"],
  seemsStuck: boolean,
  keeping?: Keeping,
): Promise<DrainOutcome> {
  if (!process?.alive) return { end: "ended", drained: process?.drained };
  const deadlineMs = (cause === "stopping" ? shutdownDelayMs : 0) + drainDeadlineMs;
  if (keeping) await keepWebSockets(process, cause, deadlineMs, keeping);
  if (!process.alive) return { end: "ended", drained: process.drained };
  const reason = keeping ? await Promise.race([keeping.letGo, cause]) : cause;
  // One that has said its last words hears nothing more.
  const told = process.drained !== undefined ||
    bestEffort("drain", () => process.command({ type: "drain", reason }));
  let limitMs = told ? deadlineMs + DRAIN_MARGIN_MS : 0;
  process.endsAtMs = Math.min(process.endsAtMs ?? Infinity, Date.now() + limitMs);
  if (seemsStuck) {
    await settlesWithin(process.exited, STUCK_GRACE_MS);
    if (process.silentMs >= STUCK_GRACE_MS) limitMs = 0;
  }
  if (await settlesWithin(process.exited, limitMs)) {
    return { end: "ended", drained: process.drained };
  }
  await killWorker(process);
  return { end: "killed", drained: process.drained };
}

/** Has it drain all but its WebSockets, and waits until it is gone or these may not stay any more. */
async function keepWebSockets(
  process: WorkerProcess,
  reason: DrainCause,
  afterMs: number,
  { deadlineMs, letGo }: Keeping,
): Promise<void> {
  process.endsAtMs = Date.now() + deadlineMs + afterMs + DRAIN_MARGIN_MS;
  const told = bestEffort("drain", () => process.command({ type: "drain", reason, keep: true }));
  if (told) await settlesWithin(Promise.race([process.exited, letGo]), deadlineMs);
}

/** The drains of all workers as one: the sum of their figures, and the worst of their outcomes. */
export function sumUp(
  ends: readonly DrainOutcome[],
): Pick<GenerationRecord, "answered" | "cut" | "outcome"> {
  const outcomes = ends.map(outcomeOf);
  const sum = (of: "answered" | "cut") =>
    ends.reduce((sum, { drained }) => sum + (drained?.[of] ?? 0), 0);
  return {
    answered: sum("answered"),
    cut: ends.every(({ drained }) => drained) ? sum("cut") : null,
    outcome: OUTCOMES.find((outcome) => outcomes.includes(outcome))!,
  };
}

/** The worst first. */
const OUTCOMES: readonly GenerationRecord["outcome"][] = ["killed", "died", "cut", "drained"];

function outcomeOf({ end, drained }: DrainOutcome): GenerationRecord["outcome"] {
  if (end === "killed") return "killed";
  if (drained === undefined) return "died";
  return drained.cut > 0 ? "cut" : "drained";
}
