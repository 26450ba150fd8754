/**
 * Bundles Holdfast's own programs, prints them, and keeps them for the next start:
 * `make_programs.ts HOLDFAST FOLDER KEPT`.
 */
import { basename, dirname } from "node:path";
import { bundleAll } from "./bundle.ts";
import { denoProgram } from "../supervisor/deno_program.ts";
import { printAnswer } from "./print_answer.ts";
import { digestSources, ENTRIES, PLANNER_CWD } from "./programs.ts";

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
    if (mtime !== null && Date.now() - mtime.getTime() > KEPT_MS) {
      Deno.removeSync(path, { recursive: true });
    }
  }
}

/**
 * Has Deno compile the programs that are started most, and the built-in modules that they import, and
 * keeps that. Each ends at once, since it is given nothing to do.
 *
 * @returns the DENO_DIR
 */
async function compile(texts: readonly string[], place: string): Promise<string> {
  const folder = `${place}.${crypto.randomUUID()}`;
  Deno.mkdirSync(folder);
  for (const text of texts) {
    const child = new Deno.Command(denoProgram(), {
      args: ["run", "--quiet", "--ext=js", "--no-prompt", "--no-config", "--no-lock", "-"],
      ...{ cwd: PLANNER_CWD, env: { DENO_DIR: folder, DENO_NO_UPDATE_CHECK: "1" }, clearEnv: true },
      ...{ stdin: "piped", stdout: "null", stderr: "null" },
    }).spawn();
    await new Blob([text]).stream().pipeTo(child.stdin).catch(() => {});
    await child.status;
  }
  try {
    Deno.renameSync(folder, place);
  } catch {
    // Another start was faster.
    Deno.removeSync(folder, { recursive: true });
  }
  return place;
}

const [holdfast, folder, kept] = Deno.args as [string, string, string];
const names = Object.keys(ENTRIES);
const programs: Record<string, string> = {};
try {
  const texts = await bundleAll(folder, Object.values(ENTRIES), { holdfast });
  for (const [index, name] of names.entries()) programs[name] = texts[index]!;
} catch (error) {
  Deno.stderr.writeSync(new TextEncoder().encode((error as Error).message));
  Deno.exit(1);
}
try {
  // Sources that changed meanwhile are not those that the name of the file stands for.
  if (basename(kept) === `${digestSources(holdfast)}.json`) {
    Deno.mkdirSync(dirname(kept), { recursive: true });
    const often = ["planner", "worker", "helper"].map((name) => programs[name]!);
    programs["cache"] = await compile(often, kept.slice(0, -5));
    keep(kept, JSON.stringify(programs));
    removeOld(dirname(kept));
  }
} catch {
  // DENO_DIR may be another user's, read-only or full: the next start bundles again.
}
printAnswer(JSON.stringify(programs));
