/** Follows symbolic links on this machine. */
import { followPath } from "./paths.ts";

/** The target of a symbolic link; `undefined` for everything else. */
export function readLink(path: string): string | undefined {
  return unlessAbsent(() => Deno.lstatSync(path)).isSymlink === true
    ? Deno.readLinkSync(path)
    : undefined;
}

/** The real path of an absolute path, whether it exists or not. */
export function realPlace(path: string): string {
  return followPath(path, readLink).real;
}

/** What is not there, or is shown only to who may do all: /dev and its like, which are no links. */
const ABSENT = /^(NotFound|NotADirectory|PermissionDenied|NotCapable: Requires all access)\b/;

/** If this user has no access, a worker of this user cannot follow a link there either. */
export function unlessAbsent(look: () => Deno.FileInfo): Partial<Deno.FileInfo> {
  try {
    return look();
  } catch (error) {
    if (ABSENT.test(String(error))) return {};
    throw error;
  }
}
