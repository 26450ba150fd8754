/** The kernel's layer of the wall as data: Landlock's rights, seccomp's programs, the limits. */
import { testWith } from "./harness/needs.ts";
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { HoldfastError } from "../lib/base/error.ts";
import type { Config } from "../lib/config/config.ts";
import {
  FS,
  fsMask,
  type FsRight,
  LEAST_ABI,
  NET,
  type PathRule,
  portRules,
  rulesetAttributes,
  unveilRights,
} from "../lib/sandbox/landlock.ts";
import { missingIn } from "../lib/sandbox/landlock_gaps.ts";
import { type Limit, workerLimits } from "../lib/sandbox/limits.ts";
import { ABSENT, ANY_CALLS, type AnyCall, anyNumberOf } from "../lib/sandbox/absent_calls.ts";
import {
  ASKED,
  encodeProgram,
  type SeccompPolicy,
  seccompProgram,
} from "../lib/sandbox/seccomp.ts";
import { laterProgram } from "../lib/child/later_program.ts";
import {
  ALARMS,
  type Arch,
  numberOf,
  REFUSED,
  type SystemCall,
} from "../lib/sandbox/system_calls.ts";
import { type WallFacts, workerWall } from "../lib/sandbox/wall.ts";
import { joined, workerArguments } from "../lib/sandbox/worker_command.ts";
import {
  AUDIT_ARCH,
  describeAnswer,
  findProgramFaults,
  MAX_INSTRUCTIONS,
  runProgram,
} from "./harness/bpf.ts";
import { DEFAULTS } from "./harness/config.ts";

// ---- Landlock ----

const ALL_RIGHTS = Object.keys(FS) as FsRight[];
const ABIS = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11];

Deno.test("a letter of unveil stands for rights that neither link nor make devices, sockets or pipes", () => {
  const cases: Record<string, FsRight[]> = {
    "": [],
    r: ["readFile", "readDir"],
    w: ["writeFile", "truncate"],
    c: ["makeReg", "makeDir", "removeFile", "removeDir", "refer"],
    rw: ["readFile", "readDir", "writeFile", "truncate"],
    // A right that nobody knows is none, not an error and not everything.
    x: [],
  };
  for (const [letters, rights] of Object.entries(cases)) {
    assertEquals(unveilRights(letters), rights, letters);
  }
  const never: FsRight[] = [
    ...["execute", "makeChar", "makeBlock", "makeFifo", "makeSock", "makeSym"] as const,
    ...["ioctlDev", "resolveUnix"] as const,
  ];
  assertEquals(unveilRights("rwc").filter((right) => never.includes(right)), []);
});

Deno.test("the rights on files have the kernel's bits, and the ABI that brought them", () => {
  assertEquals(ALL_RIGHTS.map((right) => FS[right].bit), ALL_RIGHTS.map((_, n) => 1n << BigInt(n)));
  assertEquals(
    ALL_RIGHTS.filter((right) => FS[right].abi > 1).map((right) => [right, FS[right].abi]),
    [["refer", 2], ["truncate", 3], ["ioctlDev", 5], ["resolveUnix", 9]],
  );
});

Deno.test("a mask has the bits that the ABI knows, and of a file's those that a file can carry", () => {
  const folders = [
    ...[0x1fff, 0x3fff, 0x7fff, 0x7fff, 0xffff, 0xffff, 0xffff, 0xffff],
    ...[0x1ffff, 0x1ffff, 0x1ffff],
  ];
  const files = [0x0007, 0x0007, 0x4007, 0x4007, ...Array<number>(7).fill(0xc007)];
  const masks = (kind: "file" | "folder", rights: readonly FsRight[] = ALL_RIGHTS) =>
    ABIS.map((abi) => Number(fsMask(rights, abi, kind)));
  assertEquals(masks("folder"), folders);
  assertEquals(masks("file"), files);
  assertEquals(masks("folder", []), ABIS.map(() => 0));
  const some: [letters: string, abi: number, folder: number, file: number][] = [
    ["r", 1, 0b1100, 0b0100],
    ["r", 9, 0b1100, 0b0100],
    ["w", 2, 0x0002, 0x0002],
    ["w", 3, 0x4002, 0x4002],
    ["c", 1, 0x01b0, 0],
    ["c", 2, 0x21b0, 0],
    ["rwc", 9, 0x61be, 0x4006],
  ];
  for (const [letters, abi, folder, file] of some) {
    const rights = unveilRights(letters);
    assertEquals(Number(fsMask(rights, abi, "folder")), folder, `${letters}, ABI ${abi}, folder`);
    assertEquals(Number(fsMask(rights, abi, "file")), file, `${letters}, ABI ${abi}, file`);
  }
});

Deno.test("the kernel is asked to rule everything that its ABI can, and nothing that it would refuse", () => {
  const asked = (connect: number[] | "all", names: boolean) =>
    ABIS.map((abi) => rulesetAttributes(abi, { connect, names }));
  const netOf = (all: readonly { net: bigint }[]) => all.map(({ net }) => Number(net));
  const connecting = asked([443], false);
  assertEquals(
    connecting.map(({ fs }) => fs),
    ABIS.map((abi) => fsMask(ALL_RIGHTS, abi, "folder")),
  );
  assertEquals(netOf(connecting), [0, 0, 0, 3, 3, 3, 3, 3, 3, 15, 15]);
  // The struct is as long as its last field that the ABI knows: a field beyond it must be 0.
  assertEquals(connecting.map(({ scoped }) => Number(scoped)), [0, 0, 0, 0, 0, 3, 3, 3, 3, 3, 3]);
  // Nothing to dial is ruled like some ports are, and only an entry without a port leaves it open.
  assertEquals(asked([], false), connecting);
  const open = asked("all", false);
  assertEquals(netOf(open), [0, 0, 0, 1, 1, 1, 1, 1, 1, 13, 13]);
  for (const other of [open, asked([443, 53], true), asked("all", true)]) {
    assertEquals(
      other.map(({ fs, scoped }) => [fs, scoped]),
      connecting.map(({ fs, scoped }) => [fs, scoped]),
    );
  }
  // Who looks up names may take any port for it, and send to the ports of its config.
  assertEquals(netOf(asked([443, 53], true)), [0, 0, 0, 3, 3, 3, 3, 3, 3, 11, 11]);
  assertEquals(netOf(asked("all", true)), [0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1]);
});

Deno.test("the rights on ports have the kernel's bits, and the ABI that brought them", () => {
  assertEquals(
    Object.entries(NET).map(([name, { bit, abi }]) => [name, bit, abi]),
    [["bindTcp", 1n, 4], ["connectTcp", 2n, 4], ["bindUdp", 4n, 10], ["sendUdp", 8n, 10]],
  );
});

