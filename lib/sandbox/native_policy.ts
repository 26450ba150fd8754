/**
 * The permissions of an executable that `deno compile` makes: one program for every role, with what
 * all of them need, of which each keeps its own. Pure.
 */
import type { Compartment, Config } from "../config/config.ts";
import {
  LISTED_KINDS,
  type NativeFacts,
  type Permissions,
  ROLE_VARIABLE,
  STEERING_VARIABLES,
} from "../protocol/native.ts";
import { namesOf } from "./resolver_compartment.ts";
import { joined, workerGrants } from "./worker_command.ts";

/** Where a listener may be moved to by a config that is laid over, on any port. */
const HOSTS = ["127.0.0.1", "0.0.0.0", "[::1]", "[::]"];

/** Variables by which a service manager and its own processes speak to a program. */
const OWN_VARIABLES = [
  ...[ROLE_VARIABLE, "NO_COLOR", "TERM", "JOURNAL_STREAM", "NOTIFY_SOCKET"],
  ...[
    "HOLDFAST_INHERITANCE",
    "WATCHDOG_USEC",
    "WATCHDOG_PID",
    "LISTEN_FDS",
    "LISTEN_PID",
    "LISTEN_FDNAMES",
  ],
];

const NOTHING: Permissions = {
  ...{ read: [], write: [], net: [], env: [], run: [], sys: [], ffi: false },
};

/** What each role keeps. */
export function rolePermissions(
  config: Config,
  { controlSocket, programs }: { controlSocket: string; programs: readonly string[] },
): NativeFacts["roles"] {
  const addresses = [...config.listen, ...config.metrics ? [config.metrics.listen] : []];
  const sockets = addresses.flatMap((address) => address.kind === "unix" ? address.path : []);
  const compartments = [config, ...config.helpers];
  const { folder } = config.log;
  const logFolders = folder === undefined ? [] : [folder];
  return {
    supervisor: {
      // Checking a config follows every link on the way to what it names.
      read: ["/"],
      write: unique([config.runtime, ...sockets]),
      net: unique([
        ...HOSTS,
        ...addresses.flatMap((address) => address.kind === "tcp" ? hostOf(address.host) : []),
        ...[controlSocket, ...sockets].map((path) => `unix:${path}`),
      ]),
      // Those that steer the runtime are read to refuse them.
      env: unique([
        ...OWN_VARIABLES,
        ...STEERING_VARIABLES,
        ...compartments.flatMap(({ env }) => env),
      ]),
      run: [...programs],
      sys: ["uid"],
      ffi: true,
    },
    // It follows links as well, and writes the image.
    planner: { ...NOTHING, read: ["/"], write: [config.runtime], sys: ["uid"] },
    worker: keptBy(config),
    ...Object.fromEntries(
      config.helpers.map((helper) => [`helper ${helper.name}`, keptBy(helper)]),
    ),
    logger: { ...NOTHING, read: logFolders, write: logFolders },
    metrics: NOTHING,
    resolver: { ...NOTHING, net: namesOf(config) },
  };
}

function keptBy(compartment: Compartment): Permissions {
  return { ...NOTHING, ...workerGrants(compartment) };
}

function hostOf(host: string): string {
  return host.includes(":") ? `[${host}]` : host;
}

/** What all roles together have. */
export function unionOf(roles: NativeFacts["roles"]): Permissions {
  const all = Object.values(roles);
  const lists = LISTED_KINDS.map((kind) => [kind, unique(all.flatMap((each) => each[kind]))]);
  return { ...NOTHING, ...Object.fromEntries(lists), ffi: all.some(({ ffi }) => ffi) };
}

/** The flags that grant it. */
export function permissionFlags(permissions: Permissions): string[] {
  return [
    "--no-prompt",
    ...LISTED_KINDS.flatMap((kind) => {
      const names = permissions[kind];
      return names.length === 0 ? [] : [`--allow-${kind}=${joined(names)}`];
    }),
    ...permissions.ffi ? ["--allow-ffi"] : [],
    // A variable that is not listed reads as not set.
    "--ignore-env",
    "--deny-import",
  ];
}

function unique(names: readonly string[]): string[] {
  return [...new Set(names)];
}
