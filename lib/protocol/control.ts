/** Requests over the control socket, and the supervisor's answers. */
import * as z from "zod/mini";
import { Latency } from "./latency.ts";
import { Limited } from "./to_supervisor.ts";

/** The longest question, in bytes of payload. */
export const MAX_ASK_BYTES = 1024;

/** The longest answer. */
export const MAX_ANSWER_BYTES = 1024 * 1024;

const Count = z.int().check(z.minimum(0));
const Milliseconds = Count;

export const Ask = z.strictObject({
  type: z.enum(["status", "reload", "upgrade", "reopen", "stop", "releases", "rollback"]),
  /** Of a rollback: which release; the one before, if it does not say. */
  release: z.optional(z.int().check(z.minimum(1))),
  /** Of a reload: it may grant more than what serves. */
  widen: z.optional(z.literal(true)),
});
export type Ask = z.infer<typeof Ask>;

const ReloadResult = z.strictObject({
  outcome: z.enum(["done", "refused"]),
  /** The generation that serves after it. */
  generation: Count,
  ms: Milliseconds,
  /** When it ended, ISO 8601. */
  at: z.string(),
  /** Why it was refused. */
  reason: z.optional(z.string()),
  hint: z.optional(z.string()),
});

/** A worker, or an instance of a helper: its workers are connections, its calls requests. */
const Process = z.strictObject({
  worker: Count,
  pid: Count,
  engine: z.enum(["native", "node", "none", "unknown"]),
  ageMs: Milliseconds,
  /** Its resident memory (VmRSS of proc_pid_status(5)). */
  memoryBytes: Count,
  /** Its open descriptors: listeners, connections, files; 0 where the kernel does not say. */
  descriptors: Count,
  accepted: Count,
  connections: Count,
  /** Those of them that are WebSockets, of a worker that has any. */
  webSockets: z.optional(Count),
  /** Requests in flight; for a helper, calls that run or wait. */
  inFlight: Count,
  answered: Count,
  /** Calls that the kernel refused it after asking the supervisor. */
  denied: Count,
  /**
   * How far the kernel's layer judges whom it dials: each address is `asked` about, or the `ports` alone
   * are, where the supervisor may not read its memory. Not there if it dials nobody.
   */
  dialling: z.optional(z.enum(["asked", "ports"])),
  /** Whom it runs as. */
  uid: z.optional(Count),
  /** How long the app took, of a worker whose config has metrics. */
  latency: z.optional(Latency),
  /** How often each limit of `http` has acted, of a worker where one has. */
  limited: z.optional(Limited),
});

const Generation = z.strictObject({
  generation: Count,
  state: z.enum(["starting", "serving", "draining", "kept", "gone"]),
  /** When its WebSockets are closed, of one that is kept for them. */
  endsInMs: z.optional(Milliseconds),
  ageMs: Milliseconds,
  /** Of its workers, in all. */
  replacements: Count,
  wall: z.enum(["kernel", "deno"]),
  workers: z.array(z.strictObject({
    index: Count,
    replacements: Count,
    process: z.nullable(Process),
  })),
  /** Workers that are ready, and wait to take the place of one that ends. */
  spares: z.optional(z.array(Process)),
  helpers: z.array(z.strictObject({
    helper: z.string(),
    instance: Count,
    replacements: Count,
    process: z.nullable(Process),
  })),
});

const DrainRecord = z.strictObject({
  generation: Count,
  drainMs: Milliseconds,
  /** For how long it was kept for its WebSockets. */
  keptMs: z.optional(Milliseconds),
  answered: Count,
  cut: z.nullable(Count),
  outcome: z.enum(["drained", "cut", "killed", "died"]),
});

