import { EXIT } from "../base/exit_code.ts";
import type { Status } from "../protocol/control.ts";
import { askSupervisor } from "./control_client.ts";
import type { AskingCommand } from "./command.ts";
import { findSupervisor } from "./find_supervisor.ts";
import { filtersBeside, statusJson } from "./process_filters.ts";
import { formatStatus } from "./status_text.ts";
import { printLine } from "./terminal.ts";
import { viewOfOutput } from "./text.ts";

/**
 * The states with exit status 0. During an upgrade the old workers serve. While stopping, a probe must
 * not get a server killed that still finishes requests.
 */
const HEALTHY: readonly Status["state"][] = ["serving", "upgrading", "stopping"];

/** Shows processes and generations. */
export const status: AskingCommand = async ({ config, json, wide, system }) => {
  const { status } = await askSupervisor(await findSupervisor(config, system), "status", "status");
  printLine(
    json ? statusJson(status) : formatStatus(status, viewOfOutput({ wide }), filtersBeside(status)),
  );
  return HEALTHY.includes(status.state) ? EXIT.ok : EXIT.failing;
};
