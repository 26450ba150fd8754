/** Spawns a process from a thread of its own, behind a wall of its own. */
import { HoldfastError } from "../base/error.ts";
import { log } from "../base/log.ts";
import { closeAllOnExec, closeDescriptor, mayOpen } from "../os/descriptor.ts";
import { mayWatch } from "../os/epoll.ts";
import { becomeUndumpable, childState } from "../os/process.ts";
import type { ToWorker } from "../protocol/to_worker.ts";
import { Child } from "./child.ts";
import { HAND_OVER, type OpenEnds, openEnds } from "./child_ends.ts";
import type { HandOverItem, SpawnerEvent, WorkerSignal } from "./child_event.ts";
import { watchExit } from "./child_table.ts";
import { type Denial, Guard } from "./guard.ts";
import { explainSpawn, neverWas, wallFailure } from "./spawn_failure.ts";
import type { FromSpawner, Spawn, SpawnRequest } from "./spawner_message.ts";

/** A process that was asked for. */
export interface ChildHandle {
  command(command: ToWorker): void;
  /** Hands descriptors over, which are not the caller's from here on. */
  handOver(items: readonly HandOverItem[]): void;
  /** Gives it the modules of its app, once it runs. */
  giveImage(image: () => string): void;
  /**
   * Lends listeners, which are not the caller's from here on: each time that the process listens it gets
   * one, in their order, and those before these no more.
   *
   * @returns how many of those before it has not taken
   */
  lend(descriptors: readonly number[]): number;
  signal(signal: WorkerSignal): void;
}

/** Where one process may come from. */
export interface Spawner {
  /**
   * Confines the thread for good, and spawns from it; to be called once.
   *
   * @param receive is told everything of the process, and last that it has exited, or why it never was
   */
  spawn(request: SpawnRequest, receive: (event: SpawnerEvent) => void): ChildHandle;
  /** Lets go. To be called when the process has exited, or when there was none. */
  close(): void;
}

/** What a thread of the runtime opens, and what a process is spawned with. */
const DESCRIPTORS_EACH = 20;

/** What a thread of the runtime watches. */
const WATCHES_EACH = 32;

/** Threads that have not come up yet. */
let starting = 0;

/**
 * Starts a spawner thread; that takes its time. A runtime that finds no descriptor for a thread, or may
 * not watch one, ends the whole process.
 *
 * @param program what it runs, where that is not to be read from Holdfast's folder
 * @throws {HoldfastError} if there is not enough of either for it
 */
export function startSpawner(program?: string): Spawner {
  lastProgram = program;
  return new SpawnerThread(openThread(program));
}

/** What the last spawner runs: so do other threads of this kind. */
let lastProgram: string | undefined;

/** A thread of a spawner's program. */
interface OpenThread {
  readonly thread: Worker;
  /** To be called when it has come up, or is given up. */
  started(): void;
}

/**
 * Starts one.
 *
 * @throws {HoldfastError} as {@link startSpawner} does
 */
export function openThread(program = lastProgram): OpenThread {
  if (!mayOpen(DESCRIPTORS_EACH * (starting + 1))) {
    throw new HoldfastError("Cannot start another process: too many open files", {
      kind: "environment",
      code: "descriptors_few",
      hint: "Raise the limit of open files that Holdfast is started with (ulimit -n, LimitNOFILE=)",
    });
  }
  if (!mayWatch(WATCHES_EACH * (starting + 1))) {
    throw new HoldfastError(
      "Cannot start another process: this user watches too many descriptors",
      {
        kind: "environment",
        code: "watches_few",
        hint: "See watches_used_up in the log, and /proc/sys/fs/epoll/max_user_watches",
      },
    );
  }
  const thread = startThread(
    program === undefined ? new URL("./spawner_thread.ts", import.meta.url) : addressOf(program),
  );
  starting++;
  let isStarting = true;
  const started = () => {
    if (isStarting) starting--;
    isStarting = false;
  };
  return { thread, started };
}

/** One for each program: what has an address is kept for good. */
const addresses = new Map<string, string>();

function addressOf(program: string): string {
  const known = addresses.get(program) ??
    URL.createObjectURL(new Blob([program], { type: "text/javascript" }));
  addresses.set(program, known);
  return known;
}

function startThread(url: URL | string): Worker {
  try {
    return new Worker(url, { type: "module" });
  } catch (error) {
    throw new HoldfastError(`Cannot start a thread: ${(error as Error).message}`, {
      kind: "environment",
      code: "threads_few",
      hint:
        "This user may have no more threads (ulimit -u, LimitNPROC=, TasksMax=), or memory is short",
      cause: error,
    });
  }
}

/** What was asked for, while there is no process. */
interface Spawning extends OpenEnds {
  readonly request: SpawnRequest;
  killed: boolean;
}

class SpawnerThread implements Spawner {
  readonly #thread: Worker;
  readonly #started: () => void;
  #spawning: Spawning | undefined;
  #tell: (event: SpawnerEvent) => void = () => {};
  #child: Child | undefined;
  #guard: Guard | undefined;
  /** Why the thread ended before it has spawned. */
  #failure: string | undefined;
  /** Why the exec of the process that was just forked was refused. */
  #refusal: string | undefined;

