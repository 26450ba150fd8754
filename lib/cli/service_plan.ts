/** What the service of a config would be on this machine. */
import { basename, dirname } from "node:path";
import { HoldfastError } from "../base/error.ts";
import { resolveAccount } from "../config/account.ts";
import { covers } from "../base/covers.ts";
import { givenPairs } from "../config/acme_place.ts";
import type { BoundAddress, Config, Unveil } from "../config/config.ts";
import { foldersAbove } from "../config/paths.ts";
import { Refusal } from "../config/problem.ts";
import { realPlace, unlessAbsent } from "../config/real_place.ts";
import { readProc } from "../os/file.ts";
import { HOLDFAST_FOLDER } from "../planner/programs.ts";
import { socketsOf } from "../sandbox/dialling.ts";
import { ownAccounts } from "../sandbox/accounts.ts";
import type { Commanded } from "../sandbox/worker_command.ts";
import { findClosed } from "../service/closed.ts";
import { filePaths, fitsLogrotate } from "../service/files.ts";
import { rotatesItself, type ServiceFolder, type ServicePlan } from "../service/plan.ts";
import { readInstalled } from "../service/place.ts";
import { commandLine } from "../service/start_command.ts";
import { denoProgram } from "../supervisor/deno_program.ts";
import { findUnset } from "./unset_variables.ts";

/** What is asked for. */
export interface ServiceWish {
  readonly name: string;
  readonly user?: string | undefined;
  readonly socket: boolean;
}

/** What a unit may be called; users and folders are called like it. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$/;

/** What sysusers.d takes for a user. */
const USER = /^[a-z_][a-z0-9_-]{0,30}$/;

/** Where npx, and executables that unpack themselves, put what they run. */
const CACHES = /\/(_npx|\.cache)\//;

const DEFAULT_FIRST_PORT = 1024;

/** Where those folders lie that a boot empties. */
const VOLATILE = ["/run", "/var/run", "/tmp"];

function usage(message: string, hint: string): HoldfastError {
  return new HoldfastError(message, { kind: "usage", code: "usage", hint });
}

/**
 * The name of the service of a config: the one that is wished, or that of the config's folder.
 *
 * @throws {HoldfastError} if it is none
 */
export function serviceName(config: string, wished: string | undefined): string {
  const found = wished ??
    basename(dirname(config)).replace(/[^A-Za-z0-9_-]+/g, "-").replace(/^[-_]+|[-_]+$/g, "");
  if (NAME.test(found)) return found;
  throw usage(
    wished === undefined
      ? `The folder of ${config} gives no name for a service`
      : `A service cannot be called ${JSON.stringify(wished)}`,
    "Give a name of letters, digits, - and _, which begins with a letter or a digit: --name shop",
  );
}

/** The version of systemd; nothing where there is none. */
async function systemdVersion(): Promise<number | undefined> {
  try {
    const { stdout } = await new Deno.Command("systemctl", {
      args: ["--version"],
      stderr: "null",
    }).output();
    const [, version] = /^systemd (\d+)/.exec(new TextDecoder().decode(stdout)) ?? [];
    return version === undefined ? undefined : Number(version);
  } catch {
    return undefined;
  }
}

/** The user of the service, who may not be there yet. */
async function findUser(user: string, name: string) {
  if (!USER.test(user)) {
    throw usage(
      `A user cannot be called ${JSON.stringify(user)}`,
      "Name one of /etc/passwd, or a new one of small letters, digits, - and _",
    );
  }
  const found = await resolveAccount(user);
  if (found instanceof Refusal && found.code !== "user_unknown") {
    throw usage(found.message, found.hint);
  }
  const isOwn = (await readInstalled(filePaths(name).sysusers.path))?.origin === "ours";
  const account = found instanceof Refusal ? undefined : found;
  return {
    user,
    group: account === undefined ? user : groupName(account.gid),
    createsUser: account === undefined || isOwn,
    account,
  };
}

function groupName(gid: number): string {
  const rows = Deno.readTextFileSync("/etc/group").split("\n").map((line) => line.split(":"));
  return rows.find((row) => row[2] === String(gid))?.[0] ?? String(gid);
}

/** Numbers of the groups that a user is in. */
function groupsOf(user: string, gid: number): number[] {
  const rows = Deno.readTextFileSync("/etc/group").split("\n").map((line) => line.split(":"));
  const more = rows.filter((row) => row[3]?.split(",").includes(user)).map((row) => Number(row[2]));
  return [gid, ...more];
}

