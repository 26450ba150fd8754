/** The datagrams of sd_notify(3), with the clock for their times, and those of the journal. */
import { closeDescriptor } from "./descriptor.ts";
import { fail } from "./errno.ts";
import { loadLibc } from "./libc.ts";
import { messageHeader } from "./socket.ts";
import { sockets } from "./socket_calls.ts";

const AF_UNIX = 1;
const SOCK_DGRAM = 2;
const SOCK_CLOEXEC = 0o2000000;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
const SOL_SOCKET = 1;
const SO_SNDTIMEO = 21;
const CLOCK_MONOTONIC = 1;

/** How long a send may wait for a manager whose queue is full. */
const SEND_DEADLINE_MICROSECONDS = 200_000n;

const libc = loadLibc({
  sendmsg: { parameters: ["i32", "buffer", "i32"], result: "isize" },
  clock_gettime: { parameters: ["i32", "buffer"], result: "i32" },
});

/** The time of CLOCK_MONOTONIC, in microseconds: what a service manager compares with its own. */
export function monotonicMicroseconds(): bigint {
  const time = new BigInt64Array(2);
  if (libc.symbols.clock_gettime(CLOCK_MONOTONIC, new Uint8Array(time.buffer)) !== 0) {
    fail("read the clock");
  }
  return time[0]! * 1_000_000n + time[1]! / 1_000n;
}

/**
 * Sends one datagram to a Unix socket (unix(7)), and a descriptor with it. Linux only.
 *
 * @param address an absolute path, or `@name` of the abstract namespace
 * @param descriptor stays the caller's
 * @throws {Error} if no process receives it
 */
export function sendNotification(address: string, text: string, descriptor?: number): void {
  sendDatagram(address, new TextEncoder().encode(text), { descriptor, waits: true });
}

/**
 * Sends one datagram to a Unix socket (unix(7)), without waiting. Linux only.
 *
 * @param address as {@link sendNotification} takes it
 * @throws {Error} if no process receives it at once, or it is too long
 */
export function sendAtOnce(address: string, data: Uint8Array<ArrayBuffer>): void {
  sendDatagram(address, data, { waits: false });
}

function sendDatagram(
  address: string,
  data: Uint8Array<ArrayBuffer>,
  { descriptor, waits }: { descriptor?: number | undefined; waits: boolean },
): void {
  const socket = sockets.symbols.socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (socket < 0) fail("make a socket");
  try {
    const deadline = new Uint8Array(
      new BigInt64Array([0n, SEND_DEADLINE_MICROSECONDS]).buffer,
    );
    sockets.symbols.setsockopt(socket, SOL_SOCKET, SO_SNDTIMEO, deadline, deadline.length);
    const message = messageHeader(data, { descriptor, to: socketAddress(address) });
    const flags = MSG_NOSIGNAL | (waits ? 0 : MSG_DONTWAIT);
    if (libc.symbols.sendmsg(socket, message.header, flags) !== BigInt(data.length)) {
      fail(`send to ${address}`);
    }
    message.keep();
  } finally {
    closeDescriptor(socket);
  }
}

/** struct sockaddr_un; a name of the abstract namespace has no end but the length's. */
function socketAddress(address: string): Uint8Array<ArrayBuffer> {
  const path = new TextEncoder().encode(address);
  const abstract = address.startsWith("@");
  const bytes = new Uint8Array(2 + path.length + (abstract ? 0 : 1));
  new DataView(bytes.buffer).setUint16(0, AF_UNIX, true);
  bytes.set(path, 2);
  if (abstract) bytes[2] = 0;
  return bytes;
}
