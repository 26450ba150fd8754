/**
 * Bundles Holdfast's own programs, prints them, and keeps them for the next start:
 * `make_programs.ts HOLDFAST FOLDER KEPT`.
 */
import { basename, dirname } from "node:path";
import { bundleAll } from "./bundle.ts";
import { printAnswer } from "./print_answer.ts";
import { digestSources, ENTRIES } from "./programs.ts";

/** How long programs are kept that were made of other sources, in ms. */
const KEPT_MS = 30 * 24 * 3_600_000;

/** Writes a whole file; what a power failure cuts is no JSON, and is made again. */
function keep(path: string, text: string): void {
  const fresh = `${path}.${crypto.randomUUID()}`;
  try {
    Deno.writeTextFileSync(fresh, text, { createNew: true });
    Deno.renameSync(fresh, path);
  } catch (error) {
    Deno.removeSync(fresh);
    throw error;
  }
}

function removeOld(folder: string): void {
  for (const { name } of Deno.readDirSync(folder)) {
    const path = `${folder}/${name}`;
    const { mtime } = Deno.statSync(path);
    if (mtime !== null && Date.now() - mtime.getTime() > KEPT_MS) Deno.removeSync(path);
  }
}

const [holdfast, folder, kept] = Deno.args as [string, string, string];
const names = Object.keys(ENTRIES);
let text: string;
try {
  const texts = await bundleAll(folder, Object.values(ENTRIES), { holdfast });
  text = JSON.stringify(Object.fromEntries(names.map((name, index) => [name, texts[index]])));
} catch (error) {
  Deno.stderr.writeSync(new TextEncoder().encode((error as Error).message));
  Deno.exit(1);
}
try {
  // Sources that changed meanwhile are not those that the name of the file stands for.
  if (basename(kept) === `${digestSources(holdfast)}.json`) {
    Deno.mkdirSync(dirname(kept), { recursive: true });
    keep(kept, text);
    removeOld(dirname(kept));
  }
} catch {
  // DENO_DIR may be another user's, read-only or full: the next start bundles again.
}
printAnswer(text);
