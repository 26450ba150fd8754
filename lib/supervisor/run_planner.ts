/** Has a planner say what a config means, and plan a generation of it, behind a wall. */
import { join } from "node:path";
import { HoldfastError } from "../base/error.ts";
import { DEFAULT_OUTPUT_LIMITS } from "../base/output_limits.ts";
import { log } from "../base/log.ts";
import { DEFAULT_LIMITS } from "../config/bounds.ts";
import { warnOfOldName } from "../config/old_name.ts";
import { PLANNER_CWD } from "../planner/programs.ts";
import type { Planning, PlanRequest } from "../planner/request.ts";
import type { PackedImage } from "../protocol/packed_image.ts";
import {
  Answer,
  ANSWER_FILE,
  Failure,
  isFull,
  MAX_ANSWER_BYTES,
  NO_ROOM,
  REQUEST_FILE,
} from "../protocol/plan.ts";
import { plannerWall } from "../sandbox/wall.ts";
import { canSeparate } from "./accounts.ts";
import { acceptConfig } from "./accept_config.ts";
import { bestEffort } from "./best_effort.ts";
import { killWorker } from "./bring_up.ts";
import { denoProgram } from "./deno_program.ts";
import { runErrand } from "./errand.ts";
import {
  cannotKeep,
  changedPackages,
  clearCompiled,
  FETCHED,
  findDenoDir,
  type ImageFolders,
  installImage,
  isFolder,
  openImages,
} from "./image_store.ts";
import { isWalled, type PlannedConfig, type ReadConfig } from "./read_config.ts";
import { fetchEnvironment } from "./run_own.ts";
import { requireWall } from "./require_wall.ts";
import { packagesChanged, packagesIn } from "./package_sets.ts";
import type { System } from "./system.ts";
import { type Death, describeDeath, WorkerProcess } from "./worker_process.ts";

/** How long a planner may take: it may have to fetch packages. */
export const PLAN_DEADLINE_MS = 120_000;

export interface PlannerOptions {
  readonly system: Pick<System, "startSpawner" | "landlockAbi" | "plannerCommand">;
  /** What is planned. */
  readonly read: ReadConfig;
  /** The image of an executable, which a planner takes in place of making one. */
  readonly packed: PackedImage | undefined;
  /** The folder of Holdfast's own code. */
  readonly holdfast: string;
  readonly images: string;
  readonly runtime: string;
  /** Shows that the wall stands: it lies in the runtime folder. */
  readonly lockFile: string;
  /** The planner's program, and that of a spawner's thread. */
  readonly program: string;
  readonly spawner: string | undefined;
  /** A DENO_DIR with what was compiled beforehand. */
  readonly cache: string | undefined;
  readonly environment: Readonly<Record<string, string>>;
  readonly signal: AbortSignal;
  /** Whether what is planned may grant more than what serves. */
  readonly mayWiden: boolean;
  /** Called when a planner is there; more than once if another one is needed. What it throws is ignored. */
  readonly begun: () => void;
}

/**
 * Has a config parsed, checked and planned. The network is there for the planner only where something is
 * missing.
 *
 * @throws {HoldfastError} if the config is refused, or if a module is missing or broken
 */
export async function runPlanner(options: PlannerOptions): Promise<PlannedConfig> {
  const { read, packed, images, environment } = options;
  // An executable has no use for a cache, and no program that knows where it is.
  const denoDir = packed ? undefined : findDenoDir((name) => environment[name]);
  using folders = openImages(images, denoDir);
  const plan = async (remake: readonly string[]) => {
    const answer = await ask(options, folders, denoDir, "none", [], remake);
    if (!("missing" in answer)) return answer;
    return await ask(options, folders, denoDir, "names", answer.variables, remake);
  };
  let answer = await plan([]);
  const kept = "config" in read && read.kept !== undefined;
  const changed = !kept && "plan" in answer ? await changedPackages(answer.plan, images) : [];
  if (changed.length > 0) {
    const { message: reason, hint } = packagesChanged(packagesIn(images, changed[0]!));
    log.warn("packages_changed", { folder: packagesIn(images, changed[0]!), reason, hint });
    answer = await plan(changed);
  }
  if ("error" in answer) {
    const { message, code } = answer.error;
    if (code === "image_failed") clearCompiled(folders);
    if (isFull(message)) throw noRoom(folders, message);
    throw asError(answer.error);
  }
  if ("missing" in answer) throw new Error(answer.missing);
  const config = "config" in read ? read.config : await acceptConfig(answer.config, read);
  for (const each of answer.renamed) warnOfOldName(each);
  for (const { event, ...each } of answer.warnings) log.warn(event, each);
  const code = await installImage(config, answer.plan, folders, options.cache, changed);
  return { config, code: { ...code, judgement: answer.judgement } };
}

/** What a process that only looks has found. */
export function asError({ message, hint, kind, code }: Failure): HoldfastError {
  return new HoldfastError(message, { kind, code, ...hint !== undefined && { hint } });
}

