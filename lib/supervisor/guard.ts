/**
 * The guard answers the kernel when anything behind one wall tries to fork, to start a program, to
 * kill a process, or makes a call that no app makes: yes for the supervisor's own spawner, no for
 * everybody else. Who asks is told by the kernel; what is asked for decides nothing. To a worker that
 * ends TLS it gives listeners, where that asks to listen.
 */
import { closeDescriptor } from "../os/descriptor.ts";
import {
  childState,
  groupOf,
  isOwnThread,
  limitProcess,
  type Owner,
  ProcessGroup,
} from "../os/process.ts";
import { EPERM } from "../os/errno.ts";
import { readProcessText } from "../os/process_memory.ts";
import {
  answerQuestion,
  placeDescriptor,
  type Question,
  stillWaits,
  takeQuestion,
} from "../os/seccomp.ts";
import type { Limit } from "../sandbox/limits.ts";
import type { Wall } from "../sandbox/wall.ts";
import {
  type Arch,
  ASKED,
  DIALLING,
  isDialling,
  numberOf,
  type SystemCall,
} from "../sandbox/seccomp.ts";
import { ALARMS } from "../sandbox/system_calls.ts";
import { Dialling, type DiallingMode, type RefusedDial } from "./dialling.ts";
import { watch } from "./watch.ts";

/** Why what is asked by a thread that is gone is refused. */
const GONE = "the kernel shows no such process";

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
  /** What it wanted to dial, if it was that. */
  readonly dial?: RefusedDial;
}

/** What counts of a wall here. */
type GuardedWall = Pick<Wall, "limits" | "owner" | "dials"> & {
  readonly seccomp: { readonly runs: boolean; readonly listens?: boolean };
};

/** Answers for one child, and what it forks. */
export class Guard {
  #fd: number | undefined;
  readonly #ignore: () => void;
  readonly #ownGroup = groupOf(Deno.pid);
  readonly #limits: readonly Limit[];
  readonly #owner: Owner | undefined;
  /** Whether the child may run more, as far as its wall goes. */
  readonly #runs: boolean;
  /** What a listen(2) of its is answered that gets it nothing. */
  readonly #listens: number;
  #lent: readonly number[] = [];
  readonly #onDenial: (denial: Denial) => void;
  readonly #dialling: Dialling;
  /** Whether its process has ended: another gets no exec. */
  #over = false;
  #child: { readonly pid: number; readonly group: ProcessGroup } | undefined;

