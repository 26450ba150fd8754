/** How a request ended. Every request ends in exactly one of these. */
export const OUTCOMES = ["ok", "refused", "lost", "raced", "bad"] as const;
export type Outcome = typeof OUTCOMES[number];

/** The account of one mode. */
export interface ModeReport {
  sent: number;
  /** 2xx, answered whole and right. */
  ok: number;
  /** No connection came about. */
  refused: number;
  /** The connection ended, or the deadline passed, before the whole answer. */
  lost: number;
  /** A reused connection was closed with no byte of the answer: the classic keep-alive race. */
  raced: number;
  /** Another status than 2xx, a wrong body, or no HTTP at all. */
  bad: number;
  /** Requests sent that ended in none of the above: a fault of the client. Always 0. */
  unaccounted: number;
  p50Ms: number;
  p99Ms: number;
  maxMs: number;
  /** Whole and right answers by the generation that gave them. */
  generations: Record<string, number>;
}

/** One request that was not answered well, and why. */
export interface Sample {
  mode: string;
  outcome: Exclude<Outcome, "ok">;
  reason: string;
  /** The generation whose answer had begun, if one was seen. */
  generation: string | undefined;
  /** When it ended, from the start of the load. */
  atMs: number;
}

const MAX_SAMPLES_PER_OUTCOME = 5;

/** Counts the requests of one mode. What was sent and how it ended are counted apart. */
export class Tally {
  readonly samples: Sample[] = [];
  #mode: string;
  #sent = 0;
  #counts: Record<Outcome, number> = { ok: 0, refused: 0, lost: 0, raced: 0, bad: 0 };
  #latenciesMs: number[] = [];
  #generations: Record<string, number> = {};

  constructor(mode: string) {
    this.#mode = mode;
  }

  send(): void {
    this.#sent += 1;
  }

  endWell(latencyMs: number, generation: string | undefined): void {
    this.#counts.ok += 1;
    this.#latenciesMs.push(latencyMs);
    const name = generation ?? "unknown";
    this.#generations[name] = (this.#generations[name] ?? 0) + 1;
  }

  endBadly(sample: Omit<Sample, "mode">): void {
    this.#counts[sample.outcome] += 1;
    if (this.#counts[sample.outcome] <= MAX_SAMPLES_PER_OUTCOME) {
      this.samples.push({ mode: this.#mode, ...sample });
    }
  }

  report(): ModeReport {
    const ended = OUTCOMES.reduce((sum, outcome) => sum + this.#counts[outcome], 0);
    return {
      sent: this.#sent,
      ...this.#counts,
      unaccounted: this.#sent - ended,
      ...percentilesOf(this.#latenciesMs),
      generations: { ...this.#generations },
    };
  }
}

function percentilesOf(latenciesMs: number[]): Pick<ModeReport, "p50Ms" | "p99Ms" | "maxMs"> {
  const sorted = Float64Array.from(latenciesMs).sort();
  const rank = (share: number) => {
    const ms = sorted[Math.max(0, Math.ceil(sorted.length * share) - 1)] ?? 0;
    return Math.round(ms * 10) / 10;
  };
  return { p50Ms: rank(0.5), p99Ms: rank(0.99), maxMs: rank(1) };
}
