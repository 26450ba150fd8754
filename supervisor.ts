/** The supervisor: the signals of its process, and nothing that a test could not also call. */
import { log } from "./lib/base/log.ts";
import { unblockSignals } from "./lib/os/exec.ts";
import { takeInheritance } from "./lib/supervisor/inheritance.ts";
import { reapOrphans } from "./lib/supervisor/init.ts";
import { rehearsalSystem } from "./lib/supervisor/rehearsal.ts";
import { Supervisor } from "./lib/supervisor/supervisor.ts";
import { realSystem, type System } from "./lib/supervisor/system.ts";

/**
 * Serves until told to stop: HUP reloads, USR2 upgrades, TERM and INT drain, a second one of these cuts.
 *
 * @param file the config's path
 * @throws {HoldfastError} if the first generation does not come up
 */
export async function supervise(file: string, system: System = realSystem): Promise<void> {
  const inheritance = takeInheritance();
  const supervisor = new Supervisor(file, system, inheritance);
  let stops = 0;
  const listeners: [Deno.Signal, () => void][] = [
    ["SIGHUP", () => void supervisor.reload()],
    ["SIGUSR2", () => void supervisor.upgrade()],
    ["SIGTERM", stop],
    ["SIGINT", stop],
  ];
  function stop() {
    log.info("stop_asked", { by: "signal" });
    if (++stops > 1) supervisor.cut();
    else void supervisor.stop();
  }
  for (const [signal, listener] of listeners) Deno.addSignalListener(signal, listener);
  if (inheritance) unblockSignals();
  const endReaping = reapOrphans();
  try {
    await supervisor.start();
    await supervisor.stopped;
  } finally {
    endReaping();
    for (const [signal, listener] of listeners) Deno.removeSignalListener(signal, listener);
  }
}

/**
 * Brings up a generation that nobody can reach, beside a supervisor that runs, and ends it.
 *
 * @param used the runtime folder of that supervisor; empty if it does not say
 * @throws {HoldfastError} if it does not come up
 */
export async function rehearse(file: string, used: string, system: System): Promise<void> {
  const supervisor = new Supervisor(file, rehearsalSystem(system, used));
  // The supervisor that asked for it gives it up: what it has started goes with it.
  const stop = () => void supervisor.stop();
  Deno.addSignalListener("SIGTERM", stop);
  try {
    await supervisor.start();
    await supervisor.stop();
  } finally {
    Deno.removeSignalListener("SIGTERM", stop);
  }
}
