/**
 * Reloads one at a time. A request that comes while one runs waits for the next, which reads the
 * config anew: however many come, the last word on disk wins and the work is bounded.
 */

/** The least time between the beginnings of two reloads when they come in a storm. */
export const RELOAD_SPACING_MS = 500;

export interface QueueClock {
  nowMs(): number;
  sleep(ms: number): Promise<void>;
}

const realClock: QueueClock = {
  nowMs: () => performance.now(),
  sleep: (ms) => new Promise((resolve) => setTimeout(resolve, ms)),
};

export class ReloadQueue<Result> {
  readonly #run: () => Promise<Result>;
  readonly #clock: QueueClock;
  #next: PromiseWithResolvers<Result> | undefined;
  #running = false;

  /** @param run does one reload */
  constructor(run: () => Promise<Result>, clock: QueueClock = realClock) {
    this.#run = run;
    this.#clock = clock;
  }

  /** Asks for a reload; the result is that of one that began after this call. */
  request(): Promise<Result> {
    this.#next ??= Promise.withResolvers();
    const { promise } = this.#next;
    if (!this.#running) void this.#work();
    return promise;
  }

  async #work(): Promise<void> {
    this.#running = true;
    while (this.#next) {
      const { resolve, reject } = this.#next;
      this.#next = undefined;
      const startMs = this.#clock.nowMs();
      await this.#run().then(resolve, reject);
      const restMs = RELOAD_SPACING_MS - (this.#clock.nowMs() - startMs);
      if (restMs > 0) await this.#clock.sleep(restMs);
    }
    this.#running = false;
  }
}
