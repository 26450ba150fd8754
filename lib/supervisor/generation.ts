/** One config snapshot, and the processes started from it: its workers and their helpers. */
import type { Config } from "../config/config.ts";
import { AcceptHealth } from "./accept_health.ts";
import { DRAIN_MARGIN_MS, type DrainCause, type GenerationRecord, sumUp } from "./drain.ts";
import type { GenerationCode } from "./generation_code.ts";
import {
  type GenerationOptions,
  type HelperSlot,
  helperSlot,
  spareWorkers,
  workerSlot,
} from "./generation_slots.ts";
import { type HealthAction, workerHealth } from "./health.ts";
import { HelperLanes } from "./lanes.ts";
import type { LogService } from "./log_service.ts";
import { connectionLimit, residentBytes } from "./process_facts.ts";
import { tellAcceptance, tellUnseenMemory } from "./process_log.ts";
import type { ProcessSlot } from "./process_slot.ts";
import type { SpareWorkers } from "./spare_workers.ts";
import { settlesWithin } from "./timeouts.ts";
import type { WorkerProcess } from "./worker_process.ts";

export type GenerationState = "starting" | "serving" | "draining" | "kept" | "gone";

export class Generation {
  readonly number: number;
  readonly config: Config;
  readonly code: GenerationCode;
  readonly startedMs = performance.now();
  readonly helpers: readonly HelperSlot[];
  readonly logs: LogService | undefined;
  readonly workers: readonly ProcessSlot[];
  readonly spares: SpareWorkers;
  readonly #lanes = new HelperLanes();
  #helpersReady: Promise<unknown> = Promise.resolve();
  readonly #allReady = Promise.withResolvers<void>();
  #notReady: number;
  #state: GenerationState = "starting";
  readonly #acceptHealth = new AcceptHealth();
  readonly #kept = Promise.withResolvers<void>();
  #keptSinceMs: number | undefined;
  #keptUntilMs: number | undefined;
  #cut = false;

