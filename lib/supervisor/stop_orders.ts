/** Tells an order to stop from the same one that came twice. */

/**
 * How long after the first order another one is the same, in milliseconds. One Ctrl-C comes twice
 * where `deno task` or another runner passes on what the terminal has sent to all of them already, and
 * so does one TERM to a whole control group. A person takes longer to want more.
 */
export const SAME_ORDER_MS = 500;

export class StopOrders {
  readonly #nowMs: () => number;
  #firstMs: number | undefined;

  constructor(nowMs: () => number = () => performance.now()) {
    this.#nowMs = nowMs;
  }

  /** What one more order means. */
  take(): "stop" | "same" | "cut" {
    const nowMs = this.#nowMs();
    if (this.#firstMs === undefined) {
      this.#firstMs = nowMs;
      return "stop";
    }
    return nowMs - this.#firstMs < SAME_ORDER_MS ? "same" : "cut";
  }
}
