import type { AskingCommand } from "./command.ts";
import { askSupervisor } from "./control_client.ts";
import { findSupervisor } from "./find_supervisor.ts";
import { printOutcome } from "./reload.ts";

/** Brings an earlier version back, and waits for the outcome. */
export const rollback: AskingCommand = async ({ config, release, system }) => {
  const runtime = await findSupervisor(config, system);
  const ask = { type: "rollback" as const, ...release !== undefined && { release } };
  const { result } = await askSupervisor(runtime, ask, "reloaded");
  return printOutcome(result, "The earlier version");
};
