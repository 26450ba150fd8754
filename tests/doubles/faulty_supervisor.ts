/**
 * `holdfast start` in which one effect fails once: the one that the file `fault` beside the config
 * names. Nothing else is different.
 */
import { dirname, join } from "node:path";
import { configureLog, flushLog } from "../../lib/base/log.ts";
import { realSystem } from "../../lib/supervisor/system.ts";
import { supervise } from "../../supervisor.ts";
import { runAsCommand } from "./command.ts";
import type { FaultName } from "./fault_name.ts";
import { faultySystem } from "./faulty_system.ts";

const ARMED = join(dirname(Deno.args[0]!), "fault");

/** Throws if the fault is armed, and disarms it. */
function strike(name: FaultName): void {
  try {
    if (Deno.readTextFileSync(ARMED) !== name) return;
  } catch {
    return;
  }
  Deno.removeSync(ARMED);
  throw new Error(`Fault: ${name}`);
}

await runAsCommand(async () => {
  configureLog("json");
  try {
    await supervise(Deno.args[0]!, faultySystem(realSystem, strike));
  } finally {
    await flushLog();
  }
});
