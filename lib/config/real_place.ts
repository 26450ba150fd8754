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

/** If this user has no access, a worker of this user cannot follow a link there either. */
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
