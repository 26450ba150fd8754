/**
 * The seccomp program of a worker as data: which system calls it may make, and about which the
 * supervisor is asked. Pure; `lib/os/seccomp.ts` installs it. Source: seccomp(2), bpf(4).
 */
import { ALARMS, ALLOWED, type Arch, numberOf, REFUSED, type SystemCall } from "./system_calls.ts";

export { type Arch, numberOf, type SystemCall };

/** AUDIT_ARCH_* of linux/audit.h. */
export const AUDIT_ARCH: Record<Arch, number> = { x86_64: 0xc000003e, aarch64: 0xc00000b7 };

/** Calls above this on x86_64 are the x32 ABI, which has numbers of its own. */
const X32_BIT = 0x40000000;

const EPERM = 1;
const EINVAL = 22;
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
const AF_UNIX = 1;
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
/** MSG_FASTOPEN dials; MSG_OOB nobody uses, and Unix sockets have been broken into by it. */
const MSG_REFUSED = 0x20000001;
/** SECCOMP_SET_MODE_FILTER, and SECCOMP_FILTER_FLAG_TSYNC: a program more, for all threads. */
const [SET_MODE_FILTER, FLAG_TSYNC] = [1, 1];
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
/**
 * What libraries look at or set of their own process: names of threads and of memory (15, 16, the last
 * one), dumpable, seccomp, a capability, no_new_privs, huge pages, vectors, pointer tags, writable code.
 */
const PRCTL_ALLOWED = [3, 15, 16, 21, 23, 38, 39, 41, 42, 51, 55, 56, 64, 65, 66, 0x53564d41];
/** From here on, the clock of another process or of a device is meant. */
const CLOCKS_OF_OTHERS = 0x80000000;

/**
 * Calls about which the supervisor is asked: it lets its own through and nobody else's. Of its own
 * there is posix_spawn(3) alone. Never fork(3), which the C library calls with its locks held: whoever
 * answers would wait for them.
 */
export const ASKED: readonly SystemCall[] = [
  ...["execve", "execveat", "kill", "clone", "fork", "vfork"] as const,
  // Of a process that is lent listeners: it gets one for each time that it asks.
  "listen",
  ...Object.keys(ALARMS) as SystemCall[],
];

/**
 * Calls that dial, or get ready to, of a process that may: the supervisor is asked about each that has an
 * address, and dials or binds in its place (`lib/supervisor/dialling.ts`).
 */
export const DIALLING = ["connect", "sendto", "bind"] as const;
export type DiallingCall = (typeof DIALLING)[number];

/** Whether a call is one of {@link DIALLING}. */
export function isDialling(call: SystemCall): call is DiallingCall {
  return (DIALLING as readonly SystemCall[]).includes(call);
}

/** One instruction of classic BPF: code, jump if true, jump if false, operand. */
export type Instruction = readonly [code: number, jt: number, jf: number, k: number];

const LOAD = 0x20;
const AND = 0x54;
const JUMP_EQUAL = 0x15;
const JUMP_AT_LEAST = 0x35;
const JUMP_SET = 0x45;
const JUMP = 0x05;
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
const load = (at: number): Instruction => [LOAD, 0, 0, at];
const KILL: Instruction = [RETURN, 0, 0, RET_KILL_PROCESS];

/** What decides about a call, or about all numbers from one on: every path of it returns. */
type Body = readonly Instruction[];
type Section = [number: number, body: Body];
const ABSENT: Body = [answer(ENOSYS)];

/** Whether there is a program for an architecture: `Deno.build.arch` knows these two alone so far. */
export function hasProgram(arch: string): arch is Arch {
  return Object.hasOwn(AUDIT_ARCH, arch);
}

/** What a worker's program depends on. */
export interface SeccompPolicy {
  /** `none`: dials nobody. `tcp`: TCP alone. `names`: also UDP, since names must be looked up. */
  readonly network: "none" | "tcp" | "names";
  /**
   * Whether a listener is a Unix socket: on those the runtime calls listen(2) again, and is told that
   * it was done. Every listener is handed over listening, and no other socket may become one.
   */
  readonly listens: boolean;
  /** Whether it dials Unix sockets too: streams alone. */
  readonly unix?: boolean;
  /**
   * Whether the runtime itself ends TLS: it makes a socket, what it binds is not bound, and the
   * supervisor puts a listener of its own in the place of what is to listen.
   */
  readonly lends?: boolean;
  /** Whether it may run programs, those that Landlock lets it: the supervisor says yes to each. */
  readonly runs: boolean;
  /** Whether it changes modes of files; with {@link SeccompPolicy.runs} it does. */
  readonly setsModes?: boolean;
}

