/**
 * The packages of npm that a generation runs, copied into a folder that nobody changes afterwards.
 * The folder is named by what is in it: generations with the same packages share it.
 */
import { basename, dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { covers, foldersAbove } from "../config/paths.ts";
import { unlessAbsent } from "../config/real_place.ts";
import { sha256 } from "../protocol/image.ts";
import type { Graph, GraphPackage } from "./graph.ts";

/** Where the runtime looks for packages below a DENO_DIR, whichever registry they came from. */
const REGISTRY = "npm/registry.npmjs.org";

/** Of a package, what no program loads. */
const TYPES_AND_MAPS = /\.(d\.[cm]?ts|map)$/;

/** A file or folder to be copied, and its place in the set. */
interface Copied {
  readonly from: string;
  readonly to: string;
}

/** Packages that are to be copied. */
export interface PackageSet {
  /** By what is in it; empty where it holds nothing. */
  readonly id: string;
  /** How packages are found in it: by the runtime's cache, or by folders called node_modules. */
  readonly layout: "cache" | "node_modules";
  /** Where, in the set, the project lies: packages are looked for from there upwards. */
  readonly project: string;
  readonly copied: readonly Copied[];
}

/** What names of packages a project's package.json lists. */
interface Manifest {
  readonly dependencies?: Record<string, string>;
  readonly optionalDependencies?: Record<string, string>;
  readonly peerDependencies?: Record<string, string>;
}

/**
 * Finds the packages of a module graph.
 *
 * @param integrities of packages by NAME@VERSION, as a lock file has them
 * @param isWanted whether a package is to be there that the project's package.json lists, and no module
 * imports
 */
export async function findPackages(
  graph: Graph,
  project: string,
  integrities: ReadonlyMap<string, string>,
  isWanted: (name: string) => boolean,
): Promise<PackageSet> {
  // An optional package for another platform is in the graph, and nobody has fetched it.
  const packages = Object.entries(graph.npmPackages).filter(([, { localPath }]) =>
    !localPath || unlessAbsent(() => Deno.statSync(localPath)).isDirectory === true
  );
  const roots = packageFoldersOf(graph);
  if (packages.length === 0 && roots.length > 0) {
    return await findInFolders(project, roots, isWanted);
  }
  const copied = packages.flatMap(([, found]) =>
    !found.localPath ? [] : [{
      from: found.localPath,
      to: join(REGISTRY, cachedName(found, found.localPath)),
    }]
  );
  const stamps = packages.map(([id, { localPath }]) => {
    const integrity = integrities.get(id.replace(/_.*$/, "")) ?? integrities.get(id);
    return `${id} ${integrity ?? (localPath ? stampTree(localPath) : "")}`;
  });
  return {
    id: copied.length === 0 ? "" : await sha256(stamps.sort().join("\n")),
    layout: "cache",
    project: "",
    copied,
  };
}

/** The end of a package's path in a cache: its name and version, as the runtime spells them. */
function cachedName({ name }: GraphPackage, localPath: string): string {
  const parts = localPath.split("/");
  // In a node_modules folder the path says nothing of the version.
  if (parts.includes("node_modules")) {
    const folder = parts.slice(0, parts.lastIndexOf("node_modules")).pop()!;
    return join(name, folder.slice(folder.lastIndexOf("@") + 1));
  }
  const encoded = parts.at(-2)!.startsWith("_");
  return parts.slice(encoded ? -2 : -1 - name.split("/").length).join("/");
}

/** The folders of the packages in node_modules whose modules a graph names. */
function packageFoldersOf({ modules }: Graph): string[] {
  const paths = modules.flatMap(({ specifier }) => {
    if (!specifier.startsWith("file:") || !specifier.includes("/node_modules/")) return [];
    const parts = fileURLToPath(specifier).split("/");
    const at = parts.lastIndexOf("node_modules");
    return [parts.slice(0, at + (parts[at + 1]!.startsWith("@") ? 3 : 2)).join("/")];
  });
  return [...new Set(paths)];
}

/** Finds packages in node_modules folders, with all that they need. */
async function findInFolders(
  project: string,
  roots: readonly string[],
  isWanted: (name: string) => boolean,
): Promise<PackageSet> {
  const folders = new Map<string, string>();
  const add = (found: string) => {
    if (folders.has(found)) return;
    const real = Deno.realPathSync(found);
    folders.set(found, real);
    if (real !== found && real.split("/").includes("node_modules")) add(real);
    for (const name of needsOf(real)) {
      // Where a link leads there, a package looks from the link's place: no link is copied.
      for (const place of new Set([real, found])) {
        const needed = findAbove(place, name);
        if (needed !== undefined) add(needed);
      }
    }
  };
  for (const root of roots) add(root);
  // What is only required, or imported by a computed name, is in no graph.
  for (const name of needsOf(project).filter(isWanted)) {
    const needed = findAbove(join(project, "package.json"), name);
    if (needed !== undefined) add(needed);
  }
  const base = commonFolder([project, ...[...folders.keys()].map(aboveNodeModules)]);
  const copied = [...folders].map(([found, from]) => ({ from, to: relative(base, found) }));
  const stamps = copied.map(({ from, to }) => `${to} ${stampTree(from)}`);
  return {
    id: await sha256(stamps.sort().join("\n")),
    layout: "node_modules",
    project: relative(base, project),
    copied,
  };
}

/** The packages that a package says it needs. */
function needsOf(folder: string): string[] {
  try {
    const manifest: Manifest = JSON.parse(Deno.readTextFileSync(join(folder, "package.json")));
    const { dependencies, optionalDependencies, peerDependencies } = manifest;
    return Object.keys({ ...dependencies, ...optionalDependencies, ...peerDependencies });
  } catch {
    return [];
  }
}

function findAbove(path: string, name: string): string | undefined {
  for (const folder of foldersAbove(join(path, "x"))) {
    if (basename(folder) === "node_modules") continue;
    const found = join(folder, "node_modules", name);
    if (unlessAbsent(() => Deno.statSync(found)).isDirectory === true) return found;
  }
  return undefined;
}

function aboveNodeModules(path: string): string {
  const parts = path.split("/");
  return parts.slice(0, parts.indexOf("node_modules")).join("/") || "/";
}

function commonFolder(folders: readonly string[]): string {
  const [first, ...others] = folders;
  return [first!, ...foldersAbove(first!)].find((folder) =>
    others.every((other) => covers(folder, other))
  )!;
}

/** A text that changes when a file of a folder does. */
function stampTree(folder: string): string {
  const stamps: string[] = [];
  walk(folder, (path, { isFile, size, mtime, ctime, ino }) => {
    if (isFile) stamps.push(`${relative(folder, path)} ${size} ${+mtime!} ${+ctime!} ${ino}`);
  });
  return stamps.sort().join(",");
}

/** Copies the packages of a set to a new folder. */
export function copyPackages({ copied, layout, project }: PackageSet, folder: string): void {
  if (layout === "node_modules") {
    makeFolder(join(folder, project));
    // Where the runtime stops looking for one: what lies above is nobody's to read.
    Deno.writeTextFileSync(join(folder, project, "package.json"), "{}");
  }
  for (const { from, to } of copied) {
    walk(from, (path, { isDirectory, isFile }) => {
      const target = join(folder, to, relative(from, path));
      if (isDirectory) makeFolder(target);
      else if (isFile && !TYPES_AND_MAPS.test(path)) {
        makeFolder(dirname(target));
        Deno.copyFileSync(path, target);
        Deno.chmodSync(target, 0o644);
      }
    });
  }
}

/** Goes through a folder, and not into the packages that lie in it: they are copied by themselves. */
function walk(path: string, visit: (path: string, info: Deno.FileInfo) => void): void {
  const info = Deno.statSync(path);
  visit(path, info);
  if (!info.isDirectory) return;
  for (const { name, isSymlink } of Deno.readDirSync(path)) {
    if (name === "node_modules" || name === ".git") continue;
    const inner = join(path, name);
    // A link may lead anywhere, or in a circle.
    if (isSymlink && unlessAbsent(() => Deno.statSync(inner)).isFile !== true) continue;
    walk(inner, visit);
  }
}

/** For the account of whoever runs it, whatever mask this process has. */
export function makeFolder(path: string): void {
  if (unlessAbsent(() => Deno.statSync(path)).isDirectory) return;
  makeFolder(dirname(path));
  Deno.mkdirSync(path);
  Deno.chmodSync(path, 0o755);
}
