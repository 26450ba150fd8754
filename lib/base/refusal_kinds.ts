/** What may be refused, in the words of the config: the line that allows it, and what that would give away. */

import { SYS_KINDS } from "./sys_kinds.ts";

/** Something that was refused. */
export interface Refused {
  readonly kind: Kind;
  /** The path, host, name or program. */
  readonly what: string;
  /** Whether it is a path below the app's own folder; of a database, whether it is right in it. */
  readonly inProject?: boolean;
  /** The operation, where the kernel refused it. */
  readonly call?: string | undefined;
}

export type Kind =
  | "read"
  | "write"
  | "database"
  | "net"
  | "listen"
  | "datagram"
  | "signal"
  | "link"
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

/** @param helper the name of the process, where it is a helper */
type Adviser = (refused: Refused, helper: string | undefined) => Advice;

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

/** Where no line of the config opens anything, and where none lets anybody write: see config/check.ts. */
const OF_KERNEL = /^\/$|^\/proc(\/|$)|^\/dev(\/(?!(null|zero|full|u?random)$)|$)|^\/sys$/;
const OF_SYSTEM = /^\/(sys|boot|s?bin|lib\w*|usr\/(s?bin|lib\w*))(\/|$)|^\/etc(\/[^/]*)?$/;
const NEVER_UNVEILED: Advice = {
  instead: "no line can allow it: it is the kernel's, or the system's own",
};

/** Files of variables, as packages look for them. */
export const OF_VARIABLES = /\/\.env(\.\w+)*$/;

/** The supervisor reads them, and an app gets their values. */
function adviceOnVariables(file: string, helper: string | undefined): Advice {
  const instead =
    'Holdfast reads that file at each start and reload, and "env" lists the names that ' +
    "the process sees of it";
  const risk = "an attacker in this process learns the values of those names";
  if (helper !== undefined) return { instead: `"envFile" at the top of the config: ${instead}` };
  return { allow: `"envFile": ${JSON.stringify(file)}`, instead, risk };
}

