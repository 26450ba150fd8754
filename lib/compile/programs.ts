/** Holdfast's own programs as texts that need nothing else: no import map, no packages, no cache. */
import { dirname, join } from "node:path";
import { bundleAll } from "../planner/bundle.ts";
import { prebuiltPath } from "../planner/prebuilt.ts";
import { ENTRIES } from "../planner/programs.ts";

/**
 * Where the command line lies, in Holdfast's folder. It finds its folder two levels up, and the
 * program of its spawner threads beside it, as the sources do.
 */
export const MAIN_PROGRAM = "lib/supervisor/main.js";

/** How the sources name the program of a spawner's thread. */
export const SPAWNER_THREAD = '"./spawner_thread.ts"';

/** Bundles all of Holdfast into a folder. */
export async function bundlePrograms(folder: string): Promise<void> {
  const work = await Deno.makeTempDir({ prefix: "holdfast_bundle_" });
  try {
    const subjects = ["lib/audit/subject_worker.ts", "lib/audit/subject_helper.ts"];
    const entries = [...Object.values(ENTRIES), ...subjects];
    const [main, ...texts] = await bundleAll(work, ["packed.ts", ...entries]);
    for (const [index, text] of texts.entries()) {
      await write(prebuiltPath(folder, entries[index]!), text);
    }
    const program = replaceOnce(main!, SPAWNER_THREAD, '"./spawner_thread.js"');
    await write(join(folder, MAIN_PROGRAM), program);
  } finally {
    await Deno.remove(work, { recursive: true });
  }
}

async function write(path: string, text: string): Promise<void> {
  await Deno.mkdir(dirname(path), { recursive: true });
  await Deno.writeTextFile(path, text);
}

/** Replaces what a program names exactly once. */
export function replaceOnce(text: string, name: string, by: string): string {
  const [before, after, ...more] = text.split(name);
  if (before === undefined || after === undefined || more.length > 0) {
    throw new Error(`The program does not name ${name} exactly once`);
  }
  return before + by + after;
}
