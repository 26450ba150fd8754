/** What root without capabilities may not use: it is a user like others then. */
import type { Config, Unveil } from "../config/config.ts";
import { foldersAbove } from "../config/paths.ts";

/** What is asked of a file: its owner, its group, its mode. */
export type Look = (path: string) => Pick<Deno.FileInfo, "uid" | "gid" | "mode">;

/** The unveiled paths of a config whose workers run as root that these workers cannot use. */
export function closedPaths(
  config: Config,
  look: Look = Deno.statSync,
  real: (path: string) => string = Deno.realPathSync,
): string[] {
  if (config.account !== undefined || config.wall === "deno") return [];
  const unveils = [config, ...config.helpers].flatMap(({ unveil }) => unveil);
  const closed = unveils.filter(({ exists }) => exists)
    .filter((unveil) => isClosed({ ...unveil, path: real(unveil.path) }, look));
  return [...new Set(closed.map(({ path }) => path))];
}

function isClosed({ path, rights }: Unveil, look: Look): boolean {
  const wanted = (rights.includes("r") ? 4 : 0) | (/[wc]/.test(rights) ? 2 : 0);
  const lacks = (each: string, bits: number) => (bitsOf(look(each)) & bits) !== bits;
  return lacks(path, wanted) || foldersAbove(path).some((folder) => lacks(folder, 1));
}

/** Those of the owner, the group or the others, whichever root is. */
function bitsOf({ uid, gid, mode }: ReturnType<Look>): number {
  const shift = uid === 0 ? 6 : gid === 0 ? 3 : 0;
  return (mode ?? 0) >> shift & 7;
}
