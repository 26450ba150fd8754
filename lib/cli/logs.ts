/** `holdfast logs`: the events of a log, filtered, as a person reads them. */
import { resolve } from "node:path";
import { escapeUntrusted } from "../base/escape.ts";
import { HoldfastError } from "../base/error.ts";
import { EXIT } from "../base/exit_code.ts";
import type { CliCommand } from "./command.ts";
import { followLines, readLines } from "./follow_file.ts";
import { formatEvent, type LogFilter, parseLine, sinceOf, toPredicate } from "./log_filter.ts";
import { withoutColours } from "./log_formats.ts";
import { eventLogOf, oldLogsOf, unreadable } from "./log_place.ts";
import { loadConfig } from "./load_config.ts";
import { printLine } from "./terminal.ts";

/** How many are printed, where neither a time nor a number is named. */
const DEFAULT_LINES = 100;

/** What is asked of a log. */
export interface LogsOptions extends LogFilter {
  readonly follow: boolean;
  /** How many at most, of those that are there already. */
  readonly lines?: string | undefined;
}

/** Prints what is asked for of the log of the config. */
export const logs: CliCommand = async ({ config: file, log, json, logs: asked, system }) => {
  const path = log === undefined
    ? eventLogOf(await loadConfig(file, system))
    : log === "-"
    ? "/dev/stdin"
    : resolve(log);
  const nowMs = Date.now();
  const isWanted = toPredicate(asked, nowMs);
  const isTerminal = Deno.stdout.isTerminal();
  const isColoured = isTerminal && !Deno.noColor;
  /** What is printed of a line; nothing if it is not asked for. */
  const show = (line: string): string | undefined => {
    const event = parseLine(line);
    if (event === undefined || !isWanted(event)) return undefined;
    if (json) return isTerminal ? escapeUntrusted(line, Infinity) : line;
    const text = formatEvent(event, new Date());
    return isColoured ? text : withoutColours(text);
  };
  const most = linesOf(asked, log === "-");
  try {
    if (log === "-") return await print(path, show, most);
    if (asked.follow) return await follow(path, show, most);
    const files = log === undefined ? oldLogsOf(path) : [];
    const found = await read(path, show, most);
    // After a rotation the newest file may have less than is asked for.
    const sinceMs = asked.since === undefined ? -1 : sinceOf(asked.since, nowMs);
    for (const old of files.toReversed()) {
      if (found.length >= most || old.endMs < sinceMs) break;
      found.unshift(...await read(old.path, show, most - found.length));
    }
    printAll(found);
    return EXIT.ok;
  } catch (error) {
    throw error instanceof HoldfastError ? error : unreadable(path, error);
  }
};

function linesOf({ lines, since }: LogsOptions, isPiped: boolean): number {
  if (lines === undefined) return since === undefined && !isPiped ? DEFAULT_LINES : Infinity;
  if (/^[1-9]\d{0,8}$/.test(lines)) return Number(lines);
  throw new HoldfastError(`--lines is no number: ${escapeUntrusted(lines, 100)}`, {
    kind: "usage",
    code: "usage",
    hint: "Write how many events, such as 20; see holdfast logs --help",
  });
}

/** Each as it comes, or the last of all. */
async function print(
  path: string,
  show: (line: string) => string | undefined,
  most: number,
): Promise<number> {
  if (most === Infinity) {
    for await (const line of readLines(path)) {
      const shown = show(line);
      if (shown !== undefined && printLine(shown) === "unread") break;
    }
  } else printAll(await read(path, show, most));
  return EXIT.ok;
}

function printAll(lines: readonly string[]): void {
  if (lines.length > 0) printLine(lines.join("\n"));
}

/** The last of those that are asked for. */
async function read(
  path: string,
  show: (line: string) => string | undefined,
  most: number,
): Promise<string[]> {
  const found: string[] = [];
  for await (const line of readLines(path)) {
    const shown = show(line);
    if (shown === undefined) continue;
    found.push(shown);
    if (found.length > 2 * most) found.splice(0, found.length - most);
  }
  return most === Infinity ? found : found.slice(-most);
}

/** Until it is interrupted, or nobody reads it any more. */
async function follow(
  path: string,
  show: (line: string) => string | undefined,
  most: number,
): Promise<number> {
  const end = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    Deno.addSignalListener(signal, () => end.abort());
  }
  // Of what is there already, the last; then each at once.
  let early: string[] | undefined = [];
  const flush = () => {
    printAll(early ?? []);
    early = undefined;
  };
  for await (const line of followLines(path, { signal: end.signal, onEnd: flush })) {
    const shown = show(line);
    if (shown === undefined) continue;
    if (early === undefined) {
      if (printLine(shown) === "unread") break;
    } else {
      early.push(shown);
      if (early.length > most) early.shift();
    }
  }
  return EXIT.ok;
}
