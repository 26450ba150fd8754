/** What a supervisor sends to its children: workers, helpers, the logger, the metrics process. */
import * as z from "zod/mini";
import { HTTP_LIMITS } from "../base/http_limits.ts";
import type { Probe } from "../base/probe.ts";

const Milliseconds = z.int().check(z.minimum(0));
const Names = z.array(z.string());
const Indexes = z.array(z.int().check(z.minimum(0)));

/** The permissions that a worker was granted; it compares them with what it has. */
const Grants = z.strictObject({
  read: Names,
  write: Names,
  net: Names,
  env: Names,
  sys: z.optional(Names),
  /** Paths that it gives up when it has opened what it runs. */
  drop: z.optional(Names),
  /** Whether it may load native code of its packages. */
  native: z.optional(z.boolean()),
});

/** The role of a process, and its settings. */
const RoleConfig = z.discriminatedUnion("role", [
  z.strictObject({
    role: z.literal("worker"),
    engine: z.enum(["native", "node"]),
    /** The listeners' addresses, in the order in which they come. */
    listeners: Names,
    /** By their indexes, those that end TLS: it is not handed these, and listens for them itself. */
    lent: z.optional(Indexes),
    /** By their indexes, those that send each request on to the first that ends TLS. */
    redirects: z.optional(Indexes),
    /** The helpers that it gets lanes to, and the timeouts of their calls. */
    helpers: z.array(z.strictObject({ name: z.string(), timeoutMs: Milliseconds })),
    /** What it allows its clients; 0 is no limit. */
    http: z.optional(z.record(z.enum(HTTP_LIMITS), Milliseconds)),
    /** Whom limits may act on again and again. */
    penaltyExempt: z.optional(Names),
    /** Listeners whose connections begin with a PROXY header, by their addresses. */
    proxyProtocol: z.optional(Names),
    /** Over what time WebSockets and event streams are closed when it is replaced. */
    spreadMs: z.optional(Milliseconds),
    /** What it is asked before it is ready: a worker of a version that is tried. */
    probes: z.optional(z.array(z.custom<Probe>())),
    warmUp: z.optional(Names),
    /** How much the access log records of each request; `off` for no log. */
    access: z.enum(["off", "short", "long"]),
    /** Whether to measure how long the app takes. */
    latency: z.boolean(),
    /** Whether its runtime sends spans. */
    traces: z.boolean(),
    /** Proxies that are believed, and the header in which they say who the client is. */
    proxies: z.optional(z.strictObject({ trusted: Names, header: z.string() })),
    /** The path for load balancers, and how long it says 503 before a stop. */
    readiness: z.optional(z.strictObject({ path: z.string(), shutdownDelayMs: Milliseconds })),
  }),
  z.strictObject({
    role: z.literal("helper"),
    name: z.string(),
    /** The longest that a call may take. */
    timeoutMs: Milliseconds,
    /** How many calls run at once. */
    concurrency: z.int().check(z.minimum(1)),
  }),
  /** Serves on its listeners what the supervisor feeds it. */
  z.strictObject({ role: z.literal("metrics"), listeners: Names }),
  /** Looks names up for the supervisor. */
  z.strictObject({ role: z.literal("resolver") }),
  /** Gets certificates for these names; clients of its listeners are sent on to HTTPS. */
  z.strictObject({
    role: z.literal("acme"),
    listeners: Names,
    names: Names,
    email: z.optional(z.string()),
    directory: z.string(),
    trust: z.optional(z.string()),
    /** The file of certificate and key; its folder is the process's own. */
    certificate: z.string(),
    httpsPort: z.int().check(z.minimum(0)),
  }),
  z.strictObject({
    role: z.literal("logger"),
    folder: z.string(),
    access: z.enum(["off", "common", "combined", "json"]),
    rotateBytes: z.int().check(z.minimum(1)),
    rotateHours: z.int().check(z.minimum(0)),
    keep: z.int().check(z.minimum(0)),
    compress: z.boolean(),
  }),
]);

export const ToWorker = z.discriminatedUnion("type", [
  /** Answer to `hello`. What is handed over follows, over the socket of the runtime's IPC. */
  z.strictObject({
    type: z.literal("configure"),
    roleConfig: RoleConfig,
    grants: Grants,
    /** The limits of a drain; sent now, since a worker needs them when its supervisor is gone. */
    idleGraceMs: Milliseconds,
    drainDeadlineMs: Milliseconds,
  }),
  /** After `configure`, to a worker that ends TLS: certificates and keys in PEM, for each that is lent. */
  z.strictObject({
    type: z.literal("certificates"),
    pairs: z.array(
      z.array(z.strictObject({ cert: z.string(), key: z.string() })).check(z.minLength(1)),
    ),
  }),
  /** Answer to `received`: import the app or the helper's module, and open it. */
  z.strictObject({ type: z.literal("load") }),
  /** Answer to `ready`: take connections, or calls. */
  z.strictObject({ type: z.literal("accept") }),
  /** Stop accepting, finish requests in flight, then exit; and whether another worker takes over. */
  z.strictObject({
    type: z.literal("drain"),
    reason: z.enum(["replaced", "stopping"]),
    /** WebSockets stay until they end, or until this is said again without it. */
    keep: z.optional(z.literal(true)),
  }),
]);

export type ToWorker = z.infer<typeof ToWorker>;
export type Grants = z.infer<typeof Grants>;
export type RoleConfig = z.infer<typeof RoleConfig>;
export type Certificates = Extract<ToWorker, { type: "certificates" }>;
export type Configure = Extract<ToWorker, { type: "configure" }>;

/** The name of a command, for the table of phases. */
export type WorkerCommand = ToWorker["type"];
