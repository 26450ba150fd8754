/** A place that one process is to fill: it brings one up, and another when that dies. */
import { log } from "../base/log.ts";
import type { Config } from "../config/config.ts";
import { attempt } from "./attempt.ts";
import { backoffMs, LIVED_MS } from "./backoff.ts";
import { killWorker } from "./bring_up.ts";
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
  /** Says why a living process is of no use any more, if it is not. */
  readonly judge?: (process: WorkerProcess) => string | undefined;
  /** Whether one that died is replaced. */
  readonly restart: "always" | "never";
}

export class Slot {
  readonly role: Role;
  readonly #options: SlotOptions;
  readonly #stop = new AbortController();
  #spawner: Spawner;
  #process: WorkerProcess | undefined;
  #used = false;
  #deaths = 0;
  #replacements = 0;
  #respawning: Promise<void> | undefined;

  constructor(options: SlotOptions) {
    this.#options = options;
    this.#spawner = options.spawner;
    this.role = options.role;
  }

  get process(): WorkerProcess | undefined {
    return this.#process;
  }

  /** How many processes were replaced after they died. */
  get replacements(): number {
    return this.#replacements;
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
   * Lets the process finish what it has, until its deadline. Never fails.
   *
   * @returns whether it had to be killed
   */
  async drain(): Promise<"ended" | "killed"> {
    this.#stop.abort(new Error(`The ${this.role} is draining`));
    await this.#respawning;
    const process = this.#process;
    if (!process?.alive) return "ended";
    const told = attempt("drain", () => process.command({ type: "drain" }));
    const limitMs = told ? this.#options.config.reload.drainDeadlineMs + DRAIN_MARGIN_MS : 0;
    if (await settlesWithin(process.exited, limitMs)) return "ended";
    await killWorker(process);
    return "killed";
  }

  /** Ends the process now. */
  cut(): void {
    this.#stop.abort(new Error(`The ${this.role} was cut`));
    attempt("signal", () => this.#process?.signal("SIGKILL"));
  }

  /** Ends the process now, and waits until it is gone. */
  async kill(): Promise<void> {
    this.cut();
    if (this.#process?.alive) await killWorker(this.#process);
  }

  /** Lets go of the spawner. To be called when the process is gone. */
  close(): void {
    this.#stop.abort(new Error(`The ${this.role} is gone`));
    attempt("close the spawner", () => this.#spawner.close());
  }

  async #bringUp(signal: AbortSignal): Promise<WorkerProcess> {
    const { role, generation, config, startSpawner, request, nextWorker, bringUp } = this.#options;
    signal.throwIfAborted();
    // A wall is made of what was there when it was built: a file that was put in the place of
    // another since then is behind it.
    if (this.#used) {
      this.#spawner.close();
      this.#spawner = await startSpawner();
    }
    this.#used = true;
    const process = new WorkerProcess(
      { id: nextWorker(), role, generation, onViolation: config.onViolation },
      this.#spawner,
      request,
    );
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
      const fault = judge?.(process);
      if (fault !== undefined) process.condemn(fault);
    }, LOOK_INTERVAL_MS);
    const death = await process.exited;
    clearInterval(look);
    if (this.#stop.signal.aborted) return;
    log.error("worker_lost", {
      ...process.names,
      how: describeDeath(death),
      livedMs: Math.round(death.livedMs),
    });
    this.#deaths = death.livedMs >= LIVED_MS ? 1 : this.#deaths + 1;
    if (restart === "always") this.#respawning = this.#respawn();
  }

  /** Tries until a process serves again. */
  async #respawn(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      await sleep(backoffMs(this.#deaths), signal);
      if (signal.aborted) return;
      try {
        this.#process = await this.#bringUp(signal);
        this.#replacements++;
        if (!signal.aborted) void this.#watch(this.#process);
        return;
      } catch (error) {
        if (signal.aborted) return;
        this.#deaths++;
        log.error("worker_start_failed", {
          role: this.role,
          generation: this.#options.generation,
          reason: (error as Error).message,
          nextTryMs: backoffMs(this.#deaths),
        });
      }
    }
  }
}
