/** What must be known and cached before a worker can be spawned; `deno` itself finds it out. */
import { basename, dirname, join, relative } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import * as z from "zod";
import { HoldfastError } from "../base/error.ts";
import { escapeUntrusted } from "../base/escape.ts";
import { checkConfig, type CheckFacts } from "../config/check.ts";
import { covers } from "../config/paths.ts";
import type { Account, AppPlace, Config } from "../config/config.ts";
import { realPlace, unlessAbsent } from "../config/real_place.ts";
import { ConfigError } from "../config/problem.ts";
import { denoProgram } from "./deno_program.ts";
import type { CodeCache } from "./code_cache.ts";

/** Holdfast's own folder. */
export const HOLDFAST_FOLDER = fileURLToPath(new URL("../..", import.meta.url)).replace(/\/$/, "");

/** Holdfast's own programs, relative to its folder. */
export const WORKER_ENTRY = "worker.ts";
export const HELPER_ENTRY = "lib/helper/main.ts";
export const LOGGER_ENTRY = "lib/logger/main.ts";
export const METRICS_ENTRY = "lib/metrics/main.ts";
export const SPAWNER_ENTRY = "lib/supervisor/spawner_thread.ts";

/** What Deno compiles before it runs it, in the words of `deno info`. */
const COMPILED_TYPES = ["TypeScript", "Mts", "Cts", "JSX", "TSX"];

/** How much of the names of files one argument of a process holds, encoded as it is. */
const MAX_SAMPLE_LENGTH = 32 * 1024;

/** Runs a program of a few lines: nothing of the project's has a part in it. */
const BARE = ["run", "--quiet", "--no-prompt", "--no-config", "--no-lock"];
const inline = (program: string) => `data:application/javascript,${encodeURIComponent(program)}`;

/** How long `deno` may take to fetch and compile what the cache lacks. */
export const PREPARE_DEADLINE_MS = 120_000;

/** How much of what `deno` says is repeated. */
const MAX_COMPLAINT = 2_000;

const Facts = z.object({ denoDir: z.string() });
/** What is read here of what `deno info --json` says of a module graph. */
const Graph = z.object({
  modules: z.array(z.object({
    specifier: z.string(),
    local: z.string().nullish(),
    /** What its text says. */
    dependencies: z.array(z.object({ specifier: z.string() })).prefault([]),
    mediaType: z.string().nullish(),
  })),
  npmPackages: z.record(z.string(), z.object({ localPath: z.string().nullish() })).prefault({}),
});
export type Graph = z.infer<typeof Graph>;

interface RunOptions {
  readonly cwd: string;
  readonly signal?: AbortSignal | undefined;
  readonly account?: Account | undefined;
  /** Another cache than this user's, without this user's settings. */
  readonly denoDir?: string;
  /** Variables beside these. */
  readonly env?: Readonly<Record<string, string>>;
}

/** Runs this deno program, and gives what it printed. */
export async function runDeno(args: string[], options: RunOptions): Promise<string> {
  return await runProgram(denoProgram(), args, options);
}

/** Runs a program, and gives what it printed. */
export async function runProgram(
  program: string,
  args: string[],
  { cwd, signal, account, denoDir, env }: RunOptions,
): Promise<string> {
  const deadline = AbortSignal.timeout(PREPARE_DEADLINE_MS);
  const command = new Deno.Command(program, {
    args,
    cwd,
    env: {
      NO_COLOR: "1",
      DENO_NO_UPDATE_CHECK: "1",
      ...denoDir !== undefined && { DENO_DIR: denoDir },
      ...env,
    },
    clearEnv: denoDir !== undefined,
    ...account && { uid: account.uid, gid: account.gid },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    // Out of the terminal's reach: a Ctrl-C would end it before the supervisor hears of the signal,
    // and look like modules that do not load. The supervisor ends it by `signal`. Only spawn()
    // heeds this, output() alone does not (seen with Deno 2.9.6).
    detached: true,
    signal: signal ? AbortSignal.any([signal, deadline]) : deadline,
  });
  const { success, stdout, stderr } = await command.spawn().output();
  signal?.throwIfAborted();
  if (success) return new TextDecoder().decode(stdout);
  throw new Error(
    deadline.aborted
      ? `${basename(program)} ${args[0] ?? ""} took longer than ${PREPARE_DEADLINE_MS} ms`
      : escapeLines(new TextDecoder().decode(stderr)),
  );
}

function escapeLines(text: string): string {
  return text.trim().split("\n").map((line) => escapeUntrusted(line)).join("\n")
    .slice(0, MAX_COMPLAINT);
}

/** Where Deno keeps its caches. */
export async function findDenoDir(): Promise<string> {
  return Facts.parse(JSON.parse(await runDeno(["info", "--json"], { cwd: HOLDFAST_FOLDER })))
    .denoDir;
}

