/**
 * The guard answers the kernel when anything behind a wall tries to start a program or to kill a
 * process: yes for the supervisor's own spawner, no for everybody else. Who asks is told by the
 * kernel; what is asked for decides nothing.
 */
import {
  childState,
  groupOf,
  isOwnThread,
  limitProcess,
  type Owner,
  ProcessGroup,
} from "../os/process.ts";
import { readProcessText } from "../os/process_memory.ts";
import { answerQuestion, type Question } from "../os/seccomp.ts";
import { ignoreQuestions, receiveQuestions } from "./questions.ts";
import type { Limit } from "../sandbox/limits.ts";
import type { Wall } from "../sandbox/wall.ts";
import { type Arch, ASKED, numberOf, type SystemCall } from "../sandbox/seccomp.ts";

/** A call that was refused. */
export interface Denial {
  /** The worker's process: whoever asked is it, or was forked by it. */
  readonly worker: number | undefined;
  /** The thread that asked. */
  readonly tid: number;
  readonly call: SystemCall;
  /** Why the answer was no. */
  readonly reason: string;
  /** What was to be executed, if it was an exec; its text is the asker's. */
  readonly path: string | undefined;
}

export class Guard {
  readonly #fd: number;
  readonly #ownGroup = groupOf(Deno.pid);
  readonly #limits: readonly Limit[];
  readonly #owner: Owner | undefined;
  readonly #onDenial: (denial: Denial) => void;
  /** The workers, by the number of their process. */
  readonly #groups = new Map<number, ProcessGroup>();

  /**
   * @param fd where questions come by; the guard's own from here on
   * @param wall its limits hold every worker from before its first instruction
   */
  constructor(fd: number, { limits, owner }: Wall, onDenial: (denial: Denial) => void) {
    this.#fd = fd;
    this.#limits = limits;
    this.#owner = owner;
    this.#onDenial = onDenial;
    receiveQuestions(fd, (question) => this.#answer(question));
  }

  /**
   * Whether a process was let through by this guard. The kernel asked about its exec by the program
   * that holds it, which no process can take off again: so that process is behind the wall.
   */
  holds(pid: number): boolean {
    return this.#groups.has(pid);
  }

  /** Ends whatever a worker that was reaped has left behind. */
  forget(pid: number): void {
    this.#groups.get(pid)?.end();
    this.#groups.delete(pid);
  }

  /** Ends; a worker that still lives, as after its spawner's failure, is left to drain. */
  close(): void {
    // From here on the kernel itself says no, with ENOSYS.
    ignoreQuestions(this.#fd);
    for (const group of this.#groups.values()) group.letGo();
    this.#groups.clear();
  }

  #answer(question: Question): void {
    const call = ASKED_BY_NUMBER.get(question.number)!;
    const { id, tid } = question;
    let reason: string | undefined;
    try {
      reason = this.#judge(call, tid);
    } catch (error) {
      reason = (error as Error).message;
    }
    if (reason === undefined) return answerQuestion(this.#fd, id, "continue");
    const group = groupOf(tid);
    const path = readPath(call, question);
    answerQuestion(this.#fd, id, "refuse");
    // A group of its own is the worker's: it leads it, and what it forks cannot leave it.
    const worker = group === this.#ownGroup ? undefined : group;
    this.#onDenial({ worker, tid, call, reason, path });
  }

  /**
   * Everything of a worker is in the worker's own process group, and may not leave it. Whoever is in
   * the supervisor's group is the supervisor's own thread, or a child that it has just forked.
   *
   * @returns why not, if not
   * @throws {Error} if what goes with a yes cannot be done
   */
  #judge(call: SystemCall, tid: number): string | undefined {
    const group = groupOf(tid);
    if (group === undefined) return "the kernel shows no such process";
    if (group !== this.#ownGroup) return "it belongs to a worker";
    if (call === "kill") return isOwnThread(tid) ? undefined : "it is not the supervisor";
    if (childState(tid) === "none") return "it is no child of the supervisor";
    // One exec is all it gets: here it leaves the group from which exec is allowed.
    this.#groups.set(tid, new ProcessGroup(tid));
    limitProcess(tid, this.#limits, this.#owner);
    return undefined;
  }
}

const ASKED_BY_NUMBER: ReadonlyMap<number, SystemCall> = new Map(
  ASKED.flatMap((call) => {
    const number = numberOf(call, Deno.build.arch as Arch);
    return number === undefined ? [] : [[number, call] as const];
  }),
);

function readPath(call: SystemCall, { tid, args }: Question): string | undefined {
  if (call === "execve") return readProcessText(tid, args[0]!);
  if (call === "execveat") return readProcessText(tid, args[1]!);
  return undefined;
}
