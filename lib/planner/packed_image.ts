/** Takes an image that was made when an executable was built, as the one of a generation. */
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { exists, thisMachine } from "../config/check_system.ts";
import type { Config } from "../config/config.ts";
import { ConfigError } from "../config/problem.ts";
import { digestOf, imageFolders } from "../protocol/image.ts";
import { IMAGE_KEY, type ModuleImage } from "../protocol/module_image.ts";
import { moveImage, OPEN_PLACE } from "../protocol/move_image.ts";
import { PACKED, PACKED_MODULES, type PackedImage } from "../protocol/packed_image.ts";
import { Plan } from "../protocol/plan.ts";
import { programData } from "../protocol/program_data.ts";
import { checkTls } from "./check_tls.ts";
import {
  type ImageRequest,
  requireGoodConfig,
  type Warning,
  warningsOf,
  writeFiles,
} from "./make_image.ts";
import { makeFolder } from "./packages.ts";
import { checkModes, lookAhead } from "./strict_modes.ts";

/** The files of an image beside the modules of its processes. */
const COMMON_FILES = ["packages", "modules"];

/** No project decides what an executable runs. */
const NOTHING = { settings: [], packages: [] };

/** Those of each process that are taken as they are. */
const OWN_FILES = ["deno.json", "deno.lock"];

/**
 * Looks at a packed image, and checks the config against it. Nothing is written.
 *
 * @returns its plan, and the texts of its files by their paths in it
 * @throws {HoldfastError} if the config is refused
 */
export async function readPackedImage(
  config: Config,
  packed: PackedImage,
  facts: ImageRequest["facts"],
): Promise<{ plan: Plan; warnings: Warning[]; files: Map<string, string> }> {
  const { folder, files: place, guarded } = packed;
  const machine = thisMachine();
  const known = { ...facts, ...NOTHING, denoDir: folder, modules: guarded, executable: guarded };
  requireGoodConfig(config, known, machine);
  // Where the app's files are in the program itself, so is Holdfast.
  const own = place === undefined ? { ...known, holdfast: facts.denoProgram } : known;
  const modes = checkModes(config, own, { ...lookAhead(own), exists: () => false });
  if (modes.problems.length > 0) throw new ConfigError(config.file, modes.problems);
  const tls = await checkTls(config);
  const { processes } = Plan.parse(JSON.parse(Deno.readTextFileSync(join(folder, PACKED.plan))));
  const read = (path: string) => Deno.readTextFileSync(join(folder, PACKED.image, path));
  const files = new Map<string, string>();
  for (const name of imageFolders(config)) {
    const image: ModuleImage = JSON.parse(read(join(name, PACKED_MODULES)));
    const placed = place === undefined ? image : moveImage(image, OPEN_PLACE, folderUrl(place));
    files.set(join(name, "image.js"), programData(IMAGE_KEY, placed));
    for (const file of OWN_FILES) files.set(join(name, file), read(join(name, file)));
  }
  for (const file of COMMON_FILES) files.set(file, read(file));
  const plan = { digest: await digestOf(files), processes };
  return { plan, warnings: warningsOf(config, modes.warnings, machine, tls), files };
}

/**
 * Writes a packed image to where a planner writes the image that it has made, with the packages that are
 * not there yet.
 *
 * @throws {HoldfastError} if the config is refused
 */
export async function takeImage(
  { config, images, staging, facts, remake = [] }: Pick<
    ImageRequest,
    "config" | "images" | "staging" | "facts" | "remake"
  >,
  packed: PackedImage,
): Promise<{ plan: Plan; warnings: Warning[] }> {
  const { plan, warnings, files } = await readPackedImage(config, packed, facts);
  for (const { packages } of plan.processes) {
    const [place, made] = [images, staging].map((each) => join(each, "packages", packages));
    if (packages === "" || exists(made!)) continue;
    if (exists(place!) && !remake.includes(packages)) continue;
    copyFolder(join(packed.folder, PACKED.packages, packages), made!);
  }
  if (!exists(join(images, plan.digest))) writeFiles(files, join(staging, "image"));
  return { plan, warnings };
}

/** Copies a folder of files and folders, open for whoever is to run them. */
function copyFolder(from: string, to: string): void {
  makeFolder(to);
  for (const { name, isDirectory } of Deno.readDirSync(from)) {
    if (isDirectory) copyFolder(join(from, name), join(to, name));
    else {
      Deno.copyFileSync(join(from, name), join(to, name));
      Deno.chmodSync(join(to, name), 0o644);
    }
  }
}

/** The URL of a folder, with a slash at its end. */
export function folderUrl(folder: string): string {
  return pathToFileURL(folder.replace(/\/*$/, "/")).href;
}
