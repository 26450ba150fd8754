/**
 * Installs a seccomp program on the calling thread, for good, and speaks with the kernel about the
 * calls that the program asks about (seccomp(2), seccomp_unotify(2)).
 */
import { encodeProgram, type Instruction } from "../sandbox/seccomp.ts";
import { errno, fail } from "./errno.ts";
import { loadLibc } from "./libc.ts";

const SECCOMP = BigInt(Deno.build.arch === "aarch64" ? 277 : 317);
const SET_MODE_FILTER = 1n;
const FLAG_TSYNC = 1n;
const FLAG_NEW_LISTENER = 8n;
/** A call that {@link installOnAllThreads} makes fail, and an argument with which it changes nothing. */
const PERSONALITY = BigInt(Deno.build.arch === "aarch64" ? 92 : 135);
const AS_IT_IS = 0xffffffffn;
const ENOSYS = 38;
/** Who waits for an answer is not disturbed by a signal, but by one that kills. */
const FLAG_WAIT_KILLABLE_RECV = 32n;

const NOTIF_RECV = 0xc0502100n;
const NOTIF_SEND = 0xc0182101n;
const NOTIF_ID_VALID = 0x40082102n;
const NOTIF_ADDFD = 0x40182103n;
const FLAG_CONTINUE = 1;
const ADDFD_FLAG_SETFD = 1;
const O_CLOEXEC = 0o2000000;

const EINTR = 4;
const ENOENT = 2;

const libc = loadLibc({
  ioctl: { parameters: ["i32", "u64", "buffer"], result: "i32" },
  seccomp: { name: "syscall", parameters: ["i64", "u64", "u64", "buffer"], result: "i64" },
});

/**
 * Installs the program. no_new_privs comes first.
 *
 * @returns a descriptor that the questions come by; who holds it answers them
 * @throws {Error} if the kernel refuses
 */
export function installProgram(program: readonly Instruction[]): number {
  return install(program, FLAG_NEW_LISTENER | FLAG_WAIT_KILLABLE_RECV);
}

/**
 * Installs a program on every thread that this process has and will have, unless it has one: a program
 * stays over an exec. no_new_privs comes first, and goes to all threads with it.
 *
 * @throws {Error} if the kernel refuses
 */
export function installOnAllThreads(program: readonly Instruction[]): void {
  const found = libc.symbols.seccomp(PERSONALITY, AS_IT_IS, 0n, null);
  if (found === -1n && errno() === ENOSYS) return;
  const thread = install(program, FLAG_TSYNC);
  if (thread !== 0) {
    throw new Error(`Cannot install the seccomp program: thread ${thread} has another`);
  }
}

function install(program: readonly Instruction[], flag: bigint): number {
  const filter = encodeProgram(program);
  // struct sock_fprog: the length, six bytes of padding, the address.
  const header = new Uint8Array(16);
  const view = new DataView(header.buffer);
  view.setUint16(0, program.length, true);
  view.setBigUint64(8, BigInt(Deno.UnsafePointer.value(Deno.UnsafePointer.of(filter))), true);
  const fd = Number(libc.symbols.seccomp(SECCOMP, SET_MODE_FILTER, flag, header));
  if (fd < 0) fail("install the seccomp program");
  return fd;
}

/** A call that waits for an answer. */
export interface Question {
  readonly id: bigint;
  /** The thread that calls. */
  readonly tid: number;
  readonly number: number;
  /** Its arguments, as registers. */
  readonly args: readonly bigint[];
}

/**
 * Takes a question, of which poll(2) has said that it is there.
 *
 * @returns nothing if who asked was killed meanwhile, `"closed"` if there will be none any more
 */
export function takeQuestion(fd: number): Question | "closed" | undefined {
  const question = new Uint8Array(80);
  if (libc.symbols.ioctl(fd, NOTIF_RECV, question) !== 0) {
    return errno() === ENOENT || errno() === EINTR ? undefined : "closed";
  }
  const found = new DataView(question.buffer);
  return {
    id: found.getBigUint64(0, true),
    tid: found.getUint32(8, true),
    number: found.getInt32(16, true),
    args: [0, 1, 2, 3, 4, 5].map((index) => found.getBigUint64(32 + 8 * index, true)),
  };
}

/**
 * Whether who asked still waits: until it is asked, its number and its memory may be another's. What
 * was read of it before counts only then.
 */
export function stillWaits(fd: number, id: bigint): boolean {
  return libc.symbols.ioctl(fd, NOTIF_ID_VALID, bytesOf(BigUint64Array.of(id))) === 0;
}

/** Puts a descriptor of this process into the asker's table, in the place of `place`. */
export function placeDescriptor(fd: number, id: bigint, own: number, place: number): boolean {
  const request = new Uint8Array(24);
  const view = new DataView(request.buffer);
  view.setBigUint64(0, id, true);
  [ADDFD_FLAG_SETFD, own, place, O_CLOEXEC].forEach((word, index) =>
    view.setUint32(8 + 4 * index, word >>> 0, true)
  );
  return libc.symbols.ioctl(fd, NOTIF_ADDFD, request) >= 0;
}

/** Answers a question: the call goes on, or returns this, where an error's number is negative. */
export function answerQuestion(fd: number, id: bigint, answer: "continue" | number): void {
  const response = new Uint8Array(24);
  const view = new DataView(response.buffer);
  view.setBigUint64(0, id, true);
  if (answer === "continue") view.setUint32(20, FLAG_CONTINUE, true);
  else if (answer < 0) view.setInt32(16, answer, true);
  else view.setBigInt64(8, BigInt(answer), true);
  // It fails only if who asked is gone; then nobody waits for it.
  libc.symbols.ioctl(fd, NOTIF_SEND, response);
}

function bytesOf(words: BigUint64Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  return new Uint8Array(words.buffer);
}
