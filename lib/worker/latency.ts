/** A histogram of how long the app takes to answer; only if the config has metrics. */
import type { ServerResponse } from "node:http";
import { type Latency, LATENCY_BOUNDS_S, LATENCY_BUCKETS } from "../protocol/latency.ts";
import type { Fetcher } from "./app.ts";

const BOUNDS_MS = LATENCY_BOUNDS_S.map((seconds) => seconds * 1000);

/**
 * Counts each answer by the time from the call of the app until its Response, or its failure. The body is
 * not included, since it depends on the client's pace and streams may be endless. So both engines measure
 * the same, without reading the Response.
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
            // In parallel to the engine, which awaits the app's promise itself: no extra delay.
            answer.then(end, end);
          } else this.#add(performance.now() - startMs);
        }
      },
    };
  }

  /** Times an answer of `node:http`, until its head is written. */
  watch(outgoing: ServerResponse): void {
    const startMs = performance.now();
    const { writeHead } = outgoing;
    let added = false;
    const add = () => {
      if (!added) this.#add(performance.now() - startMs);
      added = true;
    };
    outgoing.writeHead = ((...all: unknown[]) => {
      add();
      return Reflect.apply(writeHead, outgoing, all);
    }) as typeof writeHead;
    outgoing.once("close", add);
  }

  figures(): Latency {
    // Microseconds are precise enough.
    return { counts: [...this.#counts], sumMs: Math.round(this.#sumMs * 1000) / 1000 };
  }

  #add(durationMs: number): void {
    let bucket = 0;
    while (durationMs > BOUNDS_MS[bucket]!) bucket++;
    this.#counts[bucket]!++;
    this.#sumMs += durationMs;
  }
}