/** The packages' code, and what Deno knows of it; as opposed to what programs store in DENO_DIR. */
const CACHES = /^(npm|remote|gen|\w+_cache_v\d+(-shm|-wal)?)$/;

/** Finds what of DENO_DIR a worker's runtime reads; nothing where somebody has removed it. */
export function findCaches(denoDir: string): string[] {
  if (unlessAbsent(() => Deno.statSync(denoDir)).isDirectory !== true) return [];
  const names = Array.from(Deno.readDirSync(denoDir), ({ name }) => name);
  return names.filter((name) => CACHES.test(name)).sort().map((name) => join(denoDir, name));
}

/**
 * Bundles a program of Holdfast's own into one text, so that it needs no import map: in a worker the
 * app's is in force.
 *
 * @param folder where the text may lie while it is made
 * @param entry relative to {@link HOLDFAST_FOLDER}
 */
export async function bundle(folder: string, entry: string): Promise<string> {
  return (await bundleAll(folder, [entry]))[0]!;
}

/** The same for several, in one go. */
async function bundleAll(folder: string, entries: readonly string[]): Promise<string[]> {
  const prebuilt = await Promise.all(entries.map((entry) => readPrebuilt(entry)));
  const known = prebuilt.filter((text) => text !== undefined);
  if (known.length === entries.length) return known;
  // A folder of its own: nothing can lie in it from before.
  const place = await Deno.makeTempDir({ dir: folder });
  try {
    // Where each text comes to lie depends on the folder that all of them are in.
    const root = entries.map(dirname).reduce((above, each) => covers(above, each) ? above : ".");
    const flags = ["--quiet", "--platform=deno", "--external=holdfast:app", `--outdir=${place}`];
    const urls = entries.map((each) => pathToFileURL(join(HOLDFAST_FOLDER, each)).href);
    await runDeno(["bundle", ...flags, ...urls], {
      cwd: HOLDFAST_FOLDER,
    });
    const texts = entries.map((entry) =>
      prebuiltPath(join(place, relative(root, dirname(entry))), basename(entry))
    );
    return await Promise.all(texts.map((path) => Deno.readTextFile(path)));
  } catch (error) {
    const message = `Cannot bundle ${entries.join(", ")}: ${(error as Error).message}`;
    throw new HoldfastError(message, {
      kind: "environment",
      code: "bundle_failed",
      hint: "The first start needs the npm registry, for the bundler that Deno brings",
      cause: error,
    });
  } finally {
    await Deno.remove(place, { recursive: true }).catch(() => {});
  }
}

/** Where a program's text lies that was bundled beforehand, as in an executable's image. */
export function prebuiltPath(holdfast: string, entry: string): string {
  return join(holdfast, entry.replace(/\.ts$/, ".js"));
}

