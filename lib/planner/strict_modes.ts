/**
 * Who may change what decides what runs, by owners and modes, as sshd's StrictModes. What the process
 * that starts Holdfast runs or trusts itself is strict: only that user and root may write it, and each
 * folder on the way. The app's own files run as workers do, whoever has written them: for these it is
 * a fault that everybody, or the workers' own account, may write them.
 */
import { dirname, join } from "node:path";
import type { CheckFacts } from "../config/check.ts";
import { exists } from "../config/check_system.ts";
import type { Config } from "../config/config.ts";
import { foldersAbove, followPath, type Trail } from "../config/paths.ts";
import { type Problem, quote } from "../config/problem.ts";
import { SETTINGS_FILES } from "../config/project_files.ts";
import { unlessAbsent } from "../config/real_place.ts";
import { listUsers, type Users } from "./users.ts";

/** What is asked of the machine. */
export interface ModesSystem {
  /** Who starts Holdfast. */
  readonly uid: number;
  readonly users: Users;
  /** About the path itself, links not followed; nothing if it is not there. */
  readonly look: (path: string) => Look;
  /** Whether there is something; much faster than a look at what is not there. */
  readonly exists: (path: string) => boolean;
  readonly readLink: (path: string) => string;
  /** The files of Holdfast itself. */
  readonly ownFiles: readonly string[];
}

export type Look = Partial<
  Pick<Deno.FileInfo, "uid" | "gid" | "mode" | "dev" | "isDirectory" | "isSymlink">
>;

/** A path that decides what runs. */
interface Trusted {
  readonly what: string;
  readonly path: string;
  readonly grade: "strict" | "app";
  /** Whether nobody has named it: it was found in a folder above. */
  readonly found?: boolean;
}

/** What was found of one path. */
interface Fault {
  readonly refused: boolean;
  /** Who may write it. */
  readonly who: string;
  /** What mends it, with the path behind it. */
  readonly mend: string;
  /** What else there is to say. */
  readonly note?: string;
}

/** A fault that does not keep anything from running. */
export interface ModeWarning {
  readonly path: string;
  readonly hint: string;
}

const PRIVATE_KEY = "a private key";

/** Code of such a problem. */
const CODE = "open_to_others";

/** How many paths a hint names. */
const MAX_PLACES = 8;

/** As what root appears where it has no number, as in a container without root. */
const OVERFLOW_UID = 65_534;

/** Looks at all of them, and at each folder and link on the way. */
export function checkModes(
  config: Config,
  facts: CheckFacts,
  system: ModesSystem,
): { problems: Problem[]; warnings: ModeWarning[] } {
  const looks = new Map<string, Look>();
  const look = (path: string) => {
    if (!looks.has(path)) looks.set(path, system.look(path));
    return looks.get(path)!;
  };
  const readLink = (path: string) => look(path).isSymlink ? system.readLink(path) : undefined;
  const seen = new Set<string>();
  const faults = new Map<string, { fault: Fault; message: string; places: string[] }>();
  const trails = new Map<string, Trail>();
  /** Most of what lies in a folder is not a link: so the way to it is followed once. */
  const follow = (path: string): Trail => {
    const end = path.lastIndexOf("/");
    const folder = path.slice(0, end) || "/";
    const trail = trails.get(folder) ?? followPath(folder, readLink);
    trails.set(folder, trail);
    const place = `${trail.real === "/" ? "" : trail.real}${path.slice(end)}`;
    return !/\/\.{0,2}$/.test(path) && readLink(place) === undefined
      ? { real: place, links: trail.links }
      : followPath(path, readLink);
  };
  for (const { what, path, grade, found = false } of listTrusted(config, facts, system)) {
    const { real, links } = follow(path);
    for (const target of [real, ...links]) {
      for (let place = target, below = ""; place !== below; below = place, place = dirname(place)) {
        const isFound = found && place === target;
        const key = `${place} ${grade} ${isFound}`;
        // With a folder all above it were looked at.
        if (seen.has(key)) break;
        seen.add(key);
        const judged = { place, grade, found: isFound, last: place === real };
        for (const fault of judge(judged, config, system, look)) {
          const { uid = 0, mode } = look(place);
          const is = place === target ? what : `on the way to ${what}`;
          const message = `${quote(place)}, ${is}, may be written by ${fault.who} (owner ` +
            `${nameOf(uid!, system.users)}, mode ${
              ((mode ?? 0) & 0o7777).toString(8).padStart(4, "0")
            })`;
          const kind = `${fault.refused} ${fault.who} ${fault.mend}`;
          const known = faults.get(kind) ?? { fault, message, places: [] };
          if (!known.places.includes(place)) known.places.push(place);
          faults.set(kind, known);
        }
      }
    }
  }
  const problems: Problem[] = [];
  for (const { key } of config.listen.flatMap(({ tls = [] }) => tls)) {
    const found = readers(followPath(key, readLink).real, config, system, look);
    if (found) problems.push({ code: CODE, key: "", at: config.at?.listen, ...found });
  }
  const warnings: ModeWarning[] = [];
  for (const { fault: { refused, mend, note }, message, places } of faults.values()) {
    const words = places.slice(0, MAX_PLACES).map(word).join(" ");
    const left = places.length - MAX_PLACES;
    const hint = `${mend} ${words}${left > 0 ? `, and ${left} more` : ""}${
      note ? `; ${note}` : ""
    }`;
    if (refused) problems.push({ code: CODE, key: "", message, hint, at: undefined });
    else warnings.push({ path: places[0]!, hint: `${message}. Try: ${hint}` });
  }
  return { problems, warnings };
}

