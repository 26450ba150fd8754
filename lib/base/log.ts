/** The log of the supervisor: one event a line on stderr, or an entry of the journal; fields are facts. */
import { getLogger, type LogRecord, setup } from "@std/log";

/** The fields of a log line. */
export type Fields = Record<string, string | number | boolean | undefined | null | string[]>;

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
const OUTPUT_EVENTS = ["worker_output", "worker_output_dropped", "grants_used"];

const counts = new Map<string, number>();

/** How often each event was logged since this process started. */
export function countEvents(): Record<string, number> {
  return Object.fromEntries(counts);
}

let writeToFiles: ((line: string) => void) | undefined;

/** How many lines are kept for log files that are still to come; what processes print is limited. */
const MAX_EARLY = 1_000;

/** What was logged before it was known whether there are log files. */
let early: string[] | undefined = [];

/**
 * Sends every event to the log files too, with those from before the first call.
 *
 * @param write takes a line of JSON without its end; nothing ends it
 */
export function logToFiles(write: ((line: string) => void) | undefined): void {
  writeToFiles = write;
  if (write) early?.forEach((line) => write(line));
  early = undefined;
}

/** How the log is written to stderr. */
export interface LogFormat {
  /** A line, with its end. */
  toLine(record: LogRecord): string;
  /** A prefix of the line with the count of dropped lines. */
  readonly droppedPrefix?: string;
  /** Takes a record in place of stderr; where it throws, the record goes to stderr. */
  send?(record: LogRecord): void;
}

/** Starts the log on stderr. */
export function configureLog(format: "json" | "none" | LogFormat): void {
  if (format === "none") return setup({ level: "INFO", handler: { handle: () => {} } });
  const how: LogFormat = format === "json" ? { toLine: formatJson } : format;
  writer.droppedPrefix = how.droppedPrefix ?? "";
  const handle = (record: LogRecord) => {
    counts.set(record.msg, (counts.get(record.msg) ?? 0) + 1);
    if (writeToFiles) {
      writeToFiles(formatJson(record).trimEnd());
      if (OUTPUT_EVENTS.includes(record.msg)) return;
    } else if (early && early.length < MAX_EARLY) early.push(formatJson(record).trimEnd());
    try {
      if (how.send) return how.send(record);
    } catch {
      // What does not take it leaves it to stderr.
    }
    writer.write(how.toLine(record));
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
