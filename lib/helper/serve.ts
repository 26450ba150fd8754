/** A helper's side: takes calls from its lanes in turn, runs them, and answers. */
import { Lane } from "../child/lane.ts";
import { describeError, messageOf, report } from "../child/report.ts";
import {
  type CallFrame,
  CallHead,
  decodeHead,
  deserialize,
  encodeHead,
  encodeJson,
  type Failure,
  MAX_FAILURE_CHARS,
  MAX_LANE_BYTES,
  MAX_LANE_CALLS,
  MAX_WAITING_BYTES,
  NotSerializable,
  serialize,
} from "../protocol/call.ts";
import type { WorkerStats } from "../protocol/to_supervisor.ts";
import { Violation } from "../protocol/violation.ts";
import type { Methods, Schema } from "./mod.ts";

/** The limits of calls. */
export interface CallLimits {
  readonly timeoutMs: number;
  /** How many run at once. */
  readonly concurrency: number;
}

/** A call that has not ended. */
interface Call {
  readonly id: number;
  readonly lane: WorkerLane;
  readonly method: string;
  readonly input: unknown;
  readonly bytes: number;
  /** Aborts when the caller no longer waits. */
  readonly over: AbortController;
  readonly timer: ReturnType<typeof setTimeout>;
}

class Failed extends Error {
  readonly code: Failure["code"];

  constructor(code: Failure["code"], message: string) {
    super(message);
    this.code = code;
  }
}

/** Serves calls of every worker that it has a lane from. */
export class CallServer {
  readonly #methods: Methods;
  readonly #limits: CallLimits;
  /** The next call is taken from the first, which then goes to the end: none starves the others. */
  readonly #lanes: WorkerLane[] = [];
  /** The running calls, and since when. */
  readonly #running = new Map<Call, number>();
  #accepted = 0;
  #answered = 0;
  #alone: PromiseWithResolvers<void> | undefined;

  constructor(methods: Methods, limits: CallLimits) {
    this.#methods = methods;
    this.#limits = limits;
  }

