/**
 * The logger, as the supervisor has it: a process that alone writes the log folder. It is fed with
 * events, which are dropped and counted while it is slow or gone: nothing here ever waits for it.
 */
import type net from "node:net";
import { type Feed, MAX_FEED_LINE, MAX_FEED_LINES } from "../protocol/feed.ts";
import { encodeFrame } from "../protocol/frame.ts";
import { realPlace } from "../config/real_place.ts";
import type { RoleConfig } from "../protocol/to_worker.ts";
import { attempt } from "./attempt.ts";
import { bringUp } from "./bring_up.ts";
import { judgeSilence } from "./judge.ts";
import { connect, openFeed } from "./lane.ts";
import { identityOf } from "./listener.ts";
import { Slot, type SlotOptions } from "./slot.ts";
import type { WorkerProcess } from "./worker_process.ts";

/** What may wait for the logger to read it, in bytes. */
const MAX_WAITING_BYTES = 4 * 1024 * 1024;

/** What waits for the next logger while none lives, in UTF-16 code units. */
const MAX_HELD_UNITS = 4 * 1024 * 1024;

/** How much goes into one frame, in UTF-16 code units, if it is more than one line. */
const BATCH_UNITS = 128 * 1024;

/** A logger that tells nothing of itself for so long is stuck, in milliseconds. */
const SILENCE_MS = 10_000;

export interface LogServiceOptions
  extends Pick<SlotOptions, "first" | "next" | "nextWorker" | "config"> {
  readonly log: Omit<Extract<RoleConfig, { role: "logger" }>, "role">;
  /** What it is started with; it is kept over a reload that asks for the same. */
  readonly plan: string;
  readonly grants: Parameters<typeof bringUp>[1]["grants"];
}

export class LogService {
  readonly log: LogServiceOptions["log"];
  readonly plan: string;
  readonly #slot: Slot;
  readonly #workers = new Set<WorkerProcess>();
  #logger: WorkerProcess | undefined;
  #feed: net.Socket | undefined;
  #lines: string[] = [];
  /** The length of all of {@link LogService.#lines}. */
  #units = 0;
  /** Lines that the kernel has not taken yet, in their order. */
  readonly #onTheWay = new Set<readonly string[]>();
  #dropped = 0;
  #droppedInAll = 0;
  /** The folder that the wall of its process is built around. */
  #folder: string | undefined;

  constructor({ log, plan, grants, ...options }: LogServiceOptions) {
    this.log = log;
    this.plan = plan;
    this.#slot = new Slot({
      ...options,
      role: { kind: "logger" },
      generation: 0,
      restart: "always",
      bringUp: async (process, signal) => {
        this.#folder = this.#identify();
        await bringUp(process, {
          config: options.config,
          listeners: [],
          grants,
          roleConfig: { role: "logger", ...log },
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

  /** Whether its process may write the folder that lies there now: the kernel's wall holds another out. */
  get fits(): boolean {
    return this.#folder !== undefined && this.#folder === this.#identify();
  }

  #identify(): string | undefined {
    return identityOf(realPlace(this.log.folder));
  }

  /** Why nothing is written, if it says so. */
  get trouble(): string | undefined {
    const unwritten = this.process?.figures.unwritten;
    if (unwritten === "gone") {
      return "its folder or a file of it was removed or replaced; run holdfast logs reopen, or HUP";
    }
    return unwritten === "failing"
      ? "the disk refuses; see worker_output of the logger on stderr, which goes on when it can"
      : undefined;
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
    if (this.#lines.length === 0) queueMicrotask(() => this.#flush());
    this.#keep(line.slice(0, MAX_FEED_LINE));
  }

  /** Has the files opened anew. */
  reopen(): void {
    this.#send({ type: "reopen" });
  }

  /**
   * Has another process take over, which is behind a wall around the folder that lies there now.
   *
   * @throws {Error} if it does not come up; the one before goes on then
   */
  async renew(): Promise<void> {
    await this.#slot.renew();
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
    this.#feed?.end();
    this.#feed = openFeed(process, (feed) => {
      if (this.#feed !== feed) return;
      this.#feed = undefined;
      // What the kernel had taken is lost with the process; the rest is for the next one.
      const lines = [...[...this.#onTheWay].flat(), ...this.#lines];
      this.#onTheWay.clear();
      this.#lines = [];
      this.#units = 0;
      for (const line of lines) this.#keep(line);
    });
  }

  /** What a logger that lives and is slow does not take is dropped; for one that is gone it waits. */
  #flush(): void {
    while (this.#feed && this.#lines.length > 0) {
      const lines = this.#lines.splice(0, batchLength(this.#lines));
      this.#units -= lines.reduce((sum, { length }) => sum + length, 0);
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

  #keep(line: string): void {
    if (this.#units >= MAX_HELD_UNITS) return this.#drop(1);
    this.#lines.push(line);
    this.#units += line.length;
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
    return units > BATCH_UNITS;
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
