/** The logger, as the supervisor has it: a process that alone writes the log folder. */
import { realPlace } from "../config/real_place.ts";
import type { RoleConfig } from "../protocol/to_worker.ts";
import { bestEffort } from "./best_effort.ts";
import { connect } from "./lanes.ts";
import { identityOf } from "./listener.ts";
import { LogFeed } from "./log_feed.ts";
import { OwnService, type OwnServiceOptions } from "./own_service.ts";
import type { WorkerProcess } from "./worker_process.ts";

export class LogService extends OwnService {
  readonly log: Omit<Extract<RoleConfig, { role: "logger" }>, "role">;
  readonly #workers = new Set<WorkerProcess>();
  #logger: WorkerProcess | undefined;
  readonly #feed = new LogFeed();
  /** The folder that the wall of its process is built around. */
  #folder: string | undefined;

  constructor(options: OwnServiceOptions, log: LogService["log"]) {
    super(options, { role: "logger", ...log });
    this.log = log;
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
    await this.recycle();
  }

  /** Writes what is left, and ends the logger. Never fails. */
  override async close(): Promise<void> {
    this.#feed.flush();
    this.#feed.end();
    await super.close();
  }

  protected override prepare(): void {
    this.#folder = this.#identify();
  }

  protected override serve(process: WorkerProcess): void {
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
