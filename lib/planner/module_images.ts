/**
 * Makes the module images of a generation from what `deno` says of its module graphs and what it
 * compiled of them.
 */
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { initSync, parse } from "cjs-module-lexer";
import { initSync as initLexer, parse as parseModule } from "es-module-lexer";
import * as z from "zod/mini";
import { HoldfastError } from "../base/error.ts";
import { type ImageModule, type ModuleImage, PLACED, textUrl } from "../protocol/module_image.ts";
import type { Graph, GraphModule } from "./graph.ts";
import type { PackageSet } from "./packages.ts";
import { type Required, requiredFiles } from "./required.ts";

/** What the runtime keeps of a file is not of the file as it is. */
export class StaleError extends HoldfastError {
  /** @param bytes about what it takes to keep it */
  constructor(local: string, readonly bytes: number) {
    super(`What Deno has compiled of ${local} is of an earlier state of it`, {
      kind: "environment",
      code: "image_failed",
      hint: "Make room in the runtime folder, where it is kept, and reload again",
    });
  }
}

/** What the runtime compiles before it runs it, in the words of `deno info`. */
export const COMPILED_TYPES = ["TypeScript", "Mts", "Cts", "JSX", "TSX"];

/** How many modules of CommonJS an export may be passed on through. */
const MAX_REEXPORTS = 32;

export interface ModuleImageOptions {
  readonly graph: Graph;
  /** The module that is started. */
  readonly root: string;
  /** The project's import map, with absolute addresses. */
  readonly aliases: Readonly<Record<string, string>>;
  /** The compiled code of a local file. */
  readonly compiledOf: (local: string) => string;
  readonly placedFile: PackageSet["placedFile"];
  /** What its CommonJS requires of own files. */
  readonly required: Required;
}

/**
 * Makes one.
 *
 * @throws {Error} if a file is not there any more
 */
export function makeModuleImage(options: ModuleImageOptions): ModuleImage {
  initSync();
  initLexer();
  const { graph, root, aliases, required } = options;
  // One that is imported both ways is named once.
  const assets = new Set(
    graph.modules.flatMap(({ dependencies }) =>
      dependencies.flatMap(({ assertionType, code }) =>
        code?.specifier !== undefined && isAsset(assertionType)
          ? [redirected(graph, code.specifier)]
          : []
      )
    ),
  );
  const modules = new Map<string, ImageModule>();
  for (const module of graph.modules) {
    const { specifier, local } = module;
    if (!local || isPackageFile(local)) continue;
    const made = makeModule(module, local, options);
    if (assets.has(specifier)) {
      const bytes = Deno.readFileSync(local);
      const text = new TextDecoder().decode(bytes);
      modules.set(textUrl(specifier), { format: "text", source: text, imports: {} });
      if (made === undefined) modules.set(specifier, bytesModule(bytes));
    }
    if (made !== undefined) modules.set(specifier, made);
  }
  for (const local of requiredFiles(required, graph)) {
    const { href } = pathToFileURL(local);
    const format = required.has(href) ? "commonjs" : "json";
    const imports = required.get(href) ?? {};
    modules.set(href, { format, source: Deno.readTextFileSync(local), imports });
  }
  for (const [url, module] of modules) {
    if (module.format !== "commonjs") continue;
    modules.set(url, { ...module, names: [...exportsOf(url, modules)] });
  }
  return { root: pathToFileURL(root).href, aliases, modules: Object.fromEntries(modules) };
}

/** Whether a local file is a package's own: packages go into the image as they are. */
export function isPackageFile(local: string): boolean {
  return local.split("/").includes("node_modules");
}

