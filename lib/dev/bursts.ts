/** Joins what comes at once: an editor changes a file in several steps, and several files together. */

export interface BurstOptions {
  /** How long nothing may have come for a burst to be over, in milliseconds. */
  readonly quietMs?: number;
  /** How long one may last. */
  readonly mostMs?: number;
  /** Takes what came, each once. */
  readonly take: (all: ReadonlySet<string>) => void;
}

export class Bursts {
  readonly #quietMs: number;
  readonly #mostMs: number;
  readonly #take: BurstOptions["take"];
  #all = new Set<string>();
  #quiet: ReturnType<typeof setTimeout> | undefined;
  #most: ReturnType<typeof setTimeout> | undefined;

  constructor({ quietMs = 40, mostMs = 1_000, take }: BurstOptions) {
    this.#quietMs = quietMs;
    this.#mostMs = mostMs;
    this.#take = take;
  }

  add(each: string): void {
    this.#all.add(each);
    clearTimeout(this.#quiet);
    this.#quiet = setTimeout(() => this.#end(), this.#quietMs);
    this.#most ??= setTimeout(() => this.#end(), this.#mostMs);
  }

  close(): void {
    clearTimeout(this.#quiet);
    clearTimeout(this.#most);
    this.#most = undefined;
    this.#all = new Set();
  }

  #end(): void {
    const all = this.#all;
    this.close();
    this.#take(all);
  }
}
