/**
 * How a project that is not made for Deno imports its own files: as the tools of TypeScript and Bun do,
 * without an ending, by that of what is compiled, and by names of tsconfig.json. Deno takes that from
 * command-line options; a project with a deno.json says there what it wants.
 */
import { dirname, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";
import { parse } from "jsonc-parser";
import * as z from "zod/mini";
import { foldersAbove } from "../config/paths.ts";
import { DENO_FILES } from "../config/project_files.ts";
import { unlessAbsent } from "../config/real_place.ts";

/** How long a chain of `extends` may be. */
const MAX_EXTENDS = 16;

/** What is tried behind a name that stands for one file. */
const ENDINGS = ["", ".ts", ".tsx", ".mts", ".js", ".jsx", ".mjs", "/index.ts", "/index.js"];

const Settings = z.looseObject({
  extends: z.optional(z.union([z.string(), z.array(z.string())])),
  compilerOptions: z.optional(z.looseObject({
    baseUrl: z.optional(z.string()),
    paths: z.optional(z.record(z.string(), z.array(z.string()))),
  })),
});

/** The names that a project gives its own files, with absolute addresses. */
export interface TypeScriptImports {
  readonly imports: Readonly<Record<string, string>>;
  /** The file that has them. */
  readonly file: string;
  /** Whether the project resolves its imports as tools for Node do. */
  readonly isForNode: boolean;
}

function isForNode(project: string): boolean {
  if (foldersAbove(join(project, "x")).some((folder) => hasFile(folder, DENO_FILES))) return false;
  return hasFile(project, ["package.json", "tsconfig.json"]);
}

/** The names in `paths` of a project's tsconfig.json. */
export function typeScriptImports(project: string): TypeScriptImports {
  const file = join(project, "tsconfig.json");
  const { paths = {}, base } = readPaths(file);
  const imports = Object.entries(paths).flatMap(([name, targets]) => {
    const found = targets.map((target) => addressOf(name, resolve(base, target), target))
      .find((each) => each !== undefined);
    return found === undefined ? [] : [[name.replace(/\*$/, ""), found]];
  });
  return { imports: Object.fromEntries(imports), file, isForNode: isForNode(project) };
}

/** The address of a target of a name, if it is there and an import map can say so. */
function addressOf(name: string, path: string, target: string): string | undefined {
  const isFolder = (folder: string) =>
    unlessAbsent(() => Deno.statSync(folder)).isDirectory === true;
  if (name.includes("*")) {
    const folder = path.replace(/\/?\*$/, "");
    const fits = /.\/\*$/.test(name) && /(^|\/)\*$/.test(target) && isFolder(folder);
    return fits ? pathToFileURL(`${folder}/`).href : undefined;
  }
  const found = ENDINGS.map((ending) => path + ending).find(isFile);
  return found && pathToFileURL(found).href;
}

/** The `paths` that count, and the folder that they are relative to. */
function readPaths(
  file: string,
  depth = 0,
): { paths?: Readonly<Record<string, readonly string[]>> | undefined; base: string } {
  const { extends: bases = [], compilerOptions: { paths, baseUrl } = {} } = readSettings(file);
  const base = resolve(dirname(file), baseUrl ?? ".");
  if (paths !== undefined || depth >= MAX_EXTENDS) return { paths, base };
  const found = [bases].flat().filter((each) => /^\.{0,2}\//.test(each)).reverse()
    .map((each) => resolve(dirname(file), each))
    .map((path) => readPaths(isFile(path) ? path : `${path}.json`, depth + 1))
    .find((each) => each.paths !== undefined);
  return found === undefined ? { base } : { ...found, base: baseUrl ? base : found.base };
}

function readSettings(file: string): z.infer<typeof Settings> {
  try {
    const text = Deno.readTextFileSync(file);
    return Settings.safeParse(parse(text, [], { allowTrailingComma: true })).data ?? {};
  } catch {
    return {};
  }
}

function hasFile(folder: string, names: readonly string[]): boolean {
  return names.some((name) => isFile(join(folder, name)));
}

function isFile(path: string): boolean {
  return unlessAbsent(() => Deno.statSync(path)).isFile === true;
}