function makeModule(
  module: GraphModule,
  local: string,
  { graph, compiledOf, placedFile, required }: ModuleImageOptions,
): ImageModule | undefined {
  const { kind, mediaType, specifier } = module;
  const found = importsOf(
    module,
    graph,
    (name, target) => placedFile(dirname(local), name, fileURLToPath(target)),
  );
  const imports = { ...found, ...required.get(specifier) };
  if (kind === "wasm" || mediaType === "Wasm") {
    return { format: "module", source: wasmModule(Deno.readFileSync(local)), imports };
  }
  if (mediaType === "Json") {
    return { format: "json", source: Deno.readTextFileSync(local), imports };
  }
  // Text and bytes: what is only imported as such is no code.
  if (kind === "external" || !mediaType) return undefined;
  if (/^D[mc]?ts$/i.test(mediaType)) return undefined;
  const source = COMPILED_TYPES.includes(mediaType)
    ? compiledCode(local, compiledOf(local))
    : Deno.readTextFileSync(local);
  const format = required.has(specifier) ? "commonjs" : "module";
  const assets = module.dependencies.some(({ assertionType }) => isAsset(assertionType));
  const text = assets ? importBytesAsModules(source) : source;
  return { format, source: text.includes(UNHOOKED) ? importHooked(text) : text, imports };
}

/**
 * The code that was compiled of a file, without what the runtime adds to know it again.
 *
 * @throws {StaleError} if it is of an earlier state of the file: the runtime says nothing where it
 * cannot keep what it compiled
 */
function compiledCode(local: string, compiled: string): string {
  const of = sourceOf(compiled);
  // What was fetched has a trailer too.
  const is = withoutTrailer(Deno.readTextFileSync(local)).replace(/^\uFEFF/, "");
  if (of !== undefined && withoutTrailer(of) !== is) throw new StaleError(local, is.length);
  return withoutTrailer(compiled);
}

function withoutTrailer(text: string): string {
  const at = text.lastIndexOf("\n// denoCacheMetadata=");
  return at < 0 ? text : text.slice(0, at + 1);
}

const SOURCE_MAP = "\n//# sourceMappingURL=data:application/json;base64,";

const SourceMap = z.object({ sourcesContent: z.optional(z.array(z.nullable(z.string()))) });

/** What it was compiled of, by its source map; nothing where the project wants none. */
function sourceOf(compiled: string): string | undefined {
  const at = compiled.lastIndexOf(SOURCE_MAP);
  if (at < 0) return undefined;
  const [base64] = compiled.slice(at + SOURCE_MAP.length).split("\n", 1);
  const text = new TextDecoder().decode(Uint8Array.fromBase64(base64!));
  return SourceMap.parse(JSON.parse(text)).sourcesContent?.[0] ?? undefined;
}

function isAsset(assertionType: string | null | undefined): boolean {
  return assertionType === "text" || assertionType === "bytes";
}

/** What an import of bytes gets: hooks give text alone to the runtime (Deno 2.9). */
function bytesModule(bytes: Uint8Array): ImageModule {
  return { format: "module", source: `export default ${spellBytes(bytes)};`, imports: {} };
}

/** An expression of JavaScript that gives these bytes. */
function spellBytes(bytes: Uint8Array): string {
  return `Uint8Array.fromBase64("${bytes.toBase64()}")`;
}

