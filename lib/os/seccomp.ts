/**
 * Installs a seccomp program on the calling thread, for good, and answers the kernel's notifications
 * about calls (seccomp(2), seccomp_unotify(2)).
 */
import { encodeProgram, type Instruction } from "../sandbox/seccomp.ts";
import { errno, fail } from "./errno.ts";
import { loadLibc } from "./libc.ts";

const SECCOMP = BigInt(Deno.build.arch === "aarch64" ? 277 : 317);
const SET_MODE_FILTER = 1n;
const FLAG_NEW_LISTENER = 8n;

const NOTIF_RECV = 0xc0502100n;
const NOTIF_SEND = 0xc0182101n;
const FLAG_CONTINUE = 1;
const EPERM = 1;

const POLLFD_BYTES = 8;
const POLLIN = 1;
const POLLHUP = 16;
const POLLNVAL = 32;
const EINTR = 4;
const ENOENT = 2;

const libc = loadLibc({
  close: { parameters: ["i32"], result: "i32" },
  ioctl: { parameters: ["i32", "u64", "buffer"], result: "i32" },
  poll: { parameters: ["buffer", "u64", "i32"], result: "i32", nonblocking: true },
  seccomp: { name: "syscall", parameters: ["i64", "u64", "u64", "buffer"], result: "i64" },
});

/**
 * Installs the program. no_new_privs comes first.
 *
 * @returns the descriptor that the notifications come from; its holder answers them
 * @throws {Error} if the kernel refuses
 */
export function installProgram(program: readonly Instruction[]): number {
  const filter = encodeProgram(program);
  // struct sock_fprog: the length, six bytes of padding, the address.
  const header = new Uint8Array(16);
  const view = new DataView(header.buffer);
  view.setUint16(0, program.length, true);
  view.setBigUint64(8, BigInt(Deno.UnsafePointer.value(Deno.UnsafePointer.of(filter))), true);
  const fd = Number(libc.symbols.seccomp(SECCOMP, SET_MODE_FILTER, FLAG_NEW_LISTENER, header));
  if (fd < 0) fail("install the seccomp program");
  return fd;
}

/** A call that waits for an answer. */
export interface Question {
  readonly id: bigint;
  /** The thread that calls. */
  readonly tid: number;
  readonly number: number;
  /** The first arguments, as registers. */
  readonly args: readonly bigint[];
}

/** A descriptor that is readable, or whose other end is closed. */
export interface Ready {
  readonly fd: number;
  readonly ended: boolean;
}

/**
 * Waits until one of several descriptors is readable (poll(2)), at most `timeoutMs`. It blocks one of
 * the runtime's threads meanwhile.
 *
 * @returns the readable ones; none if the time is over
 */
export async function waitForAny(fds: readonly number[], timeoutMs: number): Promise<Ready[]> {
  const view = new DataView(new ArrayBuffer(POLLFD_BYTES * fds.length));
  for (const [index, fd] of fds.entries()) {
    view.setInt32(POLLFD_BYTES * index, fd, true);
    view.setInt16(POLLFD_BYTES * index + 4, POLLIN, true);
  }
  await libc.symbols.poll(new Uint8Array(view.buffer), BigInt(fds.length), timeoutMs);
  return fds.flatMap((fd, index) => {
    const events = view.getInt16(POLLFD_BYTES * index + 6, true);
    if ((events & POLLIN) !== 0) return { fd, ended: false };
    return (events & (POLLHUP | POLLNVAL)) !== 0 ? { fd, ended: true } : [];
  });
}

/**
 * Receives a notification; {@link waitForAny} says when one is there.
 *
 * @returns nothing if the caller was killed meanwhile, `"closed"` if no more will come
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
    args: [0, 1, 2].map((index) => found.getBigUint64(32 + 8 * index, true)),
  };
}

/** Answers a notification: the call continues, or fails with EPERM. */
export function answerQuestion(fd: number, id: bigint, answer: "continue" | "refuse"): void {
  const response = new Uint8Array(24);
  const view = new DataView(response.buffer);
  view.setBigUint64(0, id, true);
  if (answer === "continue") view.setUint32(20, FLAG_CONTINUE, true);
  else view.setInt32(16, -EPERM, true);
  // It fails only if the caller is gone.
  libc.symbols.ioctl(fd, NOTIF_SEND, response);
}

/** Closes the descriptor: from then on the kernel answers such calls itself, with ENOSYS. */
export function closeQuestions(fd: number): void {
  libc.symbols.close(fd);
}
