import { EXIT } from "../base/exit_code.ts";
import { loadConfig } from "../config/load.ts";
import { landlockAbi } from "../os/landlock.ts";
import { findDenoDir, prepareApp } from "../supervisor/prepare.ts";
import { requireWall } from "../supervisor/require_wall.ts";
import type { Command } from "./cli.ts";
import { printLine } from "./terminal.ts";

/** Validates without starting: it binds nothing and spawns no worker. */
export const check: Command = async ({ config: file }) => {
  const config = await loadConfig(file);
  await prepareApp(config, await findDenoDir());
  if (config.wall === "kernel") requireWall(landlockAbi());
  printLine(`${config.file}: ok`);
  return EXIT.ok;
};
