/**
 * What CommonJS requires of the project's own files, by Node's rules: without an ending, and by the name of
 * a folder. A module graph has only what is spelled out.
 */
import { initSync, parse as parseModule } from "es-module-lexer";
import { join, resolve } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { parse as parseJson } from "jsonc-parser";
import { foldersAbove } from "../config/paths.ts";
import { unlessAbsent } from "../config/real_place.ts";
import type { Graph } from "./graph.ts";

/** By the URL of each module of CommonJS: what its specifiers of own files lead to. */
export type Required = ReadonlyMap<string, Readonly<Record<string, string>>>;

/** Always CommonJS; others are where the package.json above says so. */
const COMMONJS_TYPES = ["Cjs", "Cts"];

/** What a settings file may make CommonJS. */
const SCRIPT_TYPES = ["JavaScript", "TypeScript", "JSX", "TSX"];

/** What is tried behind a name, in this order. */
const ENDINGS = ["", ".js", ".json", ".cjs"];

/** A word of CommonJS, where no package.json says what a file is. */
const COMMONJS_WORDS = /\brequire\s*\(|\bmodule\.exports\b|\bexports\.[\w$]+\s*=/;

/** Finds it for the modules of a graph, and for what these require. */
export function findRequired({ modules }: Graph): Required {
  initSync();
  const found = new Map<string, Record<string, string>>();
  const queue = modules.flatMap(({ specifier, local, mediaType }) =>
    local && mediaType && specifier.startsWith("file:") && isCommonJs(local, mediaType)
      ? [specifier]
      : []
  );
  for (let url = queue.pop(); url !== undefined; url = queue.pop()) {
    if (found.has(url)) continue;
    const path = fileURLToPath(url);
    const targets = requiresOf(Deno.readTextFileSync(path)).flatMap((specifier) => {
      const target = findFile(resolve(path, "..", specifier));
      return target === undefined ? [] : [[specifier, pathToFileURL(target).href] as const];
    });
    found.set(url, Object.fromEntries(targets));
    queue.push(...targets.map(([, target]) => target).filter(isRequired));
  }
  return found;
}

/** Whether a file of the project is CommonJS. */
export function isCommonJs(local: string, mediaType: string): boolean {
  if (COMMONJS_TYPES.includes(mediaType)) return true;
  if (!SCRIPT_TYPES.includes(mediaType)) return false;
  for (const folder of foldersAbove(local)) {
    let text: string;
    try {
      text = Deno.readTextFileSync(join(folder, "package.json"));
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) return false;
      continue;
    }
    const { type } = (parseJson(text) ?? {}) as { type?: unknown };
    // As Node has it: what says nothing is CommonJS, unless it is written as an ES module.
    return type === "commonjs" ||
      type === undefined && mediaType === "JavaScript" && isWrittenAsCommonJs(local);
  }
  return false;
}

function isWrittenAsCommonJs(local: string): boolean {
  const source = Deno.readTextFileSync(local);
  if (!COMMONJS_WORDS.test(source)) return false;
  try {
    const [, , , hasModuleSyntax] = parseModule(source);
    return !hasModuleSyntax;
  } catch {
    return true;
  }
}

/** The names of own files that a text requires. A comment may name one too: what is not there is no harm. */
function requiresOf(source: string): string[] {
  const names = source.matchAll(
    /\brequire(?:\.resolve)?\s*\(\s*(["'`])(\.{1,2}(?:\/[^"'`$\n]*)?)\1\s*\)/g,
  );
  return [...new Set([...names].map(([, , name]) => name!))];
}

function findFile(path: string): string | undefined {
  const inFolder = () => {
    if (unlessAbsent(() => Deno.statSync(path)).isDirectory !== true) return undefined;
    return firstFile([mainOf(path), join(path, "index")].filter((each) => each !== undefined));
  };
  return path.endsWith("/") ? inFolder() : firstFile([path]) ?? inFolder();
}

function firstFile(paths: readonly string[]): string | undefined {
  return paths.flatMap((path) => ENDINGS.map((ending) => path + ending))
    .find((each) => unlessAbsent(() => Deno.statSync(each)).isFile === true);
}

function mainOf(folder: string): string | undefined {
  try {
    const { main } = JSON.parse(Deno.readTextFileSync(join(folder, "package.json")));
    return typeof main === "string" ? join(folder, main) : undefined;
  } catch {
    return undefined;
  }
}

/** Whether it is CommonJS that the image is to have. */
function isRequired(url: string): boolean {
  if (url.includes("/node_modules/")) return false;
  if (url.endsWith(".cjs")) return true;
  return url.endsWith(".js") && isCommonJs(fileURLToPath(url), "JavaScript");
}

/** The files that are in no graph. */
export function requiredFiles(required: Required, { modules }: Graph): string[] {
  const known = new Set(modules.filter(({ local }) => local).map(({ specifier }) => specifier));
  const named = [...required].flatMap(([url, targets]) => [url, ...Object.values(targets)]);
  return [...new Set(named)].filter((url) =>
    !known.has(url) && !url.includes("/node_modules/") &&
    (required.has(url) || url.endsWith(".json"))
  ).map((url) => fileURLToPath(url));
}
