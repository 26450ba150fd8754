import type { HttpLimits } from "../base/http_limits.ts";
import type { Probe } from "../base/probe.ts";
import type { Position } from "./problem.ts";

/** Where a socket is bound. `text` is its canonical spelling: a listener's identity over reloads. */
export type BoundAddress =
  | {
    readonly kind: "tcp";
    /** `127.0.0.1:8000` or `[::1]:8000`. */
    readonly text: string;
    /** An IP literal without brackets, or `localhost`. */
    readonly host: string;
    /** 1..65535. */
    readonly port: number;
    /** Of `[::]` beside an IPv4 address with the same port: it takes only IPv6 then. */
    readonly ipv6Only?: true | undefined;
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

/** Files of a listener that ends TLS: absolute paths, in PEM. */
export interface TlsFiles {
  /** The certificate, and behind it those that lead to an authority. */
  readonly cert: string;
  /** Its private key. */
  readonly key: string;
}

/** What is served at an address; plain HTTP to the app, unless it says otherwise. */
export interface Served {
  /** HTTPS, with at least one certificate; the first one is for whoever asks for no other. */
  readonly tls?: readonly TlsFiles[] | undefined;
  /** Plain HTTP, and each request is sent on to the first listener with HTTPS. */
  readonly redirect?: true | undefined;
  /** Each connection begins with a PROXY header. */
  readonly proxyProtocol?: true | undefined;
  /** How long a client may take nothing (TCP_USER_TIMEOUT); a supervisor adds it where it listens. */
  readonly sendTimeoutMs?: number | undefined;
}

/** Where the server listens: bound by itself, or passed by the service manager. */
export type ListenAddress =
  & (BoundAddress | {
    /** The supervisor replaces it by the sockets that were passed. */
    readonly kind: "systemd";
    /** `systemd` or `systemd:NAME`. */
    readonly text: string;
    /** FileDescriptorName= of the socket unit; `undefined` for all of them. */
    readonly name?: string | undefined;
  })
  & Served;

/** One path that the app may see, in the sense of OpenBSD's unveil(2). */
export interface Unveil {
  /** Absolute, normalised, without a trailing slash; symbolic links are not resolved. */
  readonly path: string;
  /** A non-empty part of `rwc`, in that order. */
  readonly rights: string;
  /** Whether the path existed when the config was loaded. */
  readonly exists: boolean;
  /** Whether it was a folder, or will be made one: its path ends with a `/`. */
  readonly folder: boolean;
  /** Where the config file says so; only where it was parsed. */
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
}

/** What the files of a project say. A supervisor that runs from source does not read them. */
export interface Project {
  /**
   * The lock file that Deno uses there, if it is there: the workspace's where the project is a member
   * of one, by the name that `lock` in its deno.json gives it.
   */
  readonly lockfile: string | undefined;
  /**
   * Further files that decide which code runs, there or not: an import map, and the settings of the
   * other members of the workspace and of linked packages.
   */
  readonly settings: readonly string[];
  /** Folders whose names decide it, by a pattern of the workspace. */
  readonly listed: readonly string[];
}

/** The account of the workers, when Holdfast starts as root. */
export interface Account {
  /** The name, or the decimal id if the system has no name for it. */
  readonly user: string;
  /** Never 0. */
  readonly uid: number;
  /** Never 0. */
  readonly gid: number;
}

/** What a process runs, and its permissions: the worker's part of a config, or a helper's. */
export interface Compartment {
  /** The app, or the helper's module. */
  readonly app: AppPlace;
  readonly unveil: readonly Unveil[];
  /** Names of environment variables that are passed through. */
  readonly env: readonly string[];
  /** The values of those that the config itself gives. */
  readonly envValues?: Readonly<Record<string, string>> | undefined;
  /** Kinds of facts of the machine that it may know. */
  readonly sys?: readonly string[] | undefined;
  /** Paths of {@link Compartment.unveil} that it gives up when it has opened. */
  readonly dropAfterOpen?: readonly string[] | undefined;
  /** Whether V8 interprets alone, so that no memory ever becomes code. */
  readonly jitless?: boolean | undefined;
  /** Whether it has a private folder for temporary files, which is removed when it ends. */
  readonly tmp?: boolean | undefined;
  /** Whether it may load native code of its packages: a helper behind the kernel's wall alone. */
  readonly native?: boolean | undefined;
  /** Hosts that it may dial: `host`, `host:port`, `[v6]` or `[v6]:port`. */
  readonly net: readonly string[];
  readonly limits: {
    readonly descriptors: number;
    readonly processes: number;
    readonly fileBytes: number;
    readonly memoryBytes?: number | undefined;
  };
  /** `undefined` without a `user` in the config: it runs as the user that starts Holdfast. */
  readonly account?: Account | undefined;
}

/** A helper: a module with one job, in separate processes. */
export interface HelperConfig extends Compartment {
  /** Its key in the config; apps call it by that. */
  readonly name: string;
  readonly instances: number;
  /** How many calls an instance runs at once. */
  readonly concurrency: number;
  readonly timeoutMs: number;
  /** Whether an instance that died is replaced. */
  readonly restart: "always" | "never";
}

/**
 * What `holdfast.jsonc` means on this machine: every path absolute, every default filled in. It is data:
 * a planner gives it to the supervisor, which checks it against {@link ConfigData}.
 */
export interface Config extends Compartment {
  /** Absolute real path of the config file. */
  readonly file: string;
  /** The path as it was given, with links that may move; absolute. */
  readonly named: string;
  /** The folder of {@link Config.file}; relative paths of the config start here. */
  readonly folder: string;
  readonly listen: readonly ListenAddress[];
  /** How many workers a generation has. */
  readonly workers: number;
  /** How many more wait at `ready`. */
  readonly spare: number;
  readonly helpers: readonly HelperConfig[];
  /** The file with values of {@link Compartment.env}, absolute. */
  readonly envFile?: string | undefined;
  readonly engine: "native" | "node";
  /** What restricts the workers. */
  readonly wall: "kernel" | "deno";
  /** What happens to a worker that tried something forbidden. */
  readonly onViolation: "replace" | "log";
  readonly reload: {
    readonly readyDeadlineMs: number;
    readonly idleGraceMs: number;
    readonly drainDeadlineMs: number;
    /** How long {@link Config.readiness} says 503 before a stop. */
    readonly shutdownDelayMs: number;
    /** Over what time WebSockets and event streams are closed by a reload. */
    readonly spreadMs?: number | undefined;
    /** Whether an old generation lives on for its WebSockets. */
    readonly webSockets?: "close" | "keep" | undefined;
    /** For how long, at the most. */
    readonly keepDeadlineMs?: number | undefined;
    /** How many do that at a time, at the most. */
    readonly maxKept?: number | undefined;
    /** What a new version is asked before it takes the place of the old one. */
    readonly probe?: readonly Probe[] | undefined;
    /** Paths that it is asked for before that, whatever it answers. */
    readonly warmUp?: readonly string[] | undefined;
    /** Whether a reload that grants more is refused unless it is said to be meant. */
    readonly widen?: "allow" | "ask" | undefined;
    /** How many generations drain at a time, at the most. */
    readonly maxDraining: number;
    /** How many earlier versions are kept. */
    readonly keep: number;
  };
  /** When a healthy worker is replaced; `undefined` for never. */
  readonly recycle: {
    readonly maxRequests?: number | undefined;
    readonly maxAgeMs?: number | undefined;
    readonly maxMemoryBytes?: number | undefined;
  };
  /** What workers allow their clients; 0 is no limit. */
  readonly http: HttpLimits & { readonly penaltyExempt: readonly string[] };
  readonly watchdog: {
    /** 0 for never. */
    readonly pulseDeadlineMs: number;
  };
  /** Proxies whose word counts, and the header in which they say who the client is. */
  readonly trustedProxies: readonly string[];
  readonly clientAddressHeader: string;
  /** The path that a load balancer checks; `undefined` for none. */
  readonly readiness?: string | undefined;
  readonly log: {
    /** Absolute folder of the log files; `undefined` for none, and then no logger runs. */
    readonly folder?: string | undefined;
    readonly access: "off" | "common" | "combined" | "json";
    readonly rotateBytes: number;
    /** 0 for any age. */
    readonly rotateHours: number;
    /** How many old files of each log are kept. */
    readonly keep: number;
    readonly compress: boolean;
    /** What of a process's output is logged: {@link OutputLimits}. */
    readonly outputLineBytes: number;
    readonly outputBytesPerSecond: number;
    readonly outputBurstBytes: number;
  };
  /** Where metrics are served; `undefined` for nowhere, and then no such process runs. */
  readonly metrics?: { readonly listen: ListenAddress } | undefined;
  /** Gets certificates by itself; `undefined` for no such process. */
  readonly acme?: {
    /** What a certificate is for, in small letters. */
    readonly names: readonly string[];
    readonly email?: string | undefined;
    /** The URL of the authority's directory, by HTTPS. */
    readonly directory: string;
    /** The file of a further authority that vouches for that server, absolute. */
    readonly trust?: string | undefined;
    /** Where the authority asks; clients are sent on to HTTPS. */
    readonly listen: readonly ListenAddress[];
  } | undefined;
  /** Where workers send their spans; `undefined` for nowhere. */
  readonly traces?: {
    /** `127.0.0.1:4318` or `[::1]:4318`. */
    readonly collector: string;
    readonly service: string;
  } | undefined;
  /** Absolute folder of the control socket and the lock. */
  readonly runtime: string;
  /** Positions of the keys that a check may refuse; only where the config was parsed. */
  readonly at?: Readonly<Partial<Record<"app" | "listen" | "log" | "runtime" | "user", Position>>>;
}
