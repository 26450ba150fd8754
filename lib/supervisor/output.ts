/** Cuts what a process prints into lines that can be logged: bounded, escaped, not too much of it. */
import { escapeUntrusted } from "../base/escape.ts";
import { LINE_COST, type OutputLimits } from "../base/output_limits.ts";
import { readSome } from "../os/pipe.ts";
import { RateLimit } from "../protocol/rate.ts";
import { readRate, watch } from "./watch.ts";

const LINE_END = 0x0a;

/** What is kept for the beginning of a line at first; it grows to the longest one. */
const FIRST_BYTES = 1024;

/** What is read at once; each call has done with it when it ends. */
const buffer = new Uint8Array(32 * 1024);

/** What was not logged. */
export interface Dropped {
  readonly lines: number;
  readonly bytes: number;
}

export class OutputLines {
  readonly limits: OutputLimits;
  readonly #rate: RateLimit;
  /** The beginning of a line whose end has not come. */
  #held = new Uint8Array(FIRST_BYTES);
  #heldBytes = 0;
  /** The rest of a line whose beginning was long enough is skipped up to its end. */
  #skipping = false;
  /** Whether the last line was dropped. */
  #dropping = false;
  #dropped = { lines: 0, bytes: 0 };

  constructor(limits: OutputLimits, nowMs?: () => number) {
    this.limits = limits;
    this.#rate = new RateLimit(limits.burstBytes, limits.bytesPerSecond, nowMs);
  }

  /** Yields the lines that `chunk` completes, as far as they are allowed. */
  *push(chunk: Uint8Array): Generator<string, void> {
    for (let start = 0; start < chunk.length;) {
      const found = chunk.indexOf(LINE_END, start);
      const complete = found >= 0;
      const end = complete ? found : chunk.length;
      if (!this.#skipping) {
        this.#hold(chunk.subarray(start, end));
        if (complete || this.#heldBytes > this.limits.lineBytes) {
          yield* this.#take();
          this.#skipping = !complete;
        }
      } else if (complete) this.#skipping = false;
      start = end + 1;
      if (this.#dropping) start = this.#dropLines(chunk, start);
    }
  }

  /** Drops every line that is complete while not even an empty one may be logged: they may be many. */
  #dropLines(chunk: Uint8Array, from: number): number {
    this.#dropping = !this.#skipping && !this.#rate.has(LINE_COST);
    if (!this.#dropping) return from;
    const end = chunk.lastIndexOf(LINE_END) + 1;
    if (end <= from) return from;
    let lines = 0;
    // Not a search for each of them: they may be as many as there are bytes.
    for (let at = from; at < end; at++) if (chunk[at] === LINE_END) lines++;
    this.#dropped.lines += lines;
    this.#dropped.bytes += end - from - lines;
    return end;
  }

  /** Yields a last line that has no end. */
  *end(): Generator<string, void> {
    if (this.#heldBytes > 0) yield* this.#take();
  }

  /** What was dropped since this was asked last. */
  takeDropped(): Dropped {
    const dropped = this.#dropped;
    this.#dropped = { lines: 0, bytes: 0 };
    return dropped;
  }

  /** One byte more than a line may have shows that it is longer. */
  #hold(part: Uint8Array): void {
    const room = this.limits.lineBytes + 1 - this.#heldBytes;
    if (part.length === 0 || room <= 0) return;
    const kept = part.subarray(0, room);
    const wanted = this.#heldBytes + kept.length;
    if (wanted > this.#held.length) {
      const larger = new Uint8Array(Math.max(wanted, 2 * this.#held.length));
      larger.set(this.#held);
      this.#held = larger;
    }
    this.#held.set(kept, this.#heldBytes);
    this.#heldBytes = wanted;
  }

  *#take(): Generator<string, void> {
    const { lineBytes } = this.limits;
    const [held, length] = [this.#held, this.#heldBytes];
    this.#heldBytes = 0;
    this.#dropping = !this.#rate.take(Math.min(length, lineBytes) + LINE_COST);
    if (this.#dropping) {
      this.#dropped.lines++;
      this.#dropped.bytes += length;
      return;
    }
    const cut = length > lineBytes;
    // Where it is cut, half a character is left out.
    const text = new TextDecoder("utf-8", { ignoreBOM: true })
      .decode(held.subarray(0, Math.min(length, lineBytes)), { stream: cut });
    // An escape is longer than what it stands for.
    yield escapeUntrusted(text, Infinity).slice(0, 2 * lineBytes) +
      (cut ? `… (cut at ${lineBytes} bytes)` : "");
  }
}

/**
 * Reads lines from a pipe until it ends, and closes it then.
 *
 * @param ended called before what is left of a last line
 * @returns closes it before
 */
export function readLines(
  fd: number,
  lines: OutputLines,
  receive: (text: string) => void,
  ended: () => void,
): () => void {
  let before: string | undefined;
  const close = watch(fd, (over) => {
    const length = over ? 0 : readSome(fd, buffer);
    if (length <= 0) {
      close();
      ended();
    }
    const texts = length > 0 ? lines.push(buffer.subarray(0, length)) : lines.end();
    const joined = [...joinTraces(texts, before)];
    // Of what is printed at once, the last line end may come by itself.
    const first = buffer[buffer.lastIndexOf(LINE_END, length - 1) + 1]!;
    const isOpen = length > 0 && buffer[length - 1] !== LINE_END && OPEN.includes(first);
    before = isOpen && joined.join("").length < buffer.length ? joined.pop() : undefined;
    for (const text of joined) receive(text);
    return length;
  }, readRate(lines.limits));
  return close;
}

// Indented as the places of a stack are, or the end of what was printed; and how such a line begins.
const GOES_ON = /^( |\\x09|[)\]}]+[,;]?$|Caused by:|[\^~]+$)/;
const OPEN = [0x20, 0x09, 0x29, 0x5d, 0x7d];

/** Puts lines that go on with the one before to it, and code behind what nothing catches: it is one text. */
export function* joinTraces(texts: Iterable<string>, held?: string): Generator<string, void> {
  for (const text of texts) {
    const goesOn = GOES_ON.test(text) && held !== undefined ||
      /^error: Uncaught .*$/.test(`${held}`);
    if (held !== undefined && !goesOn) yield held;
    held = goesOn ? `${held}\n${text}` : text;
  }
  if (held !== undefined) yield held;
}
