/** The log as a person at a terminal reads it, and as systemd's journal takes it. */
import type { LogRecord } from "@std/log";
import { escapeUntrusted } from "../base/escape.ts";
import { encodeEntry, fieldName } from "../base/journal.ts";
import { type Fields, formatJson, type LogFormat } from "../base/log.ts";

const COLOURS = {
  DEBUG: "\x1b[2m",
  INFO: "\x1b[32m",
  WARN: "\x1b[33m",
  ERROR: "\x1b[31m",
  CRITICAL: "\x1b[31;1m",
} as const;

/** sd-daemon(3): the priority that systemd's journal takes off the front of a line. */
const PRIORITIES = { DEBUG: 7, INFO: 6, WARN: 4, ERROR: 3, CRITICAL: 2 } as const;

/** What is the same in each line of an app's output, and said by the beginning of the line. */
const OUTPUT_FACTS = ["role", "generation", "worker", "pid", "stream", "text"];

/** For a terminal; NO_COLOR is heeded. */
export const TERMINAL: LogFormat = {
  toLine: (record) => Deno.noColor ? withoutColours(formatPretty(record)) : formatPretty(record),
};

/** A line of {@linkcode formatPretty} for what is no terminal. */
export function withoutColours(line: string): string {
  // deno-lint-ignore no-control-regex
  return line.replaceAll(/\x1b\[[\d;]*m/g, "");
}

/**
 * For systemd's journal.
 *
 * @param sendEntry sends a datagram to the journal without waiting, and throws if it is not taken: there
 * is no journal, it is slow, or the entry is too long for it
 */
export function journal(sendEntry: (entry: Uint8Array<ArrayBuffer>) => void): LogFormat {
  return {
    toLine: (record) => `<${PRIORITIES[record.levelName]}>${formatJson(record)}`,
    droppedPrefix: `<${PRIORITIES.WARN}>`,
    send: (record) => sendEntry(encodeEntry(journalFields(record))),
  };
}

/**
 * The fields of systemd's journal (systemd.journal-fields(7)): a line to read, and each fact by itself.
 */
export function journalFields(record: LogRecord): [name: string, value: string][] {
  const facts = factsOf(record);
  const line = [record.msg, ...facts.map(([name, text]) => `${name}=${quoted(text)}`)].join(" ");
  return [
    ["MESSAGE", escapeUntrusted(line, Infinity)],
    ["PRIORITY", String(PRIORITIES[record.levelName])],
    ["SYSLOG_IDENTIFIER", "holdfast"],
    [fieldName("event"), record.msg],
    ...facts.map(([name, text]): [string, string] => [fieldName(name), text]),
  ];
}

/** A line for a person at a terminal, with its colours and a line end. */
export function formatPretty(record: LogRecord): string {
  const time = `\x1b[2m${clock(record.datetime)}\x1b[0m`;
  const colour = COLOURS[record.levelName];
  const fields = record.args[0] as Fields;
  if (record.msg === "worker_output") {
    const { role, worker, text } = fields;
    const who = role === "worker" && Number(worker) > 1 ? `worker ${worker}` : String(role);
    const bar = record.levelName === "INFO" ? "│" : `${colour}│\x1b[0m`;
    const more = describe(factsOf(record).filter(([name]) => !OUTPUT_FACTS.includes(name)));
    const lines = `${text}${more && ` ${more}`}`.split("\n");
    return lines.map((line) => `${time} ${who} ${bar} ${line}\n`).join("");
  }
  const level = `${colour}${record.levelName.padEnd(5)}\x1b[0m`;
  const shown = record.msg === "serving" ? { ...fields, listen: urlsOf(fields.listen) } : fields;
  return `${time} ${level} \x1b[1m${record.msg}\x1b[0m ${
    describe(factsOf({ ...record, args: [shown] }))
  }\n`;
}

/** The time of day, as the clock on the wall has it. */
function clock(time: Date): string {
  const two = (number: number) => String(number).padStart(2, "0");
  return [time.getHours(), time.getMinutes(), time.getSeconds()].map(two).join(":");
}

/** Addresses as a browser takes them, to be clicked; a Unix socket stays what it is. */
export function urlsOf(listen: Fields[string]): string {
  const all = Array.isArray(listen) ? listen : [String(listen)];
  return all.map((each) => {
    if (!/:\d+$/.test(each) || each.startsWith("unix:")) return each;
    return `http://${each.replace(/^(0\.0\.0\.0|\[::\])(?=:)/, "localhost")}/`;
  }).join(" ");
}

function describe(facts: readonly (readonly [name: string, text: string])[]): string {
  return facts.map(([name, text]) => `\x1b[2m${name}=\x1b[0m${quoted(text)}`).join(" ");
}

/** The fields that are set, as text; other values as JSON. */
function factsOf(record: LogRecord): [name: string, text: string][] {
  return Object.entries(record.args[0] as Fields)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => [name, typeof value === "string" ? value : JSON.stringify(value)]);
}

function quoted(text: string): string {
  return /^https?:\S+( https?:\S+| unix:\S+)*$/.test(text) || !/[\s"]/.test(text)
    ? text
    : JSON.stringify(text);
}
