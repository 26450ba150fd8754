/** The program of the workers of development. */
import { join } from "node:path";
import { bundle } from "../planner/bundle.ts";
import { readPrebuilt } from "../planner/prebuilt.ts";
import { digestSources, HOLDFAST_FOLDER } from "../planner/programs.ts";
import { findDenoDir } from "../supervisor/image_store.ts";

/** Relative to Holdfast's folder. */
export const WORKER_ENTRY = "lib/injector/main.ts";

/** Whether every program was bundled beforehand, as in the npm package. */
export async function isPrebuilt(): Promise<boolean> {
  return await readPrebuilt(WORKER_ENTRY) !== undefined;
}

/**
 * Its text, which is bundled once for each state of the sources.
 *
 * @param folder where it may lie while it is made
 * @param making is told that it has to be made
 */
export async function workerProgram(folder: string, making: () => void): Promise<string> {
  const prebuilt = await readPrebuilt(WORKER_ENTRY);
  if (prebuilt !== undefined) return prebuilt;
  const place = join(findDenoDir(), "holdfast");
  const kept = join(place, `${digestSources(HOLDFAST_FOLDER)}.dev.js`);
  try {
    return await Deno.readTextFile(kept);
  } catch {
    // There is none yet.
  }
  making();
  const text = await bundle(folder, WORKER_ENTRY);
  try {
    await Deno.mkdir(place, { recursive: true });
    const fresh = `${kept}.${crypto.randomUUID()}`;
    await Deno.writeTextFile(fresh, text, { createNew: true });
    await Deno.rename(fresh, kept);
  } catch {
    // DENO_DIR may be read-only: the next start bundles again.
  }
  return text;
}
