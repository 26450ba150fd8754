/**
 * The local modules of one process of a generation, as they were when it was planned: a worker runs
 * them from memory, whatever becomes of the files.
 */

/** Under which name an entry file imports the app. */
// Not as one text: a build would look for what is imported by it.
export const APP_SPECIFIER = ["holdfast", "app"].join(":");

/** Where the text before an entry file puts the image, for the entry file to take. */
export const IMAGE_KEY = "holdfast.image";

/** And the URL of a file, which need not be there, from which packages are looked for. */
export const PACKAGES_KEY = "holdfast.packages_from";

/** Begins what names a file in the image's folders called node_modules. */
export const PLACED = "holdfast-placed:";

/** A module as it is run. */
export interface ImageModule {
  readonly format: "module" | "commonjs" | "json" | "text";
  /** JavaScript with its source map, JSON or text. */
  readonly source: string;
  /**
   * What its specifiers resolve to: modules of the image, packages as `npm:/NAME@VERSION`, or files of
   * packages as {@link PLACED} and their path from where packages are looked for.
   */
  readonly imports: Readonly<Record<string, string>>;
  /** Of CommonJS: the names that an import of it has. */
  readonly names?: readonly string[];
}

/** The modules of one process. */
export interface ModuleImage {
  /** The URL of the app, or of the helper's module. */
  readonly root: string;
  /** The project's import map, for what is imported by a computed name; addresses are absolute. */
  readonly aliases: Readonly<Record<string, string>>;
  /** By their URLs, which are those of the project's files, or by {@link textUrl}. */
  readonly modules: Readonly<Record<string, ImageModule>>;
}

/**
 * The URL of a file that is imported as text. It differs from the file's own, since the same file may be
 * a module too, and the runtime loads each URL once.
 */
export function textUrl(url: string): string {
  return `${url}?holdfast=text`;
}
