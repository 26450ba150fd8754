/** Reads the text of a config. */
import { ConfigError, quote } from "./problem.ts";

const MAX_FILE_BYTES = 1024 * 1024;

/**
 * Reads the text of a config file.
 *
 * @throws {ConfigError} if it is not a regular file of UTF-8 text, or too large
 */
export async function readConfig(file: string): Promise<{ real: string; text: string }> {
  function refuse(message: string, hint: string, cause?: unknown): never {
    const problem = { code: "config_unreadable", key: "", message, hint, at: undefined };
    throw new ConfigError(file, [problem], cause);
  }
  try {
    const real = await Deno.realPath(file);
    // Asked before the file is opened: opening a FIFO waits for a writer.
    const { isFile, size } = await Deno.stat(real);
    if (!isFile) refuse("not a regular file", "pass the path of a config file");
    if (size > MAX_FILE_BYTES) {
      refuse(`${size} bytes, the limit is ${MAX_FILE_BYTES}`, "is this the config file?");
    }
    const text = new TextDecoder("utf-8", { fatal: true }).decode(await Deno.readFile(real));
    return { real, text };
  } catch (error) {
    // A missing permission flag is not an error of the file.
    if (error instanceof ConfigError || error instanceof Deno.errors.NotCapable) throw error;
    if (error instanceof TypeError) refuse("not UTF-8 text", "save it as UTF-8", error);
    const why = error instanceof Error ? error.message : String(error);
    refuse(`cannot read it: ${quote(why)}`, "check the path, and who may read it", error);
  }
}
