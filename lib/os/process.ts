/** System calls on other processes, such as a worker. */
import { EBADF, EINVAL, errno, fail } from "./errno.ts";
import { closeDescriptor, isListener } from "./descriptor.ts";
import { readProcess } from "./file.ts";
import { loadLibc } from "./libc.ts";
import { textOf } from "./text.ts";
import type { Limit } from "../sandbox/limits.ts";

const PIDFD_OPEN = 434n;
const PIDFD_SEND_SIGNAL = 424n;
const PIDFD_GETFD = 438n;
const PIDFD_SIGNAL_PROCESS_GROUP = 4;
const SIGKILL = 9;
const CLONE_FS = 0x200;
const PR_SET_DUMPABLE = 4;
const TGKILL = Deno.build.arch === "aarch64" ? 131n : 234n;
const P_PID = 1;
const WNOHANG = 1;
const WEXITED = 4;
const WNOWAIT = 0x01000000;
const SIGINFO_BYTES = 128;
const SI_PID_AT = 16;

const libc = loadLibc({
  close: { parameters: ["i32"], result: "i32" },
  kill: { parameters: ["i32", "i32"], result: "i32" },
  getpgid: { parameters: ["i32"], result: "i32" },
  setpgid: { parameters: ["i32", "i32"], result: "i32" },
  waitid: { parameters: ["i32", "u32", "buffer", "i32"], result: "i32" },
  tgkill: { name: "syscall", parameters: ["i64", "i64", "i64", "i64"], result: "i64" },
  prlimit: { parameters: ["i32", "i32", "buffer", "buffer"], result: "i32" },
  getuid: { parameters: [], result: "u32" },
  getgid: { parameters: [], result: "u32" },
  setres: { name: "syscall", parameters: ["i64", "i64", "i64", "i64"], result: "i64" },
  prctl: { parameters: ["i32", "u64", "u64", "u64", "u64"], result: "i32" },
  unshare: { parameters: ["i32"], result: "i32" },
  umask: { parameters: ["u32"], result: "u32" },
  chdir: { parameters: ["buffer"], result: "i32" },
  pidfdOpen: { name: "syscall", parameters: ["i64", "i64", "u64"], result: "i64" },
  pidfdGetfd: { name: "syscall", parameters: ["i64", "i64", "i64", "u64"], result: "i64" },
  pidfdSignal: { name: "syscall", parameters: ["i64", "i64", "i64", "u64", "u64"], result: "i64" },
});

/** Hides this process's memory and /proc files from others of its user, and from core dumps. */
export function becomeUndumpable(): void {
  if (libc.symbols.prctl(PR_SET_DUMPABLE, 0n, 0n, 0n, 0n) !== 0) fail("become undumpable");
}

/**
 * The process group of a thread (getpgid(2)); nothing if it is gone, or in a pid namespace that this
 * process does not see. 0 is a group whose leader is outside of this namespace, as that of process 1
 * often is. This asks the kernel, not proc(5), which may hide processes.
 */
export function groupOf(tid: number): number | undefined {
  if (tid <= 0) return undefined;
  const group = libc.symbols.getpgid(tid);
  return group >= 0 ? group : undefined;
}

/** Whether a thread is one of this process: the signal 0 is never sent (tgkill(2)). */
export function isOwnThread(tid: number): boolean {
  return tid > 0 && libc.symbols.tgkill(TGKILL, BigInt(Deno.pid), BigInt(tid), 0n) === 0n;
}

/**
 * Whether a process is a child of this one, and whether it has ended (waitid(2)). It is not
 * reaped.
 */
export function childState(pid: number): "none" | "lives" | "ended" {
  if (pid <= 0) return "none";
  const info = new Uint8Array(SIGINFO_BYTES);
  const options = WEXITED | WNOHANG | WNOWAIT;
  if (libc.symbols.waitid(P_PID, pid, info, options) !== 0) return "none";
  return new DataView(info.buffer).getInt32(SI_PID_AT, true) === pid ? "ended" : "lives";
}

/**
 * Sets limits of another process (prlimit(2)). A limit above the hard one of this process is cut to
 * that, and one of descriptors to half of it: only root may raise it, and what was given to Holdfast is
 * for its workers too.
 *
 * @param owner the ids of that process, if they are not those of this one
 * @throws {Error} if the kernel refuses
 */
export function limitProcess(pid: number, limits: readonly Limit[], owner?: Owner): void {
  // The kernel lets a process limit another if their real ids are the same. CAP_SYS_RESOURCE would
  // do, too, but a container's root seldom has it; the raw calls change this thread alone.
  if (!owner) return setLimits(pid, limits);
  try {
    return setLimits(pid, limits);
  } catch {
    // As the process's user, then. For that moment this thread is open to signals of that user's.
  }
  const own = { uid: libc.symbols.getuid(), gid: libc.symbols.getgid() };
  try {
    setIds(owner, KEEP);
    setLimits(pid, limits);
  } finally {
    setIds(own, KEEP);
  }
}

