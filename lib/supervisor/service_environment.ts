/** What a service manager says in the environment: sd_notify(3), sd_watchdog_enabled(3), sd_listen_fds(3). */
import * as z from "zod/mini";
import { HoldfastError } from "../base/error.ts";

/** The number of the first descriptor that is passed: SD_LISTEN_FDS_START. */
const FIRST_PASSED = 3;

/** FileDescriptorStoreMax= of a unit is seldom more than a few. */
const MAX_PASSED = 1024;

const Decimal = z.pipe(
  z.string().check(z.regex(/^\d{1,15}$/, "expected a decimal number")),
  z.transform(Number),
);

const Environment = z.object({
  // sockaddr_un has room for 108 bytes, the end of a path among them.
  NOTIFY_SOCKET: z.optional(
    z.string().check(z.regex(/^[/@]\S{1,106}$/, "expected /path or @name")),
  ),
  WATCHDOG_USEC: z.optional(Decimal),
  WATCHDOG_PID: z.optional(Decimal),
  LISTEN_FDS: z.optional(Decimal.check(z.refine((count) => count <= MAX_PASSED, "too many"))),
  LISTEN_PID: z.optional(Decimal),
  LISTEN_FDNAMES: z.optional(z.string().check(z.maxLength(MAX_PASSED * 256))),
});

/** A descriptor that was passed. */
export interface Passed {
  readonly fd: number;
  readonly name: string;
}

/** What was said to this process. */
export interface ServiceEnvironment {
  /** An absolute path, or `@name`; nobody listens if there is none. */
  readonly socket?: string | undefined;
  /** How long the manager waits for a sign of life, in milliseconds. */
  readonly watchdogMs?: number | undefined;
  readonly passed: readonly Passed[];
}

/**
 * Reads what was said to this process, and takes it out of the environment: it is for no program that
 * this one starts.
 *
 * @throws {HoldfastError} if it makes no sense
 */
export function takeServiceEnvironment(
  environment: Pick<Deno.Env, "get" | "delete"> = Deno.env,
  pid: number = Deno.pid,
): ServiceEnvironment {
  const said: Record<string, string> = {};
  for (const name of Object.keys(Environment.shape)) {
    const value = environment.get(name);
    if (value !== undefined) said[name] = value;
    environment.delete(name);
  }
  const { success, data, error } = Environment.safeParse(said);
  if (!success) throw refuse(z.prettifyError(error), error);
  const isOurs = (whom: number | undefined) => whom === undefined || whom === pid;
  const watched = data.WATCHDOG_USEC !== undefined && data.WATCHDOG_USEC > 0 &&
    isOurs(data.WATCHDOG_PID);
  return {
    socket: data.NOTIFY_SOCKET,
    watchdogMs: watched ? data.WATCHDOG_USEC! / 1_000 : undefined,
    passed: data.LISTEN_PID === pid ? passedOf(data.LISTEN_FDS ?? 0, data.LISTEN_FDNAMES) : [],
  };
}

function passedOf(count: number, names: string | undefined): Passed[] {
  const each = names === undefined || count === 0 ? [] : names.split(":");
  if (each.length > 0 && each.length !== count) {
    throw refuse(`LISTEN_FDNAMES has ${each.length} names for ${count} descriptors`);
  }
  return Array.from({ length: count }, (_, index) => ({
    fd: FIRST_PASSED + index,
    name: each[index] ?? "unknown",
  }));
}

function refuse(found: string, cause?: unknown) {
  return new HoldfastError(`Cannot read what the service manager says: ${found}`, {
    kind: "environment",
    code: "service_environment",
    hint: "See the variables with: systemctl show-environment; or start without them",
    cause,
  });
}
