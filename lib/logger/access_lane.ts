/**
 * The logger's end of a worker's access lane, without the socket: bytes go in, records that passed
 * every rule come out. The lane identifies the worker, which cannot speak for
 * another.
 */
import * as z from "zod/mini";
import {
  ACCESS_BURST,
  ACCESS_RECORDS_PER_SECOND,
  AccessBatch,
  type AccessRecord,
  MAX_ACCESS_FRAME_BYTES,
} from "../protocol/access.ts";
import { FrameReader } from "../protocol/frame.ts";
import { FRAME_DEADLINE_MS } from "../protocol/limits.ts";
import { RateLimit } from "../protocol/rate.ts";
import { Violation } from "../protocol/violation.ts";

/** Records that are missing from the log, by who dropped them. */
export interface MissingRecords {
  /** Dropped here, since they were too many. */
  readonly flood: number;
  /** Dropped by the worker, since the logger was slow; as the worker reports it. */
  readonly worker: number;
}

export class AccessLane {
  readonly #frames = new FrameReader(MAX_ACCESS_FRAME_BYTES);
  readonly #rate: RateLimit;
  readonly #nowMs: () => number;
  #partialSinceMs: number | undefined;
  #flood = 0;
  #worker = 0;

  constructor(nowMs: () => number = () => performance.now()) {
    this.#nowMs = nowMs;
    this.#rate = new RateLimit(ACCESS_BURST, ACCESS_RECORDS_PER_SECOND, nowMs);
  }

  /**
   * Yields the records that `chunk` completes, within the rate limit.
   *
   * @throws {Violation} at the first frame that breaks a rule; the lane must then be closed
   */
  *receive(chunk: Uint8Array): Generator<AccessRecord, void> {
    for (const value of this.#frames.push(chunk)) {
      this.#partialSinceMs = undefined;
      const parsed = AccessBatch.safeParse(value);
      if (!parsed.success) throw new Violation("bad_message", z.prettifyError(parsed.error));
      const { records, dropped } = parsed.data;
      this.#worker = Math.min(this.#worker + dropped, Number.MAX_SAFE_INTEGER);
      if (this.#rate.take(Math.max(records.length, 1))) yield* records;
      else this.#flood += records.length;
    }
    this.#partialSinceMs = this.#frames.partial ? this.#partialSinceMs ?? this.#nowMs() : undefined;
  }

  /** What was dropped since the last call, if anything. */
  takeMissing(): MissingRecords | undefined {
    const missing = { flood: this.#flood, worker: this.#worker };
    this.#flood = this.#worker = 0;
    return missing.flood + missing.worker > 0 ? missing : undefined;
  }

  /**
   * Checks the time: a well-behaved worker does not leave a frame half sent.
   *
   * @throws {Violation} if one has been half sent for too long
   */
  checkDeadline(): void {
    if (this.#partialSinceMs === undefined) return;
    if (this.#nowMs() - this.#partialSinceMs > FRAME_DEADLINE_MS) {
      throw new Violation("frame_stalled", `half a frame for more than ${FRAME_DEADLINE_MS} ms`);
    }
  }
}
