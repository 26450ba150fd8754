/** The logger, as the supervisor has it: a process that alone writes the log folder. */
import { realPlace } from "../config/real_place.ts";
import type { RoleConfig } from "../protocol/to_worker.ts";
import { bestEffort } from "./best_effort.ts";
import { bringUp } from "./bring_up.ts";
import { silentHealth } from "./health.ts";
import { connect } from "./lanes.ts";
import { identityOf } from "./listener.ts";
import { LogFeed } from "./log_feed.ts";
import { ProcessSlot, type SlotOptions } from "./process_slot.ts";
import type { WorkerProcess } from "./worker_process.ts";

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
  readonly #slot: ProcessSlot;
  readonly #workers = new Set<WorkerProcess>();
  #logger: WorkerProcess | undefined;
  readonly #feed = new LogFeed();
  /** The folder that the wall of its process is built around. */
  #folder: string | undefined;

  constructor({ log, plan, grants, ...options }: LogServiceOptions) {
    this.log = log;
    this.plan = plan;
    this.#slot = new ProcessSlot({
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
      health: ({ silentMs }) => silentHealth(silentMs, SILENCE_MS),
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
    return this.#feed.dropped;
  }

  /**
   * Brings it up.
   *
   * @throws {HoldfastError} if it does not come up, as where it may not write the folder
   */
  async start(signal: AbortSignal): Promise<void> {
    await this.#slot.startAlone(signal);
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
    this.#feed.write(line);
  }

  /** Has the files opened anew. */
  reopen(): void {
    this.#feed.reopen();
  }

  /**
   * Has another process take over, which is behind a wall around the folder that lies there now.
   *
   * @throws {Error} if it does not come up; the one before goes on then
   */
  async renew(): Promise<void> {
    await this.#slot.recycle();
  }

  /** Writes what is left, and ends the logger. Never fails. */
  async close(): Promise<void> {
    this.#feed.flush();
    this.#feed.end();
    await this.#slot.end();
  }

  #serve(process: WorkerProcess): void {
    this.#logger = process;
    void process.exited.then(() => {
      if (this.#logger === process) this.#logger = undefined;
    });
    bestEffort("feed the logger", () => this.#feed.connect(process));
    for (const worker of this.#workers) join(worker, process);
    this.#feed.flush();
  }
}

function join(worker: WorkerProcess, logger: WorkerProcess): void {
  const { id, pid = 0, generation } = worker;
  connect(
    { process: worker, message: { type: "log_lane" } },
    { process: logger, message: { type: "access_lane", worker: id, pid, generation } },
  );
}
