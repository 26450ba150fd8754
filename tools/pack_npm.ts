/**
 * Makes the npm packages `holdfast`, with every program bundled beforehand, so that a first start needs no
 * bundler and no registry, and `create-holdfast`. `npm pack FOLDER` makes a tarball of what this writes.
 *
 * deno run -A tools/pack_npm.ts FOLDER [FOLDER OF create-holdfast]
 */
import { basename, dirname, join } from "node:path";
import { DENO_VERSION } from "../lib/base/runtime.ts";
import { VERSION } from "../lib/base/version.ts";
import { bundleHoldfast, bundleInto, EXPORTS } from "../lib/compile/bundle_holdfast.ts";
import { HOLDFAST_FOLDER } from "../lib/planner/programs.ts";

const source = (path: string) => join(HOLDFAST_FOLDER, path);

async function put(folder: string, path: string, text: string): Promise<void> {
  await Deno.mkdir(dirname(join(folder, path)), { recursive: true });
  await Deno.writeTextFile(join(folder, path), text);
}

/** A command of a package, which Node runs. */
async function makeBin(folder: string, entry: string): Promise<void> {
  await bundleInto(entry, join(folder, "bin"));
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
  await bundleHoldfast(folder);
  await Deno.copyFile(source("deploy/npm/README.md"), join(folder, "README.md"));
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
