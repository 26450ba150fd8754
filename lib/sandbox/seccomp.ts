/**
 * The seccomp program of a worker as data: which system calls it may not make, and about which the
 * supervisor is asked. Pure; `lib/os/seccomp.ts` installs it. Source: seccomp(2), bpf(4), and the
 * kernel's system call tables.
 */

export type Arch = "x86_64" | "aarch64";

/** AUDIT_ARCH_* of linux/audit.h. */
const AUDIT_ARCH: Record<Arch, number> = { x86_64: 0xc000003e, aarch64: 0xc00000b7 };

/** Calls above this on x86_64 are the x32 ABI, which has numbers of its own. */
const X32_BIT = 0x40000000;

/**
 * The first number that this table does not know: what a newer kernel adds there is not there for a
 * worker, as on the older kernel.
 */
const FIRST_UNKNOWN = 463;

const EPERM = 1;
const ENOSYS = 38;

const RET_KILL_PROCESS = 0x80000000;
const RET_USER_NOTIF = 0x7fc00000;
const RET_ALLOW = 0x7fff0000;
const RET_ERRNO = 0x00050000;

const CLONE_THREAD = 0x00010000;
/** CLONE_NEWNS and every other namespace. */
const CLONE_NEW = 0x7e020000;

/** O_CREAT, and the bit that makes O_TMPFILE: else the mode of an open is what happens to be there. */
const O_CREATES = 0x400040;
/** S_ISUID and S_ISGID. */
const SET_ID = 0o6000;

const SIGKILL = 9;
const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_TYPE_MASK = 0xf;
const SOCK_STREAM = 1;
const SOCK_DGRAM = 2;
const SOCK_SEQPACKET = 5;
/** The default of the type, TCP, UDP. */
const PROTOCOLS = [0, 6, 17];
/** The others are a group and a user: 0 would be the supervisor's own. */
const PRIO_PROCESS = 0;
const SHUT_WR = 1;
const MSG_FASTOPEN = 0x20000000;
const SOL_SOCKET = 1;
const IPPROTO_IP = 0;
const IPPROTO_TCP = 6;
const IPPROTO_IPV6 = 41;

/**
 * Options by level that a server or a client sets: SO_REUSEADDR and SO_KEEPALIVE; TCP_NODELAY, the
 * three of TCP_KEEP* and TCP_USER_TIMEOUT; IPV6_V6ONLY; and IP_RECVERR and IPV6_RECVERR, without
 * which glibc's resolver gives up on every name server. A filter cannot tell a listener from a
 * connection: on a shared listener they would outlive the worker, and every connection inherit them.
 * So each of these is a number, and the supervisor sets it back (`lib/os/socket_options.ts`).
 */
export const SOCKET_OPTIONS: readonly [level: number, names: readonly number[]][] = [
  [SOL_SOCKET, [2, 9]],
  [IPPROTO_IP, [11]],
  [IPPROTO_TCP, [1, 4, 5, 6, 18]],
  [IPPROTO_IPV6, [25, 26]],
];

/** F_SETOWN, F_SETSIG, F_SETOWN_EX, F_SETLEASE, F_NOTIFY: signals to others by way of a descriptor. */
const FCNTL_REFUSED = [8, 10, 15, 1024, 1026];
/**
 * TCGETS and TIOCGWINSZ look at a terminal; FIONREAD, FIONBIO, FIOCLEX and FIONCLEX are about the
 * worker's own descriptors. Others change file systems, files that may only be read, and devices.
 */
const IOCTL_ALLOWED = [0x5401, 0x5413, 0x541b, 0x5421, 0x5450, 0x5451];
/** PR_SET_DUMPABLE, PR_SET_PTRACER, PR_SET_MM, PR_SET_CHILD_SUBREAPER. */
const PRCTL_REFUSED = [4, 0x59616d61, 35, 36];