/** The user and group of a process. */
export interface Owner {
  readonly uid: number;
  readonly gid: number;
}

const SET_RES = Deno.build.arch === "aarch64" ? { uid: 147n, gid: 149n } : { uid: 117n, gid: 119n };
const SET_FS = Deno.build.arch === "aarch64" ? { uid: 151n, gid: 152n } : { uid: 122n, gid: 123n };
const SET_GROUPS = Deno.build.arch === "aarch64" ? 159n : 116n;
const KEEP: Owner = { uid: -1, gid: -1 };
const ROOT: Owner = { uid: 0, gid: 0 };

/** Of this thread alone: the real ids, and the saved ones. The effective ones stay. */
function setIds(real: Owner, saved: Owner): void {
  const keep = -1n;
  if (
    libc.symbols.setres(SET_RES.gid, BigInt(real.gid), keep, BigInt(saved.gid)) !== 0n ||
    libc.symbols.setres(SET_RES.uid, BigInt(real.uid), keep, BigInt(saved.uid)) !== 0n
  ) fail(`take the ids ${real.uid} and ${real.gid}`);
}

/**
 * Has this thread alone, which is root's, belong to another user: it keeps root's rights, but for the
 * groups. What it starts may take these ids for good.
 *
 * @throws {Error} if the kernel refuses
 */
export function takeRealIds(owner: Owner): void {
  if (libc.symbols.setres(SET_GROUPS, 0n, 0n, 0n) !== 0n) fail("leave the groups");
  setIds(owner, owner);
}

/**
 * Has the calling thread, which is root's, come to files as another user does, for good (setfsuid(2)):
 * with none of root's rights and groups. To signals and to tracing it stays root's.
 *
 * @throws {Error} if the kernel refuses
 */
export function takeFileIds({ uid, gid }: Owner): void {
  const setres = libc.symbols.setres;
  if (setres(SET_GROUPS, 0n, 0n, 0n) !== 0n) fail("leave the groups");
  // Each returns what was set before, and says nothing of a failure.
  for (const [call, id] of [[SET_FS.gid, gid], [SET_FS.uid, uid]] as const) {
    setres(call, BigInt(id), 0n, 0n);
    if (Number(setres(call, -1n, 0n, 0n)) !== id) throw new Error(`Cannot take the id ${id}`);
  }
  // The change may have undone that.
  becomeUndumpable();
}

/**
 * Has this thread alone, which is root's, act as another user for good, with that user's rights and no
 * more. The real and the saved ids stay: so that user's processes can neither signal nor trace it.
 *
 * @throws {Error} if the kernel refuses
 */
export function takeEffectiveIds({ uid, gid }: Owner): void {
  const keep = -1n;
  if (
    libc.symbols.setres(SET_GROUPS, 0n, 0n, 0n) !== 0n ||
    libc.symbols.setres(SET_RES.gid, keep, BigInt(gid), keep) !== 0n ||
    libc.symbols.setres(SET_RES.uid, keep, BigInt(uid), keep) !== 0n
  ) fail(`act as the ids ${uid} and ${gid}`);
}

/**
 * Whose a thread is (proc_pid_status(5)).
 *
 * @returns nothing if it is gone, or is several users' at once, as none behind a wall is
 */
export function ownerOf(tid: number): Owner | undefined {
  const text = readProcess(tid, "status");
  const [uid, gid] = ["Uid", "Gid"].map((name) => {
    const ids = text?.match(new RegExp(`^${name}:\\s+(.*)$`, "m"))?.[1]?.split("\t") ?? [];
    return new Set(ids).size === 1 ? Number(ids[0]) : undefined;
  });
  return uid === undefined || gid === undefined ? undefined : { uid, gid };
}

/** Ends {@link takeRealIds}; the groups are gone. */
export function giveRealIdsBack(): void {
  setIds(ROOT, ROOT);
}

/**
 * Has the calling thread, and what it starts, work in a folder, which another user need not be able to
 * enter then.
 *
 * @param groupWrites whether the group may write what they make: the bits of umask(2) for it are cleared
 * @returns whether it can enter that
 */
export function enterAlone(folder: string, groupWrites: boolean): boolean {
  if (libc.symbols.unshare(CLONE_FS) !== 0) fail("have a working folder of its own");
  if (groupWrites) libc.symbols.umask(libc.symbols.umask(0o077) & ~0o070);
  return libc.symbols.chdir(textOf(folder)) === 0;
}

function setLimits(pid: number, limits: readonly Limit[]): void {
  for (const { resource, name, value } of limits) {
    const now = new BigUint64Array(2);
    const bytes = new Uint8Array(now.buffer);
    if (libc.symbols.prlimit(pid, resource, null, bytes) !== 0) fail(`read the limit ${name}`);
    // The kernel bounds by the sender's limit what all of a user have sent and nobody has received yet
    // (unix(7)): with a limit as high as the supervisor's a worker could leave nothing of that for it.
    const given = name === "descriptors" ? now[1]! / 2n : now[1]!;
    const least = BigInt(value) < given ? BigInt(value) : given;
    now.fill(least);
    if (libc.symbols.prlimit(pid, resource, bytes, null) !== 0) fail(`set the limit ${name}`);
  }
}

