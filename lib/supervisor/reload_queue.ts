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
  readonly #mayRun: () => Promise<void> | undefined;
  readonly #clock: QueueClock;
  #next: PromiseWithResolvers<Result> | undefined;
  #state: "idle" | "waiting" | "running" = "idle";

  /**
   * @param run does one reload
   * @param mayRun waits until one may begin; whoever asks meanwhile gets that one
   */
  constructor(
    run: () => Promise<Result>,
    mayRun: () => Promise<void> | undefined = () => undefined,
    clock: QueueClock = realClock,
  ) {
    this.#run = run;
    this.#mayRun = mayRun;
    this.#clock = clock;
  }

  /** Whether a reload is under way, or waits until it may be. */
  get state(): "idle" | "waiting" | "running" {
    return this.#state;
  }

  /** Asks for a reload; the result is that of one that began after this call. */
  request(): Promise<Result> {
    this.#next ??= Promise.withResolvers();
    const { promise } = this.#next;
    if (this.#state === "idle") void this.#work();
    return promise;
  }

  async #work(): Promise<void> {
    while (this.#next) {
      this.#state = "waiting";
      const wait = this.#mayRun();
      if (wait) await wait;
      this.#state = "running";
      const { resolve, reject } = this.#next;
      this.#next = undefined;
      const startMs = this.#clock.nowMs();
      await this.#run().then(resolve, reject);
      const restMs = RELOAD_SPACING_MS - (this.#clock.nowMs() - startMs);
      if (restMs > 0) await this.#clock.sleep(restMs);
    }
    this.#state = "idle";
  }
}
