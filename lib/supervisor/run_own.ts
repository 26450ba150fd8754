/**
 * Runs programs of Holdfast's own that end by themselves and are of no generation, each behind a wall
 * of its own.
 */
import { DEFAULT_LIMITS } from "../config/bounds.ts";
import { landlockAbi } from "../os/landlock.ts";
import { type PlannerFacts, plannerWall } from "../sandbox/wall.ts";
import { bestEffort } from "./best_effort.ts";
import type { ChildEvent } from "./child_event.ts";
import { denoProgram } from "./deno_program.ts";
import { requireWall } from "./require_wall.ts";
import { startSpawner } from "./spawner.ts";
import { tellDenial } from "./worker_process.ts";

/** How long one may take. */
const DEADLINE_MS = 120_000;

/** What one prints is its answer, and is read in whole. */
const OUTPUT = { lineBytes: 2 ** 25, bytesPerSecond: 2 ** 26, burstBytes: 2 ** 26 };

/** How much of what it complains of is repeated. */
const MAX_COMPLAINT = 2_000;

/** A cache of Deno's may be as large as it is. */
const LIMITS = { ...DEFAULT_LIMITS, fileBytes: Number.MAX_SAFE_INTEGER };

/** A file of this process that it could write without a wall. */
const FORBIDDEN = "/proc/self/comm";

/**
 * What is told of the environment to whoever may fetch: how registries are reached, and how the user's
 * settings are found (https://docs.deno.com/runtime/reference/env_variables/).
 */
const VARIABLES = new RegExp(
  "^(HOME|XDG_CONFIG_HOME|(https?|no|all)_proxy|SSL_CERT_(FILE|DIR)|NODE_EXTRA_CA_CERTS|JSR_URL|" +
    "DENO_(AUTH_TOKENS|CERT|TLS_CA_STORE)|NPM_CONFIG_\\w+)$",
  "i",
);

/** The environment of such a process; `more` is what is passed on besides. */
export function fetchEnvironment(
  environment: Readonly<Record<string, string>>,
  denoDir: string,
  more: readonly string[] = [],
): Record<string, string> {
  const passed = Object.entries(environment)
    .filter(([name]) => VARIABLES.test(name) || more.includes(name));
  return {
    ...Object.fromEntries(passed),
    ...{ DENO_DIR: denoDir, DENO_NO_UPDATE_CHECK: "1", NO_COLOR: "1" },
  };
}

/** What such a program is started with. */
export interface OwnRun {
  /** Of the deno program. */
  readonly args: readonly string[];
  readonly denoDir: string;
  /** What the kernel lets it do; nothing where the config leaves that to Deno's permissions. */
  readonly may: Pick<PlannerFacts, "network" | "reads" | "writes" | "programs"> | undefined;
  readonly signal: AbortSignal;
}

/**
 * Runs one.
 *
 * @returns the line that it printed
 * @throws {Error} with what it complained of
 * @throws the signal's reason when it aborts
 */
export async function runOwn({ args, denoDir, may, signal }: OwnRun): Promise<string> {
  const program = denoProgram();
  const env = fetchEnvironment(Deno.env.toObject(), denoDir);
  const abi = landlockAbi();
  if (may) requireWall(abi);
  const facts = { arch: Deno.build.arch, abi, denoProgram: program, forbidden: FORBIDDEN };
  const wall = may && plannerWall({ ...facts, ...may, limits: LIMITS });
  const thread = startSpawner();
  const printed = { stdout: "", stderr: "" };
  const { promise, resolve } = Promise.withResolvers<Extract<ChildEvent, { type: "exited" }>>();
  const child = thread.spawn(
    {
      ...{ program, args, env, wall, cwd: "/", source: "", output: OUTPUT },
      ...{ image: undefined, account: undefined, alone: true },
    },
    (event) => {
      if (event.type === "output") printed[event.stream] += `${event.text}\n`;
      else if (event.type === "denied") tellDenial(event, { args: args.at(-1) });
      else if (event.type === "exited") resolve(event);
    },
  );
  const deadline = AbortSignal.timeout(DEADLINE_MS);
  const either = AbortSignal.any([signal, deadline]);
  const end = () => bestEffort("signal", () => child.signal("SIGKILL"));
  either.addEventListener("abort", end, { once: true });
  if (either.aborted) end();
  const { status, error, failure } = await promise;
  either.removeEventListener("abort", end);
  bestEffort("close the spawner", () => thread.close());
  signal.throwIfAborted();
  if (status.code === 0) return printed.stdout.trim();
  const said = printed.stderr.trim().slice(0, MAX_COMPLAINT) || `It ended with ${status.code}`;
  throw failure ?? new Error(error ?? (deadline.aborted ? `It took ${DEADLINE_MS} ms` : said));
}
