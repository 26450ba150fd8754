import { dirname, join, relative } from "node:path";
import { type CheckSystem, thisMachine } from "./check_system.ts";
import { DEFAULT_RUNTIME, refuseDialled } from "./check_dialled.ts";
import type { Config, Unveil } from "./config.ts";
import { refusePath } from "./path_text.ts";
import { covers } from "../base/covers.ts";
import { foldersAbove, followPath, type Trail } from "./paths.ts";
import { SETTINGS_FILES } from "./project_files.ts";
import { formatKey } from "./format_key.ts";
import { type Position, type Problem, quote, Refusal } from "./problem.ts";
import { temporaryIn } from "./temporary.ts";
import { type Extent, systemPaths } from "./system_paths.ts";

/** What the check knows besides the config; every path is absolute and normalised. */
export interface CheckFacts {
  readonly denoDir: string;
  /** The deno program that is spawned. */
  readonly denoProgram: string;
  /**
   * Every local file of the app's module graph, and any other file that decides what code runs: an
   * import map, or a symbolic link by which the config is found.
   */
  readonly modules: readonly string[];
  /** Further files and folders that decide it, there or not; see {@link Project}. */
  readonly settings: readonly string[];
  /** Folders of packages that an image takes copies of, wherever links have led to them. */
  readonly packages?: readonly string[];
  /** The folder of Holdfast's own code. */
  readonly holdfast: string;
  /** An executable that brings all of it, and what is laid over its config. */
  readonly executable?: readonly string[];
  /** The runtime folder that is in use, while the config's own lies elsewhere. */
  readonly runtime?: string;
}

/** A path that no unveil may reach. */
interface ProtectedPath {
  readonly code: string;
  readonly what: string;
  readonly path: string;
  /** How far it reaches below the path. */
  readonly extent: Extent;
  /** A folder below the path that is not protected. */
  readonly except?: string;
  readonly against: "writes" | "anything";
  readonly why: string;
  readonly hint: string;
}

type PlacedUnveil = Unveil & Trail;
type PlacedPath = ProtectedPath & Trail;
/** A path with its links followed, and whether it is a folder. */
type Reaching = Pick<Trail, "real"> & Pick<Unveil, "folder">;

const LOG_FOLDER_CODE = "unveil_over_log";
const RUNTIME_CODE = "unveil_over_runtime";
const COMES_BACK = "the next reload would run what is written there";
const LAY_OUT = "keep data in a separate folder without code, settings or sockets, such as " +
  "/srv/app/data beside /srv/app/src, and unveil only that folder";

const OF_ITS_OWN = "give the app a folder of its own, such as /srv/app/data or /var/lib/app, and " +
  "unveil that";

// Each of these, planted beside a module or in any folder above it, changes which code runs.
const SETTINGS = [...SETTINGS_FILES, ".npmrc", ".env", "pnpm-workspace.yaml"];
const HARMLESS_DEVICES = ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];

/**
 * Checks what a config would make possible: whether something the app writes could outlive the app and
 * run, and whether each unveil has the effect that it seems to have. Symbolic links are followed on both
 * sides; hard links and bind mounts are not seen. Of an unveil only the first fault is reported.
 */
