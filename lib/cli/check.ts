import { EXIT } from "../base/exit_code.ts";
import { loadConfig } from "../config/load.ts";
import { findDenoDir, prepareApp } from "../supervisor/prepare.ts";
import type { Command } from "./cli.ts";
import { printLine } from "./terminal.ts";

/** Validates without starting: it binds nothing and spawns no worker. */
export const check: Command = async ({ config: file }) => {
  const config = await loadConfig(file);
  await prepareApp(config, await findDenoDir());
  printLine(`${config.file}: ok`);
  return EXIT.ok;
};
