/** What may be refused, in the words of the config: the line that allows it, and what that would give away. */

/** Something that was refused. */
export interface Refused {
  readonly kind: Kind;
  /** The path, host, name or program. */
  readonly what: string;
  /** The operation, where the kernel refused it. */
  readonly call?: string | undefined;
}

export type Kind =
  | "read"
  | "write"
  | "net"
  | "listen"
  | "env"
  | "sys"
  | "run"
  | "ffi"
  | "import"
  | "kernel";

/** What is said of a refusal. */
export interface Advice {
  /** The line of the config; nothing where none allows it. */
  readonly allow?: string;
  /** What does in its place, or is to be looked at. */
  readonly instead?: string;
  /** What who takes the process over could do with it. */
  readonly risk?: string;
}

type Adviser = (refused: Refused) => Advice;

/** Where programs put temporary files, and nothing else says where. */
const TEMPORARY: Advice = {
  allow: '"tmp": true',
  instead: "a private folder of each process, which is emptied when it ends",
  risk: "an attacker in this process fills the disk",
};

/** Whether programs put temporary files there where no variable says otherwise. */
function isTemporary(path: string): boolean {
  return path === "<TMP>" || /^\/(?:var\/)?tmp(?:\/|$)/.test(path);
}

const ADVICE: Record<Kind, Adviser> = {
  read: ({ what }) => ({
    allow: what === "" ? `"unveil": { PATH: "r" }` : `"unveil": { ${JSON.stringify(what)}: "r" }`,
    risk:
      "an attacker in this process reads what is there, and sends it wherever the process may connect",
  }),
  write: ({ what }) =>
    isTemporary(what) ? TEMPORARY : ({
      allow: `"unveil": { ${JSON.stringify(what || "PATH")}: "rwc" }`,
      instead: "best of a folder that holds data alone",
      risk: "an attacker in this process replaces what is there, and fills the disk",
    }),
  net: ({ what }) => ({
    allow: `"net": [${JSON.stringify(what || "HOST:PORT")}]`,
    risk: "an attacker in this process talks to that host from this machine, and sends data there",
  }),
  listen: () => ({
    instead:
      'the app does not listen by itself: Holdfast does, on what "listen" of the config names',
  }),
  env: ({ what }) => ({
    allow: `"env": [${JSON.stringify(what || "NAME")}]`,
    risk: "an attacker in this process learns its value",
  }),
  sys: ({ what }) => ({
    allow: `"sys": [${JSON.stringify(what || "NAME")}]`,
    risk: "an attacker in this process learns that fact of the machine",
  }),
  run: () => ({
    instead: "no process of Holdfast's may start a program; have another service do that",
  }),
  ffi: ({ what }) => ({
    instead: `${packageOf(what)} is native code, which no worker loads: use it in a helper with ` +
      '"native": true, or take node:sqlite, scrypt of node:crypto or a WebAssembly build instead',
  }),
  import: () => ({
    instead:
      "no code is fetched while it runs; import it by a literal, or add the package to the project",
  }),
  kernel: ({ call, what }) => ({
    instead:
      `the kernel refused ${call ?? "it"}: its wall has no right for that, or the mode and the ` +
      `owner of ${what || "the file"} forbid it`,
  }),
};

/** The package that a file of its own is of, in a folder of packages or in the cache. */
function packageOf(path: string): string {
  const name = "((?:@[^/]+/)?[^/@]+)";
  const [, found] = new RegExp(`.*/node_modules/${name}/`).exec(path) ??
    new RegExp(`/npm/[^/]+/${name}/\\d`).exec(path) ?? [];
  return found ?? (path || "this");
}

/** What is to be said of a refusal. */
export function adviceOn(refused: Refused): Advice {
  return ADVICE[refused.kind](refused);
}

/** Where in the config a process's lines are: at its top, or in the helper's entry. */
export function placedIn(allow: string, helper: string | undefined): string {
  return helper === undefined ? allow : `"helpers": { ${JSON.stringify(helper)}: { ${allow} } }`;
}

/** What the runtime says that it requires. */
export function requiredIn(message: string): Refused | undefined {
  const [, kind, what = ""] = /Requires (\w+) access(?: to "(.*?)"(?:,|$))?/.exec(message) ?? [];
  return kind !== undefined && kind !== "kernel" && Object.hasOwn(ADVICE, kind)
    ? { kind: kind as Kind, what }
    : undefined;
}

/** What the kernel refused, as the runtime says it: `Operation not permitted (os error 1): chmod '/x'`. */
export function refusedByKernel(message: string): Refused | undefined {
  const [, call, what] = /\(os error (?:1|13)\): (\w+) '(.*?)'/.exec(message) ?? [];
  return call === undefined ? undefined : { kind: "kernel", what: what!, call };
}
