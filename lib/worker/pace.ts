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

  constructor(
    limits: HttpLimits,
    timeout: "bodyTimeoutMs" | "sendTimeoutMs",
    bytesAhead = 0,
  ) {
    const rate = limits.minBytesPerSecond;
    this.#timeout = timeout;
    this.#earnedMs = rate === 0 ? Infinity : 1_000 / rate;
    this.#fullMs = limits[timeout] === 0 ? Infinity : limits[timeout];
    this.#leftMs = this.#fullMs + (bytesAhead === 0 ? 0 : bytesAhead * this.#earnedMs);
  }

  /** From now on the client is waited for. */
  wait(): void {
    this.#sinceMs ??= performance.now();
  }

  /** So many bytes have passed, and the client is not waited for any more. */
  pass(bytes: number): void {
    if (this.#sinceMs === undefined) return;
    const waitedMs = performance.now() - this.#sinceMs;
    this.#sinceMs = undefined;
    const earnedMs = bytes === 0 ? 0 : bytes * this.#earnedMs;
    this.#leftMs = Math.min(this.#fullMs, this.#leftMs - waitedMs + earnedMs);
  }

  /** Which limit the client exceeds, if it does. */
  exceeded(nowMs: number): LimitKind | undefined {
    if (this.#sinceMs === undefined) return undefined;
    const waitedMs = nowMs - this.#sinceMs;
    if (waitedMs <= this.#leftMs) return undefined;
    return waitedMs > this.#fullMs ? this.#timeout : "minBytesPerSecond";
  }
}
