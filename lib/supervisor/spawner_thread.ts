/**
 * A spawner: a thread of the supervisor from which the workers of one generation are spawned.
 *
 * It is a thread of its own because what confines a process on Linux (no_new_privs, Landlock,
 * seccomp) is an attribute of the thread that forks it: this one can be confined for good, and its
 * children with it, while the rest of the supervisor is not.
 */
import { Buffer } from "node:buffer";
import { type ChildProcess, spawn } from "node:child_process";
import net from "node:net";
import type { Readable } from "node:stream";
import type { ToSupervisor } from "../protocol/to_supervisor.ts";
import type { ToWorker } from "../protocol/to_worker.ts";
import { restrictSelf, setNoNewPrivileges } from "../os/landlock.ts";
import { canOpen } from "../os/file.ts";
import { closeDescriptor } from "../os/descriptor.ts";
import { installProgram } from "../os/seccomp.ts";
import { sendDescriptor, socketPair } from "../os/socket.ts";
import { handOverLine } from "../protocol/hand_over.ts";
import { Violation } from "../protocol/violation.ts";
import type { Wall } from "../sandbox/wall.ts";
import { WorkerPeer } from "../protocol/worker_peer.ts";
import { OutputLines } from "./output.ts";
import type {
  Confine,
  ExitStatus,
  FromSpawner,
  HandOverItem,
  SpawnerState,
  SpawnRequest,
  ToSpawner,
  WorkerSignal,
} from "./spawner_message.ts";

/** How often deadlines are looked at and dropped lines are told. */
const LOOK_INTERVAL_MS = 500;

/** How long to go on reading what a worker printed before it ended. */
const LAST_WORDS_MS = 500;

/**
 * Where the runtime of a worker takes descriptors, as from `node:child_process`. It is spoken to from
 * here and never read: that protocol lets a peer make its parent bind, and has no limits. It stays
 * open for as long as the worker lives: lanes come by it, and its number in the worker must not
 * become another file's, since Deno lets an app use that number.
 */
const HAND_OVER = 3;

const thread = self as unknown as {
  postMessage(message: FromSpawner | SpawnerState): void;
  onmessage: ((event: MessageEvent<ToSpawner | Confine>) => void) | null;
};
const children = new Map<number, Child>();

class Child {
  readonly #worker: number;
  readonly #process: ChildProcess;
  readonly #channel: net.Socket;
  readonly #peer = new WorkerPeer();
  readonly #streams: Record<"stdout" | "stderr", OutputLines>;
  readonly #look = setInterval(() => this.#lookAround(), LOOK_INTERVAL_MS);
  #violated = false;
  readonly #outputEnds: Promise<unknown>;
  #handOverEnd: number | undefined;
  #listeners = 0;
  #error: string | undefined;
  #status: ExitStatus | undefined;