/** The text of a program that was bundled beforehand; a source tree has none. */
export async function readPrebuilt(
  entry: string,
  holdfast: string = HOLDFAST_FOLDER,
): Promise<string | undefined> {
  try {
    return await Deno.readTextFile(prebuiltPath(holdfast, entry));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** Holdfast's own part of each process, and of a spawner thread that comes from no file. */
export interface OwnPrograms {
  readonly worker: string;
  readonly helper: string;
  readonly logger: string;
  readonly metrics: string;
  readonly spawner?: string;
}

/**
 * Takes all of Holdfast's own programs into memory: whatever becomes of its folder, what runs stays
 * what was started until an upgrade.
 *
 * @param folder where they may lie while they are made
 */
export async function loadPrograms(folder: string): Promise<OwnPrograms> {
  const entries = [WORKER_ENTRY, HELPER_ENTRY, LOGGER_ENTRY, METRICS_ENTRY, SPAWNER_ENTRY];
  const [worker, helper, logger, metrics, spawner] = await bundleAll(folder, entries);
  return {
    worker: worker!,
    helper: helper!,
    logger: logger!,
    metrics: metrics!,
    spawner: spawner!,
  };
}

/** The local files of the module graphs of a config. */
export interface Modules {
  readonly app: readonly string[];
  /** By the names of the helpers. */
  readonly helpers: Readonly<Record<string, readonly string[]>>;
}

/** All files of all graphs. */
export function allModules({ app, helpers }: Modules): string[] {
  return [...new Set([...app, ...Object.values(helpers).flat()])];
}

export interface PrepareOptions {
  readonly signal?: AbortSignal;
  /** Makes what the compiled code goes to, if that is not the shared DENO_DIR. */
  readonly openCache?: (() => CodeCache) | undefined;
  /** The runtime folder in use, where it is not the config's own. */
  readonly runtime?: string;
}

/**
 * Caches the module graphs of the app and the helpers, so that none of them needs a registry, and
 * checks the config against them: nothing that a worker or a helper can write may come back to life
 * at the next reload.
 *
 * @throws {HoldfastError} if a module is missing or broken, or if the config is refused
 */
export async function prepareApp(
  config: Config,
  denoDir: string,
  { signal, openCache, runtime }: PrepareOptions = {},
): Promise<Modules> {
  const entries = [
    { what: "the app's modules", place: config.app },
    ...config.helpers.map(({ name, app }) => ({
      what: `the modules of the helper ${name}`,
      place: app,
    })),
  ];
  const graphs = await Promise.all(
    entries.map(({ what, place }) => readGraph(what, place, signal)),
  );
  const [app, ...helpers] = graphs.map(({ modules }) =>
    modules.flatMap(({ local }) => local ?? [])
  );
  const modules = {
    app: app!,
    helpers: Object.fromEntries(config.helpers.map(({ name }, index) => [name, helpers[index]!])),
  };
  requireGoodConfig(config, {
    ...{ denoDir, modules: allModules(modules), holdfast: HOLDFAST_FOLDER },
    ...runtime !== undefined && { runtime },
  });
  const sources = [...new Set(graphs.flatMap(sourcesOf))];
  if (openCache && await lacksPackages(graphs, denoDir)) {
    // They would go to the generation's folder, and with it.
    await Promise.all(entries.map(({ what, place }) => cacheGraph(what, place, signal)));
  }
  const cache = openCache?.();
  cache?.seed(sources);
  await Promise.all([
    ...entries.map(({ what, place }) => cacheGraph(what, place, signal, cache?.denoDir)),
    cache && requireReadable(config, [cache.denoDir, ...samplePaths(graphs)], signal),
  ]);
  cache?.finish(sources);
  return modules;
}

/** Whether a DENO_DIR has no folder yet for the packages of these graphs. */
async function lacksPackages(graphs: readonly Graph[], denoDir: string): Promise<boolean> {
  const any = graphs.some(({ npmPackages }) => Object.keys(npmPackages).length > 0);
  return any && !await isFolder(join(denoDir, "npm"));
}

/** The modules of a graph that Deno compiles; it runs others as they are. */
function sourcesOf({ modules }: Graph): string[] {
  return modules.flatMap(({ local, mediaType }) =>
    local && COMPILED_TYPES.includes(mediaType ?? "") ? local : []
  );
}

/**
 * Checks a config against what must stay out of reach.
 *
 * @throws {ConfigError} with every problem
 */
export function requireGoodConfig(
  config: Config,
  facts: Omit<CheckFacts, "denoProgram">,
): void {
  const problems = checkConfig(config, { ...facts, denoProgram: denoProgram() });
  if (problems.length > 0) throw new ConfigError(config.file, problems);
}

/**
 * Caches a module graph and looks at it.
 *
 * @param what whose graph it is, for the message
 * @throws {HoldfastError} if a module is missing or broken
 */
export async function loadGraph(
  what: string,
  place: AppPlace,
  signal?: AbortSignal,
): Promise<Graph> {
  await cacheGraph(what, place, signal);
  return await readGraph(what, place, signal);
}

/** Looks at a module graph. That a module is missing is told, if it is missed, by {@link cacheGraph}. */
async function readGraph(what: string, place: AppPlace, signal?: AbortSignal): Promise<Graph> {
  return Graph.parse(JSON.parse(await runOnGraph(["info", "--json"], what, place, { signal })));
}

/**
 * Has Deno fetch and compile a module graph. What is imported for its types alone, or by an
 * `import()` that may fail, may be missing: Deno knows.
 */
async function cacheGraph(
  what: string,
  place: AppPlace,
  signal?: AbortSignal,
  denoDir?: string,
): Promise<void> {
  const env = denoDir === undefined ? {} : { DENO_DIR: denoDir };
  await runOnGraph(["cache", "--quiet"], what, place, { signal, env });
}

/** Runs a command of `deno` on the module graph of a place. */
async function runOnGraph(
  command: readonly string[],
  what: string,
  { module, project, lockfile }: AppPlace,
  options: Pick<RunOptions, "signal" | "env">,
): Promise<string> {
  const lock = lockfile === undefined ? "--no-lock" : "--frozen";
  // A path would be read as a part of a URL, in which some characters mean something else.
  const url = pathToFileURL(module).href;
  try {
    return await runDeno([...command, lock, url], { cwd: project, ...options });
  } catch (error) {
    options.signal?.throwIfAborted();
    const plain = new URL(url).pathname === module ? module : url;
    const again = `cd ${quoteWord(project)} && deno cache ${quoteWord(plain)}`;
    throw new HoldfastError(`Cannot load ${what}: ${(error as Error).message}`, {
      kind: "config",
      code: "modules_failed",
      hint: lockfile === undefined
        ? `Try: ${again}`
        : `Try: ${again} --frozen=false; it brings ${lockfile} up to date`,
      cause: error,
    });
  }
}

/** A word of a shell's command line. */
function quoteWord(word: string): string {
  return /^[\w/.:%@+=-]+$/.test(word) ? word : `'${word.replaceAll("'", `'\\''`)}'`;
}

/**
 * Sees to it that the workers' account can read the code, by asking as that account.
 *
 * @throws {HoldfastError} that names what it cannot read
 */
async function requireReadable(
  { account, file, runtime }: Config,
  paths: readonly string[],
  signal?: AbortSignal,
): Promise<void> {
  if (account === undefined) return;
  const program = `for (const path of ${JSON.stringify(paths)}) {
    try {
      Deno.openSync(path).close();
    } catch (error) {
      if (!(error instanceof Deno.errors.PermissionDenied)) continue;
      Deno.stdout.writeSync(new TextEncoder().encode(path));
      break;
    }
  }`;
  // An account that cannot run Deno is told so when the worker is spawned.
  const unreadable = await runDeno([...BARE, "--allow-read", inline(program)], {
    ...{ cwd: "/", account, signal },
  }).catch(() => "");
  if (unreadable === "") return;
  throw new HoldfastError(
    `The user ${account.user} (uid ${account.uid}) cannot read ${unreadable}, which it is to run`,
    {
      kind: "config",
      code: "code_unreadable",
      hint: covers(runtime, unreadable)
        ? `Set runtime in ${file} to a folder that this user may enter, such as /run/holdfast`
        : "Let this user read it and enter the folders above it. Where that is Deno's cache: set " +
          "DENO_DIR, in the environment of Holdfast, to a folder such as /var/cache/deno",
    },
  );
}

/** What a process of the workers' account can be asked for in one argument. */
function samplePaths(graphs: readonly Graph[]): string[] {
  const paths = graphs.flatMap(({ modules, npmPackages }) => [
    ...modules.flatMap(({ local }) => local ?? []),
    ...Object.values(npmPackages).flatMap(({ localPath }) => localPath ?? []),
  ]);
  let length = 0;
  return [...new Set(paths)].filter((path) => (length += path.length) < MAX_SAMPLE_LENGTH);
}

/**
 * Makes the folders that the config grants with `c` and that are not there yet, as the user that the
 * workers run as and with no right but that: the supervisor itself writes nothing there.
 *
 * @throws {HoldfastError} if one cannot be made
 */
export async function makeFolders(config: Config, make = makeFolder): Promise<void> {
  const { account, file } = config;
  const unveils = [config, ...config.helpers].flatMap(({ unveil }) => unveil);
  const missing = unveils.filter(({ exists, folder }) => !exists && folder);
  const wanted = missing.map(({ path }) => ({ path, account, why: 'unveils it with "c"' }));
  // The logger runs as the supervisor does: the workers' user is nobody to the log files.
  if (config.log.folder !== undefined && !await isFolder(config.log.folder)) {
    wanted.push({ path: config.log.folder, account: undefined, why: "keeps the log there" });
  }
  for (const { path: named, account, why } of wanted) {
    // Where a link leads to what is not there, that is what is made.
    const path = realPlace(named);
    try {
      await make(path, { cwd: config.folder, account });
    } catch (error) {
      // Another one made it meanwhile, such as a reload that was given up.
      if (await isFolder(path)) continue;
      throw new HoldfastError(`Cannot make the folder ${path}: ${(error as Error).message}`, {
        kind: "environment",
        code: "folder_failed",
        hint: hintOfFolder(path, account, error as Error, `${file} ${why}`),
        cause: error,
      });
    }
  }
}

function hintOfFolder(
  path: string,
  account: Account | undefined,
  { message }: Error,
  why: string,
): string {
  if (account === undefined) return `Try: mkdir -p '${path}', as this user; ${why}`;
  const { user, gid } = account;
  if (message.includes("Failed to spawn")) {
    return `${user} is to run this deno program: put it where everybody may enter, such as ` +
      "/usr/local/bin";
  }
  return `Try: install -d -m 0700 -o ${user} -g ${gid} '${path}'; ${why}`;
}

/** Makes one folder, by a process that may do nothing else. */
async function makeFolder(path: string, options: Pick<RunOptions, "cwd" | "account">) {
  const program = `try {
    Deno.mkdirSync(${JSON.stringify(path)}, { mode: 0o700 });
  } catch ({ message }) {
    Deno.stderr.writeSync(new TextEncoder().encode(message));
    Deno.exit(1);
  }`;
  await runDeno([...BARE, `--allow-write=${path}`, inline(program)], options);
}

async function isFolder(path: string): Promise<boolean> {
  return await Deno.stat(path).then(({ isDirectory }) => isDirectory, () => false);
}
