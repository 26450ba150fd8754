/**
 * The supervisor: holds the listeners and the right to spawn, and swaps generations. It parses no
 * HTTP, imports no app and believes no worker.
 */
import { flushLog, log } from "../base/log.ts";
import type { Config } from "../config/config.ts";
import type { Answer, Release, ReloadResult, Status } from "../protocol/control.ts";
import { controlHandlers } from "./control_server.ts";
import { DRAIN_MARGIN_MS } from "./drain.ts";
import type { Inheritance } from "./inheritance.ts";
import { OperationQueue } from "./operation_queue.ts";
import { Parts } from "./parts.ts";
import { PeriodicChecks } from "./periodic_checks.ts";
import type { PlannedConfig, ReadConfig } from "./read_config.ts";
import { rehearse } from "./rehearsal.ts";
import { describeSupervisor, serviceState, tellServing } from "./status_page.ts";
import type { System } from "./system.ts";
import { tlsChanged } from "./tls_files.ts";
import { handToNext } from "./upgrade.ts";

/** The kind of a reload that may grant more than what serves. */
const MAY_WIDEN = 1;

/** What whoever asked for an operation is told. */
type Results = {
  start: void;
  reload: ReloadResult;
  rollback: ReloadResult;
  upgrade: string;
  stop: void;
};

export class Supervisor {
  readonly #system: System;
  readonly #inheritance: Inheritance | undefined;
  readonly #stopped = Promise.withResolvers<void>();
  /** Settles when everything has ended. */
  readonly stopped = this.#stopped.promise;
  readonly #operations: OperationQueue<Results>;
  readonly #parts: Parts;
  readonly #checks: PeriodicChecks;
  /** Whether it was told to stop; a start that fails ends in the same way. */
  #ordered = false;

  /**
   * @param file the config's path
   * @param inheritance what the one before it in this process left
   */
  constructor(file: string, system: System, inheritance?: Inheritance) {
    this.#system = system;
    this.#inheritance = inheritance;
    const operations: OperationQueue<Results> = new OperationQueue<Results>({
      start: {
        run: () => this.#start(),
        outcome: (error) => {
          // Told to stop before it was up: that is no failure.
          if (error && !operations.signal.aborted) throw error;
        },
      },
      reload: {
        run: (kind) => this.#reload(kind === MAY_WIDEN),
        outcome: (error, ms) => this.#tellReload(error, ms),
        mayRun: (signal) => this.#parts.generations.roomToDrain(signal),
        merged: (into) => log.info("reload_merged", { into }),
      },
      rollback: {
        run: (release) => this.#rollback(release),
        outcome: (error, ms) => this.#tellReload(error, ms),
        mayRun: (signal) => this.#parts.generations.roomToDrain(signal),
      },
      upgrade: {
        run: () => this.#upgrade(),
        outcome: (error) => this.#parts.history.tellUpgrade(error, this.#parts.generation),
      },
      stop: { run: () => this.#end(), outcome: () => {} },
    }, () => this.#parts.health);
    this.#operations = operations;
    const handlers = controlHandlers(this);
    this.#parts = new Parts({
      file,
      system,
      operations,
      handlers,
      status: () => this.status(),
      renew: () => this.renew(),
    });
    this.#checks = new PeriodicChecks(this.#parts);
  }

  /**
   * Brings up the first generation.
   *
   * @throws {HoldfastError} if anything fails; nothing is left behind then
   */
  async start(): Promise<void> {
    try {
      await this.#operations.ask("start");
    } catch (error) {
      await this.stopped;
      throw error;
    }
  }

