/** What on the way to a path is closed to a user, by owner, group and mode. */
import { foldersAbove } from "../config/paths.ts";

/** What is asked of a file; nothing if it is not there. */
export type Look = Partial<Pick<Deno.FileInfo, "uid" | "gid" | "mode" | "isDirectory">>;

/** The outermost folder or file that a user without further rights cannot enter or read. */
export function findClosed(
  paths: readonly string[],
  ids: { readonly uid: number; readonly gids: readonly number[] },
  look: (path: string) => Look,
): string | undefined {
  const lacks = ({ uid, gid, mode }: Look, bits: number) => {
    if (typeof mode !== "number") return false;
    const shift = uid === ids.uid ? 6 : ids.gids.includes(gid ?? -1) ? 3 : 0;
    return (mode >> shift & bits) !== bits;
  };
  for (const path of paths) {
    const above = foldersAbove(path).toReversed().find((folder) => lacks(look(folder), 1));
    if (above !== undefined) return above;
    const facts = look(path);
    if (lacks(facts, facts.isDirectory ? 5 : 4)) return path;
  }
  return undefined;
}
