/** Makes the config a service of systemd's, and takes it away again. */
import { dirname } from "node:path";
import { HoldfastError } from "../base/error.ts";
import { EXIT } from "../base/exit_code.ts";
import { flushLog } from "../base/log.ts";
import { resolveAccount } from "../config/account.ts";
import { Refusal } from "../config/problem.ts";
import { makePrivateFolder } from "../os/file.ts";
import { filePaths, serviceFiles } from "../service/files.ts";
import { type Placed, placeFiles, removeFiles } from "../service/place.ts";
import type { ServiceFolder, ServicePlan } from "../service/plan.ts";
import { variablesFile } from "../service/plan.ts";
import { readEnvFile } from "../supervisor/env_file.ts";
import type { CliCommand } from "./command.ts";
import { judgeNow } from "./judged_accounts.ts";
import { loadConfig } from "./load_config.ts";
import { type PlannedService, planService, serviceName } from "./service_plan.ts";
import { printLine } from "./terminal.ts";

/** Whether systemd is what runs this machine (sd_booted(3)). */
function hasSystemd(): boolean {
  try {
    return Deno.statSync("/run/systemd/system").isDirectory;
  } catch {
    return false;
  }
}

/** Writes the files, makes the folders, and says what was done and what is to be done next. */
export const install: CliCommand = async (
  { config: file, name: wished, user, print, socket, now, system },
) => {
  const name = serviceName(file, wished);
  const config = await loadConfig(file, system);
  await readEnvFile(config);
  const planned = await planService(config, { name, user, socket });
  const files = await serviceFiles(planned.plan);
  if (print) {
    printLine(files.map(({ path, text }) => `==> ${path} <==\n${text}`).join("\n"));
    return EXIT.ok;
  }
  requireRoot("service install", "or see what would be written: --print");
  const booted = hasSystemd();
  if (now && !booted) throw noSystemd();
  // Who cannot reach what is needed is told now, and not at the first start.
  const judged = user === undefined ? judgeNow(config, {}) : { held: [], closed: [] };
  const runs = booted && await isActive(`${name}.service`);
  const placed = await placeFiles(name, files);
  printLine(placed.map(formatPlaced).join("\n"));
  if (booted) {
    const { sysusers } = filePaths(name);
    if (planned.plan.createsUser) await run("systemd-sysusers", sysusers.path);
    await makeFolders(planned.missing);
    await run("systemctl", "daemon-reload");
    if (now) await run("systemctl", "enable", "--now", ...unitsOf(planned.plan));
  }
  const notes = [
    ...planned.notes,
    ...judged.held.map(({ process, path, hint }) =>
      `${process} has no account of its own, since ${path} is closed to it. ${hint}`
    ),
    ...judged.closed.map(({ path, hint }) => `${path} is closed to its process. ${hint}`),
    ...runs && placed.some(({ did }) => did === "written")
      ? [`It runs as it was before: systemctl restart ${name}`]
      : [],
  ];
  printLine(describeNext({ ...planned, notes }, { booted, now }).join("\n"));
  await flushLog();
  return EXIT.ok;
};

/** Takes away what was written; data, logs and the user stay. */
export const remove: CliCommand = async ({ config, name: wished, now }) => {
  const name = serviceName(config, wished);
  requireRoot("service remove", "as the one who installed it");
  const booted = hasSystemd();
  const units = Object.values(filePaths(name)).map(({ path }) => path)
    .filter((path) => /\.(service|socket)$/.test(path) && isThere(path))
    .map((path) => path.slice(path.lastIndexOf("/") + 1));
  if (booted && units.length > 0) {
    if (now) await run("systemctl", "disable", "--now", ...units);
    else await requireStopped(name, units);
  }
  const placed = await removeFiles(name);
  if (placed.length === 0) {
    throw new HoldfastError(`There is no service ${name}`, {
      kind: "usage",
      code: "service_absent",
      hint: "Name it: holdfast service remove --name NAME",
    });
  }
  if (booted) await run("systemctl", "daemon-reload");
  printLine(placed.map(formatPlaced).join("\n"));
  const kept = placed.filter(({ did }) => did === "kept");
  if (kept.length > 0) {
    const paths = kept.map(({ path }) => path).join(" ");
    printLine(`\nChanged since they were written, or written by others: see them, and rm ${paths}`);
  }
  printLine("\nData, logs, the runtime folder and users are as they were.");
  return EXIT.ok;
};

