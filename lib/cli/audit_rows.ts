/** An audit, attempt by attempt over all processes. Pure. */
import { MODES } from "../audit/mode.ts";
import type { Line } from "../audit/summary.ts";

export const WORDS = {
  through: "got through",
  refused: "refused",
  unclear: "unclear",
  skipped: "not made",
} as const;

/** One attempt over all processes that it was made against. */
export interface Row {
  /** Of the first process that it is for: what the layers do is the same in the others. */
  readonly line: Line;
  /** By the names of the processes. */
  readonly verdicts: ReadonlyMap<string, Line["verdict"]>;
}

export function toRows(lines: readonly Line[]): Row[] {
  const byId = Map.groupBy(lines, ({ id }) => id);
  return [...byId.values()].map((all) => ({
    line: all.find(({ verdict }) => verdict !== "skipped") ?? all[0]!,
    verdicts: new Map(all.map(({ process, verdict }) => [process, verdict])),
  }));
}

export function processesOf(lines: readonly Line[]): string[] {
  return [...new Set(lines.map(({ process }) => process))];
}

export function verdictsOf({ verdicts }: Row, processes: readonly string[]): string[] {
  return processes.map((process) => {
    const verdict = verdicts.get(process);
    return verdict === undefined || verdict === "skipped" ? "-" : verdict;
  });
}

export function outcomesOf({ outcomes }: Line): string[] {
  return MODES.map(({ name }) => outcomes[name] === undefined ? "-" : WORDS[outcomes[name]]);
}
