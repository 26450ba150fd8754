/**
 * Holdfast as an installation has it: a copy of the sources that every user may read, whose programs a
 * start has bundled before. On a fresh machine that fetches the bundler, and two that do so at once
 * get in each other's way.
 */
import { cp } from "node:fs/promises";
import { join } from "node:path";
import { loadPrograms } from "../../lib/supervisor/load_programs.ts";
import { findDenoDir } from "../../lib/supervisor/image_store.ts";
import { REPOSITORY } from "./project.ts";

/** What a start takes, and what tests start in its place. */
const SOURCES = ["deno.json", "deno.lock", "main.ts", "supervisor.ts", "worker.ts", "lib"];
const DOUBLES = "tests/doubles";

/** Makes one in a folder. */
export async function installHoldfast(folder: string): Promise<void> {
  for (const name of [...SOURCES, DOUBLES]) {
    await cp(join(REPOSITORY, name), join(folder, name), { recursive: true });
  }
  await loadPrograms(folder, findDenoDir(), new AbortController().signal, "kernel", folder);
}
