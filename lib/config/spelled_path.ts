/** Paths as whoever started this program has typed them: a link in one of them is followed when it is used. */

let folder: string | undefined;

/**
 * A path made absolute, with its symbolic links: by the shell's $PWD, which has the links by which
 * one came to the working folder, or else by the working folder itself. `..` stays, since the kernel
 * takes it after it has followed a link.
 */
export function spelledPath(path: string): string {
  if (path.startsWith("/")) return path;
  // Once: what they were at the start counts, and the folder may be gone later.
  folder ??= startFolder();
  return `${folder === "/" ? "" : folder}/${path.replace(/^(\.\/+)+/, "")}`;
}

function startFolder(): string {
  const own = Deno.cwd();
  try {
    const shell = Deno.env.get("PWD") ?? "";
    const [one, other] = [Deno.statSync(shell), Deno.statSync(own)];
    if (shell.startsWith("/") && one.ino === other.ino && one.dev === other.dev) return shell;
  } catch {
    // It is not set, or a name of nothing.
  }
  return own;
}

/** Where this program was started, by the name that {@link spelledPath} takes; `/` if nothing is there any more. */
export function workingFolder(): string {
  const path = spelledPath(".").replace(/\/\.$/, "") || "/";
  try {
    return Deno.statSync(path).isDirectory ? path : "/";
  } catch {
    return "/";
  }
}
