/** A histogram for Prometheus of what others have sorted into buckets already. */
import type { Metric, Registry } from "prom-client";
import { type Latency, LATENCY_BOUNDS_S, LATENCY_BUCKETS } from "../protocol/latency.ts";

type Durations = Pick<Latency, "counts" | "sumMs">;

const NONE: Durations = { counts: new Array(LATENCY_BUCKETS).fill(0), sumMs: 0 };

/** Sums up the histograms of processes that start and end. */
export class DurationHistogram {
  readonly #name: string;
  readonly #help: string;
  readonly #counts = [...NONE.counts];
  #sumMs = 0;

  constructor(name: string, help: string) {
    this.#name = name;
    this.#help = help;
  }

  /** Shows it in a registry's figures. */
  register(registry: Registry): void {
    // prom-client's own takes single values only, and of a metric its registry asks nothing but this.
    const metric = { name: this.#name, get: () => this.#describe() };
    registry.registerMetric(metric as unknown as Metric);
  }

  /** Adds the histogram of a process, less its earlier one. */
  add(told: Durations, before: Durations = NONE): void {
    // A counter never falls, whatever a process reports.
    const more = (now: number, then: number) => Math.max(0, now - then);
    told.counts.forEach((count, bucket) => {
      this.#counts[bucket]! += more(count, before.counts[bucket]!);
    });
    this.#sumMs += more(told.sumMs, before.sumMs);
  }

  #describe() {
    let count = 0;
    const buckets = this.#counts.map((more, bucket) => ({
      metricName: `${this.#name}_bucket`,
      labels: { le: LATENCY_BOUNDS_S[bucket] ?? "+Inf" },
      value: count += more,
    }));
    const values = [
      ...buckets,
      { metricName: `${this.#name}_sum`, value: this.#sumMs / 1000 },
      { metricName: `${this.#name}_count`, value: count },
    ];
    return { name: this.#name, help: this.#help, type: "histogram", values };
  }
}
