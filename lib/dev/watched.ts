/** Which files count in development, and what a change of one comes to. */
import { basename, dirname, extname, join, relative, resolve } from "node:path";

/** What is watched of a project. */
export interface Watched {
  /** The folders whose sources may become part of the app. */
  readonly roots: readonly string[];
  /** Files that the app is made of, and those that say how: config, settings, lock file, variables. */
  readonly files: ReadonlySet<string>;
  /** Paths that the app may only read, inside the roots. */
  readonly statics: readonly string[];
}

/**
 * What is to be done: `restart` by a reload of the server; `style` by another stylesheet in the page;
 * `page` by loading the page again.
 */
export type Effect = "restart" | "style" | "page";

/** Folders that others write. */
const FOREIGN = /^(node_modules|\.git|\.hg|\.svn|\.jj|\.holdfast.*|\.cache|coverage)$/;

/** Names that editors and other programs give to files that are not to stay. */
const PASSING = /^(\.#.*|#.*#|4913|.*~|.*\.(sw[a-z]|tmp|temp|new|bak|crdownload)|\.DS_Store)$/i;

/** What is mostly imported. */
const SOURCE = /\.([cm]?[jt]sx?|json|jsonc|wasm)$/i;

/** What browsers alone read. */
const MEDIA =
  /\.(png|jpe?g|gif|webp|avif|svg|ico|bmp|woff2?|ttf|otf|eot|mp[34]|webm|ogg|wav|pdf|map)$/i;

/** Whether a folder of a project is looked into. */
export function isLookedInto(name: string): boolean {
  return !FOREIGN.test(name);
}

/**
 * What a change of a file comes to; nothing if it does not count.
 *
 * @param broken whether the newest version does not run: then a file that is to come may mend it
 */
export function effectOf(path: string, watched: Watched, broken: boolean): Effect | undefined {
  const { files, statics, roots } = watched;
  if (files.has(path)) return "restart";
  // A folder that is gone is told by its own name.
  if ([...files, ...statics].some((each) => each !== path && covers(path, each))) return "restart";
  if (PASSING.test(basename(path))) return undefined;
  const root = [...statics, ...roots].find((each) => covers(each, path));
  if (root === undefined || !relative(root, path).split("/").every(isLookedInto)) return undefined;
  if (statics.some((each) => covers(each, path))) {
    const name = extname(path).toLowerCase();
    if (name === ".css") return "style";
    // What the app may have read when it began is read again by a new worker alone.
    return MEDIA.test(name) ? "page" : "restart";
  }
  return broken && SOURCE.test(path) ? "restart" : undefined;
}

/** What a burst of changes comes to: the most that one of them asks for, and the files that did. */
export function effectOfAll(
  paths: Iterable<string>,
  watched: Watched,
  broken: boolean,
): { readonly effect: Effect | undefined; readonly paths: string[] } {
  const found = new Map<Effect, string[]>();
  for (const path of paths) {
    const effect = effectOf(path, watched, broken);
    if (effect !== undefined) found.set(effect, [...found.get(effect) ?? [], path]);
  }
  for (const effect of ["restart", "page", "style"] as const) {
    const those = found.get(effect);
    if (those !== undefined) return { effect, paths: those.sort() };
  }
  return { effect: undefined, paths: [] };
}

function covers(folder: string, path: string): boolean {
  return path === folder || path.startsWith(join(folder, "/"));
}

/** The paths of `unveil` that an app may read and not write, as far as they are in one of the roots. */
export function staticPaths(unveil: unknown, folder: string, roots: readonly string[]): string[] {
  if (typeof unveil !== "object" || unveil === null) return [];
  return Object.entries(unveil).filter(([, rights]) => rights === "r")
    .map(([path]) => resolve(folder, path))
    .filter((path) => roots.some((root) => covers(root, path)) && !roots.includes(path));
}

/** The folders to be watched: those of the files, and all inside the roots and the static paths. */
export function foldersOf(
  { roots, files, statics }: Watched,
  list: (folder: string) => readonly string[],
  most: number,
): string[] {
  const folders = new Set([...files].map((file) => dirname(file)));
  const open = [...statics, ...roots];
  for (const path of statics) folders.add(dirname(path));
  while (open.length > 0 && folders.size < most) {
    const folder = open.shift()!;
    folders.add(folder);
    for (const name of list(folder)) {
      const inner = join(folder, name);
      if (isLookedInto(name) && !folders.has(inner)) open.push(inner);
    }
  }
  return [...folders];
}