export function checkConfig(
  config: Config,
  facts: CheckFacts,
  system: CheckSystem = thisMachine(),
): Problem[] {
  const known = new Map<string, string | undefined>();
  function readLinkOnce(path: string): string | undefined {
    if (!known.has(path)) known.set(path, system.readLink(path));
    return known.get(path);
  }
  function place<T extends { readonly path: string }>(item: T): T & Trail {
    return { ...item, ...followPath(item.path, readLinkOnce) };
  }

  const compartments = [
    { key: ["unveil"], ...config },
    ...config.helpers.map((helper) => ({ key: ["helpers", helper.name, "unveil"], ...helper })),
  ].map(({ key, app, unveil }) => ({ key, app, unveils: unveil.map(place) }));
  const all = compartments.flatMap(({ unveils }) => unveils);
  const protectedPaths = [
    ...listProtected(config, facts, (path) => place({ path }).real),
    // The last, since what is said of Holdfast's own files says more.
    ...systemPaths(system.places).map((rule) => ({
      ...rule,
      ...{ code: "unveil_over_system", against: "writes" as const, hint: OF_ITS_OWN },
    })),
  ].map(place);
  const places = compartments.flatMap(({ app }) => [app.module, app.project]);
  const placed = (path: string) => place({ path });
  const addresses = [...config.listen, ...config.metrics ? [config.metrics.listen] : []];
  const dialledFacts = {
    wall: config.wall,
    runtimes: [config.runtime, facts.runtime ?? []].flat().map(placed),
    listeners: addresses.flatMap((each) => each.kind === "unix" ? placed(each.path) : []),
    changed: all.filter(({ rights }) => rights.includes("c")),
  };
  const nets = [
    { key: ["net"], net: config.net },
    ...config.helpers.map(({ name, net }) => ({ key: ["helpers", name, "net"], net })),
  ];
  return [
    ...nets.flatMap(({ key, net }) =>
      net.flatMap((entry, index) =>
        entry.startsWith("unix:")
          ? asProblem(
            [...key, index],
            undefined,
            refuseDialled(placed(entry.slice("unix:".length)), dialledFacts),
          )
          : []
      )
    ),
    ...asProblem(["user"], config.at?.user, refuseUser(config, system.uid)),
    ...asProblem(["app"], config.at?.app, refusePaths([...places, ...facts.modules])),
    ...asProblem(["runtime"], config.at?.runtime, refusePaths([config.runtime])),
    ...asProblem(
      ["log", "folder"],
      config.at?.log,
      refuseLog(config, protectedPaths, place, system),
    ),
    ...[config, ...config.helpers].flatMap((each) =>
      asProblem(
        "name" in each ? ["helpers", each.name, "tmp"] : ["tmp"],
        undefined,
        each.tmp ? refuseTemporary(config, protectedPaths, place) : undefined,
      )
    ),
    ...asProblem([], undefined, refusePaths([facts.denoDir, facts.denoProgram, facts.holdfast])),
    ...compartments.flatMap(({ key, unveils }) =>
      unveils.flatMap((unveil, index) =>
        asProblem(
          [...key, unveil.path],
          unveil.at,
          refusePaths([unveil.path, unveil.real]) ?? refuseSystemFolder(unveil) ??
            refuseReach(unveil, protectedPaths) ?? refuseRepeat(unveil, unveils.slice(0, index)) ??
            refuseFewer(unveil, unveils) ?? refuseReplaceable(unveil, all) ??
            refuseMissing(unveil, config, system),
        )
      )
    ),
  ];
}

function asProblem(
  key: readonly PropertyKey[],
  at: Position | undefined,
  refusal: Refusal | undefined,
): Problem[] {
  return refusal === undefined ? [] : [{ ...refusal, key: formatKey(key), at }];
}

/** The schema checked the spelling; here the folders above count too, since they end up in flags. */
function refusePaths(paths: readonly string[]): Refusal | undefined {
  return paths.map(refusePath).find((refusal) => refusal !== undefined);
}

function refuseUser({ account }: Config, uid: number | null): Refusal | undefined {
  if (account === undefined || uid === 0) return undefined;
  return new Refusal(
    "user_without_root",
    `only root can run workers as ${quote(account.user)}, and this is uid ${uid}`,
    'start Holdfast as root, or leave out "user" and "group"',
  );
}

