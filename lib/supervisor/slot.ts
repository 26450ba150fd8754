/**
 * A place that one process is to fill: it brings one up, another when that dies, and another in the
 * place of one that is to leave.
 */
import { log } from "../base/log.ts";
import type { Config } from "../config/config.ts";
import type { ToWorker } from "../protocol/to_worker.ts";
import { attempt } from "./attempt.ts";
import { backoffMs, LIVED_MS } from "./backoff.ts";
import { killWorker } from "./bring_up.ts";
import type { Verdict } from "./judge.ts";
import { settlesWithin, sleep } from "./patience.ts";
import type { Spawner } from "./spawner.ts";
import type { SpawnRequest } from "./spawner_message.ts";
import { describeDeath, type Role, WorkerProcess } from "./worker_process.ts";

/** What a process may take over its own deadline before it is killed. */
const DRAIN_MARGIN_MS = 2_000;

/** How often a living process is looked at. */
const LOOK_INTERVAL_MS = 1_000;

export interface SlotOptions {
  readonly role: Role;
  readonly generation: number;
  readonly config: Config;
  /** The spawner of the first process, confined; the slot's own from here on. */
  readonly spawner: Spawner;
  /** Starts another spawner, confined to what is there at that time. */
  readonly startSpawner: () => Promise<Spawner>;
  readonly request: SpawnRequest;
  /** Numbers processes over all generations. */
  readonly nextWorker: () => number;
  /** Brings up a process that was spawned, until it serves; it is gone if that fails. */
  readonly bringUp: (process: WorkerProcess, signal: AbortSignal) => Promise<void>;
  /** Says what is to become of a living process, if it is not to go on. */
  readonly judge?: (process: WorkerProcess) => Verdict | undefined;
  /** Whether one that died is replaced. */
  readonly restart: "always" | "never";
}

/** Why a process is told to drain. */
export type DrainReason = Extract<ToWorker, { type: "drain" }>["reason"];

/** How a process left that was told to drain, and its last words if it came to say them. */
export interface Departure {
  readonly end: "ended" | "killed";
  readonly drained: WorkerProcess["drained"];
}

export class Slot {
  readonly role: Role;
  readonly #options: SlotOptions;
  readonly #stop = new AbortController();
  /** Those whose place another one has taken, until they are gone. */
  readonly #leaving = new Map<WorkerProcess, Promise<Departure>>();
  #spare: Spawner | undefined;
  #process: WorkerProcess | undefined;
  #deaths = 0;
  #replacements = 0;
  #respawning: Promise<void> | undefined;
  #renewal: Promise<void> | undefined;
  #renewalFromMs = 0;

  constructor(options: SlotOptions) {
    this.#options = options;
    this.#spare = options.spawner;
    this.role = options.role;
  }

  get process(): WorkerProcess | undefined {
    return this.#process;
  }

  /** How many processes took the place of another one. */
  get replacements(): number {
    return this.#replacements;
  }

  /** Whether one is about to take the place of another, or that one is not gone yet. */
  get renewing(): boolean {
    return this.#renewal !== undefined || this.#leaving.size > 0;
  }

  /**
   * Brings up the first process until it serves.
   *
   * @throws {HoldfastError} if it does not come up before the deadline; it is gone then
   */
  async start(signal: AbortSignal): Promise<void> {
    this.#process = await this.#bringUp(AbortSignal.any([signal, this.#stop.signal]));
    void this.#watch(this.#process);
  }

