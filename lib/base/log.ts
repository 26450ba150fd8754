/** The log of the supervisor: one event a line on stderr, or an entry of the journal; fields are facts. */
import { getLogger, type LogRecord, setup } from "@std/log";
import { escapeUntrusted } from "./escape.ts";
import { encodeEntry, fieldName } from "./journal.ts";

/** The fields of a log line. */
export type Fields = Record<string, string | number | boolean | undefined | null | string[]>;

const COLOURS = {
  DEBUG: "\x1b[2m",
  INFO: "\x1b[32m",
  WARN: "\x1b[33m",
  ERROR: "\x1b[31m",
  CRITICAL: "\x1b[31;1m",
} as const;

/** One JSON object, with a line end. */
export function formatJson(record: LogRecord): string {
  const fields = record.args[0] as Fields;
  return `${
    JSON.stringify({
      time: record.datetime.toISOString(),
      level: record.levelName.toLowerCase(),
      event: record.msg,
      ...fields,
    })
  }\n`;
}

/** sd-daemon(3): the priority that systemd's journal takes off the front of a line. */
const PRIORITIES = { DEBUG: 7, INFO: 6, WARN: 4, ERROR: 3, CRITICAL: 2 } as const;

/** One JSON object as systemd's journal wants it, with a line end. */
export function formatJournal(record: LogRecord): string {
  return `<${PRIORITIES[record.levelName]}>${formatJson(record)}`;
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
  const fields = factsOf(record).map(([name, text]) => `\x1b[2m${name}=\x1b[0m${quoted(text)}`);
  const time = record.datetime.toISOString().slice(11, 23);
  const level = `${COLOURS[record.levelName]}${record.levelName.padEnd(5)}\x1b[0m`;
  return `\x1b[2m${time}\x1b[0m ${level} \x1b[1m${record.msg}\x1b[0m ${fields.join(" ")}\n`;
}

/** The fields that are set, as text; other values as JSON. */
function factsOf(record: LogRecord): [name: string, text: string][] {
  return Object.entries(record.args[0] as Fields)
    .filter(([, value]) => value !== undefined)
    .map(([name, value]) => [name, typeof value === "string" ? value : JSON.stringify(value)]);
}

function quoted(text: string): string {
  return /[\s"]/.test(text) ? JSON.stringify(text) : text;
}

function formatDropped(lines: number): string {
  const time = new Date().toISOString();
  return `${JSON.stringify({ time, level: "warn", event: "log_dropped", lines })}\n`;
}

const LINE_END = 0x0a;

/**
 * What waits for a slow reader of stderr, in UTF-16 code units; lines beyond it are dropped and counted.
 * It takes what several processes may print at once.
 */
const MAX_WAITING_UNITS = 8 * 1024 * 1024;

/**
 * Writes lines in order without ever making the caller wait: a full pipe or a full disk behind
 * stderr must not stop the supervisor.
 */
export class LineWriter {
  /** A prefix of the line with the count of dropped lines. */
  droppedPrefix = "";
  readonly #write: (bytes: Uint8Array) => Promise<number>;
  readonly #encoder = new TextEncoder();
  #waiting: string[] = [];
  #waitingUnits = 0;
  #writing: Promise<void> | undefined;
  #dropped = 0;
  /** Whether the last byte that was taken is in the middle of a line. */
  #torn = false;

  constructor(write: (bytes: Uint8Array) => Promise<number>) {
    this.#write = write;
  }

  write(line: string): void {
    if (this.#waitingUnits >= MAX_WAITING_UNITS) {
      this.#dropped++;
      return;
    }
    this.#waiting.push(line);
    this.#waitingUnits += line.length;
    this.#writing ??= this.#run();
  }

  /** Waits until all is written, or until `deadlineMs` is over. */
  async flush(deadlineMs: number): Promise<void> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<void>((resolve) => timer = setTimeout(resolve, deadlineMs));
    await Promise.race([this.#writing, late]);
    clearTimeout(timer);
  }

  async #run(): Promise<void> {
    // Lines of the same turn go out together; and the caller has set `#writing` by then.
    await undefined;
    while (this.#waiting.length > 0) {
      const lines = this.#waiting;
      const dropped = this.#dropped;
      this.#waiting = [];
      this.#waitingUnits = 0;
      this.#dropped = 0;
      const text = lines.join("") +
        (dropped > 0 ? this.droppedPrefix + formatDropped(dropped) : "");
      // End a torn line here, so that it does not spoil the next.
      const bytes = this.#encoder.encode(this.#torn ? `\n${text}` : text);
      let written = 0;
      try {
        while (written < bytes.length) written += await this.#write(bytes.subarray(written));
        this.#torn = false;
      } catch {
        if (written > 0) this.#torn = bytes[written - 1] !== LINE_END;
        // The reader of stderr is gone or its disk is full: report it once it takes lines again.
        this.#dropped += dropped + lines.length;
      }
    }
    // No await between the last check and the reset, so no line can be added unnoticed.
    this.#writing = undefined;
  }
}

const writer = new LineWriter((bytes) => Deno.stderr.write(bytes));

/** Output of processes: these events go only to the log files, if there are any. */
const OUTPUT_EVENTS = ["worker_output", "worker_output_dropped"];

const counts = new Map<string, number>();

/** How often each event was logged since this process started. */
export function countEvents(): Record<string, number> {
  return Object.fromEntries(counts);
}

let writeToFiles: ((line: string) => void) | undefined;

/**
 * Sends every event to the log files too.
 *
 * @param write takes a line of JSON without its end; nothing ends it
 */
export function logToFiles(write: ((line: string) => void) | undefined): void {
  writeToFiles = write;
}

/**
 * Starts the log on stderr; `pretty` is for a terminal, `journal` for systemd's journal.
 *
 * @param sendEntry sends a datagram to the journal without waiting, and throws if it is not taken:
 *   what the journal does not take goes to stderr
 */
export function configureLog(
  format: "json" | "journal" | "pretty" | "none",
  sendEntry?: (entry: Uint8Array<ArrayBuffer>) => void,
): void {
  if (format === "none") return setup({ level: "INFO", handler: { handle: () => {} } });
  const toLine = { json: formatJson, journal: formatJournal, pretty: formatPretty }[format];
  writer.droppedPrefix = format === "journal" ? `<${PRIORITIES.WARN}>` : "";
  const handle = (record: LogRecord) => {
    counts.set(record.msg, (counts.get(record.msg) ?? 0) + 1);
    if (writeToFiles) {
      writeToFiles(formatJson(record).trimEnd());
      if (OUTPUT_EVENTS.includes(record.msg)) return;
    }
    try {
      if (sendEntry) return sendEntry(encodeEntry(journalFields(record)));
    } catch {
      // No journal, one that is slow, or an entry that is too long for it.
    }
    writer.write(toLine(record));
  };
  setup({ level: "INFO", handler: { handle } });
}

/** Waits, at most a second, until the log is written. */
export function flushLog(): Promise<void> {
  return writer.flush(1000);
}

/** The log. The first argument is an event's name in snake_case, the second its facts. */
export const log = getLogger() as {
  [level in "info" | "warn" | "error"]: (event: string, fields?: Fields) => void;
};
