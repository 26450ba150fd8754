/** A helper's side: takes calls from its lanes in turn, runs them, and answers. */
import { Lane } from "../child/lane.ts";
import { describeError, report } from "../child/report.ts";
import {
  type CallFrame,
  CallHead,
  CannotCross,
  decodeHead,
  encodeHead,
  type Failure,
  MAX_FAILURE_CHARS,
  MAX_LANE_BYTES,
  MAX_LANE_CALLS,
  putTogether,
  takeApart,
} from "../protocol/call.ts";
import type { WorkerFigures } from "../protocol/to_supervisor.ts";
import { Violation } from "../protocol/violation.ts";
import { encodeJson } from "../child/lane.ts";
import type { Methods, Schema } from "./mod.ts";

/** What a call may not exceed. */
export interface CallLimits {
  readonly timeoutMs: number;
  /** How many run at once. */
  readonly concurrency: number;
}

/** A call that is not over. */
interface Call {
  readonly id: number;
  readonly lane: WorkerLane;
  readonly method: string;
  readonly input: unknown;
  readonly bytes: number;
  readonly deadlineMs: number;
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
  /** The next call is taken from the first, which then goes to the end: nobody starves the others. */
  readonly #lanes: WorkerLane[] = [];
  readonly #running = new Set<Call>();
  #accepted = 0;
  #answered = 0;
  #idle: PromiseWithResolvers<void> | undefined;

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
      closed: () => this.#lanes.splice(this.#lanes.indexOf(lane), 1),
    });
    this.#lanes.push(lane);
  }

  figures(): WorkerFigures {
    const calls = this.#lanes.flatMap((lane) => [...lane.calls.values()]);
    const oldest = Math.min(...calls.map(({ deadlineMs }) => deadlineMs));
    return {
      accepted: this.#accepted,
      connections: this.#lanes.length,
      inFlight: calls.length,
      answered: this.#answered,
      overdueMs: Math.max(0, Math.round(performance.now() - oldest)) || 0,
    };
  }

  /** Waits until nothing runs or waits. Workers that are gone, or have drained, ask no more. */
  async drain(): Promise<{ answered: number; cut: number }> {
    const before = this.#answered;
    if (this.figures().inFlight > 0) {
      this.#idle = Promise.withResolvers();
      await this.#idle.promise;
    }
    for (const lane of [...this.#lanes]) lane.close();
    return { answered: this.#answered - before, cut: 0 };
  }

  #runNext(): void {
    while (this.#running.size < this.#limits.concurrency) {
      const index = this.#lanes.findIndex((lane) => lane.queue.length > 0);
      if (index < 0) break;
      const [lane] = this.#lanes.splice(index, 1);
      this.#lanes.push(lane!);
      void this.#run(lane!.queue.shift()!);
    }
    if (this.#idle && this.figures().inFlight === 0) this.#idle.resolve();
  }

  async #run(call: Call): Promise<void> {
    this.#running.add(call);
    try {
      if (!call.over.signal.aborted) await this.#answer(call);
      // Nobody waits for it; the worker is told all the same that it is over.
      else call.lane.fail(call, "helper_failed", "It was given up");
    } finally {
      this.#running.delete(call);
      this.#answered++;
      call.lane.end(call);
      this.#runNext();
    }
  }

  async #answer(call: Call): Promise<void> {
    const { lane, method, input, over } = call;
    try {
      const definition = Object.hasOwn(this.#methods, method) ? this.#methods[method] : undefined;
      if (!definition) throw new Failed("helper_unknown", `No method ${method}`);
      const value = await judge(definition.input, input, "helper_bad_input");
      const output = await definition.handle(value, { signal: over.signal });
      await lane.answer(call, await judge(definition.output, output, "helper_bad_output"));
    } catch (error) {
      if (error instanceof Failed) return lane.fail(call, error.code, error.message);
      if (!over.signal.aborted) report(`${method} threw: ${describeError(error)}`);
      lane.fail(call, "helper_failed", error instanceof Error ? error.message : String(error));
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
  /** A call has come. */
  wanted(): void;
  closed(): void;
}

/** A lane from one worker, which may say anything. */
class WorkerLane {
  readonly queue: Call[] = [];
  /** Everything that is not over, running calls too. */
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
      closed: (reason) => this.#closed(reason),
    });
    this.#lane.send("hello", 0, options.hello);
  }

  close(): void {
    this.#lane.close();
  }

  /** Sends what a call came to, with its streams. */
  async answer({ id }: Call, output: unknown): Promise<void> {
    let carrying: ReturnType<typeof takeApart>;
    let head: Uint8Array[];
    try {
      carrying = takeApart(output);
      head = encodeHead({ value: carrying.value ?? null, parts: carrying.parts }, carrying.bytes);
    } catch (error) {
      if (!(error instanceof CannotCross)) throw error;
      throw new Failed("helper_bad_output", `The output cannot cross: ${error.message}`);
    }
    this.#lane.send("result", id, ...head);
    await Promise.all(
      carrying.streams.map((stream, index) => this.#lane.sendStream(id, index, stream)),
    );
  }

  fail({ id }: Call, code: Failure["code"], message: string): void {
    const text = message.toWellFormed().slice(0, MAX_FAILURE_CHARS);
    this.#lane.send("failed", id, encodeJson({ code, message: text }));
  }

  /** Forgets a call. */
  end(call: Call): void {
    clearTimeout(call.timer);
    if (!this.calls.delete(call.id)) return;
    this.#lane.endStreams(call.id, new Error("The call is over"));
    this.#bytes -= call.bytes;
    if (this.#paused && !this.#isFull()) {
      this.#paused = false;
      this.#lane.resume();
    }
  }

  #isFull(): boolean {
    return this.calls.size >= MAX_LANE_CALLS || this.#bytes >= MAX_LANE_BYTES;
  }

  #receive({ kind, id, payload }: CallFrame): void {
    // A call that is over already may be given up in the same moment.
    if (kind === "cancel") return this.calls.get(id)?.over.abort(new Error("It was given up"));
    if (kind !== "call" || this.calls.has(id)) {
      throw new Violation("not_permitted", `${kind} of call ${id}`);
    }
    const { head, rest } = decodeHead(CallHead, payload);
    const input = putTogether(
      head,
      rest,
      (stream) => this.#lane.receiveStream(id, stream, () => {}),
    );
    const limitMs = Math.min(head.timeoutMs, this.#options.limitMs);
    const over = new AbortController();
    const call: Call = {
      ...{ id, lane: this, method: head.method, input, bytes: payload.length, over },
      deadlineMs: performance.now() + limitMs,
      timer: setTimeout(() => over.abort(new Error(`It took longer than ${limitMs} ms`)), limitMs),
    };
    this.calls.set(id, call);
    this.queue.push(call);
    this.#bytes += call.bytes;
    if (this.#isFull() && !this.#paused) {
      this.#paused = true;
      this.#lane.pause();
    }
    this.#options.wanted();
  }

  #closed(reason: Violation | undefined): void {
    if (reason) {
      report(
        `The lane of worker ${this.#worker} was closed: it broke the rule ${reason.rule}, ` +
          reason.message,
      );
    }
    this.queue.length = 0;
    for (const { over, timer } of this.calls.values()) {
      clearTimeout(timer);
      over.abort(new Error("The worker is gone"));
    }
    this.calls.clear();
    this.#options.closed();
    this.#options.wanted();
  }
}
