/** Which Unix sockets no process may dial, whatever `net` says. */
import type { Config } from "./config.ts";
import { covers } from "../base/covers.ts";
import { type Trail } from "./paths.ts";
import { quote, Refusal } from "./problem.ts";
import { isSystemSocket } from "./system_paths.ts";

/** What a path is compared with; each with its links followed. */
export interface DialledFacts {
  readonly wall: Config["wall"];
  /** The runtime folders: of the config, and the one that is in use. */
  readonly runtimes: readonly Trail[];
  /** Unix sockets on which this server listens itself. */
  readonly listeners: readonly Trail[];
  /** Where a process may make and remove files. */
  readonly changed: readonly Trail[];
}

/** What a runtime folder is called where the config does not say. */
export const DEFAULT_RUNTIME = ".holdfast";

/**
 * Checks a Unix socket of `net`.
 *
 * @param path as `net` says it, with its links followed
 */
export function refuseDialled(
  { path, real, links }: Trail & { readonly path: string },
  { wall, runtimes, listeners, changed }: DialledFacts,
): Refusal | undefined {
  const isIn = (folders: readonly Trail[]) => folders.some((folder) => covers(folder.real, real));
  if (isIn(runtimes) || real.split("/").includes(DEFAULT_RUNTIME)) {
    return new Refusal(
      "net_unix_runtime",
      `${quote(path)} is in the runtime folder of a Holdfast, ${quote(real)}: ` +
        "who reaches its control socket controls it",
      "leave it out",
    );
  }
  if (isIn(listeners)) {
    return new Refusal(
      "net_unix_own",
      `${quote(path)} is a socket on which this server listens itself`,
      "leave it out, and have the app call its own functions",
    );
  }
  if (["/proc", "/sys"].some((folder) => covers(folder, real))) {
    return new Refusal(
      "net_unix_system",
      `${quote(path)} is in a kernel file system, by which every other path can be reached`,
      "write the path where the socket lies",
    );
  }
  if (isSystemSocket(real)) {
    return new Refusal(
      "net_unix_system",
      `${quote(path)} is a socket of the system: who may talk to that service can have it run ` +
        "programs, with root's rights or those of who logs in",
      "put a service between that passes on nothing but what the app needs, such as a filtering proxy " +
        "for Docker, and dial that",
    );
  }
  const planted = [real, ...links].find((place) =>
    changed.some((folder) => covers(folder.real, place))
  );
  if (planted !== undefined) {
    return new Refusal(
      "net_unix_replaceable",
      `${quote(planted)} is in a folder that is unveiled with "c": a process could remove the ` +
        "socket, or put something in its place",
      "have the service make its socket in a folder that is not unveiled, such as one in /run",
    );
  }
  if (wall === "kernel") return undefined;
  return new Refusal(
    "net_unix_unguarded",
    `${quote(path)}: Unix sockets are dialled by the kernel's wall alone, and "wall" is ${
      quote(wall)
    }`,
    'take "wall" out, or connect over TCP',
  );
}
