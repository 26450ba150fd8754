/**
 * What the seccomp programs answer, found by running them: every call, on both architectures, under every
 * policy, with arguments that make a difference.
 */
import { markdownTable } from "markdown-table";
import { ABSENT, ANY_CALLS, type AnyCall, anyNumberOf } from "../lib/sandbox/absent_calls.ts";
import { encodeProgram, type SeccompPolicy, seccompProgram } from "../lib/sandbox/seccomp.ts";
import { ALARMS, ALLOWED, type Arch, JUDGED, REFUSED } from "../lib/sandbox/system_calls.ts";
import { laterProgram } from "../lib/child/later_program.ts";
import type { CodePolicy } from "../lib/protocol/program_data.ts";
import {
  AUDIT_ARCH,
  describeAnswer,
  encodeCall,
  prepareProgram,
  stricterOf,
} from "../tests/harness/bpf.ts";

export const ARCHES: readonly Arch[] = ["x86_64", "aarch64"];

/** Every policy there can be. */
export const POLICIES: readonly SeccompPolicy[] = (["none", "tcp", "names"] as const).flatMap(
  (network) =>
    [false, true].flatMap((listens) =>
      [{ runs: false }, { runs: false, unix: true }, { runs: true }].flatMap((more) =>
        [false, true].map((lends): SeccompPolicy => ({ network, listens, lends, ...more }))
      )
    ),
);

/** Every policy of the later program. */
export const CODE_POLICIES: readonly CodePolicy[] = [false, true].flatMap((compiled) =>
  [false, true].map((libraries): CodePolicy => ({ compiled, libraries }))
);

const COMPILED: CodePolicy = { compiled: true, libraries: false };

/** The policies that are in use, in words, and those of the later program; a planner has none. */
export const COLUMNS: Readonly<Record<string, readonly [SeccompPolicy, CodePolicy?]>> = {
  "no `net`": [{ network: "none", listens: false, runs: false }, COMPILED],
  "Unix sockets": [
    { network: "none", unix: true, listens: false, runs: false },
    COMPILED,
  ],
  "HTTPS": [{ network: "none", listens: false, runs: false, lends: true }, COMPILED],
  "addresses": [{ network: "tcp", listens: false, runs: false }, COMPILED],
  "names": [
    { network: "names", listens: false, runs: false },
    { compiled: true, libraries: true },
  ],
  "`jitless`": [
    { network: "none", listens: false, runs: false },
    { compiled: false, libraries: false },
  ],
  "planner": [{ network: "names", listens: false, runs: true }],
};

/** One class of arguments each, for any call: of each argument its bounds, its high half, and flags. */
const GENERAL: readonly (readonly (number | bigint)[])[] = [
  [],
  [-1, -1, -1, -1, -1, -1],
  ...[0, 1, 2, 3, 4, 5].flatMap((at) =>
    [1n, 2n, 9n, 15n, 0x5401n, 0x10000n, 0x20000000n, 0x80000000n, 0xffffffffn, 1n << 32n]
      .map((value) => Array.from({ length: 6 }, (_, index) => index === at ? value : 0n))
  ),
];

