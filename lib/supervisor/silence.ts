/** How often what lives is looked at: processes, and listeners that a worker can make stop. */
export const LOOK_INTERVAL_MS = 1_000;

/**
 * How long a process has said nothing, in the time that the supervisor itself was awake. Where the
 * whole machine stood still, or the supervisor did, looks come late, and what the process said
 * meanwhile has not been read yet: however long it was, it counts as one interval.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 *
 * const silence = new Silence(0);
 * for (const nowMs of [1000, 2000, 60_000]) silence.look(nowMs);
 * assertEquals(silence.ms, 3000);
 * ```
 */
export class Silence {
  #ms = 0;
  #lookedMs: number;

  constructor(nowMs: number = performance.now()) {
    this.#lookedMs = nowMs;
  }

  /** As of the last look, in milliseconds. */
  get ms(): number {
    return this.#ms;
  }

  /** To be called every {@link LOOK_INTERVAL_MS}. */
  look(nowMs: number = performance.now()): void {
    this.#ms += Math.min(nowMs - this.#lookedMs, LOOK_INTERVAL_MS);
    this.#lookedMs = nowMs;
  }

  heard(): void {
    this.#ms = 0;
  }
}
