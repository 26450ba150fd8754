/** Finds out what `doctor` is to know. It reads, asks the running supervisor, and looks names up. */
import { existsSync, readdirSync } from "node:fs";
import { lookup } from "node:dns/promises";
import { isIP } from "node:net";
import { dirname, join } from "node:path";
import { toHoldfastError } from "../../base/error.ts";
import { resolveAccount } from "../../config/account.ts";
import type { BoundAddress, Config } from "../../config/config.ts";
import { splitHostPort } from "../../config/host_port.ts";
import { ConfigError } from "../../config/problem.ts";
import { projectsOf } from "../../config/project.ts";
import { Refusal } from "../../config/problem.ts";
import { realPlace, unlessAbsent } from "../../config/real_place.ts";
import type { DiskFacts, Facts, Said } from "../../doctor/facts.ts";
import { readText } from "../../os/file.ts";
import { mayAccess } from "../../os/machine.ts";
import { checkTls } from "../../planner/check_tls.ts";
import type { Warning } from "../../planner/make_image.ts";
import { examineCode } from "../../planner/plan_code.ts";
import { HOLDFAST_FOLDER } from "../../planner/programs.ts";
import { listUsers } from "../../planner/users.ts";
import type { Status } from "../../protocol/control.ts";
import { variablesFile } from "../../service/plan.ts";
import { whyNone } from "../../supervisor/accounts.ts";
import { parseEnvFile, readEnvFile } from "../../supervisor/env_file.ts";
import { openProcessRecord } from "../../supervisor/process_record.ts";
import { findDenoDir } from "../../supervisor/image_store.ts";
import { knownConfig } from "../../supervisor/read_config.ts";
import { controlSocketPath } from "../../supervisor/runtime_folder.ts";
import type { System } from "../../supervisor/system.ts";
import { askSupervisor } from "../control_client.ts";
import { findSupervisor } from "../find_supervisor.ts";
import { judgeNow } from "../judged_accounts.ts";
import { loadConfig } from "../load_config.ts";
import { findUnset } from "../unset_variables.ts";
import { findAddons } from "./addons.ts";
import { readAddresses } from "./addresses.ts";
import { readDisks } from "./disks.ts";
import { newestOf, readMachine } from "./machine.ts";
import { compareUnit, findUnit, type InstalledUnit } from "./unit.ts";

/** How long a name may take. */
const NAME_MS = 4_000;

type Problem = Facts["problems"][number];

/** Every problem that an error tells. */
function problemsOf(error: unknown): Problem[] {
  if (error instanceof ConfigError) {
    return error.problems.map(({ code, key, message, hint }) => ({
      ...{ code, hint },
      message: key === "" ? message : `${key}: ${message}`,
    }));
  }
  const { code, message, hint = "holdfast check says more" } = toHoldfastError(error);
  return [{ code, message, hint }];
}

/** Each once: two looks may find the same. */
function unique(problems: readonly Problem[]): Problem[] {
  return [...new Map(problems.map((each) => [each.message, each])).values()];
}

/** What an attempt gives, or the problems that it ends in. */
async function attempt<T>(act: () => T | Promise<T>, problems: Problem[]): Promise<T | undefined> {
  try {
    return await act();
  } catch (error) {
    problems.push(...problemsOf(error));
    return undefined;
  }
}

/** Finds all of it out. */
export async function readFacts(file: string, system: System): Promise<Facts> {
  const refused: Problem[] = [];
  const config = await attempt(() => loadConfig(file, system), refused);
  const asked = await askStatus(file, system);
  const machine = readMachine();
  const nothing = {
    ...{ problems: [], warnings: [], held: [], closed: [], grants: [], unset: [], addons: [] },
    ...{ addresses: [], certificates: [], names: [], runtime: undefined, unit: undefined },
    ...{ shared: undefined },
  };
  const { isClockSet, ...rest } = machine;
  const found = config === undefined
    ? { ...nothing, disks: readDisks(placesOf(undefined, machine.deno.program)) }
    : await readConfigFacts(config, system, asked?.status, machine);
  return {
    ...rest,
    ...{ config, refused: refused satisfies readonly Said[] },
    clock: {
      isSet: isClockSet,
      nowMs: Date.now(),
      newest: newestOf(filesOf(file, config)),
    },
    running: asked && runningOf(asked),
    ...found,
  };
}

