/** A worker's end of a lane to one instance of a helper. The instance is not trusted. */
import { Lane } from "../child/lane.ts";
import { report } from "../child/report.ts";
import { HelperError, type HelperErrorCode } from "../helper/mod.ts";
import {
  type CallFrame,
  decodeHead,
  decodeJson,
  deserialize,
  encodeHead,
  Failure,
  HelloMethods,
  MAX_LANE_BYTES,
  MAX_LANE_CALLS,
  NotSerializable,
  ResultHead,
  type WireValue,
} from "../protocol/call.ts";
import { Violation } from "../protocol/violation.ts";

/** Events of an instance. */
export interface HelperLaneEvents {
  /** It has sent its methods: from here on it may be called. */
  opened(): void;
  /** A call is over. */
  freed(): void;
  closed(): void;
}

/** A call whose answer has not come yet, whether or not the caller still waits for it. */
interface Pending {
  resolve(value: unknown): void;
  reject(error: unknown): void;
  /** The size of its frame. */
  readonly bytes: number;
  /** Streams of its answer that are still being read. */
  streams: number;
  /** Whether one of them is not read to its end. */
  abandoned: boolean;
  answered: boolean;
}

export class HelperLane {
  readonly #helper: string;
  readonly #lane: Lane;
  readonly #events: HelperLaneEvents;
  readonly #pending = new Map<number, Pending>();
  #methods: HelloMethods | undefined;
  #lastId = 0;
  #bytes = 0;

  constructor(helper: string, handle: unknown, events: HelperLaneEvents) {
    this.#helper = helper;
    this.#events = events;
    this.#lane = new Lane(handle, {
      receive: (frame) => this.#receive(frame),
      broken: (message) => this.#error("helper_failed", message),
      closed: (reason) => this.#closed(reason),
    });
  }

  /** Calls that the instance has not answered yet, including abandoned ones. */
  get calls(): number {
    return this.#pending.size;
  }

  /** Whether another call has to wait. */
  get full(): boolean {
    return this.#pending.size >= MAX_LANE_CALLS || this.#bytes >= MAX_LANE_BYTES;
  }

  /** Whether a call of this method may be made twice. */
  isSafe(method: string): boolean {
    return this.#methodOf(method)?.retry === "safe";
  }

  /**
   * Calls, and waits for the answer.
   *
   * @throws {HelperError} if it fails, or the instance dies
   * @throws the signal's reason when it aborts
   */
  async call(
    method: string,
    { value, parts, bytes, streams }: WireValue,
    timeoutMs: number,
    signal: AbortSignal,
  ): Promise<unknown> {
    signal.throwIfAborted();
    if (this.#lane.closed) throw this.#lost();
    if (!this.#methodOf(method)) {
      throw this.#error("helper_unknown", `${this.#helper} has no method ${method}`);
    }
    let head: Uint8Array[];
    try {
      head = encodeHead({ method, timeoutMs, value, parts }, bytes);
    } catch (error) {
      if (!(error instanceof NotSerializable)) throw error;
      throw this.#error("helper_bad_input", `The input cannot be sent: ${error.message}`);
    }
    const id = this.#nextId();
    const length = head.reduce((sum, { length }) => sum + length, 0);
    this.#bytes += length;
    const answer = new Promise<unknown>((resolve, reject) => {
      this.#pending.set(id, {
        ...{ resolve, reject, bytes: length },
        ...{ streams: 0, abandoned: false, answered: false },
      });
    });
    const giveUp = () => this.#giveUp(id, signal.reason);
    signal.addEventListener("abort", giveUp, { once: true });
    try {
      this.#lane.send("call", id, ...head);
      for (const [index, stream] of streams.entries()) {
        void this.#lane.sendStream(id, index, stream);
      }
      return await answer;
    } finally {
      signal.removeEventListener("abort", giveUp);
    }
  }

  #methodOf(method: string) {
    return this.#methods && Object.hasOwn(this.#methods, method)
      ? this.#methods[method]
      : undefined;
  }

  #nextId(): number {
    do {
      this.#lastId = (this.#lastId + 1) % 2 ** 32;
    } while (this.#pending.has(this.#lastId));
    return this.#lastId;
  }

  #giveUp(id: number, reason: unknown): void {
    const pending = this.#pending.get(id);
    if (!pending) return;
    // It counts as work of the instance until its answer has come.
    this.#lane.send("cancel", id);
    this.#lane.endStreams(id, reason as Error);
    pending.reject(reason);
  }

  #receive({ kind, id, payload }: CallFrame): void {
    if (kind === "hello" && this.#methods === undefined) {
      this.#methods = decodeJson(HelloMethods, payload).methods;
      return this.#events.opened();
    }
    const pending = this.#pending.get(id);
    if (this.#methods === undefined || !pending || pending.answered) {
      throw new Violation("not_permitted", `${kind} of call ${id}`);
    }
    if (kind === "failed") {
      const { code, message } = decodeJson(Failure, payload);
      this.#end(id, new Error(message));
      pending.reject(this.#error(code, message));
    } else if (kind === "result") this.#takeResult(id, pending, payload);
    else throw new Violation("not_permitted", `${kind} of call ${id}`);
  }

  #takeResult(id: number, pending: Pending, payload: Uint8Array<ArrayBuffer>): void {
    const { head, rest } = decodeHead(ResultHead, payload);
    pending.answered = true;
    const value = deserialize(head, rest, (stream) => {
      pending.streams++;
      return this.#lane.receiveStream(id, stream, (by) => {
        pending.abandoned ||= by === "reader";
        if (--pending.streams > 0) return;
        if (pending.abandoned) this.#lane.send("cancel", id);
        this.#end(id, new Error("The call is over"));
      });
    });
    pending.resolve(value);
    if (pending.streams === 0) this.#end(id, new Error("The call is over"));
  }

  #end(id: number, reason: Error): void {
    this.#bytes -= this.#pending.get(id)?.bytes ?? 0;
    this.#pending.delete(id);
    this.#lane.endStreams(id, reason);
    this.#events.freed();
  }

  #closed(reason: Violation | undefined): void {
    if (reason) {
      report(`A lane to ${this.#helper} was closed: it broke the rule ${reason.rule}`);
    }
    this.#events.closed();
    const error = this.#lost();
    for (const [id, { reject }] of this.#pending) {
      reject(error);
      this.#lane.endStreams(id, error);
    }
    this.#pending.clear();
  }

  #lost(): HelperError {
    return this.#error("helper_lost", `${this.#helper} was lost during the call`);
  }

  #error(code: HelperErrorCode, message: string): HelperError {
    return new HelperError(code, this.#helper, message);
  }
}