  /**
   * @param fd where questions come by; the guard's own from here on
   * @param wall its limits hold the child from before its first instruction
   * @param child the one that was let through already, before an upgrade
   * @param asked what it asked before that, and nobody has answered
   */
  constructor(
    fd: number,
    { limits, owner, seccomp, dials }: GuardedWall,
    onDenial: (denial: Denial) => void,
    child?: number,
    asked: readonly Question[] = [],
  ) {
    this.#fd = fd;
    this.#limits = limits;
    this.#owner = owner;
    this.#runs = seccomp.runs;
    this.#listens = seccomp.listens ? 0 : -EPERM;
    this.#onDenial = onDenial;
    this.#dialling = new Dialling(
      dials,
      owner,
      () => this.#fd,
      () => this.child,
      (dial, { tid, number }) => {
        const call = ASKED_BY_NUMBER.get(number)!;
        this.#onDenial({
          ...{ worker: this.child, tid, call, reason: dial.reason },
          path: undefined,
          dial,
        });
      },
    );
    if (child !== undefined) this.#child = { pid: child, group: new ProcessGroup(child, true) };
    this.#ignore = watch(fd, (ended) => {
      const question = ended ? "closed" : takeQuestion(fd);
      if (question === "closed") this.#endWatch();
      else if (question !== undefined) this.#answer(fd, question);
    });
    for (const question of asked) if (stillWaits(fd, question.id)) this.#answer(fd, question);
  }

  /**
   * The process that was let through. The kernel asked about its exec by the program that holds it,
   * which no process can take off again: so that process is behind the wall.
   */
  get child(): number | undefined {
    return this.#child?.pid;
  }

  /** Where questions come by, while any can. */
  get fd(): number | undefined {
    return this.#fd;
  }

  /** What was asked and has no answer yet. */
  get pending(): readonly Question[] {
    return this.#dialling.pending;
  }

  /** How far its dialling is judged. To be asked when its exec is over, before it has run anything. */
  get dialling(): DiallingMode {
    return this.#dialling.mode;
  }

  /** As {@link ChildHandle.lend}. */
  lend(descriptors: readonly number[]): number {
    const { length } = this.#lent;
    this.#lent.forEach(closeDescriptor);
    this.#lent = descriptors;
    return length;
  }

  /** Kills the child, with whatever it has left behind. */
  endChild(): void {
    this.lend([]);
    this.#over = true;
    this.#child?.group.end();
    this.#child = undefined;
  }

  /** Ends. From here on the kernel itself says no, with ENOSYS. */
  close(): void {
    this.lend([]);
    this.#endWatch();
    this.#child?.group.letGo();
    this.#child = undefined;
  }

  #endWatch(): void {
    this.#ignore();
    this.#fd = undefined;
  }

  #answer(fd: number, question: Question): void {
    const call = ASKED_BY_NUMBER.get(question.number)!;
    const { id, tid } = question;
    if (call === "listen") return this.#listen(fd, question);
    const dials = isDialling(call);
    let reason: string | undefined;
    try {
      reason = dials ? this.#judgeDialler(tid) : this.#judge(call, question);
      if (dials && reason === undefined) return this.#dialling.answer(question, call);
    } catch (error) {
      reason = (error as Error).message;
    }
    if (reason === undefined) return answerQuestion(fd, id, "continue");
    const group = groupOf(tid);
    // For the log alone: nothing is decided by it.
    const text = readPath(call, question);
    const path = stillWaits(fd, id) ? text : undefined;
    answerQuestion(fd, id, -EPERM);
    // A group of its own is the worker's: it leads it, and what it forks cannot leave it.
    const worker = group === this.#ownGroup ? undefined : group;
    this.#onDenial({ worker, tid, call, reason, path });
  }

  /** A worker may try it by itself, and so may its app: that is no alarm. */
  #listen(fd: number, { id, tid, args }: Question): void {
    const group = groupOf(tid);
    const isChild = group !== undefined && group === this.#child?.pid && stillWaits(fd, id);
    const [own, ...rest] = isChild ? this.#lent : [];
    if (own === undefined) return answerQuestion(fd, id, this.#listens);
    this.#lent = rest;
    const placed = placeDescriptor(fd, id, own, Number(args[0]! & 0x7fffffffn));
    closeDescriptor(own);
    answerQuestion(fd, id, placed ? 0 : -EPERM);
  }

  /** A spawner's thread dials nobody, nor does what it forks. */
  #judgeDialler(tid: number): string | undefined {
    const group = groupOf(tid);
    if (group === undefined) return GONE;
    return group === this.#child?.pid ? undefined : "it is no worker";
  }

  /**
   * Everything of a worker is in the worker's own process group, and may not leave it. Whoever is in
   * the supervisor's group is the supervisor's own thread, or a child that it has just forked.
   *
   * @returns why not, if not
   * @throws {Error} if what goes with a yes cannot be done
   */
  #judge(call: SystemCall, { id, tid }: Question): string | undefined {
    const group = groupOf(tid);
    if (group === undefined) return GONE;
    if (group !== this.#ownGroup) {
      const mayRun = this.#runs && call.startsWith("exec") && group === this.#child?.pid;
      return mayRun ? undefined : "it belongs to a worker";
    }
    if (call in ALARMS) return "no program of ours makes this call";
    if (!call.startsWith("exec")) return isOwnThread(tid) ? undefined : "it is not the supervisor";
    if (childState(tid) === "none") return "it is no child of the supervisor";
    if (this.#child !== undefined || this.#over) return "another was let through";
    if (!stillWaits(this.#fd!, id)) return GONE;
    // One exec is all it gets: here it leaves the group from which exec is allowed.
    this.#child = { pid: tid, group: new ProcessGroup(tid) };
    limitProcess(tid, this.#limits, this.#owner);
    return undefined;
  }
}

const ASKED_BY_NUMBER: ReadonlyMap<number, SystemCall> = new Map(
  [...ASKED, ...DIALLING].flatMap((call) => {
    const number = numberOf(call, Deno.build.arch as Arch);
    return number === undefined ? [] : [[number, call] as const];
  }),
);

function readPath(call: SystemCall, { tid, args }: Question): string | undefined {
  if (call === "execve") return readProcessText(tid, args[0]!);
  if (call === "execveat") return readProcessText(tid, args[1]!);
  return undefined;
}
