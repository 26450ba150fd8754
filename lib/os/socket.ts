/** Unix socket pairs, and descriptors sent over them (unix(7), sendmsg(2), SCM_RIGHTS). */
import { closeDescriptor } from "./descriptor.ts";
import { errno, fail } from "./errno.ts";
import { loadLibc } from "./libc.ts";

const AF_UNIX = 1;
const SOCK_STREAM = 1;
const SCM_RIGHTS = 1;
const LINUX = Deno.build.os === "linux";
const SOL_SOCKET = LINUX ? 1 : 0xffff;
const SOCK_CLOEXEC = LINUX ? 0o2000000 : 0;
const MSG_DONTWAIT = LINUX ? 0x40 : 0x80;
const MSG_NOSIGNAL = LINUX ? 0x4000 : 0x80000;

/** How many reads of unwanted input are discarded at once: more than the kernel keeps. */
const MAX_DISCARDS = 64;

const libc = loadLibc({
  socketpair: { parameters: ["i32", "i32", "i32", "buffer"], result: "i32" },
  sendmsg: { parameters: ["i32", "buffer", "i32"], result: "isize" },
  send: { parameters: ["i32", "buffer", "usize", "i32"], result: "isize" },
  recv: { parameters: ["i32", "buffer", "usize", "i32"], result: "isize" },
});

/**
 * Two connected sockets, closed on exec.
 *
 * @throws {Error} if the kernel refuses, as when there are too many descriptors
 */
export function socketPair(): [number, number] {
  const pair = new Int32Array(2);
  const bytes = new Uint8Array(pair.buffer);
  if (libc.symbols.socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, bytes) !== 0) {
    fail("make a pair of sockets");
  }
  return [pair[0]!, pair[1]!];
}

/**
 * Discards what the other end has sent, unread; the kernel closes descriptors in it, since no buffer for
 * them is given.
 */
export function discardInput(socket: number): void {
  const waste = new Uint8Array(64 * 1024);
  for (let left = MAX_DISCARDS; left > 0; left--) {
    if (libc.symbols.recv(socket, waste, BigInt(waste.length), MSG_DONTWAIT) <= 0n) break;
  }
}

/**
 * Sends one descriptor, and text with it, without ever waiting. What the other end has sent is discarded
 * first.
 *
 * @param descriptor stays the caller's
 * @throws {Error} if the other end is gone, or does not read
 */
export function sendDescriptor(socket: number, text: string, descriptor: number): void {
  discardInput(socket);
  const data = new TextEncoder().encode(text);
  const message = messageHeader(data, { descriptor });
  const sent = libc.symbols.sendmsg(socket, message.header, MSG_DONTWAIT | MSG_NOSIGNAL);
  message.keep();
  // A short one would tear the message: the other end cannot be told anything more.
  if (sent !== BigInt(data.length)) fail("send a descriptor");
}

const ETOOMANYREFS = 109;

/**
 * Whether this user may send descriptors still (unix(7)): it tries. Linux only; elsewhere, yes.
 */
export function maySendDescriptor(): boolean {
  let pair: number[] = [];
  try {
    pair = socketPair();
    sendDescriptor(pair[0]!, "x", pair[1]!);
    return true;
  } catch {
    // Too few descriptors are told elsewhere.
    return !LINUX || errno() !== ETOOMANYREFS;
  } finally {
    pair.forEach(closeDescriptor);
  }
}

/**
 * Sends bytes without ever waiting.
 *
 * @throws {Error} if the other end is gone, or does not read
 */
export function sendBytes(socket: number, bytes: Uint8Array<ArrayBuffer>): void {
  const flags = MSG_DONTWAIT | MSG_NOSIGNAL;
  if (libc.symbols.send(socket, bytes, BigInt(bytes.length), flags) !== BigInt(bytes.length)) {
    fail("send bytes");
  }
}

/**
 * Receives what is there, without ever waiting.
 *
 * @returns how many bytes; 0 or less where there is nothing, or will be nothing any more
 */
export function receiveBytes(socket: number, buffer: Uint8Array<ArrayBuffer>): number {
  return Number(libc.symbols.recv(socket, buffer, BigInt(buffer.length), MSG_DONTWAIT));
}

/** What goes with the data of a message. */
interface MessageOptions {
  readonly descriptor?: number | undefined;
  /** struct sockaddr of the receiver, where the socket is not connected. */
  readonly to?: Uint8Array<ArrayBuffer>;
}

/**
 * struct msghdr with one part; fields are wider on Linux.
 *
 * @returns the header, and what to call after the send: the header holds addresses, and what lies
 *   there must not be collected before
 */
export function messageHeader(
  data: Uint8Array<ArrayBuffer>,
  { descriptor, to }: MessageOptions,
): { readonly header: Uint8Array<ArrayBuffer>; keep(): void } {
  const part = new Uint8Array(
    new BigUint64Array([addressOf(data), BigInt(data.length)]).buffer,
  );
  const control = descriptor === undefined ? undefined : controlOf(descriptor);
  const header = new Uint8Array(LINUX ? 56 : 48);
  const view = new DataView(header.buffer);
  if (to) {
    view.setBigUint64(0, addressOf(to), true);
    view.setUint32(8, to.length, true);
  }
  view.setBigUint64(16, addressOf(part), true);
  view.setUint32(24, 1, true);
  if (control) {
    view.setBigUint64(32, addressOf(control), true);
    view.setUint32(40, control.length, true);
  }
  const held = [data, part, control, to];
  return { header, keep: () => void held.length };
}

/** struct cmsghdr and one descriptor, padded. */
function controlOf(descriptor: number) {
  const header = LINUX ? 16 : 12;
  const control = new Uint8Array(LINUX ? 24 : 16);
  const view = new DataView(control.buffer);
  view.setUint32(0, header + 4, true);
  view.setInt32(header - 8, SOL_SOCKET, true);
  view.setInt32(header - 4, SCM_RIGHTS, true);
  view.setInt32(header, descriptor, true);
  return control;
}

function addressOf(bytes: Uint8Array<ArrayBuffer>): bigint {
  return BigInt(Deno.UnsafePointer.value(Deno.UnsafePointer.of(bytes)));
}
