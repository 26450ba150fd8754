/** The processes of an audit: the subject, which runs as one of the config's, and those around it. Pure. */
import { DEFAULT_OUTPUT_LIMITS } from "../base/output_limits.ts";
import type { Compartment, Config, HelperConfig, ListenAddress } from "../config/config.ts";
import type { RoleConfig } from "../protocol/to_worker.ts";
import { acmeCompartment } from "../sandbox/acme_compartment.ts";
import { logCompartment } from "../sandbox/log_compartment.ts";
import { type Code, ownCode, type ProcessCode } from "../sandbox/process_code.ts";
import { metricsCompartment } from "../sandbox/metrics_compartment.ts";
import { namesOf, resolverCompartment } from "../sandbox/resolver_compartment.ts";
import { type Wall, type Walled, type WallFacts, workerWall } from "../sandbox/wall.ts";
import { denoCommand, workerEnvironment } from "../sandbox/worker_command.ts";
import type { SpawnRequest } from "../supervisor/spawner_message.ts";
import type { Kind } from "./attempt.ts";
import { freePort } from "./free_port.ts";
import type { Mode } from "./mode.ts";
import { type Fixture, FIXTURE_HELPER } from "./fixture.ts";

/** How long a call of a helper may take; longer than any attempt. */
const CALL_MS = 120_000;

/** How long a process may take to be ready: a slow start is not a finding. */
const READY_MS = 60_000;

/** One process: what it is granted, and what it does. */
export interface ProcessSpec {
  readonly kind: Kind;
  readonly compartment: Walled;
  readonly code: ProcessCode;
  /** A worker's is made from its config. */
  readonly roleConfig?: RoleConfig;
}

/** Which process of the config the subject runs as. */
export type Target = "worker" | "logger" | "metrics" | "resolver" | "acme" | `helper ${string}`;

/** Every target that a config has. */
export function targetsOf(config: Config): Target[] {
  const { helpers, log, metrics, acme } = config;
  return [
    "worker",
    ...helpers.map(({ name }) => `helper ${name}` as const),
    ...log.folder === undefined ? [] : ["logger" as const],
    ...metrics === undefined ? [] : ["metrics" as const],
    ...acme === undefined ? [] : ["acme" as const],
    ...namesOf(config).length === 0 ? [] : ["resolver" as const],
  ];
}

/** What a setup depends on besides the config and the fixture. */
export interface SetupFacts {
  readonly code: Code;
  /** The program of a process of Holdfast's own. */
  readonly program: (process: "logger" | "metrics" | "resolver" | "acme") => string;
  /** Whether the log folder is there already. */
  readonly hasLogFolder: boolean;
}

/** The processes of an audit against one target. */
export interface Setup {
  /** The config that all of them start with. */
  readonly config: Config;
  /** The helper that the subject is, if it is one. */
  readonly helper: string | undefined;
  readonly subject: ProcessSpec;
  /** The helper that the fixture adds; the subject has no access to it. */
  readonly helperSpec: ProcessSpec;
  /** Absent if the subject is a worker: its sibling is one then. */
  readonly workerSpec: ProcessSpec | undefined;
}

/**
 * Sets up an audit. The subject is granted what the config grants the target, and the fixture's
 * folders; its neighbours have other folders and ports.
 */
export function setupFor(
  real: Config,
  target: Target,
  fixture: Fixture,
  { code, program, hasLogFolder }: SetupFacts,
): Setup {
  const extra = fixture.unveils();
  const ofHelper = fixture.foreign("helper");
  const fixtureHelper: HelperConfig = {
    ...{ app: real.app, account: real.account, limits: real.limits, env: [] },
    ...{ name: FIXTURE_HELPER, instances: 1, concurrency: 4, timeoutMs: CALL_MS, restart: "never" },
    unveil: [ofHelper.unveil],
    net: [ofHelper.net],
  };
  const config: Config = {
    ...real,
    listen: [],
    helpers: [...real.helpers, fixtureHelper],
    reload: { ...real.reload, readyDeadlineMs: READY_MS },
    // Every attempt is to report; that a worker is replaced is tested elsewhere.
    onViolation: "log",
  };
  const workerCode = code.processes["worker"]!;
  const nothing = ownCode(workerCode.denoDir);
  const common = { config, helperSpec: helperSpec(fixtureHelper, nothing) };
  const withFixture = <Kind extends Compartment>(compartment: Kind): Kind => ({
    ...compartment,
    unveil: [...present(compartment), ...extra],
    dropAfterOpen: [...compartment.dropAfterOpen ?? [], fixture.dropped],
  });
  if (target === "worker") {
    // Where HTTPS or a Unix socket is served its wall is another one; here it is asked by plain HTTP all
    // the same.
    const listen = real.listen.filter(({ kind, tls }) => kind !== "tcp" || tls !== undefined);
    const compartment = { ...config, ...withFixture(real), listen };
    const subject: ProcessSpec = { kind: "worker", compartment, code: workerCode };
    return { ...common, helper: undefined, subject, workerSpec: undefined };
  }
  const ofWorker = fixture.foreign("worker");
  const worker = {
    ...real,
    unveil: [...present(real), ofWorker.unveil],
    net: [...real.net, ofWorker.net],
  };
  const workerSpec: ProcessSpec = { kind: "worker", compartment: worker, code: workerCode };
  const own = ownCompartment(real, target, program, hasLogFolder);
  if (own !== undefined) {
    const subject: ProcessSpec = {
      ...{ kind: target as Kind, compartment: withFixture(own), code: nothing },
      roleConfig: roleConfigOf(target),
    };
    return { ...common, helper: undefined, subject, workerSpec };
  }
  const helper = real.helpers.find(({ name }) => target === `helper ${name}`);
  if (helper === undefined) throw new Error(`The config has no ${target}`);
  const subject = helperSpec(withFixture(helper), code.processes[target]!);
  return { ...common, helper: helper.name, subject, workerSpec };
}

