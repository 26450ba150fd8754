/**
 * A file that lines are appended to. The writer never waits and gets no errors: on a full disk, lines are
 * dropped and counted.
 */
import { Buffer } from "node:buffer";
import { constants } from "node:fs";
import { open } from "node:fs/promises";
import { HoldfastError } from "../base/error.ts";
import { type Rotation, setAside, tidy } from "./rotation.ts";

/** Lines and bytes that wait for the disk; beyond either, lines are dropped and counted. */
export const MAX_WAITING_LINES = 16_384;
export const MAX_WAITING_BYTES = 4 * 1024 * 1024;

/** What goes out in one write, in bytes; a longer line goes alone. */
const MAX_BATCH_BYTES = 64 * 1024;

/** The first and the longest pause after a write that failed. */
const MIN_PAUSE_MS = 100;
const MAX_PAUSE_MS = 5_000;

/** How long the old file stays in use after a new one could not be opened. */
const ROTATION_PAUSE_MS = 10_000;

/** Only the logger's user writes; its group reads, which is how a log shipper gets in. */
const FILE_MODE = 0o640;

const LINE_END = 0x0a;

export interface LogFileOptions {
  /** Absolute path; the file is created if it is not there. */
  readonly path: string;
  readonly rotation: Rotation;
  /**
   * Called when lines are written again after some were dropped.
   *
   * @returns whether the count was taken; if not, it is offered again later
   */
  readonly onDropped: (lines: number) => boolean;
  /** Called when the disk begins to fail, once until it works again. */
  readonly onTrouble: (reason: string) => void;
  /** Milliseconds since 1970. */
  readonly now?: () => number;
}

export class LogFile {
  readonly #options: LogFileOptions;
  readonly #now: () => number;
  readonly #encoder = new TextEncoder();
  #file: Deno.FsFile;
  /** Bytes in the file, as far as known without a stat. */
  #size = 0;
  #bornMs = 0;
  /** Lines with their ends. */
  #waiting: string[] = [];
  #waitingBytes = 0;
  /** The part of a batch that is not written yet. */
  #rest: Uint8Array | undefined;
  /** Whether the last byte that was taken is in the middle of a line. */
  #torn = false;
  #dropped = 0;
  #running: Promise<void> | undefined;
  #wake: (() => void) | undefined;
  #pauseMs = 0;
  #reopening: PromiseWithResolvers<void> | undefined;
  /** Whether a reopening has failed and will be tried again. */
  #overdue = false;
  /** No other file is tried before this. */
  #notBeforeMs = 0;
  #closed = false;
  #tidying: Promise<void> = Promise.resolve();

  private constructor(options: LogFileOptions, file: Deno.FsFile) {
    this.#options = options;
    this.#now = options.now ?? Date.now;
    this.#file = file;
  }

  /**
   * Opens the file for append.
   *
   * @throws {HoldfastError} `log_unusable` if it cannot be opened, or is not a regular file
   */
  static async open(options: LogFileOptions): Promise<LogFile> {
    const file = new LogFile(options, await openAppend(options.path));
    await file.#measure();
    file.#tidy();
    return file;
  }

  /**
   * Adds a line, which comes without its end.
   *
   * @returns whether there was room for it; otherwise it was dropped and counted
   */
  write(line: string): boolean {
    // A line end that was not escaped must not forge a line.
    const whole = line.includes("\n") ? line.replaceAll("\n", "\\x0A") : line;
    const bytes = Buffer.byteLength(whole) + 1;
    const room = this.#waiting.length < MAX_WAITING_LINES &&
      this.#waitingBytes + bytes <= MAX_WAITING_BYTES;
    if (!room || this.#closed) {
      this.#dropped++;
      return false;
    }
    this.#waiting.push(`${whole}\n`);
    this.#waitingBytes += bytes;
    this.#start();
    return true;
  }

