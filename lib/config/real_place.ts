/** Follows symbolic links on this machine. */
import { followPath } from "./paths.ts";

/** What a symbolic link holds; `undefined` for everything else. */
export function readLink(path: string): string | undefined {
  return unlessAbsent(() => Deno.lstatSync(path)).isSymlink === true
    ? Deno.readLinkSync(path)
    : undefined;
}

/** Where an absolute path leads, whether anything is there or not. */
export function realPlace(path: string): string {
  return followPath(path, readLink).real;
}

/** Where this user may not look, no worker of this user can follow a link either. */
export function unlessAbsent(look: () => Deno.FileInfo): Partial<Deno.FileInfo> {
  const { NotFound, NotADirectory, PermissionDenied } = Deno.errors;
  try {
    return look();
  } catch (error) {
    if ([NotFound, NotADirectory, PermissionDenied].some((kind) => error instanceof kind)) {
      return {};
    }
    throw error;
  }
}
