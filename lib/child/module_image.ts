/**
 * Has the runtime take the modules of an image from memory. No file of the project is read for them
 * and no permission is needed; `import.meta` is that of the project's files. Packages go on by the
 * runtime's own way, from the image's copies.
 */
import module from "node:module";
import { fileURLToPath, pathToFileURL } from "node:url";
import {
  APP_SPECIFIER,
  IMAGE_KEY,
  type ImageModule,
  type ModuleImage,
  PACKAGES_KEY,
  PLACED,
  textUrl,
} from "../protocol/module_image.ts";
import { moveImage, OPEN_PLACE } from "../protocol/move_image.ts";
import { facadeSource, facadeUrl } from "./builtin_facades.ts";
import { packageIn } from "./frames.ts";
import { quietRefusals } from "./quiet_refusals.ts";
import { refusals } from "./refusals.ts";
import { readProgramData, takeProgramData } from "./program_data.ts";

/** A module of which nothing is known beforehand. */
const NOTHING: ImageModule = { format: "module", source: "", imports: {} };

/** What an import of a CommonJS module gets in its place; no file may be called so. */
const FACADE = ".holdfast.mjs";

interface ResolveContext {
  readonly parentURL?: string;
  readonly conditions?: readonly string[];
  readonly importAttributes?: { readonly type?: string };
}

interface Resolved {
  readonly url: string;
  readonly format?: string;
  readonly shortCircuit?: boolean;
}

interface LoadContext {
  readonly conditions?: readonly string[];
}

interface Loaded {
  readonly format?: string;
  readonly source?: string | null;
  readonly shortCircuit?: boolean;
}

/** The part of `node:module` that is used here (https://nodejs.org/api/module.html). */
interface ModuleApi {
  registerHooks(hooks: {
    resolve(
      specifier: string,
      context: ResolveContext,
      next: (specifier: string, context?: ResolveContext) => Resolved,
    ): Resolved;
    load(
      url: string,
      context: LoadContext,
      next: (url: string, context?: LoadContext) => Loaded,
    ): Loaded;
  }): { deregister(): void };
  readonly Module: { prototype: { load(this: unknown, filename: string): void } };
  createRequire(from: string): { resolve(specifier: string): string };
  isBuiltin(name: string): boolean;
}

/** How much is read at once. */
const CHUNK_BYTES = 1024 * 1024;

/** Reads what has come behind the program on standard input. */
function readInput(): string {
  const decoder = new TextDecoder();
  const chunk = new Uint8Array(CHUNK_BYTES);
  let text = "";
  for (;;) {
    const length = Deno.stdin.readSync(chunk);
    if (length === null) return text + decoder.decode();
    text += decoder.decode(chunk.subarray(0, length), { stream: true });
  }
}

/**
 * Takes the image that this process was given, if it was given one: behind its program, or before that
 * where it had to be there at once.
 *
 * @param own of a program that has the files of the app, or its packages, in itself: their URLs
 */
export function installImage(
  own: { readonly files?: string; readonly packagesFrom?: string | undefined } = {},
): void {
  readProgramData(readInput());
  const image = takeProgramData(IMAGE_KEY) as ModuleImage | undefined;
  const given = takeProgramData(PACKAGES_KEY) as string | undefined;
  if (image === undefined || given === undefined) return;
  const { files, packagesFrom = given } = own;
  const placed = files === undefined ? image : moveImage(image, OPEN_PLACE, files);
  serveImage(placed, packagesFrom, module as unknown as ModuleApi);
}

