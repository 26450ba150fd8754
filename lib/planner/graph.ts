/** Module graphs, as `deno` finds and compiles them. */
import { pathToFileURL } from "node:url";
import * as z from "zod/mini";
import { HoldfastError } from "../base/error.ts";
import type { AppPlace } from "../config/config.ts";
import { runProgram } from "./deno.ts";
import { hintOn, withoutAdvice } from "./module_errors.ts";

/** Where an import is, counted from 0. */
const Span = z.object({ start: z.object({ line: z.number(), character: z.number() }) });

const GraphModule = z.object({
  specifier: z.string(),
  kind: z.optional(z.string()),
  local: z.nullish(z.string()),
  mediaType: z.nullish(z.string()),
  /** Why it is none. */
  error: z.optional(z.string()),
  /** What its text says. */
  dependencies: z._default(
    z.array(z.object({
      specifier: z.string(),
      /** What it resolves to, where it is not imported for its types alone. */
      code: z.optional(z.object({ specifier: z.optional(z.string()), span: z.optional(Span) })),
      isDynamic: z.optional(z.boolean()),
      /** The `type` of its import attributes. */
      assertionType: z.nullish(z.string()),
    })),
    [],
  ),
});
export type GraphModule = z.infer<typeof GraphModule>;

/** A package of npm in a graph. */
const GraphPackage = z.object({
  name: z.string(),
  version: z.string(),
  /** Where it lies. */
  localPath: z.nullish(z.string()),
});
export type GraphPackage = z.infer<typeof GraphPackage>;

/** What is read here of what `deno info --json` says. */
const Graph = z.object({
  modules: z.array(GraphModule),
  redirects: z._default(z.record(z.string(), z.string()), {}),
  npmPackages: z._default(z.record(z.string(), GraphPackage), {}),
});
export type Graph = z.infer<typeof Graph>;

export interface GraphOptions {
  /** Whose graph it is, for the messages. */
  readonly what: string;
  readonly place: AppPlace;
  /** The lock file of its project, if it has one. */
  readonly lockfile: string | undefined;
  /** The deno program by a name that may be run: this one's own name may be another, through a link. */
  readonly program: string;
  /** The folder of Holdfast's own code. */
  readonly holdfast?: string;
  readonly signal?: AbortSignal | undefined;
  /** Another DENO_DIR than that of the user. */
  readonly denoDir?: string;
  /** A lock file that takes the place of the project's; it is written where the project has none. */
  readonly lock?: string;
  /** How imports resolve, where that is not as Deno does by itself: options of both commands. */
  readonly resolution?: readonly string[];
  /** The names of own files in tsconfig.json. */
  readonly aliases?: Readonly<Record<string, string>>;
  /** Whether nothing can be fetched: then both commands run at once. */
  readonly offline?: boolean;
}

/**
 * Has `deno` fetch and compile a module graph, and looks at it. What is imported for its types alone,
 * or by an `import()` that may fail, may be missing: `deno cache` knows, and `deno info` does not.
 *
 * @throws {HoldfastError} if a module is missing or broken
 */
export async function loadGraph(options: GraphOptions): Promise<Graph> {
  const caching = runOnGraph(["cache", "--quiet"], options);
  if (!options.offline) await caching;
  const looking = runOnGraph(["info", "--json"], options);
  // What one of them fails by is thrown when the other one writes no more.
  await Promise.allSettled([caching, looking]);
  await caching;
  const graph = Graph.parse(JSON.parse(await looking));
  requireCode(graph, options);
  return graph;
}

/** The local files of a graph. */
export function filesOf({ modules }: Graph): string[] {
  return modules.flatMap(({ local }) => local ?? []);
}

