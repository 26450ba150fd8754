/** The files of the log folder: events and requests. */
import { join } from "node:path";
import { LogFile } from "./log_file.ts";
import type { Rotation } from "./rotation.ts";

/** The files of a log folder, by what is in them. */
export const LOG_NAMES = { events: "holdfast.log", access: "access.log" } as const;
type Kind = keyof typeof LOG_NAMES;

export interface LogFilesOptions {
  /** Absolute path of a folder that is there and belongs to the logger. */
  readonly folder: string;
  readonly rotation: Rotation;
  /** @default "on" */
  readonly access?: "on" | "off";
  /** Called with problems that the files themselves cannot record: a full disk, a link. */
  readonly onTrouble: (reason: string) => void;
  /** Milliseconds since 1970. */
  readonly now?: () => number;
}

export class LogFiles {
  readonly #events: LogFile;
  readonly #access: LogFile | undefined;

  private constructor(events: LogFile, access: LogFile | undefined) {
    this.#events = events;
    this.#access = access;
  }

  /**
   * Opens the files for append.
   *
   * @throws {HoldfastError} `log_unusable` if one of them cannot be opened; later on nothing throws
   */
  static async open(
    { folder, rotation, access = "on", onTrouble, now }: LogFilesOptions,
  ): Promise<LogFiles> {
    const open = (kind: Kind) =>
      LogFile.open({
        path: join(folder, LOG_NAMES[kind]),
        rotation,
        onTrouble,
        // Both counts go to the events: the access log has only one kind of line.
        onDropped: (lines) => events.writeFirst(formatDropped(LOG_NAMES[kind], lines)),
        ...now === undefined ? {} : { now },
      });
    const events: LogFile = await open("events");
    try {
      return new LogFiles(events, access === "on" ? await open("access") : undefined);
    } catch (error) {
      await events.close(0);
      throw error;
    }
  }

  /**
   * Adds a line of JSON, without its end, to `holdfast.log`.
   *
   * @returns whether there was room for it; otherwise it was dropped and counted
   */
  event(line: string): boolean {
    return this.#events.write(line);
  }

  /** Adds a line to `access.log`; see {@link LogFiles.event}. */
  access(line: string): boolean {
    return this.#access?.write(line) ?? false;
  }

  /** Reopens both files, after they were renamed or removed. */
  async reopen(): Promise<void> {
    await Promise.all([this.#events.reopen(), this.#access?.reopen()]);
  }

  /** Whether writing fails at the moment. */
  get failing(): boolean {
    return this.#events.failing || this.#access?.failing === true;
  }

  /** Whether the files that are written are those at their paths. */
  async areThere(): Promise<boolean> {
    return await this.#events.isThere() && await this.#access?.isThere() !== false;
  }

  /** Waits until all is written, or until `deadlineMs` is over. */
  async flush(deadlineMs: number): Promise<void> {
    await Promise.all([this.#events.flush(deadlineMs), this.#access?.flush(deadlineMs)]);
  }

  /** Writes what is left, for `deadlineMs` at the most, and closes both files. */
  async close(deadlineMs: number): Promise<void> {
    // The access log first: the other file records what it dropped.
    await this.#access?.close(deadlineMs);
    await this.#events.close(deadlineMs);
  }
}

function formatDropped(file: string, lines: number): string {
  const time = new Date().toISOString();
  return JSON.stringify({ time, level: "warn", event: "log_dropped", file, lines });
}
