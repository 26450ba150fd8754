/**
 * The schema of a {@link Config} that comes from another process, or from a file. What of it grants
 * something is compared with the config's text besides: `lib/supervisor/accept_config.ts`.
 */
import { normalize } from "node:path";
import * as z from "zod/mini";
import { DEFAULT_HTTP, HTTP_BOUNDS } from "../base/http_limits.ts";
import { SYS_KINDS } from "../base/sys_kinds.ts";
import { BOUNDS, DEFAULT_KEEPING, HELPER_NAME, MAX_VALUE_CHARS, MOST } from "./bounds.ts";
import type { Config } from "./config.ts";
import { foldersAbove } from "./paths.ts";
import { refusePath } from "./path_text.ts";

const MAX_TEXT = 4_096;

/** -1 means "leave it as it is" to setresuid(2), and 0 is root. */
const Id = z.int().check(z.minimum(1), z.maximum(2 ** 32 - 2));
const Port = z.int().check(z.minimum(1), z.maximum(65_535));
const Name = z.string().check(z.minLength(1), z.maxLength(256));

/** An absolute path without detours. */
const AnyPath = z.string().check(
  z.maxLength(MAX_TEXT),
  z.refine((path) =>
    path.startsWith("/") && normalize(path) === path && (path === "/" || !path.endsWith("/"))
  ),
);

/** One that may stand in a flag. */
const Path = AnyPath.check(z.refine((path) => refusePath(path) === undefined));

function bounded([least, greatest]: readonly [number, number]) {
  return z.int().check(z.minimum(least), z.maximum(greatest));
}

/** An object with a number for each of these bounds. */
function numbers<Keys extends string>(bounds: Readonly<Record<Keys, readonly [number, number]>>) {
  const entries = Object.entries<readonly [number, number]>(bounds);
  const shape = Object.fromEntries(entries.map(([key, each]) => [key, bounded(each)]));
  return shape as Record<Keys, ReturnType<typeof bounded>>;
}

/** What is served at one. */
const Served = {
  tls: z.optional(
    z.array(z.object({ cert: AnyPath, key: AnyPath })).check(
      z.minLength(1),
      z.maxLength(MOST.certs),
    ),
  ),
  redirect: z.optional(z.literal(true)),
  proxyProtocol: z.optional(z.literal(true)),
};

const TcpAddress = z.object({
  ...Served,
  kind: z.literal("tcp"),
  text: Name,
  host: Name,
  port: Port,
  ipv6Only: z.optional(z.literal(true)),
}).check(
  z.refine(({ text, host, port }) => text === `${host.includes(":") ? `[${host}]` : host}:${port}`),
);
const UnixAddress = z.object({
  proxyProtocol: Served.proxyProtocol,
  kind: z.literal("unix"),
  text: z.string().check(z.maxLength(MAX_TEXT)),
  path: AnyPath,
  mode: z.int().check(z.minimum(0), z.maximum(0o777)),
}).check(z.refine(({ text, path }) => text === `unix:${path}`));
const PassedAddress = z.object({
  ...Served,
  kind: z.literal("systemd"),
  text: Name,
  name: z.optional(Name),
}).check(
  z.refine(({ text, name }) => text === (name === undefined ? "systemd" : `systemd:${name}`)),
);
const Address = z.union([TcpAddress, UnixAddress, PassedAddress]);

const addresses = z.array(z.string().check(z.maxLength(64))).check(z.maxLength(MOST.proxies));

const limits = numbers(BOUNDS.limits);

const Compartment = {
  app: z.object({ module: Path, project: Path }).check(
    z.refine(({ module, project }) => foldersAbove(module).includes(project)),
  ),
  unveil: z.array(z.object({
    path: Path,
    rights: z.string().check(z.regex(/^(?=.)r?w?c?$/)),
    exists: z.boolean(),
    folder: z.boolean(),
  })).check(z.maxLength(MOST.unveil)),
  env: z.array(Name).check(z.maxLength(MOST.names)),
  envValues: z.optional(z.record(Name, z.string().check(z.maxLength(MAX_VALUE_CHARS)))),
  sys: z.optional(z.array(z.enum(SYS_KINDS)).check(z.maxLength(SYS_KINDS.length))),
  dropAfterOpen: z.optional(z.array(Path).check(z.maxLength(MOST.unveil))),
  jitless: z.optional(z.boolean()),
  tmp: z.optional(z.boolean()),
  native: z.optional(z.boolean()),
  net: z.array(Name).check(z.maxLength(MOST.names)),
  limits: z.object({ ...limits, memoryBytes: z.optional(limits.memoryBytes) }),
  account: z.optional(z.object({ user: Name, uid: Id, gid: Id })),
};

