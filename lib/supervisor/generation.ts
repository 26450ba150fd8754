/** One config snapshot and the worker started from it. */
import { HoldfastError } from "../base/error.ts";
import { log } from "../base/log.ts";
import type { Config } from "../config/config.ts";
import { closeDescriptor } from "../os/descriptor.ts";
import { workerGrants } from "../sandbox/worker_command.ts";
import { attempt } from "./attempt.ts";
import { backoffMs, LIVED_MS } from "./backoff.ts";
import type { Listener } from "./listener.ts";
import type { Spawner } from "./spawner.ts";
import type { SpawnRequest } from "./spawner_message.ts";
import { describeDeath, WorkerProcess } from "./worker_process.ts";

/** What a worker may take over its own deadline before it is killed. */
const DRAIN_MARGIN_MS = 2_000;

/** How long a killed worker may take to be gone before it is killed again. */
const KILL_AGAIN_MS = 1_000;

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
  /** The spawner of its workers; the generation's own from here on. */
  readonly spawner: Spawner;
  /** Replaces a spawner that failed. */
  readonly startSpawner: () => Spawner;
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
        await kill(worker);
      }
    }
    this.#state = "gone";
    attempt("close the spawner", () => this.#spawner.close());
    return {
      generation: this.number,
      drainMs: Math.round(performance.now() - startMs),
      answered: worker?.drained?.answered ?? 0,
      cut: worker?.drained?.cut ?? null,
      outcome: killed ? "killed" : outcomeOf(worker),
    };
  }

  /** Ends the worker now. */
  cut(): void {
    this.#stop.abort(new Error("The generation was cut"));
    attempt("signal", () => this.#worker?.signal("SIGKILL"));
  }

  async #bringUp(signal: AbortSignal): Promise<WorkerProcess> {
    const { config, listeners, startSpawner, request, nextWorker } = this.#options;
    signal.throwIfAborted();
    if (this.#spawner.failed) {
      this.#spawner.close();
      this.#spawner = startSpawner();
    }
    const worker = new WorkerProcess(
      { id: nextWorker(), generation: this.number },
      this.#spawner,
      request,
    );
    const { readyDeadlineMs } = config.reload;
    const deadline = AbortSignal.timeout(readyDeadlineMs);
    const either = AbortSignal.any([signal, deadline]);
    let step = "say hello";
    try {
      await worker.expect("hello", either);
      worker.command({
        type: "configure",
        engine: config.engine,
        listeners: listeners.map((listener) => listener.text),
        grants: workerGrants(config),
        idleGraceMs: config.reload.idleGraceMs,
        drainDeadlineMs: config.reload.drainDeadlineMs,
      });
      step = "take its listeners";
      handOver(worker, listeners);
      await worker.expect("received", either);
      worker.command({ type: "load" });
      step = "load and open the app";
      await worker.expect("ready", either);
      worker.command({ type: "accept" });
      step = "accept";
      await worker.expect("accepting", either);
    } catch (error) {
      await kill(worker);
      if (!deadline.aborted || error !== deadline.reason) throw error;
      throw new HoldfastError(
        `Worker ${worker.id} did not ${step} within ${readyDeadlineMs} ms`,
        {
          kind: "app",
          code: "worker_not_ready",
          hint: "See what the app waits for at start, or raise reload.readyDeadlineMs",
        },
      );
    }
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

/** Gives a worker a descriptor of each listener; none is left behind if that fails. */
function handOver(worker: WorkerProcess, listeners: readonly Listener[]): void {
  const descriptors: number[] = [];
  try {
    for (const listener of listeners) descriptors.push(listener.duplicate());
    worker.handOver(descriptors);
  } catch (error) {
    descriptors.forEach(closeDescriptor);
    throw error;
  }
}

/** Kills a worker and waits until it is gone. */
async function kill(worker: WorkerProcess): Promise<void> {
  do {
    attempt("signal", () => worker.signal("SIGKILL"));
  } while (!await settlesWithin(worker.exited, KILL_AGAIN_MS));
}

/** Whether `promise` settles within `ms`. */
async function settlesWithin(promise: Promise<unknown>, ms: number): Promise<boolean> {
  const stop = new AbortController();
  const settled = promise.then(() => true);
  const late = sleep(ms, stop.signal).then(() => false);
  return await Promise.race([settled, late]).finally(() => stop.abort());
}

function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      resolve();
    }, { once: true });
  });
}
