import type { Position } from "./problem.ts";

/** Where the server listens. `text` is its canonical spelling: a listener's identity over reloads. */
export type ListenAddress =
  | {
    readonly kind: "tcp";
    /** `127.0.0.1:8000` or `[::1]:8000`. */
    readonly text: string;
    /** An IP literal without brackets, or `localhost`. */
    readonly host: string;
    /** 1..65535. */
    readonly port: number;
  }
  | {
    readonly kind: "unix";
    /** `unix:/abs/path`. */
    readonly text: string;
    /** Absolute and normalised. */
    readonly path: string;
    /** Permission bits of the socket file. */
    readonly mode: number;
  };

/** One path that the app may see, in the sense of OpenBSD's unveil(2). */
export interface Unveil {
  /** Absolute, normalised, without a trailing slash; symbolic links are not resolved. */
  readonly path: string;
  /** A non-empty part of `rwc`, in that order. */
  readonly rights: string;
  /** Whether something was there when the config was loaded. */
  readonly exists: boolean;
  /** Whether it was a folder then, or is to be one: its path is written with a `/` at the end. */
  readonly folder: boolean;
  /** Where the config file says so. */
  readonly at?: Position;
}

/** Where the app lives. */
export interface AppPlace {
  /** Absolute path of the app's module. */
  readonly module: string;
  /**
   * The nearest folder at or above the module with a deno.json, deno.jsonc or package.json, else the
   * module's own folder. It is the worker's working folder.
   */
  readonly project: string;
  /** `deno.lock` of the project, if there is one. */
  readonly lockfile: string | undefined;
}

/** Who the workers run as, when Holdfast starts as root. */
export interface Account {
  /** The name, or the decimal id where the system knows no name. */
  readonly user: string;
  /** Never 0. */
  readonly uid: number;
  /** Never 0. */
  readonly gid: number;
}

/** What `holdfast.jsonc` means on this machine: every path absolute, every default filled in. */
export interface Config {
  /** Absolute real path of the config file. */
  readonly file: string;
  /** The folder of {@link Config.file}; relative paths of the config start here. */
  readonly folder: string;
  readonly app: AppPlace;
  readonly listen: readonly ListenAddress[];
  readonly unveil: readonly Unveil[];
  /** Names of environment variables that are passed through. */
  readonly env: readonly string[];
  /** Hosts that the app may dial: `host`, `host:port`, `[v6]` or `[v6]:port`. */
  readonly net: readonly string[];
  readonly engine: "native" | "node";
  /** What holds a worker back. */
  readonly wall: "kernel" | "deno";
  /** What becomes of a worker that asked for what it may not do. */
  readonly onViolation: "replace" | "log";
  readonly limits: {
    readonly descriptors: number;
    readonly processes: number;
    readonly fileBytes: number;
    readonly memoryBytes?: number | undefined;
  };
  readonly reload: {
    readonly readyDeadlineMs: number;
    readonly idleGraceMs: number;
    readonly drainDeadlineMs: number;
  };
  readonly log: {
    /** Absolute folder of the log files; `undefined` for none, and then no logger runs. */
    readonly folder: string | undefined;
    readonly access: "off" | "common" | "combined" | "json";
    readonly rotateBytes: number;
    /** 0 for any age. */
    readonly rotateHours: number;
    /** How many old files of each log are kept. */
    readonly keep: number;
    readonly compress: boolean;
  };
  /** `undefined` when the config names no user: the workers run as whoever starts Holdfast. */
  readonly account: Account | undefined;
  /** Absolute folder of the control socket and the lock. */
  readonly runtime: string;
  /** Where the config file says what a check may refuse. */
  readonly at?: Readonly<Partial<Record<"app" | "log" | "runtime" | "user", Position>>>;
}