Deno.test("a port has the rights that its ABI knows, and datagrams go where names are looked up", () => {
  for (const abi of ABIS) {
    const rules = (connect: number[] | "all", names: boolean) =>
      portRules(abi, { connect, names }).map(([port, mask]) => [port, Number(mask)]);
    assertEquals(rules([], false), []);
    assertEquals(rules("all", false), []);
    assertEquals(rules("all", true), []);
    assertEquals(rules([443], false), abi < 4 ? [] : [[443, 2]]);
    const named = abi < 4 ? [] : abi < 10 ? [[443, 2], [53, 2]] : [[443, 10], [53, 10], [0, 8]];
    assertEquals(rules([443, 53], true), named, `ABI ${abi}`);
    // What a rule grants must be ruled, or the kernel refuses the rule.
    for (const names of [false, true]) {
      const { net } = rulesetAttributes(abi, { connect: [443, 53], names });
      for (const [port, mask] of portRules(abi, { connect: [443, 53], names })) {
        assertEquals(mask & ~net, 0n, `port ${port}, ABI ${abi}`);
      }
    }
  }
});

Deno.test("what an older ABI cannot rule is said, and the least one has no hole for files", () => {
  assertEquals(ABIS.map((abi) => missingIn(abi).length), [7, 6, 5, 4, 3, 2, 2, 2, 1, 0, 0]);
  assertEquals(missingIn(0).length, 7);
  assertEquals(missingIn(5)[0], "signals and abstract Unix sockets");
  assert(missingIn(LEAST_ABI - 1).includes("emptying a file that may only be read"));
  assert(!missingIn(LEAST_ABI).includes("emptying a file that may only be read"));
});

// ---- the wall of a config ----

/** Where the files are that names are looked up in; they are replaced while a worker runs. */
const NAME_FOLDERS = [
  "/etc",
  "/run/systemd/resolve",
  "/run/resolvconf",
  "/run/NetworkManager",
  "/run/connman",
  "/run/netconfig",
];

const CONFIG: Config = {
  file: "/srv/site/holdfast.jsonc",
  named: "/srv/site/holdfast.jsonc",
  folder: "/srv/site",
  app: { module: "/srv/site/app/main.ts", project: "/srv/site" },
  listen: [{ kind: "tcp", text: "127.0.0.1:8000", host: "127.0.0.1", port: 8000 }],
  unveil: [],
  helpers: [],
  env: [],
  net: [],
  engine: "native",
  wall: "kernel",
  onViolation: "replace",
  limits: { descriptors: 1024, processes: 64, fileBytes: 1_000_000 },
  workers: DEFAULTS.workers,
  spare: DEFAULTS.spare,
  trustedProxies: DEFAULTS.trustedProxies,
  clientAddressHeader: DEFAULTS.clientAddressHeader,
  recycle: DEFAULTS.recycle,
  watchdog: DEFAULTS.watchdog,
  http: DEFAULTS.http,
  reload: DEFAULTS.reload,
  log: DEFAULTS.log,
  account: undefined,
  runtime: "/srv/site/.holdfast",
};

const FACTS: WallFacts = {
  arch: "x86_64",
  abi: 6,
  denoProgram: "/opt/deno/bin/deno",
  files: ["/opt/site/program.js"],
  code: { reads: ["/var/lib/site/images/1/worker", "/var/lib/site/images/packages/2"] },
  forbidden: "/srv/site/.holdfast/lock",
  interpretsAlone: false,
};

const UNVEILED: Config = {
  ...CONFIG,
  unveil: Object.entries({ "/srv/data": "rwc", "/srv/public": "r", "/srv/log": "w" })
    .map(([path, rights]) => ({ path, rights, exists: true, folder: true })),
};

const CONFIGS: Record<string, Config> = {
  "nothing granted": CONFIG,
  "folders unveiled": UNVEILED,
  "an address dialled": { ...UNVEILED, net: ["10.0.0.5:5432"] },
  "a name dialled": { ...UNVEILED, net: ["api.example.com"] },
  "an account": { ...UNVEILED, account: { user: "site", uid: 990, gid: 990 } },
};

for (const [what, config] of Object.entries(CONFIGS)) {
  const wall = workerWall(config, FACTS);
  const { paths } = wall.landlock;
  const may = (right: FsRight) =>
    paths.filter(({ rights }) => rights.includes(right)).map(({ path }) => path);

  Deno.test(`a wall with ${what} lets nothing be written but what is unveiled and /dev/null`, () => {
    const unveiled = (letter: string) =>
      config.unveil.filter(({ rights }) => rights.includes(letter)).map(({ path }) => path);
    assertEquals(may("writeFile").sort(), ["/dev/null", ...unveiled("w")].sort());
    assertEquals(may("truncate").sort(), unveiled("w").sort());
    for (const right of ["makeReg", "makeDir", "removeFile", "removeDir", "refer"] as const) {
      assertEquals(may(right), unveiled("c"), right);
    }
    for (const right of ["makeChar", "makeBlock", "makeFifo", "makeSock", "makeSym"] as const) {
      assertEquals(may(right), [], right);
    }
    for (const right of ["ioctlDev", "resolveUnix"] as const) assertEquals(may(right), [], right);
  });

  Deno.test(`a wall with ${what} lets nothing be executed but deno and its loader`, () => {
    assertEquals(may("execute").sort(), [
      "/lib/ld-linux-aarch64.so.1",
      "/lib64/ld-linux-x86-64.so.2",
      FACTS.denoProgram,
    ]);
  });

  Deno.test(`a wall with ${what} shows no folder from the project upwards, nor /proc, nor the runtime's`, () => {
    const folders = [
      "/",
      "/srv",
      "/srv/site",
      "/srv/site/app",
      "/srv/shared",
      "/etc",
      "/opt",
      "/var",
    ];
    // Only who dials names may open files there by their names; nobody may list them.
    const names = wall.seccomp.network === "names" ? NAME_FOLDERS : [];
    for (const { path, rights } of paths) {
      if (names.includes(path)) {
        assertEquals(rights, ["readFile"], path);
        continue;
      }
      assert(!folders.includes(path), path);
      assert(!/^\/(proc|sys|run|home|root|tmp)(\/|$)/.test(path), path);
      assert(!path.startsWith(config.runtime), path);
      assert(path !== config.file, path);
    }
    // The secret that shows that the wall works is not below any path that can be read.
    for (const path of may("readFile")) assert(!FACTS.forbidden.startsWith(`${path}/`), path);
    assertEquals(wall.forbidden, FACTS.forbidden);
  });

  Deno.test(`a wall with ${what} needs deno and what is unveiled, and may lack the rest`, () => {
    const needed = [FACTS.denoProgram, ...config.unveil.map(({ path }) => path)];
    assertEquals(
      paths.filter(({ presence }) => presence === "required").map(({ path }) => path),
      needed,
    );
    assertEquals(
      paths.filter(({ path }) => [...FACTS.files, ...FACTS.code.reads].includes(path)),
      [...FACTS.files, ...FACTS.code.reads].map((path): PathRule => ({
        path,
        rights: ["readFile", "readDir"],
        presence: "optional",
      })),
    );
  });

  Deno.test(`a wall with ${what} carries the config's limits and the kernel's ABI`, () => {
    assertEquals(wall.limits, workerLimits(config));
    assertEquals(wall.abi, FACTS.abi);
  });
}

