/** Descriptors of listeners: the system calls that Deno does not offer. */
import { errno, fail } from "./errno.ts";
import { loadLibc } from "./libc.ts";
import { readOption } from "./socket_calls.ts";

const libc = loadLibc({
  close: { parameters: ["i32"], result: "i32" },
  fcntl: { parameters: ["i32", "i32", "i32"], result: "i32" },
  closeRange: { name: "syscall", parameters: ["i64", "u64", "u64", "u64"], result: "i64" },
  listen: { parameters: ["i32", "i32"], result: "i32" },
  poll: { parameters: ["buffer", "u64", "i32"], result: "i32" },
});

/** Closes a descriptor that nobody took over (close(2)). */
export function closeDescriptor(fd: number): void {
  libc.symbols.close(fd);
}

const STDERR = 2;
const F_SETFD = 2;
const FD_CLOEXEC = 1;
const F_DUPFD_CLOEXEC = Deno.build.os === "linux" ? 1030 : 67;

/**
 * A descriptor of its own for what `fd` names, closed on exec (fcntl(2)).
 *
 * @param least its number is this or a higher one
 * @throws {Error} if there is no such descriptor, or there are too many
 */
export function duplicateDescriptor(fd: number, least = 3): number {
  const copy = libc.symbols.fcntl(fd, F_DUPFD_CLOEXEC, least);
  if (copy < 0) fail(`duplicate descriptor ${fd}`);
  return copy;
}

const EMFILE = 24;

/** Whether this process may open so many more descriptors: it tries. Linux only; elsewhere, yes. */
export function mayOpen(count: number): boolean {
  if (Deno.build.os !== "linux") return true;
  const copies: number[] = [];
  let few = false;
  while (copies.length < count && !few) {
    const copy = libc.symbols.fcntl(STDERR, F_DUPFD_CLOEXEC, 3);
    if (copy >= 0) copies.push(copy);
    else if (errno() === EMFILE) few = true;
    else break;
  }
  copies.forEach(closeDescriptor);
  return !few;
}

/**
 * Sets whether a descriptor is closed on exec (fcntl(2)).
 *
 * @throws {Error} if there is no such descriptor
 */
export function setCloseOnExec(fd: number, closes: boolean): void {
  if (libc.symbols.fcntl(fd, F_SETFD, closes ? FD_CLOEXEC : 0) !== 0) {
    fail(`set close-on-exec of descriptor ${fd}`);
  }
}

/**
 * Makes a bound socket listen (listen(2)) and closes the descriptor that named it.
 *
 * @param fd a duplicate, which is the caller's to give away
 * @returns whether it listens; the usual reason against is that another socket has its address
 */
export function startListening(fd: number, backlog: number): boolean {
  const listens = libc.symbols.listen(fd, backlog) === 0;
  closeDescriptor(fd);
  return listens;
}

const F_GETFL = 3;
const F_SETFL = 4;
const O_NONBLOCK = 0o4000;

/**
 * Has an accept on a listener never wait for a client, for whoever holds it (fcntl(2)). Linux only.
 *
 * @returns whether it would have waited
 */
export function makeNonBlocking(fd: number): boolean {
  if (Deno.build.os !== "linux") return false;
  const flags = libc.symbols.fcntl(fd, F_GETFL, 0);
  if (flags < 0 || (flags & O_NONBLOCK) !== 0) return false;
  return libc.symbols.fcntl(fd, F_SETFL, flags | O_NONBLOCK) === 0;
}

/** The same numbers on every architecture of Linux that has a wall. */
const SOL_SOCKET = 1;
const SO_ACCEPTCONN = 30;

/**
 * Looks whether a socket still listens (socket(7)), and closes the descriptor that named it. Linux
 * only; elsewhere the answer is yes.
 *
 * @param fd a duplicate, which is the caller's to give away
 */
export function isListening(fd: number): boolean {
  const listens = Deno.build.os !== "linux" || isListener(fd) !== false;
  closeDescriptor(fd);
  return listens;
}

/**
 * Whether a descriptor is of a socket that listens (socket(7)). Linux only.
 *
 * @returns nothing if it is of no socket
 */
export function isListener(fd: number): boolean | undefined {
  const value = readOption(fd, SOL_SOCKET, SO_ACCEPTCONN);
  return value && value[0] !== 0;
}

const IPPROTO_TCP = 6;
const TCP_INFO = 11;
/** In struct tcp_info of linux/tcp.h, by its numbers of 32 bits. */
const TCPI_UNACKED = 6;
const POLLIN = 1;

/**
 * How many connections wait on a listening socket to be accepted (tcp(7)), and closes the descriptor
 * that named it. Of a Unix socket the kernel says only whether any waits (poll(2)): 1, or 0. Linux
 * only; elsewhere the answer is 0.
 *
 * @param fd a duplicate, which is the caller's to give away
 */
export function countWaitingAndClose(fd: number): number {
  if (Deno.build.os !== "linux") {
    closeDescriptor(fd);
    return 0;
  }
  const info = readOption(fd, IPPROTO_TCP, TCP_INFO, TCPI_UNACKED + 1);
  const polled = new Int32Array([fd, POLLIN]);
  const waits = info === undefined && libc.symbols.poll(new Uint8Array(polled.buffer), 1n, 0) > 0;
  closeDescriptor(fd);
  return info?.[TCPI_UNACKED] ?? Number(waits);
}

/** By its number, the same on every architecture: glibc before 2.34 and musl have no function for it. */
const CLOSE_RANGE = 436n;
const CLOSE_RANGE_CLOEXEC = 4n;

/**
 * Marks every descriptor but the three standard ones as closed on exec
 * (close_range(2)): inherited ones must not reach a worker. Linux only; elsewhere
 * nothing happens.
 */
export function closeAllOnExec(): void {
  if (Deno.build.os !== "linux") return;
  libc.symbols.closeRange(CLOSE_RANGE, 3n, 0xffffffffn, CLOSE_RANGE_CLOEXEC);
}
