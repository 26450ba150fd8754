/** What a supervisor leaves to the one that takes its place in the same process. */
import * as z from "zod/mini";
import { HoldfastError } from "../base/error.ts";
import type { Question } from "../os/seccomp.ts";
import { Role } from "../protocol/role.ts";

/** The environment variable that names it; no worker sees it. */
export const INHERITANCE_VARIABLE = "HOLDFAST_INHERITANCE";

const Count = z.int().check(z.minimum(0));
/** One above the standard ones. */
const Descriptor = z.int().check(z.minimum(3), z.maximum(1_000_000));

const Word = z.string().check(z.regex(/^\d{1,20}$/));

/** A call that waits for an answer; of JSON are no numbers of 64 bits. */
const Asked = z.strictObject({
  ...{ id: Word, tid: Count, number: Count },
  args: z.array(Word).check(z.length(6)),
});

/** How many of each process outlive an exec, in whose environment they must have room. */
const MAX_ASKED = 4;

/** As it is left to the next one; nothing where nobody waits. */
export function leaveAsked(asked: readonly Question[] = []): { asked?: z.infer<typeof Asked>[] } {
  const kept = asked.slice(0, MAX_ASKED).map(({ id, args, ...question }) => ({
    ...{ ...question, id: String(id), args: args.map(String) },
  }));
  return kept.length === 0 ? {} : { asked: kept };
}

/** As it was asked. */
export function questionOf({ id, args, ...question }: z.infer<typeof Asked>): Question {
  return { ...question, id: BigInt(id), args: args.map(BigInt) };
}

const Address = z.discriminatedUnion("kind", [
  z.strictObject({
    kind: z.literal("tcp"),
    text: z.string(),
    host: z.string(),
    port: z.int().check(z.minimum(1), z.maximum(65_535)),
    ipv6Only: z.optional(z.literal(true)),
  }),
  z.strictObject({ kind: z.literal("unix"), text: z.string(), path: z.string(), mode: Count }),
]);

/** What a service manager said to this process, and keeps for it. */
const ServiceBequest = z.strictObject({
  socket: z.optional(z.string()),
  watchdogMs: z.optional(z.number().check(z.positive())),
  /** The names in its store. */
  stored: z.array(z.string()).check(z.maxLength(1_000)),
  passed: z.array(z.strictObject({ fd: Descriptor, name: z.string() })).check(z.maxLength(1_000)),
});
export type ServiceBequest = z.infer<typeof ServiceBequest>;

export const Inheritance = z.strictObject({
  /** Whom it is for: an environment that came to another process by mistake means nothing. */
  pid: Count,
  runtime: z.string(),
  lock: Descriptor,
  control: Descriptor,
  listeners: z.array(z.strictObject({ address: Address, fd: Descriptor }))
    .check(z.maxLength(1_000)),
  service: z.optional(ServiceBequest),
  /** Processes that serve until the next generation does; the ends are kept open till then. */
  residents: z.array(z.strictObject({
    pid: z.int().check(z.minimum(2)),
    role: Role,
    /** The channel first. */
    ends: z.array(Descriptor).check(z.maxLength(8)),
    /** By which the kernel asks about its calls. */
    guard: z.optional(Descriptor),
    /** What came by that and has no answer yet. */
    asked: z.optional(z.array(Asked).check(z.maxLength(MAX_ASKED))),
    onViolation: z._default(z.enum(["replace", "log"]), "replace"),
    /** Whom it may dial: one of {@link Inheritance.dials}. */
    dials: z.optional(Count),
    /** When it is killed if it has not left, in milliseconds since the epoch. */
    endsAtMs: z.optional(Count),
  })).check(z.maxLength(10_000)),
  /** What names resolve to, as far as it is known. */
  names: z._default(z.record(z.string(), z.array(z.string()).check(z.maxLength(100))), {}),
  /** Whom they may dial, each list once. */
  dials: z._default(
    z.array(z.array(z.string()).check(z.maxLength(1_000))).check(z.maxLength(1_000)),
    [],
  ),
  /** How long they have for it then. */
  drainMs: z._default(Count, 30_000),
  /** What a worker among them is told before it is let go of, in its own protocol; base64. */
  farewell: z.base64().check(z.maxLength(1_024)),
  /** What they print comes by these. */
  outputs: z.array(Descriptor).check(z.maxLength(30_000)),
  lastGeneration: Count,
  lastWorker: Count,
  upgrades: Count,
});
export type Inheritance = z.infer<typeof Inheritance>;

/**
 * Takes what was left to this process, if anything was, out of the environment.
 *
 * @throws {HoldfastError} if it cannot be read
 */
export function takeInheritance(): Inheritance | undefined {
  const text = Deno.env.get(INHERITANCE_VARIABLE);
  if (text === undefined) return undefined;
  Deno.env.delete(INHERITANCE_VARIABLE);
  try {
    const inheritance = Inheritance.parse(JSON.parse(text));
    return inheritance.pid === Deno.pid ? inheritance : undefined;
  } catch (error) {
    throw new HoldfastError(`Cannot read ${INHERITANCE_VARIABLE}: ${(error as Error).message}`, {
      kind: "environment",
      code: "inheritance_unreadable",
      hint: "Only an upgrade sets it; where the two versions do not understand each other, restart",
      cause: error,
    });
  }
}