/** Those that only some calls tell apart. */
const SPECIAL: Partial<Record<AnyCall, readonly (readonly number[])[]>> = {
  socket: [1, 2, 10, 16].flatMap((family) =>
    [1, 2, 3].flatMap((type) => [0, 6, 17, 262].map((protocol) => [family, type, protocol]))
  ),
  socketpair: [1, 2].flatMap((family) => [1, 2, 5].map((type) => [family, type, 0, 1])),
  setsockopt: [0, 1, 6, 41].flatMap((level) =>
    [1, 2, 9, 11, 13, 25].map((name) => [7, level, name])
  ),
  clone: [0x3d0f00, 0x01200011, 0x4111, 0x11, 0x10000200, 0x20200].map((flags) => [flags]),
  kill: [0, 9, 15].map((signal) => [1234, signal]),
  open: [[1, 0o100, 0o644], [1, 0o100, 0o4755], [1, 0, 0o4755]],
  openat: [[-100, 1, 0o100, 0o644], [-100, 1, 0o100, 0o4755], [-100, 1, 0, 0o4755]],
  creat: [[1, 0o644], [1, 0o4755]],
  mkdir: [[1, 0o755], [1, 0o2755]],
  mkdirat: [[-100, 1, 0o755], [-100, 1, 0o2755]],
  mmap: [[0, 4096, 3, 0x22], [0, 4096, 5, 0x22], [0, 4096, 5, 2], [0, 4096, 1, 2]],
  seccomp: [[1, 1], [1, 0], [1, 8], [1, 9], [0, 0], [2, 0], [3, 0]],
  prctl: [[0x53564d41], [0x59616d61], [22, 2]],
};

const encode = (classes: readonly (readonly (number | bigint)[])[]) =>
  classes.map((args) => encodeCall({ arch: 0, number: 0, args }));

const ENCODED = encode(GENERAL);

/**
 * Tells what a program answers: to a number with each class of arguments, without repetition.
 *
 * @param later what the later program lets become code, where it is to be there
 */
export function makeAsker(
  arch: Arch,
  policy: SeccompPolicy,
  audited: number = AUDIT_ARCH[arch],
  later?: CodePolicy,
) {
  // Of another architecture nothing is looked at.
  const general = audited === AUDIT_ARCH[arch] ? ENCODED : ENCODED.slice(0, 2);
  const first = prepareProgram(encodeProgram(seccompProgram(arch, policy)));
  const second = later && prepareProgram(encodeProgram(laterProgram(arch, later)));
  const run = (data: DataView) =>
    second === undefined ? first(data) : stricterOf(first(data), second(data));
  return (number: number, call?: AnyCall): string[] => {
    const classes = [...general, ...encode(call === undefined ? [] : SPECIAL[call] ?? [])];
    const answers = classes.map((data) => {
      data.setUint32(0, number, true);
      data.setUint32(4, audited, true);
      return run(data);
    });
    return [...new Set(answers)].map(describeAnswer).sort();
  };
}