  /**
   * Lets the process finish what it has, until its deadline, and any that is leaving. Never fails.
   *
   * @returns how each of them left, the process of the slot first
   */
  async drain(reason: DrainReason): Promise<Departure[]> {
    this.#stop.abort(new Error(`The ${this.role} is draining`));
    await this.#respawning;
    await this.#renewal;
    return await Promise.all([this.#end(this.#process, reason), ...this.#leaving.values()]);
  }

  /** Ends the process now. */
  cut(): void {
    this.#stop.abort(new Error(`The ${this.role} was cut`));
    for (const process of [this.#process, ...this.#leaving.keys()]) {
      attempt("signal", () => process?.signal("SIGKILL"));
    }
  }

  /** Ends the process now, and waits until it is gone. */
  async kill(): Promise<void> {
    this.cut();
    if (this.#process?.alive) await killWorker(this.#process);
  }

  /** Lets go of what no process has used. To be called when the process is gone. */
  close(): void {
    this.#stop.abort(new Error(`The ${this.role} is gone`));
    attempt("close the spawner", () => this.#spare?.close());
    this.#spare = undefined;
  }

  async #end(process: WorkerProcess | undefined, reason: DrainReason): Promise<Departure> {
    if (!process?.alive) return { end: "ended", drained: process?.drained };
    const told = attempt("drain", () => process.command({ type: "drain", reason }));
    const { announceMs, drainDeadlineMs } = this.#options.config.reload;
    const patienceMs = (reason === "stopping" ? announceMs : 0) + drainDeadlineMs;
    const limitMs = told ? patienceMs + DRAIN_MARGIN_MS : 0;
    if (await settlesWithin(process.exited, limitMs)) {
      return { end: "ended", drained: process.drained };
    }
    await killWorker(process);
    return { end: "killed", drained: process.drained };
  }

  async #bringUp(signal: AbortSignal): Promise<WorkerProcess> {
    const { role, generation, config, startSpawner, request, nextWorker, bringUp } = this.#options;
    signal.throwIfAborted();
    // A wall is made of what was there when it was built: a file that was put in the place of
    // another since then is behind it. So each process has a spawner of its own, as long as it lives.
    const spawner = this.#spare ?? await startSpawner();
    this.#spare = undefined;
    const close = () => attempt("close the spawner", () => spawner.close());
    let process: WorkerProcess;
    try {
      const identity = { id: nextWorker(), role, generation, onViolation: config.onViolation };
      process = new WorkerProcess(identity, spawner, request);
    } catch (error) {
      close();
      throw error;
    }
    void process.exited.then(close);
    await bringUp(process, signal);
    log.info("worker_ready", {
      ...process.names,
      engine: process.engine,
      ms: Math.round(process.ageMs),
    });
    return process;
  }

  async #watch(process: WorkerProcess): Promise<void> {
    const { judge, restart } = this.#options;
    const look = setInterval(() => {
      const verdict = judge?.(process);
      if (verdict?.act === "kill") process.condemn(verdict.reason);
      if (verdict?.act === "renew") this.#renew(process, verdict);
    }, LOOK_INTERVAL_MS);
    const death = await process.exited;
    clearInterval(look);
    if (this.#stop.signal.aborted || this.#process !== process) return;
    log.error("worker_lost", {
      ...process.names,
      how: describeDeath(death),
      livedMs: Math.round(death.livedMs),
    });
    this.#deaths = death.livedMs >= LIVED_MS ? 1 : this.#deaths + 1;
    // One that is about to take its place anyway is there sooner than another would be.
    await this.#renewal;
    if (restart === "always" && this.#process === process) this.#respawning = this.#respawn();
  }

  /** Tries until a process serves again. */
  async #respawn(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      await sleep(backoffMs(this.#deaths), signal);
      if (signal.aborted) return;
      try {
        this.#fill(await this.#bringUp(signal));
        return;
      } catch (error) {
        if (signal.aborted) return;
        this.#startFailed(error as Error);
      }
    }
  }

  #fill(process: WorkerProcess): void {
    this.#process = process;
    this.#replacements++;
    if (!this.#stop.signal.aborted) void this.#watch(process);
  }

  /** @returns when to try again, in milliseconds from now */
  #startFailed(error: Error): number {
    const nextTryMs = backoffMs(++this.#deaths);
    log.error("worker_start_failed", {
      role: this.role,
      generation: this.#options.generation,
      reason: error.message,
      nextTryMs,
    });
    return nextTryMs;
  }

  #renew(process: WorkerProcess, verdict: Extract<Verdict, { act: "renew" }>): void {
    if (this.#stop.signal.aborted || this.#process !== process || this.renewing) return;
    if (performance.now() < this.#renewalFromMs) return;
    this.#renewal = this.#replace(process, verdict).finally(() => this.#renewal = undefined);
  }

  /** Brings up another process, and has the old one leave when that serves. */
  async #replace(old: WorkerProcess, verdict: Extract<Verdict, { act: "renew" }>): Promise<void> {
    const { signal } = this.#stop;
    let next: WorkerProcess;
    try {
      next = await this.#bringUp(signal);
    } catch (error) {
      // The old one goes on.
      if (signal.aborted) return;
      this.#renewalFromMs = performance.now() + this.#startFailed(error as Error);
      return;
    }
    this.#deaths = 0;
    this.#fill(next);
    log.info("worker_recycled", { ...old.names, next: next.id, ...verdict.facts });
    this.#leaving.set(old, this.#leave(old));
  }

  async #leave(process: WorkerProcess): Promise<Departure> {
    const departure = await this.#end(process, "replaced");
    this.#leaving.delete(process);
    const { answered = 0, cut = null } = departure.drained ?? {};
    log.info("worker_left", { ...process.names, end: departure.end, answered, cut });
    return departure;
  }
}