/** Numbers on x86_64 and aarch64; a call that an architecture lacks is `undefined` there. */
const NUMBERS = {
  execve: [59, 221],
  execveat: [322, 281],
  fork: [57, undefined],
  vfork: [58, undefined],
  clone: [56, 220],
  clone3: [435, 435],
  kill: [62, 129],
  tkill: [200, 130],
  tgkill: [234, 131],
  rt_sigqueueinfo: [129, 138],
  rt_tgsigqueueinfo: [297, 240],
  pidfd_open: [434, 434],
  pidfd_send_signal: [424, 424],
  pidfd_getfd: [438, 438],
  socket: [41, 198],
  socketpair: [53, 199],
  bind: [49, 200],
  listen: [50, 201],
  connect: [42, 203],
  ptrace: [101, 117],
  process_vm_readv: [310, 270],
  process_vm_writev: [311, 271],
  process_madvise: [440, 440],
  process_mrelease: [448, 448],
  kcmp: [312, 272],
  bpf: [321, 280],
  perf_event_open: [298, 241],
  userfaultfd: [323, 282],
  io_uring_setup: [425, 425],
  io_uring_enter: [426, 426],
  io_uring_register: [427, 427],
  mount: [165, 40],
  umount2: [166, 39],
  pivot_root: [155, 41],
  chroot: [161, 51],
  open_tree: [428, 428],
  move_mount: [429, 429],
  fsopen: [430, 430],
  fsconfig: [431, 431],
  fsmount: [432, 432],
  fspick: [433, 433],
  mount_setattr: [442, 442],
  unshare: [272, 97],
  setns: [308, 268],
  add_key: [248, 217],
  request_key: [249, 218],
  keyctl: [250, 219],
  kexec_load: [246, 104],
  kexec_file_load: [320, 294],
  init_module: [175, 105],
  finit_module: [313, 273],
  delete_module: [176, 106],
  reboot: [169, 142],
  swapon: [167, 224],
  swapoff: [168, 225],
  acct: [163, 89],
  quotactl: [179, 60],
  syslog: [103, 116],
  sethostname: [170, 161],
  setdomainname: [171, 162],
  settimeofday: [164, 170],
  clock_settime: [227, 112],
  clock_adjtime: [305, 266],
  adjtimex: [159, 171],
  iopl: [172, undefined],
  ioperm: [173, undefined],
  modify_ldt: [154, undefined],
  personality: [135, 92],
  vhangup: [153, 58],
  name_to_handle_at: [303, 264],
  open_by_handle_at: [304, 265],
  fanotify_init: [300, 262],
  fanotify_mark: [301, 263],
  inotify_init: [253, undefined],
  inotify_init1: [294, 26],
  inotify_add_watch: [254, 27],
  shmget: [29, 194],
  shmat: [30, 196],
  shmctl: [31, 195],
  semget: [64, 190],
  semop: [65, 193],
  semtimedop: [220, 192],
  semctl: [66, 191],
  msgget: [68, 186],
  msgsnd: [69, 189],
  msgrcv: [70, 188],
  msgctl: [71, 187],
  mq_open: [240, 180],
  mq_unlink: [241, 181],
  seccomp: [317, 277],
  landlock_create_ruleset: [444, 444],
  memfd_create: [319, 279],
  memfd_secret: [447, 447],
  mknod: [133, undefined],
  mknodat: [259, 33],
  chown: [92, undefined],
  fchown: [93, 55],
  lchown: [94, undefined],
  fchownat: [260, 54],
  setxattr: [188, 5],
  lsetxattr: [189, 6],
  fsetxattr: [190, 7],
  removexattr: [197, 14],
  lremovexattr: [198, 15],
  fremovexattr: [199, 16],
  setpriority: [141, 140],
  sched_setaffinity: [203, 122],
  sched_setscheduler: [144, 119],
  sched_setparam: [142, 118],
  sched_setattr: [314, 274],
  ioprio_set: [251, 30],
  migrate_pages: [256, 238],
  move_pages: [279, 239],
  lookup_dcookie: [212, 18],
  nfsservctl: [180, 42],
  vmsplice: [278, 75],
  chmod: [90, undefined],
  fchmod: [91, 52],
  fchmodat: [268, 53],
  fchmodat2: [452, 452],
  utime: [132, undefined],
  utimes: [235, undefined],
  futimesat: [261, undefined],
  utimensat: [280, 88],
  prlimit64: [302, 261],
  setrlimit: [160, 164],
  setpgid: [109, 154],
  setsid: [112, 157],
  io_setup: [206, 0],
  statmount: [457, 457],
  listmount: [458, 458],
  lsm_set_self_attr: [460, 460],
  quotactl_fd: [443, 443],
  open: [2, undefined],
  openat: [257, 56],
  openat2: [437, 437],
  creat: [85, undefined],
  mkdir: [83, undefined],
  mkdirat: [258, 34],
  ioctl: [16, 29],
  fcntl: [72, 25],
  prctl: [157, 167],
  shutdown: [48, 210],
  sendto: [44, 206],
  sendmsg: [46, 211],
  sendmmsg: [307, 269],
  setsockopt: [54, 208],
} as const satisfies Record<string, readonly [number | undefined, number | undefined]>;

