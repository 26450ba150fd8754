/** Tells whether files are still those that a wall was built for. */

/** A text that changes when any of the files is replaced, changed or removed. */
export function stampFiles(paths: readonly string[]): string {
  return paths.map((path) => {
    try {
      const { dev, ino, mtime } = Deno.statSync(path);
      return `${dev}:${ino}:${mtime?.getTime()}`;
    } catch {
      return "gone";
    }
  }).join(" ");
}
