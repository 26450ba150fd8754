/**
 * Opens files without Deno's permissions: with the rights of the calling thread, which may be confined;
 * and files of proc(5), for which Deno requires all permissions.
 */
import { describeErrno, EACCES, errno, fail } from "./errno.ts";
import { loadLibc } from "./libc.ts";

const libc = loadLibc({
  open: { parameters: ["buffer", "i32"], result: "i32" },
  close: { parameters: ["i32"], result: "i32" },
  chmod: { parameters: ["buffer", "u32"], result: "i32" },
  read: { parameters: ["i32", "buffer", "usize"], result: "isize" },
  write: { parameters: ["i32", "buffer", "usize"], result: "isize" },
  symlink: { parameters: ["buffer", "buffer"], result: "i32" },
  mkdir: { parameters: ["buffer", "u32"], result: "i32" },
  fchmod: { parameters: ["i32", "u32"], result: "i32" },
  fchown: { parameters: ["i32", "u32", "u32"], result: "i32" },
  statx: { parameters: ["i32", "buffer", "i32", "u32", "buffer"], result: "i32" },
});

const O_RDONLY_CLOEXEC = 0o2000000;
const O_WRONLY_CLOEXEC = 0o2000001;
export const O_PATH_CLOEXEC = 0o12000000;
const O_NOFOLLOW = Deno.build.arch === "aarch64" ? 0o100000 : 0o400000;
const O_DIRECTORY = Deno.build.arch === "aarch64" ? 0o40000 : 0o200000;
const AT_EMPTY_PATH = 0x1000;

/** More than the files of proc(5) that are read here. */
const MAX_BYTES = 8192;

/** The size of `struct statx`, and where in it `stx_size` is: the same on every architecture. */
const STATX_BYTES = 256;
const STX_SIZE_AT = 40;
const STATX_SIZE = 0x200;
const STX_MODE_AT = 28;
const STATX_TYPE = 1;
const [S_IFMT, S_IFSOCK, S_IFDIR] = [0o170000, 0o140000, 0o040000];

function open(path: string, flags = O_RDONLY_CLOEXEC): number {
  return libc.symbols.open(asText(path), flags);
}

function asText(path: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(`${path}\0`);
}

/** Whether the calling thread can open a file. */
export function canOpen(path: string): boolean {
  const fd = open(path);
  if (fd >= 0) libc.symbols.close(fd);
  return fd >= 0;
}

/**
 * Whether the kernel forbids the calling thread to open a file, as Landlock does.
 *
 * @throws {Error} if it cannot be opened for another reason: that shows nothing
 */
export function isForbidden(path: string, how: "read" | "write"): boolean {
  const fd = open(path, how === "read" ? O_RDONLY_CLOEXEC : O_WRONLY_CLOEXEC);
  if (fd < 0) return errno() === EACCES || fail(`see that Landlock works, by ${path}`);
  libc.symbols.close(fd);
  return false;
}

/**
 * Opens a folder by which what lies in it can be found, and nothing else.
 *
 * @throws {Error} if the calling thread cannot
 */
export function openFolder(path: string): number {
  const fd = open(path, O_PATH_CLOEXEC);
  if (fd < 0) fail(`open ${path}`);
  return fd;
}

/**
 * Makes a symbolic link, for which Deno requires write permission everywhere.
 *
 * @throws {Error} if `path` exists, or the disk is full
 */
export function makeLink(target: string, path: string): void {
  if (libc.symbols.symlink(asText(target), asText(path)) === 0) return;
  fail(`make the link ${path}`);
}

/**
 * Gives the socket that lies at a path its mode. A name may lead elsewhere a moment later: so what is
 * open is looked at, and changed.
 *
 * @throws {Error} if something else lies there, such as a link
 */
export function setSocketMode(path: string, mode: number): void {
  if (Deno.build.os !== "linux") return Deno.chmodSync(path, mode);
  const fd = open(path, O_PATH_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) fail(`open ${path}`);
  try {
    if (typeOf(fd) !== S_IFSOCK) throw new Error("another file is in its place");
    // fchmod(2) takes no descriptor of this kind.
    if (libc.symbols.chmod(asText(`/proc/self/fd/${fd}`), mode) !== 0) fail(`chmod ${path}`);
  } finally {
    libc.symbols.close(fd);
  }
}

function typeOf(fd: number): number {
  const facts = new Uint8Array(STATX_BYTES);
  if (libc.symbols.statx(fd, asText(""), AT_EMPTY_PATH, STATX_TYPE, facts) !== 0) {
    fail("look at an open file");
  }
  return new DataView(facts.buffer).getUint16(STX_MODE_AT, true) & S_IFMT;
}

/** Whether what is open is a folder. */
export function isOpenFolder(fd: number): boolean {
  return typeOf(fd) === S_IFDIR;
}

/** What of a `struct statx` changes with a file: owner, mode, number and size; the times of changes. */
const [STX_UID_AT, STX_BLOCKS_AT, STX_CTIME_AT, STX_END_AT] = [20, 48, 96, 128];
const STATX_BASIC = 0x7ff;
const AT_SYMLINK_NOFOLLOW = 0x100;

