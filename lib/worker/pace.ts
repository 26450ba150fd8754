/** How long a client may keep a worker waiting for its bytes, or for its taking them. */
import type { HttpLimits, LimitKind } from "../base/http_limits.ts";

/**
 * The time that a client has left. Waiting for it uses that up, and each byte that passes earns some, by
 * the least rate that is allowed; never more than it had at first.
 */
export class Pace {
  readonly #timeout: "bodyTimeoutMs" | "sendTimeoutMs";
  readonly #fullMs: number;
  readonly #earnedMs: number;
  #leftMs: number;
  #sinceMs: number | undefined;

  /** @param ahead how many bytes are to pass before anything is told of them */
  constructor(limits: HttpLimits, timeout: "bodyTimeoutMs" | "sendTimeoutMs", ahead = 0) {
    const rate = limits.minBytesPerSecond;
    this.#timeout = timeout;
    this.#earnedMs = rate === 0 ? Infinity : 1_000 / rate;
    this.#fullMs = limits[timeout] === 0 ? Infinity : limits[timeout];
    this.#leftMs = this.#fullMs + this.#earned(ahead);
  }

  /** From now on the client is waited for. */
  wait(): void {
    this.#sinceMs ??= performance.now();
  }

  /**
   * So many bytes have passed, and the client is not waited for any more.
   *
   * @param ahead how many are on their way of which nothing is told until they have passed
   */
  pass(bytes: number, ahead = 0): void {
    const { waitedMs } = this;
    this.#sinceMs = undefined;
    const most = this.#fullMs + this.#earned(ahead);
    this.#leftMs = Math.min(most, this.#leftMs - waitedMs + this.#earned(bytes));
  }

  /** A time that was not the client's: this process did nothing then. */
  forgive(ms: number, nowMs: number): void {
    if (this.#sinceMs !== undefined) this.#sinceMs = Math.min(nowMs, this.#sinceMs + ms);
  }

  #earned(bytes: number): number {
    return bytes === 0 ? 0 : bytes * this.#earnedMs;
  }

  /** For how long it has been waited for. */
  get waitedMs(): number {
    return this.#sinceMs === undefined ? 0 : performance.now() - this.#sinceMs;
  }

  /** Which limit the client exceeds, if it does. */
  exceeded(nowMs: number): LimitKind | undefined {
    if (this.#sinceMs === undefined) return undefined;
    const waitedMs = nowMs - this.#sinceMs;
    if (waitedMs <= this.#leftMs) return undefined;
    return waitedMs > this.#fullMs ? this.#timeout : "minBytesPerSecond";
  }
}
