/** What root without capabilities may not use: it is a user like others then. */
import { HoldfastError } from "../base/error.ts";
import type { Config } from "../config/config.ts";
import { foldersAbove } from "../config/paths.ts";
import { realPlace, unlessAbsent } from "../config/real_place.ts";

/** What is asked of a file: its owner, its group, its mode; nothing if it is not there. */
export type Look = (path: string) => Partial<Pick<Deno.FileInfo, "uid" | "gid" | "mode">>;

/**
 * The unveiled paths of a config whose workers run as root that these workers cannot use.
 *
 * @param runtime the folder in which their code is kept, which may not be there yet
 * @throws {HoldfastError} if they cannot even enter that
 */
export function closedPaths(
  config: Config,
  runtime: string,
  look: Look = (path) => unlessAbsent(() => Deno.statSync(path)),
  real: (path: string) => string = realPlace,
): { path: string; hint: string }[] {
  if (config.account !== undefined || config.wall === "deno") return [];
  const closed = foldersAbove(real(runtime)).filter((folder) => lacks(look(folder), 1)).at(-1);
  if (closed !== undefined) throw cannotEnter(closed, config);
  const unveils = [config, ...config.helpers].flatMap(({ unveil }) => unveil);
  const found = unveils.filter(({ path, rights }) => isClosed(real(path), rights, look));
  const hint = "Set user in the config to its owner, or open it";
  return [...new Set(found.map(({ path }) => path))].map((path) => ({ path, hint }));
}

function cannotEnter(folder: string, { file }: Config): HoldfastError {
  const message = `Root without capabilities, as workers run, cannot enter ${folder}, where its ` +
    "code is kept";
  return new HoldfastError(message, {
    kind: "config",
    code: "code_unreadable",
    hint: `Set user in ${file} to the owner of ${folder}, or runtime to a folder of root's, such ` +
      "as /run/holdfast",
  });
}

function isClosed(path: string, rights: string, look: Look): boolean {
  const wanted = (rights.includes("r") ? 4 : 0) | (/[wc]/.test(rights) ? 2 : 0);
  return lacks(look(path), wanted) || foldersAbove(path).some((folder) => lacks(look(folder), 1));
}

/** By the bits of the owner, the group or the others, whichever root is. */
function lacks({ uid, gid, mode }: ReturnType<Look>, bits: number): boolean {
  if (typeof mode !== "number") return false;
  const shift = uid === 0 ? 6 : gid === 0 ? 3 : 0;
  return (mode >> shift & bits) !== bits;
}