/** Takes the attribute away by which bytes are imported, and leaves everything where it is. */
function importBytesAsModules(source: string): string {
  let changed = source;
  for (const { e: end, se: last, a: attributes, d: dynamic } of parseModule(source)[0]) {
    if (attributes < 0 || !/["']bytes["']/.test(source.slice(attributes, last))) continue;
    // After the quote of a static import, and inside the bracket of a dynamic one.
    const [from, to] = dynamic < 0 ? [end + 1, last] : [attributes, last - 1];
    const blank = source.slice(from, to).replace(/[^\n]/g, " ");
    changed = changed.slice(0, from) + blank + changed.slice(to);
  }
  return changed;
}

/** A module that is replaced for the app, and that hooks are not asked for by this name (Deno 2.9). */
const UNHOOKED = "node:worker_threads";

/** Writes the other name of such a module, and leaves everything where it is. */
function importHooked(source: string): string {
  let parsed: ReturnType<typeof parseModule>[0];
  try {
    [parsed] = parseModule(source);
  } catch {
    // The runtime says what it cannot read.
    return source;
  }
  let changed = source;
  for (const { n: name, s: start, e: end, d: dynamic } of parsed) {
    if (name !== UNHOOKED) continue;
    // The place of a dynamic import has the quotes in it.
    const last = dynamic < 0 ? end : end - 1;
    const from = last - UNHOOKED.length;
    if (from < start) continue;
    const short = UNHOOKED.slice("node:".length);
    const rest = changed.slice(last, last + 1) + " ".repeat(UNHOOKED.length - short.length);
    changed = changed.slice(0, from) + short + rest + changed.slice(last + 1);
  }
  return changed;
}

function importsOf(
  { dependencies }: GraphModule,
  graph: Graph,
  placedFile: (specifier: string, target: string) => string | undefined,
): Record<string, string> {
  return Object.fromEntries(dependencies.flatMap(({ specifier, code }) => {
    if (code?.specifier === undefined) return [];
    const to = redirected(graph, code.specifier);
    if (!to.startsWith("file:") || !isPackageFile(to)) return [[specifier, to]];
    // A package that lies in a folder of the project is found by its name, in the image's copy.
    const placed = placedFile(specifier, to);
    return placed === undefined ? [] : [[specifier, PLACED + placed]];
  }));
}

/** Where an address leads in the end. */
function redirected({ redirects }: Graph, specifier: string): string {
  let to = specifier;
  for (let left = 16; left > 0 && Object.hasOwn(redirects, to); left--) to = redirects[to]!;
  return to;
}

/** The names that CommonJS exports, with those that it passes on. */
function exportsOf(
  url: string,
  modules: ReadonlyMap<string, ImageModule>,
  seen = new Set<string>(),
): Set<string> {
  const names = new Set<string>();
  const module = modules.get(url);
  if (module?.format !== "commonjs" || seen.has(url) || seen.size > MAX_REEXPORTS) return names;
  seen.add(url);
  let found: ReturnType<typeof parse>;
  try {
    found = parse(module.source, url);
  } catch {
    // What cannot be read has its default export still.
    return names;
  }
  for (const name of found.exports) names.add(name);
  for (const specifier of found.reexports) {
    const to = module.imports[specifier];
    if (to !== undefined) { for (const name of exportsOf(to, modules, seen)) names.add(name); }
  }
  return names;
}

/** A module of JavaScript that is what an import of WebAssembly would be. */
function wasmModule(bytes: Uint8Array<ArrayBuffer>): string {
  const compiled = new WebAssembly.Module(bytes);
  const imported = [...new Set(WebAssembly.Module.imports(compiled).map(({ module }) => module))];
  const exported = WebAssembly.Module.exports(compiled).map(({ name }) => name);
  const text = JSON.stringify;
  return [
    ...imported.map((name, index) => `import * as import${index} from ${text(name)};`),
    `const bytes = ${spellBytes(bytes)};`,
    `const imports = { ${
      imported.map((name, index) => `${text(name)}: import${index}`).join(", ")
    } };`,
    "const { exports } = new WebAssembly.Instance(new WebAssembly.Module(bytes), imports);",
    // As the runtime has it: the value of a global, and all else as it is.
    "const valueOf = (it) => it instanceof WebAssembly.Global ? it.value : it;",
    ...exported.map((name, index) =>
      `const export${index} = valueOf(exports[${text(name)}]);\n` +
      `export { export${index} as ${text(name)} };`
    ),
  ].join("\n");
}

/** Where the runtime keeps what it compiled from a file, below a DENO_DIR. */
export function compiledPath(local: string, denoDir: string, remote: string): string {
  const name = local.startsWith(`${remote}/`) ? local.slice(remote.length + 1) : `file${local}`;
  return join(denoDir, "gen", `${name}.js`);
}