function listProtected(
  config: Config,
  facts: CheckFacts,
  realPath: (path: string) => string,
): ProtectedPath[] {
  const places = [config, ...config.helpers].map(({ app }) => app);
  const modules = [...new Set([...places.map(({ module }) => module), ...facts.modules])];
  // Deno looks for settings from a module upwards, by its name or by its real path.
  const folders = new Set(modules.flatMap((path) => [path, realPath(path)]).flatMap(foldersAbove));
  function protect(
    code: string,
    what: string,
    path: string,
    extent: ProtectedPath["extent"],
  ): ProtectedPath {
    return { code, what, path, extent, against: "writes", why: COMES_BACK, hint: LAY_OUT };
  }
  // An example app inside Holdfast's own repository may have a data folder.
  const [own, inside] = [realPath(facts.holdfast), realPath(config.app.project)];
  const except = covers(own, inside) && own !== inside ? { except: inside } : {};
  return [
    ...[config.runtime, ...facts.runtime === undefined ? [] : [facts.runtime]].map((path) => ({
      code: RUNTIME_CODE,
      what: "the control socket's folder",
      path,
      extent: "tree" as const,
      against: "anything" as const,
      why: "access to the control socket means control of the supervisor",
      hint: 'unveil a folder further down, or move "runtime", such as to /run/holdfast',
    })),
    ...config.log.folder === undefined ? [] : [{
      code: LOG_FOLDER_CODE,
      what: "the log folder",
      path: config.log.folder,
      extent: "tree" as const,
      against: "anything" as const,
      why:
        "the log has every client's requests, and an attacker could hide a break-in by changing it",
      hint: 'unveil a folder beside it, or move "log.folder", such as to /var/log/holdfast',
    }],
    ...config.envFile === undefined ? [] : [{
      code: "unveil_over_env_file",
      what: "the file with values of variables",
      path: config.envFile,
      extent: "path" as const,
      against: "anything" as const,
      why: "it has secrets of other processes too",
      hint: "unveil a folder further down, or move the file",
    }],
    ...config.listen.flatMap(({ tls = [] }) => tls.flatMap(({ cert, key }) => [cert, key])).map((
      path,
    ) => ({
      code: "unveil_over_tls",
      what: "a file of a certificate or its key",
      path,
      extent: "path" as const,
      against: "anything" as const,
      why: "whoever has the key can pass for this server",
      hint: "unveil a folder further down, or move the two files to one of their own",
    })),
    // Also the path as it was given: replacing a link on the way chooses another config.
    ...[...new Set([config.file, config.named])].map((path) =>
      protect("unveil_over_config", "the config", path, "path")
    ),
    ...modules.map((path) => protect("unveil_over_module", "the app's code", path, "path")),
    ...facts.settings.map((path) =>
      protect("unveil_over_settings", "settings of the app", path, "path")
    ),
    ...[...new Set(places.map(({ project }) => project))].map((project) =>
      protect("unveil_over_project", "the app's project folder", project, "path")
    ),
    ...[...folders].flatMap((folder) => [
      ...SETTINGS.map((name) =>
        protect("unveil_over_settings", "settings of the app", join(folder, name), "path")
      ),
      protect(
        "unveil_over_node_modules",
        "packages of the app",
        join(folder, "node_modules"),
        "tree",
      ),
    ]),
    ...(facts.packages ?? []).map((path) =>
      protect(
        "unveil_over_node_modules",
        "packages of the app",
        path,
        covers(path, config.app.project) ? "path" : "tree",
      )
    ),
    protect("unveil_over_cache", "Deno's cache of code", facts.denoDir, "tree"),
    protect("unveil_over_program", "the deno program", facts.denoProgram, "path"),
    {
      ...protect("unveil_over_holdfast", "Holdfast's own code", facts.holdfast, "tree"),
      ...except,
    },
    // Deno looks there for a workspace that Holdfast would be a member of.
    ...foldersAbove(facts.holdfast).flatMap((folder) =>
      SETTINGS.map((name) =>
        protect("unveil_over_holdfast", "settings of Holdfast", join(folder, name), "path")
      )
    ),
    ...[...config.listen, ...config.metrics ? [config.metrics.listen] : []].filter((address) =>
      address.kind === "unix"
    ).map(({ path }) => ({
      ...protect("unveil_over_listener", "the folder of a socket", path, "path"),
      why: "the app could replace the server's socket by its own",
    })),
  ];
}

