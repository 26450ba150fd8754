/** Loads a config in a command's own process. */
import { dirname } from "node:path";
import type { Config } from "./config.ts";
import { warnOfOldName } from "./old_name.ts";
import type { Override } from "./parse.ts";
import { readConfig } from "./read.ts";
import { resolveText } from "./resolve.ts";

export { parseConfig } from "./parse.ts";

/**
 * Loads a config: reads the file, validates it, and resolves every path and account on this
 * machine. Relative paths start at the folder of the config's real path. `checkConfig` judges what the
 * config would make possible.
 *
 * @param override a file whose keys replace those of the config
 * @throws {ConfigError} with every problem of the syntax; if none, of the schema, and of the files and
 * accounts that the config names
 */
export async function loadConfig(file: string, override?: Override): Promise<Config> {
  const { real, text } = await readConfig(file);
  const source = { file: real, named: file, folder: dirname(real), text, warn: warnOfOldName };
  return await resolveText(source, override);
}
