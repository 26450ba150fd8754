/**
 * The processes of the supervisor that was here before an exec. They are this process's children still
 * and serve until they are let go of; Deno knows nothing of them, so that they are waited for here.
 */
import { log } from "../base/log.ts";
import { DEFAULT_OUTPUT_LIMITS } from "../base/output_limits.ts";
import { closeDescriptor } from "../os/descriptor.ts";
import { killChild, readAvailable, reap } from "../os/exec.ts";
import { sendBytes } from "../os/socket.ts";
import { roleText } from "../protocol/role.ts";
import { attempt } from "./attempt.ts";
import type { Inheritance } from "./inheritance.ts";
import { OutputLines } from "./output.ts";

/** How often they are looked at, and what they printed is read. */
const LOOK_INTERVAL_MS = 100;

/** What is read at once. */
const MAX_READ_BYTES = 64 * 1024;

export class Former {
  readonly #residents: Map<number, Inheritance["residents"][number]>;
  readonly #outputs: Map<number, OutputLines>;
  readonly #look = setInterval(() => this.#lookAround(), LOOK_INTERVAL_MS);
  readonly #gone = Promise.withResolvers<void>();
  #retired = false;

  readonly #farewell: Uint8Array<ArrayBuffer>;

  constructor(
    { residents, outputs, farewell }: Pick<Inheritance, "residents" | "outputs" | "farewell">,
  ) {
    this.#farewell = Uint8Array.fromBase64(farewell);
    this.#residents = new Map(residents.map((resident) => [resident.pid, resident]));
    this.#outputs = new Map(outputs.map((fd) => [fd, new OutputLines(DEFAULT_OUTPUT_LIMITS)]));
  }

  /** Settles when all have ended. */
  get gone(): Promise<void> {
    return this.#gone.promise;
  }

  /** Those that have not ended yet. */
  get residents(): Inheritance["residents"] {
    return [...this.#residents.values()];
  }

  /** Lets go of them: the workers drain, and when they have left, what they called does. */
  retire(): void {
    this.#retired = true;
    for (const resident of this.#residents.values()) {
      if (resident.role.kind === "worker") this.#dismiss(resident);
    }
    this.#lookAround();
  }

  /**
   * A worker that only sees its supervisor gone tells load balancers that nobody serves here; this
   * one is told that another has taken its place.
   */
  #dismiss(resident: Inheritance["residents"][number]): void {
    const [channel] = resident.ends;
    if (channel !== undefined) {
      attempt("tell a worker to drain", () => sendBytes(channel, this.#farewell));
    }
    letGo(resident);
  }

  /** Ends them now. */
  cut(): void {
    this.#retired = true;
    for (const { pid } of this.#residents.values()) {
      // Not reaped yet, so that the number is still its own.
      killChild(pid);
    }
  }

  #lookAround(): void {
    this.#read();
    for (const [pid, resident] of this.#residents) {
      if (!reap(pid)) continue;
      this.#residents.delete(pid);
      letGo(resident);
      log.info("former_process_ended", { pid, role: roleText(resident.role) });
    }
    const left = [...this.#residents.values()];
    if (this.#retired && !left.some(({ role }) => role.kind === "worker")) left.forEach(letGo);
    if (left.length > 0) return;
    clearInterval(this.#look);
    this.#read();
    for (const fd of this.#outputs.keys()) closeDescriptor(fd);
    this.#outputs.clear();
    this.#gone.resolve();
  }

  /** A pipe that nobody reads would stop whoever writes to it. */
  #read(): void {
    for (const [fd, lines] of this.#outputs) {
      const bytes = readAvailable(fd, MAX_READ_BYTES);
      if (bytes === undefined) continue;
      for (const line of lines.push(bytes)) {
        log.info("worker_output", { role: "former", text: line });
      }
      if (bytes.length > 0) continue;
      closeDescriptor(fd);
      this.#outputs.delete(fd);
    }
  }
}

/** Closes this side's ends, once: a process takes that as the word to drain. */
function letGo(resident: Inheritance["residents"][number]): void {
  resident.ends.splice(0).forEach(closeDescriptor);
}
