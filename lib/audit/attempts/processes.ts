/** Other processes, and the kernel itself. */
import { readFileSync, readlinkSync, writeFileSync } from "node:fs";
import { readFile } from "node:fs/promises";
import { getPriority, setPriority } from "node:os";
import process from "node:process";
import type { Attempt } from "../attempt.ts";
import {
  addressOf,
  type Argument,
  AT_FDCWD,
  call,
  type CallName,
  callNumber,
  groupOf,
  must,
  reaches,
  readNatively,
  Refused,
} from "../native.ts";
import { inWebWorker } from "./web_worker.ts";

/** An address where nothing can be. */
const NOWHERE = 1n;

const SIGKILL = 9;
const SIGTERM = 15;
const SIGSTOP = 19;

const SOL_SOCKET = 1;

/** Where every process has its channel to the supervisor, which is a socket. */
const CHANNEL = 4;

type More = Partial<Attempt>;

/** An attempt that both layers stop. */
function stopped(id: string, title: string, run: Attempt["run"], more: More = {}): Attempt {
  return {
    ...{ id, area: "process", title, deno: "stops", kernel: "stops", proof: "claim" },
    ...more,
    run,
  };
}

/** A system call that cannot work as it is made: it shows whether the kernel gets to look at it. */
function knock(
  id: string,
  title: string,
  name: CallName,
  args: readonly Argument[],
  more: More = {},
): Attempt {
  return stopped(id, title, () => reaches(name, ...args), { optional: true, ...more });
}

/** The same, of a call that the kernel answers to root alone. */
function knockAsRoot(id: string, title: string, name: CallName, args: readonly Argument[]) {
  return knock(id, title, name, args, { needs: "root" });
}

/** struct iovec for as many bytes as an address is long. */
function vector(address: bigint): Uint8Array<ArrayBuffer> {
  return new Uint8Array(new BigUint64Array([address, 8n]).buffer);
}

/** The descriptors of a pipe's ends, which every process may make: the one that reads, the one that writes. */
function pipe(): [number, number] {
  const pair = new Int32Array(2);
  must("pipe2", new Uint8Array(pair.buffer), 0);
  return [pair[0]!, pair[1]!];
}

/** Lets a pipe signal its owner that something can be read: SIGIO, unless another was chosen. */
async function signalByDescriptor(own: (fd: number) => unknown): Promise<never> {
  const [fd, other] = pipe();
  own(fd);
  const O_ASYNC = 0o20000;
  const F_SETFL = 4;
  must("fcntl", fd, F_SETFL, O_ASYNC);
  must("write", other, "x", 1);
  await new Promise((resolve) => setTimeout(resolve, 50));
  // Whoever keeps a signal back does so without a word; the canary alone can tell.
  throw new Refused("the signal was sent, and perhaps not delivered");
}

/** The listener that the supervisor handed over. */
function findListener(): number {
  const SO_ACCEPTCONN = 30;
  for (let fd = 3; fd < 256; fd++) {
    const answer = new Uint8Array(4);
    const length = new Uint8Array([4, 0, 0, 0]);
    if (call("getsockopt", fd, SOL_SOCKET, SO_ACCEPTCONN, answer, length).errno !== 0) continue;
    if (answer[0] === 1) return fd;
  }
  throw new Error("No listener is here");
}

/** What a process keeps on its stack; its environment is there. */
async function readStack(pid: number): Promise<Uint8Array> {
  const maps = await Deno.readTextFile(`/proc/${pid}/maps`);
  const [, start, end] = /^(\w+)-(\w+) .*\[stack\]$/m.exec(maps)!;
  using memory = await Deno.open(`/proc/${pid}/mem`);
  await memory.seek(BigInt(`0x${start}`), Deno.SeekMode.Start);
  const bytes = new Uint8Array(Number(BigInt(`0x${end}`) - BigInt(`0x${start}`)));
  const length = await memory.read(bytes);
  // Its secret is near the end, and a report is short.
  return bytes.subarray(Math.max(0, (length ?? 0) - 16_384), length ?? 0);
}

/** Signals by what Deno offers. */
const SIGNALS: readonly Attempt[] = [
  ...(["SIGTERM", "SIGKILL", "SIGSTOP"] as const).map((signal) =>
    stopped(
      `SP1.deno_${signal.slice(3).toLowerCase()}`,
      `Deno.kill of another process with ${signal}`,
      ({ canaryPid }) => Deno.kill(canaryPid, signal),
      { proof: "canary" },
    )
  ),
  stopped(
    "SP1.node",
    "process.kill of another process",
    ({ canaryPid }) => process.kill(canaryPid, "SIGTERM"),
    { proof: "canary" },
  ),
  stopped("SP1.underscore", "process._kill, which process.kill is made of", ({ canaryPid }) => {
    const { _kill } = process as unknown as { _kill(pid: number, signal: number): number };
    const errno = _kill(canaryPid, SIGTERM);
    if (errno < 0) throw new Refused(`errno ${-errno}`);
  }, { proof: "canary" }),
  stopped(
    "SP1.thread",
    "Deno.kill from a thread",
    ({ canaryPid }) => inWebWorker((pid: number) => Deno.kill(pid, "SIGTERM"), canaryPid),
    { proof: "canary" },
  ),
  stopped(
    "SP1.supervisor",
    "process.kill(supervisor, 0): may it be signalled?",
    ({ supervisorPid }) => process.kill(supervisorPid, 0),
  ),
  stopped(
    "SP8.kill",
    "process.kill(sibling, 0): may it be signalled?",
    ({ siblingPid }) => process.kill(siblingPid, 0),
  ),
  stopped(
    "SP1.everybody",
    "process.kill(-1, 0): may every process be signalled at once?",
    () => process.kill(-1, 0),
  ),
  stopped(
    "SP1.group",
    "process.kill(0, 0): may the whole process group be signalled?",
    () => process.kill(0, 0),
  ),
];

