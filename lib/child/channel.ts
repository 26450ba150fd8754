/** The worker's end of the channel to its supervisor. */
import net from "node:net";
import * as z from "zod/mini";
import { encodeFrame, FrameReader } from "../protocol/frame.ts";
import { MAX_COMMAND_BYTES } from "../protocol/limits.ts";
import type { ToSupervisor } from "../protocol/to_supervisor.ts";
import { ToWorker, type WorkerCommand } from "../protocol/to_worker.ts";

/** The descriptor that every worker is spawned with; 3 is the runtime's IPC. */
const CHANNEL_FD = 4;

/** The supervisor is gone, or hung up. */
export class ChannelClosed extends Error {
  constructor() {
    super("The supervisor closed the channel");
    this.name = "ChannelClosed";
  }
}

export class Channel {
  readonly #socket: net.Socket;
  readonly #frames = new FrameReader(MAX_COMMAND_BYTES);
  /** Called with clients whose connections the supervisor has ended. */
  onFlooded: ((peers: readonly string[]) => void) | undefined;
  #waiting: PromiseWithResolvers<ToWorker> | undefined;
  #arrived: ToWorker[] = [];
  #closed: Error | undefined;

  constructor() {
    this.#socket = new net.Socket({ fd: CHANNEL_FD, readable: true, writable: true });
    this.#socket.on("data", (chunk: Uint8Array) => this.#receive(chunk));
    // End, error and close all say the same: nobody is left to listen to.
    for (const event of ["end", "error", "close"]) {
      this.#socket.on(event, () => this.#fail(new ChannelClosed()));
    }
  }

  send(message: ToSupervisor): void {
    this.#socket.write(encodeFrame(message));
  }

  /** Lets the process end while it waits for a command. */
  unref(): void {
    this.#socket.unref();
  }

  ref(): void {
    this.#socket.ref();
  }

  /** Waits until all that was sent is with the kernel, and hangs up. */
  async finish(): Promise<void> {
    if (this.#closed) return;
    await new Promise<void>((resolve) => {
      this.#socket.end(resolve);
      this.#socket.on("close", () => resolve());
    });
  }

  /**
   * Waits for the next command, which must be `name`.
   *
   * @throws {ChannelClosed} if the supervisor is gone
   */
  async next<Name extends WorkerCommand>(name: Name): Promise<Extract<ToWorker, { type: Name }>> {
    const command = this.#arrived.shift() ?? await this.#wait();
    if (command.type !== name) {
      throw new Error(`Expected ${name}, the supervisor said ${command.type}`);
    }
    return command as Extract<ToWorker, { type: Name }>;
  }

  #wait(): Promise<ToWorker> {
    if (this.#closed) return Promise.reject(this.#closed);
    this.#waiting = Promise.withResolvers();
    return this.#waiting.promise;
  }

  #receive(chunk: Uint8Array): void {
    try {
      for (const value of this.#frames.push(chunk)) {
        const parsed = ToWorker.safeParse(value);
        if (!parsed.success) throw new Error(`Bad command: ${z.prettifyError(parsed.error)}`);
        // It comes at any time, and nobody waits for it.
        if (parsed.data.type === "flooded") this.onFlooded?.(parsed.data.peers);
        else if (this.#waiting) {
          this.#waiting.resolve(parsed.data);
          this.#waiting = undefined;
        } else this.#arrived.push(parsed.data);
      }
    } catch (error) {
      this.#fail(error as Error);
    }
  }

  #fail(error: Error): void {
    this.#closed ??= error;
    this.#waiting?.reject(this.#closed);
    this.#waiting = undefined;
  }
}
