/** Puts together what an app needs: its modules, settings and packages, and the files that it reads. */
import { dirname, isAbsolute, join, relative, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { parse } from "jsonc-parser";
import * as z from "zod";
import { HoldfastError } from "../base/error.ts";
import type { AppPlace, Config, Project } from "../config/config.ts";
import { parseConfig } from "../config/load.ts";
import { readConfig } from "../config/read.ts";
import { covers, foldersAbove } from "../config/paths.ts";
import { projectsOf } from "../config/project.ts";
import { PROJECT_FILES, SETTINGS_FILES } from "../config/project_files.ts";
import { denoProgram } from "../supervisor/deno_program.ts";
import { IMAGE_FOLDERS } from "../supervisor/image.ts";
import { type Graph, loadGraph } from "../planner/graph.ts";

/** What was collected; paths are inside the image. */
export interface Collection {
  readonly version: string | null;
  readonly config: string;
  readonly modules: { app: string[]; helpers: Record<string, string[]> };
  /** Where the app has a link, and where in the state folder it leads. */
  readonly links: readonly { readonly link: string; readonly target: string }[];
  /** As the config spells it. */
  readonly runtime: string;
  readonly sockets: readonly string[];
  /** The modules that are started, and where. */
  readonly entries: readonly { module: string; project: string; locked: boolean }[];
}

export interface CollectOptions {
  readonly config: Config;
  readonly denoDir: string;
  /** An empty folder, which becomes the image. */
  readonly stage: string;
  /** What is built is no part of itself. */
  readonly output: string;
}

/** What decides how modules resolve. Secrets, as in .env and .npmrc, stay outside. */
const SETTINGS = [...SETTINGS_FILES, "pnpm-workspace.yaml"];

/** Never a part of an app, wherever an unveil leads. */
const LEFT_OUT = [".git", "node_modules", ".env", ".npmrc"];

/** Of a package, what no program loads. */
const TYPES_AND_MAPS = /\.(d\.[cm]?ts|map)$/;

const ProjectFacts = z.looseObject({
  version: z.string().max(64).optional().catch(undefined),
});

/** A graph, and whose. */
interface Entry {
  readonly name: string | undefined;
  readonly place: AppPlace;
  readonly project: Project;
  readonly graph: Graph;
}

/** Collects it. */
export async function collect(options: CollectOptions): Promise<Collection> {
  const { config, denoDir, stage } = options;
  const { text } = await readConfig(config.file);
  const { values } = parseConfig(text, config.file);
  const entries: Entry[] = [];
  const projects = projectsOf(config);
  const apps = [{ name: undefined, app: config.app }, ...config.helpers];
  for (const [index, { name, app }] of apps.entries()) {
    const what = name === undefined ? "the app's modules" : `the modules of the helper ${name}`;
    const project = projects[index]!;
    const { lockfile } = project;
    const graph = await loadGraph({ what, place: app, lockfile, program: denoProgram() });
    entries.push({ name, place: app, project, graph });
  }
  const spelled = [values, ...Object.values(values.helpers)].flatMap(({ unveil }) =>
    Object.entries(unveil)
  );
  const isWritten = (rights: string) => /[wc]/.test(rights);
  const sockets = values.listen.flatMap((address) => address.kind === "unix" ? address.path : []);
  const written = [
    ...spelled.filter(([, rights]) => isWritten(rights)).map(([path]) => path),
    values.runtime,
    ...values.log.folder === undefined ? [] : [values.log.folder],
    ...sockets,
  ].filter((path) => !isAbsolute(path));
  const read = spelled.filter(([path, rights]) => !isWritten(rights) && !isAbsolute(path))
    .map(([path]) => path);

  for (const { graph } of entries) refuseFixed(graph);
  const files = [...new Set(entries.flatMap(({ graph }) => filesOf(graph)))];
  const local = files.filter((path) => !covers(denoDir, path));
  const settings = await filterAsync(
    [...new Set(entries.flatMap(({ project }) => project.settings))],
    isThere,
  );
  const root = commonFolder([
    config.folder,
    ...entries.map(({ place }) => place.project),
    ...settings.map(dirname),
    ...local.map(dirname),
    ...[...written, ...read].map((path) => dirname(resolve(config.folder, path))),
  ]);
  const inImage = (path: string) => {
    if (covers(root, path)) return join(IMAGE_FOLDERS.app, relative(root, path));
    if (covers(denoDir, path)) return join(IMAGE_FOLDERS.denoDir, relative(denoDir, path));
    throw new Error(`${path} is in no folder that is packed`);
  };
  const pack = (path: string) => copy(path, join(stage, inImage(path)));

  await Deno.mkdir(join(stage, IMAGE_FOLDERS.denoDir));
  await pack(config.file);
  for (const path of [...files, ...settings]) await pack(path);
  const folders = new Set(
    [config.file, ...local, ...entries.map(({ place }) => place.module)].flatMap(foldersAbove)
      .filter((folder) => covers(root, folder)),
  );
  for (const folder of folders) await packSettings(folder, pack, stage, inImage);
  for (const path of packagesOf(entries)) {
    // A package that is not in the cache is in a node_modules folder, which is packed as a whole.
    if (covers(denoDir, path)) await copyTree(path, join(stage, inImage(path)), TYPES_AND_MAPS);
  }
  if (entries.some(({ project }) => project.lockfile === undefined)) {
    await packRegistries(entries, denoDir, pack);
  }
  const kept = [...written.map((path) => resolve(config.folder, path)), options.output];
  for (const path of read) {
    const from = resolve(config.folder, path);
    await copyTree(from, join(stage, inImage(from)), undefined, kept);
  }
  const modulesOf = ({ graph }: Entry) => filesOf(graph).map(inImage).sort();
  return {
    version: await readVersion(config.app.project),
    config: inImage(config.file),
    modules: {
      app: modulesOf(entries[0]!),
      helpers: Object.fromEntries(entries.slice(1).map((entry) => [entry.name!, modulesOf(entry)])),
    },
    links: linksFor(written, config.folder, inImage),
    runtime: values.runtime,
    sockets,
    entries: entries.map(({ place: { module, project }, project: { lockfile } }) => ({
      module: inImage(module),
      project: inImage(project),
      locked: lockfile !== undefined,
    })),
  };
}

/** The local files of a graph, those that are imported as bytes or text included. */
function filesOf({ modules }: Graph): string[] {
  return modules.flatMap(({ local, specifier }) =>
    local ?? (specifier.startsWith("file:") ? fileURLToPath(specifier) : [])
  );
}

/** An import by an absolute path would lead out of the image, or to nothing. */
function refuseFixed({ modules }: Graph): void {
  for (const { specifier: importer, dependencies } of modules) {
    const fixed = dependencies.find(({ specifier }) => /^(file:|\/)/.test(specifier));
    if (fixed === undefined) continue;
    throw new HoldfastError(`Cannot pack ${importer}: it imports ${fixed.specifier}`, {
      kind: "config",
      code: "pack_fixed_import",
      hint: "Import it by a relative path: elsewhere that file is in another place, or not there",
    });
  }
}

function packagesOf(entries: readonly Entry[]): string[] {
  const paths = entries.flatMap(({ graph }) =>
    Object.values(graph.npmPackages).flatMap(({ localPath }) => localPath ?? [])
  );
  return [...new Set(paths)];
}

/** What the registry said of a package: only without a lock file does anybody look there. */
async function packRegistries(
  entries: readonly Entry[],
  denoDir: string,
  pack: (path: string) => Promise<void>,
): Promise<void> {
  for (const path of packagesOf(entries).filter((path) => covers(denoDir, path))) {
    const registry = join(dirname(path), "registry.json");
    if (await isThere(registry)) await pack(registry);
  }
}

async function packSettings(
  folder: string,
  pack: (path: string) => Promise<void>,
  stage: string,
  inImage: (path: string) => string,
): Promise<void> {
  for (const name of SETTINGS) {
    const path = join(folder, name);
    if (!await isThere(path)) continue;
    await pack(path);
  }
  const packages = join(folder, "node_modules");
  if (await isThere(packages)) await copyTree(packages, join(stage, inImage(packages)));
}

/** What is written relative to the config is in the state folder, in the same place. */
function linksFor(
  written: readonly string[],
  folder: string,
  inImage: (path: string) => string,
): { link: string; target: string }[] {
  const targets = new Map(
    written.map((path) => [resolve(folder, path), relative(folder, resolve(folder, path))]),
  );
  const paths = [...targets.keys()].sort();
  // What lies in a linked folder is reached by that link.
  return paths.filter((path) => !paths.some((other) => other !== path && covers(other, path)))
    .map((path) => {
      const target = targets.get(path)!;
      if (target === "") {
        throw new HoldfastError("Cannot pack an app that writes its own folder", {
          kind: "config",
          code: "pack_writable",
          hint: 'Keep data in a folder of its own, such as "./data/"',
        });
      }
      if (/[|\n\\]/.test(`${inImage(path)}${target}`)) {
        throw new HoldfastError(`Cannot pack the name ${JSON.stringify(target)}`, {
          kind: "config",
          code: "pack_name",
          hint: "Leave out | and \\ and line ends in the names of what is written",
        });
      }
      return { link: inImage(path), target };
    });
}

/** The version that an app says it has. */
export async function readVersion(project: string): Promise<string | null> {
  for (const name of PROJECT_FILES) {
    const path = join(project, name);
    if (!await isThere(path)) continue;
    const { version } = ProjectFacts.parse(parse(await Deno.readTextFile(path)) ?? {});
    if (version !== undefined) return version;
  }
  return null;
}

/** The nearest folder that holds them all. */
function commonFolder(folders: readonly string[]): string {
  const [first, ...others] = folders;
  return [first!, ...foldersAbove(first!)].find((folder) =>
    others.every((other) => covers(folder, other))
  )!;
}

async function copy(from: string, to: string): Promise<void> {
  await Deno.mkdir(dirname(to), { recursive: true });
  await Deno.copyFile(from, to);
}

/** Copies a file or a folder; links are links again. */
async function copyTree(
  from: string,
  to: string,
  skip?: RegExp,
  kept: readonly string[] = [],
): Promise<void> {
  if (skip?.test(from) || kept.includes(from)) return;
  const found = await Deno.lstat(from);
  if (found.isFile) return await copy(from, to);
  if (found.isSymlink) {
    await Deno.mkdir(dirname(to), { recursive: true });
    return await Deno.symlink(await Deno.readLink(from), to);
  }
  // Sockets and the like are of the moment.
  if (!found.isDirectory) return;
  await Deno.mkdir(to, { recursive: true });
  for await (const { name } of Deno.readDir(from)) {
    if (kept.length > 0 && LEFT_OUT.includes(name)) continue;
    await copyTree(join(from, name), join(to, name), skip, kept);
  }
}

async function filterAsync<T>(
  items: readonly T[],
  keep: (item: T) => Promise<boolean>,
): Promise<T[]> {
  const kept = await Promise.all(items.map(keep));
  return items.filter((_, index) => kept[index]);
}

async function isThere(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}
