/** The generations: the incumbent, which takes new connections, and those that drain. */
import { log } from "../base/log.ts";
import type { Status } from "../protocol/control.ts";
import type { Generation } from "./generation.ts";
import { settlesWithin, whenAborted } from "./timeouts.ts";
import type { DrainCause } from "./drain.ts";

/** How long a reload waits until the old workers say that they accept no more. */
const STOP_ACCEPTING_MS = 5_000;

/** What stopping takes besides the deadlines of the config. */
const STOP_MARGIN_MS = 15_000;

/** How many ended generations `status` remembers. */
const MAX_RECORDS = 10;

export class Generations {
  readonly #all = new Set<Generation>();
  /** Those that end, and when each has ended. */
  readonly #ending = new Map<Generation, Promise<void>>();
  /** Those of them that are there for their WebSockets alone, the oldest first. */
  readonly #kept = new Set<Generation>();
  /** Settles when fewer drain, or may. */
  #change = Promise.withResolvers<void>();
  readonly #onEnd: () => Promise<void>;
  readonly ended: Status["ended"] = [];
  readonly drains = { outcomes: { drained: 0, cut: 0, killed: 0, died: 0 }, ms: 0, cut: 0 };
  #incumbent: Generation | undefined;
  /** The number of the newest one. */
  last = 0;

  /** @param onEnd one has ended */
  constructor(onEnd: () => Promise<void>) {
    this.#onEnd = onEnd;
  }

  get incumbent(): Generation | undefined {
    return this.#incumbent;
  }

  /** The longest that its end takes: what is under way, then the worker, then its helpers. */
  get stopMs(): number {
    const { reload } = this.#incumbent?.config ?? {};
    if (!reload) return STOP_MARGIN_MS;
    return reload.readyDeadlineMs + 2 * reload.drainDeadlineMs + STOP_MARGIN_MS;
  }

  /** All that have processes, a candidate among them. */
  get all(): readonly Generation[] {
    return [...this.#all];
  }

  /** A candidate is about to start. */
  add(candidate: Generation): void {
    this.#all.add(candidate);
    this.last = candidate.number;
  }

  /** A candidate has failed; nothing of it is left. */
  remove(candidate: Generation): void {
    this.#all.delete(candidate);
  }

  /**
   * The switch: from here on another one is the incumbent.
   *
   * @returns the one before it, which serves still
   */
  promote(candidate: Generation): Generation | undefined {
    const old = this.#incumbent;
    this.#incumbent = candidate;
    return old;
  }

  /** Has one drain. */
  retire(generation: Generation, reason: DrainCause): void {
    const keep = reason === "replaced" && this.#maxKept > 0;
    const work = generation.drain(reason, keep).then(async (record) => {
      this.#all.delete(generation);
      this.#ending.delete(generation);
      this.#kept.delete(generation);
      this.#tellChange();
      this.ended.unshift(record);
      this.ended.length = Math.min(this.ended.length, MAX_RECORDS);
      this.drains.outcomes[record.outcome]++;
      this.drains.ms += record.drainMs;
      this.drains.cut += record.cut ?? 0;
      log.info("generation_ended", { ...record, answeredInDrain: record.answered });
      await this.#onEnd();
    });
    this.#ending.set(generation, work);
    void generation.kept.then(() => this.#keep(generation));
    this.#endOldest();
  }

  /** How many may be kept for their WebSockets. */
  get #maxKept(): number {
    const { webSockets, maxKept = 1 } = this.#incumbent?.config.reload ?? {};
    return webSockets === "keep" ? maxKept : 0;
  }

  /** One has only WebSockets left, which stay; of too many the oldest ends. */
  #keep(generation: Generation): void {
    const { number, endsInMs, webSockets } = generation;
    if (endsInMs === undefined) return;
    this.#kept.add(generation);
    log.info("generation_kept", { generation: number, webSockets, endsInMs });
    this.#endOldest();
  }

  /** Of more than may be kept the oldest end, and all where a new config keeps none. */
  #endOldest(): void {
    const many = Math.max(0, this.#kept.size - this.#maxKept);
    for (const oldest of [...this.#kept].slice(0, many)) {
      log.info("kept_generation_ends", {
        ...{ generation: oldest.number, reason: this.#maxKept > 0 ? "maxKept" : "webSockets" },
      });
      this.#kept.delete(oldest);
      oldest.letGo("replaced");
    }
    this.#tellChange();
  }

  #tellChange(): void {
    this.#change.resolve();
    this.#change = Promise.withResolvers();
  }

  /** Settles when all that drain have ended; none is kept any more. */
  async drained(): Promise<void> {
    for (const generation of this.#ending.keys()) generation.letGo("stopping");
    await Promise.all(this.#ending.values());
  }

  /** How many drain, without those that are kept. */
  get #draining(): number {
    return this.#ending.size - this.#kept.size;
  }

  /** Each generation that drains holds its processes: a reload waits until one more may. */
  async roomToDrain(signal: AbortSignal): Promise<void> {
    const { maxDraining = Infinity } = this.#incumbent?.config.reload ?? {};
    if (this.#draining < maxDraining || signal.aborted) return;
    log.warn("reload_waits", {
      draining: this.#draining,
      hint: "Raise reload.maxDraining, or lower reload.drainDeadlineMs",
    });
    while (this.#draining >= maxDraining && !signal.aborted) {
      await Promise.race([this.#change.promise, whenAborted(signal)]);
    }
  }

  /**
   * A reload is done when only the new version takes new connections: whoever connects after it must
   * not meet the old one. The switch has happened, so that an old worker that says nothing delays
   * the outcome and no more.
   */
  async untilStopped(old: Generation, signal: AbortSignal): Promise<void> {
    const ended = Promise.race([old.stopped, whenAborted(signal)]);
    if (await settlesWithin(ended, STOP_ACCEPTING_MS)) return;
    log.warn("still_accepting", {
      generation: old.number,
      waitedMs: STOP_ACCEPTING_MS,
      hint: "A worker keeps its event loop busy; it is killed after reload.drainDeadlineMs",
    });
  }

  /** Ends every process now. */
  cut(): void {
    log.warn("cutting", { generations: this.#all.size });
    for (const generation of this.#all) generation.cut();
  }
}
