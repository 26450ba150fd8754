/** The supervisor: the signals of its process, and nothing that a test could not also call. */
import { log } from "./lib/base/log.ts";
import { type ControlSignal, handleSignals, holdSignals } from "./lib/base/control_signals.ts";
import { ignoreInspectorSignal, resetSignals } from "./lib/os/signals.ts";
import { takeInheritance } from "./lib/supervisor/inheritance.ts";
import { reapOrphans } from "./lib/supervisor/reap_orphans.ts";
import { StopOrders } from "./lib/supervisor/stop_orders.ts";
import { Supervisor } from "./lib/supervisor/supervisor.ts";
import { realSystem, type System } from "./lib/supervisor/system.ts";

/**
 * Serves until told to stop: HUP reloads, USR2 upgrades, TERM and INT drain, a second one of these cuts;
 * USR1 is ignored.
 *
 * @param file the config's path
 * @throws {HoldfastError} if the first generation does not come up
 */
export async function supervise(file: string, system: System = realSystem): Promise<void> {
  const supervisor = new Supervisor(file, system, takeInheritance());
  const stops = new StopOrders();
  const stop = (signal: ControlSignal) => {
    const order = stops.take();
    log.info("stop_asked", { by: "signal", signal, again: order === "same" });
    if (order === "stop") void supervisor.stop();
    if (order === "cut") supervisor.cut();
  };
  holdSignals();
  // Whoever started this may have blocked signals; an upgrade has, until they are listened to.
  resetSignals();
  ignoreInspectorSignal();
  const endReaping = reapOrphans();
  // Before any order is taken: what an upgrade has left is this one's to end.
  const started = supervisor.start();
  const endOrders = handleSignals((order) => {
    if (order === "SIGHUP") void supervisor.reload();
    else if (order === "SIGUSR2") void supervisor.upgrade();
    else if (order !== "SIGUSR1") stop(order);
  });
  try {
    await started;
    await supervisor.stopped;
  } finally {
    endReaping();
    endOrders();
  }
}
