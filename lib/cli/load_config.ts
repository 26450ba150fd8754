/** The config of a command: what it means is found out in the command's own process. */
import type { Config } from "../config/config.ts";
import { warnOfOldName } from "../config/old_name.ts";
import { resolveText } from "../config/resolve.ts";
import type { System } from "../supervisor/system.ts";
import { withoutConfig } from "./app_file.ts";

/**
 * Loads it.
 *
 * @throws {HoldfastError} if there is none; a {@link ConfigError} with every problem
 */
export async function loadConfig(
  file: string,
  system: Pick<System, "readConfig">,
): Promise<Config> {
  const read = await system.readConfig(file).catch((error) => {
    throw withoutConfig(error, file);
  });
  return "config" in read ? read.config : await resolveText({ ...read, warn: warnOfOldName });
}
