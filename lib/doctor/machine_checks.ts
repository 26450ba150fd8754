/** Checks of the machine: kernel, runtime, clock, limits, disks. Pure. */
import { shellWord as word } from "../service/quote.ts";
import { type Check, fault, note, ok, or, size, warning } from "./check.ts";
import type { DiskFacts, Facts } from "./facts.ts";

const [ENOSYS, EOPNOTSUPP] = [38, 95];

/** Whether the config relies on the kernel's wall, as one does that is not there yet. */
const isWalled = ({ config }: Facts) => config?.wall !== "deno";

const REPLACE_WALL = 'or set "wall": "deno" in the config, which leaves native code unrestricted';

function mendLandlock({ landlock: { abi, errno }, container, leastAbi }: Facts): string {
  if (abi > 0) return `Take Linux 6.2 or newer, whose ABI is ${leastAbi} or more; ${REPLACE_WALL}`;
  if (errno === EOPNOTSUPP) {
    return "Boot with landlock in lsm=, such as: lsm=landlock,lockdown,yama,integrity,apparmor,bpf " +
      "(GRUB_CMDLINE_LINUX, then update-grub)";
  }
  if (container !== undefined && errno !== ENOSYS) {
    return "Let the container make Landlock's calls: a newer runtime, or " +
      "docker run --security-opt seccomp=FILE with landlock_* allowed";
  }
  return `Take Linux 6.2 or newer with CONFIG_SECURITY_LANDLOCK; ${REPLACE_WALL}`;
}

const kernel: Check = {
  id: "kernel",
  title: "Kernel",
  run: ({ os, arch, kernel, knowsArch, ...rest }) => {
    const what = `${os} ${kernel ?? ""} on ${arch}`.replace(/ +/g, " ");
    if (os === "linux" && knowsArch) return [ok(what)];
    const state = rest.config?.wall === "deno" ? note : fault;
    return [
      state(
        `${what} has no kernel wall: that is Linux on x86_64 or aarch64`,
        'Set "wall": "deno" in the config to accept Deno\'s permissions alone',
      ),
    ];
  },
};

/** Since when ports, devices, signals and abstract sockets are ruled. */
const SIGNALS_ABI = 6;

const landlock: Check = {
  id: "landlock",
  title: "Landlock",
  run: (facts) => {
    const { landlock: { abi, errno }, leastAbi, gaps, os, container } = facts;
    if (os !== "linux") return [];
    if (abi >= leastAbi) {
      if (gaps.length === 0) return [ok(`ABI ${abi}`)];
      const found = `ABI ${abi}, which does not rule: ${gaps.join("; ")}`;
      // What later ones add is ruled by seccomp, but for these.
      return abi >= SIGNALS_ABI ? [ok(found)] : [
        note(
          found,
          "Linux 6.12 or newer rules signals and ports too: uname -r says which this is",
        ),
      ];
    }
    const why = abi > 0
      ? `ABI ${abi}, and ${leastAbi} is the least`
      : errno === EOPNOTSUPP
      ? "it is built in and was not enabled at boot"
      : errno === ENOSYS
      ? "this kernel has none"
      : `its calls are refused (errno ${errno})` +
        (container === undefined ? "" : `, as by the seccomp profile of ${container}`);
    return [(isWalled(facts) ? fault : note)(`No wall of the kernel: ${why}`, mendLandlock(facts))];
  },
};

const seccomp: Check = {
  id: "seccomp",
  title: "seccomp",
  run: (facts) => {
    const { notifications, os, container, memoryErrno, config } = facts;
    if (os !== "linux") return [];
    const where = container === undefined ? "" : `, as by the seccomp profile of ${container}`;
    const dials = [config, ...config?.helpers ?? []].some((each) =>
      each?.net.some((entry) => entry.startsWith("unix:"))
    );
    return or([
      ...notifications ? [] : [
        (isWalled(facts) ? fault : note)(
          `The kernel does not ask about calls (seccomp_unotify)${where}`,
          "Take Linux 5.0 or newer with CONFIG_SECCOMP_FILTER; in a container allow seccomp(2)",
        ),
      ],
      ...memoryErrno === 0 ? [] : [
        (dials ? fault : note)(
          `The memory of processes cannot be read (errno ${memoryErrno})${where}: Unix sockets in ` +
            "net cannot be told apart",
          "In a container: --cap-add SYS_PTRACE, or a profile that allows process_vm_readv",
        ),
      ],
    ], "it asks about calls");
  },
};

