/** Gives files another name. Deno requires write permission for both names, which nobody has here. */
import { fail } from "./errno.ts";
import { loadLibc } from "./libc.ts";

const libc = loadLibc({ link: { parameters: ["buffer", "buffer"], result: "i32" } });

/**
 * Gives a file another name.
 *
 * @throws {Error} if `path` exists, lies on another file system, or the file is somebody else's
 */
export function makeHardLink(file: string, path: string): void {
  const [from, to] = [file, path].map((each) => new TextEncoder().encode(`${each}\0`));
  if (libc.symbols.link(from!, to!) !== 0) fail(`make the link ${path}`);
}