async function readConfigFacts(
  config: Config,
  system: System,
  status: Status | undefined,
  machine: ReturnType<typeof readMachine>,
) {
  const problems: Problem[] = [];
  const warnings: { event: string; message: string; hint: string }[] = [];
  const warn = ({ event, path, hint }: Warning) =>
    warnings.push({ event, ...asSaid(event, path, hint) });
  await attempt(() => readEnvFile(config), problems);
  const unit = await findUnit(config);
  const of = await asUnit(unit, machine);
  const judged = await attempt(() => judgeNow(config, {}), problems);
  const tls = await attempt(() => checkTls(config), problems);
  const [names] = await Promise.all([
    Promise.all(namesOf(config).map(resolveName)),
    attempt(
      () => system.planCode(knownConfig(config), (packed) => examineCode(config, { packed, warn })),
      problems,
    ),
  ]);
  const denoDir = await attempt(() => findDenoDir(), problems);
  const why = machine.uid === 0 && config.wall === "kernel" && unit?.user === undefined
    ? whyNone()
    : undefined;
  const bound = boundAddresses(config);
  const left = status === undefined && existsSync(config.runtime)
    ? openProcessRecord(config.runtime).left().map(({ pid }) => pid)
    : [];
  const own = status === undefined
    ? { left, listeners: [], pids: [] }
    : { left, listeners: status.listeners, pids: pidsOf(status) };
  const places = [config, ...config.helpers].flatMap((
    { app },
  ) => [app.project, dirname(app.module)]);
  const locks = projectsOf(config).flatMap(({ lockfile }) => lockfile ?? []);
  return {
    ...of,
    problems: unique(problems),
    warnings,
    shared: why && { message: why["reason"]!, hint: why["hint"]! },
    held: unit?.user === undefined ? judged?.held ?? [] : [],
    closed: unit?.user === undefined ? judged?.closed ?? [] : [],
    grants: grantsOf(config),
    runtime: runtimeOf(config, status !== undefined),
    unset: findUnset(config, of.environment),
    addons: findAddons(places, locks, denoDir),
    addresses: readAddresses(bound, {
      ...own,
      // What systemd has bound for it is its own.
      pids: [...own.pids, ...unit?.hasSocket ? [1] : []],
    }),
    certificates: (tls ?? []).map(({ cert, names, subject, notAfter }) => ({
      ...{ cert, names: names || subject, endMs: notAfter.getTime() },
    })),
    names,
    disks: readDisks(placesOf(config, machine.deno.program, denoDir)),
    unit: unit && await compareUnit(config, unit),
  };
}

/** In the words of a sentence; the event stays for programs. */
function asSaid(event: string, path: string, hint: string): Said {
  if (event !== "path_open_to_others") return { message: path, hint };
  const [message, mend] = hint.split(". Try: ");
  return { message: message!, hint: mend ?? hint };
}

/** Whom a unit starts it as, and with what; root alone can say of another user. */
async function asUnit(
  unit: InstalledUnit | undefined,
  { uid, capabilities, limits, environment }: ReturnType<typeof readMachine>,
) {
  if (unit === undefined || uid !== 0) return { uid, capabilities, limits, environment };
  const { text, user, name } = unit;
  const granted = (key: string) => new RegExp(`^${key}=(.*)$`, "m").exec(text)?.[1] ?? "";
  const account = user === undefined ? undefined : await resolveAccount(user);
  const [, descriptors] = /^LimitNOFILE=(\d+)$/m.exec(text) ?? [];
  return {
    uid: account === undefined || account instanceof Refusal ? uid : account.uid,
    capabilities: granted(user === undefined ? "CapabilityBoundingSet" : "AmbientCapabilities")
      .split(" "),
    limits: {
      ...limits,
      descriptors: descriptors === undefined ? limits.descriptors : Number(descriptors),
    },
    environment: variablesOf(variablesFile({ name })),
  };
}

/** What a service is given, which has nothing of a login's environment. */
function variablesOf(file: string): Record<string, string> {
  try {
    return parseEnvFile(Deno.readTextFileSync(file), file);
  } catch {
    return {};
  }
}

/** What the running supervisor says, and where its runtime folder is. */
interface Asked {
  readonly status: Status;
  readonly runtime: string;
}

async function askStatus(file: string, system: System): Promise<Asked | undefined> {
  try {
    const runtime = await findSupervisor(file, system);
    return { runtime, status: (await askSupervisor(runtime, "status", "status")).status };
  } catch {
    return undefined;
  }
}

function runningOf({ status, runtime }: Asked): Facts["running"] {
  const { pid, holdfast, deno, ageMs, state } = status;
  let replaced = false;
  try {
    replaced = Deno.readLinkSync(`/proc/${pid}/exe`).endsWith(" (deleted)");
  } catch {
    // Another user's process.
  }
  const sinceMs = Date.now() - ageMs;
  return { pid, holdfast, deno, state, runtime, replaced, sinceMs, troubles: troublesOf(status) };
}

function troublesOf({ logger, acme, accepting, lastReload, upgradeRefused }: Status): Said[] {
  const said = (message: string | undefined | null, hint: string) =>
    typeof message === "string" ? [{ message, hint }] : [];
  const refused = lastReload?.outcome === "refused" ? lastReload : undefined;
  return [
    ...said(logger?.trouble && `nothing is logged: ${logger.trouble}`, "holdfast logs reopen"),
    ...said(acme?.trouble && `no certificate: ${acme.trouble}`, "See its log: event acme_failed"),
    ...said(accepting ? undefined : "no worker accepts connections", "holdfast status"),
    ...said(
      refused && `the last reload was refused: ${refused.reason}`,
      `${refused?.hint ?? "Mend it"}; holdfast reload`,
    ),
    ...said(
      upgradeRefused && `the last upgrade was refused: ${upgradeRefused}`,
      "holdfast upgrade",
    ),
  ];
}