  /** Serves a worker. */
  addLane(worker: number, handle: unknown): void {
    this.#accepted++;
    const lane = new WorkerLane(worker, handle, {
      hello: encodeJson({
        methods: Object.fromEntries(
          Object.entries(this.#methods).map(([name, { retry = "never" }]) => [name, { retry }]),
        ),
      }),
      limitMs: this.#limits.timeoutMs,
      wanted: () => this.#runNext(),
      closed: () => {
        this.#lanes.splice(this.#lanes.indexOf(lane), 1);
        if (this.#lanes.length === 0) this.#alone?.resolve();
      },
    });
    this.#lanes.push(lane);
  }

  figures(): WorkerStats {
    const oldestMs = Math.min(...this.#running.values());
    const heldMs = Math.round(performance.now() - oldestMs - this.#limits.timeoutMs);
    return {
      accepted: this.#accepted,
      connections: this.#lanes.length,
      inFlight: this.#lanes.reduce((sum, { queue }) => sum + queue.size, this.#running.size),
      answered: this.#answered,
      overdueMs: this.#running.size === 0 ? 0 : Math.max(0, heldMs),
    };
  }

  /** Serves until every worker is gone: workers that drain may still call. */
  async drain(): Promise<{ answered: number; cut: number }> {
    const before = this.#answered;
    if (this.#lanes.length > 0) {
      this.#alone = Promise.withResolvers();
      await this.#alone.promise;
    }
    return { answered: this.#answered - before, cut: 0 };
  }

  #runNext(): void {
    while (this.#running.size < this.#limits.concurrency) {
      const index = this.#lanes.findIndex((lane) => lane.ready);
      if (index < 0) return;
      const [lane] = this.#lanes.splice(index, 1);
      this.#lanes.push(lane!);
      const [call] = lane!.queue;
      lane!.queue.delete(call!);
      void this.#run(call!);
    }
  }

  async #run(call: Call): Promise<void> {
    this.#running.set(call, performance.now());
    await this.#answer(call);
    this.#running.delete(call);
    this.#answered++;
    call.lane.end(call);
    this.#runNext();
  }

  /** Never fails. */
  async #answer(call: Call): Promise<void> {
    const { lane, method, input, over } = call;
    try {
      const definition = Object.hasOwn(this.#methods, method) ? this.#methods[method] : undefined;
      if (!definition) throw new Failed("helper_unknown", `No method ${method}`);
      const value = await judge(definition.input, input, "helper_bad_input");
      const output = await definition.handle(value, { signal: over.signal });
      await lane.answer(call, await judge(definition.output, output, "helper_bad_output"));
    } catch (error) {
      if (error instanceof Failed) return lane.fail(call, error.code, messageOf(error));
      if (!over.signal.aborted) report(`${method} threw: ${describeError(error)}`);
      lane.fail(call, "helper_failed", messageOf(error));
    }
  }
}

async function judge(schema: Schema, value: unknown, code: Failure["code"]): Promise<unknown> {
  const result = await schema["~standard"].validate(value);
  if (!result.issues) return result.value;
  throw new Failed(code, result.issues[0]?.message ?? "no reason given");
}

interface LaneOptions {
  readonly hello: Uint8Array;
  readonly limitMs: number;
  /** Starts waiting calls if there is room. */
  wanted(): void;
  closed(): void;
}

/** A lane from one worker, which is not trusted. */
class WorkerLane {
  /** Calls that wait to run. */
  readonly queue = new Set<Call>();
  /** All calls that have not ended, including running ones. */
  readonly calls = new Map<number, Call>();
  readonly #lane: Lane;
  readonly #options: LaneOptions;
  readonly #worker: number;
  #bytes = 0;
  #paused = false;

  constructor(worker: number, handle: unknown, options: LaneOptions) {
    this.#worker = worker;
    this.#options = options;
    this.#lane = new Lane(handle, {
      receive: (frame) => this.#receive(frame),
      broken: (message) => new Error(message),
      drained: () => this.#drained(),
      closed: (reason) => this.#closed(reason),
    });
    this.#lane.send("hello", 0, options.hello);
  }

  /** Whether a call waits, and its worker reads the answers. */
  get ready(): boolean {
    return this.queue.size > 0 && !this.#paused;
  }

  /** Sends the result of a call, with its streams. */
  async answer({ id, over }: Call, output: unknown): Promise<void> {
    let carrying: ReturnType<typeof serialize>;
    let head: Uint8Array[];
    try {
      carrying = serialize(output);
      head = encodeHead({ value: carrying.value, parts: carrying.parts }, carrying.bytes);
    } catch (error) {
      if (!(error instanceof NotSerializable)) throw error;
      throw new Failed("helper_bad_output", `The output cannot be sent: ${error.message}`);
    }
    if (over.signal.aborted) {
      // No reader would read its streams to the end.
      for (const stream of carrying.streams) stream.cancel(over.signal.reason).catch(() => {});
      throw new Failed("helper_failed", messageOf(over.signal.reason));
    }
    this.#send("result", id, ...head);
    await Promise.all(
      carrying.streams.map((stream, index) => this.#lane.sendStream(id, index, stream)),
    );
  }

  fail({ id }: Pick<Call, "id">, code: Failure["code"], message: string): void {
    const text = message.toWellFormed().slice(0, MAX_FAILURE_CHARS);
    this.#send("failed", id, encodeJson({ code, message: text }));
  }

  /** Removes a call. */
  end(call: Call): void {
    clearTimeout(call.timer);
    if (!this.calls.delete(call.id)) return;
    this.#lane.endStreams(call.id, new Error("The call is over"));
    this.#bytes -= call.bytes;
  }

  /** Stops reading from a worker that does not read its answers, or they would pile up. */
  #send(kind: "result" | "failed", id: number, ...payload: Uint8Array[]): void {
    this.#lane.send(kind, id, ...payload);
    if (this.#paused || this.#lane.waitingBytes <= MAX_WAITING_BYTES) return;
    this.#paused = true;
    this.#lane.pause();
  }

  #drained(): void {
    if (!this.#paused) return;
    this.#paused = false;
    this.#lane.resume();
    this.#options.wanted();
  }

  #receive({ kind, id, payload }: CallFrame): void {
    // A call that has just ended may be cancelled at the same moment.
    if (kind === "cancel") return this.#giveUp(this.calls.get(id), "It was given up");
    if (kind !== "call" || this.calls.has(id)) {
      throw new Violation("not_permitted", `${kind} of call ${id}`);
    }
    if (this.calls.size >= MAX_LANE_CALLS || this.#bytes >= MAX_LANE_BYTES) {
      return this.fail({ id }, "helper_busy", "More calls than one worker may have");
    }
    const { head, rest } = decodeHead(CallHead, payload);
    const input = deserialize(
      head,
      rest,
      (stream) => this.#lane.receiveStream(id, stream, () => {}),
    );
    const limitMs = Math.min(head.timeoutMs, this.#options.limitMs);
    const late = () => this.#giveUp(call, `It took longer than ${limitMs} ms`);
    const call: Call = {
      ...{ id, lane: this, method: head.method, input, bytes: payload.length },
      over: new AbortController(),
      timer: setTimeout(late, limitMs),
    };
    this.calls.set(id, call);
    this.queue.add(call);
    this.#bytes += call.bytes;
    this.#options.wanted();
  }

  /** The caller no longer waits; the worker still gets a frame when it is over. */
  #giveUp(call: Call | undefined, reason: string): void {
    if (!call) return;
    const error = new Error(reason);
    call.over.abort(error);
    this.#lane.endStreams(call.id, error);
    if (!this.queue.delete(call)) return;
    this.fail(call, "helper_failed", reason);
    this.end(call);
  }

  #closed(reason: Violation | undefined): void {
    if (reason) {
      report(
        `The lane of worker ${this.#worker} was closed: it broke the rule ${reason.rule}, ` +
          reason.message,
      );
    }
    this.queue.clear();
    for (const { over, timer } of this.calls.values()) {
      clearTimeout(timer);
      over.abort(new Error("The worker is gone"));
    }
    this.calls.clear();
    this.#options.closed();
    this.#options.wanted();
  }
}
