/** All of Holdfast in a folder that needs nothing else: every program bundled, and the files that they read. */
import { dirname, join, relative } from "node:path";
import { NEW_APP_FILES, NEW_APP_FOLDER } from "../init/templates.ts";
import { bundleAll } from "../planner/bundle.ts";
import { runProgram } from "../planner/deno.ts";
import { prebuiltPath, readPrebuilt } from "../planner/prebuilt.ts";
import { ENTRIES, HOLDFAST_FOLDER } from "../planner/programs.ts";
import { denoProgram } from "../supervisor/deno_program.ts";
import { NATIVE_PROGRAMS } from "./native.ts";
import { MAIN_PROGRAM, replaceOnce, SPAWNER_THREAD } from "./programs.ts";

/** Prints the flags of a supervisor. */
export const FLAGS_PROGRAM = "deploy/npm/print_flags.ts";

/** Programs that others start or pack, besides Holdfast's own. */
const MORE = [
  ...["lib/planner/refuse_config.ts", "packed.ts", FLAGS_PROGRAM],
  // The workers of holdfast dev.
  "lib/injector/main.ts",
  ...["lib/audit/subject_worker.ts", "lib/audit/subject_helper.ts"],
];

/** What modules of an app import. The source goes with it: it has the types, and needs nothing else. */
export const EXPORTS = { "./helper": "lib/helper/mod.ts", "./config": "lib/config/types.ts" };

/** Files that are taken as they are, and where to. */
const COPIES: Readonly<Record<string, string>> = {
  ...Object.fromEntries(Object.values(EXPORTS).map((entry) => [entry, entry])),
  ...Object.fromEntries(
    NEW_APP_FILES.map((file) => join(NEW_APP_FOLDER, file)).map((path) => [path, path]),
  ),
  LICENSE: "LICENSE",
  "docs/holdfast.schema.json": "holdfast.schema.json",
  "lib/compile/header.sh": "lib/supervisor/header.sh",
};

const source = (path: string) => join(HOLDFAST_FOLDER, path);

/** Bundles one program, relative to Holdfast's folder, into a folder. */
export async function bundleInto(
  entry: string,
  folder: string,
  ...flags: string[]
): Promise<void> {
  const words = ["--quiet", "--platform=deno", `--outdir=${folder}`, ...flags];
  await runProgram(denoProgram(), ["bundle", ...words, source(entry)], { cwd: HOLDFAST_FOLDER });
}

/** Puts all of Holdfast into a folder that is empty or not there. */
export async function bundleHoldfast(folder: string): Promise<void> {
  // One that was bundled itself is taken as it is.
  if (await readPrebuilt(ENTRIES.worker) !== undefined) {
    return await copyTree(HOLDFAST_FOLDER, folder);
  }
  // A command loads its part only. All parts lie two levels down, from where Holdfast's folder is found.
  await bundleInto("deploy/npm/main.ts", join(folder, dirname(MAIN_PROGRAM)), "--code-splitting");
  await nameThread(join(folder, dirname(MAIN_PROGRAM)));
  const work = await Deno.makeTempDir({ prefix: "holdfast_bundle_" });
  try {
    const natives = NATIVE_PROGRAMS.filter((entry) => entry !== ENTRIES.spawner);
    const entries = [...Object.values(ENTRIES), ...MORE, ...Object.values(EXPORTS), ...natives];
    const texts = await bundleAll(work, entries);
    for (const [index, entry] of entries.entries()) {
      const path = prebuiltPath(folder, entry);
      await Deno.mkdir(dirname(path), { recursive: true });
      await Deno.writeTextFile(path, texts[index]!);
    }
  } finally {
    await Deno.remove(work, { recursive: true });
  }
  for (const [from, to] of Object.entries(COPIES)) await copy(source(from), join(folder, to));
}

/** The program of a spawner's thread lies beside the part that starts it. */
async function nameThread(folder: string): Promise<void> {
  for await (const { name } of Deno.readDir(folder)) {
    const path = join(folder, name);
    const text = await Deno.readTextFile(path);
    if (!text.includes(SPAWNER_THREAD)) continue;
    await Deno.writeTextFile(path, replaceOnce(text, SPAWNER_THREAD, '"./spawner_thread.js"'));
  }
}

async function copy(from: string, to: string): Promise<void> {
  await Deno.mkdir(dirname(to), { recursive: true });
  await Deno.copyFile(from, to);
}

async function copyTree(folder: string, to: string, from = folder): Promise<void> {
  for await (const { name, isDirectory, isFile } of Deno.readDir(from)) {
    const path = join(from, name);
    if (isFile) await copy(path, join(to, relative(folder, path)));
    else if (isDirectory && name !== "node_modules") await copyTree(folder, to, path);
  }
}