function refuseSystemFolder({ path, real, rights }: PlacedUnveil): Refusal | undefined {
  if (real === "/") {
    return new Refusal(
      "unveil_root",
      `${quote(path)} includes everything, also the control socket and /proc`,
      "unveil only the folders that the app needs",
    );
  }
  const refused = covers("/proc", real) ||
    (real === "/sys" || covers("/sys", real) && isWriting(rights)) ||
    (covers("/dev", real) && !HARMLESS_DEVICES.includes(real));
  if (!refused) return undefined;
  return new Refusal(
    "unveil_system",
    `${quote(path)} with ${quote(rights)} is a kernel file system: ` +
      "it shows or changes other processes and devices",
    "leave it out; `r` works below /sys, and these may be unveiled: " +
      HARMLESS_DEVICES.join(", "),
  );
}

/** The log folder is writable like an unveil with `rwc`, though not for the app. */
function refuseLog(
  { log: { folder: path } }: Config,
  protectedPaths: readonly PlacedPath[],
  place: (item: { path: string }) => { path: string } & Trail,
  system: CheckSystem,
): Refusal | undefined {
  if (path === undefined) return undefined;
  const { real } = place({ path });
  const unfit = refusePaths([path, real]);
  if (unfit !== undefined) return unfit;
  if (real === "/" || ["/proc", "/sys", "/dev"].some((folder) => covers(folder, real))) {
    const message = `${quote(path)} is a folder of the system`;
    return new Refusal(
      "log_system",
      message,
      "name a separate folder, such as /var/log/holdfast",
    );
  }
  const found = findReach(
    { real, folder: true },
    "rwc",
    protectedPaths.filter(({ code }) => code !== LOG_FOLDER_CODE),
  );
  if (found !== undefined) {
    return new Refusal(
      "log_misplaced",
      `${quote(path)} contains ${found.entry.what}, or is inside it: ${quote(found.reached)}`,
      "give the log a separate, empty folder, such as /var/log/holdfast",
    );
  }
  if (system.exists(dirname(real))) return undefined;
  return new Refusal(
    "log_missing",
    `${quote(dirname(real))} does not exist, so ${quote(path)} cannot be created`,
    "create it, owned by the user that starts Holdfast",
  );
}

/** What a process writes into its private folder must be nothing that the next reload would run. */
function refuseTemporary(
  { runtime }: Config,
  protectedPaths: readonly PlacedPath[],
  place: (item: { path: string }) => { path: string } & Trail,
): Refusal | undefined {
  const { path, real } = place({ path: temporaryIn(runtime) });
  const others = protectedPaths.filter(({ code }) => code !== RUNTIME_CODE);
  const found = findReach({ real, folder: true }, "rwc", others);
  if (found === undefined) return undefined;
  return new Refusal(
    "tmp_misplaced",
    `${quote(path)} contains ${found.entry.what}, or is inside it: ${quote(found.reached)}`,
    'leave "tmp" out, or set "runtime" to a folder of its own, such as /run/holdfast',
  );
}

function refuseReach(
  unveil: PlacedUnveil,
  protectedPaths: readonly PlacedPath[],
): Refusal | undefined {
  const { path, real, rights } = unveil;
  if (isWriting(rights) && `${path}${real}`.split("/").includes("node_modules")) {
    return new Refusal(
      "unveil_over_node_modules",
      `${quote(path)} with ${quote(rights)} is in a node_modules folder: ${COMES_BACK}`,
      LAY_OUT,
    );
  }
  const found = findReach(unveil, rights, protectedPaths);
  if (found === undefined && real.split("/").includes(DEFAULT_RUNTIME)) {
    return new Refusal(
      RUNTIME_CODE,
      `${quote(path)} is in the runtime folder of a Holdfast, ${quote(real)}`,
      "unveil a folder that is in none",
    );
  }
  if (found === undefined) return undefined;
  const { entry, reached } = found;
  const verb = isWriting(rights) ? "makes writable" : "reaches";
  return new Refusal(
    entry.code,
    `${quote(path)} with ${quote(rights)} ${verb} ${entry.what}, ${quote(reached)}: ${entry.why}`,
    entry.hint,
  );
}

