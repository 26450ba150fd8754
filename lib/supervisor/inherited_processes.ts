/**
 * The processes of the supervisor that was here before an exec. They are this process's children still
 * and serve until they are let go of.
 */
import { log } from "../base/log.ts";
import { DEFAULT_OUTPUT_LIMITS } from "../base/output_limits.ts";
import { killChild } from "../os/child.ts";
import { closeDescriptor } from "../os/descriptor.ts";
import { sendBytes } from "../os/socket.ts";
import { countDescriptors } from "../os/file.ts";
import type { Status } from "../protocol/control.ts";
import { roleText } from "../protocol/role.ts";
import { bestEffort } from "./best_effort.ts";
import { addChild, type ChildRecord, removeChild, watchExit } from "./child_table.ts";
import { DRAIN_MARGIN_MS } from "./drain.ts";
import { type Denial, Guard } from "./guard.ts";
import { type Inheritance, questionOf } from "./inheritance.ts";
import { OutputLines, readLines } from "./output.ts";
import { residentBytes } from "./process_facts.ts";
import { tellOutput } from "./process_output.ts";
import { isAlarm, MAX_DENIED, tellDenial } from "./worker_process.ts";

/** What a guard holds them to: they run nothing, and their limits are set. */
const WALL = { limits: [], owner: undefined, seccomp: { runs: false } } as const;

/** One of them. */
interface Inherited extends Omit<ChildRecord, "ends"> {
  /** The channel first. */
  readonly ends: number[];
  readonly guard: Guard | undefined;
  endsAtMs: number | undefined;
  denied: number;
  timer?: ReturnType<typeof setTimeout> | undefined;
}

export class InheritedProcesses {
  /** Those that have not ended, by the number of their process. */
  readonly #processes = new Map<number, Inherited>();
  /** What closes each pipe by which they print. */
  readonly #outputs = new Map<number, () => void>();
  readonly #gone = Promise.withResolvers<void>();
  readonly #farewell: Uint8Array<ArrayBuffer>;
  readonly #drainMs: number;
  #retired = false;

  constructor(
    { residents, outputs, farewell, drainMs, dials }: Pick<
      Inheritance,
      "residents" | "outputs" | "farewell" | "drainMs" | "dials"
    >,
  ) {
    this.#farewell = Uint8Array.fromBase64(farewell);
    this.#drainMs = drainMs;
    for (const fd of outputs) this.#read(fd);
    for (const resident of residents) this.#add(resident, dials[resident.dials ?? -1] ?? []);
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

  /** The longest that their end takes. */
  get stopMs(): number {
    return this.#processes.size === 0 ? 0 : this.#drainMs + 2 * DRAIN_MARGIN_MS;
  }

  /**
   * Lets go of them: the workers drain, and when they have left, what they called does. Who does not
   * leave is killed.
   */
  retire(): void {
    this.#retired = true;
    for (const [pid, inherited] of this.#processes) {
      const isWorker = inherited.role.kind === "worker";
      if (isWorker) this.#dismiss(inherited);
      // One that was kept for its WebSockets had hours; this supervisor cannot tell it when to end.
      const endsAtMs = Date.now() + this.stopMs - (isWorker ? DRAIN_MARGIN_MS : 0);
      if (endsAtMs < (inherited.endsAtMs ?? Infinity)) {
        inherited.endsAtMs = endsAtMs;
        clearTimeout(inherited.timer);
        inherited.timer = undefined;
      }
      this.#endInTime(pid, inherited);
    }
    this.#lookAround();
  }

  /** Ends them now. */
  cut(): void {
    this.#retired = true;
    for (const [pid, inherited] of this.#processes) this.#kill(pid, inherited);
  }

  /** What `holdfast status` shows of them. */
  describe(): NonNullable<Status["former"]> {
    return [...this.#processes].map(([pid, { role, endsAtMs, denied }]) => ({
      ...{ pid, role: roleText(role), denied },
      memoryBytes: residentBytes(pid),
      descriptors: countDescriptors(pid),
      endsInMs: endsAtMs === undefined ? null : Math.max(0, endsAtMs - Date.now()),
    }));
  }

  #add(
    { pid, role, ends, guard, onViolation, endsAtMs, asked }: Inheritance["residents"][number],
    dials: readonly string[],
  ): void {
    const deny = (denial: Denial) => this.#deny(pid, inherited, denial);
    const inherited: Inherited = {
      ...{ role, ends, onViolation, dials, endsAtMs, denied: 0 },
      guard: guard === undefined
        ? undefined
        : new Guard(guard, { ...WALL, dials }, deny, pid, asked?.map(questionOf)),
    };
    this.#processes.set(pid, inherited);
    // Which pipe is whose was not told: all of them are in the record of the first.
    const outputs = () => pid === this.pids[0] ? [...this.#outputs.keys()] : [];
    addChild(pid, {
      ...{ role, onViolation, dials },
      get endsAtMs() {
        return inherited.endsAtMs;
      },
      get ends() {
        const [channel, handOver] = ends;
        const { fd, pending } = inherited.guard ?? {};
        return { channel, handOver, guard: fd, asked: pending, outputs: outputs() };
      },
    });
    this.#endInTime(pid, inherited);
    watchExit(pid, () => {
      this.#processes.delete(pid);
      removeChild(pid);
      clearTimeout(inherited.timer);
      inherited.guard?.endChild();
      inherited.guard?.close();
      letGo(ends);
      log.info("old_process_exited", {
        ...{ pid, role: roleText(role) },
        formerly: "former_process_ended",
      });
      this.#lookAround();
    });
  }

  /** Sees to it that one that was told to leave does. */
  #endInTime(pid: number, inherited: Inherited): void {
    const { role, endsAtMs } = inherited;
    if (endsAtMs === undefined || inherited.timer !== undefined) return;
    inherited.timer = setTimeout(() => {
      const reason = "it has not left at the drain deadline";
      log.warn("former_process_killed", { pid, role: roleText(role), reason });
      this.#kill(pid, inherited);
    }, Math.max(0, endsAtMs - Date.now()));
  }

  #kill(pid: number, { guard }: Inherited): void {
    guard?.endChild();
    // Its status was not taken yet, so that the number is still its own.
    killChild(pid);
  }

  #deny(pid: number, inherited: Inherited, denial: Denial): void {
    inherited.denied++;
    tellDenial(denial, { pid, role: roleText(inherited.role) });
    const isLast = inherited.denied >= MAX_DENIED;
    if (isLast || isAlarm(denial) && inherited.onViolation === "replace") {
      this.#kill(pid, inherited);
    }
  }

  /**
   * A process that only sees its supervisor gone says so, and a worker tells load balancers that nobody
   * serves here; this one is told that another has taken its place.
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
      left.forEach((each) => this.#dismiss(each));
    }
    if (left.length > 0) return;
    for (const close of this.#outputs.values()) close();
    this.#outputs.clear();
    this.#gone.resolve();
  }

  /** A pipe that nobody reads would stop whoever writes to it. */
  #read(fd: number): void {
    const lines = new OutputLines(DEFAULT_OUTPUT_LIMITS);
    const receive = (text: string) => tellOutput({ role: "former" }, text);
    this.#outputs.set(fd, readLines(fd, lines, receive, () => this.#outputs.delete(fd)));
  }
}

/** Closes this side's ends, once: a process takes that as the word to drain. */
function letGo(ends: number[]): void {
  ends.splice(0).forEach(closeDescriptor);
}