/** Signals by system calls. */
const NATIVE_SIGNALS: readonly Attempt[] = [
  ...([["term", SIGTERM], ["stop", SIGSTOP], ["kill", SIGKILL]] as const).map(([name, signal]) =>
    stopped(
      `SP1.native_${name}`,
      `kill(2) of another process with signal ${signal}`,
      ({ canaryPid }) => must("kill", canaryPid, signal),
      { proof: "canary" },
    )
  ),
  stopped(
    "SP1.native_supervisor",
    "kill(2) of the supervisor with signal 0",
    ({ supervisorPid }) => must("kill", supervisorPid, 0),
  ),
  stopped("SP8.native", "kill(2) of another worker with signal 0", ({ siblingPid }) => {
    return must("kill", siblingPid, 0);
  }),
  stopped("SP1.native_everybody", "kill(2) of everybody with signal 0", () => must("kill", -1, 0)),
  stopped(
    "SP1.forged_name",
    "kill(2) by a process whose name reads like a place in the supervisor's group",
    ({
      canaryPid,
      supervisorPid,
    }) => {
      const PR_SET_NAME = 15;
      const group = groupOf(supervisorPid);
      must("prctl", PR_SET_NAME, `) S 1 ${group} `);
      return must("kill", canaryPid, SIGKILL);
    },
    { proof: "canary", alone: true },
  ),
  stopped(
    "SP4.tkill",
    "tkill(2) of another process",
    ({ canaryPid }) => must("tkill", canaryPid, SIGKILL),
    { proof: "canary" },
  ),
  stopped(
    "SP4.tgkill",
    "tgkill(2) of another process",
    ({ canaryPid }) => must("tgkill", canaryPid, canaryPid, SIGKILL),
    { proof: "canary" },
  ),
  stopped("SP4.queue", "rt_sigqueueinfo(2) to another process", ({ canaryPid }) => {
    return must("rt_sigqueueinfo", canaryPid, SIGTERM, queuedSignal(SIGTERM));
  }, { proof: "canary" }),
  stopped("SP4.queue_thread", "rt_tgsigqueueinfo(2) to another process", ({ canaryPid }) => {
    return must("rt_tgsigqueueinfo", canaryPid, canaryPid, SIGTERM, queuedSignal(SIGTERM));
  }, { proof: "canary" }),
  stopped("SP4.pidfd", "pidfd_open(2) and pidfd_send_signal(2) to another process", ({
    canaryPid,
  }) => {
    const fd = must("pidfd_open", canaryPid, 0);
    return must("pidfd_send_signal", fd, SIGKILL, 0, 0);
  }, { proof: "canary" }),
  stopped("SP4.peer", "pidfd_send_signal(2) to the other end of the channel, with signal 0", () => {
    return must("pidfd_send_signal", peerOfChannel(), 0, 0, 0);
  }, { optional: true }),
  stopped("SP4.owner", "a descriptor that signals another process: F_SETSIG and F_SETOWN", ({
    canaryPid,
  }) =>
    signalByDescriptor((fd) => {
      must("fcntl", fd, /* F_SETSIG */ 10, SIGKILL);
      must("fcntl", fd, /* F_SETOWN */ 8, canaryPid);
    }), { proof: "canary" }),
  stopped("SP4.owner_thread", "a descriptor that signals another process: F_SETOWN_EX", ({
    canaryPid,
  }) =>
    signalByDescriptor((fd) => {
      const owner = new Uint8Array(new Int32Array([/* F_OWNER_PID */ 1, canaryPid]).buffer);
      must("fcntl", fd, /* F_SETOWN_EX */ 15, owner);
    }), { proof: "canary" }),
  // Sockets alone know these, and a process that serves can make none: so on one that it was given.
  ...([["owner_ioctl", 0x8901, "FIOSETOWN"], ["group_ioctl", 0x8902, "SIOCSPGRP"]] as const).map((
    [name, request, title],
  ) =>
    stopped(
      `SP4.${name}`,
      `a descriptor that signals another process: ioctl(${title})`,
      ({ canaryPid }) => {
        const own = (pid: number) =>
          must("ioctl", CHANNEL, request, new Uint8Array(new Int32Array([pid]).buffer));
        own(canaryPid);
        return own(0) === 0;
      },
      { alone: true },
    )
  ),
  stopped("SP3.self", "a storm of signals to itself", () => {
    for (let count = 0; count < 1000; count++) process.kill(process.pid, "SIGHUP");
    return true;
  }, { deno: "open", note: "Deno lets a process signal itself; a worker ignores what it can" }),
  knock(
    "SP4.pidfd_signal",
    "pidfd_send_signal(2) by a descriptor that it might have",
    ...[
      "pidfd_send_signal",
      [-1, 0, 0, 0],
    ] as const,
  ),
  knock("SP4.lease", "a lease, whose breaking signals: F_SETLEASE", "fcntl", [-1, 1024, 0]),
  knock("SP4.notify", "signals about changes of a folder: F_NOTIFY", "fcntl", [-1, 1026, 1]),
];

