/**
 * What the names resolve to that processes may dial. This process looks up no name itself: whoever does
 * answers by {@link NameTable.source}.
 */
import { addressText } from "../sandbox/dialling.ts";

/** Looks a name up; an empty list is a name that is not there. */
export type NameSource = (name: string) => Promise<readonly string[]>;

/** How long an address is known of a name after it was last seen, in milliseconds. */
const KEPT_MS = 600_000;

/** A name that was looked up before is looked up again while it is used, in milliseconds. */
const FRESH_MS = 5_000;

/** The same of one of which the addresses change: the more of them are known, the fewer are missed. */
const RESTLESS_MS = 1_000;

/** How many addresses are known of one name; the oldest make room. */
const MAX_ADDRESSES = 1_024;

/**
 * How long to wait before each look for an address that is not known: a name server may answer with
 * others each time.
 */
const LOOKS_AFTER_MS = [0, 20, 60, 120, 200];

/** After so many looks that said the same, an address that is not known is of another name. */
const STEADY_LOOKS = LOOKS_AFTER_MS.length;

/**
 * Where several names change and any of them may be meant: how often all are looked up once more, by how
 * many questions at once, and how long after the round before, in milliseconds.
 */
const MORE_ROUNDS = 15;
const AT_ONCE = 4;
const ROUND_MS = 50;

/**
 * How long that may take, in milliseconds: whoever dials waits. After an upgrade somebody who looks names
 * up has to be started.
 */
const LOOKING_MS = 10_000;

/** How much of it outlives an exec, in whose environment it must have room. */
const MAX_HANDED_NAMES = 64;
const MAX_HANDED_ADDRESSES = 16;

interface Entry {
  /** When each was seen, the oldest first. */
  readonly seenMs: Map<string, number>;
  askedMs: number;
  pending: Promise<void> | undefined;
  /** Several questions at once, for all who wait. */
  burst: Promise<unknown> | undefined;
  /** The last answer, how many looks in a row gave it, and when it was another one than before. */
  last: string | undefined;
  alike: number;
  changedMs: number;
}

export class NameTable {
  readonly #entries = new Map<string, Entry>();
  #source = Promise.withResolvers<NameSource>();
  #hasSource = false;