/** What a process of Holdfast's own is granted; nothing for others. */
function ownCompartment(
  real: Config,
  target: Target,
  program: SetupFacts["program"],
  hasLogFolder: boolean,
): Walled | undefined {
  if (target === "logger" && real.log.folder !== undefined) {
    const compartment = logCompartment(real, real.log.folder, program("logger"));
    // It starts in its folder, which may not be there yet.
    if (hasLogFolder) return compartment;
    return { ...compartment, unveil: [], app: { ...compartment.app, project: real.folder } };
  }
  if (target === "metrics" && real.metrics !== undefined) {
    return metricsCompartment(real, real.metrics.listen, program("metrics"));
  }
  if (target === "acme" && real.acme !== undefined) {
    // The fixture has folders for it; its own may not be there yet.
    return { ...acmeCompartment(real, real.acme, program("acme")), unveil: [] };
  }
  if (target !== "resolver") return undefined;
  return resolverCompartment(real, namesOf(real), program("resolver"));
}

/** A path that does not exist yet cannot be granted, and no attempt needs it. */
function present({ unveil }: Compartment): Compartment["unveil"] {
  return unveil.filter(({ exists }) => exists);
}

/**
 * The role of a subject that takes its orders as calls; one that stands for the logger does too. The
 * timeout is not the helper's, so that each attempt can end: how long a call may take is not a grant.
 */
function roleConfigOf(name: string): RoleConfig {
  return { role: "helper", name, timeoutMs: CALL_MS, concurrency: 4 };
}

function helperSpec(helper: HelperConfig, code: ProcessCode): ProcessSpec {
  return { kind: "helper", compartment: helper, code, roleConfig: roleConfigOf(helper.name) };
}

/** The kernel's wall around a process. */
export function wallOf(
  { compartment, code }: ProcessSpec,
  facts: Omit<WallFacts, "files" | "code" | "interpretsAlone">,
): Wall {
  const interpretsAlone = compartment.jitless === true;
  return workerWall(compartment, { ...facts, files: [], code, interpretsAlone });
}

/** How a process is spawned: as the supervisor would, or with every permission. */
export function requestOf(
  { kind, compartment, code }: ProcessSpec,
  mode: Mode,
  sources: Readonly<Record<Kind, string>>,
): Omit<SpawnRequest, "wall"> {
  const { app, account } = compartment;
  const wall = mode.kernel ? "kernel" : "deno";
  const { program, args, env } = denoCommand(Deno.execPath(), compartment, code, wall);
  return {
    program,
    args: mode.deno ? args : wide(args),
    env: { ...workerEnvironment(compartment, Deno.env.toObject(), code.denoDir), ...env },
    cwd: app.project,
    ...{ source: sources[kind], image: undefined },
    output: DEFAULT_OUTPUT_LIMITS,
    account: account && { uid: account.uid, gid: account.gid },
  };
}

function wide(args: readonly string[]): string[] {
  const [run, ...others] = args.filter((arg) => !/^--(allow|deny|ignore)-/.test(arg));
  return [run!, "--allow-all", ...others, "wide"];
}

/** An address that is not in use. */
export function freeAddress(): ListenAddress {
  const [host, port] = ["127.0.0.1", freePort()];
  return { kind: "tcp", text: `${host}:${port}`, host, port };
}
