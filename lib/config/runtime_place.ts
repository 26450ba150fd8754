/** Finds the runtime folder of a config, even of one that is being edited and wrong just now. */
import { parse } from "jsonc-parser";
import { dirname, resolve } from "node:path";
import * as z from "zod";
import { readConfig } from "./load.ts";
import { realPlace } from "./real_place.ts";
import { ConfigSchema } from "./schema.ts";

/**
 * The absolute runtime folder: whoever asks a running supervisor for its status, or orders it to
 * stop, must reach it whatever else the file says by now.
 *
 * @throws {ConfigError} if the file cannot be read
 */
export async function locateRuntime(file: string): Promise<string> {
  const { real, text } = await readConfig(file);
  // jsonc-parser makes the best of broken text; what it found is judged like any other value.
  const found = z.looseObject({ runtime: ConfigSchema.shape.runtime }).safeParse(parse(text) ?? {});
  const runtime = found.success ? found.data.runtime : ConfigSchema.shape.runtime.parse(undefined);
  return realPlace(resolve(dirname(real), runtime));
}
