/** An audit's results, process by process and attempt by attempt. Pure. */
import type { Area, Attempt } from "./attempt.ts";
import type { Target } from "./setup.ts";
import type { Mode } from "./mode.ts";
import { isContained, type Outcome, type Result } from "./verdict.ts";

/** One attempt against one target, over all modes in which it was made. */
export interface Line {
  /** The target: `worker`, `helper NAME`, or `logger`. */
  readonly process: Target;
  readonly id: string;
  readonly area: Area;
  readonly title: string;
  readonly note: string | undefined;
  readonly outcomes: Readonly<Partial<Record<Mode["name"], Outcome>>>;
  readonly details: Readonly<Partial<Record<Mode["name"], string>>>;
  /**
   * - `held`: refused with both layers, and the attempt works without any.
   * - `contained`: it may happen, within a bound that is known.
   * - `failed`: it got through, or a layer did not do what it is known to do.
   * - `unproven`: it does not work without any wall, so that its refusal says nothing.
   * - `skipped`: it was not made.
   */
  readonly verdict: "held" | "contained" | "failed" | "unproven" | "skipped";
}

export interface Summary {
  readonly lines: readonly Line[];
  /** How many lines have which verdict. */
  readonly counts: Readonly<Record<Line["verdict"], number>>;
  /** Whether nothing got through and every attempt proves something. */
  readonly passed: boolean;
}

/** Sums up. */
export function summarize(results: readonly Result[]): Summary {
  const byTarget = Map.groupBy(results, ({ target }) => target);
  const targets = [...byTarget.keys()].sort((a, b) => rank(a) - rank(b));
  const lines = targets.flatMap((target) => {
    const byAttempt = Map.groupBy(byTarget.get(target)!, ({ attempt }) => attempt);
    return [...byAttempt].map(([attempt, all]) => toLine(target, attempt, all));
  });
  const counts = { held: 0, contained: 0, failed: 0, unproven: 0, skipped: 0 };
  for (const { verdict } of lines) counts[verdict]++;
  return { lines, counts, passed: counts.failed === 0 && counts.unproven === 0 };
}

/** The worker first, the logger last. */
function rank(target: Target): number {
  return target === "worker" ? 0 : target === "logger" ? 2 : 1;
}

function toLine(process: Target, attempt: Attempt, results: readonly Result[]): Line {
  const { id, area, title, note } = attempt;
  const by = <T>(pick: (result: Result) => T) =>
    Object.fromEntries(results.map((result) => [result.mode.name, pick(result)]));
  return {
    ...{ process, id, area, title, note },
    outcomes: by(({ outcome }) => outcome),
    details: by(({ detail }) => detail),
    verdict: judgeAll(attempt, results),
  };
}

function judgeAll(attempt: Attempt, results: readonly Result[]): Line["verdict"] {
  const made = results.filter(({ outcome }) => outcome !== "skipped");
  if (made.length === 0) return "skipped";
  const control = results.find(({ mode }) => mode.name === "neither");
  // Where even this machine, or this user's rights, refuse it, a refusal says nothing of the wall.
  if (control?.outcome === "skipped" && !attempt.stress) return "skipped";
  if (control && !["through", "skipped"].includes(control.outcome)) return "unproven";
  if (made.some(({ asExpected }) => !asExpected)) return "failed";
  const shipping = made.find(({ mode }) => mode.name === "both");
  if (shipping?.outcome === "through") return isContained(attempt) ? "contained" : "failed";
  return "held";
}
