/**
 * The project of a module, as the deno program finds it: the lock file that decides the versions, and
 * every other file that decides which code runs.
 */
import { dirname, join, matchesGlob, normalize, relative, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parse } from "jsonc-parser";
import * as z from "zod";
import { HoldfastError } from "../base/error.ts";
import type { AppPlace, Config, Project } from "./config.ts";
import { foldersAbove } from "./paths.ts";
import { DENO_FILES, PROJECT_FILES } from "./project_files.ts";

/** Settings that Deno looks for in the folder of a workspace member, or of a linked package. */
const MEMBER_FILES = [...PROJECT_FILES, "tsconfig.json"];

/** Larger files are refused. */
const MAX_FILE_BYTES = 1024 * 1024;

/** How many folders the patterns of a workspace may come to. */
const MAX_MEMBERS = 1_000;

/** How long a chain of `extends` may be. */
const MAX_EXTENDS = 16;

/** What Deno tries behind a name in `extends`. */
const EXTENSIONS = ["json", "node", "mjs", "js", "cjs"];

/** What makes a pattern of the name of a folder. */
const GLOB = /[*?[{]/;

const Paths = z.array(z.string().max(4096));

/** What is read of a deno.json; Deno itself reports errors in it. */
const DenoSettings = z.object({
  lock: z.union([
    z.boolean(),
    z.string(),
    z.object({ path: z.string().optional() }).transform(({ path }) => path ?? true),
  ]).catch(true).default(true),
  importMap: z.string().optional().catch(undefined),
  workspace: z.union([Paths, z.object({ members: Paths })]).optional().catch(undefined),
  links: Paths.catch([]).default([]),
  /** The former name of `links`. */
  patch: Paths.catch([]).default([]),
}).catch({ lock: true, links: [], patch: [] });
type DenoSettings = z.infer<typeof DenoSettings>;

const PackageSettings = z.object({
  workspaces: z.union([Paths, z.object({ packages: Paths })]).optional().catch(undefined),
}).catch({});

const TypeScriptSettings = z.object({
  extends: z.union([z.string(), Paths]).optional().catch(undefined),
}).catch({});

/** The settings of one folder. */
interface Settings {
  readonly folder: string;
  readonly deno: DenoSettings;
  /** Patterns of the members, where the folder is a workspace's root. */
  readonly members: readonly string[] | undefined;
}

/** Reads the project of a module. */
export function readProject({ project }: AppPlace): Project {
  const own = readSettings(project);
  const above = foldersAbove(project).map(readSettings);
  const root =
    [own, ...above].find(({ folder, members }) =>
      members !== undefined && (folder === project || isMember(folder, members, project))
    ) ?? own;
  const { deno } = root;
  const listed = new Set<string>();
  // Of a workspace that the project is not a member of, too: Deno looks before it knows.
  const found = [own, ...above].flatMap(({ folder, members = [] }) =>
    members.flatMap((pattern) => findMembers(folder, pattern, listed))
  );
  const linked = [...deno.links, ...deno.patch].flatMap((reference) =>
    resolveReference(root.folder, reference)
  );
  const lockfile = lockOf(root);
  const maps = [root, own].flatMap(importMapOf);
  const settings = [
    ...maps,
    ...lockfile === undefined ? [] : [lockfile],
    ...[...found, ...linked].flatMap((folder) => MEMBER_FILES.map((name) => join(folder, name))),
    // Says which file in the folder of vendored modules stands for which address.
    ...[project, root.folder].map((folder) => join(folder, "vendor/manifest.json")),
    ...[project, root.folder, ...found].flatMap((folder) =>
      extendedBy(join(folder, "tsconfig.json"))
    ),
  ];
  return {
    lockfile: lockfile !== undefined && isFile(lockfile) ? lockfile : undefined,
    settings: [...new Set(settings)],
    listed: [...listed],
  };
}

/** Reads the projects of a config: that of the app, then that of each helper. */
export function projectsOf({ app, helpers }: Config): Project[] {
  return [app, ...helpers.map(({ app }) => app)].map(readProject);
}

/** The further files and folders that decide which code of a config runs. */
export function settingsOf(projects: readonly Project[]): string[] {
  return [...new Set(projects.flatMap(({ settings, listed }) => [...settings, ...listed]))];
}

/** Where the lock file is, or would be. */
function lockOf({ folder, deno: { lock } }: Settings): string | undefined {
  if (lock === false) return undefined;
  return lock === true ? join(folder, "deno.lock") : resolve(folder, lock);
}

/** An import map in a file; one on the network is in Deno's cache. */
function importMapOf({ folder, deno: { importMap } }: Settings): string[] {
  return importMap === undefined ? [] : resolveReference(folder, importMap);
}

/** The local file that a reference in a settings file means: Deno reads it as a part of a URL. */
function resolveReference(folder: string, reference: string): string[] {
  try {
    const url = new URL(reference, pathToFileURL(`${folder}/`));
    return url.protocol === "file:" ? [fileURLToPath(url).replace(/(?<=.)\/$/, "")] : [];
  } catch {
    return [];
  }
}

function readSettings(folder: string): Settings {
  const [deno] = DENO_FILES.flatMap((name) => readJson(join(folder, name)) ?? []);
  const settings = DenoSettings.parse(deno ?? {});
  const { workspaces } = PackageSettings.parse(readJson(join(folder, "package.json")) ?? {});
  const lists = [
    ...settings.workspace === undefined ? [] : [settings.workspace].flat(),
    ...workspaces === undefined ? [] : [workspaces].flat(),
  ].map((each) =>
    typeof each === "string" ? [each] : "members" in each ? each.members : each.packages
  );
  const given = settings.workspace !== undefined || workspaces !== undefined;
  return { folder, deno: settings, members: given ? lists.flat() : undefined };
}

/** Whether the patterns of a workspace take a folder in. */
function isMember(root: string, patterns: readonly string[], folder: string): boolean {
  const matches = (pattern: string) => isLike(root, pattern, folder);
  return patterns.some((pattern) => !pattern.startsWith("!") && matches(pattern)) &&
    !patterns.some((pattern) => pattern.startsWith("!") && matches(pattern.slice(1)));
}

/** Relative, since the names above the root are not patterns. */
function isLike(root: string, pattern: string, folder: string): boolean {
  const inside = relative(root, folder);
  return GLOB.test(pattern)
    ? matchesGlob(inside, normalize(pattern).replace(/\/$/, ""))
    : resolveReference(root, pattern).includes(folder);
}

/**
 * The folders that a pattern of a workspace stands for.
 *
 * @param listed takes the folders whose names must be read for it
 */
function findMembers(root: string, pattern: string, listed: Set<string>): string[] {
  if (pattern.startsWith("!")) return [];
  if (!GLOB.test(pattern)) return resolveReference(root, pattern);
  const names = normalize(pattern).split("/");
  const first = names.findIndex((name) => GLOB.test(name));
  const base = resolve(root, ...names.slice(0, first));
  listed.add(base);
  const deep = names.includes("**");
  const found: string[] = [];
  const look = (folder: string, depth: number) => {
    for (const name of foldersIn(folder)) {
      if (name === "node_modules" || name.startsWith(".")) continue;
      if (found.length >= MAX_MEMBERS) return;
      const inner = join(folder, name);
      if (isLike(root, pattern, inner)) found.push(inner);
      if (deep || depth + 1 < names.length - first) look(inner, depth + 1);
    }
  };
  look(base, 0);
  return found;
}

function foldersIn(folder: string): string[] {
  try {
    return [...Deno.readDirSync(folder)].filter(({ isDirectory }) => isDirectory)
      .map(({ name }) => name);
  } catch {
    return [];
  }
}

/** The files that a tsconfig.json is made of besides itself: one says how JSX is compiled. */
function extendedBy(file: string, depth = 0): string[] {
  const { extends: bases = [] } = TypeScriptSettings.parse(readJson(file) ?? {});
  if (depth >= MAX_EXTENDS) return [];
  return [bases].flat().flatMap((base) => {
    // A package's lies in node_modules.
    if (!/^\.{0,2}\//.test(base)) return [];
    // Where one of these appears, it may be the one that is read.
    const path = resolve(dirname(file), base);
    const others = path.endsWith(".json") ? [] : EXTENSIONS;
    const candidates = [path, ...others.map((extension) => `${path}.${extension}`)];
    const found = candidates.find(isFile);
    return [...candidates, ...found === undefined ? [] : extendedBy(found, depth + 1)];
  });
}

/**
 * The value of a JSON file with comments; nothing if it is not there, or not readable.
 *
 * @throws {HoldfastError} if it is too large to be looked at: what it names would be nobody's to guard
 */
function readJson(path: string): unknown {
  let size: number;
  try {
    const found = Deno.statSync(path);
    if (!found.isFile) return undefined;
    size = found.size;
    if (size <= MAX_FILE_BYTES) return parse(Deno.readTextFileSync(path));
  } catch {
    return undefined;
  }
  throw new HoldfastError(`${path} has ${size} bytes, the limit is ${MAX_FILE_BYTES}`, {
    kind: "config",
    code: "settings_too_large",
    hint: "Move what is long in it to a file that it names, such as an import map",
  });
}

function isFile(path: string): boolean {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
}
