import { EXIT } from "../base/exit_code.ts";
import { configureLog, flushLog, log } from "../base/log.ts";
import { ownUid } from "../base/own_uid.ts";
import { landlockAbi } from "../os/landlock.ts";
import { closedPaths } from "../planner/closed_paths.ts";
import type { Warning } from "../planner/make_image.ts";
import { examineCode } from "../planner/plan_code.ts";
import { knownConfig } from "../supervisor/read_config.ts";
import { requireWall } from "../supervisor/require_wall.ts";
import type { CliCommand } from "./command.ts";
import { loadConfig } from "./load_config.ts";
import { printLine } from "./terminal.ts";

/** Validates without starting: it binds no address and spawns no worker. Warnings go to stderr. */
export const check: CliCommand = async ({ config: file, system }) => {
  configureLog(Deno.stderr.isTerminal() ? "pretty" : "json");
  try {
    const config = await loadConfig(file, system);
    const warn = ({ event, ...each }: Warning) => log.warn(event, each);
    await system.planCode(knownConfig(config), (packed) => examineCode(config, { packed, warn }));
    const closed = ownUid() === 0 ? closedPaths(config, config.runtime) : [];
    for (const each of closed) log.warn("path_closed", { ...each });
    if (config.wall === "kernel") requireWall(landlockAbi());
    printLine(`${config.file}: ok`);
  } finally {
    await flushLog();
  }
  return EXIT.ok;
};