async function ask(
  { system, read, packed, holdfast, runtime, lockFile, program, spawner, cache, ...more }:
    PlannerOptions,
  folders: ImageFolders,
  denoDir: string | undefined,
  network: "none" | "names",
  variables: readonly string[],
  remake: readonly string[],
): Promise<Answer> {
  const { environment, signal, begun, mayWiden } = more;
  const { images, compiled, staging } = folders;
  const deno = denoProgram();
  const request: PlanRequest = {
    planning: planningOf(read),
    ...{ mayWiden, separates: canSeparate() },
    ...packed && { packed },
    ...{ images, compiled, staging, denoDir: denoDir ?? compiled, network, remake },
    facts: { denoProgram: deno, holdfast, runtime },
  };
  const walled = isWalled(read);
  if (walled) requireWall(system.landlockAbi());
  const caches = network === "none" || !denoDir ? [] : await makeCaches(denoDir, spawner);
  const writes = [staging, compiled, ...caches];
  const command = system.plannerCommand(writes, "config" in read ? read.config : undefined);
  const wall = walled
    ? plannerWall({
      ...{ arch: Deno.build.arch, abi: system.landlockAbi(), denoProgram: command.program },
      ...{ forbidden: lockFile, limits: DEFAULT_LIMITS, network },
      writes,
    })
    : undefined;
  try {
    Deno.writeTextFileSync(join(staging, REQUEST_FILE), JSON.stringify(request));
  } catch (error) {
    throw noRoom(folders, (error as Error).message);
  }
  const thread = system.startSpawner(spawner);
  const close = () => bestEffort("close the spawner", () => thread.close());
  let process: WorkerProcess;
  try {
    process = new WorkerProcess(
      { id: 0, role: { kind: "planner" }, generation: 0, onViolation: "log" },
      thread,
      {
        ...{ program: command.program, args: [...command.args, staging] },
        env: {
          // Its own runtime has a cache that no planner writes; the programs that it runs have `compiled`.
          ...fetchEnvironment(environment, cache ?? compiled, variables),
          ...command.env,
        },
        cwd: PLANNER_CWD,
        ...{ source: program, image: undefined },
        output: DEFAULT_OUTPUT_LIMITS,
        account: undefined,
        wall,
      },
    );
  } catch (error) {
    close();
    throw error;
  }
  void process.exited.then(close);
  process.spawned.then(() => process.alive && begun()).catch(() => {});
  const death = await untilEnded(process, wall !== undefined, signal);
  if (death.status.code === NO_ROOM) throw noRoom(folders, "No space left on device");
  // Whatever it has started has ended with it: nothing changes the files from here on.
  return readAnswer(join(staging, ANSWER_FILE));
}

function planningOf(read: ReadConfig): Planning {
  if ("config" in read) return { config: read.config, ...read.kept && { kept: read.kept } };
  const { file, named, folder, text } = read;
  return { text: { file, named, folder, text } };
}

function noRoom(folders: ImageFolders, message: string): HoldfastError {
  clearCompiled(folders);
  return cannotKeep(folders.images, new Error(message));
}

/**
 * What a planner that fetches may write of the user's cache: packages and modules, and never what other
 * programs have compiled or installed, Holdfast among them. In a new cache they are made before it.
 */
async function makeCaches(denoDir: string, spawner: string | undefined): Promise<string[]> {
  const folders = FETCHED.map((name) => join(denoDir, name));
  for (const folder of [denoDir, ...folders]) {
    if (isFolder(folder)) continue;
    // Where one cannot be made nothing can be fetched either: Deno says what is missing then.
    await runErrand({ errand: "make", path: folder, account: undefined }, spawner).catch(() => {});
  }
  return folders;
}

/** Waits until a planner has ended; one that is given up, or takes too long, is killed. */
async function untilEnded(
  process: WorkerProcess,
  walled: boolean,
  signal: AbortSignal,
): Promise<Death> {
  const deadline = AbortSignal.timeout(PLAN_DEADLINE_MS);
  const either = AbortSignal.any([signal, deadline]);
  const end = () => void killWorker(process);
  either.addEventListener("abort", end, { once: true });
  if (either.aborted) end();
  const death = await process.exited;
  either.removeEventListener("abort", end);
  signal.throwIfAborted();
  const isWell = death.reason === undefined && [0, NO_ROOM].includes(death.status.code ?? -1);
  const found = deadline.aborted
    ? `took longer than ${PLAN_DEADLINE_MS} ms`
    : !isWell
    ? `failed: ${describeDeath(death)}`
    : walled && !process.confined
    ? "was not confined by the kernel"
    : undefined;
  if (found === undefined) return death;
  throw new HoldfastError(`The planner ${found}`, {
    kind: "environment",
    code: "planner_failed",
    hint: "Its own lines are in the log just above",
  });
}

function readAnswer(path: string): Answer {
  const { isFile, size } = Deno.lstatSync(path);
  // A link would lead to a file that the planner's user may read, or that has no end.
  if (!isFile) throw new Error("The planner's answer is no file");
  if (size > MAX_ANSWER_BYTES) throw new Error(`The planner's answer has ${size} bytes`);
  return Answer.parse(JSON.parse(Deno.readTextFileSync(path)));
}