function listTrusted(
  config: Config,
  facts: CheckFacts,
  { ownFiles, exists }: ModesSystem,
): Trusted[] {
  const strict = (what: string, ...paths: string[]): Trusted[] =>
    [...new Set(paths)].map((path) => ({ what, path, grade: "strict" }));
  const app = (what: string, ...paths: string[]): Trusted[] =>
    [...new Set(paths)].map((path) => ({ what, path, grade: "app" }));
  const places = [config, ...config.helpers].map(({ app }) => app);
  const modules = [...places.map(({ module }) => module), ...facts.modules]
    .filter((path) => !path.startsWith(`${facts.denoDir}/`));
  const folders = [...new Set(modules.flatMap(foldersAbove))];
  const settingsIn = (folder: string) =>
    [...SETTINGS_FILES, ".npmrc", "node_modules"].map((name) => join(folder, name))
      .filter(exists);
  const found = (what: string, grade: Trusted["grade"], folders: readonly string[]): Trusted[] =>
    folders.flatMap(settingsIn).map((path) => ({ what, path, grade, found: true }));
  const pairs = config.listen.flatMap(({ tls }) => tls ?? []);
  const runtimes = [config.runtime, ...facts.runtime === undefined ? [] : [facts.runtime]];
  return [
    ...strict("the executable", ...facts.executable ?? []),
    ...strict("the config", config.file, config.named),
    ...strict("the deno program", facts.denoProgram),
    ...strict("Holdfast's own code", facts.holdfast, ...ownFiles),
    ...strict("the runtime folder", ...runtimes),
    ...strict(
      "Deno's cache of code",
      ...["npm", "remote", "gen", "holdfast"].map((name) => join(facts.denoDir, name)),
    ),
    ...config.log.folder === undefined ? [] : app("the log folder", config.log.folder),
    ...config.envFile === undefined ? [] : app("the file of variables", config.envFile),
    ...app("a certificate", ...pairs.map(({ cert }) => cert)),
    ...app(PRIVATE_KEY, ...pairs.map(({ key }) => key)),
    ...app("the app's project", ...places.map(({ project }) => project)),
    ...app("the app's code", ...modules),
    ...app("packages of the app", ...facts.packages ?? []),
    ...app("settings of the app", ...facts.settings),
    ...found("settings of Holdfast", "strict", foldersAbove(facts.holdfast)),
    ...found("settings of the app", "app", folders),
  ];
}

