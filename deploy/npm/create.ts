/**
 * The command `create-holdfast` of the npm package of that name, which `npm create holdfast [FOLDER]` runs:
 * `holdfast init` of the Holdfast that it depends on, in that folder.
 */
import { spawnSync } from "node:child_process";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import process from "node:process";

const USAGE = "Usage: npm create holdfast [FOLDER] [-- --yes]";

const args = process.argv.slice(2);
const options = args.filter((each) => each.startsWith("-"));
const [folder = ".", ...others] = args.filter((each) => !each.startsWith("-"));
if (options.some((each) => each === "--help" || each === "-h")) {
  process.stdout.write(`${USAGE}\n`);
  process.exit(0);
}
if (others.length > 0 || options.some((each) => each !== "--yes")) {
  process.stderr.write(`create-holdfast: ${USAGE}\n`);
  process.exit(64);
}
const holdfast = dirname(createRequire(import.meta.url).resolve("holdfast/package.json"));
const words = ["init", "--config", join(folder, "holdfast.jsonc"), ...options];
const program = [join(holdfast, "bin/holdfast.js"), ...words];
const { status } = spawnSync(process.execPath, program, { stdio: "inherit" });
process.exit(status ?? 70);
