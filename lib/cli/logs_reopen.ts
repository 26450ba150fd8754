import { EXIT } from "../base/exit_code.ts";
import { askSupervisor } from "./control_client.ts";
import type { AskingCommand } from "./command.ts";
import { findSupervisor } from "./find_supervisor.ts";

/** Reopens the log files, after logrotate has renamed them. */
export const reopenLogs: AskingCommand = async ({ config, system }) => {
  await askSupervisor(await findSupervisor(config, system), "reopen", "reopened");
  return EXIT.ok;
};
