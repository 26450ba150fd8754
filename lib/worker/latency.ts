/** How long the app takes to answer, as a histogram: a worker of a config without metrics has none. */
import { type Latency, LATENCY_BOUNDS_S, LATENCY_BUCKETS } from "../protocol/latency.ts";
import type { Fetcher } from "./app.ts";

const BOUNDS_MS = LATENCY_BOUNDS_S.map((seconds) => seconds * 1000);

/**
 * Counts each answer by the time from when the app was asked until its Response was there, or its
 * failure. What a body takes after that is not in it: the client's pace would be, and the hours of an
 * endless stream. So both engines tell the same, and no Response is asked what would unfold it.
 */
export class LatencyHistogram {
  readonly #counts: number[] = new Array(LATENCY_BUCKETS).fill(0);
  #sumMs = 0;

  /** The same app, timed. */
  wrap(fetcher: Fetcher): Fetcher {
    return {
      fetch: (request, info) => {
        const startMs = performance.now();
        let answer: Response | Promise<Response> | undefined;
        try {
          return answer = fetcher.fetch(request, info);
        } finally {
          if (answer instanceof Promise) {
            const end = () => this.#add(performance.now() - startMs);
            // Beside the engine, not before it: it awaits what the app gave, and not one promise more.
            answer.then(end, end);
          } else this.#add(performance.now() - startMs);
        }
      },
    };
  }

  figures(): Latency {
    // Microseconds: more digits tell nothing.
    return { counts: [...this.#counts], sumMs: Math.round(this.#sumMs * 1000) / 1000 };
  }

  #add(durationMs: number): void {
    let bucket = 0;
    while (durationMs > BOUNDS_MS[bucket]!) bucket++;
    this.#counts[bucket]!++;
    this.#sumMs += durationMs;
  }
}
