/**
 * Dials in the place of what is behind a wall. The address is copied out of its memory, the copy is
 * judged, and what is connected is connected to the copy: nothing that the process changes meanwhile has
 * an effect. Of a Unix socket, what is connected is what the config names, with the rights of the process.
 */
import { normalize } from "node:path";
import { realPlace } from "../config/real_place.ts";
import { closeDescriptor } from "../os/descriptor.ts";
import {
  bindFor,
  dial,
  EAFNOSUPPORT,
  EMSGSIZE,
  ENOTSOCK,
  type InetSocket,
  letBlock,
  lookAtSocket,
  sendFor,
} from "../os/dial.ts";
import { EACCES, EFAULT, EINVAL } from "../os/errno.ts";
import { type Owner, ownerOf } from "../os/process.ts";
import { mayReadMemory, readMemory } from "../os/process_memory.ts";
import { answerQuestion, placeDescriptor, type Question, stillWaits } from "../os/seccomp.ts";
import type { DiallingCall } from "../sandbox/seccomp.ts";
import {
  type Asked,
  type Dialled,
  dialledOf,
  isOfCLibrary,
  judgeDial,
  MAX_ADDRESS_BYTES,
  nameServersOf,
  readAddress,
  socketsOf,
  withHost,
} from "../sandbox/dialling.ts";
import { names as nameTable } from "./names.ts";
import type { UnixOutcome } from "../os/dial_unix.ts";
import { dialUnix } from "./unix_dialler.ts";

/** The longest datagram. */
const MAX_DATA_BYTES = 65_535;

/** More than any resolv.conf(5) that makes sense. */
const RESOLV_CONF = "/etc/resolv.conf";

/** Why most addresses are refused. */
export const NOT_IN_NET = "it is not in net";

/** How long a blocking connect(2) waits for a server whose queue is full, in milliseconds. */
const QUEUE_MS = 5_000;

/** After how long it is tried again, in milliseconds, and how many of a process may wait so. */
const AGAIN_MS = 20;
const MAX_QUEUED = 16;

const [ENOENT, EAGAIN, ELOOP, ETIMEDOUT] = [2, 11, 40, 110];

/** An address that was refused. */
export interface RefusedDial {
  /** That of a Unix socket is `unix:` and its path. */
  readonly host: string;
  readonly port?: number;
  readonly reason: string;
  /** Whether only native code can have asked for it: Deno's own layer had refused it. */
  readonly alarming: boolean;
}

/** `asked`: each address is judged. `ports`: this process may not read the other's memory. */
export type DiallingMode = "asked" | "ports";

type Inet = Extract<Asked, { kind: "inet" }>;
type Unix = Extract<Asked, { kind: "unix" }>;

/** Answers the questions of one process; each of its threads waits for one at the most. */
export class Dialling {
  readonly #dials: readonly Dialled[];
  /** By the paths of Unix sockets, as `net` spells them, what they lead to. */
  readonly #sockets: ReadonlyMap<string, string>;
  readonly #owner: Owner | undefined;
  readonly #fd: () => number | undefined;
  readonly #pid: () => number | undefined;
  readonly #onRefused: (refused: RefusedDial, question: Question) => void;
  #mode: DiallingMode | undefined;
  readonly #pending = new Set<Question>();
  /** How many of its threads wait for a server whose queue is full. */
  #queued = 0;

  /**
   * @param owner whose its sockets are, where that is not who runs the supervisor
   * @param fd where questions come by, while any can
   * @param pid the process, when it is there
   */
  constructor(
    dials: readonly string[],
    owner: Owner | undefined,
    fd: () => number | undefined,
    pid: () => number | undefined,
    onRefused: (refused: RefusedDial, question: Question) => void,
  ) {
    this.#dials = dialledOf(dials);
    // Links are followed here and never again, as those of an unveil are.
    this.#sockets = new Map(socketsOf(dials).map((path) => [path, placeOf(path)]));
    this.#owner = owner;
    this.#fd = fd;
    this.#pid = pid;
    this.#onRefused = onRefused;
  }

  /** What there is no doubt about from the first question on, or the first call of this. */
  get mode(): DiallingMode {
    return this.#mode ??= mayReadMemory(this.#pid() ?? 0) ? "asked" : "ports";
  }

