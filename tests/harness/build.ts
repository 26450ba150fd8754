/**
 * Holdfast as an installation has it: a copy of the sources with its own programs already bundled. A
 * run of the tests makes it once, so that not every start bundles them again.
 */
import { cp } from "node:fs/promises";
import { join } from "node:path";
import { bundleProcessPrograms } from "../../lib/compile/programs.ts";
import { REPOSITORY } from "./project.ts";

/** What a start takes, and what tests start in its place. */
const SOURCES = ["deno.json", "deno.lock", "main.ts", "supervisor.ts", "worker.ts", "lib"];
const DOUBLES = "tests/doubles";

/** Makes one in a folder. */
export async function buildHoldfast(folder: string): Promise<void> {
  for (const name of [...SOURCES, DOUBLES]) {
    await cp(join(REPOSITORY, name), join(folder, name), { recursive: true });
  }
  await bundleProcessPrograms(folder);
}