/** struct siginfo of a queued signal, as sigqueue(3) fills it in. */
function queuedSignal(signal: number): Uint8Array<ArrayBuffer> {
  const info = new Int32Array(32);
  const SI_QUEUE = -1;
  info.set([signal, 0, SI_QUEUE]);
  return new Uint8Array(info.buffer);
}

/** A descriptor of the process that made the other end of the channel. */
function peerOfChannel(): number {
  const SO_PEERPIDFD = 77;
  const fd = new Uint8Array(4);
  must("getsockopt", CHANNEL, SOL_SOCKET, SO_PEERPIDFD, fd, new Uint8Array([4, 0, 0, 0]));
  return new DataView(fd.buffer).getInt32(0, true);
}

/** Looking into other processes. */
const SPYING: readonly Attempt[] = [
  stopped("SP5.attach", "ptrace(2): attach to another process", ({ canaryPid }) => {
    return must("ptrace", /* PTRACE_ATTACH */ 16, canaryPid, 0, 0);
  }, { proof: "canary", alone: true }),
  stopped("SP5.seize", "ptrace(2): seize another worker", ({ siblingPid }) => {
    return must("ptrace", /* PTRACE_SEIZE */ 0x4206, siblingPid, 0, 0);
  }, { alone: true }),
  stopped("SP5.traceme", "ptrace(2): be traced by the supervisor", () => {
    return must("ptrace", /* PTRACE_TRACEME */ 0, 0, 0, 0);
  }, { alone: true }),
  ...(["canaryPid", "siblingPid", "supervisorPid"] as const).flatMap((whose) => {
    const name = whose.slice(0, -3);
    const who =
      { canary: "another process", sibling: "another worker", supervisor: "the supervisor" }[
        name as "canary" | "sibling" | "supervisor"
      ];
    return (["process_vm_readv", "process_vm_writev"] as const).map((each) =>
      stopped(
        `SP6.${each.slice(11)}_${name}`,
        `${each}(2) on ${who}`,
        (world) => {
          const bytes = new Uint8Array(8);
          // The remote address is nobody's: nothing is read or written.
          return reaches(each, world[whose], vector(addressOf(bytes)), 1, vector(NOWHERE), 1, 0);
        },
      )
    );
  }),
  stopped(
    "SP6.environ_deno",
    "Deno.readFile of another process's environment",
    ({ canaryPid }) => Deno.readFile(`/proc/${canaryPid}/environ`),
    { proof: "secret", note: "CVE-2024-34346" },
  ),
  stopped(
    "SP6.environ_node",
    "fs.readFileSync of another process's environment",
    ({ canaryPid }) => readFileSync(`/proc/${canaryPid}/environ`),
    { proof: "secret", note: "CVE-2024-34346" },
  ),
  stopped(
    "SP6.environ_promise",
    "fs/promises.readFile of another process's environment",
    ({ canaryPid }) => readFile(`/proc/${canaryPid}/environ`),
    { proof: "secret", note: "CVE-2024-34346" },
  ),
  stopped(
    "SP6.environ_task",
    "another process's environment by way of its thread",
    ({ canaryPid }) => Deno.readTextFile(`/proc/${canaryPid}/task/${canaryPid}/environ`),
    { proof: "secret" },
  ),
  stopped(
    "SP6.environ_thread",
    "another process's environment, from a thread",
    ({ canaryPid }) =>
      inWebWorker((pid: number) => Deno.readTextFile(`/proc/${pid}/environ`), canaryPid),
    { proof: "secret" },
  ),
  stopped(
    "SP6.environ_native",
    "open(2) of another process's environment",
    ({ canaryPid }) => readNatively(`/proc/${canaryPid}/environ`),
    { proof: "secret" },
  ),
  stopped("SP6.memory", "another process's memory by its /proc/PID/mem", ({ canaryPid }) => {
    return readStack(canaryPid);
  }, { proof: "secret" }),
  stopped(
    "SP6.memory_native",
    "open(2) of another process's memory for writing",
    ({ canaryPid }) => {
      const O_RDWR = 2;
      return must("openat", AT_FDCWD, `/proc/${canaryPid}/mem`, O_RDWR, 0);
    },
  ),
  ...(["maps", "auxv", "cmdline", "status", "environ"] as const).flatMap((name) => [
    stopped(
      `SP6.supervisor_${name}`,
      `the supervisor's /proc/PID/${name}`,
      ({ supervisorPid }) => Deno.readTextFileSync(`/proc/${supervisorPid}/${name}`),
      { optional: true },
    ),
    stopped(
      `SP8.sibling_${name}`,
      `another worker's /proc/PID/${name}`,
      ({ siblingPid }) => readFileSync(`/proc/${siblingPid}/${name}`, "latin1"),
    ),
  ]),
  ...(["exe", "cwd", "root", "fd/0", "fd/4", "ns/pid"] as const).map((name) =>
    stopped(
      `SP6.link_${name.replace("/", "_")}`,
      `where another worker's /proc/PID/${name} leads`,
      ({ siblingPid }) => readlinkSync(`/proc/${siblingPid}/${name}`),
    )
  ),
  stopped(
    "SP6.parent_fd",
    "where the supervisor's descriptors lead",
    ({ supervisorPid }) =>
      [...Deno.readDirSync(`/proc/${supervisorPid}/fd`)].map((each) => each.name),
    { optional: true },
  ),
  stopped("SP6.link_native", "readlink(2) of a descriptor of another worker", ({ siblingPid }) => {
    return must("readlinkat", AT_FDCWD, `/proc/${siblingPid}/fd/0`, new Uint8Array(256), 256);
  }),
  stopped("SP6.spawner", "where the descriptors of the supervisor's spawner thread lead", ({
    supervisorPid,
    supervisorThreads,
  }) => {
    const found: string[] = [];
    for (const thread of supervisorThreads) {
      const folder = `/proc/${supervisorPid}/task/${thread}`;
      const link = new Uint8Array(256);
      const { value } = call("readlinkat", AT_FDCWD, `${folder}/fd/0`, link, link.length);
      if (value > 0) found.push(new TextDecoder().decode(link.subarray(0, value)));
    }
    if (found.length === 0) throw new Refused("no thread of the supervisor is open to it");
    return found;
  }),
  stopped("SP7.getfd", "pidfd_getfd(2): take a descriptor of another worker", ({ siblingPid }) => {
    const fd = must("pidfd_open", siblingPid, 0);
    return must("pidfd_getfd", fd, 0, 0);
  }),
  stopped(
    "SP7.getfd_peer",
    "pidfd_getfd(2): take a descriptor of the supervisor, by the channel",
    () => {
      return must("pidfd_getfd", peerOfChannel(), 0, 0);
    },
    { optional: true },
  ),
  knock(
    "SP7.getfd_descriptor",
    "pidfd_getfd(2) by a descriptor that it might have",
    ...[
      "pidfd_getfd",
      [-1, 0, 0],
    ] as const,
  ),
  stopped("SP7.kcmp", "kcmp(2): compare with another process", ({ canaryPid }) => {
    return must("kcmp", Deno.pid, canaryPid, /* KCMP_VM */ 1, 0, 0);
  }, { optional: true }),
  knock("SP6.madvise", "process_madvise(2)", "process_madvise", [-1, NOWHERE, 1, 4, 0]),
  knock("SP6.mrelease", "process_mrelease(2)", "process_mrelease", [-1, 0]),
  stopped(
    "SP6.robust_list",
    "get_robust_list(2): an address inside of another process",
    ({ siblingPid }) => {
      const head = new Uint8Array(8);
      return must("get_robust_list", siblingPid, head, new Uint8Array(8));
    },
  ),
];

