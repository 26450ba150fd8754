import { EXIT } from "../base/exit_code.ts";
import { HoldfastError } from "../base/error.ts";
import { askSupervisor } from "./control_client.ts";
import type { AskingCommand } from "./command.ts";
import { findSupervisor } from "./find_supervisor.ts";
import { printLine } from "./terminal.ts";
import { hungUp, waitForUpgrade } from "./wait_for_upgrade.ts";

/** Replaces the supervisor's program and waits for the outcome. */
export const upgrade: AskingCommand = async ({ config, system }) => {
  const runtime = await findSupervisor(config, system);
  const before = (await askSupervisor(runtime, "status", "status")).status;
  try {
    const { reason } = await askSupervisor(runtime, "upgrade", "upgrade_refused");
    throw new HoldfastError(`The upgrade was refused, the old version keeps serving: ${reason}`, {
      kind: "refused",
      code: "upgrade_refused",
    });
  } catch (error) {
    // The supervisor has replaced its program, which closed this connection.
    if (!hungUp(error)) throw error;
  }
  const after = await waitForUpgrade(runtime, before.upgrades);
  const [newest] = after.generations.slice(-1);
  printLine(`Holdfast ${after.holdfast} serves generation ${newest?.generation}, pid ${after.pid}`);
  return EXIT.ok;
};
