/** Ends connections of another process (pidfd_getfd(2), shutdown(2)). Linux only. */
import { closeDescriptor } from "./descriptor.ts";
import { EBADF, errno } from "./errno.ts";
import { loadLibc } from "./libc.ts";
import { copyDescriptor, openPid } from "./process.ts";
import { peerName } from "./socket_name.ts";

const SHUT_RDWR = 2;

/** How many numbers of descriptors are looked at in one go, and how many free ones in a row are the end. */
const MOST_LOOKED_AT = 4_096;
const FREE_IN_A_ROW = 512;

const libc = loadLibc({ shutdown: { parameters: ["i32", "i32"], result: "i32" } });

/** What the connections to end are told by: the address and the port of the other side. */
export type Peers = ReadonlySet<string>;

/**
 * Ends those of a process's TCP connections whose other side is in `peers`.
 *
 * @param from the descriptor to begin with
 * @returns the one to go on with, 0 when all were looked at; nothing if the kernel refuses, as for lack
 *   of CAP_SYS_PTRACE
 */
export function endConnections(pid: number, peers: Peers, from: number): number | undefined {
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
      if (peer?.kind === "tcp" && peers.has(`${peer.host} ${peer.port}`)) {
        libc.symbols.shutdown(copy, SHUT_RDWR);
      }
      closeDescriptor(copy);
    }
    return from + MOST_LOOKED_AT;
  } finally {
    closeDescriptor(pidfd);
  }
}
