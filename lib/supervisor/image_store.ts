/**
 * The folder in which images are kept, in the runtime folder: `DIGEST/` for each, `packages/ID/` that
 * they use, and `compiled/`, the DENO_DIR of planners. What a planner made is checked and moved here
 * by the supervisor; no other process can write it afterwards.
 */
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { HoldfastError } from "../base/error.ts";
import type { Config } from "../config/config.ts";
import { makeLink } from "../os/file.ts";
import { runProgram } from "../planner/deno.ts";
import { digestOf, imageFolders } from "../protocol/image.ts";
import type { Plan } from "../protocol/plan.ts";
import type { Code, ProcessCode } from "../sandbox/process_code.ts";
import { bestEffort } from "./best_effort.ts";
import { denoProgram } from "./deno_program.ts";

/** What in it is no image. */
const OTHERS = ["packages", "compiled", "releases.json", "releases.json.new"];

/** What a folder that is being written is called. */
const STAGING = "new_";

/** The files of each process of an image. */
const FILES = ["image.js", "deno.json", "deno.lock"];

/** Says which packages an image uses, and of which modules it is. */
const PACKAGES_FILE = "packages";
const MODULES_FILE = "modules";

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
    makeFolder(join(images, "packages"), 0o755);
    makeFolder(compiled, 0o700);
    for (const name of denoDir === undefined ? [] : ["npm", "remote"]) {
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
 * @throws {HoldfastError} if the image is not what its digest says, or if there is no room
 */
export async function installImage(
  config: Config,
  plan: Plan,
  { images, staging }: ImageFolders,
): Promise<Code> {
  const { digest, processes } = plan;
  const names = imageFolders(config);
  if (processes.length !== names.length) throw new Error("The plan is of another config");
  const [made, folder] = [join(staging, "image"), join(images, digest)];
  const isNew = isFolder(made) && !isFolder(folder);
  try {
    for (const { packages } of processes) {
      const place = join(images, "packages", packages);
      if (packages !== "" && !isFolder(place)) {
        Deno.renameSync(join(staging, "packages", packages), place);
      }
    }
    if (isNew) {
      for (const [index, name] of names.entries()) {
        const denoDir = join(made, name, "deno_dir");
        makeFolder(denoDir, 0o755);
        const { packages, layout } = processes[index]!;
        if (packages === "" || layout !== "cache") continue;
        makeLink(join(images, "packages", packages, "npm"), join(denoDir, "npm"));
      }
      await requireWhole(made, names, digest);
      Deno.renameSync(made, folder);
    }
  } catch (error) {
    throw error instanceof HoldfastError ? error : cannotKeep(images, error as Error);
  }
  // A new one was read before it was moved here; nobody else can write here.
  return isNew ? codeOf(config, plan, images) : await openImage(config, plan, images);
}

/**
 * Opens an image of the store.
 *
 * @throws {HoldfastError} if it is not what its digest says
 */
export async function openImage(config: Config, plan: Plan, images: string): Promise<Code> {
  await requireWhole(join(images, plan.digest), imageFolders(config), plan.digest);
  return codeOf(config, plan, images);
}

/**
 * Says what each process of an image in the store is started from. Every path in that is made here, of
 * the names of the config's processes and of digests.
 */
export function codeOf(config: Config, plan: Plan, images: string): Code {
  const { digest, processes } = plan;
  const names = imageFolders(config);
  const folder = join(images, digest);
  const entries = names.map((name, index): [string, ProcessCode] => {
    const { packages, layout, project } = processes[index]!;
    const [own, set] = [join(folder, name), join(images, "packages", packages)];
    const denoDir = join(own, "deno_dir");
    const from = join(layout === "cache" ? own : join(set, project), "packages.js");
    return [index === 0 ? "worker" : `helper ${config.helpers[index - 1]!.name}`, {
      image: join(own, "image.js"),
      packagesFrom: pathToFileURL(from).href,
      flags: [`--config=${join(own, "deno.json")}`, `--lock=${join(own, "deno.lock")}`, "--frozen"],
      denoDir,
      // The runtime names a package by the cache that it is found in.
      packages: packages === "" ? [] : layout === "cache" ? [join(denoDir, "npm"), set] : [set],
      reads: [own, ...packages === "" ? [] : [set]],
    }];
  });
  return { folder, plan, processes: Object.fromEntries(entries) };
}

/** Sees to it that an image is what it was when it was planned. */
async function requireWhole(
  folder: string,
  names: readonly string[],
  digest: string,
): Promise<void> {
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
    if (![dirname(place), place].some(isLink)) files.set(path, Deno.readTextFileSync(place));
  }
  if (await digestOf(files) === digest) return;
  throw new HoldfastError(`The image ${folder} is not what was planned`, {
    kind: "environment",
    code: "image_changed",
    hint: "Somebody changed it: remove that folder, and find out who",
  });
}

function isLink(path: string): boolean {
  return Deno.lstatSync(path).isSymlink;
}

/** The modules of an image, with a digest of each: what differs between two of them has changed. */
export function modulesOf(images: string, { digest }: Plan): Map<string, string> {
  try {
    const lines = Deno.readTextFileSync(join(images, digest, MODULES_FILE)).split("\n");
    return new Map(lines.map((line) => [line.slice(65), line.slice(0, 64)]));
  } catch {
    return new Map();
  }
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
    if (kept.has(folder)) { for (const set of packagesOf(folder)) used.add(set); }
    // What is being made is its maker's.
    else if (!name.startsWith(STAGING)) removeTree(folder);
  }
  const packages = join(images, "packages");
  if (!isFolder(packages)) return;
  for (const { name } of Deno.readDirSync(packages)) {
    if (!used.has(name)) removeTree(join(packages, name));
  }
  // After a start that failed nothing is left, nor of a release whose generation has ended.
  if (![...Deno.readDirSync(images)].some(({ name }) => !OTHERS.includes(name))) removeTree(images);
}

function removeTree(path: string): void {
  bestEffort(`remove ${path}`, () => {
    if (isFolder(path)) Deno.removeSync(path, { recursive: true });
  });
}

/** The names of the packages' folders that an image says it uses. */
function packagesOf(folder: string): string[] {
  try {
    return Deno.readTextFileSync(join(folder, PACKAGES_FILE)).split("\n");
  } catch {
    return [];
  }
}

let known: Promise<string> | undefined;

/** Where Deno keeps its caches (https://docs.deno.com/runtime/reference/env_variables/). */
export function findDenoDir(): Promise<string> {
  const environment = (name: string) => Deno.env.get(name) || undefined;
  const [own, cache, home] = ["DENO_DIR", "XDG_CACHE_HOME", "HOME"].map(environment);
  if (own?.startsWith("/")) return Promise.resolve(own);
  if (own === undefined && cache?.startsWith("/")) return Promise.resolve(join(cache, "deno"));
  if (own === undefined && home?.startsWith("/")) return Promise.resolve(join(home, ".cache/deno"));
  const args = ["info", "--json", "--no-config"];
  return known ??= runProgram(denoProgram(), args, { cwd: "/" })
    .then((text) => String(JSON.parse(text).denoDir));
}
