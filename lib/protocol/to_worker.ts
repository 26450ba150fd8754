/** What a supervisor tells a worker. */
import * as z from "zod/mini";

const Milliseconds = z.int().check(z.minimum(0));
const Names = z.array(z.string());

/** What a worker was granted; it compares this with what it really has. */
const Grants = z.strictObject({ read: Names, write: Names, net: Names, env: Names });

export const ToWorker = z.discriminatedUnion("type", [
  /** Answer to `hello`. The listeners follow, one by one, over the runtime's IPC. */
  z.strictObject({
    type: z.literal("configure"),
    engine: z.enum(["native", "node"]),
    /** The listeners' addresses, in the order in which they come. */
    listeners: Names,
    grants: Grants,
    /** How a drain goes; said now, since a worker must know it when its supervisor is gone. */
    idleGraceMs: Milliseconds,
    drainDeadlineMs: Milliseconds,
  }),
  /** Answer to `received`: import the app and open it. */
  z.strictObject({ type: z.literal("load") }),
  /** Answer to `ready`: take connections. */
  z.strictObject({ type: z.literal("accept") }),
  /** Stop accepting, finish what is in flight, then exit. */
  z.strictObject({ type: z.literal("drain") }),
]);

export type ToWorker = z.infer<typeof ToWorker>;
export type Grants = z.infer<typeof Grants>;

/** A command by its name alone, as the table of phases knows it. */
export type CommandName = ToWorker["type"];
