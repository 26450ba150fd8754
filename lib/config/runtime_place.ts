/** Finds the runtime folder of a config, even of one that is being edited and wrong just now. */
import { parse } from "jsonc-parser";
import { basename, dirname, join, relative, resolve } from "node:path";
import * as z from "zod";
import { readConfig } from "./load.ts";
import { realPlace } from "./real_place.ts";
import { ConfigSchema } from "./schema.ts";

/** A runtime folder, and the folder of the config that it is of. */
export interface RuntimePlace {
  readonly folder: string;
  readonly runtime: string;
}

/**
 * The absolute runtime folder: a command that asks a running supervisor for its status, or tells it to
 * stop, must reach it whatever else the file says by now.
 *
 * @throws {ConfigError} if the file cannot be read
 */
export async function locateRuntime(file: string): Promise<RuntimePlace> {
  const { real, text } = await readConfig(file);
  // jsonc-parser makes the best of broken text; what it found is judged like any other value.
  const found = z.looseObject({ runtime: ConfigSchema.shape.runtime }).safeParse(parse(text) ?? {});
  const runtime = found.success ? found.data.runtime : ConfigSchema.shape.runtime.parse(undefined);
  const folder = dirname(real);
  return { folder, runtime: realRuntime({ runtime: resolve(folder, runtime) }) };
}

/** Where a runtime folder lies. That it is a link itself is for its user to refuse. */
export function realRuntime({ runtime }: Pick<RuntimePlace, "runtime">): string {
  return join(realPlace(dirname(runtime)), basename(runtime));
}

/**
 * Whether a config keeps its runtime folder: at the same place, or at the same place beside a config
 * that a link leads to elsewhere, as in the next release of an app.
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
