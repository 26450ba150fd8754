/** The kernel's layer for a worker, from the config and what the machine has. Pure. */
import type { Account, Compartment, Config } from "../config/config.ts";
import type { OwnAccount } from "./accounts.ts";
import type { CodePolicy } from "../protocol/program_data.ts";
import { isUnix } from "./dialling.ts";
import type { FsRight, LandlockPolicy, PathRule } from "./landlock.ts";
import { unveilRights } from "./landlock.ts";
import { type Limit, workerLimits } from "./limits.ts";
import type { ProcessCode } from "./process_code.ts";
import { type Arch, type Instruction, type SeccompPolicy, seccompProgram } from "./seccomp.ts";

/** Everything that the kernel is to enforce on a worker. */
export interface Wall {
  readonly abi: number;
  readonly landlock: LandlockPolicy;
  readonly seccomp: SeccompPolicy;
  /** What {@link Wall.seccomp} comes to on this machine. */
  readonly program: readonly Instruction[];
  /**
   * What the process itself takes away by its first lines: all but this becomes no code any more. One that
   * loads native code of its packages takes nothing away.
   */
  readonly code?: CodePolicy | undefined;
  readonly limits: readonly Limit[];
  /** Whom it may dial, as `net` says it: each address is asked about. */
  readonly dials: readonly string[];
  /** Whom the process runs as, where that is not who runs the supervisor. */
  readonly owner: Account & Partial<OwnAccount> | undefined;
  /**
   * A file that the worker may not open, however wide its config, and that a planner may not write: it
   * shows that Landlock works.
   */
  readonly forbidden: string;
}

/** What a wall depends on besides the config. */
export interface WallFacts {
  readonly arch: Arch;
  /** The kernel's Landlock ABI. */
  readonly abi: number;
  readonly denoProgram: string;
  /** Files of the program that it is besides, such as an executable's. */
  readonly files: readonly string[];
  readonly code: Pick<ProcessCode, "reads">;
  readonly forbidden: string;
  /** Whether V8 makes no code in it. */
  readonly interpretsAlone: boolean;
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

/** Where distributions keep the certificates of authorities; links lead from one to another. */
const TRUST = [
  "/etc/ssl/certs",
  "/etc/ssl/cert.pem",
  "/etc/pki/tls/certs",
  "/etc/pki/ca-trust/extracted",
  "/usr/share/ca-certificates",
  "/usr/local/share/ca-certificates",
  "/var/lib/ca-certificates",
];

/**
 * Where what the C library resolves names by lies: hosts, resolv.conf, nsswitch.conf and more. Folders,
 * since a rule holds the file that is there when it is made, and these files are replaced by a rename
 * while workers run. No folder is listed: READ_FILE alone.
 */
const NAME_FOLDERS = [
  "/etc",
  "/run/systemd/resolve",
  "/run/resolvconf",
  "/run/NetworkManager",
  "/run/connman",
  "/run/netconfig",
];

/** Where resolv.conf leads elsewhere still. */
const NAME_FILES = ["/etc/resolv.conf", "/etc/hosts"];

/** A helper has no listeners, and sends no traces. */
export type Walled = Compartment & Partial<Pick<Config, "listen" | "traces">> & {
  /** Whether it looks the names of `net` up, and dials nobody but name servers. */
  readonly resolves?: boolean;
  /** Whether it runs code of Holdfast's own that changes modes: it empties a folder. */
  readonly empties?: boolean;
};

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
  // Deno's own exporter asks no permission of Deno's; the kernel does not tell it from the app.
  const dialled = [
    ...config.resolves ? config.net.map((name) => `${name}:${NAME_SERVER_PORT}`) : config.net,
    ...config.traces ? [config.traces.collector] : [],
  ];
  const network = networkOf(dialled);
  const seccomp = {
    network,
    listens: config.listen?.some(({ kind }) => kind !== "tcp") === true,
    lends: config.listen?.some(({ tls }) => tls !== undefined) === true,
    runs: false,
    ...dialled.some(isUnix) && { unix: true },
    ...config.empties && { setsModes: true },
  };
  const code = config.native ? undefined : {
    compiled: !facts.interpretsAlone,
    // The C library looks names of hosts and of users up by others, as nsswitch.conf(5) says.
    libraries: network === "names" || (config.sys ?? []).length > 0,
  };
  return {
    abi: facts.abi,
    seccomp,
    program: seccompProgram(facts.arch, seccomp),
    code,
    limits: workerLimits(config),
    dials: dialled,
    owner: config.account,
    forbidden: facts.forbidden,
    landlock: {
      connect: connectPorts(dialled, network),
      names: network === "names",
      paths: [
        required(facts.denoProgram, RUN),
        ...MACHINE.map(([path, rights]) => optional(path, rights)),
        ...network !== "none" ? TRUST.map((path) => optional(path, READ)) : [],
        ...network === "names" ? NAME_FOLDERS.map((path) => optional(path, ["readFile"])) : [],
        ...network === "names" ? NAME_FILES.map((path) => optional(path, ["readFile"])) : [],
        ...[...facts.files, ...facts.code.reads].map((path) => optional(path, READ)),
        ...config.unveil.map(({ path, rights }) => required(path, unveilRights(rights))),
      ],
    },
  };
}

