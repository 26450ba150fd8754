/**
 * What a worker sends to its supervisor. No message names a path, an argument or a program, and none needs
 * an answer.
 */
import * as z from "zod/mini";
import { LIMIT_KINDS } from "../base/http_limits.ts";
import { Latency } from "./latency.ts";
import { MAX_GIVEN_UP, MAX_REASON_LENGTH } from "./limits.ts";

const Count = z.int().check(z.minimum(0));

/** How often each limit of `http` has acted. */
export const Limited = z.partialRecord(z.enum(LIMIT_KINDS), Count);

/** The figures of a worker since it started; for a helper, workers are connections and calls requests. */
const Stats = {
  /** Connections accepted. */
  accepted: Count,
  /** Connections open now. */
  connections: Count,
  /** Requests whose answer is not out yet. */
  inFlight: Count,
  /** Requests answered. */
  answered: Count,
  /** How long the oldest call of a helper is past its deadline, in milliseconds. */
  overdueMs: z.optional(Count),
  /** Why a logger cannot write: the disk fails, or its files are gone. */
  unwritten: z.optional(z.enum(["failing", "gone"])),
  /** How long the app took, if the worker measures it. */
  latency: z.optional(Latency),
  limited: z.optional(Limited),
  /** How much later this comes than it was due. */
  lateMs: z.optional(Count),
  /**
   * Connections over TLS that it has given up and cannot end, by the address and port of the client, and
   * how many they were since it started.
   */
  givenUp: z.optional(z.strictObject({
    count: Count,
    peers: z.array(z.string().check(z.maxLength(64))).check(z.maxLength(MAX_GIVEN_UP)),
  })),
  /** How many of the connections are WebSockets. */
  webSockets: z.optional(Count),
  /** What its runtime keeps of names that clients have asked for, in bytes. */
  serverNameBytes: z.optional(Count),
};

export const ToSupervisor = z.discriminatedUnion("type", [
  /** First message: which protocol the worker speaks, and which Deno it runs on. */
  z.strictObject({
    type: z.literal("hello"),
    version: z.int(),
    deno: z.string().check(z.maxLength(64)),
  }),
  /** The worker holds this many listeners. */
  z.strictObject({ type: z.literal("received"), listeners: Count }),
  /** The app is loaded and warm; nothing is accepted yet. */
  z.strictObject({ type: z.literal("ready") }),
  /** The worker accepts connections; a helper, calls. */
  z.strictObject({ type: z.literal("accepting"), engine: z.enum(["native", "node", "none"]) }),
  /** The worker cannot continue, and gives the reason before it exits. */
  z.strictObject({
    type: z.literal("failed"),
    reason: z.string().check(z.maxLength(MAX_REASON_LENGTH)),
  }),
  z.strictObject({ type: z.literal("pulse"), ...Stats }),
  /** Part of a drain: it has stopped accepting; other workers accept from here on. */
  z.strictObject({ type: z.literal("stopped") }),
  /** Part of a drain that keeps WebSockets: nothing else is left. */
  z.strictObject({ type: z.literal("kept") }),
  /** The last message: how many requests were answered during the drain, how many connections were cut. */
  z.strictObject({ type: z.literal("drained"), answered: Count, cut: Count }),
]);

export type ToSupervisor = z.infer<typeof ToSupervisor>;

/** The figures of a `pulse`. */
export type WorkerStats = Omit<Extract<ToSupervisor, { type: "pulse" }>, "type">;