const helper = numbers(BOUNDS.helper);
const recycle = numbers(BOUNDS.recycle);

const ProbePath = z.string().check(z.maxLength(1_024), z.startsWith("/"));
const Probe = z.object({
  ...numbers(BOUNDS.probe),
  path: ProbePath,
  status: z.array(z.int()).check(z.maxLength(16)),
  headers: z.record(z.string(), z.string()),
});

const shape = {
  file: AnyPath,
  named: AnyPath,
  folder: AnyPath,
  ...Compartment,
  // A service manager may have passed more in the place of one.
  listen: z.array(Address).check(z.minLength(1), z.maxLength(1_000)),
  helpers: z.array(z.object({
    name: z.string().check(z.regex(HELPER_NAME)),
    ...helper,
    ...Compartment,
    restart: z.enum(["always", "never"]),
  })).check(z.maxLength(MOST.helpers)),
  envFile: z.optional(Path),
  engine: z.enum(["native", "node"]),
  wall: z.enum(["kernel", "deno"]),
  onViolation: z.enum(["replace", "log"]),
  reload: z.object({
    ...numbers(BOUNDS.reload),
    spreadMs: z._default(bounded(BOUNDS.reload.spreadMs), 0),
    webSockets: z._default(z.enum(["close", "keep"]), "close"),
    keepDeadlineMs: z._default(
      bounded(BOUNDS.reload.keepDeadlineMs),
      DEFAULT_KEEPING.keepDeadlineMs,
    ),
    maxKept: z._default(bounded(BOUNDS.reload.maxKept), DEFAULT_KEEPING.maxKept),
    widen: z._default(z.enum(["allow", "ask"]), "allow"),
    probe: z._default(z.array(Probe).check(z.maxLength(MOST.probes)), []),
    warmUp: z._default(z.array(ProbePath).check(z.maxLength(MOST.warmUp)), []),
  }),
  recycle: z.object({
    maxRequests: z.optional(recycle.maxRequests),
    maxAgeMs: z.optional(recycle.maxAgeMs),
    maxMemoryBytes: z.optional(recycle.maxMemoryBytes),
  }),
  watchdog: z.object({
    pulseDeadlineMs: z.union([z.literal(0), bounded(BOUNDS.watchdog.pulseDeadlineMs)]),
  }),
  workers: bounded(BOUNDS.workers),
  // Keys with a default are not in releases that an earlier version has written.
  spare: z._default(bounded(BOUNDS.spare), 0),
  http: z._default(
    z.object({
      ...numbers(HTTP_BOUNDS),
      maxPenaltyMs: z._default(bounded(HTTP_BOUNDS.maxPenaltyMs), DEFAULT_HTTP.maxPenaltyMs),
      penaltyExempt: z._default(addresses, DEFAULT_HTTP.penaltyExempt),
    }),
    DEFAULT_HTTP,
  ),
  // A planner that lies about them lies to the app: nothing is granted by it.
  trustedProxies: z._default(addresses, []),
  clientAddressHeader: z._default(
    z.string().check(z.regex(/^[a-z0-9-]{1,64}$/)),
    "x-forwarded-for",
  ),
  readiness: z.optional(z.string().check(z.maxLength(256), z.startsWith("/"))),
  metrics: z.optional(z.object({ listen: Address })),
  acme: z.optional(z.object({
    names: z.array(Name).check(z.minLength(1), z.maxLength(MOST.names)),
    email: z.optional(Name),
    directory: z.string().check(z.maxLength(1_024), z.startsWith("https://"), z.url()),
    trust: z.optional(Path),
    listen: z.array(Address).check(z.minLength(1), z.maxLength(1_000)),
  })),
  traces: z.optional(z.object({
    collector: Name,
    service: z.string().check(z.maxLength(64)),
  })),
  log: z.object({
    ...numbers(BOUNDS.log),
    folder: z.optional(Path),
    access: z.enum(["off", "common", "combined", "json"]),
    compress: z.boolean(),
  }),
  runtime: Path,
} satisfies Record<Exclude<keyof Config, "at">, z.ZodMiniType>;

/** What it does not know is left out: positions, and what another version has written. */
export const ConfigData: z.ZodMiniType<Config> = z.object(shape);
