/** Looks at connections of another process, and ends some (pidfd_getfd(2), tcp(7)). Linux only. */
import { closeDescriptor } from "./descriptor.ts";
import { EBADF, errno } from "./errno.ts";
import { loadLibc } from "./libc.ts";
import { copyDescriptor, openPid } from "./process.ts";
import { readOption, sockets } from "./socket_calls.ts";
import { peerName } from "./socket_name.ts";

const SHUT_RDWR = 2;
const [IPPROTO_TCP, TCP_INFO] = [6, 11];
/** In struct tcp_info of linux/tcp.h, the lower half of it by its numbers of 32 bits. */
const TCPI_BYTES_RECEIVED = 32;
const FIONREAD = 0x541bn;
const TO_NOWHERE = new Uint8Array(16);

/** How many numbers of descriptors are looked at in one go, and how many free ones in a row are the end. */
const MOST_LOOKED_AT = 4_096;
const FREE_IN_A_ROW = 512;

const libc = loadLibc({ ioctl: { parameters: ["i32", "u64", "buffer"], result: "i32" } });

/**
 * Calls `look` with a copy of each of a process's TCP connections, and the address and the port of its
 * other side; the copy is closed unless `look` says that it keeps it.
 *
 * @param from the descriptor to begin with
 * @returns the one to go on with, 0 when all were looked at; nothing if the kernel refuses, as for lack
 *   of CAP_SYS_PTRACE
 */
export function lookAtConnections(
  pid: number,
  from: number,
  look: (copy: number, peer: string) => boolean | void,
): number | undefined {
  const pidfd = openPid(pid);
  if (pidfd < 0) return 0;
  try {
    for (let fd = from, free = 0; fd < from + MOST_LOOKED_AT; fd++) {
      const copy = copyDescriptor(pidfd, fd);
      if (copy < 0 && errno() !== EBADF) return undefined;
      free = copy < 0 ? free + 1 : 0;
      if (free === FREE_IN_A_ROW) return 0;
      if (copy < 0) continue;
      const peer = peerName(copy);
      const keeps = peer?.kind === "tcp" && look(copy, `${peer.host} ${peer.port}`);
      if (!keeps) closeDescriptor(copy);
    }
    return from + MOST_LOOKED_AT;
  } finally {
    closeDescriptor(pidfd);
  }
}

/** Ends a connection, for whoever holds it, with or without what has come and was not read. */
export function endConnection(fd: number, unread: "kept" | "dropped"): void {
  if (unread === "kept") sockets.symbols.shutdown(fd, SHUT_RDWR);
  else sockets.symbols.connect(fd, TO_NOWHERE, TO_NOWHERE.length);
}

/** How many bytes were read from a TCP connection so far, by whoever holds it; modulo 2^32. */
export function bytesTaken(fd: number): number {
  const received = readOption(fd, IPPROTO_TCP, TCP_INFO, TCPI_BYTES_RECEIVED + 1)?.at(-1) ?? 0;
  // After that: what comes meanwhile must not count as read.
  const unread = new Int32Array(1);
  libc.symbols.ioctl(fd, FIONREAD, new Uint8Array(unread.buffer));
  return Math.max(0, (received >>> 0) - unread[0]!);
}
