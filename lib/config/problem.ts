import { HoldfastError } from "../base/error.ts";
import { escapeUntrusted } from "../base/escape.ts";

/** Where in the config file something is; both count from 1, columns in UTF-16 code units. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

/** A problem of a config. */
export interface Problem {
  /** Stable name for logs and tests, in snake_case. */
  readonly code: string;
  /** The key, as `reload.idleGraceMs`, `listen[0]` or `unveil["./data"]`; empty for the file. */
  readonly key: string;
  /** What was found and why it is refused. */
  readonly message: string;
  /** How to fix it. */
  readonly hint: string;
  readonly at: Position | undefined;
  /** The file, where it is another one than the config. */
  readonly file?: string;
}

/** Why a text of the config is refused, before its position is known. */
export class Refusal {
  constructor(readonly code: string, readonly message: string, readonly hint: string) {}
}

// A file that is not a config may have a problem in every line.
const MAX_LINES = 50;
export const MAX_ECHO = 80;

/** All problems of a config file; `message` has one line for each problem. */
export class ConfigError extends HoldfastError {
  readonly problems: readonly Problem[];

  constructor(file: string, problems: readonly Problem[], cause?: unknown) {
    const lines = problems.slice(0, MAX_LINES).map((problem) => formatProblem(file, problem));
    const left = problems.length - lines.length;
    if (left > 0) lines.push(`... and ${left} more`);
    super(lines.join("\n"), { kind: "config", code: "config_invalid", cause });
    this.name = "ConfigError";
    this.problems = problems;
  }
}

/** One line for an operator: `file:line:column: key: what; how to fix it`. */
export function formatProblem(
  config: string,
  { key, message, hint, at, file = config }: Problem,
): string {
  const place = escapeUntrusted(file) + (at === undefined ? "" : `:${at.line}:${at.column}`);
  return [place, ...key === "" ? [] : [key], `${message}; ${hint}`].join(": ");
}

/** Text of the config as it may appear in a message: quoted, escaped and capped. */
export function quote(text: string): string {
  return `"${escapeUntrusted(text, MAX_ECHO)}"`;
}