Deno.test("an account changes nothing of a wall but whom the limits are for", () => {
  const { account } = CONFIGS["an account"]!;
  assertEquals(workerWall(CONFIGS["an account"]!, FACTS), {
    ...workerWall(CONFIGS["folders unveiled"]!, FACTS),
    owner: account,
  });
  assertEquals(workerWall(CONFIGS["folders unveiled"]!, FACTS).owner, undefined);
});

// With names the port 53 is open too: a name server answers there what has no room in a datagram.
const NETS: [net: string[], network: SeccompPolicy["network"], connect: number[] | "all"][] = [
  [[], "none", []],
  [["10.0.0.5:5432"], "tcp", [5432]],
  [["10.0.0.5"], "tcp", "all"],
  [["[::1]:5432"], "tcp", [5432]],
  [["[::1]"], "tcp", "all"],
  [["[2001:db8::443]"], "tcp", "all"],
  [["10.0.0.5:80", "[::1]:81"], "tcp", [80, 81]],
  [["localhost:8000"], "names", [8000, 53]],
  [["api.example.com"], "names", "all"],
  [["api.example.com:443", "10.0.0.5:80"], "names", [443, 80, 53]],
  [["api.example.com", "10.0.0.5:80"], "names", "all"],
];

for (const [net, network, connect] of NETS) {
  Deno.test(`net ${JSON.stringify(net)} is ${network} for seccomp, and the ports ${connect}`, () => {
    const { landlock, seccomp } = workerWall({ ...CONFIG, net }, FACTS);
    assertEquals(seccomp.network, network);
    assertEquals(landlock.connect, connect);
    // Who dials nobody needs no certificates, and who dials addresses alone needs no names.
    const rightsOf = (path: string) => landlock.paths.find((rule) => rule.path === path)?.rights;
    assertEquals(rightsOf("/etc/ssl/certs") !== undefined, network !== "none");
    for (const path of ["/etc/resolv.conf", "/etc", "/run/systemd/resolve"]) {
      assertEquals(rightsOf(path), network === "names" ? ["readFile"] : undefined, path);
    }
  });
}

Deno.test("a collector of traces opens its port to a worker, and no name", () => {
  const traces = { collector: "127.0.0.1:4318", service: "guestbook" };
  const alone = workerWall({ ...CONFIG, net: [], traces }, FACTS);
  assertEquals([alone.seccomp.network, alone.landlock.connect], ["tcp", [4318]]);
  const beside = workerWall({ ...CONFIG, net: ["10.0.0.5:5432"], traces }, FACTS);
  assertEquals([beside.seccomp.network, beside.landlock.connect], ["tcp", [5432, 4318]]);
});

// ---- limits ----

Deno.test("a worker's limits are those of its config, and it never leaves a core file", () => {
  const { limits } = CONFIG;
  const cases: [Config["limits"], [name: Limit["name"], resource: number, value: number][]][] = [
    [limits, [
      ["core", 4, 1],
      ["descriptors", 7, 1024],
      ["processes", 6, 64],
      ["fileSize", 1, 1_000_000],
    ]],
    [{ ...limits, memoryBytes: 2 ** 40, descriptors: 64 }, [
      ["core", 4, 1],
      ["descriptors", 7, 64],
      ["processes", 6, 64],
      ["fileSize", 1, 1_000_000],
      // V8 reserves addresses for code, which the kernel counts as data.
      ["data", 2, 2 ** 40 + 512 * 2 ** 20],
    ]],
    [{ ...limits, memoryBytes: undefined }, [
      ["core", 4, 1],
      ["descriptors", 7, 1024],
      ["processes", 6, 64],
      ["fileSize", 1, 1_000_000],
    ]],
  ];
  for (const [given, expected] of cases) {
    assertEquals(
      workerLimits({ limits: given }).map(
        ({ name, resource, value }): [Limit["name"], number, number] => [name, resource, value],
      ),
      expected,
    );
  }
});

// ---- seccomp ----

const ARCHES: readonly Arch[] = ["x86_64", "aarch64"];
const NETWORKS: readonly SeccompPolicy["network"][] = ["none", "tcp", "names"];

type Arguments = readonly (number | bigint)[];

/** What a program answers to a call by its number. */
function answerTo(
  arch: Arch,
  number: number,
  args: Arguments = [],
  network: SeccompPolicy["network"] = "none",
  audited: number = AUDIT_ARCH[arch],
  runs = false,
): string {
  const program = encodeProgram(seccompProgram(arch, { network, listens: false, runs }));
  return describeAnswer(runProgram(program, { arch: audited, number, args }));
}

/** What it answers on every architecture that has the call; the same, or the test fails. */
function answerToCall(
  call: AnyCall,
  args: Arguments = [],
  network: SeccompPolicy["network"] = "none",
  runs = false,
): string {
  const answers = ARCHES.flatMap((arch) => {
    const number = anyNumberOf(call, arch);
    return number === undefined
      ? []
      : [answerTo(arch, number, args, network, AUDIT_ARCH[arch], runs)];
  });
  assertEquals(new Set(answers).size, 1, `${call}(${args}) gave ${answers}`);
  return answers[0]!;
}

for (const arch of ARCHES) {
  for (const network of NETWORKS) {
    const program = seccompProgram(arch, { network, listens: false, runs: false });

    Deno.test(`the program for ${arch}, network ${network}, is one that the kernel takes`, () => {
      assert(program.length <= MAX_INSTRUCTIONS, `${program.length} instructions`);
      assertEquals(findProgramFaults(encodeProgram(program)), []);
      // A jump too long for its byte would be cut in silence.
      for (const [code, jt, jf, k] of program) {
        assert(jt >= 0 && jt <= 255 && jf >= 0 && jf <= 255, `${code} jumps ${jt} or ${jf}`);
        assert(k >= 0 && k <= 0xffffffff, `${code} has ${k}`);
      }
    });
  }
}

Deno.test("a program is encoded as struct sock_filter, little-endian", () => {
  const bytes = encodeProgram([[0x15, 1, 2, 0x80000000], [0x06, 0, 0, 0x7fff0000]]);
  assertEquals([...bytes], [0x15, 0, 1, 2, 0, 0, 0, 0x80, 6, 0, 0, 0, 0, 0, 0xff, 0x7f]);
});

const namesOf = (calls: object) => Object.keys(calls) as AnyCall[];

Deno.test("each call that is not judged has its one answer, on both architectures and any network", () => {
  const groups: [calls: object, answer: string][] = [
    [REFUSED, "EPERM"],
    [ALARMS, "ask"],
    [ABSENT, "ENOSYS"],
  ];
  for (const [calls, answer] of groups) {
    for (const call of namesOf(calls)) {
      for (const network of NETWORKS) {
        assertEquals(answerToCall(call, [], network), answer, call);
        assertEquals(answerToCall(call, [-1, -1, -1, -1, -1, -1], network), answer, call);
      }
    }
  }
});

