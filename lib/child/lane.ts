/** One end of a lane between a worker and a helper, as both have it. */
import net from "node:net";
import {
  type CallFrame,
  CallFrameReader,
  type CallKind,
  costOfChunk,
  decodeChunk,
  decodeJson,
  encodeCallFrame,
  encodeChunk,
  encodeJson,
  MAX_CHUNK_BYTES,
  MAX_FAILURE_CHARS,
  MIN_CHUNK_COST,
  STREAM_WINDOW_BYTES,
  StreamCredit,
  StreamEnd,
} from "../protocol/call.ts";
import { messageOf } from "./report.ts";
import { FRAME_DEADLINE_MS } from "../protocol/limits.ts";
import { Violation } from "../protocol/violation.ts";

/** How often a frame that stays half sent is looked for. */
const LOOK_INTERVAL_MS = 1_000;

/** How many looks may find nothing new of it. They are counted, since this process may have been busy. */
const MAX_STALLED_LOOKS = FRAME_DEADLINE_MS / LOOK_INTERVAL_MS;

/** What becomes of a lane. */
export interface LaneEvents {
  /**
   * A frame that is no stream's.
   *
   * @throws {Violation} if it breaks a rule: the lane is closed then
   */
  receive(frame: CallFrame): void;
  /** What a stream that the peer broke off fails with. */
  broken(message: string): Error;
  /** All that waited has been read by the peer, after {@link Lane.waitingBytes} had grown large. */
  drained?(): void;
  /** Nothing more comes and nothing can be sent. */
  closed(reason: Violation | undefined): void;
}

/** A stream that is being sent. */
interface Outgoing {
  credit: number;
  more: PromiseWithResolvers<void>;
  /** Why it is not to be sent any further. */
  stopped: Error | undefined;
  readonly reader: ReadableStreamDefaultReader<Uint8Array>;
}

/** A stream that is being received. */
interface Incoming {
  readonly controller: ReadableStreamDefaultController<Uint8Array>;
  /** How much the peer may send. */
  window: number;
  ended(): void;
}

export class Lane {
  readonly #socket: net.Socket;
  readonly #events: LaneEvents;
  readonly #frames = new CallFrameReader();
  readonly #outgoing = new Map<string, Outgoing>();
  readonly #incoming = new Map<string, Incoming>();
  readonly #look: ReturnType<typeof setInterval>;
  #stalledLooks = 0;
  #closed = false;

  /** @param handle what was handed over */
  constructor(handle: unknown, events: LaneEvents) {
    this.#events = events;
    this.#socket = new net.Socket({ handle, readable: true, writable: true } as never);
    this.#socket.on("data", (chunk: Uint8Array) => this.#receive(chunk));
    this.#socket.on("drain", () => this.#events.drained?.());
    for (const event of ["end", "error", "close"]) this.#socket.on(event, () => this.#close());
    this.#look = setInterval(() => this.#lookAround(), LOOK_INTERVAL_MS);
  }

  /** Bytes that wait for the peer to read them. */
  get waitingBytes(): number {
    return this.#socket.writableLength;
  }

  get closed(): boolean {
    return this.#closed;
  }

  send(kind: CallKind, id: number, ...payload: Uint8Array[]): void {
    if (this.#closed) return;
    for (const piece of encodeCallFrame(kind, id, ...payload)) {
      if (piece.length > 0) this.#socket.write(piece);
    }
  }

  /** Reads no more for now: the peer has to wait. */
  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  close(): void {
    this.#close();
  }

  /** Sends a stream, as fast as the other end takes it. Never fails: the other end is told. */
  async sendStream(id: number, index: number, stream: ReadableStream<Uint8Array>): Promise<void> {
    const key = keyOf(id, index);
    if (this.#closed) return await stream.cancel(new Error("The lane was closed")).catch(() => {});
    try {
      const outgoing: Outgoing = {
        credit: STREAM_WINDOW_BYTES,
        more: Promise.withResolvers(),
        stopped: undefined,
        reader: stream.getReader(),
      };
      this.#outgoing.set(key, outgoing);
      await this.#sendAll(id, index, outgoing);
      this.send("end", id, encodeJson({ stream: index }));
    } catch (error) {
      this.send(
        "end",
        id,
        encodeJson({ stream: index, error: messageOf(error).slice(0, MAX_FAILURE_CHARS) }),
      );
    } finally {
      this.#outgoing.delete(key);
    }
  }

  async #sendAll(id: number, index: number, outgoing: Outgoing): Promise<void> {
    const { reader } = outgoing;
    try {
      while (true) {
        const { done, value } = await reader.read();
        // One that was stopped has been cancelled, and ends as if it were whole.
        if (outgoing.stopped) throw outgoing.stopped;
        if (done) return;
        if (!(value instanceof Uint8Array)) throw new TypeError("A stream gave what is no bytes");
        await this.#sendPieces(id, index, outgoing, value);
      }
    } catch (error) {
      reader.cancel(error).catch(() => {});
      throw error;
    }
  }

  async #sendPieces(
    id: number,
    index: number,
    outgoing: Outgoing,
    bytes: Uint8Array,
  ): Promise<void> {
    for (let at = 0; at < bytes.length;) {
      while (outgoing.credit < MIN_CHUNK_COST && !outgoing.stopped) {
        await outgoing.more.promise;
        outgoing.more = Promise.withResolvers();
      }
      if (outgoing.stopped) throw outgoing.stopped;
      const size = Math.min(bytes.length - at, outgoing.credit, MAX_CHUNK_BYTES);
      const piece = bytes.subarray(at, at + size);
      this.send("chunk", id, ...encodeChunk(index, piece));
      outgoing.credit -= costOfChunk(piece);
      at += size;
    }
  }