/** A system call that the table knows. */
export type SystemCall = keyof typeof NUMBERS;

/**
 * Calls about which the supervisor is asked: it lets its own through and nobody else's. Of its own
 * there is posix_spawn(3) alone. Never fork(3), which the C library calls with its locks held: whoever
 * answers would wait for them.
 */
export const ASKED: readonly SystemCall[] = [
  ...["execve", "execveat", "kill", "clone", "fork", "vfork"] as const,
];

/**
 * Calls that dial, of a process that may dial at all: the supervisor is asked about each that has an
 * address, and dials in its place (`lib/supervisor/dialling.ts`).
 */
export const DIALLING: readonly SystemCall[] = ["connect", "sendto"];

/** Calls that depend on their arguments, or are answered in a way of their own. */
const BY_ARGUMENT: readonly SystemCall[] = [
  ...["clone3", "socket", "connect", "bind", "prlimit64", "setpriority"] as const,
  "socketpair",
  ...["sched_setaffinity", "ioctl", "fcntl", "prctl", "shutdown", "sendto", "sendmsg"] as const,
  ...["sendmmsg", "setsockopt", "listen", "fchmod"] as const,
  ...["open", "openat", "openat2", "creat", "mkdir", "mkdirat"] as const,
];

/** Everything else in the table is refused. */
export const REFUSED: readonly SystemCall[] = (Object.keys(NUMBERS) as SystemCall[])
  .filter((call) => !ASKED.includes(call) && !BY_ARGUMENT.includes(call));

/** The number of a call, if the architecture has it. */
export function numberOf(call: SystemCall, arch: Arch): number | undefined {
  return NUMBERS[call][arch === "x86_64" ? 0 : 1];
}

/** One instruction of classic BPF: code, jump if true, jump if false, operand. */
export type Instruction = readonly [code: number, jt: number, jf: number, k: number];

const LOAD = 0x20;
const AND = 0x54;
const JUMP_EQUAL = 0x15;
const JUMP_AT_LEAST = 0x35;
const JUMP_SET = 0x45;
const RETURN = 0x06;

/** Where struct seccomp_data has what; of an argument, the low 32 bits. */
const AT_NUMBER = 0;
const AT_ARCH = 4;
const atArgument = (index: number) => 16 + 8 * index;
const atHighHalf = (index: number) => atArgument(index) + 4;

const answer = (errno: number): Instruction => [RETURN, 0, 0, RET_ERRNO | errno];
const REFUSE = answer(EPERM);
const ALLOW: Instruction = [RETURN, 0, 0, RET_ALLOW];
const ASK: Instruction = [RETURN, 0, 0, RET_USER_NOTIF];
const KILL: Instruction = [RETURN, 0, 0, RET_KILL_PROCESS];

/** Whether there is a program for an architecture: `Deno.build.arch` knows these two alone so far. */
export function hasProgram(arch: string): arch is Arch {
  return Object.hasOwn(AUDIT_ARCH, arch);
}

/** What a worker's program depends on. */
export interface SeccompPolicy {
  /** `none`: dials nobody. `tcp`: TCP alone. `names`: also UDP, since names must be looked up. */
  readonly network: "none" | "tcp" | "names";
  /**
   * Whether a listener is a Unix socket: on those the runtime calls listen(2) again. A TCP listener
   * is handed over listening, and no other socket may become one.
   */
  readonly listens: boolean;
  /** Whether it may run programs, those that Landlock lets it: the supervisor says yes to each. */
  readonly runs: boolean;
}

/** What a process needs besides that runs programs and writes files for others. */
const OF_RUNNING: readonly SystemCall[] = [
  ...["chmod", "fchmod", "fchmodat", "fchmodat2", "utimensat"] as const,
];

