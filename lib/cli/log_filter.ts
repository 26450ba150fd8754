/** Which events of a log are asked for, and how they read. Pure. */
import { HoldfastError } from "../base/error.ts";
import { escapeUntrusted } from "../base/escape.ts";
import type { Fields } from "../base/log.ts";
import { formatPretty } from "./log_formats.ts";
import { parseAge } from "./units.ts";

/** One line of a log, as it was read. */
export interface LoggedEvent {
  readonly timeMs: number;
  readonly level: string;
  readonly event: string;
  /** What it has besides. */
  readonly fields: Readonly<Record<string, unknown>>;
}

/** What is asked for; what is not there is not asked. */
export interface LogFilter {
  readonly process?: string | undefined;
  readonly level?: string | undefined;
  readonly event?: string | undefined;
  readonly request?: string | undefined;
  readonly since?: string | undefined;
}

const LEVELS = ["debug", "info", "warn", "error", "critical"];

/** What apps call the id of a request or of its trace. */
const REQUEST_FIELD = /^(app_)?((x[-_.]?)?(request|req|correlation|trace)[-_.]?id)$/i;

/** An event of a line; nothing where it is none. */
export function parseLine(line: string): LoggedEvent | undefined {
  try {
    const value: unknown = JSON.parse(line);
    if (typeof value !== "object" || value === null) return undefined;
    const { time, level, event, ...fields } = value as Record<string, unknown>;
    const timeMs = Date.parse(String(time));
    if (Number.isNaN(timeMs) || typeof event !== "string") return undefined;
    return { timeMs, level: String(level), event, fields };
  } catch {
    return undefined;
  }
}

/**
 * Whether an event is asked for.
 *
 * @param nowMs what ages are counted back from
 * @throws {HoldfastError} for a filter that asks for nothing
 */
export function toPredicate(
  { process, level, event, request, since }: LogFilter,
  nowMs: number,
): (found: LoggedEvent) => boolean {
  const least = level === undefined ? -1 : levelOf(level);
  const sinceMs = sinceOf(since, nowMs);
  const names = event?.split(",").map(asPattern);
  return (found) =>
    found.timeMs >= sinceMs &&
    LEVELS.indexOf(found.level) >= least &&
    (names === undefined || names.some((name) => name.test(found.event))) &&
    (process === undefined || isOf(found, process)) &&
    (request === undefined || isAbout(found, request));
}

/** From when on; from the beginning, if nothing is said. */
export function sinceOf(since: string | undefined, nowMs: number): number {
  if (since === undefined) return 0;
  const age = parseAge(since);
  const time = age === undefined ? Date.parse(since) : nowMs - age;
  if (!Number.isNaN(time)) return time;
  throw usage(
    `--since is no time: ${escapeUntrusted(since, 100)}`,
    "Write how long ago, such as 90s, 10m, 2h or 1d, or a time such as 2026-11-29T14:00Z",
  );
}

function levelOf(level: string): number {
  const index = LEVELS.indexOf(level);
  if (index >= 0) return index;
  throw usage(`--level is none: ${escapeUntrusted(level, 100)}`, `Write ${LEVELS.join(", ")}`);
}

function usage(message: string, hint: string): HoldfastError {
  return new HoldfastError(message, {
    kind: "usage",
    code: "usage",
    hint: `${hint}; see holdfast logs --help`,
  });
}

/** A name of an event, in which `*` stands for anything. */
function asPattern(name: string): RegExp {
  const parts = name.trim().split("*").map((part) => part.replace(/[^\w]/g, "\\$&"));
  return new RegExp(`^${parts.join(".*")}$`);
}

/** By its role (`worker`, `worker.2`, `helper mail`, or `mail`), or by its process id. */
function isOf({ fields: { role, pid } }: LoggedEvent, wanted: string): boolean {
  if (/^\d+$/.test(wanted)) return String(pid) === wanted;
  if (typeof role !== "string") return wanted === "supervisor";
  return [role, role.replace(/\.\d+$/, "")].some((name) =>
    name === wanted || name === `helper ${wanted}`
  );
}

/** A field says so that apps use for it, or the text has it as a word. */
function isAbout({ fields }: LoggedEvent, request: string): boolean {
  const says = Object.entries(fields).some(([name, value]) =>
    REQUEST_FIELD.test(name) && String(value) === request
  );
  if (says || typeof fields.text !== "string") return says;
  const { text } = fields;
  for (let at = text.indexOf(request); at >= 0; at = text.indexOf(request, at + 1)) {
    const around = [text[at - 1] ?? " ", text[at + request.length] ?? " "];
    if (around.every((mark) => !/[\w-]/.test(mark))) return true;
  }
  return false;
}

const LEVEL_NAMES = {
  debug: "DEBUG",
  info: "INFO",
  warn: "WARN",
  error: "ERROR",
  critical: "CRITICAL",
} as const;

/**
 * An event as a person reads it, without a line end. The logger is trusted with nothing: what it wrote has
 * no effect on a terminal.
 *
 * @param today the day on which no date is written
 */
export function formatEvent({ timeMs, level, event, fields }: LoggedEvent, today: Date): string {
  const datetime = new Date(timeMs);
  const safe = Object.entries(fields).map(([name, value]) => [escaped(name), harmless(value)]);
  const text = formatPretty({
    ...{
      datetime,
      msg: escaped(event),
      loggerName: "",
      args: [Object.fromEntries(safe) as Fields],
    },
    levelName: LEVEL_NAMES[level as keyof typeof LEVEL_NAMES] ?? "INFO",
  }).trimEnd();
  if (dayOf(datetime) === dayOf(today)) return text;
  return text.split("\n").map((line) => `${dayOf(datetime)} ${line}`).join("\n");
}

function dayOf(time: Date): string {
  const two = (number: number) => String(number).padStart(2, "0");
  return `${time.getFullYear()}-${two(time.getMonth() + 1)}-${two(time.getDate())}`;
}

/** What a terminal shows as it is; lines of a text stay lines. */
function harmless(value: unknown): unknown {
  if (typeof value === "string") return value.split("\n").map(escaped).join("\n");
  if (typeof value === "number" || typeof value === "boolean" || value === null) return value;
  return escaped(JSON.stringify(value));
}

function escaped(text: string): string {
  return escapeUntrusted(text, Infinity);
}
