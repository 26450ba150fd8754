/**
 * What long work is at, on a terminal's standard error; in a pipe nothing is said. A supervisor that starts
 * loads this too: it imports no package.
 */
import type { LogFormat } from "../base/log.ts";
import { columnsOfTerminal } from "./terminal_width.ts";
import { formatAge } from "./units.ts";

/** How often it is drawn anew. */
const REDRAW_MS = 200;

const BAR_WIDTH = 20;

/** To the first column, with what stood there gone. */
const CLEAR_LINE = "\r\x1b[K";

/** How far work is. */
export interface Step {
  readonly what: string;
  readonly ms: number;
  /** How much of how much is done, where that is known. */
  readonly done?: number;
  readonly total?: number;
}

/** The line that says it. */
export function formatStep({ what, ms, done = 0, total = 0 }: Step): string {
  if (total === 0) return `${what}, ${formatAge(ms)}`;
  const share = Math.min(1, done / total);
  const bar = "#".repeat(Math.round(share * BAR_WIDTH)).padEnd(BAR_WIDTH, "-");
  // Before that a guess says nothing.
  const left = share < 0.05 ? "" : `, ${formatAge(ms / share - ms)} left`;
  return `[${bar}] ${done}/${total} ${what}${left}`;
}

/** A line that is there as long as the work is under way. */
export class Progress implements Disposable {
  #what: string;
  #done = 0;
  #total = 0;
  #sinceMs = performance.now();
  #timer: ReturnType<typeof setInterval> | undefined;

  /** @param afterMs what is over sooner is not told of */
  constructor(what: string, { afterMs = 0 }: { readonly afterMs?: number } = {}) {
    this.#what = what;
    if (!Deno.stderr.isTerminal()) return;
    this.#timer = setInterval(() => {
      if (performance.now() - this.#sinceMs >= afterMs) this.#draw();
    }, REDRAW_MS);
  }

  /** A format of the log whose lines go above this one, until an event of that name, if any. */
  within(format: LogFormat, until?: string): LogFormat {
    return {
      ...format,
      toLine: (record) => {
        const line = format.toLine(record);
        if (this.#timer === undefined) return line;
        if (record.msg === until) this.end();
        return CLEAR_LINE + line;
      },
    };
  }

  /** Other work, whose size is not known. */
  turnTo(what: string): void {
    this.#what = what;
    [this.#done, this.#total] = [0, 0];
  }

  /** Work of a known size begins. */
  count(what: string, total: number): void {
    this.#what = what;
    [this.#done, this.#total, this.#sinceMs] = [0, total, performance.now()];
  }

  /** One more is done. */
  add(): void {
    this.#done++;
  }

  /** Takes the line away. */
  end(): void {
    if (this.#timer === undefined) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
    write(CLEAR_LINE);
  }

  [Symbol.dispose](): void {
    this.end();
  }

  #draw(): void {
    const step = {
      ...{ what: this.#what, ms: performance.now() - this.#sinceMs },
      ...{ done: this.#done, total: this.#total },
    };
    // In the last column a line might wrap.
    write(`${CLEAR_LINE}${formatStep(step).slice(0, columnsOfTerminal() - 1)}`);
  }
}

function write(text: string): void {
  try {
    Deno.stderr.writeSync(new TextEncoder().encode(text));
  } catch {
    // A terminal that is gone, or busy, misses nothing that counts.
  }
}
