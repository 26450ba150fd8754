import { EXIT } from "../base/exit_code.ts";
import { HoldfastError } from "../base/error.ts";
import { askSupervisor } from "./control_client.ts";
import type { CliCommand } from "./command.ts";
import { findSupervisor } from "./find_supervisor.ts";
import { printLine } from "./terminal.ts";

/** Reloads and waits for the outcome. */
export const reload: CliCommand = async ({ config, system }) => {
  const { result } = await askSupervisor(
    await findSupervisor(config, system),
    "reload",
    "reloaded",
  );
  if (result.outcome === "refused") {
    throw new HoldfastError(
      `The new version was refused, generation ${result.generation} keeps serving: ${result.reason}`,
      {
        kind: "refused",
        code: "reload_refused",
        ...result.hint !== undefined && { hint: result.hint },
      },
    );
  }
  printLine(`Generation ${result.generation} serves after ${result.ms} ms`);
  return EXIT.ok;
};
