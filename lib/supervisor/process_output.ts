/** What a process prints, as events. It is the process's own word: it decides none of the other fields. */
import { escapeUntrusted } from "../base/escape.ts";
import { type Fields, log } from "../base/log.ts";

/** The fields that say whose word it is; a line of JSON has its own of that name with `app_` in front. */
const OURS = ["event", "role", "generation", "worker", "pid", "stream", "text"];

/** Fields of a line of JSON that say again what the event says. */
const SAID_AGAIN = ["level", "severity", "time", "msg", "message"];

/** What the runtime of a process may say of itself, by the mark that its line bears. */
const MARKED = ["refused", "refused_again", "grants_used"];

/** How many fields of a line of JSON are taken over. */
const MAX_FIELDS = 40;

/** Tells what was printed; a line of JSON, as loggers print it, becomes fields. */
export function tellOutput(who: Fields, text: string): void {
  const { level, event, fields } = readLine(text);
  log[level](event, { ...who, text, ...fields });
}

type Level = "info" | "warn" | "error";

function readLine(text: string): { level: Level; event: string; fields?: Fields } {
  const plain = { level: "info", event: "worker_output" } as const;
  if (!text.startsWith("{") || !text.endsWith("}")) return plain;
  try {
    const { holdfast, ...said } = JSON.parse(text) as Record<string, unknown>;
    const { level, severity = level, msg, message = msg } = said;
    const fields = Object.entries(said).slice(0, MAX_FIELDS).flatMap(([name, value]) => {
      if (!/^[a-z][\w.-]{0,63}$/i.test(name) || SAID_AGAIN.includes(name)) return [];
      return [[OURS.includes(name) ? `app_${name}` : name, plainValue(value)]];
    });
    const words = typeof message === "string" && { text: escapeUntrusted(message, Infinity) };
    return {
      level: levelOf(severity),
      event: MARKED.find((each) => each === holdfast) ?? plain.event,
      fields: { ...Object.fromEntries(fields), ...words },
    };
  } catch {
    // It only looks like JSON, or is nested too deep.
    return plain;
  }
}

function plainValue(value: unknown): Fields[string] {
  if (typeof value === "number" || typeof value === "boolean" || value === null) return value;
  return escapeUntrusted(typeof value === "string" ? value : JSON.stringify(value), Infinity);
}

/** The level that loggers give by a name, or by a number as pino and bunyan do. */
function levelOf(level: unknown): Level {
  const number = Number(level);
  if (number >= 50 || /^(err|fatal|crit|alert|emerg|severe|panic)/i.test(`${level}`)) {
    return "error";
  }
  return number >= 40 || /^warn/i.test(`${level}`) ? "warn" : "info";
}

/** What the runtime printed of an error that ended the process: what it is, and where it was thrown. */
export function uncaughtIn(text: string): string | undefined {
  const [first = "", ...rest] = text.split("\n").map((line) => line.trim());
  const what = first.match(/^error: Uncaught (.*)/)?.[1];
  if (what === undefined) return undefined;
  const places = rest.filter((line) => /^at .*file:/.test(line) && !line.includes("$deno$stdin"));
  return places.length === 0 ? what : `${what} (${places.slice(0, 3).join(", ")})`;
}