/** The clock of another process's processor time, as clock_getcpuclockid(3) names it. */
const clockOf = (pid: number) => ~pid << 3 | 2;

/** Who else there is, and what it does, by calls that take any process's number. */
const SEEING: readonly Attempt[] = [
  ...(["getpgid", "getsid", "sched_getscheduler"] as const).map((name) =>
    stopped(`SP12.${name}`, `${name}(2) of another process`, ({ canaryPid }) => {
      // 0, which a process gets about itself, may be the answer about anybody.
      const [there, nobody] = [canaryPid, 0x3fffffff].map((pid) => call(name, pid));
      if (there!.errno === nobody!.errno) throw new Refused(`errno ${nobody!.errno} about nobody`);
      return `value ${there!.value}`;
    })
  ),
  stopped("SP12.getpriority", "getpriority(2) of another process", ({ canaryPid }) => {
    return must("getpriority", /* PRIO_PROCESS */ 0, canaryPid);
  }),
  stopped("SP12.getpriority_user", "getpriority(2) of a whole user", () => {
    return must("getpriority", /* PRIO_USER */ 2, 0);
  }),
  stopped("SP12.affinity", "sched_getaffinity(2) of another process", ({ canaryPid }) => {
    return must("sched_getaffinity", canaryPid, 128, new Uint8Array(128));
  }),
  stopped("SP12.attributes", "sched_getattr(2) of another process", ({ canaryPid }) => {
    return must("sched_getattr", canaryPid, new Uint8Array(64), 64, 0) === 0;
  }),
  stopped("SP12.clock", "clock_gettime(2): another process's processor time", ({ canaryPid }) => {
    const { errno } = call("clock_gettime", clockOf(canaryPid), new Uint8Array(16));
    if (errno !== 0) throw new Refused(`errno ${errno}`);
    return true;
  }),
  stopped("SP12.io", "ioprio_get(2) of another process", ({ canaryPid }) => {
    return must("ioprio_get", /* IOPRIO_WHO_PROCESS */ 1, canaryPid) >= 0;
  }),
  stopped("SP12.capabilities", "capget(2) of another process", ({ canaryPid }) => {
    const header = new Uint8Array(new Uint32Array([0x20080522, canaryPid]).buffer);
    return must("capget", header, new Uint8Array(24)) === 0;
  }),
];

