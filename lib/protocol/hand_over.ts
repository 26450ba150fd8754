/**
 * The message with each descriptor that the supervisor hands to a child. It goes one way, over the socket
 * that the runtime takes for its IPC: the supervisor sends, and never reads.
 */
import * as z from "zod/mini";

const Count = z.int().check(z.minimum(0));
const Name = z.string().check(z.maxLength(64));

export const HandOver = z.discriminatedUnion("type", [
  /** To a worker: a listener, in the order of its addresses. */
  z.strictObject({ type: z.literal("listener") }),
  /** To a worker: a lane to an instance of a helper. */
  z.strictObject({ type: z.literal("helper_lane"), helper: Name, instance: Count }),
  /** To a helper: a lane from a worker. */
  z.strictObject({ type: z.literal("worker_lane"), worker: Count }),
  /** To a worker: where its access records go. */
  z.strictObject({ type: z.literal("log_lane") }),
  /** To the logger: access records of a worker, which is named here and cannot name itself. */
  z.strictObject({
    type: z.literal("access_lane"),
    worker: Count,
    pid: Count,
    generation: Count,
  }),
  /** To the logger, or the metrics process: the supervisor's feed. */
  z.strictObject({ type: z.literal("feed") }),
]);

export type HandOver = z.infer<typeof HandOver>;

/** What a descriptor is, for the runtime on the other side. */
export interface DescriptorKind {
  readonly family: "tcp" | "unix";
  readonly use: "listener" | "stream";
}

/**
 * The line that the runtime's IPC reads beside a descriptor; the other side sees `message`, and a
 * handle of `node:net`.
 */
export function handOverLine(message: HandOver, { family, use }: DescriptorKind): string {
  const facts = {
    cmd: "NODE_HANDLE",
    type: "net.Native",
    socketType: use === "listener" ? 1 : 0,
    nativeKind: family === "tcp" ? "tcp" : "pipe",
    msg: message,
  };
  return `${JSON.stringify(facts)}\n`;
}
