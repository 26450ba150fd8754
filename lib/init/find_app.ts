/** Finds the module of a project that is the app: by what its scripts run, by its name, by what it does. */
import { join, normalize } from "node:path";
import * as z from "zod/mini";
import { DENO_FILES } from "../config/project_files.ts";
import { kindOf, MODULE, readJson, readSources, readText } from "./project_text.ts";

/** What was found. */
export interface FoundApp {
  /** The module, relative to the folder; nothing where no file looks like one, or several do. */
  readonly app: string | undefined;
  /** Why it is taken for the app. */
  readonly why: string;
  /** Those of which any may be the app, where none is taken. */
  readonly others: readonly string[];
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

/** Scripts that start a server, the likeliest first; each may go on, as `start:prod` does. */
const SCRIPTS = ["start", "serve", "server", "preview", "dev"];
const OTHER_SCRIPTS = /:(client|web|front\w*|test|debug|build|db|types?|css|style\w*)\b/;

/** Programs that run a module. */
const RUNNERS =
  /^(node|tsx|ts-node(-\w+)?|nodemon|bun|deno|vite-node|babel-node|swc-node|wrangler)$/;

/** What stands between such a program and its module. */
const ORDERS = ["run", "watch", "serve", "start", "dev", "exec"];

/** What answers requests does one of these. */
const SERVES =
  /\bexport\s+default\b|\bmodule\.exports\s*=|\.listen\(|\bserve\s*\(|\.start\(|createServer\(/;

/** Whether it is done in the module itself. */
const STARTS =
  /^\s*export\s+default\s+(app|server|\{)|\.listen\(|\bserve\s*\(|\bnew (Hono|Elysia)\b/m;

/** Finds it. */
export function findApp(folder: string): FoundApp {
  const found = byScript(folder) ?? byBuild(folder) ?? byName(folder) ?? byPackage(folder);
  if (found !== undefined) return { ...found, others: [] };
  const others = readSources(folder).filter(({ text }) => STARTS.test(text)).map(({ path }) =>
    path
  );
  const [only] = others;
  const isOne = others.length === 1;
  return { app: isOne ? only : undefined, why: "it starts a server", others: isOne ? [] : others };
}

type Taken = Omit<FoundApp, "others"> | undefined;

function byScript(folder: string): Taken {
  for (const [file, scripts] of scriptsOf(folder)) {
    for (const name of SCRIPTS) {
      const like = Object.keys(scripts).filter((each) =>
        each === name || each.startsWith(`${name}:`) && !OTHER_SCRIPTS.test(each)
      ).sort((a, b) => a.length - b.length);
      for (const each of like) {
        const app = moduleOf(folder, String(scripts[each] ?? ""));
        if (app !== undefined) return { app, why: `"${each}" of ${file} runs it` };
      }
    }
  }
  return undefined;
}

/** The module that a command runs: by its name, or as the program that runs it finds it. */
function moduleOf(folder: string, command: string): string | undefined {
  for (const part of command.split(/&&|\|\||[;|&]/)) {
    const words = part.trim().split(/\s+/).map((word) => word.replace(/^["']|["']$/g, ""));
    const spelled = words.find((word) => MODULE.test(word) && isFile(folder, word));
    if (spelled !== undefined) return normalize(spelled);
    const runner = words.findLastIndex((word) => RUNNERS.test(word));
    const named = runner < 0
      ? undefined
      : words.slice(runner + 1).find((word) =>
        /^[\w./@-]+$/.test(word) && !word.startsWith("-") && !ORDERS.includes(word)
      );
    const found = named && withEnding(folder, normalize(named).replace(/\/$/, ""));
    if (found) return found;
  }
  return undefined;
}

/** A module by a name without an ending, or by that of its folder. */
function withEnding(folder: string, name: string): string | undefined {
  return [name, join(name, "index")].flatMap((each) => ENDS.map((end) => `${each}.${end}`))
    .find((each) => isFile(folder, each));
}

function byBuild(folder: string): Taken {
  const app = BUILDS.find((each) => isFile(folder, each));
  return app === undefined ? undefined : { app, why: "it is what a build has made" };
}

function byName(folder: string): Taken {
  for (const place of ["", "src/", "server/", "app/"]) {
    const found = NAMES.flatMap((name) => withEnding(folder, place + name) ?? [])
      .filter((path) => NAMES.some((name) => path.startsWith(`${place}${name}.`)));
    const serving = found.find((path) => SERVES.test(readText(join(folder, path)) ?? ""));
    const app = serving ?? found[0];
    if (app !== undefined) return { app, why: "of its name" };
  }
  return undefined;
}

function byPackage(folder: string): Taken {
  const { main, module } = readJson(join(folder, "package.json"), PackageFile) ?? {};
  const app = [module, main].find((path) => path !== undefined && isFile(folder, path));
  return app === undefined ? undefined : { app: normalize(app), why: "package.json names it" };
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

function isFile(folder: string, path: string): boolean {
  return kindOf(join(folder, path)) === "file";
}
