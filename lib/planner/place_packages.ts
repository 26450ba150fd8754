/**
 * Where the packages of node_modules folders come to lie in an image. Deno and pnpm lay each package into
 * a folder of its own and link to it, and find what it needs beside the real one; an image has no links.
 * So each is placed where its importers look for it, once, and a second time only where they would find
 * another one of that name.
 */
import { basename, join, relative } from "node:path";
import { covers } from "../base/covers.ts";
import { foldersAbove } from "../config/paths.ts";
import { unlessAbsent } from "../config/real_place.ts";

/** How deep packages are nested that need each other in several versions. */
const MAX_NESTED = 8;

/** Who looks for packages, and for which. */
export interface Importer {
  readonly folder: string;
  readonly names: Iterable<string>;
}

/** A folder where something is looked for, and the folder that it is a copy of. */
interface Looking {
  readonly place: string;
  readonly real: string;
}

/** What names of packages a package.json lists. */
interface Manifest {
  readonly dependencies?: Record<string, string>;
  readonly optionalDependencies?: Record<string, string>;
  readonly peerDependencies?: Record<string, string>;
}

/** The packages of an image by their places. */
export class Placing {
  /** By their places the folders that they are copied from. */
  readonly placed = new Map<string, string>();
  readonly #queue: Looking[] = [];
  /** What holds all importers: a package lies there, so that all share it, unless another is there. */
  readonly #top: string;

  /**
   * Places what importers look for, with all that it needs.
   *
   * @param roots packages that are there besides: where nobody is known who looks for one, it stays where
   * it is
   */
  constructor(importers: readonly Importer[], roots: readonly string[]) {
    const finding = importers.map(({ folder, names }) => ({
      folder,
      names: [...names].filter((name) => findAbove(folder, name) !== undefined),
    })).filter(({ names }) => names.length > 0);
    this.#top = commonFolder(finding.map(({ folder }) => folder));
    // What is further up has the first choice: it looks nowhere else.
    finding.sort((a, b) => a.folder.split("/").length - b.folder.split("/").length);
    for (const { folder, names } of finding) {
      for (const name of names) this.#need({ place: folder, real: folder }, name);
    }
    this.#needAll();
    for (const folder of roots) {
      const real = Deno.realPathSync(folder);
      if (![...this.placed.values()].includes(real)) this.#put(folder, real);
      this.#needAll();
    }
  }

  /** The place of the package that is found under a name from a folder. */
  seen(folder: string, name: string): string | undefined {
    return placesFor(folder, name).find((place) => this.placed.has(place));
  }

  /** The place of a package's file: of several, the one that is seen from the folder. */
  placeOf(folder: string, file: string): string | undefined {
    const holders = [...this.placed].filter(([, real]) => covers(real, file));
    const [place, real] = holders.find(([each]) => this.seen(folder, nameOf(each)) === each) ??
      holders[0] ?? [];
    return place === undefined ? undefined : join(place, relative(real!, file));
  }

  #put(place: string, real: string): void {
    this.placed.set(place, real);
    this.#queue.push({ place, real });
  }

  #needAll(): void {
    for (let next = this.#queue.shift(); next !== undefined; next = this.#queue.shift()) {
      for (const name of needsOf(next.real)) this.#need(next, name);
    }
  }

  #need(looking: Looking, name: string): void {
    const target = findAbove(looking.real, name) ?? findAbove(looking.place, name);
    if (target === undefined) return;
    const real = Deno.realPathSync(target);
    const seen = this.seen(looking.place, name);
    if (seen !== undefined && this.placed.get(seen) === real) return;
    const place = this.#choosePlace(looking.place, name, seen);
    if (nestingOf(place) <= MAX_NESTED) this.#put(place, real);
  }

  /** Where a package comes to lie for one that looks for it, and sees another one of that name, or none. */
  #choosePlace(from: string, name: string, seen: string | undefined): string {
    const top = covers(this.#top, from) ? this.#top : aboveNodeModules(from);
    return join(seen === undefined ? top : from, "node_modules", name);
  }
}

/** The packages that a package says it needs. */
export function needsOf(folder: string): string[] {
  try {
    const manifest: Manifest = JSON.parse(Deno.readTextFileSync(join(folder, "package.json")));
    const { dependencies, optionalDependencies, peerDependencies } = manifest;
    return Object.keys({ ...dependencies, ...optionalDependencies, ...peerDependencies });
  } catch {
    return [];
  }
}

/** The folder that a path's first node_modules lies in. */
export function aboveNodeModules(path: string): string {
  const parts = path.split("/");
  return parts.slice(0, parts.indexOf("node_modules")).join("/") || "/";
}

/** The nearest folder that holds all of these. */
export function commonFolder(folders: readonly string[]): string {
  const [first = "/", ...others] = folders;
  return [first, ...foldersAbove(first)].find((folder) =>
    others.every((other) => covers(folder, other))
  )!;
}

function nestingOf(place: string): number {
  return place.split("/").filter((part) => part === "node_modules").length;
}

/** The name of the package that lies at a place. */
function nameOf(place: string): string {
  return place.slice(place.lastIndexOf("/node_modules/") + "/node_modules/".length);
}

function findAbove(folder: string, name: string): string | undefined {
  return placesFor(folder, name).find((place) =>
    unlessAbsent(() => Deno.statSync(place)).isDirectory === true
  );
}

/** Where a package is looked for, in the order in which that is done. */
function placesFor(folder: string, name: string): string[] {
  return [folder, ...foldersAbove(folder)].filter((each) => basename(each) !== "node_modules")
    .map((each) => join(each, "node_modules", name));
}

/** The name of the package that a specifier names: it is no path, no URL and no name of the project's own. */
export function packageNameOf(specifier: string): string | undefined {
  return /^(?:@[^/:]+\/)?[\w-][^/:]*(?=\/|$)/.exec(specifier)?.[0];
}
