/**
 * The folder in which images are kept, in the runtime folder: `DIGEST/` for each, `packages/ID/` and
 * `settings/ID/` that they use, and `compiled/`, the DENO_DIR of planners. What a planner made is checked and moved here
 * by the supervisor; no other process can write it afterwards.
 */
import { dirname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { HoldfastError } from "../base/error.ts";
import { ownUid } from "../base/own_uid.ts";
import type { Config } from "../config/config.ts";
import { readLink } from "../config/real_place.ts";
import { workingFolder } from "../config/spelled_path.ts";
import { makeLink } from "../os/file.ts";
import { digestOf, imageFolders, sha256 } from "../protocol/image.ts";
import type { Plan, PlannedProcess } from "../protocol/plan.ts";
import type { Code, ProcessCode } from "../sandbox/process_code.ts";
import { bestEffort } from "./best_effort.ts";
import {
  isUntouched,
  packagesChanged,
  packagesIn,
  recordPackages,
  SETS_FILE,
} from "./package_sets.ts";

/** What in it is no image. */
const OTHERS = ["packages", "settings", "compiled"].concat(
  ["releases.json", SETS_FILE].flatMap((name) => [name, `${name}.new`]),
);

/** What a folder that is being written is called. */
const STAGING = "new_";

/** The files of each process of an image: its modules, and what its runtime is started with. */
const SETTINGS = ["deno.json", "deno.lock"];
const FILES = ["image.js", ...SETTINGS];

/** What Deno has compiled of its built-in modules: a third of a worker's start is to compile them. */
const CODE_CACHE = ["", "-wal", "-shm"].map((end) => `v8_code_cache_v2${end}`);

/** Lists the settings that an image uses. */
const USED_SETTINGS_FILE = "settings";

/** Says which packages an image uses, and of which modules it is. */
const PACKAGES_FILE = "packages";
const MODULES_FILE = "modules";

/** What of a DENO_DIR is fetched: packages and modules, which planners share with the user. */
export const FETCHED = ["npm", "remote"];

/** Where images are kept, in a runtime folder. */
export function imagesIn(runtime: string): string {
  return join(runtime, "images");
}

/** The folders of one planning. */
export interface ImageFolders extends Disposable {
  readonly images: string;
  readonly compiled: string;
  /** A fresh one, removed at the end with what is left in it. */
  readonly staging: string;
}

/**
 * Makes what a planner needs.
 *
 * @param denoDir the user's DENO_DIR, from which packages come; none for an image that brings its own
 * @throws {HoldfastError} if there is no room, or no right to write there
 */
export function openImages(images: string, denoDir?: string): ImageFolders {
  const compiled = join(images, "compiled");
  try {
    makeFolder(images, 0o755);
    for (const name of ["packages", "settings"]) makeFolder(join(images, name), 0o755);
    makeFolder(compiled, 0o700);
    for (const name of denoDir === undefined ? [] : FETCHED) {
      linkTo(join(denoDir!, name), join(compiled, name));
    }
    const staging = Deno.makeTempDirSync({ dir: images, prefix: STAGING });
    return { images, compiled, staging, [Symbol.dispose]: () => removeTree(staging) };
  } catch (error) {
    throw cannotKeep(images, error as Error);
  }
}

/** Removes what planners have kept, and half of what they could not: the next one makes it again. */
export function clearCompiled({ compiled }: ImageFolders): void {
  removeTree(compiled);
}

/** What is said where images cannot be written. */
export function cannotKeep(images: string, error: Error): HoldfastError {
  return new HoldfastError(`Cannot keep code in ${images}: ${error.message}`, {
    kind: "environment",
    code: "image_failed",
    hint: "Make room there, or set runtime in the config to a folder that this user may write",
    cause: error,
  });
}

/** A link to a folder; what is in its place goes, such as the folder that an executable's planner made. */
function linkTo(target: string, link: string): void {
  try {
    if (Deno.lstatSync(link).isSymlink && Deno.readLinkSync(link) === target) return;
    Deno.removeSync(link, { recursive: true });
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  makeLink(target, link);
}

function makeFolder(path: string, mode: number): void {
  if (isFolder(path)) return;
  Deno.mkdirSync(path);
  Deno.chmodSync(path, mode);
}

/** Whether a folder is there. */
export function isFolder(path: string): boolean {
  try {
    return Deno.statSync(path).isDirectory;
  } catch {
    return false;
  }
}

/**
 * Takes what a planner made into the store.
 *
 * @param cache a DENO_DIR with what was compiled beforehand
 * @param remade the packages of the store that it has made anew
 * @throws {HoldfastError} if the image is not what its digest says, or if there is no room
 */
export async function installImage(
  config: Config,
  plan: Plan,
  { images, staging }: ImageFolders,
  cache?: string,
  remade: readonly string[] = [],
): Promise<Code> {
  const { digest, processes } = plan;
  const names = imageFolders(config);
  if (processes.length !== names.length) throw new Error("The plan is of another config");
  const [made, folder] = [join(staging, "image"), join(images, digest)];
  const isNew = isFolder(made) && !isFolder(folder);
  try {
    for (const { packages } of processes) {
      const [place, fresh] = [packagesIn(images, packages), join(staging, "packages", packages)];
      const isThere = packages === "" || isFolder(place);
      if (isThere && !(remade.includes(packages) && isFolder(fresh))) continue;
      // Who runs them has others in their place at once.
      if (isThere) Deno.renameSync(place, join(staging, `changed_${packages}`));
      Deno.renameSync(fresh, place);
      await recordPackages(images, packages);
    }
    if (!isNew) return await openImage(config, plan, images, cache);
    const files = await readWhole(made, names, digest);
    tellUsed(made, await keepSettings(plan, names, images, files, cache));
    // It was read before it is moved here; nobody else can write here.
    Deno.renameSync(made, folder);
    return await codeOf(config, plan, images, files);
  } catch (error) {
    throw error instanceof HoldfastError ? error : cannotKeep(images, error as Error);
  }
}

/** The packages of a plan that are not what they were when they were put there. */
export async function changedPackages({ processes }: Plan, images: string): Promise<string[]> {
  const found: string[] = [];
  for (const set of new Set(processes.map(({ packages }) => packages))) {
    const isThere = set !== "" && isFolder(packagesIn(images, set));
    if (isThere && !await isUntouched(images, set)) found.push(set);
  }
  return found;
}

/**
 * Opens an image of the store.
 *
 * @throws {HoldfastError} if it is not what its digest says, or its packages are not what they were
 */
export async function openImage(
  config: Config,
  plan: Plan,
  images: string,
  cache?: string,
): Promise<Code> {
  const names = imageFolders(config);
  const folder = join(images, plan.digest);
  const files = await readWhole(folder, names, plan.digest);
  const [touched] = await changedPackages(plan, images);
  if (touched !== undefined) throw packagesChanged(packagesIn(images, touched));
  const used = await keepSettings(plan, names, images, files, cache);
  const [place, text] = [
    join(folder, USED_SETTINGS_FILE),
    readOwn(join(folder, USED_SETTINGS_FILE)),
  ];
  if (text !== undefined && text !== used.join("\n")) Deno.removeSync(place);
  if (text !== used.join("\n")) tellUsed(folder, used);
  return await codeOf(config, plan, images, files);
}

/** Without it everything runs as well, and starts slower. */
function copyIfThere(from: string, to: string, file: string): void {
  try {
    Deno.copyFileSync(join(from, file), join(to, file));
    Deno.chmodSync(join(to, file), 0o644);
  } catch {
    // Nobody keeps it where DENO_DIR is read-only.
  }
}

/** Says which settings an image uses; what lies in that place is a planner's, and no good. */
function tellUsed(folder: string, used: readonly string[]): void {
  Deno.writeTextFileSync(join(folder, USED_SETTINGS_FILE), used.join("\n"), { createNew: true });
}

/** The settings of one process. */
async function settingsOf(
  { packages, layout }: PlannedProcess,
  name: string,
  files: ReadonlyMap<string, string>,
): Promise<{ id: string; texts: string[] }> {
  const texts = SETTINGS.map((file) => files.get(join(name, file))!);
  // Of another Deno what is compiled is of no use.
  const id = await sha256(JSON.stringify([Deno.version.deno, packages, layout, ...texts]));
  return { id, texts };
}

/**
 * Keeps the settings of an image's processes in folders by what is in them: a process of the next image
 * with the same ones can be started before that image is there.
 *
 * @returns the names of the folders
 */
async function keepSettings(
  { processes }: Plan,
  names: readonly string[],
  images: string,
  files: ReadonlyMap<string, string>,
  cache: string | undefined,
): Promise<string[]> {
  const used = new Set<string>();
  for (const [index, name] of names.entries()) {
    const { packages, layout } = processes[index]!;
    const { id, texts } = await settingsOf(processes[index]!, name, files);
    const place = join(images, "settings", id);
    used.add(id);
    const npm = packages !== "" && layout === "cache"
      ? join(packagesIn(images, packages), "npm")
      : undefined;
    if (isFolder(place)) {
      const same = SETTINGS.every((file, which) => readOwn(join(place, file)) === texts[which]) &&
        [place, join(place, "deno_dir")].every((each) => readLink(each) === undefined) &&
        readLink(join(place, "deno_dir/npm")) === npm;
      if (!same) throw changed(place);
      continue;
    }
    makeFolder(join(images, "settings"), 0o755);
    const fresh = Deno.makeTempDirSync({ dir: images, prefix: STAGING });
    try {
      for (const [which, file] of SETTINGS.entries()) {
        Deno.writeTextFileSync(join(fresh, file), texts[which]!);
        Deno.chmodSync(join(fresh, file), 0o644);
      }
      const denoDir = join(fresh, "deno_dir");
      makeFolder(denoDir, 0o755);
      if (cache !== undefined) CODE_CACHE.forEach((file) => copyIfThere(cache, denoDir, file));
      if (npm !== undefined) makeLink(npm, join(denoDir, "npm"));
      Deno.chmodSync(fresh, 0o755);
      Deno.renameSync(fresh, place);
    } catch (error) {
      removeTree(fresh);
      throw error;
    }
  }
  return [...used];
}

/**
 * Says what each process of an image in the store is started from. Every path in that is made here, of
 * the names of the config's processes and of digests.
 *
 * @param files those of the image, by their paths in it
 */
export async function codeOf(
  config: Config,
  plan: Plan,
  images: string,
  files: ReadonlyMap<string, string>,
): Promise<Code> {
  const { digest, processes } = plan;
  const names = imageFolders(config);
  const folder = join(images, digest);
  const entries = names.map(async (name, index): Promise<[string, ProcessCode]> => {
    const { packages, layout, project } = processes[index]!;
    const { id } = await settingsOf(processes[index]!, name, files);
    const [own, set] = [join(images, "settings", id), packagesIn(images, packages)];
    const denoDir = join(own, "deno_dir");
    const from = join(layout === "cache" ? own : join(set, project), "packages.js");
    return [index === 0 ? "worker" : `helper ${config.helpers[index - 1]!.name}`, {
      image: join(folder, name, "image.js"),
      packagesFrom: pathToFileURL(from).href,
      flags: [`--config=${join(own, "deno.json")}`, `--lock=${join(own, "deno.lock")}`, "--frozen"],
      denoDir,
      // The runtime names a package by the cache that it is found in.
      packages: packages === "" ? [] : layout === "cache" ? [join(denoDir, "npm"), set] : [set],
      reads: [own, ...packages === "" ? [] : [set]],
    }];
  });
  return { folder, plan, processes: Object.fromEntries(await Promise.all(entries)) };
}

/** Reads the files of an image, which is to be what it was when it was planned. */
async function readWhole(
  folder: string,
  names: readonly string[],
  digest: string,
): Promise<Map<string, string>> {
  const files = new Map<string, string>();
  for (
    const path of [
      ...names.flatMap((name) => FILES.map((file) => join(name, file))),
      PACKAGES_FILE,
      MODULES_FILE,
    ]
  ) {
    const place = join(folder, path);
    // A link leads to what may change.
    if (![folder, dirname(place), place].some(isLink)) {
      files.set(path, Deno.readTextFileSync(place));
    }
  }
  if (await digestOf(files) !== digest) throw changed(folder);
  return files;
}

function changed(folder: string): HoldfastError {
  return new HoldfastError(`The image ${folder} is not what was planned`, {
    kind: "environment",
    code: "image_changed",
    hint: "Somebody changed it: remove that folder, and find out who",
  });
}

/** The text of a file; nothing for a link, which leads to what may change, or where there is none. */
function readOwn(path: string): string | undefined {
  try {
    return isLink(path) ? undefined : Deno.readTextFileSync(path);
  } catch {
    return undefined;
  }
}

function isLink(path: string): boolean {
  return Deno.lstatSync(path).isSymlink;
}

/** The modules of an image, with a digest of each: what differs between two of them has changed. */
export function modulesOf(images: string, { digest }: Plan): Map<string, string> {
  return modulesIn(readOwn(join(images, digest, MODULES_FILE)) ?? "");
}

/** The same, by the text of {@linkcode MODULES_FILE}. */
export function modulesIn(text: string): Map<string, string> {
  return new Map(text.match(/.+/g)?.map((line) => [line.slice(65), line.slice(0, 64)]));
}

/** Removes what a planner left that was killed; to be called while none runs. */
export function removeStaging(images: string): void {
  if (!isFolder(images)) return;
  for (const { name } of Deno.readDirSync(images)) {
    if (name.startsWith(STAGING)) removeTree(join(images, name));
  }
}

/** Removes every image that is not to be kept, and packages that no image uses any more. */
export function pruneImages(images: string, kept: ReadonlySet<string>): void {
  if (!isFolder(images)) return;
  const used = new Set<string>();
  for (const { name } of Deno.readDirSync(images)) {
    const folder = join(images, name);
    if (OTHERS.includes(name)) continue;
    if (kept.has(folder)) { for (const each of usedBy(folder)) used.add(each); }
    // What is being made is its maker's.
    else if (!name.startsWith(STAGING)) removeTree(folder);
  }
  for (const shared of ["packages", "settings"].map((name) => join(images, name))) {
    if (!isFolder(shared)) continue;
    for (const { name } of Deno.readDirSync(shared)) {
      if (!used.has(name)) removeTree(join(shared, name));
    }
  }
  // After a start that failed nothing is left, nor of a release whose generation has ended.
  if (![...Deno.readDirSync(images)].some(({ name }) => !OTHERS.includes(name))) removeTree(images);
}

function removeTree(path: string): void {
  bestEffort(`remove ${path}`, () => {
    if (isFolder(path)) Deno.removeSync(path, { recursive: true });
  });
}

/** The names of the folders of packages and settings that an image says it uses. */
function usedBy(folder: string): string[] {
  return [PACKAGES_FILE, USED_SETTINGS_FILE].flatMap((file) =>
    readOwn(join(folder, file))?.split("\n") ?? []
  );
}

/**
 * Where Deno keeps its caches (https://docs.deno.com/runtime/reference/env_variables/).
 *
 * @throws {HoldfastError} if the user has no home
 */
export function findDenoDir(get = (name: string) => Deno.env.get(name)): string {
  const [own, cache, home] = [get("DENO_DIR"), get("XDG_CACHE_HOME"), get("HOME")];
  if (own) return resolve(workingFolder(), own);
  if (cache?.startsWith("/")) return join(cache, "deno");
  const found = home || homeOf(String(ownUid()), Deno.readTextFileSync("/etc/passwd"));
  if (found !== undefined) return resolve(workingFolder(), found, ".cache/deno");
  throw new HoldfastError("Cannot find Deno's caches: this user has no home", {
    kind: "environment",
    code: "deno_dir_unknown",
    hint: "Set DENO_DIR or HOME",
  });
}

/** The home of a user, by passwd(5). */
function homeOf(uid: string, passwd: string): string | undefined {
  return passwd.split("\n").map((line) => line.split(":")).find((entry) => entry[2] === uid)?.[5];
}