/** What a worker's calls are for. Each call is in one of these, and all of one are answered alike. */
// deno-fmt-ignore
const PURPOSES: Readonly<Record<string, readonly AnyCall[]>> = {
  "Bytes of open files": ["read", "write", "readv", "writev", "pread64", "pwrite64", "preadv", "pwritev", "preadv2", "pwritev2", "lseek", "sendfile", "copy_file_range", "fsync", "fdatasync", "ftruncate", "fallocate", "fadvise64", "readahead", "flock", "close", "dup", "dup2", "dup3", "pipe2", "pipe"],
  "Files by name, for Landlock to rule": ["statx", "stat", "lstat", "fstat", "newfstatat", "faccessat2", "faccessat", "access", "readlinkat", "readlink", "getdents64", "getdents", "getcwd", "chdir", "fchdir", "umask", "statfs", "fstatfs", "renameat2", "renameat", "rename", "unlinkat", "unlink", "rmdir", "linkat", "link", "symlinkat", "symlink", "truncate"],
  "Making files": ["open", "openat", "creat", "mkdir", "mkdirat"],
  "The same, where libc has another way": ["openat2", "clone3"],
  "Memory, and files in it": ["mmap"],
  "Memory that becomes code": ["mprotect", "pkey_mprotect"],
  "Other memory": ["munmap", "mremap", "pkey_free", "madvise", "brk", "msync", "mlock", "munlock", "membarrier", "mseal"],
  "Threads and time to wait": ["futex", "rseq", "set_robust_list", "gettid", "sched_yield", "sched_get_priority_max", "sched_get_priority_min", "getcpu", "exit", "exit_group", "epoll_create1", "epoll_create", "epoll_ctl", "epoll_pwait", "epoll_pwait2", "epoll_wait", "ppoll", "poll", "pselect6", "select", "eventfd2", "eventfd", "timerfd_create", "timerfd_settime", "timerfd_gettime", "nanosleep", "wait4", "waitid"],
  "Signals of its own": ["rt_sigaction", "rt_sigprocmask", "rt_sigreturn", "rt_sigpending", "rt_sigsuspend", "rt_sigtimedwait", "sigaltstack", "pause", "restart_syscall"],
  "What it is, and what time it is": ["getpid", "getppid", "getpgrp", "getuid", "geteuid", "getgid", "getegid", "getresuid", "getresgid", "getgroups", "uname", "sysinfo", "getrusage", "getrlimit", "times", "getrandom", "gettimeofday", "time"],
  "Clocks, of its own": ["clock_gettime", "clock_getres", "clock_nanosleep"],
  "Connections that it has": ["accept4", "accept", "recvfrom", "recvmsg", "recvmmsg", "getsockname", "getpeername", "getsockopt"],
  "Sending, to an address or not": ["sendto"],
  "Sending messages": ["sendmsg", "sendmmsg"],
  "Closing half of a connection": ["shutdown"],
  "Options of a socket": ["setsockopt"],
  "What only a start needs": ["setresuid", "setresgid", "setgroups", "arch_prctl", "set_tid_address", "pkey_alloc", "close_range"],
  "One more program, on all threads": ["seccomp"],
  "A pair of sockets": ["socketpair"],
  "New sockets": ["socket"],
  "Dialling": ["connect"],
  "A local address": ["bind"],
  "Listening, which gets it a listener": ["listen"],
  "Programs": ["execve", "execveat"],
  "Threads; processes and namespaces": ["clone"],
  "Processes, by older calls": ["vfork"],
  "The same, never safe beside threads": ["fork"],
  "Signals to others: SIGKILL, and the rest": ["kill"],
  "Descriptors and devices, a list": ["ioctl", "fcntl"],
  "Properties of the process, a list": ["prctl"],
  "Its own limits, to look at": ["prlimit64"],
  "Its own priority, group, processors": ["setpriority", "getpriority", "getpgid", "getsid", "sched_setaffinity"],
  "Its own processors, to look at": ["sched_getaffinity", "sched_getattr"],
  "Its own scheduling, to look at": ["sched_getparam", "sched_getscheduler"],
  "Modes, as `copyFile` sets them": ["fchmod"],
  "Modes and times of files": ["chmod", "fchmodat", "fchmodat2", "utimensat"],
  "Owners and devices, older calls for times": ["chown", "fchown", "lchown", "fchownat", "utime", "utimes", "futimesat", "mknod", "mknodat"],
  "File watching, files in memory": ["inotify_init", "inotify_init1", "inotify_add_watch", "memfd_create"],
  "Signals to others, other ways": ["tkill", "tgkill", "rt_sigqueueinfo", "rt_tgsigqueueinfo", "pidfd_open", "pidfd_send_signal"],
  "Groups, limits, scheduling, filters": ["setpgid", "setsid", "setrlimit", "sched_setscheduler", "sched_setparam", "personality", "landlock_create_ruleset"],
  "What administers or looks into a machine": ["process_madvise", "process_mrelease", "kcmp", "memfd_secret", "quotactl", "quotactl_fd", "syslog", "clock_adjtime", "adjtimex", "lookup_dcookie", "nfsservctl", "name_to_handle_at", "fanotify_init", "fanotify_mark", "migrate_pages", "move_pages", "lsm_set_self_attr"],
  "Other processes' memory and descriptors": ["ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd"],
  "Mounts, namespaces": ["mount", "umount2", "pivot_root", "chroot", "open_tree", "open_tree_attr", "move_mount", "fsopen", "fsconfig", "fsmount", "fspick", "mount_setattr", "unshare", "setns", "open_by_handle_at"],
  "Parts of the kernel that exploits use": ["bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register", "add_key", "request_key", "keyctl", "modify_ldt"],
  "The machine": ["kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module", "reboot", "swapon", "swapoff", "acct", "iopl", "ioperm", "sethostname", "setdomainname", "settimeofday", "clock_settime", "vhangup"],
  "All other calls with a name": Object.keys(ABSENT) as AnyCall[],
};