/** Bytes that are others when a file was changed or replaced; nothing where there is none. */
export function stampOf(path: string): Uint8Array | undefined {
  const facts = new Uint8Array(STATX_BYTES);
  const text = asText(path);
  if (libc.symbols.statx(0, text, AT_SYMLINK_NOFOLLOW, STATX_BASIC, facts) !== 0) return undefined;
  const parts = [
    facts.subarray(STX_UID_AT, STX_BLOCKS_AT),
    facts.subarray(STX_CTIME_AT, STX_END_AT),
  ];
  return Uint8Array.from(parts.flatMap((part) => [...part]));
}

/** Whom a folder is to belong to, and its mode. */
export interface FolderOwner {
  readonly uid: number;
  readonly gid: number;
  readonly mode: number;
}

/**
 * Makes a folder that nobody else may enter, or hands it over at once. What is handed over is what is
 * open: what lies at its name may be another one a moment later.
 *
 * @throws {Error} with the kernel's reason
 */
export function makePrivateFolder(path: string, owner: FolderOwner | undefined): void {
  const must = (status: number) => {
    if (status < 0) throw new Error(describeErrno(errno()));
    return status;
  };
  must(libc.symbols.mkdir(asText(path), 0o700));
  if (owner === undefined) return;
  const fd = must(open(path, O_RDONLY_CLOEXEC | O_DIRECTORY | O_NOFOLLOW));
  try {
    must(libc.symbols.fchmod(fd, owner.mode));
    must(libc.symbols.fchown(fd, owner.uid, owner.gid));
  } finally {
    libc.symbols.close(fd);
  }
}

/** Whether the calling thread may enter a folder; what is no question of rights counts as yes. */
export function mayEnter(folder: string): boolean {
  const fd = open(`${folder}/.`, O_PATH_CLOEXEC);
  if (fd < 0) return errno() !== EACCES;
  libc.symbols.close(fd);
  return true;
}

/** More than the kernel takes for arguments and environment, whatever the limit of the stack is. */
const MAX_ARGUMENT_BYTES = 8 * 2 ** 20;

/** The arguments that a process was started with, all of them (proc_pid_cmdline(5)). */
export function readArguments(id: number): string[] {
  const text = readProc(`${id}/cmdline`, MAX_ARGUMENT_BYTES) ?? "";
  return text.split("\0").slice(0, -1);
}

/** Text of a process or a thread, such as `stat` or `status` (proc(5)); nothing if it is gone. */
export function readProcess(id: number, name: string): string | undefined {
  return readProc(`${id}/${name}`, MAX_BYTES);
}

/** Text of proc(5), up to a size; nothing if it cannot be read. */
export function readProc(name: string, maxBytes: number): string | undefined {
  return readText(`/proc/${name}`, maxBytes);
}

/** Text of a file, up to a size; nothing if it cannot be read. */
export function readText(path: string, maxBytes: number): string | undefined {
  const fd = open(path);
  if (fd < 0) return undefined;
  const bytes = new Uint8Array(maxBytes);
  let end = 0;
  let length: number;
  do {
    const rest = bytes.subarray(end);
    length = Number(libc.symbols.read(fd, rest, BigInt(rest.length)));
    end += Math.max(0, length);
  } while (length > 0 && end < maxBytes);
  libc.symbols.close(fd);
  return length < 0 ? undefined : new TextDecoder().decode(bytes.subarray(0, end));
}

/** The highest value of oom_score_adj in proc(5): the first to be killed. */
const MAX_OOM_SCORE = 1_000;

/**
 * Has the kernel kill a process before others when memory is short (proc_pid_oom_score_adj(5)).
 *
 * @param more is added to what it has inherited; the unit is a thousandth of the memory
 * @returns whether that was done; not where proc(5) hides the process, or it is gone
 */
export function raiseOomScore(pid: number, more: number): boolean {
  const inherited = readProcess(pid, "oom_score_adj");
  const fd = open(`/proc/${pid}/oom_score_adj`, O_WRONLY_CLOEXEC);
  if (inherited === undefined || fd < 0) return false;
  const text = `${Math.min(MAX_OOM_SCORE, Number(inherited) + more)}`;
  const written = libc.symbols.write(fd, asText(text), BigInt(text.length));
  libc.symbols.close(fd);
  return written === BigInt(text.length);
}

/** Identifies this boot of the machine (proc_sys_kernel(5)). */
export function readBootId(): string {
  return readProc("sys/kernel/random/boot_id", MAX_BYTES)?.trim() ?? "";
}

/**
 * How many descriptors a process has open: the size of its `fd` folder in proc(5), which the kernel
 * reports for any user's process since Linux 6.2. 0 if it does not, or the process is gone.
 */
export function countDescriptors(pid: number): number {
  if (Deno.build.os !== "linux") return 0;
  const stat = new Uint8Array(STATX_BYTES);
  const failed = libc.symbols.statx(0, asText(`/proc/${pid}/fd`), 0, STATX_SIZE, stat) !== 0;
  return failed ? 0 : Number(new DataView(stat.buffer).getBigUint64(STX_SIZE_AT, true));
}
