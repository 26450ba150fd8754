/** Bundles programs of Holdfast's own. */
import { basename, dirname, join, relative } from "node:path";
import { pathToFileURL } from "node:url";
import { HoldfastError } from "../base/error.ts";
import { covers } from "../base/covers.ts";
import { foldersAbove } from "../config/paths.ts";
import { denoProgram } from "../supervisor/deno_program.ts";
import { runProgram } from "./deno.ts";
import { prebuiltPath, readPrebuilt } from "./prebuilt.ts";
import { BUNDLE_FAILED, HOLDFAST_FOLDER } from "./programs.ts";

/**
 * Bundles a program of Holdfast's own into one text, so that it needs no import map: in a worker the
 * app's is in force.
 *
 * @param folder where the text may lie while it is made
 * @param entry relative to {@link HOLDFAST_FOLDER}
 */
export async function bundle(folder: string, entry: string): Promise<string> {
  return (await bundleAll(folder, [entry]))[0]!;
}

/** The same for several, in one go, from the sources in a folder or as they were bundled beforehand. */
export async function bundleAll(
  folder: string,
  entries: readonly string[],
  { holdfast = HOLDFAST_FOLDER }: { holdfast?: string } = {},
): Promise<string[]> {
  const prebuilt = await Promise.all(entries.map((entry) => readPrebuilt(entry, holdfast)));
  if (prebuilt.every((text) => text !== undefined)) return prebuilt as string[];
  // A folder of its own: nothing can lie in it from before.
  const place = await Deno.makeTempDir({ dir: folder });
  try {
    // Where each text comes to lie depends on the folder that all of them are in.
    const root = entries.map(dirname).reduce((above, each) =>
      [above, ...foldersAbove(above)].find((folder) => covers(folder, each)) ?? "."
    );
    const flags = ["--quiet", "--platform=deno", "--external=holdfast:app", `--outdir=${place}`];
    const urls = entries.map((each) => pathToFileURL(join(holdfast, each)).href);
    await runProgram(denoProgram(), ["bundle", ...flags, ...urls], { cwd: holdfast });
    const texts = entries.map((entry) =>
      prebuiltPath(join(place, relative(root, dirname(entry))), basename(entry))
    );
    return await Promise.all(texts.map((path) => Deno.readTextFile(path)));
  } catch (error) {
    const message = `Cannot bundle ${entries.join(", ")}: ${(error as Error).message}`;
    throw new HoldfastError(message, { ...BUNDLE_FAILED, cause: error });
  } finally {
    await Deno.remove(place, { recursive: true }).catch(() => {});
  }
}
