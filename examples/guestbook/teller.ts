/** Sends new entries in the background: signing neither waits for it nor fails with it. */
import type { TellOutcome, Told } from "./helpers/notify_contract.ts";

/** Tells of one entry. */
export type Tell = (entry: Told, signal: AbortSignal) => Promise<TellOutcome>;

/** More entries than this wait only where the other side hangs; telling then costs no memory. */
const MAX_PENDING = 16;
/** At the end of a generation, for what is under way. */
const CLOSE_GRACE_MS = 2000;

export class Teller {
  readonly #tell: Tell;
  readonly #report: (error: unknown) => void;
  readonly #pending = new Set<Promise<void>>();
  readonly #abort = new AbortController();

  constructor(tell: Tell, report: (error: unknown) => void) {
    this.#tell = tell;
    this.#report = report;
  }

  /** Starts telling, and returns at once. Never throws: what goes wrong is reported. */
  tell(entry: Told): void {
    if (this.#pending.size >= MAX_PENDING) {
      const text = `Cannot tell of entry ${entry.id}: ${MAX_PENDING} others wait to be told of`;
      return this.#report(new Error(text));
    }
    const pending = this.#tellOf(entry).catch(this.#report);
    this.#pending.add(pending);
    pending.finally(() => this.#pending.delete(pending));
  }

  /** Waits for what is under way, for a short while. */
  async close(): Promise<void> {
    const timer = setTimeout(() => this.#abort.abort(), CLOSE_GRACE_MS);
    await Promise.all(this.#pending);
    clearTimeout(timer);
  }

  async #tellOf(entry: Told): Promise<void> {
    const told = await this.#tell(entry, this.#abort.signal);
    if (told.outcome !== "refused") return;
    throw new Error(`Cannot tell of entry ${entry.id}: the other side answered ${told.status}`);
  }
}