/** Changing how other processes run, or what this one is held to. */
const MEDDLING: readonly Attempt[] = [
  stopped("SP9.dumpable", "prctl(2): let others of the user look in", () => {
    return must("prctl", /* PR_SET_DUMPABLE */ 4, 1);
  }, { alone: true }),
  knock("SP9.ptracer", "prctl(2): name a process that may trace it", "prctl", [
    0x59616d61,
    0,
    0,
    0,
    0,
  ]),
  stopped("SP9.subreaper", "prctl(2): adopt orphans", () => {
    return must("prctl", /* PR_SET_CHILD_SUBREAPER */ 36, 1);
  }, { alone: true }),
  knock("SP9.map", "prctl(2): change its own memory map's facts", "prctl", [
    35,
    /* PR_SET_MM_MAP_SIZE */ 15,
    NOWHERE,
    0,
    0,
  ]),
  stopped("SP9.limit_other", "prlimit64(2): change a limit of another process", ({ canaryPid }) => {
    const limit = new Uint8Array(new BigUint64Array([64n, 64n]).buffer);
    return must("prlimit64", canaryPid, /* RLIMIT_NOFILE */ 7, limit, 0);
  }),
  stopped("SP9.limit_read", "prlimit64(2): read a limit of another worker", ({ siblingPid }) => {
    return must("prlimit64", siblingPid, /* RLIMIT_NOFILE */ 7, 0, new Uint8Array(16));
  }),
  ...(["prlimit64", "setrlimit"] as const).map((name) =>
    stopped(
      `SP9.limit_${name}`,
      `${name}(2): change its own limit of core files`,
      () => {
        const limit = new Uint8Array(new BigUint64Array([0n, 0n]).buffer);
        const RLIMIT_CORE = 4;
        return name === "setrlimit"
          ? must(name, RLIMIT_CORE, limit)
          : must(name, 0, RLIMIT_CORE, limit, 0);
      },
      { alone: true },
    )
  ),
  stopped("SP9.nice_node", "os.setPriority of another process", ({ canaryPid }) => {
    setPriority(canaryPid, 5);
    return getPriority(canaryPid);
  }),
  stopped("SP9.nice_read", "os.getPriority of another process", ({ canaryPid }) => {
    return getPriority(canaryPid);
  }),
  stopped("SP9.nice", "setpriority(2) of another process", ({ canaryPid }) => {
    return must("setpriority", 0, canaryPid, 19);
  }),
  stopped("SP9.nice_user", "setpriority(2) of every process of its user", () => {
    // Nobody else has this one.
    const uid = 1_999_999_937;
    must("setresuid", uid, uid, uid);
    const PRIO_USER = 2;
    return must("setpriority", PRIO_USER, 0, 19);
  }, { alone: true, needs: "root" }),
  stopped("SP9.affinity", "sched_setaffinity(2) of another process", ({ canaryPid }) => {
    return must("sched_setaffinity", canaryPid, 8, new Uint8Array(8).fill(255));
  }),
  stopped("SP9.scheduler", "sched_setscheduler(2) of another process", ({ canaryPid }) => {
    return must("sched_setscheduler", canaryPid, /* SCHED_BATCH */ 3, new Uint8Array(4));
  }),
  stopped("SP9.param", "sched_setparam(2) of another process", ({ canaryPid }) => {
    return must("sched_setparam", canaryPid, new Uint8Array(4));
  }),
  knock("SP9.attr", "sched_setattr(2)", "sched_setattr", [0, NOWHERE, 0]),
  stopped("SP9.ioprio", "ioprio_set(2) of another process", ({ canaryPid }) => {
    const IDLE = 3 << 13;
    return must("ioprio_set", /* IOPRIO_WHO_PROCESS */ 1, canaryPid, IDLE);
  }),
  stopped("SP9.pages", "migrate_pages(2) of another process", ({ canaryPid }) => {
    return reaches("migrate_pages", canaryPid, 8, NOWHERE, NOWHERE);
  }, { optional: true }),
  knock("SP9.move_pages", "move_pages(2)", "move_pages", [0, 1, NOWHERE, NOWHERE, NOWHERE, 2]),
  stopped("SP9.group", "setpgid(2): join the supervisor's process group", ({ supervisorPid }) => {
    return must("setpgid", 0, groupOf(supervisorPid));
  }, { alone: true }),
  stopped("SP9.session", "setsid(2): leave the process group that it is ended with", () => {
    return must("setsid");
  }, { alone: true }),
  ...(["oom_score_adj", "coredump_filter", "timerslack_ns", "clear_refs"] as const).flatMap((
    name,
  ) => [
    stopped(
      `SP10.${name}_other`,
      `write to another process's /proc/PID/${name}`,
      ({ canaryPid }) => {
        writeFileSync(`/proc/${canaryPid}/${name}`, name === "clear_refs" ? "1" : "500");
        return true;
      },
      { optional: true },
    ),
    stopped(
      `SP10.${name}`,
      `write to its own /proc/self/${name}`,
      () => {
        Deno.writeTextFileSync(`/proc/self/${name}`, name === "clear_refs" ? "1" : "500");
        return true;
      },
      { optional: true, alone: true },
    ),
  ]),
  stopped("SP10.attr", "open its own security attributes for writing", () => {
    return must("openat", AT_FDCWD, "/proc/self/attr/current", /* O_WRONLY */ 1, 0);
  }, { optional: true }),
  stopped("SP10.map", "write to its own user map", () => {
    const O_WRONLY = 1;
    return must("openat", AT_FDCWD, "/proc/self/uid_map", O_WRONLY, 0);
  }),
  stopped("SP9.setuid", "process.setuid: become another user", () => {
    process.setuid!(65_534);
    return true;
  }, { alone: true, needs: "root" }),
  stopped("SP9.setgid", "process.setgid: become a member of another group", () => {
    process.setgid!(65_534);
    return true;
  }, { alone: true, needs: "root" }),
  stopped("SP9.chdir", "process.chdir to the root folder", () => {
    process.chdir("/");
    return process.cwd();
  }, {
    kernel: "open",
    note: "Its working directory is its own choice; paths from there are checked like any other",
    alone: true,
  }),
];