/** Whatever becomes of the tables, these are never allowed. */
const NEVER: readonly AnyCall[] = [
  ...["ptrace", "process_vm_readv", "process_vm_writev", "pidfd_getfd", "kcmp"] as const,
  ...["pidfd_open", "pidfd_send_signal", "tkill", "tgkill", "rt_sigqueueinfo"] as const,
  ...["rt_tgsigqueueinfo", "setsid", "setpgid", "setrlimit"] as const,
  ...["bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter"] as const,
  ...["mount", "umount2", "pivot_root", "chroot", "unshare", "setns", "open_tree"] as const,
  ...["move_mount", "fsopen", "fsmount", "mount_setattr", "open_by_handle_at"] as const,
  ...["add_key", "keyctl", "request_key", "init_module", "finit_module", "kexec_load"] as const,
  ...["reboot", "swapon", "acct", "syslog", "personality"] as const,
  ...["memfd_create", "mknod", "mknodat", "chown", "fchown", "fchownat", "lchown"] as const,
  ...["setxattr", "fsetxattr", "removexattr", "chmod", "fchmodat", "fchmodat2"] as const,
  ...["utimensat", "shmget", "msgget", "semget", "mq_open", "inotify_init1"] as const,
  ...["fanotify_init", "name_to_handle_at", "process_madvise", "process_mrelease"] as const,
  ...["getxattr", "lgetxattr", "fgetxattr", "listxattr", "llistxattr", "flistxattr"] as const,
  ...["getxattrat", "listxattrat", "file_getattr", "statmount", "listmount", "listns"] as const,
  ...["uprobe", "uretprobe", "vmsplice", "splice", "io_setup", "sync", "syncfs"] as const,
  ...["ioprio_get", "get_robust_list", "capget", "sched_rr_get_interval"] as const,
];

Deno.test("what could reach other processes, the kernel or a file's owner is never allowed", () => {
  for (const call of NEVER) {
    for (const network of NETWORKS) {
      for (const args of [[], [0, 1], [1, 2, 3], [-1, -1, -1, -1, -1, -1]]) {
        assert(answerToCall(call, args, network) !== "allow", call);
      }
    }
  }
});

Deno.test("the supervisor is asked about exec and fork, kill with signal 9, and what no app does", () => {
  const others = ["clone", "execve", "execveat", "fork", "kill", "listen", "vfork"];
  assertEquals([...ASKED].sort(), [...others, ...namesOf(ALARMS)].sort());
  for (
    const call of ["ptrace", "bpf", "mount", "keyctl", "io_uring_setup", "unshare", "kexec_load"]
  ) assert(call in ALARMS, call);
  assertEquals(answerToCall("execve", [1, 2, 3]), "ask");
  assertEquals(answerToCall("execveat", [-100, 1, 2, 3, 0]), "ask");
  assertEquals(answerToCall("kill", [1234, 9]), "ask");
  assertEquals(answerToCall("kill", [-1, 9]), "ask");
  // The kernel looks at the low half alone.
  assertEquals(answerToCall("kill", [1234, 0x1_0000_0009n]), "ask");
  for (const signal of [0, 1, 2, 3, 6, 10, 11, 15, 17, 18, 19, 23, 29, 31, 34, 64, -1]) {
    assertEquals(answerToCall("kill", [1234, signal]), "EPERM", `signal ${signal}`);
  }
});

Deno.test("who may run programs kills none, and nobody is told", () => {
  assertEquals(answerToCall("kill", [1234, 9], "none", true), "EPERM");
  assertEquals(answerToCall("execve", [1, 2, 3], "none", true), "ask");
  for (const flags of [...THREADS, ...FORKS]) {
    assertEquals(answerToCall("clone", [flags], "none", true), "allow");
    assertEquals(answerToCall("clone", [flags | CLONE.newuser], "none", true), "ask");
  }
});

const CLONE = {
  vm: 0x100n,
  vfork: 0x4000n,
  parent: 0x8000n,
  thread: 0x10000n,
  newns: 0x20000n,
  newcgroup: 0x02000000n,
  newuts: 0x04000000n,
  newipc: 0x08000000n,
  newuser: 0x10000000n,
  newpid: 0x20000000n,
  newnet: 0x40000000n,
} as const;
/** What pthread_create of glibc and of musl asks for. */
const THREADS = [0x3d0f00n, 0x7d0f00n];
/** Those of fork(3), and that of posix_spawn(3), which the spawner calls behind the same program. */
const FORKS = [0x01200011n, 17n, 0x4111n];

Deno.test("threads are allowed, and the supervisor is asked about every fork and namespace", () => {
  for (const flags of THREADS) assertEquals(answerToCall("clone", [flags]), "allow");
  const { vm, vfork, parent, newns, newcgroup, newuts, newipc, newuser, newpid, newnet } = CLONE;
  for (const namespace of [newns, newcgroup, newuts, newipc, newuser, newpid, newnet]) {
    for (const base of [0n, ...THREADS, ...FORKS]) {
      assertEquals(answerToCall("clone", [base | namespace]), "ask", `${base | namespace}`);
    }
  }
  for (
    const flags of [
      ...FORKS,
      0n,
      9n,
      vm | vfork,
      vm | 17n,
      vfork | 17n,
      parent | 17n,
      // CLONE_PTRACE and CLONE_UNTRACED keep or lose a tracer; CLONE_PIDFD gives a descriptor.
      FORKS[0]! | 0x2000n,
      FORKS[0]! | 0x800000n,
      FORKS[0]! | 0x1000n,
    ]
  ) assertEquals(answerToCall("clone", [flags]), "ask", flags.toString(16));
  assertEquals(answerToCall("fork", []), "ask");
  assertEquals(answerToCall("vfork", []), "ask");
});

Deno.test("nothing is made that runs as its owner, by whatever call", () => {
  const [read, write, create, nameless, directory] = [0, 1, 0o100, 0x410000, 0o200000];
  for (const runs of [false, true]) {
    for (const setId of [0o4755, 0o2755, 0o6777, 0o4000, 0o2000]) {
      const answerTo = (call: SystemCall, ...args: number[]) =>
        answerToCall(call, args, "none", runs);
      for (const flags of [create, create | write, create | read, nameless | write]) {
        assertEquals(answerTo("openat", -100, 1, flags, setId), "EPERM", `${flags} ${setId}`);
        assertEquals(answerTo("open", 1, flags, setId), "EPERM");
        assertEquals(answerTo("openat", -100, 1, flags, setId & 0o777), "allow");
        assertEquals(answerTo("open", 1, flags, setId & 0o1777), "allow");
      }
      // Nothing is made, and the mode is whatever is in the register.
      for (const flags of [read, write, directory]) {
        assertEquals(answerTo("openat", -100, 1, flags, setId), "allow");
        assertEquals(answerTo("open", 1, flags, setId), "allow");
      }
      assertEquals(answerTo("creat", 1, setId), "EPERM");
      assertEquals(answerTo("creat", 1, 0o666), "allow");
      assertEquals(answerTo("mkdir", 1, setId), "EPERM");
      assertEquals(answerTo("mkdirat", -100, 1, setId), "EPERM");
      assertEquals(answerTo("mkdir", 1, 0o1777), "allow");
      assertEquals(answerTo("mkdirat", -100, 1, 0o777), "allow");
    }
    assertEquals(answerToCall("openat2", [-100, 1, 2, 24], "none", runs), "ENOSYS");
  }
});

