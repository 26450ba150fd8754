/**
 * The `@std/cli` name that this project uses, over `minimist`, whose options `@std/cli` took over.
 * Going to JSR is one line in `deno.json`.
 */
import minimist from "minimist";

/** The options of `parseArgs` of `@std/cli` that are in use here. */
export interface ParseOptions {
  boolean?: string[];
  string?: string[];
  alias?: Record<string, string>;
  default?: Record<string, unknown>;
  stopEarly?: boolean;
  /** Called for every argument that is not a known option; `false` leaves it out of the result. */
  unknown?: (argument: string, key?: string) => boolean;
}

/** What `parseArgs` returns: `_` holds the arguments that are not options. */
export interface Args {
  _: string[];
  [option: string]: unknown;
}

/**
 * Parses command-line arguments.
 *
 * ```ts
 * import { parseArgs } from "@std/cli";
 * import { assertEquals } from "@std/assert";
 *
 * const args = parseArgs(["status", "--json"], { boolean: ["json"] });
 * assertEquals([args._, args.json], [["status"], true]);
 * ```
 */
export function parseArgs(args: string[], options: ParseOptions = {}): Args {
  const { unknown, ...rest } = options;
  const known = unknown &&
    ((argument: string) => unknown(argument, /^--?([^=]+)/.exec(argument)?.[1]));
  return minimist(args, {
    ...rest,
    string: ["_", ...options.string ?? []],
    ...known && { unknown: known },
  });
}
