/** Finds the runtime folder of a config, even if the config is wrong at the moment. */
import { parse } from "jsonc-parser";
import { basename, dirname, join, relative, resolve } from "node:path";
import * as z from "zod";
import { readConfig } from "./load.ts";
import { realPlace } from "./real_place.ts";
import { ConfigSchema } from "./schema.ts";

/** A runtime folder, and the folder of its config. */
export interface RuntimePlace {
  readonly folder: string;
  readonly runtime: string;
}

/**
 * The absolute runtime folder: a command that asks a running supervisor for its status, or tells it to
 * stop, must find it whatever else the file contains.
 *
 * @throws {ConfigError} if the file cannot be read
 */
export async function locateRuntime(file: string): Promise<RuntimePlace> {
  const { real, text } = await readConfig(file);
  // jsonc-parser recovers from broken text; the value it finds is checked like any other.
  const found = z.looseObject({ runtime: ConfigSchema.shape.runtime }).safeParse(parse(text) ?? {});
  const runtime = found.success ? found.data.runtime : ConfigSchema.shape.runtime.parse(undefined);
  const folder = dirname(real);
  return { folder, runtime: realRuntime({ runtime: resolve(folder, runtime) }) };
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