/** The status of all that Holdfast runs: for `holdfast status` and the metrics. */
export const Status = z.strictObject({
  pid: Count,
  /**
   * `starting` until the first generation serves, `upgrading` while the program is replaced and the old
   * workers serve, `failing` in a crash loop (workers of the newest generation keep exiting soon after
   * they start), `stopping` once a stop was requested.
   */
  state: z.enum(["starting", "serving", "failing", "upgrading", "stopping"]),
  /** Of the supervisor itself. */
  memoryBytes: Count,
  descriptors: Count,
  holdfast: z.string(),
  deno: z.string(),
  /** The file that the newest generation has read. */
  config: z.string(),
  /** Its path as it was given, with links that may move. */
  named: z.optional(z.string()),
  ageMs: Milliseconds,
  listeners: z.array(z.string()),
  /** Those of them that end TLS. */
  https: z.optional(z.array(z.string())),
  /** How many connections wait on each listener to be accepted; 1 for any number on a Unix socket. */
  waiting: z.record(z.string(), Count),
  /** Not while connections wait and no worker accepts any. */
  accepting: z.boolean(),
  /** The logger; `null` if the config has none. */
  logger: z.nullable(z.strictObject({
    folder: z.string(),
    /** Events that were dropped, since it was slow or gone. */
    dropped: Count,
    replacements: Count,
    /** Why nothing is written, while that is so. */
    trouble: z.optional(z.string()),
    process: z.nullable(Process),
  })),
  /** The process that answers `GET /metrics`; `null` if the config has none. */
  metrics: z.nullable(z.strictObject({
    listen: z.string(),
    replacements: Count,
    process: z.nullable(Process),
  })),
  /** The process that looks up the names that others may dial; `null` if there are none. */
  resolver: z.nullable(z.strictObject({ replacements: Count, process: z.nullable(Process) })),
  /** The process that gets certificates; `null` if the config has none. */
  acme: z.optional(z.nullable(z.strictObject({
    listen: z.array(z.string()),
    names: z.array(z.string()),
    /** When the certificate ends, in seconds since 1970; `null` until the process has said so. */
    notAfter: z.nullable(Count),
    /** Whether the process signed it itself, since there is no other yet. */
    selfSigned: z.boolean(),
    /** Why the last try to get one has failed, if it has. */
    trouble: z.optional(z.string()),
    replacements: Count,
    process: z.nullable(Process),
  }))),
  /** How often each event was logged since the supervisor started. */
  events: z.record(z.string(), Count),
  /** Of all generations that have ended. */
  drains: z.strictObject({
    outcomes: z.record(z.enum(["drained", "cut", "killed", "died"]), Count),
    ms: Milliseconds,
    /** Connections, as far as workers could say. */
    cut: Count,
  }),
  generations: z.array(Generation),
  /** Processes of the program before the last upgrade that have not ended yet. */
  former: z.optional(z.array(z.strictObject({
    pid: Count,
    role: z.string(),
    memoryBytes: Count,
    descriptors: Count,
    denied: Count,
    /** When it is killed if it has not left; `null` while it serves. */
    endsInMs: z.nullable(Milliseconds),
  }))),
  reloads: Count,
  /** `waiting` until another operation, or one of the draining generations, has ended. */
  reload: z.enum(["idle", "waiting", "running"]),
  lastReload: z.nullable(ReloadResult),
  /** How often the supervisor's own program was replaced, and why it was not the last time. */
  upgrades: Count,
  upgradeRefused: z.nullable(z.string()),
  /** The generations that ended last, the newest first. */
  ended: z.array(DrainRecord),
});

/** A version that has served. */
const Release = z.strictObject({
  /** Its number. */
  release: Count,
  /** Since when it served, ISO 8601. */
  at: z.string(),
  /** The first of the modules and packages that differ from those of the one before. */
  changed: z.array(z.string()),
  changedCount: Count,
  servedMs: Milliseconds,
  /** How it ended, if it has. */
  ended: z.nullable(z.string()),
  serving: z.boolean(),
});
export type Release = z.infer<typeof Release>;

export const Answer = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("releases"), releases: z.array(Release) }),
  z.strictObject({ type: z.literal("status"), status: Status }),
  z.strictObject({ type: z.literal("reloaded"), result: ReloadResult }),
  /** A successful upgrade has no answer: the program that would send it has been replaced. */
  z.strictObject({ type: z.literal("upgrade_refused"), reason: z.string() }),
  z.strictObject({ type: z.literal("reopened") }),
  z.strictObject({ type: z.literal("stopped") }),
  z.strictObject({ type: z.literal("refused"), reason: z.string() }),
]);
export type Answer = z.infer<typeof Answer>;
export type Status = z.infer<typeof Status>;
export type ProcessStatus = z.infer<typeof Process>;
export type ReloadResult = z.infer<typeof ReloadResult>;
