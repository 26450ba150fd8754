/** What the logger is granted: its folder, and nothing else at all. Pure. */
import type { Compartment, Config } from "../config/config.ts";

/**
 * The logger's compartment.
 *
 * It runs as whoever starts Holdfast, not as the workers' user: to that user the log files are
 * somebody else's.
 *
 * @param folder of the log files, absolute
 * @param module the logger's program, which Holdfast brings
 */
export function logCompartment(
  { limits }: Pick<Config, "limits">,
  folder: string,
  module: string,
): Compartment {
  return {
    app: { module, project: folder },
    unveil: [{ path: folder, rights: "rwc", exists: true, folder: true }],
    env: [],
    net: [],
    limits,
    account: undefined,
  };
}