const ADVICE: Record<Kind, Adviser> = {
  read: ({ what }, helper) =>
    what === ""
      ? { instead: 'each path is granted by itself, by "unveil" of the config' }
      : OF_KERNEL.test(what)
      ? NEVER_UNVEILED
      : OF_VARIABLES.test(what)
      ? adviceOnVariables(what, helper)
      : {
        allow: `"unveil": { ${JSON.stringify(what)}: "r" }`,
        risk:
          "an attacker in this process reads what is there, and sends it wherever the process may connect",
      },
  write: ({ what, inProject }) =>
    isTemporary(what) && !inProject
      ? TEMPORARY
      : what === ""
      ? { instead: 'each path is granted by itself, by "unveil" of the config' }
      : OF_KERNEL.test(what) || OF_SYSTEM.test(what)
      ? NEVER_UNVEILED
      : {
        allow: `"unveil": { ${JSON.stringify(what)}: "rwc" }`,
        instead: "best of a folder that holds data alone",
        risk: "an attacker in this process replaces what is there, and fills the disk",
      },
  database: ({ what, inProject }) => {
    const folder = what.replace(/[^/]*$/, inProject ? "data/" : "");
    return {
      allow: `"unveil": { ${JSON.stringify(folder)}: "rwc" }`,
      instead: `${inProject ? "and open it there: " : ""}SQLite makes files beside a database, ` +
        "which need a folder that holds data alone",
      risk: "an attacker in this process replaces what is there, and fills the disk",
    };
  },
  net: ({ what }) =>
    what === "" || /^(0\.0\.0\.0|\[::\])|:0$/.test(what)
      ? { instead: 'each host is granted by its name or address, by "net" of the config' }
      : {
        allow: `"net": [${JSON.stringify(what)}]`,
        risk: what.startsWith("unix:")
          ? "an attacker in this process says to whoever listens there what the app may say"
          : "an attacker in this process talks to that host from this machine, and sends data there",
      },
  listen: () => ({
    instead:
      'the app does not listen by itself: Holdfast does, on what "listen" of the config names',
  }),
  datagram: () => ({
    instead: "no process binds a socket for datagrams; have another service do that",
  }),
  env: ({ what }) =>
    what === ""
      ? { instead: '"env" of the config names each variable, and "envFile" a file of them' }
      : {
        allow: `"env": [${JSON.stringify(what)}]`,
        risk: "an attacker in this process learns its value",
      },
  sys: ({ what }) =>
    (SYS_KINDS as readonly string[]).includes(what)
      ? {
        allow: `"sys": [${JSON.stringify(what)}]`,
        risk: "an attacker in this process learns that fact of the machine",
      }
      : { instead: `it cannot be granted: the facts that can are ${SYS_KINDS.join(", ")}` },
  run: () => ({
    instead: "no process of Holdfast's may start a program; have another service do that",
  }),
  signal: () => ({ instead: "no process of Holdfast's may signal another one" }),
  link: () => ({
    instead: "no process makes symbolic links: where they lead is not known; copy the file",
  }),
  ffi: ({ what }, helper) =>
    helper !== undefined && packageIn(what) !== undefined
      ? {
        allow: '"native": true',
        instead: "the packages' own addons alone; the kernel's wall holds them",
        risk:
          "an attacker in this process is not held by Deno's permissions, but by the kernel alone",
      }
      : {
        instead:
          `${packageOf(what)} is native code, which no worker loads: use it in a helper with ` +
          '"native": true, or take node:sqlite, scrypt of node:crypto or a WebAssembly build instead',
      },
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

/** The package that a file of its own is of, in a folder of packages or in the cache; else the file. */
function packageOf(path: string): string {
  return packageIn(path) ?? (path || "this");
}

function packageIn(path: string): string | undefined {
  const name = "((?:@[^/]+/)?[^/@]+)";
  const [, found] = new RegExp(`.*/node_modules/${name}/`).exec(path) ??
    new RegExp(`/npm/[^/]+/${name}/\\d`).exec(path) ?? [];
  return found;
}

/** What is to be said of a refusal. */
export function adviceOn(refused: Refused, helper?: string): Advice {
  return ADVICE[refused.kind](refused, helper);
}

/** Where in the config a process's lines are: at its top, or in the helper's entry. */
export function placedIn(allow: string, helper: string | undefined): string {
  return helper === undefined ? allow : `"helpers": { ${JSON.stringify(helper)}: { ${allow} } }`;
}

/** The kinds in the words of the runtime. */
const REQUIRED: readonly Kind[] = ["read", "write", "net", "env", "sys", "run", "ffi", "import"];

/**
 * What the runtime says that it requires.
 *
 * @param stack of the error: some permissions are for several things
 */
export function requiredIn(message: string, stack = ""): Refused | undefined {
  if (/\bsymlink\w*\(\) requires unscoped/.test(message)) return { kind: "link", what: "symlink" };
  const [, found, quoted, plain] =
    /Requires (\w+) access(?: to (?:"(.*?)"|(<\w+>))(?=,|\.|$))?/.exec(message) ?? [];
  const kind = REQUIRED.find((each) => each === found);
  if (kind === undefined) return undefined;
  const what = quoted ?? plain ?? "";
  if (kind === "net" && /\bat .*(udp|datagram)\w*\b.*\(ext:/i.test(stack)) {
    return { kind: "datagram", what };
  }
  if (kind === "net" && /\bat (\w+\.)*listen\w* \(ext:/.test(stack)) {
    return { kind: "listen", what };
  }
  return kind === "run" && what === "" ? { kind: "signal", what } : { kind, what };
}

/** What the kernel refused, as the runtime says it: `Operation not permitted (os error 1): chmod '/x'`. */
export function refusedByKernel(message: string): Refused | undefined {
  const [, call, what] = /\(os error (?:1|13)\): (\w+) '(.*?)'/.exec(message) ?? [];
  return call === undefined ? undefined : { kind: "kernel", what: what!, call };
}