  /**
   * Opens a stream that the peer sends.
   *
   * @param ended told when it has ended, or nobody reads it any more
   */
  receiveStream(
    id: number,
    index: number,
    ended: (by: "peer" | "reader") => void,
  ): ReadableStream<Uint8Array> {
    const key = keyOf(id, index);
    if (this.#incoming.has(key)) throw new Violation("bad_message", `stream ${key} again`);
    return new ReadableStream<Uint8Array>({
      start: (controller) => {
        this.#incoming.set(key, {
          controller,
          window: STREAM_WINDOW_BYTES,
          ended: () => ended("peer"),
        });
      },
      pull: () => this.#grant(id, index),
      cancel: () => {
        this.#incoming.delete(key);
        ended("reader");
      },
    }, { highWaterMark: STREAM_WINDOW_BYTES, size: costOfChunk });
  }

  /** Tells the peer how much was read, in large steps. */
  #grant(id: number, index: number): void {
    const stream = this.#incoming.get(keyOf(id, index));
    if (!stream) return;
    const wanted = Math.max(0, stream.controller.desiredSize ?? 0);
    const more = wanted - stream.window;
    if (more < STREAM_WINDOW_BYTES / 2) return;
    stream.window += more;
    this.send("credit", id, encodeJson({ stream: index, bytes: more }));
  }

  /** Forgets the streams of a call that is over. */
  endStreams(id: number, reason: Error): void {
    for (const [key, outgoing] of this.#outgoing) {
      if (!key.startsWith(`${id}:`)) continue;
      this.#outgoing.delete(key);
      outgoing.stopped = reason;
      outgoing.more.resolve();
      outgoing.reader.cancel(reason).catch(() => {});
    }
    for (const [key, { controller }] of this.#incoming) {
      if (!key.startsWith(`${id}:`)) continue;
      this.#incoming.delete(key);
      controller.error(reason);
    }
  }

  #receive(chunk: Uint8Array): void {
    this.#stalledLooks = 0;
    this.#guard(() => {
      for (const frame of this.#frames.push(chunk)) {
        if (this.#closed) return;
        if (frame.kind === "chunk") this.#takeChunk(frame);
        else if (frame.kind === "end") this.#takeEnd(frame);
        else if (frame.kind === "credit") this.#takeCredit(frame);
        else this.#events.receive(frame);
      }
    });
  }

  #takeChunk({ id, payload }: CallFrame): void {
    const { stream: index, bytes } = decodeChunk(payload);
    const stream = this.#incoming.get(keyOf(id, index));
    // Nobody reads it any more, and the peer does not know that yet.
    if (!stream) return;
    stream.window -= costOfChunk(bytes);
    if (stream.window < 0) {
      throw new Violation("bad_message", "more of a stream than was asked for");
    }
    stream.controller.enqueue(bytes);
  }

  #takeEnd({ id, payload }: CallFrame): void {
    const { stream: index, error } = decodeJson(StreamEnd, payload);
    const key = keyOf(id, index);
    const stream = this.#incoming.get(key);
    if (!stream) return;
    this.#incoming.delete(key);
    if (error === undefined) stream.controller.close();
    else stream.controller.error(this.#events.broken(error));
    stream.ended();
  }

  #takeCredit({ id, payload }: CallFrame): void {
    const { stream: index, bytes } = decodeJson(StreamCredit, payload);
    const stream = this.#outgoing.get(keyOf(id, index));
    if (!stream) return;
    stream.credit = Math.min(stream.credit + bytes, STREAM_WINDOW_BYTES);
    stream.more.resolve();
  }

  #lookAround(): void {
    if (!this.#frames.partial || this.#socket.isPaused()) return;
    if (++this.#stalledLooks <= MAX_STALLED_LOOKS) return;
    this.#close(new Violation("frame_stalled", `half a frame for ${FRAME_DEADLINE_MS} ms`));
  }

  #guard(step: () => void): void {
    try {
      step();
    } catch (error) {
      if (!(error instanceof Violation)) throw error;
      this.#close(error);
    }
  }

  #close(reason?: Violation): void {
    if (this.#closed) return;
    this.#closed = true;
    clearInterval(this.#look);
    this.#socket.destroy();
    this.#events.closed(reason);
    const gone = reason ?? new Error("The lane was closed");
    const ids = [...this.#outgoing.keys(), ...this.#incoming.keys()].map((key) => parseInt(key));
    for (const id of ids) this.endStreams(id, gone);
  }
}

function keyOf(id: number, index: number): string {
  return `${id}:${index}`;
}