function judge(
  { place, grade, found, last }: {
    readonly place: string;
    readonly grade: Trusted["grade"];
    readonly found: boolean;
    /** Whether it is what the way leads to. */
    readonly last: boolean;
  },
  { account }: Pick<Config, "account">,
  { uid: self, users }: ModesSystem,
  look: ModesSystem["look"],
): Fault[] {
  const { uid, gid, mode, dev, isDirectory, isSymlink } = look(place);
  if (typeof mode !== "number" || typeof uid !== "number" || typeof gid !== "number") return [];
  const rootIsHidden = look("/").uid === OVERFLOW_UID;
  const isRoot = (id: number) => id === 0 || rootIsHidden && id === OVERFLOW_UID;
  const isTrusted = (id: number) => isRoot(id) || id === self;
  const isWorkers = (id: number) => account?.uid === id && !isTrusted(id);
  const own = nameOf(self, users);
  const faults: Fault[] = [];

  const parent = place === "/" ? {} : look(foldersAbove(place)[0]!);
  const besideAll = ((parent.mode ?? 0) & 0o1002) === 0o1002;
  // Whoever owns a file may change its mode.
  const owner = nameOf(uid, users);
  const add = (refused: boolean, who: string, mend: string, note?: string) =>
    faults.push({ refused, who, mend, ...note !== undefined && { note } });
  if (isWorkers(uid)) {
    add(
      true,
      owner,
      `chown ${own}`,
      "the workers run as that user: give it its data folders alone",
    );
  } else if (!isTrusted(uid) && found && besideAll) {
    add(true, owner, "rm -r", "anybody can put that there: or move the app to another folder");
  } else if (!isTrusted(uid) && grade === "strict") {
    // As root that is a deployment by somebody else, or a folder of the host's in a container.
    const note = self === 0
      ? "that user decides what root runs, if that is not meant"
      : "as root, or use a copy of your own";
    add(self !== 0, owner, `chown ${own}`, note);
  }
  // A link has no mode, and in a sticky folder each changes only what is his own.
  if (isSymlink || isDirectory && (mode & 0o1000) !== 0 && !last) return faults;

  if ((mode & 0o002) !== 0) {
    // Container platforms mount empty volumes so, and nobody else sees them.
    const isVolume = isDirectory === true && parent.dev !== undefined && parent.dev !== dev;
    add(!isVolume, "everybody", "chmod o-w", "where that has no effect, move it to another disk");
  }
  if ((mode & 0o020) === 0 || isRoot(gid)) return faults;
  const members = users.membersOf(gid) ?? (gid === uid ? [uid] : undefined);
  const others = members?.filter((id) => !isTrusted(id));
  const who = `the group ${users.groups.get(gid)?.name ?? gid}`;
  if (account && !isTrusted(account.uid) && (account.gid === gid || members?.some(isWorkers))) {
    add(true, who, "chmod g-w", "the workers are in that group");
  } else if (others === undefined || others.some((id) => id !== uid)) {
    if (grade === "strict" || self !== 0) add(grade === "strict", who, "chmod g-w");
  } else if (members!.includes(self) && grade === "strict" && self !== 0) {
    add(false, who, "chmod g-w", "nobody else is in that group now");
  }
  return faults;
}

/** Whether others than those who start Holdfast may read a private key, or the workers themselves. */
function readers(
  path: string,
  { account }: Pick<Config, "account">,
  { uid: self, users }: ModesSystem,
  look: ModesSystem["look"],
): Pick<Problem, "message" | "hint"> | undefined {
  const { uid, gid, mode } = look(path);
  if (typeof mode !== "number" || typeof uid !== "number" || typeof gid !== "number") {
    return undefined;
  }
  const isWorkers = account !== undefined && account.uid !== self;
  const inGroup = isWorkers &&
    (account.gid === gid || users.membersOf(gid)?.includes(account.uid) === true);
  const [who, mend] = (mode & 0o004) !== 0
    ? ["everybody", "chmod o-r"]
    : isWorkers && account.uid === uid
    ? [`the workers' user ${account.user}`, `chown ${nameOf(self, users)}`]
    : inGroup && (mode & 0o040) !== 0
    ? [`the workers' group ${users.groups.get(gid)?.name ?? gid}`, "chmod g-r"]
    : [];
  if (who === undefined) return undefined;
  const bits = (mode & 0o7777).toString(8).padStart(4, "0");
  return {
    message: `${quote(path)}, ${PRIVATE_KEY}, may be read by ${who} (owner ` +
      `${nameOf(uid, users)}, mode ${bits})`,
    hint: `${mend} ${word(path)}`,
  };
}

function nameOf(uid: number, { names }: Users): string {
  const name = uid === 0 ? "root" : names.get(uid);
  return name ?? `uid ${uid}`;
}

/** A word of a shell's command line. */
function word(path: string): string {
  return /^[\w/.:@%+=-]+$/.test(path) ? path : `'${path.replaceAll("'", `'\\''`)}'`;
}

/** This machine, with a look at what does not depend on a config, here and now. */
export function lookAhead({ holdfast }: Pick<CheckFacts, "holdfast">): ModesSystem {
  const files = filesIn(holdfast);
  const known = new Map(files.map((path) => [path, unlessAbsent(() => Deno.lstatSync(path))]));
  return {
    uid: Deno.uid() ?? 0,
    users: listUsers(),
    look: (path) => known.get(path) ?? unlessAbsent(() => Deno.lstatSync(path)),
    exists,
    readLink: (path) => Deno.readLinkSync(path),
    ownFiles: files,
  };
}

/** What of Holdfast's own folder runs: not its tests, nor an app in it. */
function filesIn(holdfast: string): string[] {
  const list = (folder: string, deep: boolean): string[] => {
    try {
      return [...Deno.readDirSync(folder)].flatMap(({ name, isDirectory }) => {
        const path = join(folder, name);
        return !isDirectory ? [path] : deep || name === "lib" ? [path, ...list(path, true)] : [];
      });
    } catch {
      return [];
    }
  };
  return list(holdfast, false);
}
