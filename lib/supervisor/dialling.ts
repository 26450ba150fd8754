/**
 * Dials in the place of what is behind a wall. The address is copied out of its memory, the copy is
 * judged, and what is connected is connected to the copy: nothing that the process changes meanwhile has
 * an effect.
 */
import { closeDescriptor } from "../os/descriptor.ts";
import {
  type AskersSocket,
  dial,
  EAFNOSUPPORT,
  EMSGSIZE,
  ENOTSOCK,
  lookAtSocket,
  sendFor,
} from "../os/dial.ts";
import { EACCES, EFAULT } from "../os/errno.ts";
import type { Owner } from "../os/process.ts";
import { mayReadMemory, readMemory } from "../os/process_memory.ts";
import { answerQuestion, placeDescriptor, type Question, stillWaits } from "../os/seccomp.ts";
import {
  type Asked,
  type Dialled,
  dialledOf,
  judgeDial,
  MAX_ADDRESS_BYTES,
  nameServersOf,
  readAddress,
  withHost,
} from "../sandbox/dialling.ts";
import { names as nameTable } from "./names.ts";

/** The longest datagram. */
const MAX_DATA_BYTES = 65_535;

/** More than any resolv.conf(5) that makes sense. */
const RESOLV_CONF = "/etc/resolv.conf";

/** Why most addresses are refused. */
export const NOT_IN_NET = "it is not in net";

/** An address that was refused. */
export interface RefusedDial {
  readonly host: string;
  readonly port: number;
  readonly reason: string;
  /** Whether only native code can have asked for it: Deno's own layer had refused it. */
  readonly alarming: boolean;
}

/** `asked`: each address is judged. `ports`: this process may not read the other's memory. */
export type DiallingMode = "asked" | "ports";

type Inet = Extract<Asked, { kind: "inet" }>;

/** Answers the questions of one process; each of its threads waits for one at the most. */
export class Dialling {
  readonly #dials: readonly Dialled[];
  readonly #owner: Owner | undefined;
  readonly #fd: () => number | undefined;
  readonly #pid: () => number | undefined;
  readonly #onRefused: (refused: RefusedDial, question: Question) => void;
  #mode: DiallingMode | undefined;

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
    this.#owner = owner;
    this.#fd = fd;
    this.#pid = pid;
    this.#onRefused = onRefused;
  }

  /** What there is no doubt about from the first question on, or the first call of this. */
  get mode(): DiallingMode {
    return this.#mode ??= mayReadMemory(this.#pid() ?? 0) ? "asked" : "ports";
  }

  /** Answers a connect(2), or a sendto(2) with an address. */
  answer(question: Question, call: "connect" | "sendto"): void {
    const fd = this.#fd()!;
    // What may not be read is Landlock's to judge, by the port alone.
    if (this.mode === "ports") return answerQuestion(fd, question.id, "continue");
    const [at, length] = call === "connect" ? [1, 2] : [4, 5];
    const address = this.#read(question, at, length);
    const asked = address && readAddress(address);
    const socket = lookAtSocket(question.tid, Number(question.args[0]! & 0x7fffffffn));
    // What was read is of this process only if it waits still.
    if (!stillWaits(fd, question.id)) return;
    if (address === undefined) return answerQuestion(fd, question.id, -EFAULT);
    if (asked === undefined) return answerQuestion(fd, question.id, -EAFNOSUPPORT);
    if (socket === undefined) return answerQuestion(fd, question.id, -ENOTSOCK);
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
    void this.#judgeByNames(
      question,
      asked,
      verdict.names,
      (host) => go(true, host === undefined ? address : withHost(address, host)!),
    );
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
    // A name server may give others to each who asks. What was granted is the name: where there is one
    // alone that can be meant, any address of it will do.
    const isIpv4 = !asked.host.includes(":");
    const other = names.length > 1
      ? undefined
      : nameTable.newest(names[0]!).find((host) => !host.includes(":") === isIpv4);
    if (other !== undefined) go(other);
    else this.#refuse(question, asked, reason, false);
  }

  #connect(
    { id, args }: Question,
    socket: AskersSocket,
    address: Uint8Array<ArrayBuffer> | undefined,
    sends: boolean,
  ): void {
    const fd = this.#fd()!;
    const place = Number(args[0]! & 0x7fffffffn);
    const { fd: own, errno } = dial(socket, address, sends, this.#owner);
    let answer = -errno;
    if (own !== undefined) {
      if (!placeDescriptor(fd, id, own, place)) answer = -EACCES;
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
    { host, port }: Inet,
    reason = NOT_IN_NET,
    alarming = true,
  ): void {
    answerQuestion(this.#fd()!, question.id, -EACCES);
    this.#onRefused({ host, port, reason, alarming }, question);
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

/** They change while processes run. */
function nameServers(): string[] {
  try {
    return nameServersOf(Deno.readTextFileSync(RESOLV_CONF));
  } catch {
    return nameServersOf("");
  }
}
