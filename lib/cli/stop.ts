import { EXIT } from "../base/exit_code.ts";
import { askSupervisor } from "./control_client.ts";
import type { AskingCommand } from "./command.ts";
import { findSupervisor } from "./find_supervisor.ts";

/** Drains and stops the running supervisor, and waits for it. */
export const stop: AskingCommand = async ({ config, system }) => {
  await askSupervisor(await findSupervisor(config, system), "stop", "stopped");
  return EXIT.ok;
};