  constructor(worker: number, request: SpawnRequest) {
    this.#worker = worker;
    this.#streams = {
      stdout: new OutputLines(request.output),
      stderr: new OutputLines(request.output),
    };
    const [own, theirs] = socketPair();
    const [channel, channelTheirs] = socketPair();
    this.#handOverEnd = own;
    try {
      this.#process = spawn(request.program, [...request.args], {
        cwd: request.cwd,
        env: { ...request.env, NODE_CHANNEL_FD: String(HAND_OVER) },
        stdio: ["pipe", "pipe", "pipe", theirs, channelTheirs],
        ...request.account,
      });
    } catch (error) {
      this.#closeHandOver();
      closeDescriptor(channel);
      throw error;
    } finally {
      closeDescriptor(theirs);
      closeDescriptor(channelTheirs);
    }
    this.#channel = new net.Socket({ fd: channel, readable: true, writable: true });
    this.#process.on("error", (error) => this.#giveUp(explainSpawn(request, error)));
    this.#process.on("exit", (code, signal) => {
      this.#status = { code: code ?? undefined, signal: signal ?? undefined };
      void this.#readLastWords().then(() => this.#exited());
    });
    // A worker that is gone shows in its exit; what a pipe says of it adds nothing.
    this.#channel.on("error", () => {});
    if (this.#process.pid === undefined) {
      // It has no streams; the event that comes says why.
      this.#outputEnds = Promise.resolve();
      return;
    }
    this.#process.stdin!.on("error", () => {});
    this.#channel.on("data", (chunk: Uint8Array) => this.#receive(chunk));
    this.#outputEnds = Promise.all([
      this.#read("stdout", this.#process.stdout!),
      this.#read("stderr", this.#process.stderr!),
    ]);
    this.#process.stdin!.end(request.source);
    const ends = [channel, own];
    thread.postMessage({ type: "spawned", worker, pid: this.#process.pid, ends });
  }

  /** Sends descriptors, and lets go of them. */
  handOver(items: readonly HandOverItem[]): void {
    for (const { descriptor, kind, message } of items) {
      try {
        if (this.#handOverEnd === undefined) throw new Error("it takes nothing any more");
        sendDescriptor(this.#handOverEnd, handOverLine(message, kind), descriptor);
        if (kind.use === "listener") this.#listeners++;
      } catch (error) {
        this.#giveUp(`Cannot hand over a ${message.type}: ${(error as Error).message}`);
      } finally {
        closeDescriptor(descriptor);
      }
    }
  }

  command(command: ToWorker): void {
    // A worker that has given up meanwhile is told nothing more.
    if (this.#peer.phase === "done") return;
    this.#guard(() => this.#channel.write(this.#peer.command(command)));
  }

  signal(signal: WorkerSignal): void {
    // Only while it has not been reaped: after that, its number may be another's. Deno.kill would
    // want the right to run everything; a child may be killed by who may run it.
    if (this.#status === undefined && this.#process.pid !== undefined) this.#process.kill(signal);
  }

  #receive(chunk: Uint8Array): void {
    this.#guard(() => {
      for (const message of this.#peer.receive(chunk)) {
        if (message.type === "received") this.#checkReceived(message);
        thread.postMessage({ type: "message", worker: this.#worker, message });
      }
    });
  }

  #checkReceived({ listeners }: Extract<ToSupervisor, { type: "received" }>): void {
    if (listeners !== this.#listeners) {
      const detail = `has ${listeners} listeners, was handed ${this.#listeners}`;
      throw new Violation("wrong_count", detail);
    }
  }

  #closeHandOver(): void {
    if (this.#handOverEnd !== undefined) closeDescriptor(this.#handOverEnd);
    this.#handOverEnd = undefined;
  }

  /** Runs `step`; a worker that breaks a rule in it is killed, and not listened to again. */
  #guard(step: () => void): void {
    if (this.#violated) return;
    try {
      step();
    } catch (error) {
      if (!(error instanceof Violation)) throw error;
      this.#violated = true;
      this.#channel.destroy();
      thread.postMessage({
        type: "violation",
        worker: this.#worker,
        rule: error.rule,
        detail: error.message,
      });
      this.signal("SIGKILL");
    }
  }

  /** The exit alone counts; ends of streams are the worker's to fake. What it printed comes first. */
  async #readLastWords(): Promise<void> {
    const patience = new Promise((resolve) => setTimeout(resolve, LAST_WORDS_MS));
    await Promise.race([this.#outputEnds, patience]);
  }

  /** Reads what the worker prints; settles at its end. */
  #read(name: "stdout" | "stderr", stream: Readable): Promise<void> {
    const lines = this.#streams[name];
    const post = (text: string) =>
      thread.postMessage({ type: "output", worker: this.#worker, stream: name, text });
    stream.on("data", (chunk: Buffer) => {
      for (const text of lines.push(chunk)) post(text);
    });
    stream.on("end", () => {
      for (const text of lines.end()) post(text);
    });
    stream.on("error", () => {});
    return new Promise((resolve) => stream.on("close", resolve));
  }

  #lookAround(): void {
    this.#guard(() => this.#peer.checkDeadline());
    for (const stream of ["stdout", "stderr"] as const) {
      const dropped = this.#streams[stream].takeDropped();
      if (dropped.lines === 0) continue;
      thread.postMessage({ type: "output_dropped", worker: this.#worker, stream, ...dropped });
    }
  }

  #giveUp(error: string): void {
    this.#error ??= error;
    if (this.#process.pid === undefined) this.#exited();
    else this.signal("SIGKILL");
  }

  #exited(): void {
    if (!children.delete(this.#worker)) return;
    this.#lookAround();
    clearInterval(this.#look);
    this.#closeHandOver();
    this.#channel.destroy();
    thread.postMessage({
      type: "exited",
      worker: this.#worker,
      status: this.#status ?? { code: undefined, signal: undefined },
      error: this.#error,
    });
  }
}

function explainSpawn({ program, cwd, account }: SpawnRequest, error: Error): string {
  const who = account ? ` as uid ${account.uid}` : "";
  // Whichever layer met the limit, and in whatever words.
  if (/EMFILE|ENFILE|errno 2[34]|os error 2[34]/.test(error.message)) {
    return `Cannot start ${program}${who}: too many open files; raise the limit of open files that ` +
      `Holdfast is started with (ulimit -n, LimitNOFILE=). ${error.message}`;
  }
  if (/EAGAIN|errno 11|os error 11/.test(error.message)) {
    return `Cannot start ${program}${who}: too many processes; raise limits.processes, or the limit ` +
      `of processes that Holdfast is started with (ulimit -u, TasksMax=). ${error.message}`;
  }
  return `Cannot start ${program}${who}; may it run that, and enter ${cwd}? ${error.message}`;
}

// Order matters. Both layers bind the calling thread alone, and what it forks inherits them: so
// every call of this function must be made here, synchronously, before anything is spawned. The
// program comes last, since it refuses some of the calls before it.
function confine(wall: Wall | undefined): void {
  let hint = 'Set "wall": "deno" to accept Deno\'s permissions alone';
  try {
    if (wall === undefined) return thread.postMessage({ type: "confined", questions: undefined });
    setNoNewPrivileges();
    restrictSelf(wall.landlock, wall.abi);
    if (canOpen(wall.forbidden)) {
      hint = "Something unveiled leads there, such as a bind mount: unveil less, or move runtime";
      throw new Error(`Landlock is on, and ${wall.forbidden} can be opened still`);
    }
    const questions = installProgram(wall.program);
    thread.postMessage({ type: "confined", questions });
  } catch (error) {
    thread.postMessage({ type: "not_confined", error: (error as Error).message, hint });
  }
}

function handle(message: ToSpawner | Confine): void {
  if (message.type === "confine") return confine(message.wall);
  if (message.type === "spawn") {
    try {
      children.set(message.worker, new Child(message.worker, message.request));
    } catch (error) {
      thread.postMessage({
        type: "exited",
        worker: message.worker,
        status: { code: undefined, signal: undefined },
        error: explainSpawn(message.request, error as Error),
      });
    }
    return;
  }
  const child = children.get(message.worker);
  if (message.type === "hand_over") {
    if (child) child.handOver(message.items);
    else message.items.forEach(({ descriptor }) => closeDescriptor(descriptor));
  } else if (message.type === "command") child?.command(message.command);
  else child?.signal(message.signal);
}

// The runtime would print such an error by itself, past the log.
const fail = (event: Event, error: unknown) => {
  event.preventDefault();
  thread.postMessage({
    type: "failed",
    error: error instanceof Error ? error.message : String(error),
  });
  self.close();
};
self.addEventListener("error", (event) => fail(event, event.error ?? event.message));
self.addEventListener("unhandledrejection", (event) => fail(event, event.reason));
thread.onmessage = ({ data }) => handle(data);