/** What a process needs besides that writes files for others, or empties a folder. */
const SETTING_MODES = ["chmod", "fchmodat", "fchmodat2", "utimensat"] as const;

/**
 * The program for an architecture. What it does not name is not there; a program of another
 * architecture, or of x32, is killed.
 */
export function seccompProgram(arch: Arch, policy: SeccompPolicy): Instruction[] {
  const alike = (calls: object, body: Body) =>
    (Object.keys(calls) as SystemCall[]).flatMap((call) => decide(arch, call, body));
  // The last one counts.
  const bodies = new Map<number, Body>([
    ...[...alike(ALLOWED, [ALLOW]), ...alike(REFUSED, [REFUSE]), ...alike(ALARMS, [ASK])],
    ...judged(arch, policy),
  ]);
  // From a number on, up to where the next one begins.
  const sections: Section[] = [[0, ABSENT]];
  const begin = (from: number, body: Body) => {
    if (sections.at(-1)![0] === from) sections.pop();
    if (sections.at(-1)?.[1] !== body) sections.push([from, body]);
  };
  for (const [number, body] of [...bodies].sort(([a], [b]) => a - b)) {
    begin(number, body);
    begin(number + 1, ABSENT);
  }
  if (arch === "x86_64") begin(X32_BIT, [KILL]);
  return [
    load(AT_ARCH),
    [JUMP_EQUAL, 1, 0, AUDIT_ARCH[arch]],
    KILL,
    load(AT_NUMBER),
    ...search(sections),
  ];
}

/**
 * Finds the section of a number by halves: each call walks as few instructions as the rarest. Where
 * numbers alone decide, Linux 5.11 and newer keeps the answer and does not run the program again.
 */
function search(sections: readonly Section[]): Instruction[] {
  if (sections.length === 1) return [...sections[0]![1]];
  const middle = sections.length >> 1;
  const [low, high] = [search(sections.slice(0, middle)), search(sections.slice(middle))];
  const from = sections[middle]![0];
  // A condition jumps over 255 instructions at most.
  const split: Instruction[] = low.length < 256
    ? [[JUMP_AT_LEAST, low.length, 0, from]]
    : [[JUMP_AT_LEAST, 0, 1, from], [JUMP, 0, 0, low.length]];
  return [...split, ...low, ...high];
}

function decide(arch: Arch, call: SystemCall, body: Body): Section[] {
  const number = numberOf(call, arch);
  return number === undefined ? [] : [[number, body]];
}

