/** The whole audit: every attempt in every mode, against every process of a project's real config. */
import { join } from "node:path";
import type { Compartment, Config } from "../config/config.ts";
import { warnOfOldName } from "../config/old_name.ts";
import { resolveText } from "../config/resolve.ts";
import { closeAllOnExec } from "../os/descriptor.ts";
import { landlockAbi } from "../os/landlock.ts";
import { socketsOf } from "../sandbox/dialling.ts";
import type { Wall } from "../sandbox/wall.ts";
import { planCode } from "../planner/plan_code.ts";
import { findDenoDir } from "../supervisor/image_store.ts";
import { bundle } from "../planner/bundle.ts";
import { HOLDFAST_FOLDER } from "../planner/programs.ts";
import { knownConfig } from "../supervisor/read_config.ts";
import { realSystem, type System } from "../supervisor/system.ts";
import { requireWall } from "../supervisor/require_wall.ts";
import type { Area, Attempt, Kind } from "./attempt.ts";
import { ATTEMPTS } from "./attempts/catalogue.ts";
import { Auditor } from "./auditor.ts";
import { requestOf, type SetupFacts, setupFor, type Target, targetsOf, wallOf } from "./setup.ts";
import { type Mode, MODES } from "./mode.ts";
import { Fixture, type RealPaths } from "./fixture.ts";
import { quickRuns } from "./quick.ts";
import type { Result } from "./verdict.ts";

/** How many runs go side by side: an attempt mostly waits for its outcome. */
const MAX_PARALLEL_RUNS = 4;

/**
 * What is tried against a helper in the modes that take a layer away, besides everything in the
 * way in which it ships: the areas in which a helper's layers differ from the worker's. All others
 * are the same program behind the same rules, which the worker's four modes have shown.
 */
const OF_A_HELPER: readonly Area[] = ["network", "helper"];

export interface AuditOptions {
  readonly configFile: string;
  /** Also the attempts that use up the machine. */
  readonly stress?: boolean;
  /** What the config is loaded with. */
  readonly system?: Pick<System, "readConfig" | "planCode">;
  /** Which attempts; the default is all. */
  readonly attempts?: readonly Attempt[];
  /** Which modes; the default is all, and for helpers the selection of {@linkcode OF_A_HELPER}. */
  readonly modes?: readonly Mode[];
  /** Which attempts against which target; the default is all against each. */
  readonly chosen?: (attempt: Attempt, target: Target) => boolean;
  /** Which targets; the default is all that the config has. */
  readonly targets?: readonly Target[];
  /** Only at least one attempt of each kind. */
  readonly quick?: boolean;
  /** Called with the number of attempts, before the first. */
  readonly onPlan?: (attempts: number) => void;
  /** Called with each result as it comes. */
  readonly onResult?: (result: Result) => void;
  /** Changes the subject's wall before it is built, for tests of the audit itself. */
  readonly alterWall?: (wall: Wall) => Wall;
  /** Changes the subject's arguments, for tests of the audit itself. */
  readonly alterArguments?: (args: string[]) => string[];
}

/** What is contained by both layers shows as much in the way in which it ships. */
function isOfAHelper({ area, deno, kernel }: Attempt): boolean {
  return OF_A_HELPER.includes(area) && (deno !== "contained" || kernel !== "contained");
}

/** One target in one mode. */
interface Run {
  readonly target: Target;
  readonly mode: Mode;
  readonly attempts: readonly Attempt[];
}

/** What all runs have in common. */
interface RunContext {
  readonly options: AuditOptions;
  readonly real: Config;
  readonly denoDir: string;
  readonly abi: number;
  readonly setupFacts: SetupFacts;
  readonly sources: Readonly<Record<Kind, string>>;
}

/**
 * Runs it.
 *
 * @throws {HoldfastError} if the config is refused, or the machine lacks the kernel's wall
 */
