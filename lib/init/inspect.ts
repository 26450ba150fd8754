/** Looks at an existing project: where its app is, and what it reads, writes and asks for. */
import { existsSync, lstatSync, readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { parse } from "jsonc-parser";
import * as z from "zod/mini";
import { DENO_FILES } from "../config/project_files.ts";

/** What was found of a project, and what a config for it would say. */
export interface Found {
  /** Its module, relative to the folder; nothing where no file looks like one. */
  readonly app: string | undefined;
  /** Why it is taken for the app. */
  readonly why: string;
  readonly port: number;
  /** Folders that are there, with the rights that their names ask for. */
  readonly unveil: Readonly<Record<string, "r" | "rwc">>;
  /** Variables that the code reads. */
  readonly env: readonly string[];
  /** An env file that is there. */
  readonly envFile: string | undefined;
}

const PackageFile = z.looseObject({
  main: z.optional(z.string()),
  module: z.optional(z.string()),
  scripts: z.optional(z.record(z.string(), z.unknown())),
});
const DenoFile = z.looseObject({ tasks: z.optional(z.record(z.string(), z.unknown())) });

/** What a build of a framework starts with. */
const BUILDS = [
  ...["build/index.js", "dist/server/entry.mjs", ".output/server/index.mjs"],
  ...["build/server/index.js", "dist/index.js", "dist/main.js", "dist/server.js"],
];

const NAMES = ["main", "server", "app", "index", "mod"];
const ENDS = ["ts", "tsx", "mts", "js", "jsx", "mjs", "cjs"];

/** Scripts that start a server, the likeliest first. */
const SCRIPTS = ["start", "serve", "preview", "dev"];

/** A word of a script that is a module. */
const MODULE = /^[\w./@-]+\.[cm]?[jt]sx?$/;

const DATA_FOLDERS = ["data", "uploads", "storage", "db"];
const READ_FOLDERS = ["public", "static", "assets", "views", "templates", "locales"];
const ENV_FILES = [".env"];

/** So many files of a project are looked at, of this many bytes at the most. */
const MAX_FILES = 500;
const MAX_BYTES = 256 * 1024;
const SKIPPED = ["node_modules", "dist", "build", "coverage", "test", "tests", "__tests__"];

/** How code names variables of the environment. */
const VARIABLES = [
  /\bprocess\.env\.([A-Za-z_]\w*)/g,
  /\bprocess\.env\[["']([A-Za-z_]\w*)["']\]/g,
  /\bDeno\.env\.get\(["']([A-Za-z_]\w*)["']\)/g,
  /\bBun\.env\.([A-Za-z_]\w*)/g,
];

/** Given by the config or by Holdfast itself. */
const OWN_VARIABLES = ["PORT", "HOST", "HOSTNAME", "NODE_ENV", "TMPDIR", "PATH", "HOME", "npm_"];

const DEFAULT_PORT = 8000;

/** Looks at a project, without running anything of it. */
export function inspect(folder: string): Found {
  const sources = [...listSources(folder)];
  const { app, why } = findApp(folder);
  const texts = sources.map((path) => readText(path) ?? "");
  return {
    ...{ app, why },
    port: texts.map(portOf).find((port) => port !== undefined) ?? DEFAULT_PORT,
    unveil: {
      ...ofFolders(folder, READ_FOLDERS, "r"),
      ...ofFolders(folder, DATA_FOLDERS, "rwc"),
    },
    env: [...new Set(texts.flatMap(variablesOf))].sort(),
    envFile: ENV_FILES.find((name) => existsSync(join(folder, name))),
  };
}

function ofFolders<Rights>(folder: string, names: readonly string[], rights: Rights) {
  const found = names.filter((name) => isFolder(join(folder, name)));
  return Object.fromEntries(found.map((name) => [`./${name}/`, rights]));
}

function findApp(folder: string): { app: string | undefined; why: string } {
  const isModule = (path: string) => existsSync(join(folder, path));
  for (const [file, scripts] of scriptsOf(folder)) {
    for (const name of SCRIPTS) {
      const app = String(scripts[name] ?? "").split(/\s+/).map((word) => word.replace(/^\.\//, ""))
        .find((word) => MODULE.test(word) && isModule(word));
      if (app !== undefined) return { app, why: `"${name}" of ${file} runs it` };
    }
  }
  const build = BUILDS.find(isModule);
  if (build !== undefined) return { app: build, why: "it is what a build has made" };
  for (const place of ["", "src/", "server/", "app/"]) {
    for (const name of NAMES) {
      const app = ENDS.map((end) => `${place}${name}.${end}`).find(isModule);
      if (app !== undefined) return { app, why: "of its name" };
    }
  }
  const { main, module } = readJson(join(folder, "package.json"), PackageFile) ?? {};
  const named = [module, main].find((path) => path !== undefined && isModule(path));
  return { app: named?.replace(/^\.\//, ""), why: "package.json names it" };
}

function* scriptsOf(folder: string): Generator<[string, Record<string, unknown>]> {
  for (const name of DENO_FILES) {
    const tasks = readJson(join(folder, name), DenoFile)?.tasks ?? {};
    const commands = Object.entries(tasks).map(([task, value]) => [
      task,
      typeof value === "string" ? value : (value as { command?: unknown } | null)?.command,
    ]);
    yield [name, Object.fromEntries(commands)];
  }
  yield ["package.json", readJson(join(folder, "package.json"), PackageFile)?.scripts ?? {}];
}

function readJson<Value>(path: string, schema: z.ZodMiniType<Value>): Value | undefined {
  const text = readText(path);
  if (text === undefined) return undefined;
  return schema.safeParse(parse(text, [], { allowTrailingComma: true })).data;
}

function readText(path: string): string | undefined {
  try {
    const { size } = lstatSync(path);
    return size > MAX_BYTES ? undefined : readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}

function isFolder(path: string): boolean {
  try {
    return lstatSync(path).isDirectory();
  } catch {
    return false;
  }
}

/** The modules of a project, without what was installed, built or is for tests. */
function* listSources(folder: string): Generator<string> {
  const folders = [folder];
  let left = MAX_FILES;
  for (let place = folders.shift(); place !== undefined; place = folders.shift()) {
    for (const entry of readdirSync(place, { withFileTypes: true })) {
      if (entry.name.startsWith(".") || SKIPPED.includes(entry.name)) continue;
      const path = join(place, entry.name);
      if (entry.isDirectory()) folders.push(path);
      else if (MODULE.test(entry.name) && !/[._]test\./.test(entry.name) && left-- > 0) yield path;
      if (left <= 0) return;
    }
  }
}

function variablesOf(text: string): string[] {
  return VARIABLES.flatMap((pattern) => [...text.matchAll(pattern)].map(([, name]) => name!))
    .filter((name) => !OWN_VARIABLES.some((own) => name === own || name.startsWith("npm_")));
}

/** The port that code falls back to, or listens on. */
function portOf(text: string): number | undefined {
  const found = /\bport\s*[:=]\s*(\d{2,5})\b/i.exec(text) ??
    /\bPORT["')\]]*\s*(?:\|\||\?\?)\s*["']?(\d{2,5})\b/.exec(text) ??
    /\.listen\(\s*(\d{2,5})\b/.exec(text);
  const port = Number(found?.[1]);
  return port >= 1024 && port <= 65_535 ? port : undefined;
}

/** The name of a path as a config in a folder spells it. */
export function spell(folder: string, path: string): string {
  return `./${relative(folder, join(folder, path))}`;
}
