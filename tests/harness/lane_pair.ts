/** Both ends of a real socket pair in this process, for whoever speaks the calls' protocol. */
import net from "node:net";
import { closeDescriptor } from "../../lib/os/descriptor.ts";
import { socketPair } from "../../lib/os/socket.ts";
import {
  type CallFrame,
  CallFrameReader,
  type CallKind,
  encodeCallFrame,
} from "../../lib/protocol/call.ts";
import { until } from "./wait.ts";

// The library behind it is loaded at the first use, which is to be no test's.
socketPair().forEach(closeDescriptor);

/** A handle of `node:net`, as one that was handed over. */
export function handlePair(): [unknown, unknown] {
  const [first, second] = socketPair().map((fd) => {
    const options = { fd, readable: false, writable: true, manualStart: true };
    return (new net.Socket(options) as unknown as { _handle: unknown })._handle;
  });
  return [first, second];
}

/** An end of a lane that says what a test wants, in frames or in raw bytes. */
export class RawEnd implements Disposable, AsyncDisposable {
  readonly frames: CallFrame[] = [];
  /** What it has read, in bytes. */
  readBytes = 0;
  closed = false;
  readonly #reader = new CallFrameReader();
  readonly #socket: net.Socket;

  constructor(handle: unknown) {
    this.#socket = new net.Socket({ handle, readable: true, writable: true } as never);
    this.#socket.on("error", () => {});
    this.#socket.on("data", (chunk: Uint8Array) => {
      this.readBytes += chunk.length;
      this.frames.push(...this.#reader.push(chunk));
    });
    for (const event of ["end", "close"]) this.#socket.on(event, () => this.closed = true);
  }

  write(...pieces: Uint8Array[]): void {
    if (this.closed) return;
    for (const piece of pieces) this.#socket.write(piece);
  }

  send(kind: CallKind, id: number, ...payload: Uint8Array[]): void {
    this.write(...encodeCallFrame(kind, id, ...payload));
  }

  /** Reads nothing more until {@link RawEnd.resume}. */
  pause(): void {
    this.#socket.pause();
  }

  resume(): void {
    this.#socket.resume();
  }

  /** What of it still waits to be read by the other end. */
  get waitingBytes(): number {
    return this.#socket.writableLength;
  }

  /** Waits for the next frame of that kind, and takes it. */
  async next(kind: CallKind): Promise<CallFrame> {
    return await until(`a ${kind}`, () => {
      const index = this.frames.findIndex((frame) => frame.kind === kind);
      if (index >= 0) return this.frames.splice(index, 1)[0];
      if (this.closed) throw new Error(`The lane was closed before a ${kind}`);
      return undefined;
    });
  }

  async end(): Promise<void> {
    await until("the end of the lane", () => this.closed);
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }

  /** Ends the lane, and waits until the other end has let go of it: its timers end with it. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#socket.destroyed) {
      this.#socket.resume();
      this.#socket.end();
      await this.end();
    }
    this[Symbol.dispose]();
  }
}
