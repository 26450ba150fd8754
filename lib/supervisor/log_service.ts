/**
 * The logger, as the supervisor has it: a process that alone writes the log folder. It is fed with
 * events, which are dropped and counted while it is slow or gone: nothing here ever waits for it.
 */
import type net from "node:net";
import type { Config } from "../config/config.ts";
import { type Feed, MAX_FEED_LINE, MAX_FEED_LINES } from "../protocol/feed.ts";
import { encodeFrame } from "../protocol/frame.ts";
import { attempt } from "./attempt.ts";
import { bringUp } from "./bring_up.ts";
import { judgeSilence } from "./judge.ts";
import { connect, openFeed } from "./lane.ts";
import { Slot, type SlotOptions } from "./slot.ts";
import type { WorkerProcess } from "./worker_process.ts";

/** What may wait for the logger to read it, in bytes. */
const MAX_WAITING_BYTES = 4 * 1024 * 1024;

/** How many lines wait for the next logger while none lives. */
const MAX_HELD_LINES = 4_096;

/** A logger that tells nothing of itself for so long is stuck, in milliseconds. */
const SILENCE_MS = 10_000;

export interface LogServiceOptions
  extends Pick<SlotOptions, "first" | "next" | "nextWorker" | "config"> {
  readonly log: Config["log"] & { readonly folder: string };
  readonly grants: Parameters<typeof bringUp>[1]["grants"];
}

export class LogService {
  readonly log: LogServiceOptions["log"];
  readonly #slot: Slot;
  readonly #workers = new Set<WorkerProcess>();
  #logger: WorkerProcess | undefined;
  #feed: net.Socket | undefined;
  #lines: string[] = [];
  /** Lines that the kernel has not taken yet, in their order. */
  readonly #onTheWay = new Set<readonly string[]>();
  #dropped = 0;
  #droppedInAll = 0;

  constructor({ log, grants, ...options }: LogServiceOptions) {
    this.log = log;
    this.#slot = new Slot({
      ...options,
      role: "logger",
      generation: 0,
      restart: "always",
      bringUp: async (process, signal) => {
        await bringUp(process, {
          config: options.config,
          listeners: [],
          grants,
          duty: { role: "logger", ...log },
          signal,
        });
        this.#serve(process);
      },
      judge: ({ silentMs }) => judgeSilence(silentMs, SILENCE_MS),
    });
  }

  /** Its process, if one lives. */
  get process(): WorkerProcess | undefined {
    return this.#slot.process;
  }

  get replacements(): number {
    return this.#slot.replacements;
  }

  /** How many lines nobody took. */
  get dropped(): number {
    return this.#droppedInAll;
  }

  /**
   * Brings it up.
   *
   * @throws {HoldfastError} if it does not come up, as where it may not write the folder
   */
  async start(signal: AbortSignal): Promise<void> {
    try {
      await this.#slot.start(signal);
    } catch (error) {
      this.#slot.close();
      throw error;
    }
  }

  /** Lets a worker send its access records, to this process of the logger and to every later one. */
  addWorker(worker: WorkerProcess): void {
    if (this.log.access === "off") return;
    this.#workers.add(worker);
    void worker.exited.then(() => this.#workers.delete(worker));
    if (this.#logger) join(worker, this.#logger);
  }

  /** Adds a line to the log. */
  write(line: string): void {
    if (this.#lines.length >= MAX_HELD_LINES) return this.#drop(1);
    if (this.#lines.length === 0) queueMicrotask(() => this.#flush());
    this.#lines.push(line.slice(0, MAX_FEED_LINE));
  }

  /** Has the files opened anew. */
  reopen(): void {
    this.#send({ type: "reopen" });
  }

  /** Writes what is left, and ends the logger. Never fails. */
  async close(): Promise<void> {
    this.#flush();
    this.#feed?.end();
    await this.#slot.drain("stopping");
    this.#slot.close();
  }

  #serve(process: WorkerProcess): void {
    this.#logger = process;
    void process.exited.then(() => {
      if (this.#logger === process) this.#logger = undefined;
    });
    attempt("feed the logger", () => this.#connectFeed(process));
    for (const worker of this.#workers) join(worker, process);
    this.#flush();
  }

  #connectFeed(process: WorkerProcess): void {
    this.#feed = openFeed(process, (feed) => {
      if (this.#feed !== feed) return;
      this.#feed = undefined;
      // What the kernel had taken is lost with the process; the rest is for the next one.
      this.#lines.unshift(...[...this.#onTheWay].flat());
      this.#onTheWay.clear();
      this.#drop(this.#lines.splice(MAX_HELD_LINES).length);
    });
  }

  /** What a logger that lives and is slow does not take is dropped; for one that is gone it waits. */
  #flush(): void {
    while (this.#feed && this.#lines.length > 0) {
      const lines = this.#lines.splice(0, batchLength(this.#lines));
      this.#onTheWay.add(lines);
      const sent = this.#send(
        { type: "lines", lines, dropped: this.#dropped },
        (error) => {
          if (!error) this.#onTheWay.delete(lines);
        },
      );
      if (sent) this.#dropped = 0;
      else {
        this.#onTheWay.delete(lines);
        this.#drop(lines.length);
      }
    }
  }

  #drop(lines: number): void {
    this.#dropped += lines;
    this.#droppedInAll += lines;
  }

  /** Whether it went on its way. */
  #send(feed: Feed, taken: (error?: Error | null) => void = () => {}): boolean {
    if (!this.#feed || this.#feed.writableLength > MAX_WAITING_BYTES) return false;
    this.#feed.write(encodeFrame(feed), taken);
    return true;
  }
}

/** How many lines go into one frame: the sum of what they can come to stays below its limit. */
function batchLength(lines: readonly string[]): number {
  let units = 0;
  const end = lines.slice(0, MAX_FEED_LINES).findIndex((line) => {
    units += line.length;
    return units > 2 * MAX_FEED_LINE;
  });
  return end < 0 ? MAX_FEED_LINES : Math.max(1, end);
}

function join(worker: WorkerProcess, logger: WorkerProcess): void {
  const { id, pid = 0, generation } = worker;
  connect(
    { process: worker, message: { type: "log_lane" } },
    { process: logger, message: { type: "access_lane", worker: id, pid, generation } },
  );
}