/** The processes of a status, by their numbers wherever they stand in it. */
function pidsOf(status: Status): number[] {
  const found: number[] = [status.pid];
  JSON.stringify(status, (key, value) => {
    if (key === "pid" && typeof value === "number") found.push(value);
    return value;
  });
  return found;
}

function boundAddresses({ listen, metrics, acme }: Config): BoundAddress[] {
  const all = [...listen, ...acme?.listen ?? [], ...metrics ? [metrics.listen] : []];
  return all.flatMap((each) => each.kind === "systemd" ? [] : [each]);
}

function grantsOf(config: Config): Facts["grants"] {
  const { names } = listUsers();
  const nameOf = (uid: number | null | undefined) =>
    uid === 0 ? "root" : names.get(uid ?? -1) ?? `uid ${uid}`;
  return [{ name: "the worker", ...config }, ...config.helpers].flatMap(({ name, unveil }) =>
    unveil.map(({ path, rights, exists }) => ({
      ...{ process: name, path, rights, exists },
      owner: nameOf(unlessAbsent(() => Deno.statSync(path)).uid),
      mayUse: mayAccess(path, rights.replace("c", "w")),
    }))
  );
}

function runtimeOf({ runtime }: Config, isRunning: boolean): Facts["runtime"] {
  const path = join(realPlace(dirname(runtime)), runtime.slice(runtime.lastIndexOf("/") + 1));
  const { uid, isDirectory, mode } = unlessAbsent(() => Deno.lstatSync(path));
  const exists = mode !== undefined;
  return {
    ...{ path, exists },
    isFolder: isDirectory === true,
    owner: uid ?? undefined,
    mayWrite: mayAccess(exists ? path : dirname(path), "wx"),
    socketBytes: new TextEncoder().encode(controlSocketPath(path)).length,
    stalePid: isRunning ? undefined : pidIn(join(path, "lock")),
  };
}

function pidIn(lock: string): number | undefined {
  const text = unlessAbsent(() => Deno.lstatSync(lock)).mode === undefined
    ? undefined
    : readText(lock, 32)?.trim();
  return text !== undefined && /^\d+$/.test(text) ? Number(text) : undefined;
}

/** Names that a process may dial, and those for which a certificate is got. */
function namesOf(config: Config): { name: string; why: string }[] {
  const dialled = [config, ...config.helpers].flatMap(({ net }) => net).flatMap((entry) => {
    const host = entry.startsWith("unix:") ? undefined : splitHostPort(entry)?.host;
    return host === undefined || host.startsWith("[") || isIP(host) !== 0 || host.includes("*")
      ? []
      : [{ name: host, why: 'of "net"' }];
  });
  const certified = (config.acme?.names ?? []).map((name) => ({ name, why: 'of "acme.names"' }));
  return [...new Map([...dialled, ...certified].map((each) => [each.name, each])).values()];
}

async function resolveName(each: { name: string; why: string }) {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<string>((resolve) => {
    timer = setTimeout(() => resolve(`no answer in ${NAME_MS / 1000} s`), NAME_MS);
  });
  const asked = lookup(each.name).then(
    () => undefined,
    (error: { code?: string; message: string }) => error.code ?? error.message,
  );
  const error = await Promise.race([asked, late]).finally(() => clearTimeout(timer));
  return { ...each, error };
}

function placesOf(
  config: Config | undefined,
  program: string,
  denoDir?: string,
): Pick<DiskFacts, "what" | "kind" | "path">[] {
  const own = { what: "the deno program", kind: "program" as const, path: program };
  const cache = denoDir === undefined
    ? []
    : [{ what: "Deno's cache", kind: "denoDir" as const, path: denoDir }];
  if (config === undefined) return [own, ...cache];
  const { runtime, log, app, unveil, helpers } = config;
  const written = [...unveil, ...helpers.flatMap(({ unveil }) => unveil)]
    .filter(({ rights }) => /[wc]/.test(rights)).map(({ path }) => path);
  return [
    own,
    ...cache,
    { what: "the runtime folder", kind: "runtime", path: runtime },
    ...log.folder === undefined
      ? []
      : [{ what: "the log folder", kind: "log" as const, path: log.folder }],
    { what: "the project", kind: "project", path: app.project },
    ...[...new Set(written)].map((path) => ({
      what: "what is unveiled",
      kind: "data" as const,
      path,
    })),
  ];
}

/** Files whose times tell of another clock: the config's, and the first ones of the project. */
function filesOf(file: string, config: Config | undefined): string[] {
  if (config === undefined) return [file];
  const { project, module } = config.app;
  const names = existsSync(project) ? readdirSync(project).slice(0, 200) : [];
  return [config.file, module, ...names.map((name) => join(project, name)), HOLDFAST_FOLDER];
}
