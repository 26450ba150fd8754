/** The layout of an image: planner and supervisor agree on it. */

/** The names of the folders of an image: of the worker, then of each helper. */
export function imageFolders(
  { helpers }: { readonly helpers: readonly { readonly name: string }[] },
): string[] {
  return ["worker", ...helpers.map(({ name }) => `helper_${name}`)];
}

/** The digest of an image's files, by their paths in it. */
export async function digestOf(files: ReadonlyMap<string, string>): Promise<string> {
  return await sha256(JSON.stringify([...files].sort(([a], [b]) => a < b ? -1 : 1)));
}

/** SHA-256 of a text, in hex. */
export async function sha256(text: string): Promise<string> {
  const bytes = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text));
  return new Uint8Array(bytes).toHex();
}