/** Whether the thread that asks is held by a filter of system calls. */
const PR_GET_SECCOMP = 21;

function unfiltered(answer: number): string {
  if (answer !== 0) throw new Refused(`the filter holds it: ${answer}`);
  return "no filter";
}

/** What a second program takes from a process that has started. */
function later(attempts: readonly Attempt[]): Attempt[] {
  return attempts.map((attempt) => ({ ...attempt, openWith: "native" }));
}

const THREADS: readonly Attempt[] = [
  stopped("SP14.main", "find its main thread free of the filter", () => {
    return unfiltered(must("prctl", PR_GET_SECCOMP));
  }),
  stopped("SP14.thread", "find a thread of a Web Worker free of the filter", async () => {
    const answer = await inWebWorker((option: number) => {
      const { prctl } = Deno.dlopen("libc.so.6", {
        prctl: { parameters: ["i32"], result: "i32" },
      }).symbols;
      return prctl(option);
    }, PR_GET_SECCOMP);
    return unfiltered(answer as number);
  }),
  stopped("SP14.pool", "find a thread of the runtime's pool free of the filter", async () => {
    const { prctl } = Deno.dlopen("libc.so.6", {
      prctl: { parameters: ["i32"], result: "i32", nonblocking: true },
    }).symbols;
    return unfiltered(await prctl(PR_GET_SECCOMP));
  }),
  ...later([
    knock("SP14.program", "seccomp(2): one more program, on all threads", "seccomp", [
      ...[1, 1, NOWHERE] as const,
    ]),
    knock("SP14.pair", "socketpair(2): a pair of Unix sockets, once the app runs", "socketpair", [
      ...[1, 1, 0, NOWHERE] as const,
    ]),
    knock(
      "SP14.close",
      "close_range(2): close what it was given, once the app runs",
      "close_range",
      [
        ...[2, 1, 0] as const,
      ],
    ),
    knock("SP14.key", "pkey_alloc(2): a key for its memory, once the app runs", "pkey_alloc", [
      ...[-1, 0] as const,
    ]),
    knock("SP14.thread_id", "set_tid_address(2): what only a loader sets", "set_tid_address", [0]),
    ...Deno.build.arch === "x86_64"
      ? [knock("SP14.base", "arch_prctl(2): what only a loader sets", "arch_prctl", [0x7fff_ffff])]
      : [],
  ]),
  knock("SP14.filter", "prctl(2): put another filter over the wall", "prctl", [
    ...[/* PR_SET_SECCOMP */ 22, /* SECCOMP_MODE_FILTER */ 2, NOWHERE, 0, 0] as const,
  ]),
];