Deno.test("clone3 is not there, so that the C library falls back to clone", () => {
  for (const network of NETWORKS) assertEquals(answerToCall("clone3", [0, 88], network), "ENOSYS");
});

Deno.test("calls of another architecture, and of x32, end the process", () => {
  const foreign: [Arch, number][] = [
    ["x86_64", AUDIT_ARCH.i386],
    ["x86_64", AUDIT_ARCH.aarch64],
    ["aarch64", AUDIT_ARCH.x86_64],
    ["aarch64", 0x40000028],
    ["x86_64", 0],
  ];
  for (const [arch, audited] of foreign) {
    for (const number of [0, 1, 11, 59, 221, 999]) {
      assertEquals(answerTo(arch, number, [], "names", audited), "kill process");
    }
  }
  for (const number of [0x40000000, 0x40000001, 0x40000208, 0x7fffffff, 0xffffffff]) {
    assertEquals(answerTo("x86_64", number), "kill process");
    assertEquals(answerTo("aarch64", number), "ENOSYS");
  }
});

Deno.test("calls newer than the table are not there", () => {
  for (const arch of ARCHES) {
    for (const number of [463, 464, 472, 500, 1000, 0x3fffffff]) {
      assertEquals(answerTo(arch, number, [], "names"), "ENOSYS", `${arch} ${number}`);
    }
  }
});

const AF = { unix: 1, inet: 2, inet6: 10, netlink: 16, packet: 17, alg: 38, vsock: 40 } as const;
const TYPES = { stream: 1, dgram: 2, raw: 3, seqpacket: 5 } as const;
/** SOCK_NONBLOCK, SOCK_CLOEXEC, both, and neither. */
const TYPE_FLAGS = [0, 0o4000, 0o2000000, 0o2004000];

Deno.test("a process adds a program to all of its threads alone", () => {
  assertEquals(answerToCall("seccomp", [1, 1]), "allow");
  // SECCOMP_SET_MODE_STRICT, GET_ACTION_AVAIL, GET_NOTIF_SIZES; other flags, a listener's among them.
  const others: Arguments[] = [[0, 0], [0, 1], [2, 1], [3, 1], [1, 0], [1, 8], [1, 9], [1, 17], [
    1,
    5,
  ]];
  for (const args of others) assertEquals(answerToCall("seccomp", args), "EPERM", `${args}`);
});

Deno.test("libraries are loaded later where names are looked up, and nothing is compiled where V8 interprets", () => {
  const codeOf = (config: Config, facts = FACTS) => workerWall(config, facts).code!;
  assertEquals(codeOf(CONFIG), { compiled: true, libraries: false });
  assertEquals(codeOf({ ...CONFIG, net: ["127.0.0.1:5432"] }).libraries, false);
  assertEquals(codeOf({ ...CONFIG, net: ["db.internal:5432"] }).libraries, true);
  assertEquals(codeOf({ ...CONFIG, sys: ["hostname"] }).libraries, true);
  const alone = codeOf(CONFIG, { ...FACTS, interpretsAlone: true });
  assertEquals(alone, { compiled: false, libraries: false });
});

Deno.test("the later program is one that the kernel takes, on both architectures", () => {
  for (const arch of ARCHES) {
    for (const compiled of [false, true]) {
      for (const libraries of [false, true]) {
        const program = laterProgram(arch, { compiled, libraries });
        assertEquals(findProgramFaults(encodeProgram(program)), []);
        assert(program.every(([, jt, jf]) => jt <= 255 && jf <= 255));
      }
    }
  }
});

Deno.test("no message is out of band: Unix sockets have been broken into by those", () => {
  for (const [call, at] of [["sendto", 3], ["sendmsg", 2], ["sendmmsg", 3]] as const) {
    for (const flags of [1, 0x4001, 0x20000000, 0x20000001]) {
      const args = Array.from({ length: 6 }, (_, index) => index === at ? flags : 0);
      assertEquals(answerToCall(call, args), "EPERM", `${call} ${flags}`);
    }
    assertEquals(
      answerToCall(call, Array.from({ length: 6 }, (_, i) => i === at ? 0x4000 : 0)),
      "allow",
    );
  }
});

Deno.test("sockets are TCP where something may be dialled, also UDP where names are looked up, else none", () => {
  const allowed: Record<SeccompPolicy["network"], number[]> = {
    none: [],
    tcp: [TYPES.stream],
    names: [TYPES.stream, TYPES.dgram],
  };
  for (const network of NETWORKS) {
    for (const [family, domain] of Object.entries(AF)) {
      for (const [name, type] of Object.entries(TYPES)) {
        for (const flags of TYPE_FLAGS) {
          const isInet = domain === AF.inet || domain === AF.inet6;
          const expected = isInet && allowed[network].includes(type) ? "allow" : "EPERM";
          const answer = answerToCall("socket", [domain, type | flags, 0], network);
          assertEquals(answer, expected, `${network}: ${family} ${name} ${flags}`);
        }
      }
    }
  }
});

Deno.test("who dials Unix sockets has streams of them, and is asked about each", () => {
  for (const net of [[], ["10.0.0.1:80"], ["db.test:80"]]) {
    const { seccomp, landlock, dials } = workerWall(
      { ...CONFIG, net: [...net, "unix:/run/a"] },
      FACTS,
    );
    const without = workerWall({ ...CONFIG, net }, FACTS);
    // Landlock knows nothing of it, and of the rest as much as ever.
    assertEquals(landlock, without.landlock);
    assertEquals([seccomp.network, seccomp.unix], [without.seccomp.network, true]);
    assertEquals(dials, [...net, "unix:/run/a"]);
    for (const arch of ARCHES) {
      const answers = (program: Uint8Array<ArrayBuffer>, call: SystemCall, ...args: number[]) =>
        describeAnswer(
          runProgram(program, { arch: AUDIT_ARCH[arch], number: numberOf(call, arch)!, args }),
        );
      const program = encodeProgram(seccompProgram(arch, seccomp));
      const other = encodeProgram(seccompProgram(arch, without.seccomp));
      assertEquals(findProgramFaults(program), []);
      for (const [family, domain] of Object.entries(AF)) {
        for (const [name, type] of Object.entries(TYPES)) {
          for (const flags of TYPE_FLAGS) {
            const asked = ["socket", domain, type | flags, 0] as const;
            const before = answers(other, ...asked);
            const expected = domain === AF.unix && type === TYPES.stream ? "allow" : before;
            assertEquals(answers(program, ...asked), expected, `${net} ${family} ${name} ${flags}`);
          }
        }
      }
      assertEquals(answers(program, "connect", 7, 1, 16), "ask");
      assertEquals(answers(program, "bind", 7, 1, 16), answers(other, "bind", 7, 1, 16));
      assertEquals(answers(program, "listen", 7, 1), "EPERM");
    }
  }
});