/** A plan, and what an operator has to do besides. */
export interface PlannedService {
  readonly plan: ServicePlan;
  /** Folders that are not there yet, and that a start would make. */
  readonly missing: readonly ServiceFolder[];
  readonly notes: readonly string[];
}

/**
 * Plans it.
 *
 * @throws {HoldfastError} if the config cannot be served like that
 */
export async function planService(config: Config, wish: ServiceWish): Promise<PlannedService> {
  const { name, socket } = wish;
  const own = wish.user === undefined ? undefined : await findUser(wish.user, name);
  if (own !== undefined && config.account !== undefined) {
    throw usage(
      `The config says "user", and only root can become ${config.account.user}`,
      'Leave --user out: root then starts it. Or take "user" out of the config',
    );
  }
  if (own === undefined && config.wall === "deno") {
    throw usage(
      'With "wall": "deno" its processes would be root\'s, with all rights',
      "Give it a user: --user NAME; it is made if it is not there",
    );
  }
  const deno = denoProgram();
  const bound = boundAddresses(config);
  const sockets = bound.flatMap((each) => each.kind === "unix" && !socket ? [each.path] : []);
  const installed = { deno, sockets, holdfast: HOLDFAST_FOLDER, runtime: config.runtime };
  const command = (...words: string[]) =>
    commandLine({ ...installed, config: config.named }, ...words);
  const folders = foldersOf(config, own);
  const writes = [
    ...folders.always.map(({ path }) => path),
    ...unveils(config).filter(({ rights }) => /[wc]/.test(rights)).map(({ path }) => path),
    ...sockets.map((path) => dirname(path)),
  ];
  const granted = unveils(config).filter(({ exists }) => exists).map(({ path }) => path);
  const reads = [...new Set([...readsOf(config, deno), ...granted])];
  const look = (path: string) => unlessAbsent(() => Deno.statSync(path));
  // What is granted to an account is not for the supervisor to read, which is root.
  const ways = [
    ...own === undefined ? readsOf(config, deno) : reads,
    ...folders.always.map(({ path }) => dirname(path)),
  ].map(realPlace);
  const ids = own === undefined
    ? { uid: 0, gids: [0] }
    : own.account && { uid: own.account.uid, gids: groupsOf(own.user, own.account.gid) };
  const closed = findClosed(ways, ids ?? { uid: -1, gids: [] }, look);
  const plan: ServicePlan = {
    ...{ name, socket, reads, folders: folders.always, writes: [...new Set(writes)].sort() },
    config: config.named,
    start: command("start"),
    reopen: command("logs", "reopen"),
    denoDir: `/var/cache/${name}/deno`,
    user: own?.user,
    group: own?.group,
    createsUser: own?.createsUser ?? false,
    systemd: await systemdVersion(),
    addresses: bound,
    firstOpenPort: Number(
      readProc("sys/net/ipv4/ip_unprivileged_port_start", 32) ?? DEFAULT_FIRST_PORT,
    ),
    dialsSockets: config.wall === "kernel" &&
      [config, ...config.helpers].some(({ net }) => socketsOf(net).length > 0),
    closedToRoot: own === undefined ? closed : undefined,
    stopMs: config.reload.shutdownDelayMs + config.reload.drainDeadlineMs,
    descriptors: Math.max(
      ...[config, ...config.helpers].map(({ limits }) => limits.descriptors),
    ),
    variables: [...new Set(findUnset(config, {}).map((each) => each.name))],
    logFolder: config.log.folder,
    rotates: rotatesItself(config),
  };
  const missing = [...folders.always, ...folders.granted].filter(({ path }) =>
    look(path).mode === undefined
  );
  return { plan, missing, notes: notesOn(config, plan, own && closed) };
}

function unveils(config: Config): Unveil[] {
  return [config, ...config.helpers].flatMap(({ unveil }) => unveil);
}

function boundAddresses({ listen, metrics, acme }: Config): BoundAddress[] {
  const all = [...listen, ...acme?.listen ?? [], ...metrics ? [metrics.listen] : []];
  return all.flatMap((each) => each.kind === "systemd" ? [] : [each]);
}

function readsOf(config: Config, deno: string): string[] {
  return [
    ...[config.file, config.named, deno, HOLDFAST_FOLDER],
    ...[config, ...config.helpers].flatMap(({ app }) => [app.project, app.module]),
    ...givenPairs(config).flatMap(({ cert, key }) => [cert, key]),
    ...config.envFile === undefined ? [] : [config.envFile],
  ];
}

