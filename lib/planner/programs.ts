/** Holdfast's own programs, each bundled into one text. */
import { basename, dirname, join, relative } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { HoldfastError } from "../base/error.ts";
import { covers } from "../config/paths.ts";
import { denoProgram } from "../supervisor/deno_program.ts";
import { runProgram } from "./deno.ts";

/** Holdfast's own folder. */
export const HOLDFAST_FOLDER = fileURLToPath(new URL("../..", import.meta.url)).replace(/\/$/, "");

/** Holdfast's own programs, relative to its folder. */
export const WORKER_ENTRY = "worker.ts";
export const HELPER_ENTRY = "lib/helper/main.ts";
export const LOGGER_ENTRY = "lib/logger/main.ts";
export const METRICS_ENTRY = "lib/metrics/main.ts";
export const PLANNER_ENTRY = "lib/planner/main.ts";
export const SPAWNER_ENTRY = "lib/supervisor/spawner_thread.ts";

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

/** The same for several, in one go. */
async function bundleAll(folder: string, entries: readonly string[]): Promise<string[]> {
  const prebuilt = await Promise.all(entries.map((entry) => readPrebuilt(entry)));
  const known = prebuilt.filter((text) => text !== undefined);
  if (known.length === entries.length) return known;
  // A folder of its own: nothing can lie in it from before.
  const place = await Deno.makeTempDir({ dir: folder });
  try {
    // Where each text comes to lie depends on the folder that all of them are in.
    const root = entries.map(dirname).reduce((above, each) => covers(above, each) ? above : ".");
    const flags = ["--quiet", "--platform=deno", "--external=holdfast:app", `--outdir=${place}`];
    const urls = entries.map((each) => pathToFileURL(join(HOLDFAST_FOLDER, each)).href);
    await runProgram(denoProgram(), ["bundle", ...flags, ...urls], { cwd: HOLDFAST_FOLDER });
    const texts = entries.map((entry) =>
      prebuiltPath(join(place, relative(root, dirname(entry))), basename(entry))
    );
    return await Promise.all(texts.map((path) => Deno.readTextFile(path)));
  } catch (error) {
    const message = `Cannot bundle ${entries.join(", ")}: ${(error as Error).message}`;
    throw new HoldfastError(message, {
      kind: "environment",
      code: "bundle_failed",
      hint: "The first start needs the npm registry, for the bundler that Deno brings",
      cause: error,
    });
  } finally {
    await Deno.remove(place, { recursive: true }).catch(() => {});
  }
}

/** Where a program's text lies that was bundled beforehand, as in an executable's image. */
export function prebuiltPath(holdfast: string, entry: string): string {
  return join(holdfast, entry.replace(/\.ts$/, ".js"));
}

/** The text of a program that was bundled beforehand; a source tree has none. */
export async function readPrebuilt(
  entry: string,
  holdfast: string = HOLDFAST_FOLDER,
): Promise<string | undefined> {
  try {
    return await Deno.readTextFile(prebuiltPath(holdfast, entry));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

const ENTRIES = {
  worker: WORKER_ENTRY,
  helper: HELPER_ENTRY,
  logger: LOGGER_ENTRY,
  metrics: METRICS_ENTRY,
  spawner: SPAWNER_ENTRY,
  planner: PLANNER_ENTRY,
};

/** Holdfast's own part of each process, and of a spawner thread that comes from no file. */
export interface OwnPrograms {
  readonly worker: string;
  readonly helper: string;
  readonly logger: string;
  readonly metrics: string;
  readonly spawner?: string;
  /** Nothing in an executable, whose image is part of it. */
  readonly planner?: string;
}

/**
 * Takes all of Holdfast's own programs into memory: whatever becomes of its folder, what runs stays
 * what was started until an upgrade.
 *
 * @param folder where they may lie while they are made
 */
export async function loadPrograms(folder: string): Promise<OwnPrograms> {
  const texts = await bundleAll(folder, Object.values(ENTRIES));
  const names = Object.keys(ENTRIES);
  return Object.fromEntries(names.map((name, index) => [name, texts[index]!])) as typeof ENTRIES;
}