/** What a planner's wall depends on. */
export interface PlannerFacts
  extends Pick<WallFacts, "arch" | "abi" | "denoProgram" | "forbidden"> {
  readonly limits: Compartment["limits"];
  /** Whether it may fetch what is missing. */
  readonly network: "none" | "names";
  /** What it reads; the default is what its user may read. */
  readonly reads?: readonly string[];
  /** The folders that it writes. */
  readonly writes: readonly string[];
  /** Where programs lie that it runs besides Deno. */
  readonly programs?: readonly string[];
}

/**
 * The wall of a planner, and of what bundles Holdfast's own programs. A planner reads what its user may
 * read, since a project may import from anywhere, and writes its own folders and the caches of Deno. The
 * one program that it can run is Deno, behind the same wall. It reaches no Unix socket, no other process,
 * and the network only to fetch.
 */
export function plannerWall(
  { arch, abi, denoProgram, forbidden, limits, network, reads = ["/"], writes, programs = [] }:
    PlannerFacts,
): Wall {
  const seccomp: SeccompPolicy = { network, listens: false, runs: true };
  const written = [...READ, ...unveilRights("wc"), "makeSym" as const];
  const named = (path: string): PathRule => ({ path, rights: READ, presence: "optional" });
  return {
    ...{ abi, seccomp, forbidden, owner: undefined, dials: [] },
    program: seccompProgram(arch, seccomp),
    limits: workerLimits({ limits }),
    landlock: {
      connect: network === "none" ? [] : "all",
      names: network === "names",
      paths: [
        { path: denoProgram, rights: RUN, presence: "required" },
        ...MACHINE.map(([path, rights]): PathRule => ({ path, rights, presence: "optional" })),
        ...network === "none" ? [] : [...TRUST, ...NAME_FOLDERS, ...NAME_FILES].map(named),
        ...reads.map((path): PathRule => ({ path, rights: READ, presence: "optional" })),
        ...writes.map((path): PathRule => ({ path, rights: written, presence: "optional" })),
        ...programs.map((path): PathRule => ({ path, rights: RUN, presence: "optional" })),
      ],
    },
  };
}

/** Where name servers answer by TCP what has no room in a datagram. */
const NAME_SERVER_PORT = 53;

/** The ports of `net`; an entry without one leaves all of them open. */
function connectPorts(
  net: readonly string[],
  network: SeccompPolicy["network"],
): LandlockPolicy["connect"] {
  const ports = net.filter((entry) => !isUnix(entry)).map((entry) =>
    entry.replace(/^\[[^\]]*\]/, "").match(/:(\d+)$/)?.[1]
  );
  if (ports.includes(undefined)) return "all";
  return [...new Set([...ports.map(Number), ...network === "names" ? [NAME_SERVER_PORT] : []])];
}

/** An app that dials addresses alone needs no names, and Unix sockets are no part of a network. */
export function networkOf(net: readonly string[]): SeccompPolicy["network"] {
  const remote = net.filter((entry) => !isUnix(entry));
  if (remote.length === 0) return "none";
  return remote.every((entry) => /^(\[[^\]]*\]|[\d.]+)(:\d+)?$/.test(entry)) ? "tcp" : "names";
}
