/** Puts together what an app has besides its image: its config, and the files that it reads. */
import { dirname, isAbsolute, join, relative, resolve } from "node:path";
import { parse } from "jsonc-parser";
import * as z from "zod";
import { HoldfastError } from "../base/error.ts";
import type { ListenText } from "../config/address.ts";
import type { Config } from "../config/config.ts";
import { parseConfig } from "../config/load.ts";
import { readConfig } from "../config/read.ts";
import { covers } from "../base/covers.ts";
import { foldersAbove } from "../config/paths.ts";
import { PROJECT_FILES } from "../config/project_files.ts";
import { UNPACKED_FOLDERS } from "../supervisor/unpacked.ts";

/** What was collected; paths are inside the folder. */
export interface Collection {
  readonly version: string | null;
  readonly config: string;
  /** The folder on this machine whose content the folder of the app's files is. */
  readonly root: string;
  /** Where the app has a link, and where in the state folder it leads. */
  readonly links: readonly { readonly link: string; readonly target: string }[];
  /** As the config spells it. */
  readonly runtime: string;
  readonly sockets: readonly string[];
}

export interface CollectOptions {
  readonly config: Config;
  /** The local modules of its image. */
  readonly modules: readonly string[];
  /** An empty folder, which takes them. */
  readonly stage: string;
  /** What is built is no part of itself. */
  readonly output: string;
  /** Whether the config is to find its modules there, as files. */
  readonly places: "kept" | "none";
}

/** Never a part of an app, wherever an unveil leads. */
const LEFT_OUT = [".git", "node_modules", ".env", ".npmrc"];

/** What lies where a module was: its code is in the image. */
const PLACE = "// This module is in the image.\n";

const ProjectFacts = z.looseObject({
  version: z.string().max(64).optional().catch(undefined),
});

/** Collects it. */
export async function collect(options: CollectOptions): Promise<Collection> {
  const { config, modules, stage, output } = options;
  const hasPlaces = options.places === "kept";
  const { text } = await readConfig(config.file);
  const { values } = parseConfig(text, config.file);
  const places = [config, ...config.helpers].map(({ app }) => app);
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
    // A secret is in no executable, and its certificate comes and goes with it.
    ...values.listen.flatMap(({ tls = [] }: ListenText) =>
      tls.flatMap(({ cert, key }) => [cert, key])
    ),
  ].filter((path) => !isAbsolute(path));
  const read = spelled.filter(([path, rights]) => !isWritten(rights) && !isAbsolute(path))
    .map(([path]) => path);
  const root = commonFolder([
    config.folder,
    ...places.map(({ project }) => project),
    ...modules.map(dirname),
    ...[...written, ...read].map((path) => dirname(resolve(config.folder, path))),
  ]);
  const inside = (path: string) => join(UNPACKED_FOLDERS.app, relative(root, path));

  if (hasPlaces) await copy(config.file, join(stage, inside(config.file)));
  const kept = [
    ...written.map((path) => resolve(config.folder, path)),
    output,
    // A program would run what it has in a file, and not what is in its image.
    ...hasPlaces ? [] : modules,
  ];
  for (const path of read) {
    const from = resolve(config.folder, path);
    await copyTree(from, join(stage, inside(from)), kept);
  }
  // A config names modules that are files, and a project is where one of its settings is.
  for (const { module, project } of hasPlaces ? places : []) {
    await writeUnlessThere(join(stage, inside(module)), PLACE);
    const settings = PROJECT_FILES.map((name) => join(stage, inside(project), name));
    const found = await Promise.all(settings.map(isThere));
    if (!found.includes(true)) await writeUnlessThere(settings[0]!, "{}\n");
  }
  return {
    version: await readVersion(config.app.project),
    config: inside(config.file),
    root,
    links: linksFor(written, config.folder, inside),
    runtime: values.runtime,
    sockets,
  };
}

async function writeUnlessThere(path: string, text: string): Promise<void> {
  if (await isThere(path)) return;
  await Deno.mkdir(dirname(path), { recursive: true });
  await Deno.writeTextFile(path, text);
}

/** What is written relative to the config is in the state folder, in the same place. */
function linksFor(
  written: readonly string[],
  folder: string,
  inside: (path: string) => string,
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
      if (/[|\n\\]/.test(`${inside(path)}${target}`)) {
        throw new HoldfastError(`Cannot pack the name ${JSON.stringify(target)}`, {
          kind: "config",
          code: "pack_name",
          hint: "Leave out | and \\ and line ends in the names of what is written",
        });
      }
      return { link: inside(path), target };
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
async function copyTree(from: string, to: string, kept: readonly string[]): Promise<void> {
  if (kept.includes(from)) return;
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
    if (LEFT_OUT.includes(name)) continue;
    await copyTree(join(from, name), join(to, name), kept);
  }
}

async function isThere(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}