/** Runs a command of `deno` on the module graph of a place. */
async function runOnGraph(
  command: readonly string[],
  options: GraphOptions,
): Promise<string> {
  const { what, place: { module, project }, lockfile, signal, denoDir, lock, program } = options;
  const { resolution = [] } = options;
  const locks = [
    ...lock !== undefined ? [`--lock=${lock}`] : lockfile === undefined ? ["--no-lock"] : [],
    ...lockfile === undefined ? [] : ["--frozen"],
  ];
  // A path would be read as a part of a URL, in which some characters mean something else.
  const url = pathToFileURL(module).href;
  const env = denoDir === undefined ? {} : { DENO_DIR: denoDir };
  try {
    return await runProgram(program, [...command, ...resolution, ...locks, url], {
      // A planner's programs cannot leave its process group, and need not.
      ...{ cwd: project, signal, env, detached: false },
    });
  } catch (error) {
    signal?.throwIfAborted();
    const said = (error as Error).message;
    if (/too many open files/i.test(said)) {
      throw new HoldfastError(`Cannot look at ${what}: ${said}`, {
        kind: "environment",
        code: "too_many_files",
        hint:
          "Raise the limit of open files that Holdfast is started with (ulimit -n, LimitNOFILE=)",
        cause: error,
      });
    }
    throw modulesFailed(said, options, error);
  }
}

/** The error of modules that do not load, by what Deno says. */
function modulesFailed(
  said: string,
  { what, place: { module, project }, lockfile, lock, holdfast, aliases }: GraphOptions,
  cause?: unknown,
): HoldfastError {
  const url = pathToFileURL(module).href;
  const plain = new URL(url).pathname === module ? module : url;
  const own = lock === undefined || lockfile === undefined ? said : said.replaceAll(lock, lockfile);
  return new HoldfastError(`Cannot load ${what}: ${withoutAdvice(own)}`, {
    kind: "config",
    code: "modules_failed",
    hint: hintOn(own, {
      ...{ folder: quoteWord(project), module: quoteWord(plain), lockfile, aliases },
      ...holdfast !== undefined && { holdfast },
    }),
    cause,
  });
}

/**
 * Finds what is imported as code and is none: `deno cache` says nothing of it, and a worker finds it at its
 * start. Only what static imports lead to ends that.
 *
 * @throws {HoldfastError} for the first
 */
function requireCode({ modules, redirects }: Graph, options: GraphOptions): void {
  const found = new Map(modules.map((each) => [each.specifier, each]));
  const seen = new Set<string>();
  const left = [pathToFileURL(options.place.module).href];
  for (let url = left.pop(); url !== undefined; url = left.pop()) {
    if (seen.has(url)) continue;
    seen.add(url);
    for (const { code, isDynamic, assertionType } of found.get(url)?.dependencies ?? []) {
      if (code?.specifier === undefined || isDynamic || assertionType) continue;
      const wanted = redirects[code.specifier] ?? code.specifier;
      const error = schemeError(wanted) ?? found.get(wanted)?.error;
      if (error && NO_CODE.test(error)) {
        const { line, character } = code.span?.start ?? { line: 0, character: 0 };
        const at = `\n    at ${url}:${line + 1}:${character + 1}`;
        throw modulesFailed(`${error}${at}`, options);
      }
      left.push(wanted);
    }
  }
}

/** What Deno says of a file that is imported as code and is another thing. */
const NO_CODE = /^(Expected a JavaScript or TypeScript module|Unsupported scheme)/;

/** Where code comes from. */
const SCHEMES = ["file", "npm", "jsr", "node", "http", "https", "data", "blob"];

/** What a worker would say of an address of another runtime, such as `bun:sqlite`. */
function schemeError(url: string): string | undefined {
  const [, scheme] = /^([a-z][\w+.-]*):/.exec(url) ?? [];
  if (scheme === undefined || SCHEMES.includes(scheme)) return undefined;
  return `Unsupported scheme "${scheme}" for module "${url}"`;
}

/** A word of a shell's command line. */
function quoteWord(word: string): string {
  return /^[\w/.:%@+=-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}
