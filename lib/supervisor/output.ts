/** Cuts what a worker prints into lines that can be logged: bounded, escaped, not too many. */
import { escapeStranger, MAX_STRANGER_TEXT } from "../base/escape.ts";
import { RateLimit } from "../protocol/rate.ts";

/** How many lines of one worker are logged at once, and how many a second in the long run. */
export const OUTPUT_BURST = 200;
export const OUTPUT_LINES_PER_SECOND = 20;

export class OutputLines {
  readonly #rate: RateLimit;
  readonly #decoder = new TextDecoder();
  #held = "";
  /** The rest of a line whose beginning was long enough is skipped up to its end. */
  #skipping = false;
  #dropped = 0;

  constructor(nowMs?: () => number) {
    this.#rate = new RateLimit(OUTPUT_BURST, OUTPUT_LINES_PER_SECOND, nowMs);
  }

  /** Yields the lines that `chunk` completes, as far as they are allowed. */
  *push(chunk: Uint8Array): Generator<string, void> {
    const lines = this.#decoder.decode(chunk, { stream: true }).split("\n");
    for (const [index, part] of lines.entries()) {
      const complete = index < lines.length - 1;
      if (!this.#skipping) {
        this.#held += part;
        if (complete || this.#held.length > MAX_STRANGER_TEXT) {
          yield* this.#take();
          this.#skipping = !complete;
        }
      } else if (complete) this.#skipping = false;
    }
  }

  /** Yields a last line that has no end. */
  *end(): Generator<string, void> {
    if (this.#held !== "") yield* this.#take();
  }

  /** How many lines were dropped since this was asked last. */
  takeDropped(): number {
    const dropped = this.#dropped;
    this.#dropped = 0;
    return dropped;
  }

  *#take(): Generator<string, void> {
    const text = escapeStranger(this.#held);
    this.#held = "";
    if (this.#rate.take()) yield text;
    else this.#dropped++;
  }
}