/** What makes a kernel's day worse. */
const KERNEL: readonly Attempt[] = [
  // Namespaces and mounts.
  knock("SP13.unshare", "unshare(2)", "unshare", [1]),
  knock("SP13.setns", "setns(2)", "setns", [-1, 0]),
  knock("SP13.clone", "clone(2) into a mount namespace", "clone", [0x0002_0200, 0, 0, 0, 0]),
  knock("SP13.clone_user", "clone(2) into a user namespace", "clone", [0x1000_0200, 0, 0, 0, 0]),
  knock("SP13.mount", "mount(2)", "mount", [NOWHERE, NOWHERE, NOWHERE, 0, 0]),
  knock("SP13.umount", "umount2(2)", "umount2", [NOWHERE, 0x7fff_0000]),
  knockAsRoot("SP13.pivot_root", "pivot_root(2)", "pivot_root", [NOWHERE, NOWHERE]),
  knock("SP13.chroot", "chroot(2)", "chroot", [NOWHERE]),
  knock("SP13.open_tree", "open_tree(2)", "open_tree", [-1, NOWHERE, 0x4000_0000]),
  knockAsRoot("SP13.move_mount", "move_mount(2)", "move_mount", [-1, NOWHERE, -1, NOWHERE, 0]),
  knockAsRoot("SP13.fsopen", "fsopen(2)", "fsopen", [NOWHERE, 0]),
  knock("SP13.fsconfig", "fsconfig(2)", "fsconfig", [-1, 0, NOWHERE, NOWHERE, 0]),
  knockAsRoot("SP13.fsmount", "fsmount(2)", "fsmount", [-1, 0x100, 0]),
  knockAsRoot("SP13.fspick", "fspick(2)", "fspick", [-1, NOWHERE, 0x100]),
  knock("SP13.mount_setattr", "mount_setattr(2)", "mount_setattr", [
    -1,
    NOWHERE,
    0x4000_0000,
    0,
    0,
  ]),
  knock("SP13.statmount", "statmount(2): list what is mounted", "statmount", [
    NOWHERE,
    NOWHERE,
    0,
    1,
  ]),
  knock("SP13.listmount", "listmount(2): list what is mounted", "listmount", [
    NOWHERE,
    NOWHERE,
    0,
    2,
  ]),
  // Code and memory.
  knock("SP11.bpf", "bpf(2)", "bpf", [0, NOWHERE, 1 << 20]),
  knock("SP11.perf", "perf_event_open(2)", "perf_event_open", [NOWHERE, 0, 0, -1, 0x4000_0000]),
  knock("SP11.userfaultfd", "userfaultfd(2)", "userfaultfd", [0x4000_0001]),
  knock("SP11.io_uring", "io_uring_setup(2)", "io_uring_setup", [8, NOWHERE]),
  knock("SP11.io_uring_enter", "io_uring_enter(2)", "io_uring_enter", [-1, 0, 0, 0, 0, 0]),
  knock("SP11.io_uring_register", "io_uring_register(2)", "io_uring_register", [-1, 0, NOWHERE, 0]),
  knock("SP11.io_setup", "io_setup(2)", "io_setup", [1, NOWHERE]),
  stopped("SP11.memfd", "memfd_create(2): a file in memory", () => {
    return must("memfd_create", "holdfast_audit", 1);
  }, { alone: true }),
  knock("SP11.memfd_secret", "memfd_secret(2)", "memfd_secret", [0x4000_0000]),
  knock("SP11.splice", "splice(2)", "splice", [-1, 0, -1, 0, 1, 0]),
  knock("SP11.tee", "tee(2)", "tee", [-1, -1, 1, 0]),
  knock("SP11.vmsplice", "vmsplice(2)", "vmsplice", [-1, NOWHERE, 1, 0]),
  // Filters of its own, and another personality.
  knock("SP11.seccomp", "seccomp(2)", "seccomp", [1, 0x4000_0000, NOWHERE]),
  stopped("SP11.landlock", "landlock_create_ruleset(2)", () => {
    return must("landlock_create_ruleset", 0, 0, /* LANDLOCK_CREATE_RULESET_VERSION */ 1);
  }, { optional: true }),
  knock("SP13.personality", "personality(2)", "personality", [0xffff_ffff]),
  knock("SP11.lsm_set_self_attr", "lsm_set_self_attr(2)", "lsm_set_self_attr", [0, NOWHERE, 0, 1]),
  knock("SP11.timer", "timer_create(2)", "timer_create", [0, NOWHERE, NOWHERE]),
  knock("SP11.signalfd", "signalfd4(2)", "signalfd4", [-1, NOWHERE, 0, 0]),
  // Keys and what processes of a user share.
  knock("SP11.add_key", "add_key(2)", "add_key", [NOWHERE, NOWHERE, NOWHERE, 0, -3]),
  knock("SP11.request_key", "request_key(2)", "request_key", [NOWHERE, NOWHERE, NOWHERE, -3]),
  knock("SP11.keyctl", "keyctl(2): its session's keyring", "keyctl", [0, -3, 0]),
  knock("SP11.shmget", "shmget(2)", "shmget", [0, 0, 0o600]),
  knock("SP11.shmat", "shmat(2)", "shmat", [-1, 0, 0]),
  knock("SP11.shmctl", "shmctl(2)", "shmctl", [-1, 0, NOWHERE]),
  knock("SP11.semget", "semget(2)", "semget", [0, -1, 0o600]),
  knock("SP11.semop", "semop(2)", "semop", [-1, NOWHERE, 1]),
  knock("SP11.semctl", "semctl(2)", "semctl", [-1, 0, 0, 0]),
  knock("SP11.msgget", "msgget(2)", "msgget", [0x686f_6c64, 0]),
  knock("SP11.msgsnd", "msgsnd(2)", "msgsnd", [-1, NOWHERE, 1, 0]),
  knock("SP11.msgrcv", "msgrcv(2)", "msgrcv", [-1, NOWHERE, 1, 0, 0]),
  knock("SP11.msgctl", "msgctl(2)", "msgctl", [-1, 0, NOWHERE]),
  knock("SP11.mq_open", "mq_open(2)", "mq_open", [NOWHERE, 0, 0, 0]),
  knock("SP11.mq_unlink", "mq_unlink(2)", "mq_unlink", [NOWHERE]),
  // The machine. Every one of them is made so that it cannot work.
  knockAsRoot("SP13.reboot", "reboot(2), with numbers that mean nothing", "reboot", [1, 2, 0, 0]),
  knock("SP13.kexec", "kexec_load(2)", "kexec_load", [NOWHERE, 1 << 20, NOWHERE, 0x7fff]),
  knock("SP13.kexec_file", "kexec_file_load(2)", "kexec_file_load", [-1, -1, 0, 0, 0x7fff]),
  knock("SP13.init_module", "init_module(2)", "init_module", [NOWHERE, 0, NOWHERE]),
  knock("SP13.finit_module", "finit_module(2)", "finit_module", [-1, NOWHERE, 0x7fff]),
  knock("SP13.delete_module", "delete_module(2)", "delete_module", [NOWHERE, 0]),
  knockAsRoot("SP13.swapon", "swapon(2)", "swapon", [NOWHERE, 0]),
  knockAsRoot("SP13.swapoff", "swapoff(2)", "swapoff", [NOWHERE]),
  knockAsRoot("SP13.acct", "acct(2)", "acct", [NOWHERE]),
  knock("SP13.quotactl", "quotactl(2)", "quotactl", [0x7fff_ffff, NOWHERE, 0, NOWHERE]),
  knock("SP13.quotactl_fd", "quotactl_fd(2)", "quotactl_fd", [-1, 0, 0, NOWHERE]),
  knockAsRoot("SP13.syslog", "syslog(2): read the kernel's log", "syslog", [10, 0, 0]),
  knockAsRoot("SP13.hostname", "sethostname(2)", "sethostname", ["x", -1]),
  knockAsRoot("SP13.domainname", "setdomainname(2)", "setdomainname", ["x", -1]),
  knock("SP13.settimeofday", "settimeofday(2)", "settimeofday", [NOWHERE, 0]),
  knock("SP13.clock_settime", "clock_settime(2)", "clock_settime", [0, NOWHERE]),
  knock("SP13.clock_adjtime", "clock_adjtime(2)", "clock_adjtime", [0, NOWHERE]),
  knock("SP13.adjtimex", "adjtimex(2)", "adjtimex", [NOWHERE]),
  stopped("SP13.interface", "an ioctl(2) of the listener that changes a network interface", () => {
    const interfaceRequest = new Uint8Array(40);
    new TextEncoder().encodeInto("holdfast_none", interfaceRequest);
    const SIOCSIFFLAGS = 0x8914;
    return reaches("ioctl", findListener(), SIOCSIFFLAGS, interfaceRequest);
  }, {
    ...{ needs: "root", optional: true },
    only: { in: ["worker"], since: "only a worker has a listener" },
  }),
  stopped(
    "SP13.freeze",
    "an ioctl(2) that freezes a file system, on one that cannot freeze",
    () => {
      const FIFREEZE = 0xc004_5877;
      return reaches("ioctl", pipe()[0], FIFREEZE, 0);
    },
    { needs: "root", optional: true },
  ),
  knock("SP13.pasting", "ioctl(2): paste into a terminal (TIOCLINUX)", "ioctl", [
    -1,
    0x541c,
    NOWHERE,
  ]),
  // Calls that are newer than the policy.
  knock("SP13.setxattrat", "setxattrat(2), newer than the policy", "setxattrat", [
    ...[-1, NOWHERE, 0, NOWHERE, NOWHERE, 0] as const,
  ]),
  knock("SP13.open_tree_attr", "open_tree_attr(2), newer than the policy", "open_tree_attr", [
    ...[-1, NOWHERE, 0x4000_0000, 0, 0] as const,
  ]),
  knock("SP13.file_setattr", "file_setattr(2), newer than the policy", "file_setattr", [
    ...[-1, NOWHERE, NOWHERE, 0, 0] as const,
  ]),
];