Deno.test("connect and bind go as far as the network of the policy", () => {
  const expected = { none: ["EPERM", "EPERM"], tcp: ["ask", "EPERM"], names: ["ask", "ask"] };
  for (const network of NETWORKS) {
    assertEquals(
      [answerToCall("connect", [7, 1, 16], network), answerToCall("bind", [7, 1, 16], network)],
      expected[network],
      network,
    );
  }
  // A planner fetches from anywhere.
  assertEquals(answerToCall("connect", [7, 1, 16], "names", true), "allow");
  assertEquals(answerToCall("bind", [7, 1, 16], "names", true), "allow");
});

Deno.test("listen is never done; workers with a Unix socket, on which the runtime calls it again, are told that it was", () => {
  const unix: Config["listen"] = [
    ...CONFIG.listen,
    { kind: "unix", text: "unix:/run/site.sock", path: "/run/site.sock", mode: 0o600 },
  ];
  for (const [listen, expected] of [[CONFIG.listen, "EPERM"], [unix, "success"]] as const) {
    const { seccomp } = workerWall({ ...CONFIG, listen }, FACTS);
    for (const arch of ARCHES) {
      const program = encodeProgram(seccompProgram(arch, seccomp));
      assertEquals(findProgramFaults(program), []);
      const call = { arch: AUDIT_ARCH[arch], number: numberOf("listen", arch)!, args: [7, 128] };
      assertEquals(describeAnswer(runProgram(program, call)), expected);
    }
  }
  for (const network of NETWORKS) {
    assertEquals(answerToCall("listen", [7, 128], network), "EPERM", "unless the policy says so");
  }
});

Deno.test("a worker that ends TLS makes sockets and asks where it listens, and dials nobody for that", () => {
  const tls = [{ cert: "/srv/tls/cert.pem", key: "/srv/tls/key.pem" }];
  const listen: Config["listen"] = CONFIG.listen.map((address) => ({ ...address, tls }));
  const wall = workerWall({ ...CONFIG, net: [], listen }, FACTS);
  assertEquals([wall.dials, wall.landlock.connect], [[], []]);
  const expected = {
    socket: [[2, 1, 0], "allow"],
    bind: [[7, 0, 16], "success"],
    listen: [[7, 128], "ask"],
    connect: [[7, 0, 16], "EPERM"],
    sendto: [[7, 0, 1, 0, 4096, 16], "EPERM"],
  } as const;
  for (const arch of ARCHES) {
    const program = encodeProgram(seccompProgram(arch, wall.seccomp));
    assertEquals(findProgramFaults(program), []);
    for (const [call, [args, answer]] of Object.entries(expected)) {
      const number = numberOf(call as keyof typeof expected, arch)!;
      const made = runProgram(program, { arch: AUDIT_ARCH[arch], number, args: [...args] });
      assertEquals(describeAnswer(made), answer, call);
    }
  }
  const netOf = (net: string[], listen: Config["listen"]) =>
    workerArguments({ ...CONFIG, net, listen }, { flags: [] })
      .find((flag) => /^--(allow|deny)-net/.test(flag));
  assertEquals(netOf([], CONFIG.listen), "--deny-net");
  assertEquals(netOf([], listen), "--allow-net=127.0.0.1:1");
  assertEquals(netOf(["a.test:80"], listen), "--allow-net=a.test:80,127.0.0.1:1");
  // What the app has by itself is not given up.
  assertEquals(netOf(["127.0.0.1"], listen), "--allow-net=127.0.0.1");
});

const FASTOPEN = 0x20000000;

Deno.test("sendto with an address is asked about where names are looked up, whichever half of the pointer is set", () => {
  const addresses = [1n, 0xffffffffn, 0x1_0000_0000n, 0x7fff_0000_0000n, 0x7fff_1234_5678n];
  for (const network of NETWORKS) {
    assertEquals(answerToCall("sendto", [7, 1, 1, 0, 0, 0], network), "allow");
    assertEquals(answerToCall("sendto", [7, 1, 1, 0x4000, 0n, 0], network), "allow");
    for (const address of addresses) {
      assertEquals(
        answerToCall("sendto", [7, 1, 1, 0, address, 16], network),
        network === "names" ? "ask" : "EPERM",
        `${network} ${address.toString(16)}`,
      );
    }
  }
});

Deno.test("no send opens a connection by MSG_FASTOPEN", () => {
  for (const network of NETWORKS) {
    for (const flags of [FASTOPEN, FASTOPEN | 0x4000, -1]) {
      assertEquals(answerToCall("sendto", [7, 1, 1, flags, 0, 0], network), "EPERM");
      assertEquals(answerToCall("sendto", [7, 1, 1, flags, 1, 16], network), "EPERM");
      assertEquals(answerToCall("sendmsg", [7, 1, flags], network), "EPERM");
      assertEquals(answerToCall("sendmmsg", [7, 1, 1, flags], network), "EPERM");
    }
    for (const flags of [0, 0x4000, 0x40, 0x10000000, 0x40000000]) {
      // A message has its address behind a pointer: who may have sockets for datagrams sends none.
      const expected = network === "names" ? "EPERM" : "allow";
      assertEquals(answerToCall("sendmsg", [7, 1, flags], network), expected);
      assertEquals(answerToCall("sendmmsg", [7, 1, 1, flags], network), expected);
    }
  }
});

/** Calls that depend on one argument: where it is, what is allowed, what is refused. */
const BY_VALUE: [SystemCall, at: number, allowed: number[], refused: number[]][] = [
  ["shutdown", 1, [1], [0, 2, 3, -1]],
  // TIOCSTI and TIOCLINUX; FS_IOC_SETFLAGS and FS_IOC_FSSETXATTR. Allowed: FIONREAD, FIONBIO, TCGETS.
  ["ioctl", 1, [0x541b, 0x5421, 0x5401], [0x5412, 0x541c, 0x40086602, 0x401c5820]],
  // F_SETOWN, F_SETSIG, F_SETOWN_EX, F_SETLEASE, F_NOTIFY. Allowed: F_DUPFD to F_SETLKW, F_DUPFD_CLOEXEC, F_GETFL of pipes.
  ["fcntl", 1, [0, 1, 2, 3, 4, 5, 6, 7, 9, 1025, 1030, 1032], [8, 10, 15, 1024, 1026]],
  // PR_SET_PDEATHSIG, PR_SET_DUMPABLE, PR_SET_SECCOMP, PR_CAPBSET_DROP, PR_SET_SECUREBITS, PR_SET_MM,
  // PR_SET_CHILD_SUBREAPER, PR_CAP_AMBIENT, PR_SET_SPECULATION_CTRL, PR_SCHED_CORE, PR_SET_PTRACER.
  // Allowed: PR_SET_NAME, PR_GET_SECCOMP, PR_SET_VMA and the like.
  ["prctl", 0, [15, 16, 21, 38, 0x53564d41], [1, 4, 22, 24, 28, 35, 36, 47, 53, 62, 0x59616d61]],
  ["setpriority", 1, [0], [1, 1234, -1]],
  ["sched_setaffinity", 0, [0], [1, 1234, -1]],
  ["getpriority", 1, [0], [1, 1234, -1]],
  ["getpgid", 0, [0], [1, 1234, -1]],
  ["getsid", 0, [0], [1, 1234, -1]],
];