  constructor({ thread, started }: OpenThread) {
    this.#thread = thread;
    this.#started = started;
    this.#thread.onmessage = ({ data }: MessageEvent<FromSpawner>) => this.#receive(data);
    this.#thread.onerror = (event) => {
      event.preventDefault();
      this.#failure = `The spawner failed: ${event.message}`;
      this.#giveUp(this.#failure);
    };
  }

  spawn(request: SpawnRequest, receive: (event: SpawnerEvent) => void): ChildHandle {
    // The runtime leaves a listening Unix socket open over an exec: a child would answer in the
    // supervisor's place on the control socket. Here, since the spawner's thread may not ask for it.
    closeAllOnExec();
    this.#tell = receive;
    try {
      if (this.#failure !== undefined) throw new Error(this.#failure);
      const { program, args, env, cwd, account, wall } = request;
      this.#spawning = { request, killed: false, ...openEnds(request) };
      const { theirs } = this.#spawning;
      const descriptors = request.alone ? theirs.slice(0, HAND_OVER) : theirs;
      const variables = request.alone ? env : { ...env, NODE_CHANNEL_FD: String(HAND_OVER) };
      const what = { program, args, env: variables, cwd, descriptors, account };
      this.#thread.postMessage({ wall, program: what } satisfies Spawn);
    } catch (error) {
      const why = this.#failure ?? explainSpawn(request, (error as Error).message);
      queueMicrotask(() => receive(neverWas(why)));
    }
    return {
      command: (command) => this.#child?.command(command),
      handOver: (items) => {
        if (this.#child) this.#child.handOver(items);
        else items.forEach(({ descriptor }) => closeDescriptor(descriptor));
      },
      giveImage: (image) => this.#child?.giveImage(image),
      lend: (descriptors) => {
        if (this.#guard) return this.#guard.lend(descriptors);
        descriptors.forEach(closeDescriptor);
        return 0;
      },
      signal: () => {
        if (this.#spawning) this.#spawning.killed = true;
        else this.#child?.kill();
      },
    };
  }

  close(): void {
    this.#endThread();
    this.#guard?.close();
  }

  #endThread(): void {
    this.#started();
    this.#thread.terminate();
  }

  #receive(message: FromSpawner): void {
    this.#started();
    const spawning = this.#spawning;
    if (spawning === undefined) return;
    const { request } = spawning;
    // A change of ids may have undone that, where the machine's administrator wants it so.
    if (request.account && Deno.build.os === "linux") becomeUndumpable();
    if (message.type === "confined") {
      if (message.questions === undefined) return;
      this.#guard = new Guard(message.questions, request.wall!, (denial) => this.#report(denial));
    } else if (message.type === "spawned") this.#spawned(spawning, message.pid);
    else if (message.type === "not_spawned") {
      const refused = this.#refusal ? ` (its exec was refused: ${this.#refusal})` : "";
      this.#giveUp(explainSpawn(request, message.error) + refused);
    } else {
      const failure = wallFailure(message.error, message.hint);
      this.#giveUp(failure.message, failure);
    }
  }

  #spawned({ request, ends, theirs, input, killed }: Spawning, pid: number): void {
    this.#spawning = undefined;
    theirs.forEach(closeDescriptor);
    const child = new Child(pid, { ...ends, input }, request.output, (event) => {
      if (event.type === "exited") this.#guard?.endChild();
      this.#tell(event);
    });
    this.#child = child;
    // What is spawned stays behind the thread's wall; the thread itself would cost some megabytes.
    this.#endThread();
    const confined = this.#guard?.child === pid;
    this.#tell({
      type: "spawned",
      pid,
      confined,
      dialling: confined && request.wall!.dials.length > 0 ? this.#guard!.dialling : undefined,
      ends: () => ({ ...child.ends, guard: this.#guard?.fd, asked: this.#guard?.pending }),
    });
    if (killed) child.kill();
  }

  /** There is no process, and will be none. */
  #giveUp(error: string, failure?: HoldfastError): void {
    const spawning = this.#spawning;
    this.#spawning = undefined;
    if (spawning === undefined) return;
    // One that came to be all the same is behind the wall, and nobody's.
    const left = this.#guard?.child;
    this.#guard?.endChild();
    if (left !== undefined && childState(left) !== "none") watchExit(left, () => {});
    const { theirs, ends, input } = spawning;
    input.close();
    [...theirs, ends.channel!, ends.handOver!, ...ends.outputs].forEach(closeDescriptor);
    this.#tell(neverWas(error, failure));
  }

  #report({ worker, tid, call, reason, path, dial }: Denial): void {
    if (worker !== undefined) {
      return this.#tell({ type: "denied", call, path, ...dial && { dial } });
    }
    // As one that the supervisor has just forked, and that may not become a worker then.
    this.#refusal = reason;
    log.error("call_denied", { pid: tid, call, reason });
  }
}
