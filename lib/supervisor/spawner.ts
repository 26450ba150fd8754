/** The main thread's side of a spawner thread. */
import { HoldfastError } from "../base/error.ts";
import { log } from "../base/log.ts";
import { closeAllOnExec, mayOpen } from "../os/descriptor.ts";
import type { Wall } from "../sandbox/wall.ts";
import { type Denial, Guard } from "./guard.ts";
import type { Confine, FromSpawner, SpawnerState, ToSpawner } from "./spawner_message.ts";

type Spawned = Extract<FromSpawner, { type: "spawned" }>;

/** What a spawner tells of one worker; of a new one, also whether the kernel holds it. */
export type SpawnerEvent =
  | Exclude<FromSpawner, Spawned>
  | Spawned & { readonly confined: boolean };

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
 * @param program what it runs, where that is not to be read from Holdfast's folder
 * @throws {HoldfastError} if there are not enough descriptors for it
 */
export function startSpawner(program?: string): Spawner {
  if (!mayOpen(DESCRIPTORS_EACH * (starting + 1))) {
    throw new HoldfastError("Cannot start another process: too many open files", {
      kind: "environment",
      code: "descriptors_few",
      hint: "Raise the limit of open files that Holdfast is started with (ulimit -n, LimitNOFILE=)",
    });
  }
  return new SpawnerThread(program);
}

/** One for each program: what has an address is kept for good. */
const addresses = new Map<string, string>();

function addressOf(program: string): string {
  const known = addresses.get(program) ??
    URL.createObjectURL(new Blob([program], { type: "text/javascript" }));
  addresses.set(program, known);
  return known;
}

class SpawnerThread implements Spawner {
  readonly #thread: Worker;
  readonly #receivers = new Map<number, (event: SpawnerEvent) => void>();
  /** Workers by the number of their process. */
  readonly #workers = new Map<number, number>();
  readonly #confined = Promise.withResolvers<void>();
  #guard: Guard | undefined;
  #wall: Wall | undefined;
  #failed = false;
  /** Why the last exec of a process that was just forked was refused. */
  #refusal: string | undefined;
  #starting = true;

  constructor(program?: string) {
    starting++;
    const url = program === undefined
      ? new URL("./spawner_thread.ts", import.meta.url)
      : addressOf(program);
    this.#thread = new Worker(url, { type: "module" });
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
    if (message.type === "spawn") closeAllOnExec();
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
          hint: event.hint,
        }),
      );
    } else if (event.type === "failed") this.#fail(event.error);
    else this.#deliver(event);
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
    if (event.type === "spawned") {
      receive?.({ ...event, confined: this.#guard?.holds(event.pid) === true });
    } else if (event.type === "exited" && event.error !== undefined && this.#refusal) {
      receive?.({ ...event, error: `${event.error} (its exec was refused: ${this.#refusal})` });
    } else receive?.(event);
  }

  #report({ worker: pid, tid, call, reason, path }: Denial): void {
    const worker = pid === undefined ? undefined : this.#workers.get(pid);
    // As one that the supervisor has just forked, and that may not become a worker then.
    if (worker === undefined) {
      this.#refusal = reason;
      log.error("call_denied", { pid: pid ?? tid, call, reason });
    } else this.#deliver({ type: "denied", worker, call, path });
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
