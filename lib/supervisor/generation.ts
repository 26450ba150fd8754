/** One config snapshot and the worker started from it. */
import { log } from "../base/log.ts";
import type { Config } from "../config/config.ts";
import { workerGrants } from "../sandbox/worker_command.ts";
import { attempt } from "./attempt.ts";
import { bringUp, killWorker } from "./bring_up.ts";
import { backoffMs, LIVED_MS } from "./backoff.ts";
import type { Listener } from "./listener.ts";
import { settlesWithin, sleep } from "./patience.ts";
import type { Spawner } from "./spawner.ts";
import type { SpawnRequest } from "./spawner_message.ts";
import { describeDeath, WorkerProcess } from "./worker_process.ts";

/** What a worker may take over its own deadline before it is killed. */
const DRAIN_MARGIN_MS = 2_000;

export type GenerationState = "starting" | "serving" | "draining" | "gone";

/** What is left of a generation when its last worker is gone. */
export interface GenerationRecord {
  readonly generation: number;
  /** How long the drain took, in milliseconds. */
  readonly drainMs: number;
  /** Requests answered during the drain. */
  readonly answered: number;
  /** Connections that were cut at the deadline; `null` if the worker could not say. */
  readonly cut: number | null;
  readonly outcome: "drained" | "cut" | "killed" | "died";
}

export interface GenerationOptions {
  readonly number: number;
  readonly config: Config;
  readonly listeners: readonly Listener[];
  /** The spawner of its workers, confined; the generation's own from here on. */
  readonly spawner: Spawner;
  /** Starts another spawner, confined to what is there at that time. */
  readonly startSpawner: () => Promise<Spawner>;
  readonly request: SpawnRequest;
  /** Numbers workers over all generations. */
  readonly nextWorker: () => number;
}

export class Generation {
  readonly number: number;
  readonly config: Config;
  readonly startedMs = performance.now();
  readonly #options: GenerationOptions;
  readonly #stop = new AbortController();
  #spawner: Spawner;
  #state: GenerationState = "starting";
  #worker: WorkerProcess | undefined;
  #used = false;
  #cut = false;
  #deaths = 0;
  #replacements = 0;
  #respawning: Promise<void> | undefined;

  constructor(options: GenerationOptions) {
    this.#options = options;
    this.#spawner = options.spawner;
    this.number = options.number;
    this.config = options.config;
  }

  get state(): GenerationState {
    return this.#state;
  }

  get worker(): WorkerProcess | undefined {
    return this.#worker;
  }

  /** How many workers of this generation were replaced after they died. */
  get replacements(): number {
    return this.#replacements;
  }

  /**
   * Brings up the first worker until it accepts connections. Until it says that it is ready it
   * accepts none, so that giving it up loses nothing.
   *
   * @throws {HoldfastError} if it does not come up before the deadline; it is gone then
   */
  async start(signal: AbortSignal): Promise<void> {
    try {
      this.#worker = await this.#bringUp(AbortSignal.any([signal, this.#stop.signal]));
    } catch (error) {
      this.#state = "gone";
      attempt("close the spawner", () => this.#spawner.close());
      throw error;
    }
    this.#state = "serving";
    void this.#watch(this.#worker);
  }

  /** Lets the worker finish what it has, until its deadline. Never fails. */
  async drain(): Promise<GenerationRecord> {
    const startMs = performance.now();
    this.#state = "draining";
    this.#stop.abort(new Error("The generation is draining"));
    await this.#respawning;
    const worker = this.#worker;
    let killed = false;
    if (worker?.alive) {
      const told = attempt("drain", () => worker.command({ type: "drain" }));
      const limitMs = told ? this.config.reload.drainDeadlineMs + DRAIN_MARGIN_MS : 0;
      if (!await settlesWithin(worker.exited, limitMs)) {
        killed = true;
        await killWorker(worker);
      }
    }
    this.#state = "gone";
    attempt("close the spawner", () => this.#spawner.close());
    return {
      generation: this.number,
      drainMs: Math.round(performance.now() - startMs),
      answered: worker?.drained?.answered ?? 0,
      cut: worker?.drained?.cut ?? null,
      outcome: killed || this.#cut ? "killed" : outcomeOf(worker),
    };
  }

  /** Ends the worker now. */
  cut(): void {
    this.#cut = true;
    this.#stop.abort(new Error("The generation was cut"));
    attempt("signal", () => this.#worker?.signal("SIGKILL"));
  }

  async #bringUp(signal: AbortSignal): Promise<WorkerProcess> {
    const { config, listeners, startSpawner, request, nextWorker } = this.#options;
    signal.throwIfAborted();
    // A wall is made of what was there when it was built: a file that was put in the place of
    // another since then is behind it.
    if (this.#used) {
      this.#spawner.close();
      this.#spawner = await startSpawner();
    }
    this.#used = true;
    const worker = new WorkerProcess(
      { id: nextWorker(), generation: this.number, onViolation: config.onViolation },
      this.#spawner,
      request,
    );
    await bringUp(worker, { config, listeners, grants: workerGrants(config), signal });
    log.info("worker_ready", {
      generation: this.number,
      worker: worker.id,
      pid: worker.pid,
      engine: worker.engine,
      ms: Math.round(worker.ageMs),
    });
    return worker;
  }

  async #watch(worker: WorkerProcess): Promise<void> {
    const death = await worker.exited;
    if (this.#state !== "serving") return;
    log.error("worker_lost", {
      generation: this.number,
      worker: worker.id,
      pid: worker.pid,
      how: describeDeath(death),
      livedMs: Math.round(death.livedMs),
    });
    this.#deaths = death.livedMs >= LIVED_MS ? 1 : this.#deaths + 1;
    this.#respawning = this.#respawn();
  }

  /** Tries until a worker serves again; connections wait in the listeners' backlog meanwhile. */
  async #respawn(): Promise<void> {
    const { signal } = this.#stop;
    while (!signal.aborted) {
      await sleep(backoffMs(this.#deaths), signal);
      if (signal.aborted) return;
      try {
        this.#worker = await this.#bringUp(signal);
        this.#replacements++;
        if (!signal.aborted) void this.#watch(this.#worker);
        return;
      } catch (error) {
        if (signal.aborted) return;
        this.#deaths++;
        log.error("worker_start_failed", {
          generation: this.number,
          reason: (error as Error).message,
          nextTryMs: backoffMs(this.#deaths),
        });
      }
    }
  }
}

function outcomeOf(worker: WorkerProcess | undefined): GenerationRecord["outcome"] {
  if (worker?.drained === undefined) return "died";
  return worker.drained.cut > 0 ? "cut" : "drained";
}