const deno: Check = {
  id: "deno",
  title: "Deno",
  run: ({ deno: { version, wanted, program } }) => {
    const mend = `npx -y deno@${wanted}, or: deno upgrade ${wanted}`;
    const order = compare(version, wanted);
    return or([
      ...order < 0 ? [fault(`${version} is older than ${wanted}`, mend)] : [],
      ...order > 0 ? [note(`${version} is newer than ${wanted}, which is tested`, mend)] : [],
      ...program.includes("/_npx/")
        ? [
          note(
            `${program} lies in npx's cache, which npm may empty`,
            "For a service: npm install -g holdfast, or put deno into /usr/local/bin",
          ),
        ]
        : [],
    ], `${version}, ${program}`);
  },
};

/** The first Node that becomes the supervisor, in place of staying beside it; and the oldest. */
const [NODE_EXECS, NODE_LEAST] = ["22.15.0", "20.0.0"];

const node: Check = {
  id: "node",
  title: "Node",
  run: ({ node }) => {
    if (node === undefined) return [];
    const mend = "Install Node 22.15 or newer: https://nodejs.org";
    if (compare(node, NODE_LEAST) < 0) {
      return [fault(`${node}, and the npm package needs 20 or newer`, mend)];
    }
    return compare(node, NODE_EXECS) < 0
      ? [note(`${node} stays beside the supervisor and passes signals on`, mend)]
      : [ok(node)];
  },
};

/** Below 0 if the first version is older. */
function compare(version: string, than: string): number {
  const numbers = (text: string) => text.replace(/^v|[-+].*$/g, "").split(".").map(Number);
  const [is, wanted] = [numbers(version), numbers(than)];
  for (const [index, number] of wanted.entries()) {
    if ((is[index] ?? 0) !== number) return (is[index] ?? 0) - number;
  }
  return 0;
}

/** What a file's time may be ahead of the clock, as on another machine's disk. */
const SKEW_MS = 5_000;

const clock: Check = {
  id: "clock",
  title: "Clock",
  run: ({ clock: { isSet, nowMs, newest }, container }) => {
    const ahead = newest ? newest.ms - nowMs : 0;
    return or([
      ...newest && ahead > SKEW_MS
        ? [
          warning(
            `${newest.path} was changed ${
              Math.round(ahead / 1000)
            } s in the future: the clock is ` +
              "behind, or the file comes from another machine",
            "timedatectl set-ntp true, or: touch " + word(newest.path),
          ),
        ]
        : [],
      ...isSet === false
        ? [
          (container === undefined ? warning : note)(
            "The kernel says that nothing keeps the clock right (NTP): certificates and logs need it",
            container === undefined
              ? "timedatectl set-ntp true, or: apt install chrony"
              : "On the host of this container: timedatectl set-ntp true",
          ),
        ]
        : [],
    ], isSet === undefined ? "not behind any file" : "kept right");
  },
};

/** For each process of Holdfast's, and as much again while it reloads. */
const DESCRIPTORS_EACH = 20;

/** What a process of Deno's takes with a small app. */
const PROCESS_BYTES = 64 * 2 ** 20;

/** What is left of the descriptors of a worker besides connections; see connectionLimit. */
const SPARED = 768;

function countProcesses({ config }: Facts): number {
  if (config === undefined) return 2;
  const { workers, spare, helpers, log, metrics, acme } = config;
  const instances = helpers.reduce((sum, each) => sum + each.instances, 0);
  const others = [log.folder, metrics, acme].filter((each) => each !== undefined).length;
  return workers + spare + instances + others;
}

