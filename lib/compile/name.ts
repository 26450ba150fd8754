/** What an executable is called. */
import { basename } from "node:path";
import { HoldfastError } from "../base/error.ts";
import type { Config } from "../config/config.ts";
import { parseConfig } from "../config/load.ts";
import { readConfig } from "../config/read.ts";
import { APP_NAME } from "../config/schema.ts";

/** A file's name is one word for the header of a portable executable. */
const FILE_NAME = /^[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}$/;

/** The longest name. */
const MAX_CHARS = 64;

/**
 * The name of the app in an executable: it may only take the place of another of the same name.
 *
 * @param given by the command line; without it, the config's own counts, then that of its folder
 * @throws {HoldfastError} if that is no name
 */
export async function nameOf({ file, folder }: Config, given: string | undefined): Promise<string> {
  if (given === undefined) {
    const { text } = await readConfig(file);
    return parseConfig(text, file).values.name ?? nameOfFolder(folder);
  }
  if (APP_NAME.test(given)) return given;
  throw new HoldfastError(`Cannot name an app ${JSON.stringify(given)}`, {
    kind: "usage",
    code: "app_name",
    hint: "Use up to 64 letters, digits and any of _ - in --name; it begins with a letter or digit",
  });
}

function nameOfFolder(folder: string): string {
  const name = basename(folder).replace(/[^a-zA-Z0-9_-]+/g, "-").replace(/^[-_]+|-+$/g, "");
  return name.slice(0, MAX_CHARS) || "app";
}

/** Checks the name of the file of an executable. */
export function requireFileName(name: string): void {
  if (FILE_NAME.test(name)) return;
  throw new HoldfastError(`Cannot name an executable ${JSON.stringify(name)}`, {
    kind: "usage",
    code: "output_name",
    hint: "Use letters, digits and any of . _ - in --output",
  });
}
