/**
 * The rehearsal of an upgrade: the new program, run beside the old one, brings up a whole generation
 * that nobody can reach, and ends. What it cannot try is what is the old one's: the lock, the control
 * socket, the addresses, the log folder.
 */
import { join } from "node:path";
import { HoldfastError } from "../base/error.ts";
import { escapeStranger } from "../base/escape.ts";
import type { ListenAddress } from "../config/config.ts";
import { keepDescriptors, listenAndClose } from "../os/descriptor.ts";
import type { Listener } from "./listener.ts";
import { bindTcp, bindUnix } from "./listener_handle.ts";
import type { System } from "./system.ts";

/** What is added to the arguments of the new program. */
export const REHEARSE = "--rehearse";

/** How long it may take. */
const DEADLINE_MS = 120_000;

/** How long one that is given up may take to end what it has started. */
const END_MS = 5_000;

/** How much of what it says is told. */
const MAX_REASON = 1_000;

/** The effects of a supervisor that rehearses. */
export function rehearsalSystem(system: System): System {
  let folder = "";
  return {
    ...system,
    loadConfig: async (file) => {
      const config = await system.loadConfig(file);
      // The logger that is there writes these files.
      return { ...config, log: { ...config.log, folder: undefined } };
    },
    openRuntimeFolder: (path) => {
      folder = path;
      requireSameRuntime(path);
      return Promise.resolve({
        controlSocket: join(path, "control.sock"),
        lockFile: join(path, "lock"),
        close: () => {},
      });
    },
    // The one that runs, and its workers, have theirs in the same folder.
    listCodeCaches: () => [],
    openControl: () => Promise.resolve({ duplicate: () => -1, close: () => {} }),
    bindListener: (address) => Promise.resolve(bindElsewhere(address, folder)),
  };
}

/** A folder without a lock is no running supervisor's. */
function requireSameRuntime(path: string): void {
  try {
    Deno.lstatSync(join(path, "lock"));
  } catch (error) {
    throw new HoldfastError(`An upgrade cannot move the runtime folder to ${path}`, {
      kind: "config",
      code: "restart_needed",
      hint: "Restart Holdfast to move it",
      cause: error,
    });
  }
}

/** A listener of the same kind at a place that nobody knows. */
function bindElsewhere(address: ListenAddress, folder: string): Listener {
  const path = join(folder, `rehearsal-${Deno.pid}-${crypto.randomUUID().slice(0, 8)}.sock`);
  const handle = address.kind === "tcp" ? bindTcp("127.0.0.1", 0) : bindUnix(path);
  listenAndClose(handle.fdForIpc(), 1);
  return {
    text: address.text,
    duplicate: () => handle.fdForIpc(),
    listenAgain: () => false,
    update: () => {},
    close: () => handle.close(),
  };
}

/**
 * Has the program that lies there now rehearse.
 *
 * @throws {HoldfastError} if it does not come up
 * @throws the signal's reason when it aborts
 */
export async function rehearse(
  { program, args }: ReturnType<System["ownProgram"]>,
  signal: AbortSignal,
): Promise<void> {
  keepDescriptors();
  const child = new Deno.Command(program, {
    args: [...args, REHEARSE],
    stdin: "null",
    stdout: "null",
    stderr: "piped",
    // What a terminal sends is for the supervisor.
    detached: true,
  }).spawn();
  let killing: ReturnType<typeof setTimeout> | undefined;
  const end = () => {
    child.kill("SIGTERM");
    killing ??= setTimeout(() => child.kill("SIGKILL"), END_MS);
  };
  const deadline = setTimeout(end, DEADLINE_MS);
  signal.addEventListener("abort", end, { once: true });
  const { success, code, stderr } = await child.output();
  clearTimeout(deadline);
  clearTimeout(killing);
  signal.removeEventListener("abort", end);
  signal.throwIfAborted();
  if (success) return;
  const words = new TextDecoder().decode(stderr).split("\n")
    .filter((line) => !line.startsWith("{") && line.trim() !== "").join("; ").slice(-MAX_REASON);
  throw new HoldfastError(
    `The new version did not come up in a rehearsal (status ${code}): ` +
      escapeStranger(words || `nothing said within ${DEADLINE_MS} ms`, MAX_REASON),
    { kind: "app", code: "rehearsal_failed" },
  );
}
