/** The kernel's layer for a worker, from the config and what the machine has. Pure. */
import { join } from "node:path";
import type { Compartment, Config } from "../config/config.ts";
import { foldersAbove } from "../config/paths.ts";
import type { FsRight, LandlockPolicy, PathRule } from "./landlock.ts";
import { unveilRights } from "./landlock.ts";
import { type Limit, workerLimits } from "./limits.ts";
import { type Arch, type Instruction, type SeccompPolicy, seccompProgram } from "./seccomp.ts";

/** Everything that the kernel is to enforce on a worker. */
export interface Wall {
  readonly abi: number;
  readonly landlock: LandlockPolicy;
  readonly seccomp: SeccompPolicy;
  /** What {@link Wall.seccomp} comes to on this machine. */
  readonly program: readonly Instruction[];
  readonly limits: readonly Limit[];
  /** Whom the workers run as, where that is not who runs the supervisor. */
  readonly owner: Compartment["account"];
  /** A file that the worker may not open, however wide its config: it shows that Landlock works. */
  readonly forbidden: string;
}

/** What a wall depends on besides the config. */
export interface WallFacts {
  readonly arch: Arch;
  /** The kernel's Landlock ABI. */
  readonly abi: number;
  /** What lies in DENO_DIR that the runtime reads; what programs store there is beside it. */
  readonly caches: readonly string[];
  readonly denoProgram: string;
  /** Every local file of the app's module graph. */
  readonly modules: readonly string[];
  readonly forbidden: string;
}

const READ: readonly FsRight[] = ["readFile", "readDir"];
const RUN: readonly FsRight[] = ["readFile", "execute"];

/** What the dynamic loader, V8 and the C library open on their own. None of it is a secret. */
const MACHINE: readonly [path: string, rights: readonly FsRight[]][] = [
  ["/lib64/ld-linux-x86-64.so.2", RUN],
  ["/lib/ld-linux-aarch64.so.1", RUN],
  ["/lib", READ],
  ["/lib64", READ],
  ["/usr/lib", READ],
  ["/etc/ld.so.cache", READ],
  ["/etc/localtime", READ],
  ["/usr/share/zoneinfo", READ],
  ["/dev/null", ["readFile", "writeFile"]],
  ["/dev/urandom", READ],
  ["/dev/random", READ],
];

/** What dialling needs: names, and whom to trust. */
const DIALLING = [
  "/etc/resolv.conf",
  "/etc/hosts",
  "/etc/host.conf",
  "/etc/nsswitch.conf",
  "/etc/gai.conf",
  "/etc/services",
  "/etc/ssl/certs",
  "/usr/share/ca-certificates",
];

/** Where Deno looks for an app's settings, from a module upwards. */
const SETTINGS = [
  "deno.json",
  "deno.jsonc",
  "package.json",
  "deno.lock",
  "tsconfig.json",
  ".npmrc",
  "node_modules",
];

/** A helper has no listeners, and sends no traces. */
export type Walled = Compartment & Partial<Pick<Config, "listen" | "traces">>;

/** The wall of a worker, or of a helper. */
export function workerWall(config: Walled, facts: WallFacts): Wall {
  const optional = (path: string, rights: readonly FsRight[]): PathRule => ({
    path,
    rights,
    presence: "optional",
  });
  const required = (path: string, rights: readonly FsRight[]): PathRule => ({
    path,
    rights,
    presence: "required",
  });
  const modules = [...new Set([config.app.module, ...facts.modules])];
  const folders = [...new Set(modules.flatMap(foldersAbove))];
  const { settings = [], listed = [] } = config.app;
  // Deno's own exporter asks no permission of Deno's; the kernel does not tell it from the app.
  const dialled = [...config.net, ...config.traces ? [config.traces.collector] : []];
  const network = networkOf(dialled);
  const seccomp = { network, listens: config.listen?.some(({ kind }) => kind !== "tcp") === true };
  return {
    abi: facts.abi,
    seccomp,
    program: seccompProgram(facts.arch, seccomp),
    limits: workerLimits(config),
    owner: config.account,
    forbidden: facts.forbidden,
    landlock: {
      connect: connectPorts(dialled),
      paths: [
        required(facts.denoProgram, RUN),
        ...MACHINE.map(([path, rights]) => optional(path, rights)),
        ...network !== "none" ? DIALLING.map((path) => optional(path, READ)) : [],
        ...facts.caches.map((path) => optional(path, READ)),
        ...modules.map((path) => optional(path, READ)),
        ...folders.flatMap((folder) => SETTINGS.map((name) => optional(join(folder, name), READ))),
        ...settings.map((path) => optional(path, READ)),
        ...listed.map((path) => optional(path, ["readDir"])),
        ...config.unveil.map(({ path, rights }) => required(path, unveilRights(rights))),
      ],
    },
  };
}

/** The ports of `net`; an entry without one leaves all of them open. */
function connectPorts(net: readonly string[]): LandlockPolicy["connect"] {
  const ports = net.map((entry) => entry.replace(/^\[[^\]]*\]/, "").match(/:(\d+)$/)?.[1]);
  return ports.includes(undefined) ? "all" : ports.map(Number);
}

/** An app that dials addresses alone needs no names. */
function networkOf(net: readonly string[]): SeccompPolicy["network"] {
  if (net.length === 0) return "none";
  return net.every((entry) => /^(\[[^\]]*\]|[\d.]+)(:\d+)?$/.test(entry)) ? "tcp" : "names";
}
