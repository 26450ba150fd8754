/**
 * Dials in the place of another process: what it asked for is connected here, on a socket that it has
 * never had, and then put in the place of its own.
 */
import { closeDescriptor } from "./descriptor.ts";
import { EACCES, EPERM, errno } from "./errno.ts";
import { readProc } from "./file.ts";
import { loadLibc } from "./libc.ts";
import { copyDescriptor, openPid, type Owner } from "./process.ts";
import { readOption, sockets, writeOption } from "./socket_calls.ts";
import { textOf } from "./text.ts";

const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_STREAM = 1;
const SOCK_DGRAM = 2;
const CLOEXEC_NONBLOCK = 0o2004000;
const F_SETFL = 4;
const O_NONBLOCK = 0o4000;
const SOL_SOCKET = 1;
const SO_TYPE = 3;
const SO_DOMAIN = 39;
/** Below it, a port takes a right, unless the machine's administrator says otherwise. */
const FIRST_PORT = 1024;
const IP_RECVERR = [0, 11] as const;
const IPV6_RECVERR = [41, 25] as const;
const SHUT_WR = 1;
const MSG_DONTWAIT_NOSIGNAL = 0x4040;

/** Longer than the name of any protocol, and than what proc(5) says of a socket. */
const MAX_BYTES = 64;
const MAX_INFO_BYTES = 1024;

export const EMSGSIZE = 90;
export const ENOTSOCK = 88;
export const EAFNOSUPPORT = 97;
export const EINPROGRESS = 115;

const libc = loadLibc({
  bind: { parameters: ["i32", "buffer", "u32"], result: "i32" },
  fcntl: { parameters: ["i32", "i32", "i32"], result: "i32" },
  fchown: { parameters: ["i32", "u32", "u32"], result: "i32" },
  getxattr: { parameters: ["buffer", "buffer", "buffer", "usize"], result: "isize" },
  sendto: { parameters: ["i32", "buffer", "usize", "i32", "buffer", "u32"], result: "isize" },
});

/** What a descriptor of another process is. */
export type AskersSocket = Kind & { readonly blocking: boolean };

/** One of a network. */
export type InetSocket = Extract<AskersSocket, { family: number }>;

type Kind =
  | { readonly transport: "tcp" | "udp"; readonly family: 4 | 6 }
  | { readonly transport: "unix" };

const KINDS: Readonly<Record<string, Kind>> = {
  TCP: { transport: "tcp", family: 4 },
  TCPv6: { transport: "tcp", family: 6 },
  UDP: { transport: "udp", family: 4 },
  UDPv6: { transport: "udp", family: 6 },
  "UNIX-STREAM": { transport: "unix" },
  // Before Linux 5.15. No process behind a wall has one of another type.
  UNIX: { transport: "unix" },
};

/**
 * Looks what a descriptor of another thread is (proc(5)). It may be another one a moment later; that
 * harms its process alone, which gets a socket of this kind in its place.
 *
 * @returns nothing if it is no socket that dials, or the kernel does not say
 */
export function lookAtSocket(tid: number, fd: number): AskersSocket | undefined {
  const name = new Uint8Array(MAX_BYTES);
  const length = Number(libc.symbols.getxattr(
    textOf(`/proc/${tid}/fd/${fd}`),
    textOf("system.sockprotoname"),
    name,
    BigInt(name.length),
  ));
  if (length <= 0) return undefined;
  const kind = KINDS[new TextDecoder().decode(name.subarray(0, length)).replace(/\0.*/, "")];
  const info = readProc(`${tid}/fdinfo/${fd}`, MAX_INFO_BYTES) ?? "";
  const flags = info.match(/^flags:\s*([0-7]+)$/m)?.[1];
  if (kind === undefined || flags === undefined) return undefined;
  return { ...kind, blocking: (parseInt(flags, 8) & O_NONBLOCK) === 0 };
}

