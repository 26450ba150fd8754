/**
 * The packages of npm that a generation runs, copied into a folder that nobody changes afterwards.
 * The folder is named by what is in it: generations with the same packages share it.
 */
import { dirname, join, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { unlessAbsent } from "../config/real_place.ts";
import { sha256 } from "../protocol/image.ts";
import type { Graph, GraphPackage } from "./graph.ts";
import {
  aboveNodeModules,
  commonFolder,
  type Importer,
  needsOf,
  packageNameOf,
  Placing,
} from "./place_packages.ts";

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
  /**
   * Where a file of a package lies, from the project in the set, if looking for what a module imports from
   * the project would not lead to it.
   *
   * @param target the file that it leads to
   */
  placedFile(folder: string, specifier: string, target: string): string | undefined;
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
    const importers = [...importersOf(graph), {
      folder: project,
      names: needsOf(project).filter(isWanted),
    }];
    return await findInFolders(project, importers, roots);
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
    placedFile: () => undefined,
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

/** The modules that are no package's, and what they import of packages. */
function importersOf({ modules }: Graph): Importer[] {
  return modules.flatMap(({ specifier, dependencies }) => {
    if (!specifier.startsWith("file:") || specifier.includes("/node_modules/")) return [];
    const names = dependencies.flatMap(({ code, specifier }) =>
      code === undefined ? [] : packageNameOf(specifier) ?? []
    );
    return [{ folder: dirname(fileURLToPath(specifier)), names }];
  });
}

/** Finds packages in node_modules folders, with all that they need. */
async function findInFolders(
  project: string,
  importers: readonly Importer[],
  roots: readonly string[],
): Promise<PackageSet> {
  const placing = new Placing(importers, roots);
  const { placed } = placing;
  const base = commonFolder([project, ...[...placed.keys()].map(aboveNodeModules)]);
  const copied = [...placed].map(([place, from]) => ({ from, to: relative(base, place) }));
  const stamps = copied.map(({ from, to }) => `${to} ${stampTree(from)}`);
  return {
    id: await sha256(stamps.sort().join("\n")),
    layout: "node_modules",
    project: relative(base, project),
    copied,
    placedFile: (folder, specifier, target) => {
      const name = packageNameOf(specifier);
      if (name !== undefined && placing.seen(folder, name) === placing.seen(project, name)) {
        return undefined;
      }
      const place = placing.placeOf(folder, Deno.realPathSync(target));
      return place === undefined ? undefined : relative(project, place);
    },
  };
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