/** The first protected path that a folder with these rights reaches, and where. */
function findReach(
  { real, folder }: Reaching,
  rights: string,
  protectedPaths: readonly PlacedPath[],
): { entry: PlacedPath; reached: string } | undefined {
  for (const entry of protectedPaths) {
    if (entry.against === "writes" && !isWriting(rights)) continue;
    // A link on the way counts like the file itself: replacing it chooses another file.
    const reached = [...entry.links, entry.real].find((place) => covers(real, place));
    if (reached !== undefined) return { entry, reached };
    const below = covers(entry.real, real) && isWithinExtent(entry, real, folder) &&
      !(entry.except !== undefined && covers(entry.except, real));
    if (below) return { entry, reached: real };
  }
  return undefined;
}

/** Whether a place below a protected path is protected too. */
function isWithinExtent({ real: outer, extent }: PlacedPath, real: string, folder: boolean) {
  switch (extent) {
    case "path":
      return false;
    case "files":
      return !folder && dirname(real) === outer;
    case "dotfiles":
      return relative(outer, real).startsWith(".");
    case "tree":
      return true;
  }
}

function refuseRepeat(
  { path, real }: PlacedUnveil,
  earlier: readonly PlacedUnveil[],
): Refusal | undefined {
  const same = earlier.find((other) => other.real === real);
  if (same === undefined) return undefined;
  return new Refusal(
    "unveil_repeated",
    `${quote(path)} and ${quote(same.path)} are the same file, ${quote(real)}`,
    "write it once, with all its rights",
  );
}

function refuseFewer(
  inner: PlacedUnveil,
  unveils: readonly PlacedUnveil[],
): Refusal | undefined {
  for (const outer of unveils) {
    const fewer = [...outer.rights].some((right) => !inner.rights.includes(right));
    if (!isWithin(inner, outer) || !fewer) continue;
    // Landlock adds rights up on the way down, so the inner path would have the outer one's too.
    return new Refusal(
      "unveil_fewer_inside",
      `${quote(inner.path)} with ${quote(inner.rights)} is inside ${quote(outer.path)} with ` +
        `${quote(outer.rights)}: the kernel cannot take rights away further down`,
      "put the two folders side by side, such as ./data/public and ./data/keys, and unveil each",
    );
  }
  return undefined;
}

/**
 * The next reload follows links again: one that a process made would lead to a place of its choice.
 *
 * @param unveils of every process: a link made by one may be in another's unveil
 */
function refuseReplaceable(
  inner: PlacedUnveil,
  unveils: readonly PlacedUnveil[],
): Refusal | undefined {
  for (const outer of unveils) {
    const planted = isWithin(inner, outer)
      ? inner.real
      : inner.links.find((link) => covers(outer.real, link));
    if (planted === undefined || !outer.rights.includes("c")) continue;
    return new Refusal(
      "unveil_replaceable",
      `the app could replace ${quote(planted)} by a link, since ${quote(outer.path)} has ` +
        `"c", and the next reload would grant ${quote(inner.rights)} on its target`,
      "leave this one out if the outer rights are enough, or put the two folders side by side",
    );
  }
  return undefined;
}

function isWithin(inner: PlacedUnveil, outer: PlacedUnveil): boolean {
  return inner.real !== outer.real && covers(outer.real, inner.real);
}

function refuseMissing(
  { path, real, rights, exists, folder }: PlacedUnveil,
  { wall }: Config,
  system: CheckSystem,
): Refusal | undefined {
  if (exists) return undefined;
  if (!rights.includes("c")) {
    return new Refusal(
      "unveil_missing",
      `${quote(path)} does not exist`,
      'create it, or add "c" if the app should create it',
    );
  }
  if (!system.exists(dirname(real))) {
    return new Refusal(
      "unveil_parent_missing",
      `${quote(dirname(real))} does not exist, so the app cannot create ${quote(path)}`,
      "create that folder",
    );
  }
  // Landlock grants files, not names. Granting the folder instead would be more than was asked for.
  if (folder || wall !== "kernel") return undefined;
  return new Refusal(
    "unveil_not_there",
    `${quote(path)} does not exist, and the kernel's wall can only grant existing paths`,
    `write ${quote(`${path}/`)} to have it created as a folder, or create the file`,
  );
}

function isWriting(rights: string): boolean {
  return rights.includes("w") || rights.includes("c");
}
