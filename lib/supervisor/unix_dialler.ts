/**
 * Connects to Unix sockets in the place of processes, in threads that have the rights of their users: one
 * for each user, while there is something to dial. A path may lie on a file system that hangs, so this is
 * never done in the main thread.
 */
import type { UnixOutcome } from "../os/dial_unix.ts";
import type { Owner } from "../os/process.ts";
import { openThread } from "./spawner.ts";
import type { Dial, Dialled } from "./spawner_message.ts";

/** A thread to which nothing was asked for so long ends, and so does one that does not answer. */
const IDLE_MS = 10_000;

class DiallingThread {
  readonly #thread: Worker;
  readonly #owner: Owner;
  readonly #pending = new Map<number, PromiseWithResolvers<UnixOutcome>>();
  readonly #onEnd: () => void;
  #lastId = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(owner: Owner, onEnd: () => void) {
    const { thread, started } = openThread();
    this.#thread = thread;
    this.#owner = owner;
    thread.onmessage = ({ data }: MessageEvent<Dialled>) => {
      started();
      this.#wait();
      const asked = this.#pending.get(data.id);
      this.#pending.delete(data.id);
      if ("failure" in data) asked?.reject(new Error(data.failure));
      else asked?.resolve(data);
    };
    thread.onerror = (event) => {
      event.preventDefault();
      this.#end(`the thread that dials failed: ${event.message}`);
    };
    this.#onEnd = () => {
      started();
      onEnd();
    };
  }

  dial(path: string): Promise<UnixOutcome> {
    if (this.#pending.size === 0) this.#wait();
    const id = ++this.#lastId;
    const asked = Promise.withResolvers<UnixOutcome>();
    this.#pending.set(id, asked);
    this.#thread.postMessage({ id, owner: this.#owner, path } satisfies Dial);
    return asked.promise;
  }

  #wait(): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#end("it takes too long"), IDLE_MS);
  }

  #end(reason: string): void {
    clearTimeout(this.#timer);
    this.#onEnd();
    this.#thread.terminate();
    for (const asked of this.#pending.values()) asked.reject(new Error(reason));
    this.#pending.clear();
  }
}

/** By user and group. */
const threads = new Map<string, DiallingThread>();

/**
 * Connects to a path without links, as an owner, without ever waiting for the server.
 *
 * @throws {Error} if that could not be tried
 */
export async function dialUnix(owner: Owner, path: string): Promise<UnixOutcome> {
  const key = `${owner.uid}:${owner.gid}`;
  const found = threads.get(key) ?? new DiallingThread(owner, () => threads.delete(key));
  threads.set(key, found);
  return await found.dial(path);
}
