/**
 * A clock that stands still until a test lets time pass: timers, `performance.now` and deadlines of this
 * test file. What happens when is exact then, however busy the machine is.
 */
import { setImmediate } from "node:timers";

interface Timer {
  atMs: number;
  readonly everyMs: number | undefined;
  readonly run: () => void;
}

const real = {
  setTimeout: globalThis.setTimeout,
  clearTimeout: globalThis.clearTimeout,
  setInterval: globalThis.setInterval,
  clearInterval: globalThis.clearInterval,
  now: performance.now,
  timeout: AbortSignal.timeout,
};

/** Lets everything go on that waits for no timer. */
export async function settle(): Promise<void> {
  for (let turn = 0; turn < 3; turn++) await new Promise<void>((resolve) => setImmediate(resolve));
}

export class FakeTime implements Disposable {
  readonly #timers = new Map<number, Timer>();
  #nowMs = 0;
  #lastId = 0;

  /** Takes the place of the real one until it is disposed of. */
  constructor() {
    const add = (everyMs: boolean) => (run: () => void, ms = 0) => {
      this.#timers.set(++this.#lastId, {
        atMs: this.#nowMs + ms,
        everyMs: everyMs ? ms : undefined,
        run,
      });
      return this.#lastId;
    };
    const clear = (id?: number) => void this.#timers.delete(id!);
    Object.assign(globalThis, {
      setTimeout: add(false),
      setInterval: add(true),
      clearTimeout: clear,
      clearInterval: clear,
    });
    performance.now = () => this.#nowMs;
    AbortSignal.timeout = (ms) => {
      const controller = new AbortController();
      const late = () => controller.abort(new DOMException("Signal timed out", "TimeoutError"));
      setTimeout(late, ms);
      return controller.signal;
    };
  }

  get nowMs(): number {
    return this.#nowMs;
  }

  /** Lets time pass: each timer runs when it is due, and what it leads to before the next. */
  async pass(ms: number): Promise<void> {
    const endMs = this.#nowMs + ms;
    await settle();
    for (;;) {
      const nextMs = Math.min(...[...this.#timers.values()].map(({ atMs }) => atMs));
      if (nextMs > endMs) break;
      this.#nowMs = Math.max(this.#nowMs, nextMs);
      this.#runDue();
      await settle();
    }
    this.#nowMs = endMs;
  }

  /** Lets time pass until `look` gives something; not longer than `mostMs`. */
  async passUntil<T>(
    what: string,
    look: () => T | undefined | false,
    mostMs = 600_000,
  ): Promise<T> {
    const endMs = this.#nowMs + mostMs;
    for (;;) {
      await settle();
      const found = look();
      if (found !== undefined && found !== false) return found;
      const nextMs = Math.min(...[...this.#timers.values()].map(({ atMs }) => atMs));
      if (nextMs > endMs) throw new Error(`${what} did not come within ${mostMs} ms`);
      this.#nowMs = Math.max(this.#nowMs, nextMs);
      this.#runDue();
    }
  }

  /** The machine stands still for so long: what was due meanwhile is late, and runs once. */
  async standStill(ms: number): Promise<void> {
    this.#nowMs += ms;
    this.#runDue();
    await settle();
  }

  #runDue(): void {
    const due = [...this.#timers].filter(([, { atMs }]) => atMs <= this.#nowMs)
      .toSorted(([, a], [, b]) => a.atMs - b.atMs);
    for (const [id, timer] of due) {
      if (!this.#timers.has(id)) continue;
      if (timer.everyMs === undefined) this.#timers.delete(id);
      else timer.atMs = this.#nowMs + timer.everyMs;
      timer.run();
    }
  }

  [Symbol.dispose](): void {
    const { now, timeout, ...timers } = real;
    Object.assign(globalThis, timers);
    performance.now = now;
    AbortSignal.timeout = timeout;
  }
}