/** What came of dialling. */
export interface Outcome {
  /** A socket, the caller's to close; nothing where it could not be connected. */
  readonly fd: number | undefined;
  /** What the kernel's connect would say: 0, EINPROGRESS, or an error. */
  readonly errno: number;
}

/**
 * Makes such a socket and connects it, without ever waiting.
 *
 * @param address struct sockaddr; nothing for one that is not connected
 * @param sends whether it may send anything there
 * @param owner whose it is for a packet filter, which may tell users apart
 */
export function dial(
  { transport, family, blocking }: InetSocket,
  address: Uint8Array<ArrayBuffer> | undefined,
  sends: boolean,
  owner?: Owner,
): Outcome {
  const type = transport === "tcp" ? SOCK_STREAM : SOCK_DGRAM;
  const fd = sockets.symbols.socket(family === 4 ? AF_INET : AF_INET6, type | CLOEXEC_NONBLOCK, 0);
  if (fd < 0) return { fd: undefined, errno: errno() };
  // The C library's resolver has set it, and gives up on a name server without it.
  const [level, name] = family === 4 ? IP_RECVERR : IPV6_RECVERR;
  if (transport === "udp") writeOption(fd, level, name, 1);
  if (owner !== undefined) libc.symbols.fchown(fd, owner.uid, owner.gid);
  const failed = address !== undefined &&
    sockets.symbols.connect(fd, address, address.length) !== 0;
  const code = failed ? errno() : 0;
  if (failed && code !== EINPROGRESS) {
    closeDescriptor(fd);
    return { fd: undefined, errno: code };
  }
  if (!sends) sockets.symbols.shutdown(fd, SHUT_WR);
  // Who waits in connect(2) is let on at once: what it does next with the socket waits in its place,
  // and gets the error that there may be.
  if (blocking) letBlock(fd);
  return { fd, errno: blocking ? 0 : code };
}

/** Has a socket block that was made not to. */
export function letBlock(fd: number): void {
  libc.symbols.fcntl(fd, F_SETFL, 0);
}

/**
 * Sends a datagram by a socket of another process, without ever waiting.
 *
 * @returns how much was sent, or an error's number, negative
 */
export function sendFor(
  pid: number,
  fd: number,
  data: Uint8Array<ArrayBuffer>,
  address: Uint8Array<ArrayBuffer>,
): number {
  return withDatagrams(pid, fd, (copy) =>
    Number(libc.symbols.sendto(
      copy,
      data,
      BigInt(data.length),
      MSG_DONTWAIT_NOSIGNAL,
      address,
      address.length,
    )));
}

/**
 * Gives a socket of another process a local address: one for datagrams of a network, and no port that
 * takes a right which this process may have.
 *
 * @returns 0, or an error's number, negative
 */
export function bindFor(pid: number, fd: number, address: Uint8Array<ArrayBuffer>): number {
  const port = address.length < 4 ? 0 : address[2]! << 8 | address[3]!;
  if (port > 0 && port < FIRST_PORT) return -EACCES;
  return withDatagrams(pid, fd, (copy) => libc.symbols.bind(copy, address, address.length));
}

/** Does something with what another process has open, if that is a socket for datagrams of a network. */
function withDatagrams(pid: number, fd: number, act: (copy: number) => number): number {
  const pidfd = openPid(pid);
  const copy = pidfd < 0 ? -1 : copyDescriptor(pidfd, fd);
  if (pidfd >= 0) closeDescriptor(pidfd);
  if (copy < 0) return -EPERM;
  try {
    const [type, domain] = [SO_TYPE, SO_DOMAIN].map((name) => option(copy, name));
    if (type === undefined) return -ENOTSOCK;
    if (type !== SOCK_DGRAM || domain !== AF_INET && domain !== AF_INET6) return -EPERM;
    const result = act(copy);
    return result < 0 ? -errno() : result;
  } finally {
    closeDescriptor(copy);
  }
}

function option(fd: number, name: number): number | undefined {
  return readOption(fd, SOL_SOCKET, name)?.[0];
}
