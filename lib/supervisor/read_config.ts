/** A config on its way to a generation. */
import type { Config } from "../config/config.ts";
import type { ConfigText, RuntimePlace } from "../config/runtime_place.ts";
import type { Plan } from "../protocol/plan.ts";
import type { Code } from "../sandbox/process_code.ts";

/** One that is known whole: of an executable, which it is built into, or of an earlier planning. */
export interface KnownConfig extends RuntimePlace {
  readonly config: Config;
  /** What it ran, where it is brought back. */
  readonly kept?: Plan;
}

/** A config as a supervisor reads it: what its text means is a planner's to say. */
export type ReadConfig = ConfigText | KnownConfig;

/** What it means on this machine, and what its processes run. */
export interface PlannedConfig {
  readonly config: Config;
  readonly code: Code;
}

/** Whether the kernel's wall is to hold what is started for it; as long as nobody has judged it, too. */
export function isWalled(read: ReadConfig): boolean {
  return ("config" in read ? read.config : read.raw).wall !== "deno";
}

/** The config of an executable, which always knows it. */
export function configOf(read: ReadConfig): Config {
  if ("config" in read) return read.config;
  throw new Error(`${read.file} is not part of this program`);
}

/** A config that is known. */
export function knownConfig(config: Config): KnownConfig {
  const { folder, runtime } = config;
  return { config, folder, runtime };
}
