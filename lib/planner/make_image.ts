/**
 * Makes the image of a generation: looks at the module graphs, checks the config against them, and
 * writes everything that the processes run into a folder, from which they are started as long as the
 * generation lives, whatever becomes of the project's files.
 */
import { dirname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { parse } from "jsonc-parser";
import { checkConfig, type CheckFacts } from "../config/check.ts";
import { type CheckSystem, thisMachine } from "../config/check_system.ts";
import type { AppPlace, Config } from "../config/config.ts";
import { ConfigError } from "../config/problem.ts";
import { unveiledSecrets } from "../config/system_paths.ts";
import { DENO_FILES } from "../config/project_files.ts";
import { projectsOf, settingsOf } from "../config/project.ts";
import { unlessAbsent } from "../config/real_place.ts";
import { digestOf, imageFolders, sha256 } from "../protocol/image.ts";
import { IMAGE_KEY } from "../protocol/module_image.ts";
import type { Answer, Plan, PlannedProcess } from "../protocol/plan.ts";
import { programData } from "../protocol/program_data.ts";
import { filesOf, type Graph, loadGraph } from "./graph.ts";
import { compiledPath, isPackageFile, makeModuleImage, StaleError } from "./module_images.ts";
import { filesOfEnvironment, readNamed, requireKnownOrigins } from "./known_origins.ts";
import { checkTls, type TlsFacts } from "./check_tls.ts";
import { checkModes, lookAhead, type ModeWarning } from "./strict_modes.ts";
import { copyPackages, findPackages, makeFolder, type PackageSet } from "./packages.ts";
import { findRequired, type Required, requiredFiles } from "./required.ts";
import type { PlanPlaces } from "./request.ts";
import { type TypeScriptImports, typeScriptImports } from "./typescript_imports.ts";

/** How often files are looked at again that are replaced meanwhile, as a deployment does. */
const MAX_LOOKS = 3;

/** By how much the time of a change may lie behind: the kernel takes that of its last tick. */
const CLOCK_TICK_MS = 10;

/**
 * Of the settings of the runtime, `unstable` holds for a program and is taken over. With this one a
 * request's signal aborts when its client is gone, and not after every answer.
 */
const UNSTABLE = "no-legacy-abort";

/** What an operator is told of, and keeps nothing from running. */
export type Warning = Extract<Answer, { readonly plan: Plan }>["warnings"][number];

/** What is planned, and where. */
export interface ImageRequest extends PlanPlaces {
  readonly config: Config;
  /**
   * Which packages of a node_modules folder that no module imports are part of the image: all that the
   * project's package.json lists, which is the default, or those whose names the modules have in them.
   */
  readonly unimported?: "listed" | "named";
  /** Whether it is only looked at: no package is copied, and no file of the image written. */
  readonly examine?: boolean;
}

/** An image that was made. */
export interface MadeImage {
  readonly plan: Plan;
  readonly warnings: Warning[];
  /** The texts of its files, by their paths in it. */
  readonly files: ReadonlyMap<string, string>;
}

/** One module that is started, with all that it needs. */
interface Entry {
  /** What its folder in the image is called. */
  readonly name: string;
  readonly what: string;
  readonly place: AppPlace;
}

/**
 * Makes it, in `staging/image`; packages that are not there yet come to lie in `staging/packages`.
 *
 * @throws {HoldfastError} if a module is missing or broken, or if the config is refused
 */
export async function makeImage(
  request: ImageRequest,
  signal?: AbortSignal,
): Promise<MadeImage> {
  const { config, staging, compiled, denoDir, facts } = request;
  const [worker, ...helpers] = imageFolders(config);
  const entries: Entry[] = [
    { name: worker!, what: "the app's modules", place: config.app },
    ...config.helpers.map(({ name, app: place }, index) => ({
      ...{ name: helpers[index]!, place },
      what: `the modules of the helper ${name}`,
    })),
  ];
  for (let left = MAX_LOOKS - 1;; left--) {
    const startMs = Date.now();
    const offline = request.network === "none";
    const projects = projectsOf(config);
    const imports = entries.map(({ place }) => typeScriptImports(place.project));
    const finding = allDone(entries.map(async ({ name, what, place }, index) => {
      const { lockfile } = projects[index]!;
      const lock = join(staging, `${name}.lock`);
      if (lockfile !== undefined) await Deno.copyFile(lockfile, lock);
      const { denoProgram: program, holdfast } = facts;
      const resolved = resolutionOf(imports[index]!, staging, name);
      const own = { what, place, lockfile, lock, holdfast, ...resolved };
      return await loadGraph({ ...own, signal, denoDir: compiled, program, offline });
    }));
    // Meanwhile deno works, and this process would wait for it.
    const [graphs, machine] = await Promise.all([finding, lookAtMachine(facts)]);
    const required = graphs.map(findRequired);
    const files = [
      ...new Set(graphs.flatMap((graph, index) => [
        ...filesOf(graph),
        ...requiredFiles(required[index]!, graph),
      ])),
    ];
    const before = stampFiles(files);
    // What deno has compiled and what it says of the imports may be of two states of such a file.
    const isOld = !wasChanged(files, startMs - CLOCK_TICK_MS);
    const locks = entries.map(({ name }) => readLock(join(staging, `${name}.lock`)));
    const packages = await Promise.all(
      entries.map(({ place }, index) => {
        const graph = graphs[index]!;
        const isWanted = request.unimported === "named" ? namedIn(graph) : () => true;
        return findPackages(graph, place.project, locks[index]!.integrities, isWanted);
      }),
    );
    const settings = [...settingsOf(projects), ...filesOfEnvironment()];
    const known: CheckFacts = {
      ...facts,
      ...{ denoDir, settings, modules: files },
      packages: [...new Set(packages.flatMap(({ copied }) => copied.map(({ from }) => from)))],
    };
    const modes = checkModes(config, known, machine.modes);
    const problems = [...checkConfig(config, known, machine.check), ...modes.problems];
    if (problems.length > 0) throw new ConfigError(config.file, problems);
    // Those of a build are where it is to run.
    const tls = request.unimported === "named" ? [] : await checkTls(config);
    for (const [index, graph] of graphs.entries()) {
      const named = readNamed(graph, projects[index]!.settings);
      requireKnownOrigins(graph, named);
    }
    const parts = entries.map((entry, index) => ({
      ...entry,
      ...{ graph: graphs[index]!, lock: locks[index]!, found: packages[index]! },
      ...{ required: required[index]!, imports: imports[index]! },
    }));
    const isLast = left === 0;
    const made = await writeImage(parts, request).catch(async (error) => {
      // A file that was written while it was compiled is compiled again.
      if (!(error instanceof StaleError)) throw error;
      if (!isLast) return;
      await requireRoom(staging, error.bytes);
      throw error;
    });
    if (made && (isLast || isOld && stampFiles(files) === before)) {
      const warnings = [
        ...warningsOf(config, modes.warnings, machine.check, tls),
        ...entries.flatMap((_, index) => aliasWarnings(imports[index]!, graphs[index]!)),
      ];
      return { ...made, warnings };
    }
    await Deno.remove(join(staging, "image"), { recursive: true }).catch(() => {});
  }
}

/**
 * Writes so many bytes and removes them: Deno keeps nothing on a full disk, and does not say so.
 *
 * @throws {Error} with what the disk says
 */
async function requireRoom(folder: string, bytes: number): Promise<void> {
  const probe = join(folder, "room");
  try {
    await Deno.writeFile(probe, new Uint8Array(bytes));
  } finally {
    await Deno.remove(probe).catch(() => {});
  }
}

/** What is asked of the machine. */
export async function lookAtMachine(facts: Pick<CheckFacts, "holdfast">) {
  // After what was begun before.
  await Deno.stat(facts.holdfast);
  return { check: thisMachine(), modes: lookAhead(facts) };
}

/** A certificate that ends within this time was not renewed when it should have been. */
const RENEWAL_MS = 14 * 24 * 3_600_000;

/** What an operator is told of a config. */
export function warningsOf(
  config: Config,
  modes: readonly ModeWarning[],
  system: CheckSystem,
  tls: readonly TlsFacts[],
): Warning[] {
  return [
    ...tls.flatMap(({ cert, notAfter }): Warning[] => {
      if (notAfter.getTime() - Date.now() > RENEWAL_MS) return [];
      const hint = `It ends at ${notAfter.toISOString()}: renew it, and reload`;
      return [{ event: "certificate_ends", path: cert, hint }];
    }),
    ...modes.map((each): Warning => ({ event: "path_open_to_others", ...each })),
    ...unveiledSecrets(config, system).map((path): Warning => ({
      ...{ event: "secret_unveiled", path },
      hint: "An app that was taken over gives it away: leave it out, unless that is its job",
    })),
  ];
}

/** An entry, and what was found of it. */
interface Part extends Entry {
  readonly graph: Graph;
  readonly lock: Lock;
  readonly found: PackageSet;
  readonly required: Required;
  readonly imports: TypeScriptImports;
}

async function writeImage(
  parts: readonly Part[],
  { staging, compiled, denoDir, images, remake = [], examine = false }: ImageRequest,
): Promise<Pick<MadeImage, "plan" | "files">> {
  const remote = join(denoDir, "remote");
  const files = new Map<string, string>();
  const sources = new Map<string, string>();
  const processes: PlannedProcess[] = [];
  for (const { name, place, graph, lock, found, required, imports } of parts) {
    const { id: packages, layout, project, placedFile } = found;
    const isKept = isThere(join(images, "packages", packages)) && !remake.includes(packages);
    if (packages !== "" && !isKept && !examine) {
      const folder = join(staging, "packages", packages);
      if (!isThere(folder)) copyPackages(found, folder);
    }
    processes.push({ packages, layout, project });
    const { unstable, aliases } = readSettings(place, imports);
    const image = makeModuleImage({
      ...{ graph, aliases, placedFile, required },
      root: place.module,
      compiledOf: (local) => Deno.readTextFileSync(compiledPath(local, compiled, remote)),
    });
    for (const [url, { source }] of Object.entries(image.modules)) sources.set(url, source);
    for (const { name, version } of Object.values(graph.npmPackages)) {
      sources.set(`npm:${name}`, version);
    }
    // A workspace of nothing: or Deno looks for one in the folders above.
    const nodeModulesDir = layout === "cache" ? "none" : "manual";
    files.set(`${name}/image.js`, programData(IMAGE_KEY, image));
    files.set(`${name}/deno.json`, JSON.stringify({ unstable, nodeModulesDir, workspace: [] }));
    files.set(`${name}/deno.lock`, lock.text);
  }
  // For who removes packages that nothing uses.
  const used = [...new Set(processes.map(({ packages }) => packages))].sort();
  files.set("packages", used.join("\n"));
  // For who asks what has changed since another image.
  files.set("modules", await listModules(sources));
  const digest = await digestOf(files);
  if (!examine && !isThere(join(images, digest))) writeFiles(files, join(staging, "image"));
  return { plan: { digest, processes }, files };
}

/** Writes files by their paths in a folder, open for whoever is to run them. */
export function writeFiles(files: ReadonlyMap<string, string>, folder: string): void {
  for (const [path, text] of files) {
    const place = join(folder, path);
    makeFolder(dirname(place));
    Deno.writeTextFileSync(place, text);
    Deno.chmodSync(place, 0o644);
  }
}

/** A line for each module and package of an image, with a digest of what it is. */
export async function listModules(sources: ReadonlyMap<string, string>): Promise<string> {
  const lines = [...sources].sort(([a], [b]) => a < b ? -1 : 1)
    .map(async ([url, source]) => `${await sha256(source)} ${url}`);
  return (await Promise.all(lines)).join("\n");
}

/** Tells whether the local modules of a graph have the name of a package in them, as in a require(). */
function namedIn(graph: Graph): (name: string) => boolean {
  const texts = filesOf(graph).filter((local) => !isPackageFile(local))
    .map((local) => Deno.readTextFileSync(local));
  return (name) =>
    texts.some((text) =>
      ["'", '"', "`"].some((quote) => [quote, "/"].some((end) => text.includes(quote + name + end)))
    );
}

function isThere(path: string): boolean {
  return unlessAbsent(() => Deno.lstatSync(path)).isDirectory === true;
}

/** A lock file as the image keeps it: with the packages of npm, and nothing of the project. */
interface Lock {
  readonly text: string;
  readonly integrities: ReadonlyMap<string, string>;
}

function readLock(path: string): Lock {
  const nothing = { text: JSON.stringify({ version: "5" }), integrities: new Map() };
  let lock: Record<string, unknown>;
  try {
    lock = JSON.parse(Deno.readTextFileSync(path));
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return nothing;
    throw error;
  }
  const { version, specifiers = {}, npm = {} } = lock as {
    version: unknown;
    specifiers?: Record<string, string>;
    npm?: Record<string, { integrity?: string }>;
  };
  const own = Object.entries(specifiers).filter(([name]) => name.startsWith("npm:"));
  const integrities = Object.entries(npm).flatMap(([id, { integrity }]) =>
    integrity === undefined ? [] : [[id, integrity] as const]
  );
  return {
    text: JSON.stringify({ version, specifiers: Object.fromEntries(own), npm }),
    integrities: new Map(integrities),
  };
}

/** Of several, all: where one fails, when none of the others writes any more. */
async function allDone<Value>(running: readonly Promise<Value>[]): Promise<Value[]> {
  await Promise.allSettled(running);
  return await Promise.all(running);
}

/** How the imports of an entry resolve: an import map of its own lies in the staging folder. */
function resolutionOf({ imports, isForNode }: TypeScriptImports, staging: string, name: string) {
  if (!isForNode) return { aliases: imports };
  const sloppy = "--unstable-sloppy-imports";
  if (Object.keys(imports).length === 0) return { resolution: [sloppy] };
  const map = join(staging, `${name}.imports.json`);
  Deno.writeTextFileSync(map, JSON.stringify({ imports }));
  return { resolution: [sloppy, `--import-map=${map}`] };
}

/** What an operator is told of names that `deno run` would not know. */
function aliasWarnings(
  { imports, file: path, isForNode }: TypeScriptImports,
  graph: Graph,
): Warning[] {
  if (!isForNode) return [];
  const isUsed = (alias: string) =>
    graph.modules.some(({ dependencies }) =>
      dependencies.some(({ specifier }) =>
        specifier === alias || alias.endsWith("/") && specifier.startsWith(alias)
      )
    );
  const used = Object.keys(imports).filter(isUsed);
  if (used.length === 0) return [];
  const hint =
    `Imports of ${used.join(", ")} are resolved by "paths" of it, which deno run does not ` +
    'read: "imports" of deno.json or package.json say the same to both';
  return [{ event: "tsconfig_paths", path, hint }];
}

/** The settings of a project that hold when it runs; what resolves in another way is in the image. */
function readSettings(
  { project }: AppPlace,
  own: TypeScriptImports,
): { unstable: unknown[]; aliases: Record<string, string> } {
  for (const name of DENO_FILES) {
    let settings: Record<string, unknown>;
    try {
      settings = parse(Deno.readTextFileSync(join(project, name))) ?? {};
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) continue;
      throw error;
    }
    const unstable = Array.isArray(settings["unstable"]) ? settings["unstable"] : [];
    const imports = Object.entries(settings["imports"] ?? {});
    const base = pathToFileURL(`${project}/`);
    const absolute = (address: string) =>
      /^\.{0,2}\//.test(address) ? new URL(address, base).href : address;
    return {
      unstable: [...new Set([...unstable, UNSTABLE])],
      aliases: Object.fromEntries(
        imports.flatMap(([alias, address]) =>
          typeof address === "string" ? [[absolute(alias), absolute(address)]] : []
        ),
      ),
    };
  }
  return { unstable: [UNSTABLE], aliases: own.isForNode ? { ...own.imports } : {} };
}

/** A text that changes when any of the files is replaced, changed or removed. */
function stampFiles(paths: readonly string[]): string {
  return paths.map((path) => {
    const { dev, ino, mtime, size } = unlessAbsent(() => Deno.statSync(path));
    return `${dev}:${ino}:${mtime?.getTime()}:${size}`;
  }).join(" ");
}

/** Whether any of the files was changed since then, as far as its clock says. */
function wasChanged(paths: readonly string[], sinceMs: number): boolean {
  return paths.some((path) => {
    const { ctime } = unlessAbsent(() => Deno.statSync(path));
    return (ctime?.getTime() ?? 0) >= sinceMs;
  });
}

/**
 * Checks a config against what must stay out of reach.
 *
 * @throws {ConfigError} with every problem
 */
export function requireGoodConfig(config: Config, facts: CheckFacts, system?: CheckSystem): void {
  const problems = checkConfig(config, facts, system);
  if (problems.length > 0) throw new ConfigError(config.file, problems);
}
