/** The supervisor: the signals of its process, and nothing that a test could not also call. */
import { log } from "./lib/base/log.ts";
import { Supervisor } from "./lib/supervisor/supervisor.ts";
import { realSystem, type System } from "./lib/supervisor/system.ts";

/**
 * Serves until told to stop: HUP reloads, TERM and INT drain, a second one of these cuts.
 *
 * @param file the config's path
 * @throws {HoldfastError} if the first generation does not come up
 */
export async function supervise(file: string, system: System = realSystem): Promise<void> {
  const supervisor = new Supervisor(file, system);
  let stops = 0;
  const listeners: [Deno.Signal, () => void][] = [
    ["SIGHUP", () => void supervisor.reload()],
    ["SIGTERM", stop],
    ["SIGINT", stop],
  ];
  function stop() {
    log.info("stop_asked", { by: "signal" });
    if (++stops > 1) supervisor.cut();
    else void supervisor.stop();
  }
  for (const [signal, listener] of listeners) Deno.addSignalListener(signal, listener);
  try {
    await supervisor.start();
    await supervisor.stopped;
  } finally {
    for (const [signal, listener] of listeners) Deno.removeSignalListener(signal, listener);
  }
}
