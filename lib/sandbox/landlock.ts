/**
 * Landlock's part of a policy as data: which rights the kernel is to rule, and which of them each path
 * and port keeps. Pure; `lib/os/landlock.ts` enforces it. Source: landlock(7), linux/landlock.h.
 */

/** LANDLOCK_ACCESS_FS_*, each with the ABI that brought it. */
export const FS = {
  execute: { bit: 1n << 0n, abi: 1 },
  writeFile: { bit: 1n << 1n, abi: 1 },
  readFile: { bit: 1n << 2n, abi: 1 },
  readDir: { bit: 1n << 3n, abi: 1 },
  removeDir: { bit: 1n << 4n, abi: 1 },
  removeFile: { bit: 1n << 5n, abi: 1 },
  makeChar: { bit: 1n << 6n, abi: 1 },
  makeDir: { bit: 1n << 7n, abi: 1 },
  makeReg: { bit: 1n << 8n, abi: 1 },
  makeSock: { bit: 1n << 9n, abi: 1 },
  makeFifo: { bit: 1n << 10n, abi: 1 },
  makeBlock: { bit: 1n << 11n, abi: 1 },
  makeSym: { bit: 1n << 12n, abi: 1 },
  refer: { bit: 1n << 13n, abi: 2 },
  truncate: { bit: 1n << 14n, abi: 3 },
  ioctlDev: { bit: 1n << 15n, abi: 5 },
  resolveUnix: { bit: 1n << 16n, abi: 9 },
} as const;

/** The name of a right on files. */
export type FsRight = keyof typeof FS;

/** LANDLOCK_ACCESS_NET_*. */
export const NET = {
  bindTcp: { bit: 1n << 0n, abi: 4 },
  connectTcp: { bit: 1n << 1n, abi: 4 },
  bindUdp: { bit: 1n << 2n, abi: 10 },
  sendUdp: { bit: 1n << 3n, abi: 10 },
} as const;

/** The name of a right on ports. */
export type NetRight = keyof typeof NET;

/** LANDLOCK_SCOPE_*. */
const SCOPE_ABSTRACT_UNIX_SOCKET = 1n << 0n;
const SCOPE_SIGNAL = 1n << 1n;

/** The ABI without which the wall has a hole that counts: a file could be emptied through `r`. */
export const LEAST_ABI = 3;

/** What each letter of unveil(2) means for files and folders. */
const LETTERS: Record<string, readonly FsRight[]> = {
  r: ["readFile", "readDir"],
  w: ["writeFile", "truncate"],
  // SQLite and photo uploads rename within a folder, which needs no right of its own; `refer` is for
  // moving between folders. Links, sockets, pipes and devices are never made: each is a trap.
  c: ["makeReg", "makeDir", "removeFile", "removeDir", "refer"],
};

/** The rights that a file, unlike a folder, can carry. */
const OF_FILES: readonly FsRight[] = ["execute", "writeFile", "readFile", "truncate", "ioctlDev"];

/** One path and what it keeps. */
export interface PathRule {
  readonly path: string;
  readonly rights: readonly FsRight[];
  /** A path of the policy must be there; one of the machine's may be missing. */
  readonly presence: "required" | "optional";
}

/** A whole Landlock policy. */
export interface LandlockPolicy {
  readonly paths: readonly PathRule[];
  /** Ports that may be dialled; `all` leaves them to the other layers. */
  readonly connect: readonly number[] | "all";
  /** Whether names are looked up: then the same ports take datagrams. */
  readonly names: boolean;
}

/** Who may use which ports. */
export type Ports = Pick<LandlockPolicy, "connect" | "names">;

/** The struct landlock_ruleset_attr for an ABI. */
export interface RulesetAttributes {
  readonly fs: bigint;
  readonly net: bigint;
  readonly scoped: bigint;
}

/** The rights of a letter sequence of unveil. */
export function unveilRights(letters: string): FsRight[] {
  return [...letters].flatMap((letter) => LETTERS[letter] ?? []);
}

/** The mask of rights, as far as an ABI knows them. */
export function fsMask(rights: readonly FsRight[], abi: number, kind: "file" | "folder"): bigint {
  return rights
    .filter((right) => FS[right].abi <= abi && (kind === "folder" || OF_FILES.includes(right)))
    .reduce((mask, right) => mask | FS[right].bit, 0n);
}

/** What the kernel is asked to rule: everything that it can, but for what is open on every port. */
export function rulesetAttributes(abi: number, { connect, names }: Ports): RulesetAttributes {
  const open: NetRight[] = [
    ...connect === "all" ? ["connectTcp"] as const : [],
    ...connect === "all" && names ? ["sendUdp"] as const : [],
    // A resolver takes a port of its own choice, so that nobody guesses where the answer goes.
    ...names ? ["bindUdp"] as const : [],
  ];
  const ruled = (Object.keys(NET) as NetRight[]).filter((right) => !open.includes(right));
  return {
    fs: fsMask(Object.keys(FS) as FsRight[], abi, "folder"),
    net: netMask(ruled, abi),
    scoped: abi >= 6 ? SCOPE_ABSTRACT_UNIX_SOCKET | SCOPE_SIGNAL : 0n,
  };
}

function netMask(rights: readonly NetRight[], abi: number): bigint {
  return rights.filter((right) => NET[right].abi <= abi)
    .reduce((mask, right) => mask | NET[right].bit, 0n);
}

/** The rights of each port that has any. */
export function portRules(abi: number, { connect, names }: Ports): [port: number, mask: bigint][] {
  if (connect === "all") return [];
  const rights: [number, NetRight[]][] = [
    ...connect.map((port): [number, NetRight[]] => [
      port,
      names ? ["connectTcp", "sendUdp"] : ["connectTcp"],
    ]),
    // getaddrinfo(3) connects a datagram socket to port 0, to see which addresses have a route.
    ...names ? [[0, ["sendUdp"]] as [number, NetRight[]]] : [],
  ];
  return rights.map(([port, each]): [number, bigint] => [port, netMask(each, abi)])
    .filter(([, mask]) => mask !== 0n);
}