  /** Every name that was asked for. */
  get all(): string[] {
    return [...this.#entries.keys()];
  }

  /** @param source who looks names up from here on; while there is nobody, whoever asks waits */
  setSource(source: NameSource | undefined): void {
    if (this.#hasSource) this.#source = Promise.withResolvers();
    this.#hasSource = source !== undefined;
    if (source) this.#source.resolve(source);
  }

  /** What another program in this process is to know. */
  handOver(): Record<string, string[]> {
    return Object.fromEntries(
      [...this.#entries].slice(-MAX_HANDED_NAMES).map(([name, { seenMs }]) =>
        [name, [...seenMs.keys()].slice(-MAX_HANDED_ADDRESSES)] as const
      ),
    );
  }

  /** Takes over what {@link NameTable.handOver} gave. */
  adopt(known: Readonly<Record<string, readonly string[]>>): void {
    for (const [name, addresses] of Object.entries(known)) {
      const { seenMs } = this.#entryOf(name);
      for (const address of addresses) seenMs.set(address, performance.now());
    }
  }

  /** The addresses of a name that are known now. */
  known(name: string): ReadonlySet<string> {
    const entry = this.#entryOf(name);
    const nowMs = performance.now();
    for (const [address, seenMs] of entry.seenMs) {
      if (nowMs - seenMs > KEPT_MS) entry.seenMs.delete(address);
    }
    const freshMs = isRestless(entry) ? RESTLESS_MS : FRESH_MS;
    if (this.#hasSource && nowMs - entry.askedMs > freshMs) {
      void this.#look(name, entry).catch(() => {});
    }
    return new Set(entry.seenMs.keys());
  }

  /**
   * Whether an address is one of several names', by what a look-up says now.
   *
   * @throws {Error} if none can be looked up
   */
  async belongs(address: string, names: readonly string[]): Promise<boolean> {
    const endMs = performance.now() + LOOKING_MS;
    // Of one name alone any address will do.
    const looks = names.length === 1 ? LOOKS_AFTER_MS.slice(0, 1) : LOOKS_AFTER_MS;
    for (const waitMs of looks) {
      if (waitMs > 0) await new Promise((resolve) => setTimeout(resolve, waitMs));
      // One that was under way may have been answered before the asker's was.
      const under = names.flatMap((name) => this.#entryOf(name).pending ?? []);
      await within(Promise.allSettled(under), endMs - performance.now());
      if (!this.#has(address, names)) {
        const asked = names.map((name) => this.#look(name, this.#entryOf(name)));
        await within(Promise.any(asked), endMs - performance.now());
      }
      if (this.#has(address, names)) return true;
    }
    const restless = names.filter((name) => isRestless(this.#entryOf(name)));
    if (this.#meant(names) !== undefined) return false;
    for (let round = 0; round < MORE_ROUNDS && restless.length > 0; round++) {
      await new Promise((resolve) => setTimeout(resolve, ROUND_MS));
      const asked = restless.map((name) => this.#lookMore(name, this.#entryOf(name)));
      await within(Promise.allSettled(asked), endMs - performance.now());
      if (this.#has(address, names)) return true;
    }
    return false;
  }

  /**
   * The addresses that may be dialled for one that is none of these names', the one that was seen last
   * first: a name server may give others to each who asks, and what was granted is the name. None where it
   * is not clear which name was meant.
   */
  instead(names: readonly string[]): string[] {
    const name = this.#meant(names);
    return name === undefined ? [] : [...this.#entryOf(name).seenMs.keys()].reverse();
  }

  /** Of which name an address is that none is known to have: the one whose addresses change, if one does. */
  #meant(names: readonly string[]): string | undefined {
    if (names.length === 1) return names[0];
    const entries = names.map((name) => ({ name, entry: this.#entryOf(name) }));
    const [restless, ...more] = entries.filter(({ entry }) => isRestless(entry));
    const others = entries.filter((each) => each !== restless);
    const isSteady = others.every(({ entry }) => entry.alike >= STEADY_LOOKS);
    return more.length === 0 && isSteady ? restless?.name : undefined;
  }

  /** Looks them up, so that they are known when they are dialled. */
  prepare(names: readonly string[]): void {
    for (const name of names) void this.#look(name, this.#entryOf(name)).catch(() => {});
  }

  #has(address: string, names: readonly string[]): boolean {
    return names.some((name) => this.#entryOf(name).seenMs.has(address));
  }

  #entryOf(name: string): Entry {
    const entry = this.#entries.get(name) ??
      {
        ...{ seenMs: new Map(), askedMs: -Infinity, pending: undefined, burst: undefined },
        ...{ last: undefined, alike: 0, changedMs: -Infinity },
      };
    this.#entries.set(name, entry);
    return entry;
  }

  #look(name: string, entry: Entry): Promise<void> {
    return entry.pending ??= this.#ask(entry, name).finally(() => entry.pending = undefined);
  }

  /** However many wait, so many questions are under way. */
  #lookMore(name: string, entry: Entry): Promise<unknown> {
    const asked = () => Array.from({ length: AT_ONCE }, () => this.#ask(entry, name));
    return entry.burst ??= Promise.allSettled(asked()).finally(() => entry.burst = undefined);
  }

  async #ask(entry: Entry, name: string): Promise<void> {
    const source = await this.#source.promise;
    entry.askedMs = performance.now();
    const found = await source(name);
    noteChange(entry, found);
    for (const each of found) {
      const address = addressText(each);
      if (address === undefined) continue;
      entry.seenMs.delete(address);
      entry.seenMs.set(address, performance.now());
    }
    for (const address of entry.seenMs.keys()) {
      if (entry.seenMs.size <= MAX_ADDRESSES) break;
      entry.seenMs.delete(address);
    }
  }
}

/** A failed look says nothing of this. */
function noteChange(entry: Entry, found: readonly string[]): void {
  if (found.length === 0) return;
  const answer = [...found].sort().join();
  if (entry.last !== undefined && entry.last !== answer) entry.changedMs = performance.now();
  entry.alike = entry.last === answer ? entry.alike + 1 : 1;
  entry.last = answer;
}

function isRestless({ changedMs }: Entry): boolean {
  return performance.now() - changedMs < KEPT_MS;
}

async function within<Value>(promise: Promise<Value>, ms: number): Promise<Value> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error("it takes too long")), ms);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}

/** Of all generations: what a name resolves to is no matter of a config. */
export const names = new NameTable();
