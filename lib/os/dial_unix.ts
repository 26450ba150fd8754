/** Connects to Unix sockets (unix(7)) with the rights of another process, and as that one. */
import { dropCapabilities } from "./capabilities.ts";
import { closeDescriptor } from "./descriptor.ts";
import { errno } from "./errno.ts";
import { O_PATH_CLOEXEC } from "./file.ts";
import { loadLibc } from "./libc.ts";
import { readOption, sockets } from "./socket_calls.ts";
import { textOf } from "./text.ts";
import { becomeUndumpable, type Owner, takeEffectiveIds } from "./process.ts";

const AF_UNIX = 1;
const STREAM_CLOEXEC_NONBLOCK = 0o2004001;
const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
const OPENAT2 = 437n;
const AT_FDCWD = -100n;
/** RESOLVE_NO_MAGICLINKS and RESOLVE_NO_SYMLINKS. */
const NO_LINKS = 6n;

const libc = loadLibc({
  getuid: { name: "geteuid", parameters: [], result: "u32" },
  getgid: { name: "getegid", parameters: [], result: "u32" },
  openat2: {
    name: "syscall",
    parameters: ["i64", "i64", "buffer", "buffer", "u64"],
    result: "i64",
  },
});

/** What came of it. */
export interface UnixOutcome {
  /** A connected socket that does not block, the caller's to close; nothing where there is none. */
  readonly fd: number | undefined;
  readonly errno: number;
  /** How far it came; `own` is a socket on which this very process listens. */
  readonly step: "open" | "connect" | "own";
}

/**
 * Has the calling thread be who it connects for, as the kernel tells a server and as it judges the
 * path. There is no way back.
 *
 * @throws {Error} if the kernel refuses
 */
export function becomeDialler(owner: Owner): void {
  const own = libc.symbols.getuid() === owner.uid && libc.symbols.getgid() === owner.gid;
  if (!own) takeEffectiveIds(owner);
  // Root's powers would open what the process itself may not, one that is uid 0 as well.
  dropCapabilities([], false);
  // A change of ids may undo that, where the machine's administrator wants it so.
  becomeUndumpable();
}

/**
 * Connects, without ever waiting for the server. A path with a link in it is none: what is connected is
 * what is found by these very names.
 */
export function connectUnix(path: string): UnixOutcome {
  const how = new Uint8Array(new BigUint64Array([BigInt(O_PATH_CLOEXEC), 0n, NO_LINKS]).buffer);
  const place = Number(libc.symbols.openat2(OPENAT2, AT_FDCWD, textOf(path), how, 24n));
  if (place < 0) return { fd: undefined, errno: errno(), step: "open" };
  const fd = sockets.symbols.socket(AF_UNIX, STREAM_CLOEXEC_NONBLOCK, 0);
  // By the descriptor: what lies at the path may be another file by now.
  const address = Uint8Array.of(AF_UNIX, 0, ...textOf(`/proc/self/fd/${place}`));
  const failed = fd < 0 || sockets.symbols.connect(fd, address, address.length) !== 0;
  const code = failed ? errno() : 0;
  closeDescriptor(place);
  if (!failed && !isOwn(fd)) return { fd, errno: 0, step: "connect" };
  if (fd >= 0) closeDescriptor(fd);
  return { fd: undefined, errno: code, step: failed ? "connect" : "own" };
}

/** Whether this process has made the socket listen that it is connected to; also if that is not told. */
function isOwn(fd: number): boolean {
  const peer = readOption(fd, SOL_SOCKET, SO_PEERCRED, 3);
  return peer === undefined || peer[0] === Deno.pid;
}
