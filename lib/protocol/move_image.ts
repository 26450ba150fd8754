/** Where the modules of an image lie, as far as they know. */
import type { ModuleImage } from "./module_image.ts";

/** Stands for the folder of the app's files in the URLs of a packed image. */
export const OPEN_PLACE = "holdfast-app:///";

/** The same modules elsewhere: every URL that begins with `from` begins with `to`. */
export function moveImage(
  { root, aliases, modules }: ModuleImage,
  from: string,
  to: string,
): ModuleImage {
  const move = (url: string) => url.startsWith(from) ? to + url.slice(from.length) : url;
  const moveValues = (urls: Readonly<Record<string, string>>) =>
    Object.fromEntries(Object.entries(urls).map(([name, url]) => [name, move(url)]));
  const moveNames = <T>(named: Readonly<Record<string, T>>) =>
    Object.fromEntries(Object.entries(named).map(([name, value]) => [move(name), value]));
  return {
    root: move(root),
    aliases: moveNames(moveValues(aliases)),
    modules: Object.fromEntries(
      Object.entries(moveNames(modules)).map(([url, module]) => [
        url,
        // A module spells what it imports as it always did.
        { ...module, imports: moveValues(module.imports) },
      ]),
    ),
  };
}
