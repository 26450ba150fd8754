/** The machine, as the check of a config sees it. */
import { dirname, join } from "node:path";
import { ownUid } from "../base/own_uid.ts";
import { readLink, unlessAbsent } from "./real_place.ts";
import { type MachinePlaces, machinePlaces, systemPaths } from "./system_paths.ts";

/** A folder of which so many names are asked for is listed: one of libraries has thousands. */
const MANY_NAMES = 4;

/** What the check asks of the machine. */
export interface CheckSystem {
  /** The user id of this process; `null` on systems without user ids. */
  readonly uid: number | null;
  /** What a symbolic link holds; `undefined` for everything else. */
  readonly readLink: (path: string) => string | undefined;
  /** Whether something is there, symbolic links followed. */
  readonly exists: (path: string) => boolean;
  readonly places: MachinePlaces;
}

/** What does not depend on a config is looked at here and now. */
export function thisMachine(): CheckSystem {
  const places = machinePlaces();
  // To list a folder once is much faster than to ask for many names that are not there.
  const asked = Map.groupBy(systemPaths(places), ({ path }) => dirname(path));
  const folders = [...asked].filter(([, paths]) => paths.length >= MANY_NAMES);
  const listed = new Map(folders.map(([folder]) => [folder, linksIn(folder)]));
  return {
    uid: ownUid(),
    readLink: (path) => {
      const links = listed.get(dirname(path));
      return links !== undefined && !links.has(path) ? undefined : readLink(path);
    },
    exists: (path) => unlessAbsent(() => Deno.statSync(path)).isSymlink !== undefined,
    places,
  };
}

/** Whether something is there, links followed. Not by `node:fs`, which takes a planner long to load. */
export function exists(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch {
    return false;
  }
}

/** The paths of the symbolic links in a folder; nothing if this user may not list it. */
function linksIn(folder: string): ReadonlySet<string> | undefined {
  if (!exists(folder)) return new Set();
  try {
    const links = [...Deno.readDirSync(folder)].filter(({ isSymlink }) => isSymlink);
    return new Set(links.map(({ name }) => join(folder, name)));
  } catch {
    return undefined;
  }
}