const descriptors: Check = {
  id: "descriptors",
  title: "Open files",
  run: (facts) => {
    const { limits: { descriptors }, config } = facts;
    if (descriptors === undefined) return [];
    const mend = (count: number) =>
      `ulimit -n ${count}; for a service LimitNOFILE=${count}; for logins /etc/security/limits.conf`;
    const least = 2 * DESCRIPTORS_EACH * countProcesses(facts) + 100;
    if (descriptors < least) {
      return [
        fault(`${descriptors} are too few to start and reload: ${least} at least`, mend(65_536)),
      ];
    }
    if (config === undefined) return [ok(String(descriptors))];
    const granted = Math.min(config.limits.descriptors, Math.floor(descriptors / 2));
    const { maxConnections } = config.http;
    return or([
      ...granted < SPARED * 2
        ? [
          warning(
            `A worker gets ${granted}: it does not pause accepting before they are used up`,
            mend(65_536),
          ),
        ]
        : [],
      ...maxConnections > granted - SPARED
        ? [
          warning(
            `http.maxConnections is ${maxConnections}, and a worker's ${granted} descriptors leave ` +
              `${Math.max(0, granted - SPARED)} for connections`,
            granted < config.limits.descriptors
              ? mend(2 * (maxConnections + SPARED))
              : `Set "limits": { "descriptors": ${maxConnections + SPARED} }`,
          ),
        ]
        : [],
    ], `${descriptors}, of which a worker gets ${granted}`);
  },
};

const memory: Check = {
  id: "memory",
  title: "Memory",
  run: (facts) => {
    const { limits: { memoryBytes }, config } = facts;
    if (memoryBytes === undefined) return [];
    const count = countProcesses(facts);
    // A reload has old and new processes side by side.
    const least = (2 * count + 1) * PROCESS_BYTES;
    const processes = count === 1 ? "1 process" : `${count} processes`;
    const granted = config?.limits.memoryBytes;
    return or([
      ...memoryBytes < least
        ? [
          warning(
            `${size(memoryBytes)} for ${processes}, twice as many while it reloads: about ` +
              `${size(least)} with a small app`,
            'Lower "workers" or "spare", or give it more memory (MemoryMax= of a unit, --memory)',
          ),
        ]
        : [],
      ...granted !== undefined && granted * (config?.workers ?? 1) > memoryBytes
        ? [
          note(
            `limits.memoryBytes lets the workers use ${
              size(granted * config!.workers)
            }, and there ` +
              `are ${size(memoryBytes)}`,
            `Set "limits": { "memoryBytes": ${Math.floor(memoryBytes / config!.workers / 2)} }`,
          ),
        ]
        : [],
    ], `${size(memoryBytes)} for ${processes}`);
  },
};

/** How many connections wait on a listener at the most, where the kernel allows it. */
const QUEUE = 511;
const FEW_WATCHES = 8_192;

const kernelLimits: Check = {
  id: "kernel_limits",
  title: "Kernel limits",
  run: ({ limits: { watches, queue } }) =>
    or([
      ...queue !== undefined && queue < QUEUE
        ? [
          note(
            `net.core.somaxconn is ${queue}: fewer clients than ${QUEUE} wait during a reload`,
            "sysctl -w net.core.somaxconn=4096",
          ),
        ]
        : [],
      ...watches !== undefined && watches < FEW_WATCHES
        ? [
          warning(
            `fs.epoll.max_user_watches is ${watches}: a user's processes share them`,
            "sysctl -w fs.epoll.max_user_watches=1048576",
          ),
        ]
        : [],
    ], "as usual"),
};

/** What it takes to keep some versions, and to write at all. */
const [FEW_BYTES, LEAST_BYTES, LEAST_FILES] = [256 * 2 ** 20, 32 * 2 ** 20, 2_000];

const FREE: Readonly<Record<DiskFacts["kind"], string>> = {
  runtime: 'Make room, or set "runtime" to a larger disk',
  denoDir: "Make room (deno clean), or set DENO_DIR to a larger disk",
  log: 'Make room, set "log.keep" lower, or "log.folder" to a larger disk',
  data: "Make room, or move it to a larger disk",
  program: "Make room",
  project: "Make room",
};

