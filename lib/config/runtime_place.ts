/** Finds the runtime folder of a config, even if the config is wrong at the moment. */
import { parse, type ParseError } from "jsonc-parser";
import { basename, dirname, join, relative, resolve } from "node:path";
import { MAX_PATH_CHARS, refusePath } from "./path_text.ts";
import { readConfig } from "./read.ts";
import { realPlace } from "./real_place.ts";

/** Where the runtime folder is of which a config says nothing. */
export const DEFAULT_RUNTIME = "./.holdfast";

/** A runtime folder, and the folder of its config. */
export interface RuntimePlace {
  readonly folder: string;
  readonly runtime: string;
  /** False where the config has a fault, and this may not be what it is to say. */
  readonly certain?: boolean;
}

/** A config that was read and not judged: what it means is a planner's to say. */
export interface ConfigText extends RuntimePlace {
  /** The absolute real path of the file, and the path as it was given. */
  readonly file: string;
  readonly named: string;
  readonly text: string;
  /** Its values, as far as they can be told. */
  readonly raw: Readonly<Record<string, unknown>>;
  /** Without it every planner refuses the config. */
  readonly certain: boolean;
}

/**
 * Reads a config as far as it takes to know its runtime folder.
 *
 * @throws {ConfigError} if the file cannot be read
 */
export async function readConfigText(file: string): Promise<ConfigText> {
  const { real, text } = await readConfig(file);
  const folder = dirname(real);
  const errors: ParseError[] = [];
  const value = parseText(text, errors);
  const raw = isRecord(value) ? value : {};
  const found = raw.runtime ?? DEFAULT_RUNTIME;
  const isPath = typeof found === "string" && found.length <= MAX_PATH_CHARS &&
    refusePath(found) === undefined;
  return {
    ...{ file: real, named: file, folder, text, raw },
    runtime: resolve(folder, isPath ? found : DEFAULT_RUNTIME),
    certain: isRecord(value) && errors.length === 0 && isPath && raw.runtime !== null,
  };
}

/** jsonc-parser recovers from broken text. */
function parseText(text: string, errors: ParseError[]): unknown {
  try {
    return parse(text, errors, { allowTrailingComma: true });
  } catch {
    // It is nested deeper than the parser can recurse.
    return undefined;
  }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/**
 * The absolute runtime folder: a command that asks a running supervisor for its status, or tells it to
 * stop, must find it whatever else the file contains.
 *
 * @throws {ConfigError} if the file cannot be read
 */
export async function locateRuntime(file: string): Promise<RuntimePlace> {
  const { folder, runtime } = await readConfigText(file);
  return { folder, runtime: realRuntime({ runtime }) };
}

/** The real path of a runtime folder. Its user refuses one that is a link itself. */
export function realRuntime({ runtime }: Pick<RuntimePlace, "runtime">): string {
  return join(realPlace(dirname(runtime)), basename(runtime));
}

/**
 * Whether a config keeps its runtime folder: at the same path, or at the same path relative to
 * a config that is elsewhere by now, as in the next release of an app.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 *
 * const place = (folder: string, runtime: string) => ({ folder, runtime });
 * const one = place("/srv/releases/1", "/srv/releases/1/.holdfast");
 * assertEquals(keepsRuntime(one, place("/srv/releases/2", "/srv/releases/2/.holdfast")), true);
 * assertEquals(keepsRuntime(one, place("/srv/releases/2", "/run/holdfast")), false);
 * ```
 */
export function keepsRuntime(before: RuntimePlace, after: RuntimePlace): boolean {
  return before.runtime === after.runtime ||
    relative(before.folder, before.runtime) === relative(after.folder, after.runtime);
}