/**
 * The program for an architecture. It refuses with EPERM, so that an app fails where it asks for too
 * much; a program of another architecture, or of x32, is killed.
 */
export function seccompProgram(
  arch: Arch,
  { network, listens, runs }: SeccompPolicy,
): Instruction[] {
  /** `body` decides about `call`; every path of it returns. */
  function on(call: SystemCall, body: readonly Instruction[]): Instruction[] {
    const number = numberOf(call, arch);
    return number === undefined ? [] : [[JUMP_EQUAL, 0, body.length, number], ...body];
  }
  const load = (at: number): Instruction => [LOAD, 0, 0, at];
  const ifOneOf = (values: readonly number[], then: Instruction): Instruction[] =>
    values.flatMap((value): Instruction[] => [[JUMP_EQUAL, 0, 1, value], then]);
  const ifSet = (bits: number, then: Instruction): Instruction[] => [[JUMP_SET, 0, 1, bits], then];
  /** Refuses a mode with {@link SET_ID}; with `flags`, only where these say that something is made. */
  const withMode = (mode: number, flags?: number): Instruction[] => [
    ...flags === undefined
      ? []
      : [load(atArgument(flags)), [JUMP_SET, 0, 3, O_CREATES]] as Instruction[],
    load(atArgument(mode)),
    ...ifSet(SET_ID, REFUSE),
    ALLOW,
  ];
  const dial = network !== "none";
  // A planner fetches from anywhere, and runs nobody's code.
  const asked = runs ? ALLOW : ASK;
  // Their address is behind a pointer, where a program cannot look, and another thread may change it
  // while somebody does. Only a datagram needs one.
  const message = network === "names" && !runs ? REFUSE : ALLOW;
  const types = network === "names" ? [SOCK_STREAM, SOCK_DGRAM] : [SOCK_STREAM];
  return [
    load(AT_ARCH),
    [JUMP_EQUAL, 1, 0, AUDIT_ARCH[arch]],
    KILL,
    load(AT_NUMBER),
    ...arch === "x86_64" ? [[JUMP_AT_LEAST, 0, 1, X32_BIT], KILL] as Instruction[] : [],
    [JUMP_AT_LEAST, 0, 1, FIRST_UNKNOWN],
    answer(ENOSYS),
    // First, since every answer of a server goes through it.
    ...on("sendto", [
      load(atArgument(3)),
      ...ifSet(MSG_FASTOPEN, REFUSE),
      load(atArgument(4)),
      [JUMP_EQUAL, 0, 2, 0],
      load(atHighHalf(4)),
      [JUMP_EQUAL, 1, 0, 0],
      network === "names" ? asked : REFUSE,
      ALLOW,
    ]),
    // A thread is the process itself. The supervisor's spawner forks behind this program too, once.
    ...on("clone", [
      load(atArgument(0)),
      ...ifSet(CLONE_NEW, REFUSE),
      ...ifSet(CLONE_THREAD, ALLOW),
      runs ? ALLOW : ASK,
    ]),
    ...on("fork", [runs ? REFUSE : ASK]),
    ...on("vfork", [runs ? ALLOW : ASK]),
    // Its flags are behind a pointer, where a program cannot look: libc falls back to clone.
    ...on("clone3", [answer(ENOSYS)]),
    ...on("execve", [ASK]),
    ...on("execveat", [ASK]),
    // Deno kills the programs that it has run when it forgets them: that is no news of anybody.
    ...on("kill", [load(atArgument(1)), ...runs ? [] : ifOneOf([SIGKILL], ASK), REFUSE]),
    ...on(
      "socket",
      dial
        ? [
          load(atArgument(0)),
          [JUMP_EQUAL, 2, 0, AF_INET],
          [JUMP_EQUAL, 1, 0, AF_INET6],
          REFUSE,
          load(atArgument(1)),
          [AND, 0, 0, SOCK_TYPE_MASK],
          ...types.length > 1 ? [[JUMP_EQUAL, 2, 0, SOCK_DGRAM]] as Instruction[] : [],
          [JUMP_EQUAL, 1, 0, SOCK_STREAM],
          REFUSE,
          // Landlock rules the ports of TCP alone: MPTCP would dial any.
          load(atArgument(2)),
          ...ifOneOf(PROTOCOLS, ALLOW),
          REFUSE,
        ]
        : [REFUSE],
    ),
    // A datagram socket of a pair could send to any Unix socket that has a name.
    ...on("socketpair", [
      load(atArgument(1)),
      [AND, 0, 0, SOCK_TYPE_MASK],
      // The runtime starts a program with such a pair, by which it hears of a failed exec.
      ...ifOneOf(runs ? [SOCK_STREAM, SOCK_SEQPACKET] : [SOCK_STREAM], ALLOW),
      REFUSE,
    ]),
    ...on("connect", [dial ? asked : REFUSE]),
    // The name resolver binds a port for its questions; TCP is Landlock's to refuse.
    ...on("bind", [network === "names" ? ALLOW : REFUSE]),
    ...on("listen", [listens ? ALLOW : REFUSE]),
    ...on("sendmsg", [load(atArgument(2)), ...ifSet(MSG_FASTOPEN, REFUSE), message]),
    ...on("sendmmsg", [load(atArgument(3)), ...ifSet(MSG_FASTOPEN, REFUSE), message]),
    // Half of a connection, yes. Shutting down the other half of a listener ends it for everybody.
    ...on("shutdown", [load(atArgument(1)), ...ifOneOf([SHUT_WR], ALLOW), REFUSE]),
    ...on("setsockopt", [
      load(atArgument(1)),
      ...SOCKET_OPTIONS.flatMap(([level, names]): Instruction[] => {
        const body = [load(atArgument(2)), ...ifOneOf(names, ALLOW), REFUSE];
        return [[JUMP_EQUAL, 0, body.length, level], ...body];
      }),
      REFUSE,
    ]),
    // Its own, which 0 names; and of limits only to look at them.
    ...on("prlimit64", [
      load(atArgument(0)),
      [JUMP_EQUAL, 0, 5, 0],
      load(atArgument(2)),
      [JUMP_EQUAL, 0, 3, 0],
      load(atHighHalf(2)),
      [JUMP_EQUAL, 0, 1, 0],
      ALLOW,
      REFUSE,
    ]),
    ...on("setpriority", [
      load(atArgument(0)),
      [JUMP_EQUAL, 1, 0, PRIO_PROCESS],
      REFUSE,
      load(atArgument(1)),
      ...ifOneOf([0], ALLOW),
      REFUSE,
    ]),
    ...on("sched_setaffinity", [load(atArgument(0)), ...ifOneOf([0], ALLOW), REFUSE]),
    ...on("ioctl", [load(atArgument(1)), ...ifOneOf(IOCTL_ALLOWED, ALLOW), REFUSE]),
    ...on("fcntl", [load(atArgument(1)), ...ifOneOf(FCNTL_REFUSED, REFUSE), ALLOW]),
    ...on("prctl", [load(atArgument(0)), ...ifOneOf(PRCTL_REFUSED, REFUSE), ALLOW]),
    // A file that is made with these bits runs as its owner for whoever on this machine starts it.
    ...on("open", withMode(2, 1)),
    ...on("openat", withMode(3, 2)),
    // Its mode is behind a pointer, where a program cannot look: libc falls back to openat.
    ...on("openat2", [answer(ENOSYS)]),
    ...on("creat", withMode(1)),
    ...on("mkdir", withMode(1)),
    ...on("mkdirat", withMode(2)),
    // Deno.copyFile ends with it, and has the mode right by then. Said to be done and not done: a
    // file that may only be read would be changed for everybody else.
    ...on("fchmod", [runs ? ALLOW : answer(0)]),
    ...REFUSED.flatMap((call) => on(call, [runs && OF_RUNNING.includes(call) ? ALLOW : REFUSE])),
    ALLOW,
  ];
}

/** The program as the kernel reads it: an array of struct sock_filter. */
export function encodeProgram(program: readonly Instruction[]): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(program.length * 8);
  const view = new DataView(bytes.buffer);
  program.forEach(([code, jt, jf, k], index) => {
    view.setUint16(index * 8, code, true);
    view.setUint8(index * 8 + 2, jt);
    view.setUint8(index * 8 + 3, jf);
    view.setUint32(index * 8 + 4, k >>> 0, true);
  });
  return bytes;
}
