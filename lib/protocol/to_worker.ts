/** What a supervisor tells a process of its own: a worker, a helper. */
import * as z from "zod/mini";

const Milliseconds = z.int().check(z.minimum(0));
const Names = z.array(z.string());

/** What a worker was granted; it compares this with what it really has. */
const Grants = z.strictObject({ read: Names, write: Names, net: Names, env: Names });

/** What a process is there for. */
const Duty = z.discriminatedUnion("role", [
  z.strictObject({
    role: z.literal("worker"),
    engine: z.enum(["native", "node"]),
    /** The listeners' addresses, in the order in which they come. */
    listeners: Names,
    /** The helpers whose lanes come, and when a call to one is given up. */
    helpers: z.array(z.strictObject({ name: z.string(), timeoutMs: Milliseconds })),
    /** What the access log tells of each request; `off` where there is none. */
    access: z.enum(["off", "short", "long"]),
    /** Whether to look at how long the app takes. */
    latency: z.boolean(),
    /** Whether its runtime was started with somewhere to send spans. */
    traces: z.boolean(),
    /** The path that tells a load balancer, and for how long it tells of the end before that comes. */
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
  /** Answers on its listeners what the supervisor tells it. */
  z.strictObject({ role: z.literal("metrics"), listeners: Names }),
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
    duty: Duty,
    grants: Grants,
    /** How a drain goes; said now, since a worker must know it when its supervisor is gone. */
    idleGraceMs: Milliseconds,
    drainDeadlineMs: Milliseconds,
  }),
  /** Answer to `received`: import the app or the helper's module, and open it. */
  z.strictObject({ type: z.literal("load") }),
  /** Answer to `ready`: take connections, or calls. */
  z.strictObject({ type: z.literal("accept") }),
  /** Stop accepting, finish what is in flight, then exit; whether another one takes over. */
  z.strictObject({ type: z.literal("drain"), reason: z.enum(["replaced", "stopping"]) }),
]);

export type ToWorker = z.infer<typeof ToWorker>;
export type Grants = z.infer<typeof Grants>;
export type Duty = z.infer<typeof Duty>;
export type Configure = Extract<ToWorker, { type: "configure" }>;

/** A command by its name alone, as the table of phases knows it. */
export type CommandName = ToWorker["type"];
