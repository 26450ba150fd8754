/** Workers of a generation that wait at `ready`, so that one serves at once where a worker is needed. */
import { log } from "../base/log.ts";
import { type Role, roleText } from "../protocol/role.ts";
import { backoffMs, MIN_HEALTHY_MS } from "./health.ts";
import { ProcessStarter, type StartOptions } from "./process_starter.ts";
import { sleep } from "../base/sleep.ts";
import type { WorkerProcess } from "./worker_process.ts";

export interface SpareOptions extends Omit<StartOptions, "role" | "first" | "bringUp" | "spares"> {
  /** How many wait. */
  readonly count: number;
  /** Brings up a process until it serves; it does not accept before the barrier has settled. */
  readonly bringUp: (
    process: WorkerProcess,
    signal: AbortSignal,
    acceptBarrier: () => Promise<void>,
  ) => Promise<void>;
}

const ROLE: Role = { kind: "worker" };

/** One that waits. */
interface Spare {
  readonly process: WorkerProcess;
  readonly take: (role: Role, signal: AbortSignal) => Promise<WorkerProcess>;
}

export class SpareWorkers {
  readonly #options: SpareOptions;
  readonly #stop = new AbortController();
  readonly #waiting = new Set<Spare>();
  #kept: Promise<unknown> = Promise.resolve();

  constructor(options: SpareOptions) {
    this.#options = options;
  }

  /** Those that wait. */
  get processes(): readonly WorkerProcess[] {
    return [...this.#waiting].map(({ process }) => process);
  }

  /** Whether any waits. */
  get ready(): boolean {
    return this.#waiting.size > 0;
  }

  /** Keeps as many as are wanted, from now on. */
  keep(): void {
    this.#kept = Promise.all(Array.from({ length: this.#options.count }, () => this.#keepOne()));
  }

  /**
   * Lets one of them serve, if any waits.
   *
   * @param signal gives it up
   * @returns settles when it serves; it fails if it does not come to that, and it is gone then
   */
  take(role: Role, signal: AbortSignal): Promise<WorkerProcess> | undefined {
    const [spare] = this.#waiting;
    return spare?.take(role, signal);
  }

  /** Ends those that wait, which have nothing to finish. Never fails. */
  async end(): Promise<void> {
    this.#stop.abort(new Error("Its generation needs it no more"));
    await this.#kept;
  }

  /** One after the other: when one is taken the next one is brought up. */
  async #keepOne(): Promise<void> {
    const { signal } = this.#stop;
    let failures = 0;
    while (!signal.aborted) {
      const { accepting, wait } = this.#bringUp();
      try {
        await accepting;
        failures = 0;
      } catch (error) {
        if (signal.aborted) return;
        failures = wait.ms >= MIN_HEALTHY_MS ? 1 : failures + 1;
        const nextTryMs = backoffMs(failures, Math.random());
        const { generation } = this.#options;
        const reason = (error as Error).message;
        log.error("spare_lost", { role: roleText(ROLE), generation, reason, nextTryMs });
        await sleep(nextTryMs, signal);
      }
    }
  }

  #bringUp(): { accepting: Promise<WorkerProcess>; wait: { ms: number } } {
    const given = new AbortController();
    const signal = AbortSignal.any([this.#stop.signal, given.signal]);
    const wait = { ms: 0 };
    const starter = new ProcessStarter({
      ...this.#options,
      role: ROLE,
      bringUp: (process, signal) =>
        this.#options.bringUp(process, signal, async () => {
          const readyMs = performance.now();
          await this.#untilTaken(process, given, accepting);
          wait.ms = performance.now() - readyMs;
        }),
    });
    const accepting = starter.start(signal);
    return { accepting, wait };
  }

  #untilTaken(
    process: WorkerProcess,
    given: AbortController,
    accepting: Promise<WorkerProcess>,
  ): Promise<void> {
    return new Promise((resolve) => {
      const giveUp = (signal: AbortSignal) => given.abort(signal.reason);
      const spare: Spare = {
        process,
        take: (role, signal) => {
          this.#waiting.delete(spare);
          process.role = role;
          if (signal.aborted) giveUp(signal);
          signal.addEventListener("abort", () => giveUp(signal), { once: true });
          resolve();
          return accepting;
        },
      };
      this.#waiting.add(spare);
      void process.exited.then(() => this.#waiting.delete(spare));
    });
  }
}
