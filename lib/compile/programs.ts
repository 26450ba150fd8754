/** Holdfast's own programs as texts that need nothing else: no import map, no packages, no cache. */
import { dirname, join } from "node:path";
import { bundle } from "../planner/bundle.ts";
import { ENTRIES, prebuiltPath } from "../planner/programs.ts";

/**
 * Where the command line lies, in Holdfast's folder. It finds its folder two levels up, and the
 * program of its spawner threads beside it, as the sources do.
 */
export const MAIN_PROGRAM = "lib/supervisor/main.js";

/** How the sources name the program of a spawner's thread. */
export const SPAWNER_THREAD = '"./spawner_thread.ts"';

/** Those that a supervisor hands to its processes, and to its spawner threads. */
const PROCESS_ENTRIES = [
  ENTRIES.worker,
  ENTRIES.helper,
  ENTRIES.logger,
  ENTRIES.metrics,
  ENTRIES.spawner,
];

/** Bundles all of Holdfast into a folder. */
export async function bundlePrograms(folder: string): Promise<void> {
  const subjects = ["lib/audit/subject_worker.ts", "lib/audit/subject_helper.ts"];
  await bundleInto(folder, [...PROCESS_ENTRIES, ...subjects], async (work) => {
    const main = await bundle(work, "packed.ts");
    await write(
      join(folder, MAIN_PROGRAM),
      replaceOnce(main, SPAWNER_THREAD, '"./spawner_thread.js"'),
    );
  });
}

async function bundleInto(
  folder: string,
  entries: readonly string[],
  more: (work: string) => Promise<void> = async () => {},
): Promise<void> {
  const work = await Deno.makeTempDir({ prefix: "holdfast_bundle_" });
  try {
    const bundleEntry = async (entry: string) =>
      await write(prebuiltPath(folder, entry), await bundle(work, entry));
    const [first, ...others] = entries;
    // The first one alone: it may fetch the bundler, and two that do so get in each other's way.
    await bundleEntry(first!);
    await Promise.all(others.map(bundleEntry));
    await more(work);
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
