/** What a check is, and what it finds. */
import type { Facts } from "./facts.ts";

/** From what is fine to what is in the way. */
export const STATES = ["ok", "note", "warning", "fault"] as const;
export type State = (typeof STATES)[number];

/** One thing that was found. */
export interface Finding {
  readonly state: State;
  readonly found: string;
  /** What mends it: a command, or a line of the config. */
  readonly mend?: string;
}

/** A question about a machine and a config. What is no question here finds nothing. */
export interface Check {
  /** For programs; it stays as it is. */
  readonly id: string;
  readonly title: string;
  readonly run: (facts: Facts) => readonly Finding[];
}

export const ok = (found: string): Finding => ({ state: "ok", found });
export const note = (found: string, mend?: string): Finding => make("note", found, mend);
export const warning = (found: string, mend?: string): Finding => make("warning", found, mend);
export const fault = (found: string, mend?: string): Finding => make("fault", found, mend);

function make(state: State, found: string, mend: string | undefined): Finding {
  return { state, found, ...mend !== undefined && { mend } };
}

/** What was found; `good` if that is nothing. */
export function or(findings: readonly Finding[], good: string): readonly Finding[] {
  return findings.length > 0 ? findings : [ok(good)];
}

const UNITS = ["bytes", "KiB", "MiB", "GiB", "TiB"];

/** A size in words. */
export function size(bytes: number): string {
  const power = Math.min(Math.max(0, Math.floor(Math.log2(Math.max(1, bytes)) / 10)), 4);
  return `${Number((bytes / 1024 ** power).toPrecision(3))} ${UNITS[power]}`;
}