for (const [call, at, allowed, refused] of BY_VALUE) {
  Deno.test(`${call} depends on its argument ${at}`, () => {
    const args = (value: number) => Array.from({ length: at + 1 }, (_, n) => n === at ? value : 0);
    for (const value of allowed) {
      assertEquals(answerToCall(call, args(value)), "allow", `${value}`);
      // The upper half is not the kernel's: it takes these arguments as 32 bits.
      const wide = args(value).map((each) => BigInt.asUintN(32, BigInt(each)) | 0x7_0000_0000n);
      assertEquals(answerToCall(call, wide.map((each, n) => n === at ? each : 0n)), "allow");
    }
    for (const value of refused) {
      assertEquals(answerToCall(call, args(value)), "EPERM", `${value}`);
      const wide = BigInt.asUintN(32, BigInt(value)) | 0x7_0000_0000n;
      const widened = args(value).map((each, n) => n === at ? wide : BigInt(each));
      assertEquals(answerToCall(call, widened), "EPERM", `${wide}`);
    }
  });
}

Deno.test("a listener is given no option but those that the supervisor sets back", () => {
  const allowed: [level: number, name: number][] = [
    ...[[1, 2], [1, 9]] as [number, number][],
    ...[[6, 1], [6, 4], [6, 5], [6, 6], [6, 18]] as [number, number][],
    ...[[0, 11], [41, 25], [41, 26]] as [number, number][],
  ];
  const isAllowed = (level: number, name: number) =>
    allowed.some(([one, other]) => one === level && other === name);
  for (const level of [-1, 0, 1, 6, 17, 41, 58, 132, 263, 282]) {
    for (let name = -1; name < 80; name++) {
      const expected = isAllowed(level, name) ? "allow" : "EPERM";
      const answer = answerToCall("setsockopt", [7, level, name, 1, 4]);
      assertEquals(answer, expected, `level ${level}, name ${name}`);
    }
  }
  // Filters of SO_ATTACH_FILTER and its like, by name.
  for (const name of [26, 50, 51, 52]) {
    assertEquals(answerToCall("setsockopt", [7, 1, name]), "EPERM");
  }
});

Deno.test("limits can be read, of the worker itself, and never set", () => {
  const pointer = 0x7fff_0000_0000n;
  for (
    const [args, expected] of [
      [[0, 7, 0, pointer], "allow"],
      [[0, 7, 0n, 0n], "allow"],
      [[0, 7, pointer, 0], "EPERM"],
      [[0, 7, 1, 0], "EPERM"],
      [[0, 7, 0x1_0000_0000n, 0], "EPERM"],
      [[0, 7, 0xffff_ffffn, pointer], "EPERM"],
      [[1, 7, 0, pointer], "EPERM"],
      [[1234, 7, pointer, 0], "EPERM"],
      [[-1, 7, 0, pointer], "EPERM"],
    ] as [Arguments, string][]
  ) assertEquals(answerToCall("prlimit64", args), expected, String(args));
});

Deno.test("fchmod is said to be done", () => {
  for (const network of NETWORKS) {
    assertEquals(answerToCall("fchmod", [3, 0o777], network), "success");
  }
});

/** What V8, Tokio, SQLite and the C library cannot do without, on x86_64 and aarch64. */
const NEEDED: Record<string, readonly [x86_64: number | undefined, aarch64: number | undefined]> = {
  read: [0, 63],
  write: [1, 64],
  close: [3, 57],
  fstat: [5, 80],
  poll: [7, undefined],
  lseek: [8, 62],
  mmap: [9, 222],
  mprotect: [10, 226],
  munmap: [11, 215],
  brk: [12, 214],
  rt_sigaction: [13, 134],
  rt_sigprocmask: [14, 135],
  rt_sigreturn: [15, 139],
  pread64: [17, 67],
  pwrite64: [18, 68],
  readv: [19, 65],
  writev: [20, 66],
  sched_yield: [24, 124],
  mremap: [25, 216],
  madvise: [28, 233],
  nanosleep: [35, 101],
  getpid: [39, 172],
  accept: [43, 202],
  recvfrom: [45, 207],
  recvmsg: [47, 212],
  getsockname: [51, 204],
  getpeername: [52, 205],
  getsockopt: [55, 209],
  exit: [60, 93],
  uname: [63, 160],
  fsync: [74, 82],
  fdatasync: [75, 83],
  ftruncate: [77, 46],
  getcwd: [79, 17],
  chdir: [80, 49],
  getuid: [102, 174],
  sigaltstack: [131, 132],
  gettid: [186, 178],
  futex: [202, 98],
  getdents64: [217, 61],
  exit_group: [231, 94],
  epoll_wait: [232, undefined],
  epoll_ctl: [233, 21],
  newfstatat: [262, 79],
  unlinkat: [263, 35],
  readlinkat: [267, 78],
  ppoll: [271, 73],
  set_robust_list: [273, 99],
  epoll_pwait: [281, 22],
  eventfd2: [290, 19],
  epoll_create1: [291, 20],
  pipe2: [293, 59],
  accept4: [288, 242],
  renameat2: [316, 276],
  getrandom: [318, 278],
  copy_file_range: [326, 285],
  statx: [332, 291],
  rseq: [334, 293],
  close_range: [436, 436],
};

Deno.test("what a worker lives on is allowed, with any arguments and any network", () => {
  for (const [name, [x86_64, aarch64]] of Object.entries(NEEDED)) {
    for (const [arch, number] of Object.entries({ x86_64, aarch64 }) as [Arch, number][]) {
      if (number === undefined) continue;
      for (const network of NETWORKS) {
        for (const args of [[], [-1, -1, -1, -1, -1, -1]]) {
          assertEquals(answerTo(arch, number, args, network), "allow", `${arch} ${name}`);
        }
      }
    }
  }
});

Deno.test("a process looks at its own scheduling and clocks, and at no other's", () => {
  const elsewhere: [call: AnyCall, answer: string][] = [
    // What the C library asks about its own threads by number: it goes on without, or takes this.
    ...[["sched_getaffinity", "ENOSYS"], ["sched_getattr", "ENOSYS"]] as [AnyCall, string][],
    ...[["sched_getparam", "success"], ["sched_getscheduler", "success"]] as [AnyCall, string][],
  ];
  for (const [call, answer] of elsewhere) {
    assertEquals(answerToCall(call, [0, 8, 1]), "allow", call);
    for (const pid of [1, 1234, -1]) assertEquals(answerToCall(call, [pid, 8, 1]), answer, call);
  }
  for (const call of ["clock_gettime", "clock_getres", "clock_nanosleep"] as const) {
    // CLOCK_REALTIME to CLOCK_TAI, and the processor time of the process and of the thread.
    for (let clock = 0; clock < 16; clock++) assertEquals(answerToCall(call, [clock, 1]), "allow");
    // A number below zero is a process, a thread or a descriptor.
    for (const clock of [-6, -2, -1, ~1234 << 3 | 2]) {
      assertEquals(answerToCall(call, [clock, 1]), "EINVAL", `${call} ${clock}`);
    }
  }
});

