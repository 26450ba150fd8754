/** Starts the processes of a slot, each from a spawner of its own, and watches one while it lives. */
import { log } from "../base/log.ts";
import type { Config } from "../config/config.ts";
import type { Role } from "../protocol/role.ts";
import { bestEffort } from "./best_effort.ts";
import { type HealthAction, LOOK_INTERVAL_MS, type Recycle } from "./health.ts";
import type { SpareWorkers } from "./spare_workers.ts";
import type { Spawner } from "./spawner.ts";
import type { SpawnRequest } from "./spawner_message.ts";
import { type Death, WorkerProcess } from "./worker_process.ts";

/** A spawner that is confined, and what it is to spawn. */
export interface ConfinedSpawner {
  readonly spawner: Spawner;
  readonly request: SpawnRequest;
  /** Makes what lasts as long as the process, and what it is to be spawned with then. */
  readonly lend?: (() => Promise<{ readonly request: SpawnRequest; end(): void }>) | undefined;
}

export interface StartOptions {
  readonly role: Role;
  readonly generation: number;
  readonly config: Config;
  /** For the first process; the starter's own from here on. */
  readonly first?: ConfinedSpawner;
  /** Starts another spawner, confined to what is there at that time. */
  readonly next: () => Promise<ConfinedSpawner>;
  /** Numbers processes over all generations. */
  readonly nextWorker: () => number;
  /** Brings up a process that was spawned, until it serves; it is gone if that fails. */
  readonly bringUp: (process: WorkerProcess, signal: AbortSignal) => Promise<void>;
  /** Those that can serve at once. */
  readonly spares?: SpareWorkers | undefined;
}

export class ProcessStarter {
  readonly #options: StartOptions;
  #nextSpawner: ConfinedSpawner | undefined;

  constructor(options: StartOptions) {
    this.#options = options;
    this.#nextSpawner = options.first;
  }

  /**
   * Starts a process and waits until it serves.
   *
   * @throws {Error} if it does not come up, and the signal's reason; it is gone then
   */
  async start(signal: AbortSignal): Promise<WorkerProcess> {
    const { role, generation, config, next, nextWorker, bringUp, spares } = this.#options;
    signal.throwIfAborted();
    const spare = spares?.take(role, signal);
    if (spare !== undefined) return await spare;
    // A wall is made of what was there when it was built: a file that was put in the place of
    // another since then is behind it. So each process has a spawner of its own, as long as it lives.
    const { spawner, request, lend } = this.#nextSpawner ?? await next();
    this.#nextSpawner = undefined;
    let lent: { readonly request: SpawnRequest; end(): void } | undefined;
    const close = () => {
      bestEffort("close the spawner", () => spawner.close());
      lent?.end();
    };
    let process: WorkerProcess;
    try {
      signal.throwIfAborted();
      const identity = { id: nextWorker(), role, generation, onViolation: config.onViolation };
      if (lend) lent = await lend();
      signal.throwIfAborted();
      process = new WorkerProcess(identity, spawner, lent?.request ?? request);
    } catch (error) {
      close();
      throw error;
    }
    void process.exited.then(close);
    await bringUp(process, signal);
    const { logFields, engine, ageMs } = process;
    log.info("worker_ready", { ...logFields, engine, ms: Math.round(ageMs) });
    return process;
  }

  /** Lets go of the spawner that no process has used. */
  close(): void {
    bestEffort("close the spawner", () => this.#nextSpawner?.spawner.close());
    this.#nextSpawner = undefined;
  }
}

/**
 * Judges a process as long as it lives. One that is in the way is killed, whatever its slot does; where
 * another is to take its place, `recycle` is called.
 */
export async function watchHealth(
  process: WorkerProcess,
  health: ((process: WorkerProcess) => HealthAction | undefined) | undefined,
  recycle: (recycle: Recycle) => void,
): Promise<Death> {
  const look = setInterval(() => {
    process.look();
    const action = health?.(process);
    if (action?.act === "kill") process.killFor(action.reason);
    else if (action) recycle(action);
  }, LOOK_INTERVAL_MS);
  const death = await process.exited;
  clearInterval(look);
  return death;
}
