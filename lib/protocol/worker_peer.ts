/**
 * The supervisor's end of a worker's channel, without the socket: bytes go in, messages that passed
 * every rule come out. The channel identifies the worker, which cannot speak for another.
 */
import * as z from "zod/mini";
import { encodeFrame, FrameReader } from "./frame.ts";
import { EVENT_BURST, EVENTS_PER_SECOND, FRAME_DEADLINE_MS, MAX_EVENT_BYTES } from "./limits.ts";
import { NEXT, type Phase, type Step } from "./phase.ts";
import { RateLimit } from "./rate.ts";
import { ToSupervisor } from "./to_supervisor.ts";
import type { ToWorker } from "./to_worker.ts";
import { PROTOCOL_VERSION } from "./version.ts";
import { Violation } from "./violation.ts";

export class WorkerPeer {
  readonly #frames = new FrameReader(MAX_EVENT_BYTES);
  readonly #rate: RateLimit;
  readonly #nowMs: () => number;
  #phase: Phase = "starting";
  #partialSinceMs: number | undefined;

  constructor(nowMs: () => number = () => performance.now()) {
    this.#nowMs = nowMs;
    this.#rate = new RateLimit(EVENT_BURST, EVENTS_PER_SECOND, nowMs);
  }

  get phase(): Phase {
    return this.#phase;
  }

  /**
   * Yields the messages that `chunk` completes.
   *
   * @throws {Violation} at the first one that breaks a rule; the worker must then be killed
   */
  *receive(chunk: Uint8Array): Generator<ToSupervisor, void> {
    for (const value of this.#frames.push(chunk)) {
      // An incomplete frame after this one has a new deadline.
      this.#partialSinceMs = undefined;
      if (!this.#rate.take()) {
        throw new Violation(
          "too_many_messages",
          `more than ${EVENT_BURST} at once or ${EVENTS_PER_SECOND} a second`,
        );
      }
      const parsed = ToSupervisor.safeParse(value);
      if (!parsed.success) throw new Violation("bad_message", z.prettifyError(parsed.error));
      this.#step(parsed.data.type);
      if (parsed.data.type === "hello" && parsed.data.version !== PROTOCOL_VERSION) {
        throw new Violation(
          "version_mismatch",
          `the worker speaks protocol ${parsed.data.version}, the supervisor ${PROTOCOL_VERSION}`,
        );
      }
      yield parsed.data;
    }
    this.#partialSinceMs = this.#frames.partial ? this.#partialSinceMs ?? this.#nowMs() : undefined;
  }

  /**
   * Checks the time: a frame that stays incomplete would block the reader for ever.
   *
   * @throws {Violation} if one has been half sent for too long
   */
  checkDeadline(): void {
    if (this.#partialSinceMs === undefined) return;
    if (this.#nowMs() - this.#partialSinceMs > FRAME_DEADLINE_MS) {
      throw new Violation("frame_stalled", `half a frame for more than ${FRAME_DEADLINE_MS} ms`);
    }
  }

  /**
   * The frame of a command.
   *
   * @throws {Violation} if the worker's phase does not allow it, which is a bug of ours
   */
  command(command: ToWorker): Uint8Array<ArrayBuffer> {
    this.#step(command.type);
    return encodeFrame(command);
  }

  #step(step: Step): void {
    const next = NEXT[this.#phase][step];
    if (next === "violation") throw new Violation("not_permitted", `${step} while ${this.#phase}`);
    this.#phase = next;
  }
}
