/**
 * The rehearsal of an upgrade: the new program, run beside the old one, brings up a whole generation
 * that nobody can reach, and ends. What it cannot try is what is the old one's: the lock, the control
 * socket, the addresses, the log folder.
 */
import { join } from "node:path";
import { HoldfastError } from "../base/error.ts";
import { escapeUntrusted } from "../base/escape.ts";
import type { ListenAddress } from "../config/config.ts";
import { closeAllOnExec, startListening } from "../os/descriptor.ts";
import { covers } from "../config/paths.ts";
import { workingFolder } from "../config/spelled_path.ts";
import { identityOf, type Listener } from "./listener.ts";
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

/**
 * The effects of a supervisor that rehearses.
 *
 * @param used the runtime folder that is in use; empty where the old supervisor does not say
 */
export function rehearsalSystem(system: System, used: string): System {
  let folder = used;
  let beside = "";
  return {
    ...system,
    readConfig: async (file) => {
      const read = await system.readConfig(file);
      beside = read.folder;
      return read;
    },
    planCode: async (...all) => {
      const { config, code } = await system.planCode(...all);
      // The logger that is there writes these files.
      return { config: { ...config, log: { ...config.log, folder: undefined } }, code };
    },
    // It may be open to the workers of the one that runs.
    makePrivateFolder: (path, gid = "unknown") => system.makePrivateFolder(path, gid),
    openRuntimeFolder: (path) => {
      // One beside a config that a link leads to elsewhere is followed later.
      if (path !== used && !(used !== "" && covers(beside, path))) requireSameRuntime(path);
      folder ||= path;
      const [controlSocket, lockFile] = [join(folder, "control.sock"), join(folder, "lock")];
      return Promise.resolve({
        ...{ controlSocket, lockFile, made: identityOf(lockFile) },
        close: () => {},
      });
    },
    // That of the supervisor which runs says what would be left of it.
    openProcessRecord: () => ({ left: () => [], write: () => {}, close: () => {} }),
    openControl: (path) =>
      Promise.resolve({ duplicate: () => -1, made: identityOf(path), close: () => {} }),
    bindListener: (address) => Promise.resolve(bindElsewhere(address, folder)),
    // Those of the one that runs lie in the same folder.
    ownsImages: false,
  };
}

/** A folder without a lock is no running supervisor's. */
function requireSameRuntime(path: string): void {
  if (identityOf(join(path, "lock")) !== undefined) return;
  throw movedRuntime(`An upgrade cannot move the runtime folder to ${path}`);
}

/** What is said of a config that names another runtime folder. */
export function movedRuntime(found: string): HoldfastError {
  return new HoldfastError(found, {
    kind: "config",
    code: "restart_needed",
    hint: "Restart Holdfast to move it, or leave runtime in the config as it was",
  });
}

/** A listener of the same kind at a place that nobody knows. */
function bindElsewhere(address: ListenAddress, folder: string): Listener {
  const path = join(folder, `rehearsal-${Deno.pid}-${crypto.randomUUID().slice(0, 8)}.sock`);
  const handle = address.kind === "tcp" ? bindTcp("127.0.0.1", 0) : bindUnix(path);
  startListening(handle.fdForIpc(), 1);
  return {
    text: address.text,
    duplicate: () => handle.fdForIpc(),
    listenAgain: () => false,
    setBack: () => [],
    waiting: () => 0,
    update: () => {},
    close: () => handle.close(),
  };
}

/**
 * Has the program that lies there now rehearse.
 *
 * @param used the runtime folder that is in use
 * @throws {HoldfastError} if it does not come up
 * @throws the signal's reason when it aborts
 */
export async function rehearse(
  { program, args }: ReturnType<System["ownProgram"]>,
  used: string,
  signal: AbortSignal,
): Promise<void> {
  closeAllOnExec();
  const child = new Deno.Command(program, {
    args: [...args, `${REHEARSE}=${used}`],
    cwd: workingFolder(),
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
      escapeUntrusted(words || `nothing said within ${DEADLINE_MS} ms`, MAX_REASON),
    { kind: "app", code: "rehearsal_failed" },
  );
}
