/** What must be known and cached before a worker can be spawned; `deno` itself finds it out. */
import { basename, join } from "node:path";
import { fileURLToPath } from "node:url";
import * as z from "zod";
import { HoldfastError } from "../base/error.ts";
import { escapeStranger } from "../base/escape.ts";
import { checkConfig, type CheckFacts } from "../config/check.ts";
import type { Account, AppPlace, Config } from "../config/config.ts";
import { realPlace } from "../config/real_place.ts";
import { ConfigError } from "../config/problem.ts";

/** Holdfast's own folder. */
export const HOLDFAST_FOLDER = fileURLToPath(new URL("../..", import.meta.url)).replace(/\/$/, "");

/** Holdfast's own programs, relative to its folder. */
export const WORKER_ENTRY = "worker.ts";
export const HELPER_ENTRY = "lib/helper/main.ts";
export const LOGGER_ENTRY = "lib/logger/main.ts";
export const METRICS_ENTRY = "lib/metrics/main.ts";

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
    error: z.string().nullish(),
    /** What its text says. */
    dependencies: z.array(z.object({ specifier: z.string() })).prefault([]),
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
  return await runProgram(Deno.execPath(), args, options);
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
  return text.trim().split("\n").map((line) => escapeStranger(line)).join("\n")
    .slice(0, MAX_COMPLAINT);
}

/** Where Deno keeps its caches. */
export async function findDenoDir(): Promise<string> {
  return Facts.parse(JSON.parse(await runDeno(["info", "--json"], { cwd: HOLDFAST_FOLDER })))
    .denoDir;
}

/** The packages' code, and what Deno knows of it; as opposed to what programs store in DENO_DIR. */
const CACHES = /^(npm|remote|gen|\w+_cache_v\d+(-shm|-wal)?)$/;

/** Finds what of DENO_DIR a worker's runtime reads. */
export function findCaches(denoDir: string): string[] {
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
  const prebuilt = await readPrebuilt(entry);
  if (prebuilt !== undefined) return prebuilt;
  // A folder of its own: nothing can lie in it from before.
  const place = await Deno.makeTempDir({ dir: folder });
  const output = join(place, "program.js");
  try {
    const flags = ["--quiet", "--platform=deno", "--external=holdfast:app", `--output=${output}`];
    await runDeno(["bundle", ...flags, join(HOLDFAST_FOLDER, entry)], {
      cwd: HOLDFAST_FOLDER,
    });
    return await Deno.readTextFile(output);
  } catch (error) {
    throw new HoldfastError(`Cannot bundle ${entry}: ${(error as Error).message}`, {
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

/** Bundles Holdfast's own part of a worker. */
export function bundleWorker({ runtime }: Config): Promise<string> {
  return bundle(runtime, WORKER_ENTRY);
}

/** Bundles Holdfast's own part of a helper. */
export function bundleHelper({ runtime }: Config): Promise<string> {
  return bundle(runtime, HELPER_ENTRY);
}

/** Bundles Holdfast's own logger. */
export function bundleLogger({ runtime }: Config): Promise<string> {
  return bundle(runtime, LOGGER_ENTRY);
}

/** Bundles Holdfast's own metrics process. */
export function bundleMetrics({ runtime }: Config): Promise<string> {
  return bundle(runtime, METRICS_ENTRY);
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
  signal?: AbortSignal,
): Promise<Modules> {
  const [app, ...helpers] = await Promise.all([
    prepareModule("the app's modules", config.app, signal),
    ...config.helpers.map(({ name, app }) =>
      prepareModule(`the modules of the helper ${name}`, app, signal)
    ),
  ]);
  const modules = {
    app: app!,
    helpers: Object.fromEntries(config.helpers.map(({ name }, index) => [name, helpers[index]!])),
  };
  requireGoodConfig(config, { denoDir, modules: allModules(modules), holdfast: HOLDFAST_FOLDER });
  return modules;
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
  const problems = checkConfig(config, { ...facts, denoProgram: Deno.execPath() });
  if (problems.length > 0) throw new ConfigError(config.file, problems);
}

/** Caches one graph; gives its local files. */
async function prepareModule(
  what: string,
  place: AppPlace,
  signal?: AbortSignal,
): Promise<string[]> {
  const graph = await loadGraph(what, place, signal);
  return graph.modules.flatMap(({ local }) => local ?? []);
}

/**
 * Caches a module graph and looks at it.
 *
 * @param what whose graph it is, for the message
 * @throws {HoldfastError} if a module is missing or broken
 */
export async function loadGraph(
  what: string,
  { module, project, lockfile }: AppPlace,
  signal?: AbortSignal,
): Promise<Graph> {
  const lock = lockfile === undefined ? "--no-lock" : "--frozen";
  try {
    await runDeno(["cache", "--quiet", lock, module], { cwd: project, signal });
    const graph = Graph.parse(
      JSON.parse(await runDeno(["info", "--json", lock, module], { cwd: project, signal })),
    );
    const broken = graph.modules.find((each) => each.error);
    if (broken) throw new Error(escapeLines(broken.error!));
    return graph;
  } catch (error) {
    signal?.throwIfAborted();
    throw new HoldfastError(`Cannot load ${what}: ${(error as Error).message}`, {
      kind: "config",
      code: "modules_failed",
      hint: lockfile === undefined
        ? `Try: cd ${project} && deno cache ${module}`
        : `Try: cd ${project} && deno cache ${module}; it brings ${lockfile} up to date`,
      cause: error,
    });
  }
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
  const flags = ["--quiet", "--no-prompt", "--no-config", "--no-lock", `--allow-write=${path}`];
  const source = `data:application/javascript,${encodeURIComponent(program)}`;
  await runDeno(["run", ...flags, source], options);
}

async function isFolder(path: string): Promise<boolean> {
  return await Deno.stat(path).then(({ isDirectory }) => isDirectory, () => false);
}
