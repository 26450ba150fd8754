/**
 * Makes the npm packages `holdfast`, with every program bundled beforehand, so that a first start needs no
 * bundler and no registry, and `create-holdfast`. `npm pack FOLDER` makes a tarball of what this writes.
 *
 * deno run -A tools/pack_npm.ts FOLDER [FOLDER OF create-holdfast]
 */
import { basename, dirname, join } from "node:path";
import { DENO_VERSION } from "../lib/base/runtime.ts";
import { VERSION } from "../lib/base/version.ts";
import { replaceOnce, SPAWNER_THREAD } from "../lib/compile/programs.ts";
import { NATIVE_PROGRAMS } from "../lib/compile/native.ts";
import { bundleAll } from "../lib/planner/bundle.ts";
import { runProgram } from "../lib/planner/deno.ts";
import { NEW_APP_FILES, NEW_APP_FOLDER } from "../lib/init/templates.ts";
import { prebuiltPath } from "../lib/planner/prebuilt.ts";
import { ENTRIES, HOLDFAST_FOLDER } from "../lib/planner/programs.ts";

/** Programs that others start or pack, besides Holdfast's own. */
const MORE = [
  ...["lib/planner/refuse_config.ts", "packed.ts"],
  ...["lib/audit/subject_worker.ts", "lib/audit/subject_helper.ts"],
];

/** What modules of an app import. The source goes with it: it has the types, and needs nothing else. */
const EXPORTS = { "./helper": "lib/helper/mod.ts" };

/** Files that are taken as they are, and where to. */
const COPIES: Readonly<Record<string, string>> = {
  ...Object.fromEntries(Object.values(EXPORTS).map((entry) => [entry, entry])),
  LICENSE: "LICENSE",
  "deploy/npm/README.md": "README.md",
  "docs/holdfast.schema.json": "holdfast.schema.json",
  "lib/compile/header.sh": "lib/supervisor/header.sh",
};

const source = (path: string) => join(HOLDFAST_FOLDER, path);

async function put(folder: string, path: string, text: string): Promise<void> {
  await Deno.mkdir(dirname(join(folder, path)), { recursive: true });
  await Deno.writeTextFile(join(folder, path), text);
}

async function bundle(entry: string, folder: string, ...flags: string[]): Promise<void> {
  const words = ["--quiet", "--platform=deno", `--outdir=${folder}`, ...flags];
  await runProgram(Deno.execPath(), ["bundle", ...words, source(entry)], { cwd: HOLDFAST_FOLDER });
}

/** A command of a package, which Node runs. */
async function makeBin(folder: string, entry: string): Promise<void> {
  await bundle(entry, join(folder, "bin"));
  const name = join("bin", basename(entry).replace(/ts$/, "js"));
  await put(folder, name, `#!/usr/bin/env node\n${await Deno.readTextFile(join(folder, name))}`);
  await Deno.chmod(join(folder, name), 0o755);
}

/** Makes the package `create-holdfast`, which brings the Holdfast of its own version. */
export async function packCreate(folder: string): Promise<void> {
  await makeBin(folder, "deploy/npm/create.ts");
  await Deno.copyFile(source("LICENSE"), join(folder, "LICENSE"));
  await Deno.copyFile(source("deploy/npm/create.md"), join(folder, "README.md"));
  const description = {
    ...describe("create-holdfast", "bin/create.js"),
    description: "Makes an app that Holdfast serves, or a config for one: npm create holdfast",
    dependencies: { holdfast: VERSION },
  };
  await put(folder, "package.json", `${JSON.stringify(description, null, 2)}\n`);
}

/** Makes the package in a folder that is empty or not there. */
export async function packNpm(folder: string): Promise<void> {
  await makeBin(folder, "deploy/npm/holdfast.ts");
  // A command loads its part only. All parts lie two levels down, from where Holdfast's folder is found.
  await bundle("deploy/npm/main.ts", join(folder, "lib/supervisor"), "--code-splitting");
  await nameThread(join(folder, "lib/supervisor"));
  const work = await Deno.makeTempDir({ prefix: "holdfast_bundle_" });
  try {
    const natives = NATIVE_PROGRAMS.filter((entry) => entry !== ENTRIES.spawner);
    const entries = [...Object.values(ENTRIES), ...MORE, ...Object.values(EXPORTS), ...natives];
    const texts = await bundleAll(work, entries);
    for (const [index, entry] of entries.entries()) {
      await put(folder, prebuiltPath("", entry), texts[index]!);
    }
  } finally {
    await Deno.remove(work, { recursive: true });
  }
  const copies = {
    ...COPIES,
    ...Object.fromEntries(
      NEW_APP_FILES.map((file) => join(NEW_APP_FOLDER, file)).map((path) => [path, path]),
    ),
  };
  for (const [from, to] of Object.entries(copies)) {
    await Deno.mkdir(dirname(join(folder, to)), { recursive: true });
    await Deno.copyFile(source(from), join(folder, to));
  }
  const description = {
    ...describe("holdfast", "bin/holdfast.js"),
    exports: {
      ...Object.fromEntries(
        Object.entries(EXPORTS).map(([name, entry]) => {
          const path = `./${entry.replace(/\.ts$/, "")}`;
          return [name, { types: `${path}.ts`, default: `${path}.js` }];
        }),
      ),
      "./package.json": "./package.json",
    },
    // The tested one: another is refused when it is older, and untried when it is newer.
    dependencies: { deno: DENO_VERSION },
  };
  await put(folder, "package.json", `${JSON.stringify(description, null, 2)}\n`);
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

function describe(name: string, bin: string) {
  return {
    name,
    version: VERSION,
    description: "A privilege-separated, zero-downtime server for Hono apps, on Deno",
    keywords: ["deno", "hono", "server", "sandbox", "zero-downtime", "reload", "landlock"],
    license: "MIT",
    type: "module",
    bin: { [name]: bin },
    os: ["linux"],
    engines: { node: ">=20" },
  };
}

if (import.meta.main) {
  const [folder, create, ...others] = Deno.args;
  if (folder === undefined || others.length > 0) {
    // deno-lint-ignore no-console
    console.error("Usage: deno run -A tools/pack_npm.ts FOLDER [FOLDER OF create-holdfast]");
    Deno.exit(64);
  }
  await packNpm(folder);
  if (create !== undefined) await packCreate(create);
}
