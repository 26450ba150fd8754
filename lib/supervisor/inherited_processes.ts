/**
 * The processes of the supervisor that was here before an exec. They are this process's children still
 * and serve until they are let go of.
 */
import { log } from "../base/log.ts";
import { DEFAULT_OUTPUT_LIMITS } from "../base/output_limits.ts";
import { killChild } from "../os/child.ts";
import { closeDescriptor } from "../os/descriptor.ts";
import { sendBytes } from "../os/socket.ts";
import { type Role, roleText } from "../protocol/role.ts";
import { bestEffort } from "./best_effort.ts";
import { addChild, removeChild, watchExit } from "./child_table.ts";
import type { Inheritance } from "./inheritance.ts";
import { OutputLines, readLines } from "./output.ts";

/** One of them. */
interface Inherited {
  readonly role: Role;
  /** The channel first. */
  readonly ends: number[];
}

export class InheritedProcesses {
  /** Those that have not ended, by the number of their process. */
  readonly #processes: Map<number, Inherited>;
  /** What closes each pipe by which they print. */
  readonly #outputs = new Map<number, () => void>();
  readonly #gone = Promise.withResolvers<void>();
  readonly #farewell: Uint8Array<ArrayBuffer>;
  #retired = false;

  constructor(
    { residents, outputs, farewell }: Pick<Inheritance, "residents" | "outputs" | "farewell">,
  ) {
    this.#farewell = Uint8Array.fromBase64(farewell);
    this.#processes = new Map(residents.map(({ pid, role, ends }) => [pid, { role, ends }]));
    for (const fd of outputs) this.#read(fd);
    for (const [pid, inherited] of this.#processes) this.#add(pid, inherited);
    this.#lookAround();
  }

  /** Settles when all have ended. */
  get gone(): Promise<void> {
    return this.#gone.promise;
  }

  /** Those that have not ended yet. */
  get pids(): readonly number[] {
    return [...this.#processes.keys()];
  }

  /** Lets go of them: the workers drain, and when they have left, what they called does. */
  retire(): void {
    this.#retired = true;
    for (const inherited of this.#processes.values()) {
      if (inherited.role.kind === "worker") this.#dismiss(inherited);
    }
    this.#lookAround();
  }

  /** Ends them now. */
  cut(): void {
    this.#retired = true;
    // Their status was not taken yet, so that each number is still its own.
    for (const pid of this.#processes.keys()) killChild(pid);
  }

  /** Which pipe is whose was not told: all of them are in the record of the first. */
  #add(pid: number, { role, ends }: Inherited): void {
    const outputs = () => pid === this.pids[0] ? [...this.#outputs.keys()] : [];
    addChild(pid, {
      role,
      get ends() {
        return { channel: ends[0], handOver: ends[1], outputs: outputs() };
      },
    });
    watchExit(pid, () => {
      this.#processes.delete(pid);
      removeChild(pid);
      letGo(ends);
      log.info("former_process_ended", { pid, role: roleText(role) });
      this.#lookAround();
    });
  }

  /**
   * A worker that only sees its supervisor gone tells load balancers that nobody serves here; this
   * one is told that another has taken its place.
   */
  #dismiss({ ends }: Inherited): void {
    const [channel] = ends;
    if (channel !== undefined) {
      bestEffort("tell a worker to drain", () => sendBytes(channel, this.#farewell));
    }
    letGo(ends);
  }

  #lookAround(): void {
    const left = [...this.#processes.values()];
    if (this.#retired && !left.some(({ role }) => role.kind === "worker")) {
      for (const { ends } of left) letGo(ends);
    }
    if (left.length > 0) return;
    for (const close of this.#outputs.values()) close();
    this.#outputs.clear();
    this.#gone.resolve();
  }

  /** A pipe that nobody reads would stop whoever writes to it. */
  #read(fd: number): void {
    const lines = new OutputLines(DEFAULT_OUTPUT_LIMITS);
    const receive = (text: string) => log.info("worker_output", { role: "former", text });
    this.#outputs.set(fd, readLines(fd, lines, receive, () => this.#outputs.delete(fd)));
  }
}

/** Closes this side's ends, once: a process takes that as the word to drain. */
function letGo(ends: number[]): void {
  ends.splice(0).forEach(closeDescriptor);
}
