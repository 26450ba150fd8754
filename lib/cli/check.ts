import { EXIT } from "../base/exit_code.ts";
import { landlockAbi } from "../os/landlock.ts";
import { requireWall } from "../supervisor/require_wall.ts";
import type { Command } from "./command.ts";
import { printLine } from "./terminal.ts";

/** Validates without starting: it binds nothing and spawns no worker. */
export const check: Command = async ({ config: file, system }) => {
  const config = await system.loadConfig(file);
  await system.prepareApp(config, await system.findDenoDir(config));
  if (config.wall === "kernel") requireWall(landlockAbi());
  printLine(`${config.file}: ok`);
  return EXIT.ok;
};