/** A descriptor that names a process for good (pidfd_open(2)); less than 0 if there is none. */
export function openPid(pid: number): number {
  return Number(libc.symbols.pidfdOpen(PIDFD_OPEN, BigInt(pid), 0n));
}

/** Kills a process, or what a flag says (pidfd_send_signal(2)). */
function kill(pidfd: number, flags = 0): boolean {
  const [fd, signal] = [BigInt(pidfd), BigInt(SIGKILL)];
  return libc.symbols.pidfdSignal(PIDFD_SEND_SIGNAL, fd, signal, 0n, BigInt(flags)) === 0n;
}

/** A process that leads a process group, with everything that it may fork. */
export class ProcessGroup {
  readonly #pid: number;
  readonly #pidfd: number;

  /**
   * Makes a child that has not called exec yet the leader of a new group (setpgid(2)).
   *
   * @param leads whether it leads one already
   * @throws {Error} if the kernel refuses
   */
  constructor(pid: number, leads = false) {
    if (!leads && libc.symbols.setpgid(pid, pid) !== 0) fail(`give process ${pid} its own group`);
    this.#pid = pid;
    // The descriptor keeps the number from meaning another process.
    this.#pidfd = openPid(pid);
    if (this.#pidfd < 0) fail(`open process ${pid}`);
  }

  /** Kills what is left of the group, and releases it. */
  end(): void {
    // Linux before 6.9 does not know the flag. The number is not yet another group's: it stays
    // taken while this one has members, and this is called as soon as its leader was reaped.
    if (!kill(this.#pidfd, PIDFD_SIGNAL_PROCESS_GROUP) && errno() === EINVAL) {
      libc.symbols.kill(-this.#pid, SIGKILL);
    }
    this.letGo();
  }

  /** Releases the group without killing it. */
  letGo(): void {
    libc.symbols.close(this.#pidfd);
  }
}

/** The state, and what comes after it in proc_pid_stat(5); the process chooses the text before it. */
function statOf(pid: number): string[] | undefined {
  const text = readProcess(pid, "stat");
  return text === undefined ? undefined : text.slice(text.lastIndexOf(")") + 2).split(" ");
}

/**
 * When a process started, in clock ticks since the machine did: together with the process id it identifies the process.
 *
 * @returns nothing if it is gone, or has ended and was not waited for
 */
export function startOf(pid: number): string | undefined {
  const stat = statOf(pid);
  return stat === undefined || stat[0] === "Z" || stat[0] === "X" ? undefined : stat[19];
}

/**
 * Kills a process, with the group that it leads: only the one that started then, never another with
 * the same process id.
 *
 * @param start as {@link startOf} said
 * @returns whether it was there to be killed
 * @throws {Error} if the kernel refuses
 */
export function killProcess(pid: number, start: string): boolean {
  const pidfd = openPid(pid);
  if (pidfd < 0) return false;
  try {
    // Checked after the pidfd is open: so it is the process with this start time.
    if (startOf(pid) !== start) return false;
    // Linux before 6.9 does not know the flag: there the process alone is killed.
    if (statOf(pid)?.[2] === String(pid)) kill(pidfd, PIDFD_SIGNAL_PROCESS_GROUP);
    if (!kill(pidfd) && startOf(pid) === start) fail(`kill process ${pid}`);
    return true;
  } finally {
    libc.symbols.close(pidfd);
  }
}

/** A copy of a descriptor of another process, by its pidfd (pidfd_getfd(2)); less than 0 if there is none. */
export function copyDescriptor(pidfd: number, fd: number): number {
  return Number(libc.symbols.pidfdGetfd(PIDFD_GETFD, BigInt(pidfd), BigInt(fd), 0n));
}

/**
 * Looks whether a process has a socket that listens, under whatever number.
 *
 * @returns nothing if the kernel does not say, as of another user's process, or of what a process has
 * sent and nobody has received
 */
export function holdsListener(pid: number): boolean | undefined {
  const pidfd = openPid(pid);
  if (pidfd < 0) return false;
  const [, most = "65536"] = readProcess(pid, "limits")?.match(/^Max open files +(\d+)/m) ?? [];
  let sent = false;
  try {
    for (let fd = 3; fd < Number(most); fd++) {
      const copy = copyDescriptor(pidfd, fd);
      if (copy < 0 && errno() !== EBADF) return undefined;
      if (copy < 0) continue;
      const listens = isListener(copy);
      closeDescriptor(copy);
      if (listens) return true;
      sent ||= listens === false &&
        /^scm_fds: [1-9]/m.test(readProcess(pid, `fdinfo/${fd}`) ?? "");
    }
    return sent ? undefined : false;
  } finally {
    libc.symbols.close(pidfd);
  }
}