  async #start(): Promise<void> {
    const parts = this.#parts;
    const read = await parts.open(this.#inheritance);
    let config: Config;
    try {
      config = await this.#switchTo(read);
    } catch (error) {
      if (!parts.former || this.#operations.signal.aborted) throw error;
      // The old one's workers serve still: better them than nobody.
      return parts.history.tellUnfinished(error as Error);
    }
    parts.runtime.record.orphans.endAfter(config.reload.drainDeadlineMs + 2 * DRAIN_MARGIN_MS);
    tellServing(parts, config);
  }

  /** Brings in a config. Everything that can fail comes before the one step that changes the incumbent. */
  async #switchTo(what: ReadConfig | PlannedConfig, mayWiden = false): Promise<Config> {
    const { generations, images, launches, listeners, services, candidates, former } = this.#parts;
    const { generation, change, own, brought } = await images.during(() =>
      candidates.bringUp(what, mayWiden)
    );
    const old = generations.promote(generation);
    images.begin(generation);
    this.#parts.sweep(generation.config);
    launches.forgetPrograms(brought);
    services.keep(own);
    listeners.commit(change);
    if (old) generations.retire(old, "replaced");
    former?.retire();
    if (old) await generations.untilStopped(old, this.#operations.signal);
    return generation.config;
  }

  /**
   * Brings in new code and new config. Never throws: the result says how it went.
   *
   * @param mayWiden whether it may grant more than what serves
   */
  reload(mayWiden = false): Promise<ReloadResult> {
    return this.#operations.ask("reload", mayWiden ? MAY_WIDEN : undefined);
  }

  async #reload(mayWiden: boolean): Promise<void> {
    const { file, history, manager, runtime, services: { logs } } = this.#parts;
    history.reloads++;
    manager?.reloading();
    if (logs?.fits) logs.reopen();
    const read = await this.#system.readConfig(file);
    runtime.requireSame(read);
    await runtime.follow(await this.#switchTo(read, mayWiden));
  }

  /**
   * Brings a version back that has served, without a look at the project. Never throws.
   *
   * @param release its number; without one, what served before
   */
  rollback(release?: number): Promise<ReloadResult> {
    return this.#operations.ask("rollback", release);
  }

  async #rollback(release: number | undefined): Promise<void> {
    const { history, images, launches, manager, runtime } = this.#parts;
    history.reloads++;
    manager?.reloading();
    const earlier = await images.find(release);
    runtime.requireSame(earlier.config);
    await this.#switchTo(await images.during(() => launches.judgeAgain(earlier)));
  }

  /** Starts what serves once more, if its certificate has changed: with the code and the config that it has. */
  async renew(): Promise<boolean> {
    const { generations: { incumbent }, launches } = this.#parts;
    const [newest] = this.releases();
    if (!incumbent || !newest?.serving) return false;
    const { config } = incumbent;
    const { spawner } = await launches.programsOf();
    if (!await tlsChanged(config, launches.accounts.of(config, "acme"), spawner)) return false;
    await this.rollback(newest.release);
    return true;
  }

  #tellReload(error: Error | undefined, ms: number): ReloadResult {
    const { generation, history, manager } = this.#parts;
    const result = history.tellReload(error, ms, generation);
    if (!this.#operations.signal.aborted) manager?.ready(serviceState(this.#parts));
    return result;
  }

  /**
   * Puts the program that lies there now in this one's place, once it has rehearsed. It does not come
   * back from that; never throws.
   *
   * @returns why it was refused
   */
  upgrade(): Promise<string> {
    return this.#operations.ask("upgrade");
  }

  async #upgrade(): Promise<void> {
    const { signal } = this.#operations;
    const { file, generations, images, runtime } = this.#parts;
    if (!generations.incumbent) throw new Error("it does not serve yet");
    await runtime.restore();
    runtime.requireSame(await this.#system.locateRuntime(file));
    const own = this.#system.ownProgram(file);
    await images.during(() => rehearse(own, runtime.folder, signal));
    await runtime.restore();
    log.info("upgrading", { generation: generations.last });
    this.#operations.mergeWaiting();
    await flushLog();
    signal.throwIfAborted();
    handToNext(own, this.#parts.handOver());
  }

  /** Drains every generation and ends. A second call waits for the first. */
  async stop(): Promise<void> {
    if (this.#operations.state !== "stopping") {
      this.#ordered = true;
      log.info("stopping");
      const { former, generations, manager } = this.#parts;
      manager?.stopping(Math.max(generations.stopMs, former?.stopMs ?? 0));
    }
    await this.#operations.ask("stop");
  }

  /** What was under way has seen the signal; what came out of it is drained too. */
  async #end(): Promise<void> {
    const { former, generations, services } = this.#parts;
    try {
      if (generations.incumbent) generations.retire(generations.incumbent, "stopping");
      former?.retire();
      await Promise.all([generations.drained(), former?.gone]);
      await services.endOthers();
      this.#checks.close();
      await this.#parts.close();
      if (this.#ordered) log.info("stopped");
      await services.endLogs();
    } finally {
      this.#stopped.resolve();
    }
  }

  /** Ends every worker now; for a second order to stop. */
  cut(): void {
    this.#parts.generations.cut();
    this.#parts.former?.cut();
  }

  /** Has the log files opened anew. */
  reopen(): Promise<Answer> {
    return this.#parts.services.reopen(this.#parts.generations.incumbent?.config);
  }

  /** What `holdfast releases` shows. */
  releases(): Release[] {
    return this.#parts.images.list();
  }

  /** What `holdfast status` shows. */
  status(): Status {
    return describeSupervisor(this.#parts);
  }
}
