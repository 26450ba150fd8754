/** How long the app takes to answer, and with which statuses; only if the config has metrics. */
import type { ServerResponse } from "node:http";
import {
  type Latency,
  LATENCY_BOUNDS_S,
  LATENCY_BUCKETS,
  STATUS_CLASSES,
} from "../protocol/latency.ts";
import type { Fetcher } from "./app.ts";

const BOUNDS_MS = LATENCY_BOUNDS_S.map((seconds) => seconds * 1000);

/**
 * Counts each answer by the time from the call of the app until its Response, or its failure. The body is
 * not included, since it depends on the client's pace and streams may be endless. So both engines measure
 * the same, and read nothing of the Response but its status.
 */
export class LatencyHistogram {
  readonly #counts: number[] = new Array(LATENCY_BUCKETS).fill(0);
  readonly #statuses: number[] = new Array(STATUS_CLASSES.length).fill(0);
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
            const end = (response: Response) => this.#add(performance.now() - startMs, response);
            // In parallel to the engine, which awaits the app's promise itself: no extra delay.
            answer.then(end, (error) => this.#add(performance.now() - startMs, error));
          } else this.#add(performance.now() - startMs, answer);
        }
      },
    };
  }

  /** Times an answer of `node:http`, until its head is written. */
  watch(outgoing: ServerResponse): void {
    const startMs = performance.now();
    const { writeHead } = outgoing;
    let added = false;
    const add = (answer: { readonly status?: unknown }) => {
      if (!added) this.#add(performance.now() - startMs, answer);
      added = true;
    };
    outgoing.writeHead = ((...all: unknown[]) => {
      add({ status: all[0] });
      return Reflect.apply(writeHead, outgoing, all);
    }) as typeof writeHead;
    // A client that has left before was not answered.
    outgoing.once("close", () => add({ status: 0 }));
  }

  figures(): Latency {
    // Microseconds are precise enough.
    const sumMs = Math.round(this.#sumMs * 1000) / 1000;
    return { counts: [...this.#counts], statuses: [...this.#statuses], sumMs };
  }

  /** @param answer a Response of any class; an error is answered with its status, or with 500 */
  #add(durationMs: number, answer: { readonly status?: unknown } | undefined): void {
    const { status } = answer ?? {};
    const kind = Math.floor((typeof status === "number" ? status : 500) / 100) - 1;
    if (kind >= 0 && kind < STATUS_CLASSES.length) this.#statuses[kind]!++;
    let bucket = 0;
    while (durationMs > BOUNDS_MS[bucket]!) bucket++;
    this.#counts[bucket]!++;
    this.#sumMs += durationMs;
  }
}