  /** What was asked and has no answer yet. */
  get pending(): readonly Question[] {
    return [...this.#pending];
  }

  /** Answers a connect(2), a bind(2), or a sendto(2) with an address. */
  answer(question: Question, call: DiallingCall): void {
    const fd = this.#fd()!;
    // What may not be read is Landlock's to judge, by the port alone. It does not judge Unix sockets.
    if (this.mode === "ports") {
      return answerQuestion(fd, question.id, this.#sockets.size > 0 ? -EACCES : "continue");
    }
    const [at, length] = call === "sendto" ? [4, 5] : [1, 2];
    const address = this.#read(question, at, length);
    const asked = address && readAddress(address);
    const number = Number(question.args[0]! & 0x7fffffffn);
    const socket = lookAtSocket(question.tid, number);
    // What was read is of this process only if it waits still.
    if (!stillWaits(fd, question.id)) return;
    if (address === undefined) return answerQuestion(fd, question.id, -EFAULT);
    // The name resolver binds a port for its questions.
    if (call === "bind") {
      return answerQuestion(fd, question.id, bindFor(this.#pid()!, number, address));
    }
    const isUnix = asked?.kind === "unix";
    if (asked === undefined || isUnix && (call !== "connect" || this.#sockets.size === 0)) {
      return answerQuestion(fd, question.id, -EAFNOSUPPORT);
    }
    if (socket === undefined) return answerQuestion(fd, question.id, -ENOTSOCK);
    // As the kernel answers where an address is not of the socket's family.
    if (isUnix !== (socket.transport === "unix")) return answerQuestion(fd, question.id, -EINVAL);
    if (isUnix || socket.transport === "unix") {
      return this.#await(question, this.#connectUnix(question, asked as Unix, socket.blocking));
    }
    if (asked.kind === "none") {
      if (call !== "connect") return answerQuestion(fd, question.id, -EAFNOSUPPORT);
      return this.#connect(question, socket, undefined, true);
    }
    const go = (sends: boolean, to = address) =>
      call === "connect" ? this.#connect(question, socket, to, sends) : this.#send(question, to);
    const verdict = judgeDial(asked, {
      dials: this.#dials,
      transport: socket.transport,
      nameServers,
      known: (name) => nameTable.known(name),
    });
    if (verdict === "granted") return go(true);
    if (verdict === "route") return call === "connect" ? go(false) : this.#refuse(question, asked);
    if (verdict === "denied") return this.#refuse(question, asked);
    const found = (host?: string) =>
      go(true, host === undefined ? address : withHost(address, host)!);
    this.#await(question, this.#judgeByNames(question, asked, verdict.names, found));
  }

  #await(question: Question, answered: Promise<void>): void {
    this.#pending.add(question);
    void answered.finally(() => this.#pending.delete(question));
  }

  async #judgeByNames(
    question: Question,
    asked: Inet,
    names: readonly string[],
    go: (host?: string) => void,
  ): Promise<void> {
    let reason = `none of ${names.join(", ")} resolves to it`;
    let granted = false;
    try {
      granted = await nameTable.belongs(asked.host, names);
    } catch (error) {
      const [first] = error instanceof AggregateError ? error.errors : [error];
      reason = `${names.join(", ")} cannot be looked up: ${first.message}`;
    }
    const fd = this.#fd();
    if (fd === undefined || !stillWaits(fd, question.id)) return;
    if (granted) return go();
    const isIpv4 = !asked.host.includes(":");
    const other = nameTable.instead(names).find((host) => !host.includes(":") === isIpv4);
    if (other !== undefined) go(other);
    else this.#refuse(question, asked, reason, false);
  }

  async #connectUnix(question: Question, asked: Unix, blocking: boolean): Promise<void> {
    const host = `unix:${asked.path}`;
    const place = asked.isFile ? this.#sockets.get(normalize(asked.path)) : undefined;
    if (place === undefined && isOfCLibrary(asked.path)) {
      return answerQuestion(this.#fd()!, question.id, -ENOENT);
    }
    if (place === undefined) {
      // Deno's own layer takes a relative path for what it leads to.
      const isRelative = asked.isFile && !asked.path.startsWith("/");
      const reason = isRelative ? "it is not the whole path, as in net" : undefined;
      return this.#refuse(question, { host }, reason, !isRelative);
    }
    const owner = ownerOf(question.tid);
    if (!stillWaits(this.#fd()!, question.id)) return;
    let refused: string | undefined = "whose process it is cannot be seen";
    try {
      const outcome = owner && await this.#dialUnix(question, owner, place, blocking);
      if (outcome !== undefined) {
        const { fd, errno } = outcome;
        if (this.#fd() === undefined || !stillWaits(this.#fd()!, question.id)) {
          if (fd !== undefined) closeDescriptor(fd);
          return;
        }
        if (fd !== undefined && blocking) letBlock(fd);
        refused = refusalOf(outcome, owner!);
        if (refused === undefined) return this.#place(question, fd, errno);
      }
    } catch (error) {
      refused = (error as Error).message;
    }
    if (this.#fd() !== undefined) this.#refuse(question, { host }, refused, false);
  }

  /** Waits for a server whose queue is full where the process itself would. */
  async #dialUnix(
    { id }: Question,
    owner: Owner,
    place: string,
    blocking: boolean,
  ): Promise<UnixOutcome> {
    const endMs = performance.now() + QUEUE_MS;
    let outcome = await dialUnix(owner, place);
    if (outcome.errno !== EAGAIN || !blocking || this.#queued >= MAX_QUEUED) return outcome;
    this.#queued++;
    try {
      while (outcome.errno === EAGAIN && performance.now() < endMs) {
        await new Promise((resolve) => setTimeout(resolve, AGAIN_MS));
        const fd = this.#fd();
        if (fd === undefined || !stillWaits(fd, id)) return outcome;
        outcome = await dialUnix(owner, place);
      }
    } finally {
      this.#queued--;
    }
    return outcome.errno === EAGAIN ? { ...outcome, errno: ETIMEDOUT } : outcome;
  }

  #connect(
    question: Question,
    socket: InetSocket,
    address: Uint8Array<ArrayBuffer> | undefined,
    sends: boolean,
  ): void {
    const { fd, errno } = dial(socket, address, sends, this.#owner);
    this.#place(question, fd, errno);
  }

  /** Puts a socket in the place of the process's own, if there is one, and lets the process go on. */
  #place({ id, args }: Question, own: number | undefined, errno: number): void {
    const fd = this.#fd()!;
    let answer = -errno;
    if (own !== undefined) {
      if (!placeDescriptor(fd, id, own, Number(args[0]! & 0x7fffffffn))) answer = -EACCES;
      closeDescriptor(own);
    }
    answerQuestion(fd, id, answer);
  }

  #send(question: Question, address: Uint8Array<ArrayBuffer>): void {
    const fd = this.#fd()!;
    const { id, args } = question;
    const length = args[2]!;
    if (length > BigInt(MAX_DATA_BYTES)) return answerQuestion(fd, id, -EMSGSIZE);
    const data = length === 0n
      ? new Uint8Array()
      : readMemory(question.tid, args[1]!, Number(length));
    if (!stillWaits(fd, id)) return;
    if (data === undefined || BigInt(data.length) !== length) {
      return answerQuestion(fd, id, -EFAULT);
    }
    answerQuestion(fd, id, sendFor(this.#pid()!, Number(args[0]! & 0x7fffffffn), data, address));
  }

  #refuse(
    question: Question,
    { host, port }: Pick<RefusedDial, "host" | "port">,
    reason = NOT_IN_NET,
    alarming = true,
  ): void {
    answerQuestion(this.#fd()!, question.id, -EACCES);
    this.#onRefused({ host, ...port !== undefined && { port }, reason, alarming }, question);
  }

  #read(
    { tid, args }: Question,
    at: number,
    lengthAt: number,
  ): Uint8Array<ArrayBuffer> | undefined {
    const length = Number(args[lengthAt]! & 0xffffffffn);
    if (length === 0 || length > MAX_ADDRESS_BYTES) return undefined;
    const found = readMemory(tid, args[at]!, length);
    return found?.length === length ? found : undefined;
  }
}

/** Why what came of a Unix socket is no matter between the process and its server. */
function refusalOf({ errno, step }: UnixOutcome, { uid }: Owner): string | undefined {
  if (step === "own") return "this server itself listens there";
  if (step === "open" && errno === ELOOP) {
    return "a link leads there that was none when the process was started; reload to follow it";
  }
  if (errno !== EACCES) return undefined;
  return `uid ${uid} may not connect to it, by the modes of the socket and the folders above it`;
}

/** A path with its links followed; one of which they lead in a circle is none, which shows when it is opened. */
function placeOf(path: string): string {
  try {
    return realPlace(path);
  } catch {
    return path;
  }
}

/** They change while processes run. */
function nameServers(): string[] {
  try {
    return nameServersOf(Deno.readTextFileSync(RESOLV_CONF));
  } catch {
    return nameServersOf("");
  }
}
