/**
 * A process that was spawned, by its descriptors: reads what it says and prints, tells it what to do,
 * and kills it where it breaks a rule.
 */
import type { OutputLimits } from "../base/output_limits.ts";
import { type ExitStatus, killChild } from "../os/child.ts";
import { closeDescriptor } from "../os/descriptor.ts";
import { discardInput, receiveBytes, sendBytes, sendDescriptor } from "../os/socket.ts";
import { handOverLine } from "../protocol/hand_over.ts";
import type { ToSupervisor } from "../protocol/to_supervisor.ts";
import type { ToWorker } from "../protocol/to_worker.ts";
import { Violation } from "../protocol/violation.ts";
import { WorkerPeer } from "../protocol/worker_peer.ts";
import type { Input } from "../os/pipe.ts";
import type { ChildEnds } from "./child_ends.ts";
import type { ChildEvent, HandOverItem, Stream } from "./child_event.ts";
import { watchExit } from "./child_table.ts";
import { OutputLines, readLines } from "./output.ts";
import { readRate, watch } from "./watch.ts";

/** How often deadlines are looked at and dropped lines are told. */
const LOOK_INTERVAL_MS = 500;

/** How long to go on reading what a process printed before it ended. */
const LAST_WORDS_MS = 500;

/** What is read at once; each call has done with it when it ends. */
const buffer = new Uint8Array(32 * 1024);

export class Child {
  readonly pid: number;
  readonly #tell: (event: ChildEvent) => void;
  readonly #peer = new WorkerPeer();
  readonly #lines: Record<Stream, OutputLines>;
  /** Those that have not ended, and what closes each. */
  readonly #outputs = new Map<number, () => void>();
  readonly #outputsEnded = Promise.withResolvers<void>();
  readonly #look = setInterval(() => this.#lookAround(), LOOK_INTERVAL_MS);
  readonly #ignore: () => void;
  readonly #input: Input | undefined;
  #channel: number | undefined;
  #handOver: number | undefined;
  #alive = true;
  #listeners = 0;
  #error: string | undefined;

  /**
   * @param pid a child whose status nobody else takes
   * @param ends its own from here on: the output to `stdout` first, then that to `stderr`
   */
  constructor(
    pid: number,
    ends: ChildEnds & { readonly input?: Input },
    limits: OutputLimits,
    tell: (event: ChildEvent) => void,
  ) {
    this.pid = pid;
    this.#tell = tell;
    this.#input = ends.input;
    this.#channel = ends.channel;
    this.#handOver = ends.handOver;
    this.#lines = { stdout: new OutputLines(limits), stderr: new OutputLines(limits) };
    const [stdout, stderr] = ends.outputs;
    this.#readOutput("stdout", stdout!);
    this.#readOutput("stderr", stderr!);
    this.#ignore = watch(this.#channel!, () => this.#readChannel(), readRate());
    watchExit(pid, (status) => {
      this.#alive = false;
      void this.#readLastWords().then(() => this.#exited(status));
    });
  }

  /** Those that are open. */
  get ends(): ChildEnds {
    return { channel: this.#channel, handOver: this.#handOver, outputs: [...this.#outputs.keys()] };
  }

  /** Sends descriptors, and lets go of them. */
  handOver(items: readonly HandOverItem[]): void {
    for (const { descriptor, kind, message } of items) {
      try {
        if (this.#handOver === undefined) throw new Error("it takes nothing any more");
        sendDescriptor(this.#handOver, handOverLine(message, kind), descriptor);
        if (kind.use === "listener") this.#listeners++;
      } catch (error) {
        this.#error ??= `Cannot hand over a ${message.type}: ${(error as Error).message}`;
        this.kill();
      } finally {
        closeDescriptor(descriptor);
      }
    }
  }

  giveImage(image: () => string): void {
    try {
      this.#input?.add?.(image());
    } catch (error) {
      this.#error ??= `Cannot give it its modules: ${(error as Error).message}`;
      this.kill();
    }
  }

  command(command: ToWorker): void {
    const channel = this.#channel;
    // A worker that has given up meanwhile is told nothing more.
    if (channel === undefined || this.#peer.phase === "done") return;
    this.#guard(() => {
      const frame = this.#peer.command(command);
      try {
        sendBytes(channel, frame);
      } catch {
        // One that is gone shows in its exit, and one that does not listen in what it does not do.
      }
    });
  }

  kill(): void {
    // Only while its status was not taken: after that, its number may be another's.
    if (this.#alive) killChild(this.pid);
  }

  #readChannel(): number {
    const length = receiveBytes(this.#channel!, buffer);
    // Its end is the worker's to bring about: only its exit counts.
    if (length <= 0) {
      this.#closeChannel();
      return 0;
    }
    this.#guard(() => {
      for (const message of this.#peer.receive(buffer.subarray(0, length))) {
        if (message.type === "received") this.#checkReceived(message);
        this.#tell({ type: "message", message });
      }
    });
    return length;
  }

  #checkReceived({ listeners }: Extract<ToSupervisor, { type: "received" }>): void {
    if (listeners === this.#listeners) return;
    const detail = `has ${listeners} listeners, was handed ${this.#listeners}`;
    throw new Violation("wrong_count", detail);
  }

  /** Runs `step`; a process that breaks a rule in it is killed, and not listened to again. */
  #guard(step: () => void): void {
    try {
      step();
    } catch (error) {
      this.#closeChannel();
      this.kill();
      if (!(error instanceof Violation)) throw error;
      this.#tell({ type: "violation", rule: error.rule, detail: error.message });
    }
  }

  #closeChannel(): void {
    this.#ignore();
    this.#channel = undefined;
  }

  /** The exit alone counts; ends of streams are the worker's to fake. What it printed comes first. */
  async #readLastWords(): Promise<void> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const patience = new Promise((resolve) => timer = setTimeout(resolve, LAST_WORDS_MS));
    await Promise.race([this.#outputsEnded.promise, patience]);
    clearTimeout(timer);
  }

  #readOutput(stream: Stream, fd: number): void {
    const receive = (text: string) => this.#tell({ type: "output", stream, text });
    const close = readLines(fd, this.#lines[stream], receive, () => this.#closeOutput(fd));
    this.#outputs.set(fd, close);
  }

  #closeOutput(fd: number): void {
    this.#outputs.get(fd)?.();
    this.#outputs.delete(fd);
    if (this.#outputs.size === 0) this.#outputsEnded.resolve();
  }

  #lookAround(): void {
    if (this.#channel !== undefined) this.#guard(() => this.#peer.checkDeadline());
    // Descriptors in it count for all processes of the user.
    if (this.#handOver !== undefined) discardInput(this.#handOver);
    for (const stream of ["stdout", "stderr"] as const) {
      const dropped = this.#lines[stream].takeDropped();
      if (dropped.lines > 0) this.#tell({ type: "output_dropped", stream, ...dropped });
    }
  }

  #exited(status: ExitStatus): void {
    while (this.#channel !== undefined) this.#readChannel();
    this.#lookAround();
    clearInterval(this.#look);
    for (const fd of [...this.#outputs.keys()]) this.#closeOutput(fd);
    this.#input?.close();
    if (this.#handOver !== undefined) closeDescriptor(this.#handOver);
    this.#handOver = undefined;
    this.#tell({ type: "exited", status, error: this.#error });
  }
}
