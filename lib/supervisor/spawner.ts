/** The main thread's side of a spawner thread. */
import { HoldfastError } from "../base/error.ts";
import { log } from "../base/log.ts";
import { keepDescriptors, mayOpen } from "../os/descriptor.ts";
import type { Wall } from "../sandbox/wall.ts";
import { type Denial, Guard } from "./guard.ts";
import type { Confine, FromSpawner, SpawnerState, ToSpawner } from "./spawner_message.ts";

/** What a spawner tells of one worker. */
export type SpawnerEvent = FromSpawner;

/** A thread from which workers are spawned. */
export interface Spawner {
  /** Whether its thread has failed; it spawns nothing any more then. */
  readonly failed: boolean;
  /**
   * Confines the thread, and with it everything that it spawns; to be called once, before that.
   *
   * @param wall nothing leaves it to Deno's permissions
   * @throws {HoldfastError} if the kernel refuses any part of it
   */
  confine(wall: Wall | undefined): Promise<void>;
  /** Sends; answers come as events of the worker that the message names. */
  post(message: ToSpawner): void;
  /** Sends the events of `worker` to `receive`, until it has exited. */
  subscribe(worker: number, receive: (event: SpawnerEvent) => void): void;
  /** Ends the thread. To be called when none of its workers lives. */
  close(): void;
}

/** What a thread of the runtime opens, and what a process is spawned with. */
const DESCRIPTORS_EACH = 20;

/** Threads that have not come up yet. */
let starting = 0;

/**
 * Starts a spawner thread. A runtime that finds no descriptor for a thread ends the whole process.
 *
 * @throws {HoldfastError} if there are not enough descriptors for it
 */
export function startSpawner(): Spawner {
  if (!mayOpen(DESCRIPTORS_EACH * (starting + 1))) {
    throw new HoldfastError("Cannot start another process: too many open files", {
      kind: "environment",
      code: "descriptors_few",
      hint: "Raise the limit of open files that Holdfast is started with (ulimit -n, LimitNOFILE=)",
    });
  }
  return new SpawnerThread();
}

class SpawnerThread implements Spawner {
  readonly #thread = new Worker(new URL("./spawner_thread.ts", import.meta.url), {
    type: "module",
  });
  readonly #receivers = new Map<number, (event: SpawnerEvent) => void>();
  /** Workers by the number of their process. */
  readonly #workers = new Map<number, number>();
  readonly #confined = Promise.withResolvers<void>();
  #guard: Guard | undefined;
  #wall: Wall | undefined;
  #failed = false;
  #starting = true;

  constructor() {
    starting++;
    this.#confined.promise.catch(() => {});
    this.#thread.onmessage = ({ data }: MessageEvent<FromSpawner | SpawnerState>) =>
      this.#receive(data);
    this.#thread.onerror = (event) => {
      event.preventDefault();
      this.#fail(event.message);
    };
  }

  get failed(): boolean {
    return this.#failed;
  }

  confine(wall: Wall | undefined): Promise<void> {
    this.#wall = wall;
    this.#thread.postMessage({ type: "confine", wall } satisfies Confine);
    return this.#confined.promise;
  }

  post(message: ToSpawner): void {
    // The runtime leaves a listening Unix socket open over an exec: a child would answer in the
    // supervisor's place on the control socket. Here, since the spawner's thread may not ask for it.
    if (message.type === "spawn") keepDescriptors();
    this.#thread.postMessage(message);
  }

  subscribe(worker: number, receive: (event: SpawnerEvent) => void): void {
    this.#receivers.set(worker, receive);
  }

  close(): void {
    this.#started();
    this.#thread.terminate();
    this.#guard?.close();
  }

  #started(): void {
    if (this.#starting) starting--;
    this.#starting = false;
  }

  #receive(event: FromSpawner | SpawnerState): void {
    this.#started();
    if (event.type === "confined") {
      if (event.questions !== undefined) {
        const report = (denial: Denial) => this.#report(denial);
        this.#guard = new Guard(event.questions, this.#wall!, report);
      }
      this.#confined.resolve();
    } else if (event.type === "not_confined") {
      this.#confined.reject(
        new HoldfastError(`The kernel does not hold the wall: ${event.error}`, {
          kind: "environment",
          code: "wall_failed",
          hint: 'Set "wall": "deno" to accept Deno\'s permissions alone',
        }),
      );
    } else this.#deliver(event);
  }

  #deliver(event: FromSpawner): void {
    const receive = this.#receivers.get(event.worker);
    if (event.type === "spawned") this.#workers.set(event.pid, event.worker);
    if (event.type === "exited") {
      this.#receivers.delete(event.worker);
      for (const [pid, worker] of this.#workers) {
        if (worker !== event.worker) continue;
        this.#workers.delete(pid);
        // After its thread's failure it may live on, and drain by itself.
        if (!this.#failed) this.#guard?.forget(pid);
      }
    }
    receive?.(event);
  }

  #report({ worker: pid, call, path }: Denial): void {
    const worker = this.#workers.get(pid);
    if (worker === undefined) log.error("call_denied", { pid, call });
    else this.#deliver({ type: "denied", worker, call, path });
  }

  #fail(message: string): void {
    this.#failed = true;
    // Nobody is to wait for its answer; this changes nothing once it has answered.
    this.#confined.reject(
      new HoldfastError(`The spawner failed: ${message}`, { kind: "bug", code: "spawner_failed" }),
    );
    // Its channels close with the thread, and its workers drain and leave by themselves.
    for (const worker of [...this.#receivers.keys()]) {
      const status = { code: undefined, signal: undefined };
      this.#deliver({ type: "exited", worker, status, error: `The spawner failed: ${message}` });
    }
  }
}
