/** What does not depend on a config. */
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import { DENO_VERSION } from "../../base/runtime.ts";
import { ownUid } from "../../base/own_uid.ts";
import { VERSION } from "../../base/version.ts";
import { unlessAbsent } from "../../config/real_place.ts";
import type { Facts } from "../../doctor/facts.ts";
import { readProc, readProcess, readText } from "../../os/file.ts";
import { landlockAbi } from "../../os/landlock.ts";
import {
  hasSeccompNotifications,
  isClockSet,
  landlockErrno,
  mayAccess,
  memoryErrno,
} from "../../os/machine.ts";
import { HOLDFAST_FOLDER } from "../../planner/programs.ts";
import { lookAhead } from "../../planner/strict_modes.ts";
import { LEAST_ABI } from "../../sandbox/landlock.ts";
import { missingIn } from "../../sandbox/landlock_gaps.ts";
import { hasProgram } from "../../sandbox/seccomp.ts";
import { denoProgram } from "../../supervisor/deno_program.ts";

const MAX_BYTES = 64 * 1024;

/** By their numbers in capabilities(7). */
const CAPABILITIES = { CAP_NET_BIND_SERVICE: 10, CAP_SYS_PTRACE: 19 } as const;

/** What tells a container, by files that its runtime leaves. */
function findContainer(): string | undefined {
  if (existsSync("/run/.containerenv")) return "podman";
  if (existsSync("/.dockerenv")) return "docker";
  const said = readText("/run/systemd/container", 64)?.trim();
  if (said) return said;
  if (Deno.env.get("KUBERNETES_SERVICE_HOST") !== undefined) return "kubernetes";
  return Deno.env.get("container") || undefined;
}

/** The names of the capabilities in a number. */
function capabilitiesOf(effective: bigint): string[] {
  return Object.entries(CAPABILITIES)
    .filter(([, bit]) => (effective >> BigInt(bit) & 1n) === 1n).map(([name]) => name);
}

/** The least that the cgroup of this process, and those above it, may use; else what the machine has. */
function memoryBytes(): number | undefined {
  const [, total] = readProc("meminfo", MAX_BYTES)?.match(/^MemTotal:\s*(\d+) kB$/m) ?? [];
  const machine = total === undefined ? Infinity : Number(total) * 1024;
  const limits = [machine];
  const own = readProc("self/cgroup", MAX_BYTES)?.match(/^0::(\/.*)$/m)?.[1] ?? "/";
  for (let path = own;; path = dirname(path)) {
    const text = readText(join("/sys/fs/cgroup", path, "memory.max"), 64)?.trim();
    if (text !== undefined && /^\d+$/.test(text)) limits.push(Number(text));
    if (path === "/") break;
  }
  const least = Math.min(...limits);
  return least === Infinity ? undefined : least;
}

function numberIn(name: string): number | undefined {
  const text = readProc(`sys/${name}`, 64)?.trim();
  return text !== undefined && /^\d+$/.test(text) ? Number(text) : undefined;
}

/** When one of these was changed last; 0 if none is there. */
export function newestOf(paths: readonly string[]): { readonly path: string; readonly ms: number } {
  return paths.reduce((newest, path) => {
    const { mtime } = unlessAbsent(() => Deno.statSync(path)) as Partial<Deno.FileInfo>;
    return mtime && mtime.getTime() > newest.ms ? { path, ms: mtime.getTime() } : newest;
  }, { path: "", ms: 0 });
}

function temporaryFacts(): Facts["temporary"] {
  const path = Deno.env.get("TMPDIR") || "/tmp";
  const { mode, isDirectory } = unlessAbsent(() => Deno.statSync(path));
  return {
    path,
    exists: isDirectory === true,
    mode: mode ?? undefined,
    mayWrite: mayAccess(path, "wx"),
  };
}

/** All that a look at the machine alone gives. */
export function readMachine() {
  const status = readProcess(Deno.pid, "status") ?? "";
  const [, descriptors] = readProcess(Deno.pid, "limits")
    ?.match(/^Max open files\s+\d+\s+(\d+)/m) ?? [];
  const effective = BigInt(`0x${/^CapEff:\s*(\w+)/m.exec(status)?.[1] ?? 0}`);
  const isLinux = Deno.build.os === "linux";
  const abi = landlockAbi();
  const ownFiles = lookAhead({ holdfast: HOLDFAST_FOLDER }).ownFiles;
  return {
    os: Deno.build.os,
    arch: Deno.build.arch,
    knowsArch: hasProgram(Deno.build.arch),
    kernel: readProc("sys/kernel/osrelease", 256)?.trim(),
    container: findContainer(),
    landlock: { abi, errno: isLinux && abi === 0 ? landlockErrno() : 0 },
    gaps: missingIn(abi),
    leastAbi: LEAST_ABI,
    notifications: isLinux && hasSeccompNotifications(),
    memoryErrno: isLinux ? memoryErrno() : 0,
    deno: { version: Deno.version.deno, wanted: DENO_VERSION, program: denoProgram() },
    node: Deno.env.get("HOLDFAST_NODE"),
    holdfast: { version: VERSION, changedMs: newestOf(ownFiles).ms },
    uid: ownUid() ?? 0,
    capabilities: capabilitiesOf(effective),
    environment: Deno.env.toObject(),
    limits: {
      descriptors: descriptors === undefined ? undefined : Number(descriptors),
      memoryBytes: memoryBytes(),
      watches: numberIn("fs/epoll/max_user_watches"),
      queue: numberIn("net/core/somaxconn"),
      processors: navigator.hardwareConcurrency,
    },
    firstOpenPort: numberIn("net/ipv4/ip_unprivileged_port_start") ?? 1024,
    temporary: temporaryFacts(),
    isClockSet: isLinux ? isClockSet() : undefined,
  };
}