function isThere(path: string): boolean {
  try {
    return Deno.lstatSync(path).isFile;
  } catch {
    return false;
  }
}

function requireRoot(command: string, more: string): void {
  if (Deno.uid() === 0) return;
  throw new HoldfastError(`holdfast ${command} writes to /etc, and this is uid ${Deno.uid()}`, {
    kind: "environment",
    code: "not_root",
    hint: `Run it as root, ${more}`,
  });
}

function noSystemd(): HoldfastError {
  return new HoldfastError("systemd does not run here: there is no /run/systemd/system", {
    kind: "environment",
    code: "no_systemd",
    hint: "Leave --now out to write the files alone, as for an image of a machine",
  });
}

/** @throws {HoldfastError} with what it said */
async function run(program: string, ...args: string[]): Promise<void> {
  const line = [program, ...args].join(" ");
  const fail = (reason: string, cause?: unknown) =>
    new HoldfastError(`${line} failed: ${reason}`, {
      kind: "environment",
      code: "service_command",
      hint: "Run it by hand, and see: journalctl -xe",
      cause,
    });
  let output: Deno.CommandOutput;
  try {
    output = await new Deno.Command(program, { args, stdout: "null", stderr: "piped" }).output();
  } catch (error) {
    throw error instanceof Deno.errors.NotCapable ? error : fail((error as Error).message, error);
  }
  if (!output.success) throw fail(new TextDecoder().decode(output.stderr).trim());
  printLine(`  ran        ${line}`);
}

/** Whether one of these units is. */
async function isActive(...units: string[]): Promise<boolean> {
  const args = ["is-active", "--quiet", ...units];
  return (await new Deno.Command("systemctl", { args }).output()).success;
}

/** Its program may be what a file names that is about to go. */
async function requireStopped(name: string, units: readonly string[]): Promise<void> {
  if (!await isActive(...units)) return;
  throw new HoldfastError(`The service ${name} is active`, {
    kind: "environment",
    code: "service_active",
    hint: `Stop it first: systemctl disable --now ${units.join(" ")}; or let this do it: --now`,
  });
}

/** As a start would make them, but for the ones of a user: that may not write the folder above. */
async function makeFolders(folders: readonly ServiceFolder[]): Promise<void> {
  for (const { path, mode, owner, group } of folders) {
    await Deno.mkdir(dirname(path), { recursive: true });
    makePrivateFolder(path, { ...await idsOf(owner, group), mode });
    printLine(`  made       ${path} (${owner})`);
  }
}

async function idsOf(owner: string, group: string) {
  if (/^\d+$/.test(owner)) return { uid: Number(owner), gid: Number(group) };
  if (owner === "root") return { uid: 0, gid: Number(group) };
  const found = await resolveAccount(owner, group);
  if (!(found instanceof Refusal)) return found;
  throw new HoldfastError(found.message, {
    kind: "environment",
    code: "service_user",
    hint: found.hint,
  });
}

function formatPlaced({ did, path, what }: Placed): string {
  return `  ${did.padEnd(10)} ${path}: ${what}`;
}

function unitsOf({ name, socket }: ServicePlan): string[] {
  return [...socket ? [`${name}.socket`] : [], `${name}.service`];
}

function describeNext(
  { plan, notes }: PlannedService,
  { booted, now }: { readonly booted: boolean; readonly now: boolean },
): string[] {
  const units = unitsOf(plan).join(" ");
  const { variables } = plan;
  return [
    ...notes.map((note) => `  note       ${note}`),
    "",
    ...now ? ["It runs. From now on:"] : ["Next:"],
    ...variables.length > 0
      ? [`  values of ${variables.join(", ")} go into ${variablesFile(plan)} (mode 0600)`]
      : [],
    ...booted || now ? [] : ["  boot with systemd, or: systemctl daemon-reload"],
    ...now ? [] : [`  systemctl enable --now ${units}`],
    `  systemctl reload ${plan.name}   # new code, new config`,
    `  systemctl status ${plan.name}; journalctl -u ${plan.name}`,
  ];
}