function serveImage(image: ModuleImage, packagesFrom: string, api: ModuleApi): void {
  const modules = new Map(Object.entries(image.modules));
  const packages = api.createRequire(packagesFrom);

  function resolve(
    specifier: string,
    context: ResolveContext,
    next: (specifier: string, context?: ResolveContext) => Resolved,
  ): Resolved {
    const { parentURL = "" } = context;
    const parent = modules.get(withoutFacade(parentURL)) ??
      (parentURL !== packagesFrom && isUnveiled(parentURL) ? NOTHING : undefined);
    const required = context.conditions?.includes("require") === true;
    const builtin = required ? undefined : facadeUrl(specifier, parentURL);
    if (builtin !== undefined) return { url: builtin, format: "module", shortCircuit: true };
    const wanted = specifier === APP_SPECIFIER
      ? image.root
      : parent?.imports[specifier] ?? spelledUrl(specifier, parentURL) ??
        (parent && unaliased(specifier, image.aliases));
    if (wanted !== undefined && context.importAttributes?.type === "text") {
      if (!modules.has(textUrl(wanted))) return next(wanted, context);
      return { url: textUrl(wanted), format: "text", shortCircuit: true };
    }
    const found = wanted === undefined ? undefined : modules.get(wanted);
    if (found !== undefined) return ownModule(wanted!, found, required);
    if (parent === undefined) return next(specifier, context);
    if (wanted?.startsWith(PLACED)) {
      return next(new URL(wanted.slice(PLACED.length), packagesFrom).href, context);
    }
    const refused = wanted === undefined || required
      ? undefined
      : refusals()?.refusedImport(wanted, parentURL);
    if (refused !== undefined) throw refused;
    if (wanted?.startsWith("npm:")) return next(wanted, context);
    if (wanted?.startsWith("file:")) return findUnveiled(wanted, specifier, context, next);
    if (wanted !== undefined || api.isBuiltin(specifier)) return next(specifier, context);
    // A package: it is found from the image, and never from the project.
    if (!required) {
      const resolved = next(specifier, { ...context, parentURL: packagesFrom });
      if (!isTakenForPath(specifier, packagesFrom, resolved)) return resolved;
      const why =
        "it is no built-in module, and was no dependency when this version was brought in";
      throw new TypeError(`Import "${specifier}" not found, in ${parentURL}: ${why}`);
    }
    return { url: pathToFileURL(packages.resolve(specifier)).href, shortCircuit: true };
  }

  /** What is in no image is read where it lies, if it is unveiled. */
  function findUnveiled(
    wanted: string,
    specifier: string,
    context: ResolveContext,
    next: (specifier: string, context?: ResolveContext) => Resolved,
  ): Resolved {
    const path = pathOf(wanted);
    const advice = path === undefined ? undefined : quietRefusals()?.missModule(path);
    if (advice !== undefined) {
      const message = `Cannot find module '${path}'. Holdfast: it is in no image, and ${advice}`;
      throw Object.assign(new TypeError(message), {
        code: context.conditions?.includes("require") ? "MODULE_NOT_FOUND" : "ERR_MODULE_NOT_FOUND",
      });
    }
    // The runtime looks for it by the parent's own place, which need not be readable.
    const file = path === undefined ? undefined : fileFor(path);
    if (file === undefined) return next(specifier, context);
    return { url: pathToFileURL(file).href, shortCircuit: true };
  }

  function load(
    url: string,
    context: LoadContext,
    next: (url: string, context?: LoadContext) => Loaded,
  ): Loaded {
    const found = modules.get(withoutFacade(url));
    if (found !== undefined) return { ...loadOwn(url, found), shortCircuit: true };
    const builtin = facadeSource(url);
    if (builtin !== undefined) return { format: "module", source: builtin, shortCircuit: true };
    if (context.conditions?.includes("require") || url.startsWith("node:")) {
      return next(url, context);
    }
    // The runtime loads it by itself, as if there were no hook.
    return { source: null, shortCircuit: true };
  }

  let hooks = api.registerHooks({ resolve, load });
  // With a hook for loading the runtime compiles JSON that a package requires as JavaScript, and finds
  // no import of an ES module that it requires (Deno 2.9). So packages are required without hooks.
  const { prototype } = api.Module;
  const native = prototype.load;
  let depth = 0;
  prototype.load = function (filename) {
    if (modules.has(filename) || modules.has(pathToFileURL(filename).href)) {
      return native.call(this, filename);
    }
    if (depth++ === 0) hooks.deregister();
    try {
      native.call(this, filename);
    } finally {
      if (--depth === 0) hooks = api.registerHooks({ resolve, load });
    }
  };
}

/** A module of the project that is in no image: it is read from a folder that is unveiled. */
function isUnveiled(url: string): boolean {
  return url.startsWith("file:") && !url.includes("$deno$stdin") && packageIn(url) === undefined &&
    quietRefusals()?.isOfApp(pathOf(url)) === true;
}

function pathOf(url: string): string | undefined {
  try {
    return fileURLToPath(url);
  } catch {
    return undefined;
  }
}

/** What a path is found as that is required. */
function fileFor(path: string): string | undefined {
  return ["", ".js", ".json", ".cjs", "/index.js"].map((ending) => path + ending).find((each) => {
    try {
      return Deno.statSync(each).isFile;
    } catch {
      return false;
    }
  });
}

/** The runtime takes a name that it does not know for a path beside the module. */
function isTakenForPath(specifier: string, parentURL: string, { url }: Resolved): boolean {
  return !URL.canParse(specifier) && URL.parse(specifier, parentURL)?.href === url;
}

/** A URL that is spelled as one, or as a path. */
function spelledUrl(specifier: string, parentURL: string): string | undefined {
  if (specifier.startsWith("/")) return pathToFileURL(specifier).href;
  if (/^\.{1,2}(\/|$)/.test(specifier)) {
    return URL.canParse(specifier, parentURL) ? new URL(specifier, parentURL).href : undefined;
  }
  return /^(file|https?|npm|jsr):/.test(specifier) ? specifier : undefined;
}

/** What an import map makes of a name: the longest that fits counts. */
function unaliased(
  specifier: string,
  aliases: ModuleImage["aliases"],
): string | undefined {
  const fits = (alias: string) => alias.endsWith("/") && specifier.startsWith(alias);
  const [alias] = Object.hasOwn(aliases, specifier)
    ? [specifier]
    : Object.keys(aliases).filter(fits).sort((a, b) => b.length - a.length);
  return alias === undefined ? undefined : aliases[alias]! + specifier.slice(alias.length);
}

function ownModule(url: string, { format }: ImageModule, required: boolean): Resolved {
  if (format === "commonjs" && !required) return { url: url + FACADE, shortCircuit: true };
  return { url, format, shortCircuit: true };
}

function withoutFacade(url: string): string {
  return url.endsWith(FACADE) ? url.slice(0, -FACADE.length) : url;
}

function loadOwn(url: string, { format, source, names = [] }: ImageModule): Loaded {
  if (url.endsWith(FACADE)) {
    return { format: "module", source: facadeOf(withoutFacade(url), names) };
  }
  return { format, source };
}

/** The ES module that an import of CommonJS gets: its exports by name, and all of them as default. */
function facadeOf(url: string, names: readonly string[]): string {
  const [from, path] = [JSON.stringify(url + FACADE), JSON.stringify(fileURLToPath(url))];
  const listed = names.filter((name) => name !== "default");
  return [
    'import { createRequire } from "node:module";',
    `const exports = createRequire(${from})(${path});`,
    "export default exports;",
    ...listed.map((name, index) =>
      `const name${index} = exports[${JSON.stringify(name)}];\n` +
      `export { name${index} as ${JSON.stringify(name)} };`
    ),
  ].join("\n");
}