Deno.test("pairs of connected stream sockets are allowed: Tokio waits for signals by one", () => {
  for (const network of NETWORKS) {
    for (const flags of TYPE_FLAGS) {
      const answers = [53, 199].map((number, index) =>
        answerTo(ARCHES[index]!, number, [AF.unix, TYPES.stream | flags, 0, 1], network)
      );
      assertEquals(answers, ["allow", "allow"]);
    }
  }
});

for (const [index, arch] of ARCHES.entries()) {
  Deno.test(`${arch}: no pair of datagram sockets: one can be sent from to any name`, () => {
    for (const network of ["none", "tcp", "names"] as const) {
      assertEquals(answerTo(arch, [53, 199][index]!, [1, 1 | 0o2004000, 0, 1], network), "allow");
      for (const type of [2, 3, 2 | 0o2004000]) {
        assertEquals(answerTo(arch, [53, 199][index]!, [1, type, 0, 1], network), "EPERM");
      }
    }
  });

  Deno.test(`${arch}: no pair of sockets but of Unix ones`, () => {
    for (const family of [0, 2, 10, 16, 17, 30, 38, 40, -1]) {
      for (const runs of [false, true]) {
        const program = encodeProgram(
          seccompProgram(arch, { network: "names", listens: false, runs }),
        );
        const number = [53, 199][index]!;
        const call = { arch: AUDIT_ARCH[arch], number, args: [family, 1, 0, 1] };
        assertEquals(describeAnswer(runProgram(program, call)), "EPERM", `family ${family}`);
      }
    }
  });

  Deno.test(`${arch}: no protocol but TCP and UDP: Landlock does not rule the ports of MPTCP`, () => {
    const socket = [41, 198][index]!;
    for (const domain of [2, 10]) {
      for (const protocol of [0, 6]) {
        assertEquals(answerTo(arch, socket, [domain, 1, protocol], "tcp"), "allow");
      }
      assertEquals(answerTo(arch, socket, [domain, 2, 17], "names"), "allow");
      for (const protocol of [1, 33, 132, 136, 255, 256, 262, -1]) {
        for (const type of [1, 2]) {
          assertEquals(answerTo(arch, socket, [domain, type, protocol], "names"), "EPERM");
        }
      }
    }
  });

  Deno.test(`${arch}: priority is set for the caller itself, not for its group or its user`, () => {
    const setpriority = [141, 140][index]!;
    assertEquals(answerTo(arch, setpriority, [0, 0, 5], "none"), "allow");
    for (const which of [1, 2, 3]) {
      assertEquals(answerTo(arch, setpriority, [which, 0, 5], "none"), "EPERM");
    }
  });

  Deno.test(`${arch}: ioctl names no owner of a socket's signals, and seals no file`, () => {
    for (const request of [0x8901, 0x8902, 0x40806685, 0x800c6613]) {
      assertEquals(answerTo(arch, [16, 29][index]!, [3, request, 1], "none"), "EPERM");
    }
  });
}

// ---- numbers ----

/** Where linux-libc-dev, or a C library's headers, have the kernel's numbers. */
const HEADERS: Record<Arch, readonly string[]> = {
  x86_64: [
    "/usr/include/x86_64-linux-gnu/asm/unistd_64.h",
    "/usr/include/asm/unistd_64.h",
    "/usr/x86_64-linux-gnu/include/asm/unistd_64.h",
  ],
  aarch64: [
    "/usr/include/asm-generic/unistd.h",
    "/usr/aarch64-linux-gnu/include/asm-generic/unistd.h",
  ],
};

function readHeader(arch: Arch): Map<string, number> | undefined {
  for (const path of HEADERS[arch]) {
    try {
      const text = Deno.readTextFileSync(path);
      const numbers = new Map(
        [...text.matchAll(/^#define __NR(?:3264)?_(\w+)\s+(\d+)\b/gm)]
          .map(([, name, number]) => [name!, Number(number)]),
      );
      // Some go by another name where a number has 64 bits.
      for (const [, name, other] of text.matchAll(/^#define __NR_(\w+) __NR3264_(\w+)$/gm)) {
        const number = numbers.get(other!);
        if (number !== undefined) numbers.set(name!, number);
      }
      // How many there are is no call.
      numbers.delete("syscalls");
      return numbers;
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error;
    }
  }
  return undefined;
}

for (const arch of ARCHES) {
  const header = readHeader(arch);
  const name = `the numbers of calls on ${arch} are those of the kernel's headers`;
  testWith({ missing: header ? undefined : "linux-libc-dev is not installed" }, name, () => {
    const newest = Math.max(...header!.values());
    const wrong = ANY_CALLS.filter((call) => {
      const number = anyNumberOf(call, arch);
      // What is newer than the headers is not in them, and calls of the kernel's own probes neither.
      const isNewer = number !== undefined && (number > newest || call.endsWith("probe"));
      return number !== header!.get(call) && !isNewer;
    });
    assertEquals(wrong.map((call) => [call, anyNumberOf(call, arch), header!.get(call)]), []);
    // And every number that the headers have is known by a name.
    const known = new Set(ANY_CALLS.map((call) => anyNumberOf(call, arch)));
    // Of 32-bit architectures alone, or no call: where the table for some architectures begins or ends.
    const foreign = /64$|time64|^sync_file_range2$|^arch_specific_syscall$|^llseek$|^mmap2$/;
    const missing = [...header!].filter(([name, number]) =>
      !known.has(number) && !foreign.test(name)
    );
    assertEquals(missing, []);
    const index = arch === "x86_64" ? 0 : 1;
    const needed = Object.entries(NEEDED)
      .filter(([, numbers]) => numbers[index] !== undefined)
      .filter(([call, numbers]) => header!.get(call) !== numbers[index]);
    assertEquals(needed, []);
    assert(header!.size > 300, `${header!.size} calls`);
  });
}

Deno.test("no number stands for two calls", () => {
  for (const arch of ARCHES) {
    const numbers = ANY_CALLS.flatMap((call) => anyNumberOf(call, arch) ?? []);
    assertEquals(numbers.length, new Set(numbers).size, arch);
  }
});

Deno.test("a path with a comma is told as a fault of the config, not of Holdfast", () => {
  const error = assertThrows(() => joined(["/srv/a", "/srv/b,c"]), HoldfastError);
  assertEquals([error.kind, error.code], ["config", "path_unfit"]);
  assertStringIncludes(error.message, "/srv/b,c");
});