const WORDS: Readonly<Record<string, string>> = {
  allow: "allowed",
  ask: "asked",
  success: "said to be done",
  "kill process": "killed",
};

function inWords(answers: readonly string[]): string {
  return answers.map((answer) => WORDS[answer] ?? answer).join(" or ");
}

/** By the first program, and by both. */
type Askers = Readonly<Record<Arch, readonly ReturnType<typeof makeAsker>[]>>;

/** The answers to a call, the same on every architecture that has it. */
function cellOf(call: AnyCall, askers: Askers): string {
  const cells = ARCHES.flatMap((arch) => {
    const number = anyNumberOf(call, arch);
    if (number === undefined) return [];
    const [first, both] = askers[arch].map((ask) => inWords(ask(number, call)));
    return [first === both ? first : `${first}, later ${both}`];
  });
  if (new Set(cells).size !== 1) throw new Error(`${call} is answered by ${cells}`);
  return cells[0]!;
}

/** How many numbers can pass at all. */
export function countAllowed(arch: Arch, policy: SeccompPolicy, later?: CodePolicy): number {
  const ask = makeAsker(arch, policy, AUDIT_ARCH[arch], later);
  return ANY_CALLS.filter((call) => {
    const number = anyNumberOf(call, arch);
    return number !== undefined && ask(number, call).includes("allow");
  }).length;
}

/** The section of the documentation, before it is formatted. */
export function filterTable(): string {
  const listed = Object.values(PURPOSES).flat();
  const faults = [
    ...ANY_CALLS.filter((call) => !listed.includes(call)).map((call) => `${call} is in no group`),
    ...listed.filter((call, index) => listed.indexOf(call) !== index),
  ];
  if (faults.length > 0) throw new Error(faults.join(", "));
  const policies = Object.values(COLUMNS);
  const askers = policies.map(([policy, later]): Askers => {
    const of = (arch: Arch) => [
      makeAsker(arch, policy),
      makeAsker(arch, policy, AUDIT_ARCH[arch], later),
    ];
    return { x86_64: of("x86_64"), aarch64: of("aarch64") };
  });
  const rows = Object.entries(PURPOSES).map(([purpose, calls]) => [
    purpose,
    ...askers.map((each) => {
      const cells = new Set(calls.map((call) => cellOf(call, each)));
      if (cells.size !== 1) throw new Error(`${purpose}: ${[...cells]}`);
      return [...cells][0]!;
    }),
  ]);
  const counts = ARCHES.map((arch) => [
    `Numbers that can pass on ${arch}`,
    ...policies.map(([policy, later]) => {
      const counts = [countAllowed(arch, policy), countAllowed(arch, policy, later)];
      return [...new Set(counts)].join(", later ");
    }),
  ]);
  const others = [
    ["Every other number", ...policies.map(() => "ENOSYS")],
    ["Another architecture, x32", ...policies.map(() => "killed")],
  ];
  const named = Object.entries(PURPOSES).map(([purpose, calls]) =>
    `- **${purpose}**: ${calls.map((call) => `\`${call}\``).join(", ")}.`
  );
  return [
    markdownTable([["calls", ...Object.keys(COLUMNS)], ...rows, ...others, ...counts]),
    "The calls by name, of which aarch64 lacks the oldest:",
    named.join("\n"),
  ].join("\n\n");
}

/** What is known of a call, by its table. */
export function groupOf(call: AnyCall): "allowed" | "judged" | "refused" | "alarm" | "absent" {
  if (call in ALLOWED) return "allowed";
  if (call in JUDGED) return "judged";
  if (call in REFUSED) return "refused";
  return call in ALARMS ? "alarm" : "absent";
}
