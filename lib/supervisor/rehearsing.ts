/**
 * A supervisor that rehearses: the new program of an upgrade, beside the one that runs. It brings up a whole
 * generation that nobody can reach, and ends. What it cannot try is what is the old one's: the lock, the
 * control socket, the addresses, the log folder.
 */
import { join } from "node:path";
import { handleSignals } from "../base/control_signals.ts";
import type { ListenAddress } from "../config/config.ts";
import { covers } from "../base/covers.ts";
import { startListening } from "../os/descriptor.ts";
import { resetSignals } from "../os/signals.ts";
import { identityOf, type Listener } from "./listener.ts";
import { bindTcp, bindUnix } from "./listener_handle.ts";
import { movedRuntime } from "./rehearsal.ts";
import { Supervisor } from "./supervisor.ts";
import type { System } from "./system.ts";

/**
 * Brings up a generation that nobody can reach, beside a supervisor that runs, and ends it.
 *
 * @param used the runtime folder of that supervisor; empty if it does not say
 * @throws {HoldfastError} if it does not come up
 */
export async function runRehearsal(file: string, used: string, system: System): Promise<void> {
  const supervisor = new Supervisor(file, rehearsalSystem(system, used));
  // The supervisor that asked for it gives it up: what it has started goes with it.
  const endOrders = handleSignals((order) => {
    if (order === "SIGTERM") void supervisor.stop();
  });
  resetSignals();
  try {
    await supervisor.start();
    await supervisor.stop();
  } finally {
    endOrders();
  }
}

/**
 * The effects of a supervisor that rehearses.
 *
 * @param used the runtime folder that is in use; empty where the old supervisor does not say
 */
function rehearsalSystem(system: System, used: string): System {
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
    rehearses: true,
  };
}

/** A folder without a lock is no running supervisor's. */
function requireSameRuntime(path: string): void {
  if (identityOf(join(path, "lock")) !== undefined) return;
  throw movedRuntime(`An upgrade cannot move the runtime folder to ${path}`);
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
