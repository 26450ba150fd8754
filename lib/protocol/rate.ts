/** A token bucket: `burst` at once, `perSecond` in the long run. */
export class RateLimit {
  readonly #burst: number;
  readonly #perSecond: number;
  readonly #nowMs: () => number;
  #tokens: number;
  #filledMs: number;

  constructor(burst: number, perSecond: number, nowMs: () => number = () => performance.now()) {
    this.#burst = burst;
    this.#perSecond = perSecond;
    this.#nowMs = nowMs;
    this.#tokens = burst;
    this.#filledMs = nowMs();
  }

  /** Takes `cost` tokens; `false` if there are not as many. */
  take(cost = 1): boolean {
    const enough = this.has(cost);
    if (enough) this.#tokens -= cost;
    return enough;
  }

  /**
   * Takes `cost` tokens, also where there are not as many.
   *
   * @returns for how many milliseconds nothing more is to be taken
   */
  spend(cost: number): number {
    if (!this.take(cost)) this.#tokens -= cost;
    return Math.max(0, -this.#tokens / this.#perSecond * 1000);
  }

  /** Whether there are as many tokens. */
  has(cost: number): boolean {
    const now = this.#nowMs();
    const filled = this.#tokens + (now - this.#filledMs) / 1000 * this.#perSecond;
    this.#tokens = Math.min(this.#burst, filled);
    this.#filledMs = now;
    return this.#tokens >= cost;
  }
}
