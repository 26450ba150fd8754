/**
 * Finds the supervisor of a config. It is where the config says, unless that was edited, removed, or
 * lies behind a link that was moved since the supervisor has read it. Then each control socket of this
 * user that the kernel lists is asked whose it is.
 */
import { dirname } from "node:path";
import { realPlace } from "../config/real_place.ts";
import { readProc } from "../os/file.ts";
import type { Status } from "../protocol/control.ts";
import { controlSocketPath } from "../supervisor/runtime_folder.ts";
import type { System } from "../supervisor/system.ts";
import { askSupervisor } from "./control_client.ts";

/** How long one may take to say whose it is. */
const ASK_MS = 2_000;

/** How long to wait for one whose socket was removed: it makes another within a second or two. */
const RESTORE_MS = 4_000;
const LOOK_MS = 200;

/** What is read of the kernel's list. */
const MAX_LIST_BYTES = 4 * 1024 * 1024;

/** In the list, the flag of a socket that listens (`__SO_ACCEPTCON`). */
const LISTENS = "00010000";

/**
 * The runtime folder of the supervisor that was started with a config.
 *
 * @param config its path, absolute, as it was given
 * @throws {ConfigError} if the config cannot be read and no supervisor says that it is its own
 */
export async function findSupervisor(config: string, system: System): Promise<string> {
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
  if ("error" in expected) throw expected.error;
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

/** Whoever can make a socket may say anything: only one in a folder that nobody else may list or write is asked. */
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
 * Others make nothing in it; with `user` the workers' group may pass through. Root may ask for whoever
 * owns the config, too.
 */
function isPrivate(folder: string, config: string): boolean {
  const own = Deno.uid();
  const { isDirectory, uid, mode } = Deno.lstatSync(folder);
  if (!isDirectory || ((mode ?? 0) & 0o067) !== 0) return false;
  return uid === own || own === 0 && uid === Deno.statSync(config).uid;
}
