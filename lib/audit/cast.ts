/** Who is who in an audit: in whose place the suspect stands, and who lives around it. Pure. */
import type { Compartment, Config, HelperConfig, ListenAddress } from "../config/config.ts";
import type { Duty } from "../protocol/to_worker.ts";
import { type Wall, type WallFacts, workerWall } from "../sandbox/wall.ts";
import { workerArguments, workerEnvironment } from "../sandbox/worker_command.ts";
import type { Modules } from "../supervisor/prepare.ts";
import type { SpawnRequest } from "../supervisor/spawner_message.ts";
import type { Kind } from "./attempt.ts";
import type { Mode } from "./mode.ts";
import { type Scene, SCENE_HELPER } from "./scene.ts";

/** How long a call of a helper may take; longer than any attempt. */
const CALL_MS = 60_000;

/** One process: what it is granted, and what it is there for. */
export interface Part {
  readonly kind: Kind;
  readonly compartment: Compartment;
  /** Local files of its module graph. */
  readonly modules: readonly string[];
  /** A worker's is made from its config. */
  readonly duty?: Duty;
}

/** In whose place a suspect may stand: `worker`, or `helper NAME`. */
export type Place = "worker" | `helper ${string}`;

/** Every place that a config has. */
export function placesOf({ helpers }: Config): Place[] {
  return ["worker", ...helpers.map(({ name }) => `helper ${name}` as const)];
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
  /** If the suspect is a helper; else its sibling is one. */
  readonly workerPart: Part | undefined;
}

/**
 * Casts an audit. The suspect is granted what the config gives to whoever stands there, and the
 * scene's folders; its neighbours have folders and ports of their own.
 */
export function castOf(real: Config, place: Place, scene: Scene, modules: Modules): Cast {
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
    // Every attempt is to report; that a worker is replaced is tested elsewhere.
    onViolation: "log",
  };
  const common = { config, helperPart: helperPart(sceneHelper, []) };
  if (place === "worker") {
    const suspect: Part = { kind: "worker", compartment: config, modules: modules.app };
    return { ...common, helper: undefined, suspect, workerPart: undefined };
  }
  const helper = real.helpers.find(({ name }) => place === `helper ${name}`);
  if (helper === undefined) throw new Error(`The config has no ${place}`);
  const ofWorker = scene.foreign("worker");
  const worker = {
    ...real,
    unveil: [...present(real), ofWorker.unveil],
    net: [...real.net, ofWorker.net],
  };
  const granted = { ...helper, unveil: [...present(helper), ...extra] };
  return {
    ...common,
    helper: helper.name,
    suspect: helperPart(granted, modules.helpers[helper.name]!),
    workerPart: { kind: "worker", compartment: worker, modules: modules.app },
  };
}

/** What is not there yet cannot be granted, and is nothing that an attempt would miss. */
function present({ unveil }: Compartment): Compartment["unveil"] {
  return unveil.filter(({ exists }) => exists);
}

/** However short its own are, an attempt is to end: how long a call may take is no grant. */
function helperPart(helper: HelperConfig, modules: readonly string[]): Part {
  return {
    kind: "helper",
    compartment: helper,
    modules,
    duty: { role: "helper", name: helper.name, timeoutMs: CALL_MS, concurrency: 4 },
  };
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
): SpawnRequest {
  const { app, account } = compartment;
  const args = workerArguments(compartment);
  return {
    program: Deno.execPath(),
    args: mode.deno ? args : wide(args),
    env: workerEnvironment(compartment, Deno.env.toObject(), denoDir),
    cwd: app.project,
    source: sources[kind],
    account: account && { uid: account.uid, gid: account.gid },
  };
}

function wide(args: readonly string[]): string[] {
  const [run, ...others] = args.filter((arg) => !/^--(allow|deny|ignore)-/.test(arg));
  return [run!, "--allow-all", ...others, "wide"];
}

/** An address that nobody uses at the moment. */
export function freeAddress(): ListenAddress {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { hostname: host, port } = listener.addr;
  return { kind: "tcp", text: `${host}:${port}`, host, port };
}