/** The folders that it writes: its own ones, and those that are granted with `c`. */
function foldersOf(
  config: Config,
  own: { readonly user: string; readonly group: string } | undefined,
): Record<"always" | "granted", ServiceFolder[]> {
  const accounts = own === undefined ? ownAccounts(config) : undefined;
  const gid = accounts?.["worker"]?.gid;
  const ownerOf = (who: Commanded | "supervisor") => {
    if (own) return { owner: own.user, group: own.group, mode: 0o700 };
    const account = who === "supervisor" ? undefined : accounts?.[who];
    // Workers pass through the runtime folder to their code.
    if (!account) return { owner: "root", group: String(gid), mode: 0o710 };
    const { uid, shares } = account;
    return { owner: String(uid), group: String(account.gid), mode: shares ? 0o770 : 0o700 };
  };
  const folder = (path: string, who: Commanded | "supervisor"): ServiceFolder => ({
    ...ownerOf(who),
    path,
    safe: foldersAbove(path).every((each) =>
      (unlessAbsent(() => Deno.statSync(each)).uid ?? 0) === 0
    ),
  });
  const granted = (who: Commanded, unveil: readonly Unveil[]) =>
    unveil.filter(({ folder, rights }) => folder && rights.includes("c"))
      .map(({ path }) => folder(path, who));
  return {
    always: [
      folder(realPlace(config.runtime), "supervisor"),
      ...config.log.folder === undefined ? [] : [folder(config.log.folder, "logger")],
    ],
    granted: [
      ...granted("worker", config.unveil),
      ...config.helpers.flatMap(({ name, unveil }) => granted(`helper ${name}`, unveil)),
    ],
  };
}

function notesOn(config: Config, plan: ServicePlan, closed: string | undefined): string[] {
  const { user } = plan;
  const wrong = plan.folders.flatMap(({ path, owner, group }) => {
    const { uid } = unlessAbsent(() => Deno.statSync(path));
    const wanted = owner === "root" ? 0 : uidOf(owner) ?? Number(owner);
    return typeof uid === "number" && uid !== wanted
      ? [`${path} is not ${owner}'s. Try: chown -R ${owner}:${group} '${path}'`]
      : [];
  });
  const others = user === undefined ? [] : unveils(config).filter(({ path, exists, rights }) => {
    const { uid } = unlessAbsent(() => Deno.statSync(path));
    return exists && /[wc]/.test(rights) && uid !== uidOf(user);
  });
  return [
    ...closed === undefined ? [] : [
      `${user} cannot enter or read ${closed}. ` +
      ([plan.start[0]!, HOLDFAST_FOLDER].some((path) => covers(closed, path))
        ? "Deno and Holdfast must lie elsewhere, such as by npm install -g holdfast"
        : `Try: chmod o+rX '${closed}'`),
    ],
    ...covers(config.folder, realPlace(config.runtime)) && dirname(config.named) !== config.folder
      ? [
        `${config.named} is reached by a link: keep "runtime", data and logs out of the folder ` +
        "that it leads to, since a later one has none of them",
      ]
      : [],
    ...wrong,
    ...others.map(({ path }) => `${path} is not ${user}'s. Try: chown -R ${user}: '${path}'`),
    ...unveils(config).filter(({ path, rights }) =>
      /[wc]/.test(rights) && VOLATILE.some((folder) => covers(folder, path))
    ).map(({ path }) => `${path} may be gone after a boot, and then the service does not start`),
    ...config.listen.some(({ kind }) => kind === "systemd") && !plan.socket
      ? ['The config takes sockets from systemd ("systemd"): their unit is yours to write']
      : [],
    ...[plan.start[0]!, HOLDFAST_FOLDER].some((path) => CACHES.test(path))
      ? [
        "Deno or Holdfast lies in a cache, which may be emptied: npm install -g holdfast, and run " +
        "this again",
      ]
      : [],
    ...plan.logFolder !== undefined && !plan.rotates && !fitsLogrotate(plan.logFolder)
      ? [`logrotate reads ${plan.logFolder} as a pattern: another log.folder gets a file for it`]
      : [],
    ...plan.logFolder !== undefined && plan.rotates
      ? ["Holdfast rotates its logs itself, so that no file for logrotate is written"]
      : [],
  ];
}

function uidOf(user: string): number | undefined {
  const rows = Deno.readTextFileSync("/etc/passwd").split("\n").map((line) => line.split(":"));
  const found = rows.find((row) => row[0] === user)?.[2];
  return found === undefined ? undefined : Number(found);
}
