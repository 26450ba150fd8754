/** Who listens where, as the kernel lists it (proc_pid_net(5)). */
import { dirname } from "node:path";
import type { BoundAddress } from "../../config/config.ts";
import { unlessAbsent } from "../../config/real_place.ts";
import type { AddressFacts } from "../../doctor/facts.ts";
import { readProc, readProcess } from "../../os/file.ts";
import { mayAccess } from "../../os/machine.ts";

/** Far more than a machine's. */
const MAX_BYTES = 16 * 2 ** 20;
const LISTENS = "0A";
/** In the list of Unix sockets, the flag of one that listens. */
const UNIX_LISTENS = "00010000";

interface TcpListener {
  readonly host: string;
  readonly port: number;
  readonly inode: string;
}

/** The listening sockets in a text of net/tcp or net/tcp6. */
export function parseListeners(text: string): TcpListener[] {
  return text.split("\n").slice(1).flatMap((row) => {
    const [, local = "", , state, , , , , , inode = ""] = row.trim().split(/\s+/);
    if (state !== LISTENS) return [];
    const [address = "", port = ""] = local.split(":");
    return [{ host: hostOf(address), port: parseInt(port, 16), inode }];
  });
}

/** Words of four bytes each, in this machine's order. */
function hostOf(address: string): string {
  const bytes = (address.match(/.{8}/g) ?? []).flatMap((word) =>
    word.match(/../g)!.reverse().map((byte) => parseInt(byte, 16))
  );
  if (bytes.length === 4) return bytes.join(".");
  const mapped = bytes.slice(0, 10).every((byte) => byte === 0) && bytes[10] === 255 &&
    bytes[11] === 255;
  if (mapped) return bytes.slice(12).join(".");
  const groups = Array.from(
    { length: 8 },
    (_, index) => (bytes[2 * index]! * 256 + bytes[2 * index + 1]!).toString(16),
  );
  return new URL(`http://[${groups.join(":")}]/`).hostname.slice(1, -1);
}

const ALL = ["0.0.0.0", "::"];

/** Whether one who listens there keeps another from binding. */
function conflicts(one: string, other: string): boolean {
  const [here, there] = [one, other].map((host) => host === "localhost" ? "127.0.0.1" : host);
  if (here === there) return true;
  if (here === "::" || there === "::") return true;
  return ALL.includes(here!) && !there!.includes(":") ||
    ALL.includes(there!) && !here!.includes(":");
}

/** Which process has a socket open, as far as this user may see. */
function ownerOf(inode: string): NonNullable<AddressFacts["user"]> {
  try {
    for (const { name: pid } of Deno.readDirSync("/proc")) {
      if (!/^\d+$/.test(pid) || !holds(pid, inode)) continue;
      return { pid: Number(pid), name: readProcess(Number(pid), "comm")?.trim() };
    }
  } catch {
    // Without the right to look it is somebody.
  }
  return {};
}

function holds(pid: string, inode: string): boolean {
  try {
    return [...Deno.readDirSync(`/proc/${pid}/fd`)].some(({ name }) => {
      try {
        return Deno.readLinkSync(`/proc/${pid}/fd/${name}`) === `socket:[${inode}]`;
      } catch {
        return false;
      }
    });
  } catch {
    return false;
  }
}

/** The addresses of this machine; nothing where they cannot be listed. */
function ownHosts(): ReadonlySet<string> | undefined {
  try {
    return new Set(Deno.networkInterfaces().map(({ address }) => address));
  } catch {
    return undefined;
  }
}

/** What is known of the addresses of a config. */
export function readAddresses(
  addresses: readonly BoundAddress[],
  own: {
    readonly listeners: readonly string[];
    readonly pids: readonly number[];
    /** Processes of a supervisor that was killed. */
    readonly left: readonly number[];
  },
): AddressFacts[] {
  const table = ["net/tcp", "net/tcp6"].flatMap((name) =>
    parseListeners(readProc(name, MAX_BYTES) ?? "")
  );
  const hosts = ownHosts();
  return addresses.map((each): AddressFacts => {
    const { text, kind } = each;
    if (each.kind === "unix") {
      const user = listensAt(each.path) ? {} : undefined;
      const isOwn = user !== undefined && own.listeners.includes(text);
      const place = lookAtPlace(each.path);
      const isLost = own.listeners.includes(text) && !place.isThere;
      const { isThere: _, ...facts } = place;
      return { text, kind, user, isOwn, isLost, ...facts };
    }
    const { host, port } = each;
    const found = table.find((other) => other.port === port && conflicts(host, other.host));
    const user = found && ownerOf(found.inode);
    const isOwn = found !== undefined && (own.listeners.includes(text) ||
      user?.pid !== undefined && own.pids.includes(user.pid));
    const isPlain = ALL.includes(host) || host === "localhost" || /^127\./.test(host);
    const isLocal = isPlain ? undefined : hosts?.has(host);
    const isLeft = user?.pid !== undefined && own.left.includes(user.pid);
    return { text, kind, port, user, isOwn, isLeft, isLocal };
  });
}

function listensAt(path: string): boolean {
  const rows = readProc("net/unix", MAX_BYTES)?.split("\n") ?? [];
  return rows.some((row) => row.includes(` ${UNIX_LISTENS} `) && row.endsWith(` ${path}`));
}

function lookAtPlace(
  path: string,
): Pick<AddressFacts, "inTheWay" | "folder"> & { readonly isThere: boolean } {
  const found = unlessAbsent(() => Deno.lstatSync(path)) as Partial<Deno.FileInfo>;
  const folder = dirname(path);
  const isFolder = unlessAbsent(() => Deno.statSync(folder)).isDirectory === true;
  return {
    isThere: found.mode !== undefined,
    inTheWay: found.mode !== undefined && found.isSocket !== true,
    folder: !isFolder ? "missing" : mayAccess(folder, "wx") ? "open" : "closed",
  };
}
