/** Variables that a config grants, and that nothing sets. */
import type { Config } from "../config/config.ts";
import { envFileValues } from "../supervisor/env_file.ts";

/** One of them, and what mends it. */
export interface UnsetVariable {
  readonly process: string;
  readonly name: string;
  readonly hint: string;
}

/**
 * Finds them; the config's file of variables was read before.
 *
 * @param environment that of whoever starts Holdfast
 */
export function findUnset(
  config: Config,
  environment: Readonly<Record<string, string>>,
): UnsetVariable[] {
  const values = { ...environment, ...envFileValues(config) };
  const hint = 'Set it where Holdfast is started or in "envFile", or take it out of "env"';
  return [{ name: "worker", ...config }, ...config.helpers].flatMap(({ name: process, ...of }) =>
    of.env.filter((name) => !Object.hasOwn({ ...values, ...of.envValues }, name))
      .map((name) => ({ process, name, hint }))
  );
}
