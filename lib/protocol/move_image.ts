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
  const moveAll = (urls: Readonly<Record<string, string>>) =>
    Object.fromEntries(Object.entries(urls).map(([name, url]) => [move(name), move(url)]));
  return {
    root: move(root),
    aliases: moveAll(aliases),
    modules: Object.fromEntries(
      Object.entries(modules).map(([url, module]) => [
        move(url),
        { ...module, imports: moveAll(module.imports) },
      ]),
    ),
  };
}
