/**
 * The guard answers the kernel when anything behind a wall tries to start a program or to kill a
 * process: yes for the supervisor's own spawner, no for everybody else. Who asks is told by the
 * kernel; what is asked for decides nothing.
 */
import { readProcess } from "../os/file.ts";
import { limitProcess, type Owner, ProcessGroup } from "../os/process.ts";
import { readRemoteText } from "../os/remote_text.ts";
import { answerQuestion, closeQuestions, nextQuestion, type Question } from "../os/seccomp.ts";
import type { Limit } from "../sandbox/limits.ts";
import type { Wall } from "../sandbox/wall.ts";
import { type Arch, ASKED, numberOf, type SystemCall } from "../sandbox/seccomp.ts";
import { attempt } from "./attempt.ts";

/** How long one wait for a question lasts; then the guard looks whether it is still wanted. */
const WAIT_MS = 500;

/** A call that was refused. */
export interface Denial {
  /** The worker's process: whoever asked is it, or was forked by it. */
  readonly worker: number;
  readonly call: SystemCall;
  /** What was to be executed, if it was an exec; its text is the asker's. */
  readonly path: string | undefined;
}

/** Who asks, as the kernel knows it. */
interface Asker {
  readonly process: number;
  readonly parent: number;
  readonly group: number;
}

export class Guard {
  readonly #fd: number;
  readonly #ownGroup = findAsker(Deno.pid)?.group;
  readonly #limits: readonly Limit[];
  readonly #owner: Owner | undefined;
  readonly #onDenial: (denial: Denial) => void;
  /** The workers, by the number of their process. */
  readonly #groups = new Map<number, ProcessGroup>();
  #open = true;

  /**
   * @param fd where questions come by; the guard's own from here on
   * @param wall its limits hold every worker from before its first instruction
   */
  constructor(fd: number, { limits, owner }: Wall, onDenial: (denial: Denial) => void) {
    this.#fd = fd;
    this.#limits = limits;
    this.#owner = owner;
    this.#onDenial = onDenial;
    void this.#run();
  }

  /** Ends whatever a worker that was reaped has left behind. */
  forget(pid: number): void {
    this.#groups.get(pid)?.end();
    this.#groups.delete(pid);
  }

  /** Ends; a worker that still lives, as after its spawner's failure, is left to drain. */
  close(): void {
    this.#open = false;
    for (const group of this.#groups.values()) group.letGo();
    this.#groups.clear();
  }

  async #run(): Promise<void> {
    while (this.#open) {
      const question = await nextQuestion(this.#fd, WAIT_MS);
      if (question === "closed") break;
      if (question !== undefined) this.#answer(question);
    }
    // From here on the kernel itself says no, with ENOSYS.
    closeQuestions(this.#fd);
  }

  #answer(question: Question): void {
    const call = ASKED_BY_NUMBER.get(question.number)!;
    const asker = findAsker(question.tid);
    let allowed = false;
    attempt("judge a call", () => {
      allowed = asker !== undefined && this.#judge(call, asker);
    });
    const path = allowed ? undefined : readPath(call, question);
    answerQuestion(this.#fd, question.id, allowed ? "continue" : "refuse");
    if (!allowed && asker) this.#onDenial({ worker: asker.group, call, path });
  }

  /**
   * Everything of a worker is in the worker's own process group, and may not leave it. Whoever is in
   * the supervisor's group is the supervisor's own thread, or a child that it has just forked.
   */
  #judge(call: SystemCall, asker: Asker): boolean {
    if (asker.group !== this.#ownGroup) return false;
    if (call === "kill") return asker.process === Deno.pid;
    if (asker.parent !== Deno.pid) return false;
    // One exec is all it gets: here it leaves the group from which exec is allowed.
    this.#groups.set(asker.process, new ProcessGroup(asker.process));
    limitProcess(asker.process, this.#limits, this.#owner);
    return true;
  }
}

const ASKED_BY_NUMBER: ReadonlyMap<number, SystemCall> = new Map(
  ASKED.flatMap((call) => {
    const number = numberOf(call, Deno.build.arch as Arch);
    return number === undefined ? [] : [[number, call] as const];
  }),
);

/** Reads proc_pid_stat(5); what comes before the last ")" is the asker's own text. */
function findAsker(tid: number): Asker | undefined {
  const text = readProcess(tid, "stat");
  if (text === undefined) return undefined;
  const [, parent, group] = text.slice(text.lastIndexOf(")") + 2).split(" ");
  const process = Number(readProcess(tid, "status")?.match(/^Tgid:\s*(\d+)$/m)?.[1]);
  return { process, parent: Number(parent), group: Number(group) };
}

function readPath(call: SystemCall, { tid, args }: Question): string | undefined {
  if (call === "execve") return readRemoteText(tid, args[0]!);
  if (call === "execveat") return readRemoteText(tid, args[1]!);
  return undefined;
}