/** Other ways into the kernel, where each number means another call. */
const X86: readonly Attempt[] = Deno.build.arch !== "x86_64" ? [] : [
  stopped("SP13.x32", "a system call of the x32 ABI", () => {
    const X32_BIT = 0x4000_0000;
    const GETPID = 39;
    // Not every kernel has that ABI; without a wall, asking for it harms nobody.
    const { value, errno } = callNumber(X32_BIT + GETPID);
    return `value ${value}, errno ${errno}`;
  }, { alone: true, fatal: true }),
  stopped("SP13.int80", "a 32-bit system call from 64-bit code", () => {
    const [READ_WRITE_EXEC, PRIVATE_ANONYMOUS] = [7, 0x22];
    const page = must("mmap", 0, 4096, READ_WRITE_EXEC, PRIVATE_ANONYMOUS, -1, 0);
    const pointer = Deno.UnsafePointer.create<{ parameters: []; result: "i32" }>(BigInt(page))!;
    // mov eax, 20 (getpid); int 0x80; ret
    const code = [0xb8, 20, 0, 0, 0, 0xcd, 0x80, 0xc3];
    new Uint8Array(Deno.UnsafePointerView.getArrayBuffer(pointer, 4096)).set(code);
    return new Deno.UnsafeFnPointer(pointer, { parameters: [], result: "i32" }).call();
  }, { alone: true, fatal: true, optional: true }),
  knock("SP13.iopl", "iopl(2)", "iopl", [4]),
  knock("SP13.ioperm", "ioperm(2)", "ioperm", [1, 0, 1]),
  knock("SP13.modify_ldt", "modify_ldt(2)", "modify_ldt", [0, NOWHERE, 16]),
];

export const PROCESSES: readonly Attempt[] = [
  ...SIGNALS,
  ...NATIVE_SIGNALS,
  ...SPYING,
  ...SEEING,
  ...MEDDLING,
  ...THREADS,
  ...KERNEL,
  ...X86,
];
