/**
 * What an app is told of the machine: the same harmless facts in every process, since loggers, SDKs and
 * frameworks ask for some of them at their start and would fail by a refusal. The true ones stay refused
 * by the runtime, unless `sys` of the config grants them.
 */
import os from "node:os";
import process from "node:process";

type Functions = Record<string, (...all: never[]) => unknown>;

/** The user and group `nobody`, as Debian numbers them. */
const NOBODY = 65_534;
const MEMORY_BYTES = 2 ** 30;
const RELEASE = "6.2.0";
const UMASK = 0o022;
/** The oldest that Deno is made for. */
const GLIBC = "2.27";

const LOOPBACK = {
  address: "127.0.0.1",
  netmask: "255.0.0.0",
  family: "IPv4",
  mac: "00:00:00:00:00:00",
  cidr: "127.0.0.1/8",
} as const;

/** What `Deno` says, by the name of the permission that it needs. */
const DENO_FACTS: Record<string, Functions> = {
  hostname: { hostname: () => "localhost" },
  osRelease: { osRelease: () => RELEASE },
  osUptime: { osUptime: () => 1 },
  loadavg: { loadavg: () => [0, 0, 0] },
  networkInterfaces: { networkInterfaces: () => [{ name: "lo", scopeid: null, ...LOOPBACK }] },
  systemMemoryInfo: {
    systemMemoryInfo: () => ({
      ...{ total: MEMORY_BYTES, free: MEMORY_BYTES / 2, available: MEMORY_BYTES / 2 },
      ...{ buffers: 0, cached: 0, swapTotal: 0, swapFree: 0 },
    }),
  },
  uid: { uid: () => NOBODY },
  gid: { gid: () => NOBODY },
  umask: { umask: () => UMASK },
};

/** What `node:os` says where it does not ask `Deno`. */
const OS_FACTS: Record<string, Functions> = {
  cpus: {
    cpus:
      () => [{ model: "cpu", speed: 1000, times: { user: 0, nice: 0, sys: 0, idle: 1, irq: 0 } }],
  },
  homedir: { homedir: () => process.env.HOME ?? "/nonexistent" },
  osUptime: { uptime: () => 1 },
  osRelease: { release: () => RELEASE, version: () => `#1 SMP ${RELEASE}` },
  hostname: { hostname: () => "localhost" },
  loadavg: { loadavg: () => [0, 0, 0] },
  systemMemoryInfo: { totalmem: () => MEMORY_BYTES, freemem: () => MEMORY_BYTES / 2 },
  networkInterfaces: {
    networkInterfaces: () => ({ lo: [{ ...LOOPBACK, internal: true }] }),
  },
  userInfo: {
    userInfo: () => ({
      ...{ uid: NOBODY, gid: NOBODY, username: "app", shell: null },
      homedir: process.env.HOME ?? "/nonexistent",
    }),
  },
  getPriority: { getPriority: () => 0 },
};

/** What `process` says. */
const PROCESS_FACTS: Record<string, Functions> = {
  uid: { getuid: () => NOBODY },
  gid: { getgid: () => NOBODY },
  geteuid: { geteuid: () => Deno.uid() },
  getegid: { getegid: () => Deno.gid() },
  getgroups: { getgroups: () => [] },
  umask: { umask: () => UMASK },
  systemMemoryInfo: {
    availableMemory: () => MEMORY_BYTES / 2,
    constrainedMemory: () => 0,
  },
};

/** What `process.report` says: packages look there for the C library that an addon of theirs needs. */
const REPORT_FACTS: Record<string, Functions> = {
  cpus: {
    getReport: () => ({
      header: { glibcVersionRuntime: GLIBC, platform: "linux", arch: process.arch },
      ...{ sharedObjects: [], libuv: [], workers: [], environmentVariables: {}, userLimits: {} },
    }),
  },
};

/** The names of the functions that are replaced in a module of Node's, for who imports them by name. */
export const REPLACED_FACTS: Readonly<Record<"os" | "process", readonly string[]>> = {
  os: namesIn(OS_FACTS),
  process: namesIn(PROCESS_FACTS),
};

/**
 * Puts the facts in place.
 *
 * @param granted the permissions whose true facts the app may have
 * @param use is told of each of these that is asked for
 */
export function installFacts(granted: readonly string[], use: (kind: string) => void): void {
  const places: [object, Record<string, Functions>][] = [
    [Deno, DENO_FACTS],
    [os, OS_FACTS],
    [process, PROCESS_FACTS],
    [process.report, REPORT_FACTS],
  ];
  for (const [place, facts] of places) {
    for (const [kind, functions] of Object.entries(facts)) {
      const isGranted = granted.includes(kind);
      for (const [name, constant] of Object.entries(functions)) {
        const value = isGranted ? counted(place, name, () => use(kind)) : constant;
        Object.defineProperty(place, name, {
          value,
          writable: true,
          configurable: true,
          enumerable: true,
        });
      }
    }
  }
}

/** The function that is there, which is counted. */
function counted(place: object, name: string, count: () => void) {
  const original = (place as Functions)[name]!;
  return function (this: unknown, ...all: never[]) {
    count();
    return Reflect.apply(original, this, all);
  };
}

function namesIn(facts: Record<string, Functions>): string[] {
  return Object.values(facts).flatMap((functions) => Object.keys(functions));
}
