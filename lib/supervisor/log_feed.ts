/**
 * Lines on their way to the logger. They are dropped and counted while it is slow, and wait, within
 * limits, while none lives: nothing here ever waits for it.
 */
import type net from "node:net";
import { type Feed, MAX_FEED_LINE, MAX_FEED_LINES } from "../protocol/feed.ts";
import { encodeFrame } from "../protocol/frame.ts";
import { openFeed } from "./lanes.ts";
import type { WorkerProcess } from "./worker_process.ts";

/** What may wait for the logger to read it, in bytes. */
const MAX_WAITING_BYTES = 4 * 1024 * 1024;

/** What waits for the next logger while none lives, in UTF-16 code units. */
const MAX_HELD_UNITS = 4 * 1024 * 1024;

/** How much goes into one frame, in UTF-16 code units, if it is more than one line. */
const BATCH_UNITS = 128 * 1024;

export class LogFeed {
  #feed: net.Socket | undefined;
  #lines: string[] = [];
  /** The length of all of {@link LogFeed.#lines}. */
  #units = 0;
  /** Lines that the kernel has not taken yet, in their order. */
  readonly #onTheWay = new Set<readonly string[]>();
  #untold = 0;
  #dropped = 0;

  /** How many lines nobody took. */
  get dropped(): number {
    return this.#dropped;
  }

  /** Adds a line. */
  write(line: string): void {
    if (this.#lines.length === 0) queueMicrotask(() => this.flush());
    this.#keep(line.slice(0, MAX_FEED_LINE));
  }

  /** Has the files opened anew. */
  reopen(): void {
    this.#send({ type: "reopen" });
  }

  /** From now on another process is fed. */
  connect(process: WorkerProcess): void {
    this.end();
    this.#feed = openFeed(process, (feed) => {
      if (this.#feed !== feed) return;
      this.#feed = undefined;
      // What the kernel had taken is lost with the process; the rest is for the next one.
      const lines = [...[...this.#onTheWay].flat(), ...this.#lines];
      this.#onTheWay.clear();
      this.#lines = [];
      this.#units = 0;
      for (const line of lines) this.#keep(line);
    });
  }

  /** What a logger that lives and is slow does not take is dropped; for one that is gone it waits. */
  flush(): void {
    while (this.#feed && this.#lines.length > 0) {
      const lines = this.#lines.splice(0, batchLength(this.#lines));
      this.#units -= lines.reduce((sum, { length }) => sum + length, 0);
      this.#onTheWay.add(lines);
      const sent = this.#send(
        { type: "lines", lines, dropped: this.#untold },
        (error) => {
          if (!error) this.#onTheWay.delete(lines);
        },
      );
      if (sent) this.#untold = 0;
      else {
        this.#onTheWay.delete(lines);
        this.#drop(lines.length);
      }
    }
  }

  /** Nothing more comes for the process that is fed. */
  end(): void {
    this.#feed?.end();
  }

  #keep(line: string): void {
    if (this.#units >= MAX_HELD_UNITS) return this.#drop(1);
    this.#lines.push(line);
    this.#units += line.length;
  }

  #drop(lines: number): void {
    this.#untold += lines;
    this.#dropped += lines;
  }

  /** Whether it went on its way. */
  #send(feed: Feed, taken: (error?: Error | null) => void = () => {}): boolean {
    if (!this.#feed || this.#feed.writableLength > MAX_WAITING_BYTES) return false;
    this.#feed.write(encodeFrame(feed), taken);
    return true;
  }
}

/** How many lines go into one frame: the sum of what they can come to stays below its limit. */
function batchLength(lines: readonly string[]): number {
  let units = 0;
  const end = lines.slice(0, MAX_FEED_LINES).findIndex((line) => {
    units += line.length;
    return units > BATCH_UNITS;
  });
  return end < 0 ? MAX_FEED_LINES : Math.max(1, end);
}
