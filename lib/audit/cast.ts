/** Who is who in an audit: in whose place the suspect stands, and who lives around it. Pure. */
import { DEFAULT_OUTPUT_LIMITS } from "../base/output_limits.ts";
import type { Compartment, Config, HelperConfig, ListenAddress } from "../config/config.ts";
import type { Duty } from "../protocol/to_worker.ts";
import { logCompartment } from "../sandbox/log_compartment.ts";
import { type Wall, type WallFacts, workerWall } from "../sandbox/wall.ts";
import { denoCommand, workerEnvironment } from "../sandbox/worker_command.ts";
import type { Modules } from "../supervisor/prepare.ts";
import type { SpawnRequest } from "../supervisor/spawner_message.ts";
import type { Kind } from "./attempt.ts";
import { freePort } from "./free_port.ts";
import type { Mode } from "./mode.ts";
import { type Scene, SCENE_HELPER } from "./scene.ts";

/** How long a call of a helper may take; longer than any attempt. */
const CALL_MS = 120_000;

/** How long a process may take to be ready: that it is slow is no finding. */
const READY_MS = 60_000;

/** One process: what it is granted, and what it is there for. */
export interface Part {
  readonly kind: Kind;
  readonly compartment: Compartment;
  /** Local files of its module graph. */
  readonly modules: readonly string[];
  /** A worker's is made from its config. */
  readonly duty?: Duty;
}

/** In whose place a suspect may stand: `worker`, `helper NAME`, or `logger`. */
export type Place = "worker" | "logger" | `helper ${string}`;

/** Every place that a config has. */
export function placesOf({ helpers, log }: Config): Place[] {
  return [
    "worker",
    ...helpers.map(({ name }) => `helper ${name}` as const),
    ...log.folder === undefined ? [] : ["logger" as const],
  ];
}

/** What a cast depends on besides the config and the scene. */
export interface CastFacts {
  readonly modules: Modules;
  /** The logger's program. */
  readonly logger: string;
  /** Whether the log folder is there already. */
  readonly hasLogFolder: boolean;
}

/** The processes of an audit of one place. */
export interface Cast {
  /** What all of them are brought up under. */
  readonly config: Config;
  /** The helper that the suspect is, if it is one. */
  readonly helper: string | undefined;
  readonly suspect: Part;
  /** What the suspect has no part in. */
  readonly helperPart: Part;
  /** If the suspect is none; else its sibling is one. */
  readonly workerPart: Part | undefined;
}

/**
 * Casts an audit. The suspect is granted what the config gives to whoever stands there, and the
 * scene's folders; its neighbours have folders and ports of their own.
 */
export function castOf(
  real: Config,
  place: Place,
  scene: Scene,
  { modules, logger, hasLogFolder }: CastFacts,
): Cast {
  const extra = scene.unveils();
  const ofHelper = scene.foreign("helper");
  const sceneHelper: HelperConfig = {
    ...{ app: real.app, account: real.account, limits: real.limits, env: [] },
    ...{ name: SCENE_HELPER, instances: 1, concurrency: 4, timeoutMs: CALL_MS, restart: "never" },
    unveil: [ofHelper.unveil],
    net: [ofHelper.net],
  };
  const config: Config = {
    ...real,
    unveil: [...present(real), ...extra],
    listen: [],
    helpers: [...real.helpers, sceneHelper],
    reload: { ...real.reload, readyDeadlineMs: READY_MS },
    // Every attempt is to report; that a worker is replaced is tested elsewhere.
    onViolation: "log",
  };
  const common = { config, helperPart: helperPart(sceneHelper, []) };
  if (place === "worker") {
    const suspect: Part = { kind: "worker", compartment: config, modules: modules.app };
    return { ...common, helper: undefined, suspect, workerPart: undefined };
  }
  const ofWorker = scene.foreign("worker");
  const worker = {
    ...real,
    unveil: [...present(real), ofWorker.unveil],
    net: [...real.net, ofWorker.net],
  };
  const workerPart: Part = { kind: "worker", compartment: worker, modules: modules.app };
  if (place === "logger" && real.log.folder !== undefined) {
    const compartment = logCompartment(real, real.log.folder, logger);
    const granted = {
      ...compartment,
      // It starts in its folder, which may not be there yet.
      app: { ...compartment.app, project: hasLogFolder ? compartment.app.project : real.folder },
      unveil: [...hasLogFolder ? compartment.unveil : [], ...extra],
    };
    const suspect: Part = {
      ...{ kind: "logger", compartment: granted, modules: [] },
      duty: dutyOf("logger"),
    };
    return { ...common, helper: undefined, suspect, workerPart };
  }
  const helper = real.helpers.find(({ name }) => place === `helper ${name}`);
  if (helper === undefined) throw new Error(`The config has no ${place}`);
  const granted = { ...helper, unveil: [...present(helper), ...extra] };
  const suspect = helperPart(granted, modules.helpers[helper.name]!);
  return { ...common, helper: helper.name, suspect, workerPart };
}

/** What is not there yet cannot be granted, and is nothing that an attempt would miss. */
function present({ unveil }: Compartment): Compartment["unveil"] {
  return unveil.filter(({ exists }) => exists);
}

/**
 * What a suspect is told that takes its orders as calls, the one in the logger's place too. However
 * short a helper's own deadline is, an attempt is to end: how long a call may take is no grant.
 */
function dutyOf(name: string): Duty {
  return { role: "helper", name, timeoutMs: CALL_MS, concurrency: 4 };
}

function helperPart(helper: HelperConfig, modules: readonly string[]): Part {
  return { kind: "helper", compartment: helper, modules, duty: dutyOf(helper.name) };
}

/** The kernel's wall around a part. */
export function wallOf({ compartment, modules }: Part, facts: Omit<WallFacts, "modules">): Wall {
  return workerWall(compartment, { ...facts, modules });
}

/** How a part is spawned: as the supervisor would, or with every permission. */
export function requestOf(
  { kind, compartment }: Part,
  mode: Mode,
  { denoDir, sources }: { denoDir: string; sources: Readonly<Record<Kind, string>> },
): Omit<SpawnRequest, "wall"> {
  const { app, account } = compartment;
  const who = kind === "helper" ? "helper suspect" : kind;
  const { program, args } = denoCommand(Deno.execPath(), who, compartment);
  return {
    program,
    args: mode.deno ? args : wide(args),
    env: workerEnvironment(compartment, Deno.env.toObject(), denoDir),
    cwd: app.project,
    source: sources[kind],
    output: DEFAULT_OUTPUT_LIMITS,
    account: account && { uid: account.uid, gid: account.gid },
  };
}

function wide(args: readonly string[]): string[] {
  const [run, ...others] = args.filter((arg) => !/^--(allow|deny|ignore)-/.test(arg));
  return [run!, "--allow-all", ...others, "wide"];
}

/** An address that nobody uses at the moment. */
export function freeAddress(): ListenAddress {
  const [host, port] = ["127.0.0.1", freePort()];
  return { kind: "tcp", text: `${host}:${port}`, host, port };
}
