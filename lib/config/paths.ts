import { dirname } from "node:path";

// What Linux allows one path; beyond it the kernel answers ELOOP.
const MAX_LINKS = 40;

/** A path with its links followed. */
export interface Trail {
  /** The path without symbolic links; missing parts stay as they are. */
  readonly real: string;
  /** The real path of each symbolic link on the way. Replacing one changes where the path leads. */
  readonly links: readonly string[];
}

/** The folders above a path, the nearest first. */
export function foldersAbove(path: string): string[] {
  const folders: string[] = [];
  for (let at = path, up = dirname(at); up !== at; at = up, up = dirname(up)) folders.push(up);
  return folders;
}

/**
 * Follows an absolute path one name at a time, as the kernel does. `readLink` gives what a symbolic
 * link holds, and `undefined` for everything else.
 */
export function followPath(path: string, readLink: (path: string) => string | undefined): Trail {
  const names = path.split("/");
  const links: string[] = [];
  let real = "/";
  for (let name = names.shift(); name !== undefined; name = names.shift()) {
    if (name === "" || name === ".") continue;
    // `real` has no links.
    const here = name === ".." ? dirname(real) : `${real === "/" ? "" : real}/${name}`;
    const target = name === ".." ? undefined : readLink(here);
    if (target === undefined || links.length === MAX_LINKS) {
      real = here;
      continue;
    }
    links.push(here);
    if (target.startsWith("/")) real = "/";
    names.unshift(...target.split("/"));
  }
  return { real, links };
}
