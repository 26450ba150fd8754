/** The whole audit: every attempt in every mode, in the place of every process of a project's real config. */
import { join } from "node:path";
import type { Compartment, Config } from "../config/config.ts";
import { keepDescriptors } from "../os/descriptor.ts";
import { landlockAbi } from "../os/landlock.ts";
import type { Wall } from "../sandbox/wall.ts";
import { bundle, findCaches, HOLDFAST_FOLDER } from "../supervisor/prepare.ts";
import { realSystem, type System } from "../supervisor/system.ts";
import { requireWall } from "../supervisor/require_wall.ts";
import type { Area, Attempt, Kind } from "./attempt.ts";
import { ATTEMPTS } from "./attempts/catalogue.ts";
import { Auditor } from "./auditor.ts";
import { type CastFacts, castOf, type Place, placesOf, requestOf, wallOf } from "./cast.ts";
import { type Mode, MODES } from "./mode.ts";
import { type RealPlaces, Scene } from "./scene.ts";
import type { Result } from "./verdict.ts";

/** How many scenes are played at once: an attempt is mostly a wait for what comes of it. */
const STAGES = 4;

/**
 * What is tried in a helper's place in the modes that take a layer away, besides everything in the
 * way in which it ships: the areas in which a helper's layers differ from the worker's. All others
 * are the same program behind the same rules, which the worker's four modes have shown.
 */
const OF_A_HELPER: readonly Area[] = ["network", "helper"];

export interface AuditOptions {
  readonly configFile: string;
  /** Also what uses up the machine. */
  readonly stress?: boolean;
  /** What the config is loaded with. */
  readonly system?: Pick<System, "loadConfig" | "findDenoDir" | "prepareApp">;
  /** Which attempts; the default is all. */
  readonly attempts?: readonly Attempt[];
  /** Which modes; the default is all, and for helpers the selection of {@linkcode OF_A_HELPER}. */
  readonly modes?: readonly Mode[];
  /** Which of them in which place; the default is all in each. */
  readonly chosen?: (attempt: Attempt, place: Place) => boolean;
  /** In whose places; the default is everybody's. */
  readonly places?: readonly Place[];
  /** Told of each result as it comes. */
  readonly onResult?: (result: Result) => void;
  /** Changes the wall before it is built, for tests of the audit itself. */
  readonly alterWall?: (wall: Wall) => Wall;
  /** Changes the arguments of the suspects, for tests of the audit itself. */
  readonly alterArguments?: (args: string[]) => string[];
}

/** What is contained by both layers shows as much in the way in which it ships. */
function isOfAHelper({ area, deno, kernel }: Attempt): boolean {
  return OF_A_HELPER.includes(area) && (deno !== "contained" || kernel !== "contained");
}

/** One place in one mode. */
interface Act {
  readonly place: Place;
  readonly mode: Mode;
  readonly attempts: readonly Attempt[];
}

/** What all acts have in common. */
interface Setting {
  readonly options: AuditOptions;
  readonly real: Config;
  readonly denoDir: string;
  readonly abi: number;
  readonly castFacts: CastFacts;
  readonly sources: Readonly<Record<Kind, string>>;
}

/**
 * Runs it.
 *
 * @throws {HoldfastError} if the config is refused, or the machine lacks the kernel's wall
 */
export async function audit(options: AuditOptions): Promise<Result[]> {
  const { system = realSystem } = options;
  keepDescriptors();
  const real = await system.loadConfig(options.configFile);
  const denoDir = await system.findDenoDir(real);
  const [modules, sources] = await Promise.all([
    system.prepareApp(real, denoDir),
    bundleSuspects(),
  ]);
  const abi = landlockAbi();
  requireWall(abi);
  const castFacts = {
    modules,
    logger: join(HOLDFAST_FOLDER, "lib/logger/main.ts"),
    hasLogFolder: real.log.folder !== undefined && await isThere(real.log.folder),
  };
  const setting = { options, real, denoDir, abi, castFacts, sources };
  const acts = plan(options, placesOf(real));
  const results: Result[][] = acts.map(() => []);
  const left = [...acts.keys()];
  await Promise.all(Array.from({ length: STAGES }, async () => {
    for (let next = left.shift(); next !== undefined; next = left.shift()) {
      results[next] = await play(acts[next]!, setting);
    }
  }));
  return results.flat();
}

/** What is tried where. The longest acts come first, so that none is left to be waited for at the end. */
function plan(
  { attempts = ATTEMPTS, chosen = () => true, modes, places }: AuditOptions,
  all: readonly Place[],
): Act[] {
  const acts = (places ?? all).flatMap((place) =>
    (modes ?? MODES).map((mode): Act => {
      const selected = place === "worker" || modes !== undefined || mode.name === "both"
        ? attempts
        : attempts.filter(isOfAHelper);
      return { place, mode, attempts: selected.filter((attempt) => chosen(attempt, place)) };
    })
  );
  return acts.toSorted((a, b) => b.attempts.length - a.attempts.length);
}

async function play(
  { place, mode, attempts }: Act,
  { options, real, denoDir, abi, castFacts, sources }: Setting,
): Promise<Result[]> {
  await using scene = await Scene.set(real.account);
  const cast = castOf(real, place, scene, castFacts);
  const facts = {
    ...{ arch: Deno.build.arch, abi, denoProgram: Deno.execPath() },
    caches: findCaches(denoDir),
    forbidden: scene.path("outside/secret.txt"),
  };
  const { alterWall = same, alterArguments = same, stress = false, onResult } = options;
  const dialling = wallOf(cast.suspect, facts);
  const wall = alterWall(dialling);
  const request = requestOf(cast.suspect, mode, { denoDir, sources });
  const altered = { ...request, args: alterArguments([...request.args]) };
  await using auditor = await Auditor.open({
    ...{ place, mode, cast, scene, dialling, stress },
    places: realPlaces(real, cast.suspect.compartment, denoDir),
    wallOf: (part) => part === cast.suspect ? wall : wallOf(part, facts),
    requestOf: (part) =>
      part === cast.suspect ? altered : requestOf(part, mode, { denoDir, sources }),
  });
  const results: Result[] = [];
  for (const attempt of attempts) {
    const result = await auditor.make(attempt);
    results.push(result);
    onResult?.(result);
  }
  return results;
}

async function isThere(path: string): Promise<boolean> {
  try {
    await Deno.lstat(path);
    return true;
  } catch {
    return false;
  }
}

function same<T>(value: T): T {
  return value;
}

async function bundleSuspects(): Promise<Record<Kind, string>> {
  const folder = await Deno.makeTempDir({ prefix: "holdfast_audit_" });
  try {
    const [worker, helper] = await Promise.all([
      bundle(folder, "lib/audit/suspect_worker.ts"),
      bundle(folder, "lib/audit/suspect_helper.ts"),
    ]);
    return { worker, helper, logger: helper };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

function realPlaces(config: Config, { app }: Compartment, denoDir: string): RealPlaces {
  return {
    configFile: config.file,
    module: app.module,
    project: app.project,
    denoDir,
    denoProgram: Deno.execPath(),
    runtime: config.runtime,
  };
}