  constructor(options: GenerationOptions) {
    this.number = options.number;
    this.config = options.config;
    this.code = options.code;
    this.logs = options.logs;
    this.#notReady = options.workers.length;
    this.helpers = options.helpers.map((each) => helperSlot(options, each, this.#lanes));
    const beforeLoad = async (process: WorkerProcess) => {
      // The app may call them as soon as it is loaded.
      await this.#helpersReady;
      this.#lanes.connectWorker(process);
      this.logs?.addWorker(process);
    };
    this.spares = spareWorkers(options, beforeLoad);
    const hooks = {
      beforeLoad,
      spares: this.spares,
      // One that served while another might still fail would be cut with the candidate.
      acceptBarrier: () => {
        if (--this.#notReady === 0) this.#allReady.resolve();
        return this.#allReady.promise;
      },
      // At a start nothing serves that would be better; what replaces a worker is wanted at once.
      tried: () => this.#state === "starting" && this.number > 1,
      health: (process: WorkerProcess) => this.#health(process),
    };
    this.workers = options.workers.map((each, index) => workerSlot(options, each, index, hooks));
  }

  get state(): GenerationState {
    return this.#state;
  }

  /** Whether no worker of it lives for long. */
  get failing(): boolean {
    return this.workers.every(({ failing }) => failing);
  }

  /** How many workers took the place of another one. */
  get replacements(): number {
    return this.workers.reduce((sum, { replacements }) => sum + replacements, 0);
  }

  /** Whether connections wait and no worker accepts them. */
  get stalled(): boolean {
    return this.#acceptHealth.stalled;
  }

  /** Settles during a drain: none of its workers accepts from then on. */
  get stopped(): Promise<unknown> {
    return Promise.all(this.workers.map(({ stopped }) => stopped));
  }

  /**
   * Settles during a drain that keeps WebSockets: nothing else is left, or has had its time. In other
   * drains never.
   */
  get kept(): Promise<void> {
    return this.#kept.promise;
  }

  /** When its WebSockets are closed, while it is kept for them. */
  get endsInMs(): number | undefined {
    if (this.#state !== "kept") return undefined;
    return Math.max(0, Math.round(this.#keptUntilMs! - performance.now()));
  }

  /** How many WebSockets it has. */
  get webSockets(): number {
    return this.#living.reduce((sum, { figures }) => sum + (figures.webSockets ?? 0), 0);
  }

  /**
   * Brings up the helpers and the workers until they accept connections. Until all of them are ready
   * none accepts, so that giving them up loses nothing.
   *
   * @throws {HoldfastError} if one does not come up before the deadline; all are gone then
   */
  async start(signal: AbortSignal): Promise<void> {
    // One that fails ends the others at once: none is waited for in vain.
    const failed = new AbortController();
    const either = AbortSignal.any([signal, failed.signal]);
    const starting = (slot: ProcessSlot) =>
      slot.start(either).catch((error) => {
        failed.abort(error);
        throw error;
      });
    const helpers = this.helpers.map(({ slot }) => starting(slot));
    this.#helpersReady = Promise.all(helpers);
    this.#helpersReady.catch(() => {});
    const outcomes = await Promise.allSettled([...helpers, ...this.workers.map(starting)]);
    if (outcomes.some(({ status }) => status === "rejected")) {
      this.#state = "gone";
      await Promise.all(this.#slots.map((slot) => slot.kill()));
      for (const slot of this.#slots) slot.close();
      throw failed.signal.reason;
    }
    this.#state = "serving";
    this.spares.keep();
    // A limit that is never reached, since nobody sees it, is worth a line.
    const [process] = this.#living;
    if (this.config.recycle.maxMemoryBytes === undefined || process?.pid === undefined) return;
    if (residentBytes(process.pid) === 0) tellUnseenMemory(process);
  }

  /**
   * Lets the workers finish what they have, until the deadline, and then the helpers. Never fails.
   *
   * @param keep whether WebSockets may stay
   */
  async drain(cause: DrainCause, keep = false): Promise<GenerationRecord> {
    const startMs = performance.now();
    this.#state = "draining";
    const spares = this.spares.end();
    if (keep) void this.#becomeKept(startMs);
    const drains = this.workers.map((slot) => slot.drain(cause, keep));
    const outcomes = (await Promise.all(drains)).flat();
    const workersEndMs = performance.now();
    await Promise.all([spares, ...this.helpers.map(({ slot }) => slot.drain(cause))]);
    this.#state = "gone";
    for (const slot of this.#slots) slot.close();
    return {
      generation: this.number,
      drainMs: Math.round((this.#keptSinceMs ?? performance.now()) - startMs),
      ...this.#keptSinceMs !== undefined && {
        keptMs: Math.round(workersEndMs - this.#keptSinceMs),
      },
      ...sumUp(this.#cut ? outcomes.map((each) => ({ ...each, end: "killed" })) : outcomes),
    };
  }

  /** Has the WebSockets end that it is kept for, or is to be. */
  letGo(cause: DrainCause): void {
    if (this.#state === "kept") this.#state = "draining";
    for (const slot of this.workers) slot.letGo(cause);
  }

  /** It is kept when only WebSockets are left. What is not done at its deadline counts no longer. */
  async #becomeKept(startMs: number): Promise<void> {
    const { drainDeadlineMs, keepDeadlineMs = 0 } = this.config.reload;
    this.#keptUntilMs = startMs + keepDeadlineMs;
    const told = Promise.all(this.workers.map(({ kept }) => kept));
    await settlesWithin(told, drainDeadlineMs + DRAIN_MARGIN_MS);
    if (this.#living.length > 0 && this.#state === "draining") {
      this.#state = "kept";
      this.#keptSinceMs = performance.now();
    }
    this.#kept.resolve();
  }

  /**
   * Replaces the workers for something that one of them did, one after the other; while that goes on,
   * nothing more. Never fails.
   *
   * @param alone no process outside of this generation can have done it
   */
  async replaceWorkers(reason: string, alone: boolean): Promise<void> {
    if (this.workers.some(({ recycling }) => recycling)) return;
    const [only, ...others] = this.#living;
    if (alone && others.length === 0) return only?.killFor(reason);
    for (const slot of this.workers) {
      await slot.recycle().catch(() => {}); // The log has it.
    }
  }

  /** Ends every process now. */
  cut(): void {
    this.#cut = true;
    void this.spares.end();
    for (const slot of this.#slots) slot.cut();
  }

  /**
   * Looks whether connections that wait are accepted; to be called every second, of the incumbent.
   *
   * @param waiting how many wait on all listeners
   */
  lookAtAcceptance(waiting: number): void {
    const living = this.#living;
    const workers = living.map(({ id, pulses, figures }) => ({ id, pulses, ...figures }));
    const change = this.#acceptHealth.look(
      waiting,
      workers,
      () => living.map(({ pid = 0 }) => connectionLimit(this.config, pid)),
    );
    if (change) tellAcceptance({ generation: this.number, waiting }, change);
  }

  #health(process: WorkerProcess): HealthAction | undefined {
    const { silentMs, servedMs, jitter, figures, ageMs: maxAgeMs, pid = 0 } = process;
    const seesMemory = this.config.recycle.maxMemoryBytes !== undefined;
    const maxMemoryBytes = seesMemory ? residentBytes(pid) : 0;
    const { answered: maxRequests, serverNameBytes: maxServerNameBytes = 0 } = figures;
    const { unended } = process;
    const maxGivenUpPercent = unended && 100 * unended / connectionLimit(this.config, pid);
    const serving = this.#state === "serving";
    const used = {
      // What is kept for its WebSockets has only what it holds to be judged by.
      ...serving ? { maxRequests, maxAgeMs } : { maxRequests: 0, maxAgeMs: 0 },
      ...{ maxMemoryBytes, maxServerNameBytes, maxGivenUpPercent },
    };
    const recycling = this.workers.some(({ recycling }) => recycling);
    const idlePulses = serving ? this.#acceptHealth.idlePulses : 0;
    return workerHealth(
      { silentMs, servedMs, jitter, used },
      { recycling, idlePulses },
      this.config,
    );
  }

  get #living(): WorkerProcess[] {
    return this.workers.flatMap(({ process }) => process?.alive ? [process] : []);
  }

  get #slots(): ProcessSlot[] {
    return [...this.workers, ...this.helpers.map(({ slot }) => slot)];
  }
}