const disks: Check = {
  id: "disk",
  title: "Disk room",
  run: ({ disks }) =>
    or(
      disks.filter(({ kind }) => !["program", "project"].includes(kind)).flatMap(
        ({ what, kind, path, freeBytes, freeFiles }) => {
          if (freeBytes !== undefined && freeBytes < FEW_BYTES) {
            const state = freeBytes < LEAST_BYTES ? fault : warning;
            return [state(`${size(freeBytes)} left for ${what}, ${path}`, FREE[kind])];
          }
          // Some file systems have no such number, and say 0 of all.
          return freeFiles !== undefined && freeFiles < LEAST_FILES && freeFiles > 0
            ? [warning(`${freeFiles} more files fit for ${what}, ${path}: df -i`, FREE[kind])]
            : [];
        },
      ),
      "enough",
    ),
};

const SHARED = /^(nfs\d?|cifs|smb3?|9p|virtiofs|fuse\.sshfs|fuse\.glusterfs|ceph|lustre|vboxsf)$/;
const WITHOUT_SOCKETS = /^(9p|vboxsf|cifs|smb3?|vfat|exfat|ntfs3?|fuseblk)$/;

function judgeFileSystem(disk: DiskFacts, facts: Facts) {
  const { what, kind, path, type = "", options } = disk;
  const where = `${what}, ${path}, lies on ${type}`;
  const isNative = facts.config?.helpers.some(({ native }) => native) ?? false;
  const local = `Set "runtime" to a folder of this machine, such as /run/holdfast`;
  if (kind === "runtime" && WITHOUT_SOCKETS.test(type)) {
    return [fault(`${where}, which has no Unix sockets or no modes`, local)];
  }
  if (kind === "runtime" && SHARED.test(type)) {
    return [
      warning(`${where}: its lock and its socket are of several machines, or may fail`, local),
    ];
  }
  if (["runtime", "log", "data"].includes(kind) && options.includes("ro")) {
    return [fault(`${where}, which may only be read`, `mount -o remount,rw, or move it: ${path}`)];
  }
  if (kind === "program" && options.includes("noexec")) {
    return [fault(`${where}, mounted noexec`, "Move it, or: mount -o remount,exec that disk")];
  }
  if (kind === "runtime" && options.includes("noexec") && isNative) {
    return [
      fault(
        `${where}, mounted noexec: addons of "native" helpers are loaded from there`,
        'Set "runtime" to a disk without noexec, such as /var/lib/holdfast',
      ),
    ];
  }
  if (kind === "data" && type === "overlay" && facts.container !== undefined) {
    return [
      warning(
        `${where} of a container: what is written goes with the container`,
        `Mount a volume there: docker run -v NAME:${path}`,
      ),
    ];
  }
  if (kind === "data" && SHARED.test(type)) {
    return [
      note(`${where}: SQLite and locks may not be safe there`, "Keep databases on a local disk"),
    ];
  }
  if (kind === "denoDir" && options.includes("ro")) {
    return [
      note(`${where}, which may only be read: what is missing cannot be fetched`, "Set DENO_DIR"),
    ];
  }
  return [];
}

const fileSystems: Check = {
  id: "file_systems",
  title: "File systems",
  run: (facts) =>
    or(
      facts.disks.flatMap((disk) => judgeFileSystem(disk, facts)),
      [...new Set(facts.disks.flatMap(({ type }) => type ?? []))].join(", ") || "not known",
    ),
};

const temporary: Check = {
  id: "temporary",
  title: "Temporary files",
  run: ({ temporary: { path, exists, mode, mayWrite } }) => {
    if (!exists) return [fault(`${path} is not there`, `install -d -m 1777 ${word(path)}`)];
    if (!mayWrite) return [fault(`${path} may not be written`, `chmod 1777 ${word(path)}`)];
    // Others could put something else in the place of a file between two looks at it.
    return mode !== undefined && (mode & 0o1002) === 0o0002
      ? [warning(`${path} is open to all and not sticky`, `chmod 1777 ${word(path)}`)]
      : [ok(path)];
  },
};

export const MACHINE_CHECKS: readonly Check[] = [
  ...[kernel, landlock, seccomp, deno, node, clock, descriptors, memory, kernelLimits],
  ...[disks, fileSystems, temporary],
];