export async function audit(options: AuditOptions): Promise<Result[]> {
  const { system = realSystem } = options;
  closeAllOnExec();
  const read = await system.readConfig(options.configFile);
  const real = "config" in read ? read.config : await resolveText({ ...read, warn: warnOfOldName });
  const denoDir = findDenoDir();
  const folder = await Deno.realPath(await Deno.makeTempDir({ prefix: "holdfast_audit_" }));
  // Subjects with an account are to read what they run.
  await Deno.chmod(folder, 0o711);
  await using files = new AsyncDisposableStack();
  files.defer(() => Deno.remove(folder, { recursive: true }));
  const images = join(folder, "images");
  const [{ code }, sources] = await Promise.all([
    system.planCode(knownConfig(real), (packed) => planCode(real, { images, packed })),
    bundleSubjects(),
  ]);
  const abi = landlockAbi();
  requireWall(abi);
  const setupFacts = {
    code,
    program: (process: string) => join(HOLDFAST_FOLDER, "lib", process, "main.ts"),
    hasLogFolder: real.log.folder !== undefined && await isThere(real.log.folder),
  };
  const context = { options, real, denoDir, abi, setupFacts, sources };
  const runs = plan(options, targetsOf(real));
  options.onPlan?.(runs.reduce((sum, { attempts }) => sum + attempts.length, 0));
  const results: Result[][] = runs.map(() => []);
  const left = [...runs.keys()];
  await Promise.all(Array.from({ length: MAX_PARALLEL_RUNS }, async () => {
    for (let next = left.shift(); next !== undefined; next = left.shift()) {
      results[next] = await execute(runs[next]!, context);
    }
  }));
  return results.flat();
}

/** The runs, the longest first, so that none is left to be waited for at the end. */
function plan(
  { attempts = ATTEMPTS, chosen = () => true, modes, targets, quick }: AuditOptions,
  all: readonly Target[],
): Run[] {
  if (quick) return quickRuns(attempts, targets ?? all);
  const runs = (targets ?? all).flatMap((target) =>
    (modes ?? MODES).map((mode): Run => {
      const selected = target === "worker" || modes !== undefined || mode.name === "both"
        ? attempts
        : attempts.filter(isOfAHelper);
      return { target, mode, attempts: selected.filter((attempt) => chosen(attempt, target)) };
    })
  );
  return runs.filter((run) => run.attempts.length > 0).toSorted((a, b) =>
    b.attempts.length - a.attempts.length
  );
}

async function execute(
  { target, mode, attempts }: Run,
  { options, real, denoDir, abi, setupFacts, sources }: RunContext,
): Promise<Result[]> {
  await using fixture = await Fixture.create(real.account);
  const setup = setupFor(real, target, fixture, setupFacts);
  const facts = {
    ...{ arch: Deno.build.arch, abi, denoProgram: Deno.execPath() },
    forbidden: fixture.path("outside/secret.txt"),
  };
  const { alterWall = same, alterArguments = same, stress = false, onResult } = options;
  const held = wallOf(setup.subject, facts);
  const wall = alterWall(held);
  const request = requestOf(setup.subject, mode, sources);
  const altered = { ...request, args: alterArguments([...request.args]) };
  await using auditor = await Auditor.open({
    ...{ target, mode, setup, fixture, held, stress },
    paths: realPaths(real, setup.subject.compartment, denoDir),
    wallOf: (spec) => spec === setup.subject ? wall : wallOf(spec, facts),
    requestOf: (spec) => spec === setup.subject ? altered : requestOf(spec, mode, sources),
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

async function bundleSubjects(): Promise<Record<Kind, string>> {
  const folder = await Deno.makeTempDir({ prefix: "holdfast_audit_" });
  try {
    const [worker, helper] = await Promise.all([
      bundle(folder, "lib/audit/subject_worker.ts"),
      bundle(folder, "lib/audit/subject_helper.ts"),
    ]);
    return { worker, helper, logger: helper, metrics: helper, resolver: helper, acme: helper };
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

function realPaths(config: Config, { app, net }: Compartment, denoDir: string): RealPaths {
  const tls = config.listen.find((each) => each.tls !== undefined)?.tls;
  return {
    keyFile: tls?.[0]?.key ?? "",
    dialled: socketsOf(net)[0] ?? "",
    configFile: config.file,
    module: app.module,
    project: app.project,
    denoDir,
    denoProgram: Deno.execPath(),
    runtime: config.runtime,
  };
}