/** Calls that depend on their arguments, or on the policy, or are answered in a way of their own. */
function judged(
  arch: Arch,
  { network, unix, listens, lends, runs, ...more }: SeccompPolicy,
): Section[] {
  const on = (call: SystemCall, body: Body) => decide(arch, call, body);
  const ifOneOf = (values: readonly number[], then: Instruction): Instruction[] =>
    values.flatMap((value): Instruction[] => [[JUMP_EQUAL, 0, 1, value], then]);
  const ifSet = (bits: number, then: Instruction): Instruction[] => [[JUMP_SET, 0, 1, bits], then];
  const only = (index: number, values: readonly number[], otherwise = REFUSE): Instruction[] => [
    load(atArgument(index)),
    ...ifOneOf(values, ALLOW),
    otherwise,
  ];
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
  const setsModes = runs || more.setsModes === true;
  // A planner fetches from anywhere, and runs nobody's code.
  const asked = runs ? ALLOW : ASK;
  // Their address is behind a pointer, where a program cannot look, and another thread may change it
  // while somebody does. Only a datagram needs one.
  const message = network === "names" && !runs ? REFUSE : ALLOW;
  const types = network === "names" ? [SOCK_STREAM, SOCK_DGRAM] : [SOCK_STREAM];
  // A datagram socket could send to any Unix socket that has a name.
  const ofUnix: readonly Instruction[] = [
    [JUMP_EQUAL, 0, 5, AF_UNIX],
    load(atArgument(1)),
    [AND, 0, 0, SOCK_TYPE_MASK],
    [JUMP_EQUAL, 0, 1, SOCK_STREAM],
    ALLOW,
    REFUSE,
  ];
  return [
    ...on("sendto", [
      load(atArgument(3)),
      ...ifSet(MSG_REFUSED, REFUSE),
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
      ...ifSet(CLONE_NEW, ASK),
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
    ...on("socket", [
      ...dial || lends || unix ? [load(atArgument(0))] : [],
      ...unix ? ofUnix : [],
      ...dial || lends
        ? [
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
        ] as Instruction[]
        : [],
      REFUSE,
    ]),
    // A datagram socket of a pair could send to any Unix socket that has a name.
    ...on("socketpair", [
      load(atArgument(0)),
      [JUMP_EQUAL, 1, 0, AF_UNIX],
      REFUSE,
      load(atArgument(1)),
      [AND, 0, 0, SOCK_TYPE_MASK],
      // The runtime starts a program with such a pair, by which it hears of a failed exec.
      ...ifOneOf(runs ? [SOCK_STREAM, SOCK_SEQPACKET] : [SOCK_STREAM], ALLOW),
      REFUSE,
    ]),
    ...on("connect", [dial || unix ? asked : REFUSE]),
    // The name resolver binds a port for its questions; one goes out from an unbound socket too. One end of
    // a pair could take an abstract name.
    ...on("bind", [lends ? answer(0) : network === "names" ? asked : REFUSE]),
    // Never done: without a bind it would open a TCP port, and on a shared listener change its queue.
    ...on("listen", [lends ? ASK : listens ? answer(0) : REFUSE]),
    ...on("sendmsg", [load(atArgument(2)), ...ifSet(MSG_REFUSED, REFUSE), message]),
    ...on("sendmmsg", [load(atArgument(3)), ...ifSet(MSG_REFUSED, REFUSE), message]),
    // Half of a connection, yes. Shutting down the other half of a listener ends it for everybody.
    ...on("shutdown", only(1, [SHUT_WR])),
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
    // Another number, of a group, a user or a process, would show who else there is.
    ...(["setpriority", "getpriority"] as const).flatMap((call) =>
      on(call, [load(atArgument(0)), [JUMP_EQUAL, 1, 0, PRIO_PROCESS], REFUSE, ...only(1, [0])])
    ),
    ...(["getpgid", "getsid", "sched_setaffinity"] as const).flatMap((call) =>
      on(call, only(0, [0]))
    ),
    // The C library asks about its own threads by their numbers. V8 complains if it is told nothing:
    // 0 is SCHED_OTHER, which a worker cannot leave.
    ...(["sched_getparam", "sched_getscheduler"] as const)
      .flatMap((call) => on(call, only(0, [0], answer(0)))),
    ...(["sched_getaffinity", "sched_getattr"] as const)
      .flatMap((call) => on(call, only(0, [0], answer(ENOSYS)))),
    ...(["clock_gettime", "clock_getres", "clock_nanosleep"] as const).flatMap((call) =>
      on(call, [
        load(atArgument(0)),
        [JUMP_AT_LEAST, 0, 1, CLOCKS_OF_OTHERS],
        answer(EINVAL),
        ALLOW,
      ])
    ),
    // Programs add up, so that one more only takes away; none that could answer questions.
    ...on("seccomp", [
      load(atArgument(0)),
      [JUMP_EQUAL, 1, 0, SET_MODE_FILTER],
      REFUSE,
      ...only(1, [FLAG_TSYNC]),
    ]),
    ...on("ioctl", only(1, IOCTL_ALLOWED)),
    ...on("prctl", only(0, PRCTL_ALLOWED)),
    ...on("fcntl", [load(atArgument(1)), ...ifOneOf(FCNTL_REFUSED, REFUSE), ALLOW]),
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
    ...on("fchmod", [setsModes ? ALLOW : answer(0)]),
    ...setsModes ? SETTING_MODES.flatMap((call) => on(call, [ALLOW])) : [],
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
