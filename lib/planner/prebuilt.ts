/** Programs that were bundled beforehand, as in an executable's image. */
import { join } from "node:path";
import { HOLDFAST_FOLDER } from "./programs.ts";

/** Where a program's text lies that was bundled beforehand, as in an executable's image. */
export function prebuiltPath(holdfast: string, entry: string): string {
  return join(holdfast, entry.replace(/\.ts$/, ".js"));
}

/** The text of a program that was bundled beforehand; a source tree has none. */
export async function readPrebuilt(entry: string, holdfast: string = HOLDFAST_FOLDER) {
  try {
    return await Deno.readTextFile(prebuiltPath(holdfast, entry));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}
