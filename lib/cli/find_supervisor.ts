/**
 * Finds the supervisor of a config. Its runtime folder is the one in the config, unless the config was
 * edited, removed, or reached by a link that has moved since the supervisor read it. Then every control
 * socket of this user that the kernel lists is asked for its config.
 */
import { dirname } from "node:path";
import { realPlace } from "../config/real_place.ts";
import { readProc } from "../os/file.ts";
import type { Status } from "../protocol/control.ts";
import { controlSocketPath } from "../supervisor/runtime_folder.ts";
import type { System } from "../supervisor/system.ts";
import { askSupervisor } from "./control_client.ts";

/** How long a supervisor may take to answer. */
const ASK_MS = 2_000;

/** How long to wait for a supervisor whose socket was removed: it makes a new one within two seconds. */
const RESTORE_MS = 4_000;
const LOOK_MS = 200;

/** How much of the kernel's list is read. */
const MAX_LIST_BYTES = 4 * 1024 * 1024;

/** In the list, the flag of a socket that listens (`__SO_ACCEPTCON`). */
const LISTENS = "00010000";

/**
 * The runtime folder of the supervisor that was started with a config.
 *
 * @param config its path, absolute, as it was given
 * @throws {ConfigError} if the config cannot be read and no supervisor claims it
 */
export async function findSupervisor(
  config: string,
  system: Pick<System, "locateRuntime">,
): Promise<string> {
  const expected = await system.locateRuntime(config).then(
    ({ runtime }) => ({ runtime }),
    (error: unknown) => ({ error }),
  );
  const endMs = performance.now() + RESTORE_MS;
  while (true) {
    const sockets = listControlSockets();
    if ("runtime" in expected && sockets.includes(controlSocketPath(expected.runtime))) {
      return expected.runtime;
    }
    const folders = sockets.map(dirname);
    const states = await Promise.all(folders.map((folder) => askWhose(folder, config)));
    const found = folders.find((_, index) => states[index] === "ours");
    if (found !== undefined) return found;
    if (!states.includes("removed") || performance.now() > endMs) break;
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
  }
  if ("error" in expected) {
    throw (await import("./app_file.ts")).withoutConfig(expected.error, config);
  }
  return expected.runtime;
}

/** By proc_net(5); none where it cannot be read. */
function listControlSockets(): string[] {
  try {
    const rows = readProc("net/unix", MAX_LIST_BYTES)?.split("\n") ?? [];
    return rows.flatMap((row) => {
      const [, , , flags, , , , ...path] = row.trim().split(" ").filter((word) => word !== "");
      const name = path.join(" ");
      return flags === LISTENS && name === controlSocketPath(dirname(name)) ? [name] : [];
    });
  } catch {
    return [];
  }
}

/** Any user could make such a socket: only those in a folder that no other user may list or write are asked. */
async function askWhose(folder: string, config: string): Promise<"ours" | "other" | "removed"> {
  try {
    if (!isPresent(controlSocketPath(folder))) return "removed";
    if (!isPrivate(folder, config)) return "other";
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<void>((resolve) => timer = setTimeout(resolve, ASK_MS));
    const asked = askSupervisor(folder, "status", "status").then(({ status }) => status);
    const status = await Promise.race([asked, late]).finally(() => clearTimeout(timer));
    return status && isOf(status, config) ? "ours" : "other";
  } catch {
    return "other";
  }
}

function isOf({ named, config: real }: Status, config: string): boolean {
  return named === config || realPlace(named ?? real) === realPlace(config);
}

function isPresent(path: string): boolean {
  try {
    return Deno.lstatSync(path).isSocket === true;
  } catch (error) {
    return !(error instanceof Deno.errors.NotFound);
  }
}

/**
 * Other users cannot create files in it; with `user` the workers' group may pass through. Root may also
 * ask supervisors of the config's owner.
 */
function isPrivate(folder: string, config: string): boolean {
  const own = Deno.uid();
  const { isDirectory, uid, mode } = Deno.lstatSync(folder);
  if (!isDirectory || ((mode ?? 0) & 0o067) !== 0) return false;
  return uid === own || own === 0 && uid === Deno.statSync(config).uid;
}