  /** Adds a line before all that wait, to report dropped lines. */
  writeFirst(line: string): boolean {
    if (this.#closed || this.#waiting.length > MAX_WAITING_LINES) return false;
    this.#waiting.unshift(`${line}\n`);
    this.#waitingBytes += Buffer.byteLength(line) + 1;
    this.#start();
    return true;
  }

  /**
   * Reopens the path, after the file was renamed or removed; what was added before goes
   * to the old file or the new one, and nothing is lost. If it cannot be opened, the old file stays.
   */
  reopen(): Promise<void> {
    if (this.#closed) return Promise.resolve();
    this.#reopening ??= Promise.withResolvers();
    const { promise } = this.#reopening;
    this.#start();
    this.#wake?.();
    return promise;
  }

  /** Whether writing fails at the moment. */
  get failing(): boolean {
    return this.#pauseMs > 0;
  }

  /** Whether the file that is written is the one at its path. */
  async isThere(): Promise<boolean> {
    try {
      return isSame(await Deno.lstat(this.#options.path), await this.#file.stat());
    } catch {
      return false;
    }
  }

  /** Waits until all is written, or until `deadlineMs` is over. */
  async flush(deadlineMs: number): Promise<void> {
    if (this.#running !== undefined) await within(this.#running, deadlineMs);
  }

  /** Writes what is left, for `deadlineMs` at the most, and closes the file. */
  async close(deadlineMs: number): Promise<void> {
    this.#wake?.();
    await this.flush(deadlineMs);
    this.#closed = true;
    this.#wake?.();
    await within(Promise.allSettled([this.#running, this.#tidying]), deadlineMs);
    this.#file.close();
  }

  #start(): void {
    this.#running ??= this.#run();
  }

  async #run(): Promise<void> {
    // Lines of the same turn go out together; and the caller has set `#running` by then.
    await undefined;
    while (this.#hasWork()) {
      try {
        await this.#step();
        this.#pauseMs = 0;
      } catch (error) {
        if (this.#pauseMs === 0) this.#options.onTrouble(describe(error));
        this.#pauseMs = Math.min(Math.max(this.#pauseMs * 2, MIN_PAUSE_MS), MAX_PAUSE_MS);
        if (!this.#closed) await this.#sleep(this.#pauseMs);
      }
      if (this.#closed && this.#pauseMs > 0) break;
    }
    // No await between the last check and the reset, so no line can be added unnoticed.
    this.#running = undefined;
  }

  #hasWork(): boolean {
    return this.#rest !== undefined || this.#waiting.length > 0 || this.#reopening !== undefined;
  }

  /** Finishes what is half written, or changes the file, or writes the next lines: one of these. */
  async #step(): Promise<void> {
    if (this.#rest !== undefined) {
      if (this.#pauseMs > 0) await this.#mend();
      await this.#writeRest();
    } else if (this.#reopening !== undefined) {
      await this.#reopenNow();
    } else {
      if (this.#isDue()) await this.#rotate();
      this.#rest = concat(this.#rest, this.#takeBatch());
      await this.#writeRest();
    }
    if (this.#dropped > 0 && this.#options.onDropped(this.#dropped)) this.#dropped = 0;
  }

  #takeBatch(): Uint8Array {
    const room = Math.min(MAX_BATCH_BYTES, this.#options.rotation.maxBytes - this.#size);
    let count = 0;
    let bytes = 0;
    for (const line of this.#waiting) {
      const more = Buffer.byteLength(line);
      if (count > 0 && bytes + more > room) break;
      bytes += more;
      count++;
    }
    this.#waitingBytes -= bytes;
    return this.#encoder.encode(this.#waiting.splice(0, count).join(""));
  }

  async #writeRest(): Promise<void> {
    while (this.#rest !== undefined) {
      const rest = this.#rest;
      let written = 0;
      try {
        // A disk that is nearly full takes a part; only the next write fails.
        written = await this.#file.write(rest);
      } catch (error) {
        // The space of a removed file is freed only when it is closed here.
        if (this.#reopening === undefined) throw error;
        this.#skipTorn();
        await this.#reopenNow();
        continue;
      }
      if (written === 0) throw new Error(`Cannot write ${this.#options.path}: nothing was taken`);
      // The file may have been emptied to make room, between the halves of a line.
      if (this.#torn && await this.#wasEmptied(written)) continue;
      this.#size += written;
      this.#torn = rest[written - 1] !== LINE_END;
      this.#rest = written < rest.length ? rest.subarray(written) : undefined;
    }
  }

  /**
   * After a failure: if the file was emptied to make room, the beginning of the line that is
   * half written is gone, and so its end must go too.
   */
  async #mend(): Promise<void> {
    const { size } = await this.#file.stat();
    const emptied = size < this.#size;
    this.#size = size;
    if (emptied) this.#skipTorn();
  }

  /**
   * After a write that continued a torn line: if the file was emptied before it, the written part begins in
   * the middle of a line. It is removed, and only whole lines are written again.
   */
  async #wasEmptied(written: number): Promise<boolean> {
    const { size } = await this.#file.stat();
    if (size !== written) return false;
    await this.#file.truncate(0);
    this.#size = 0;
    this.#skipTorn();
    return true;
  }

  /** Gives up the end of a line whose beginning is elsewhere. */
  #skipTorn(): void {
    if (this.#rest === undefined || !this.#torn) return;
    const end = this.#rest.indexOf(LINE_END) + 1;
    this.#rest = end < this.#rest.length ? this.#rest.subarray(end) : undefined;
    this.#torn = false;
    this.#dropped++;
  }

  async #reopenNow(): Promise<void> {
    const { resolve } = this.#reopening!;
    this.#reopening = undefined;
    try {
      await this.#openAnew();
      this.#overdue = false;
    } catch (error) {
      this.#overdue = true;
      this.#postpone(error);
    } finally {
      resolve();
    }
  }

  /** Whether another file is due before the next line. */
  #isDue(): boolean {
    const now = this.#now();
    if (now < this.#notBeforeMs) return false;
    if (this.#overdue) return true;
    if (this.#size === 0) return false;
    const { maxBytes, maxAgeMs } = this.#options.rotation;
    return this.#size + Buffer.byteLength(this.#waiting[0]!) > maxBytes ||
      (maxAgeMs > 0 && now - this.#bornMs >= maxAgeMs);
  }

  /** Renames the file and starts another. If that fails, the old one stays in use. */
  async #rotate(): Promise<void> {
    const { path } = this.#options;
    try {
      const own = await this.#file.stat();
      const there = await Deno.lstat(path).catch(() => undefined);
      // A file of another program there must not be renamed.
      if (there !== undefined && isSame(there, own)) {
        this.#size = own.size;
        // It may have been emptied meanwhile, or be the new one already.
        if (!this.#overdue && this.#isDue()) await setAside(path, this.#now());
      }
      await this.#openAnew();
      this.#overdue = false;
      this.#tidy();
    } catch (error) {
      this.#postpone(error);
    }
  }

  #postpone(error: unknown): void {
    this.#notBeforeMs = this.#now() + ROTATION_PAUSE_MS;
    this.#options.onTrouble(describe(error));
  }

  async #openAnew(): Promise<void> {
    const file = await openAppend(this.#options.path);
    const old = this.#file;
    this.#file = file;
    old.close();
    await this.#measure();
  }

  async #measure(): Promise<void> {
    const { size, birthtime, mtime } = await this.#file.stat();
    this.#size = size;
    // Not every file system knows when a file was made.
    const born = birthtime ?? mtime;
    this.#bornMs = size === 0 || born === null ? this.#now() : born.getTime();
    this.#torn = size > 0 && await lastByte(this.#file) !== LINE_END;
    // A logger that was killed, or ended while the disk was full, left half a line.
    if (this.#torn) this.#rest = concat(new Uint8Array([LINE_END]), this.#rest);
  }

  /** Compresses and removes old files, while lines are written. */
  #tidy(): void {
    const { path, rotation, onTrouble } = this.#options;
    this.#tidying = this.#tidying.then(() => tidy(path, rotation))
      .catch((error) => onTrouble(describe(error)));
  }

  #sleep(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve();
      };
    });
  }
}

/**
 * Opens a file for append, created if it is not there; never what a link or a FIFO leads to.
 * open(2): O_NOFOLLOW fails with ELOOP on a link; O_NONBLOCK fails with ENXIO instead of waiting for
 * a FIFO's reader, and means nothing to a regular file.
 */
async function openAppend(path: string): Promise<Deno.FsFile> {
  const { O_WRONLY, O_APPEND, O_CREAT, O_NOFOLLOW, O_NONBLOCK } = constants;
  const flags = O_WRONLY | O_APPEND | O_CREAT | O_NOFOLLOW | O_NONBLOCK;
  try {
    const found = await open(path, flags, FILE_MODE);
    try {
      // Deno.open does not have these flags, but node:fs does not report how much of a failed write is in the
      // file. So node:fs finds the file, and Deno opens it again.
      const identity = await found.stat();
      if (!identity.isFile()) throw new Error("it is not a regular file");
      const file = await Deno.open(path, { append: true, read: true });
      if (isSame(await file.stat(), identity)) return file;
      file.close();
      throw new Error("another program replaced the file at the same moment");
    } finally {
      await found.close();
    }
  } catch (error) {
    throw new HoldfastError(`Cannot open ${path} for append: ${describe(error)}`, {
      kind: "environment",
      code: "log_unusable",
      hint: "The log folder must belong to Holdfast alone: make it writable for its user, and " +
        "remove whatever else has the name of a log file",
      cause: error,
    });
  }
}

type Identity = { readonly ino: number | null; readonly dev: number };

function isSame(one: Identity, other: Identity): boolean {
  return one.ino === other.ino && one.dev === other.dev;
}

/** The read position does not affect where lines are appended. */
async function lastByte(file: Deno.FsFile): Promise<number | undefined> {
  const byte = new Uint8Array(1);
  await file.seek(-1, Deno.SeekMode.End);
  return await file.read(byte) === 1 ? byte[0] : undefined;
}

function concat(first: Uint8Array | undefined, second: Uint8Array | undefined): Uint8Array {
  if (first === undefined || second === undefined) return first ?? second ?? new Uint8Array(0);
  const both = new Uint8Array(first.length + second.length);
  both.set(first);
  both.set(second, first.length);
  return both;
}

async function within(promise: Promise<unknown>, deadlineMs: number): Promise<void> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<void>((resolve) => timer = setTimeout(resolve, deadlineMs));
  await Promise.race([promise, late]);
  clearTimeout(timer);
}

function describe(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
