/** What `doctor` knows of a machine and a config: data alone. What could not be found out is undefined. */
import type { Config } from "../config/config.ts";

/** Something that planner, config or certificates said, with what mends it. */
export interface Said {
  readonly message: string;
  readonly hint: string;
}

/** An address of the config, and what the kernel says of it. */
export interface AddressFacts {
  readonly text: string;
  readonly kind: "tcp" | "unix";
  readonly port?: number | undefined;
  /** Who listens there, if somebody does: a program's name and number, as far as they can be seen. */
  readonly user?:
    | { readonly pid?: number | undefined; readonly name?: string | undefined }
    | undefined;
  /** Whether that is the supervisor of this config, or one of its processes. */
  readonly isOwn: boolean;
  /** Whether it is a process that a supervisor of this config has left, which was killed. */
  readonly isLeft?: boolean | undefined;
  /** Whether the server that runs listens there, and its file is gone. */
  readonly isLost?: boolean | undefined;
  /** Whether this machine has that address; nothing for one that stands for all. */
  readonly isLocal?: boolean | undefined;
  /** Of a socket: what lies in its place that is no socket. */
  readonly inTheWay?: boolean | undefined;
  /** Of a socket: whether its folder is there, and may be written. */
  readonly folder?: "missing" | "closed" | "open" | undefined;
}

/** A folder, and the disk that it is on. */
export interface DiskFacts {
  readonly what: string;
  /** Which folder it is of those that matter. */
  readonly kind: "runtime" | "denoDir" | "log" | "data" | "program" | "project";
  readonly path: string;
  /** The type of its file system, such as `ext4`, `nfs4` or `9p`. */
  readonly type: string | undefined;
  /** The options of its mount. */
  readonly options: readonly string[];
  readonly freeBytes: number | undefined;
  readonly freeFiles: number | undefined;
}

/** A package with code of the machine's own. */
export interface AddonFacts {
  readonly name: string;
  /** The first such file of it, from its folder. */
  readonly file: string;
}

/** What a process is granted of a path, and whether it could use it. */
export interface GrantFacts {
  readonly process: string;
  readonly path: string;
  readonly rights: string;
  readonly exists: boolean;
  readonly owner: string;
  readonly mayUse: boolean;
}

/** The supervisor of this config that runs. */
export interface RunningFacts {
  readonly pid: number;
  readonly holdfast: string;
  readonly deno: string;
  /** When it began, in milliseconds since 1970. */
  readonly sinceMs: number;
  /** Whether the deno program that it runs was replaced or removed since. */
  readonly replaced: boolean;
  readonly state: string;
  /** The runtime folder that it uses. */
  readonly runtime: string;
  /** What it has to complain of. */
  readonly troubles: readonly Said[];
}

/** The unit of systemd's that starts this config. */
export interface UnitFacts {
  readonly name: string;
  readonly path: string;
  readonly origin: "ours" | "edited" | "foreign";
  /** The files that service install would write in another way now, or not at all. */
  readonly differs: readonly string[];
  /** What it is to write, and is not there: it does not start then. */
  readonly missing: readonly string[];
  /** What its user cannot use. */
  readonly closed: readonly Said[];
  /** Why it could not be told. */
  readonly trouble?: Said | undefined;
}

/** All of it. */
export interface Facts {
  readonly os: string;
  readonly arch: string;
  /** Whether the wall knows the calls of this machine. */
  readonly knowsArch: boolean;
  readonly kernel: string | undefined;
  /** Such as `docker`, if it is one. */
  readonly container: string | undefined;
  readonly landlock: { readonly abi: number; readonly errno: number };
  /** What of the kernel's rights this ABI cannot rule. */
  readonly gaps: readonly string[];
  readonly leastAbi: number;
  readonly notifications: boolean;
  readonly memoryErrno: number;
  readonly deno: { readonly version: string; readonly wanted: string; readonly program: string };
  readonly node: string | undefined;
  readonly holdfast: { readonly version: string; readonly changedMs: number };
  readonly uid: number;
  /** Names of capabilities that this process has, of those that matter. */
  readonly capabilities: readonly string[];
  readonly config: Config | undefined;
  /** Why there is none. */
  readonly refused: readonly Said[];
  /** What `holdfast check` would say. */
  readonly problems: readonly (Said & { readonly code: string })[];
  readonly warnings: readonly (Said & { readonly event: string })[];
  /** Why no process can have an account of its own, where root starts Holdfast. */
  readonly shared: Said | undefined;
  readonly held: readonly {
    readonly process: string;
    readonly path: string;
    readonly hint: string;
  }[];
  readonly closed: readonly { readonly path: string; readonly hint: string }[];
  readonly grants: readonly GrantFacts[];
  readonly runtime: {
    readonly path: string;
    readonly exists: boolean;
    readonly isFolder: boolean;
    readonly owner: number | undefined;
    /** Whether it, or the folder that it would be made in, may be written. */
    readonly mayWrite: boolean;
    /** Bytes of the path of its control socket. */
    readonly socketBytes: number;
    /** The process that its lock names, though no supervisor answers there. */
    readonly stalePid?: number | undefined;
  } | undefined;
  readonly environment: Readonly<Record<string, string>>;
  readonly unset: readonly {
    readonly process: string;
    readonly name: string;
    readonly hint: string;
  }[];
  readonly addons: readonly AddonFacts[];
  readonly clock: {
    readonly isSet: boolean | undefined;
    readonly nowMs: number;
    /** The newest file of config and project, and when it was changed. */
    readonly newest: { readonly path: string; readonly ms: number } | undefined;
  };
  readonly limits: {
    readonly descriptors: number | undefined;
    /** What there is for all processes together: of the machine, or of its cgroup. */
    readonly memoryBytes: number | undefined;
    readonly watches: number | undefined;
    readonly queue: number | undefined;
    readonly processors: number;
  };
  readonly firstOpenPort: number;
  readonly addresses: readonly AddressFacts[];
  readonly certificates: readonly {
    readonly cert: string;
    readonly names: string;
    readonly endMs: number;
  }[];
  readonly names: readonly {
    readonly name: string;
    readonly why: string;
    readonly error?: string | undefined;
  }[];
  readonly disks: readonly DiskFacts[];
  readonly temporary: {
    readonly path: string;
    readonly exists: boolean;
    readonly mode: number | undefined;
    readonly mayWrite: boolean;
  };
  readonly running: RunningFacts | undefined;
  readonly unit: UnitFacts | undefined;
}
