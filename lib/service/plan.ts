/** What of a config and a machine decides how its service looks. */
import type { BoundAddress, Config } from "../config/config.ts";
import { covers } from "../base/covers.ts";

/** A folder that is made for the service, and whose it is. */
export interface ServiceFolder {
  readonly path: string;
  readonly mode: number;
  /** Names or numbers. */
  readonly owner: string;
  readonly group: string;
  /** Whether root alone decides what lies on the way: systemd-tmpfiles makes no other. */
  readonly safe: boolean;
}

/** All that the files of a service follow from. */
export interface ServicePlan {
  readonly name: string;
  readonly config: string;
  /** The command line of `holdfast start`. */
  readonly start: readonly string[];
  /** The command line of `holdfast logs reopen`. */
  readonly reopen: readonly string[];
  readonly denoDir: string;
  /** Whom all of it runs as; nothing where root starts it, and each process has an account of its own. */
  readonly user: string | undefined;
  /** Its first group. */
  readonly group: string | undefined;
  /** Whether that user is made by sysusers.d. */
  readonly createsUser: boolean;
  /** The version of systemd, if it is known. */
  readonly systemd: number | undefined;
  /** What it binds by itself. */
  readonly addresses: readonly BoundAddress[];
  /** Whether systemd binds them for it. */
  readonly socket: boolean;
  /** The first port that anybody may bind (net.ipv4.ip_unprivileged_port_start). */
  readonly firstOpenPort: number;
  /** Whether a process may dial a Unix socket. */
  readonly dialsSockets: boolean;
  /** A folder on the way to what root must read, and that is closed to root without more rights. */
  readonly closedToRoot: string | undefined;
  /** What it reads, besides the system. */
  readonly reads: readonly string[];
  /** The runtime folder and that of the logs. */
  readonly folders: readonly ServiceFolder[];
  /** All that it writes, each once. */
  readonly writes: readonly string[];
  /** How long a stop may take. */
  readonly stopMs: number;
  readonly descriptors: number;
  /** Variables that are granted, and to which nothing gives a value. */
  readonly variables: readonly string[];
  readonly logFolder: string | undefined;
  /** Whether Holdfast rotates the logs itself. */
  readonly rotates: boolean;
}

/** The largest value of `log.rotateBytes`: with it no size rotates a log. */
const NO_SIZE = 2 ** 40;

/** Whether a config leaves the rotation of its logs to somebody else. */
export function rotatesItself({ log }: Pick<Config, "log">): boolean {
  return log.rotateHours !== 0 || log.rotateBytes < NO_SIZE;
}

/** The file that is to have the values of variables. */
export function variablesFile({ name }: Pick<ServicePlan, "name">): string {
  return `/etc/holdfast/${name}.env`;
}

/** Whether a path that the service needs lies in one of these folders. */
export function needs(plan: ServicePlan, ...folders: string[]): boolean {
  return [...plan.reads, ...plan.writes].some((path) =>
    folders.some((folder) => covers(folder, path))
  );
}

/** Whether it binds a port that is not anybody's. */
export function bindsLowPort({ addresses, socket, firstOpenPort }: ServicePlan): boolean {
  return !socket && addresses.some((each) => each.kind === "tcp" && each.port < firstOpenPort);
}
