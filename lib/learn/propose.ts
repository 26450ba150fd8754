/** The narrowest lines of a config for what an app was seen to want, each with what it is for. Pure. */
import { dirname, isAbsolute, join, relative, resolve } from "node:path";
import { covers } from "../base/covers.ts";
import { SYS_KINDS } from "../base/sys_kinds.ts";
import { parseNet } from "../config/address.ts";
import { Refusal } from "../config/problem.ts";
import type { Access } from "./access.ts";

/** One entry of a key of the config, of one process. */
export interface Line {
  readonly process: string;
  readonly key: "unveil" | "env" | "net" | "sys" | "tmp";
  /** The path as a config spells it, the name, the host; nothing for `tmp`. */
  readonly item: string;
  /** `r`, `rw` or `rwc`, of a path. */
  readonly rights?: string;
  /** What it is for. */
  readonly seen: readonly Access[];
}

/** What is not proposed, and why. */
export interface Apart {
  readonly process: string;
  readonly what: string;
  readonly why: string;
  readonly seen: readonly Access[];
}

export interface Proposal {
  readonly lines: readonly Line[];
  readonly apart: readonly Apart[];
}

/** What is known of the machine and the project. */
export interface Place {
  /** The config's folder. */
  readonly folder: string;
  /** Folders of projects: what is right in them is never opened as a whole. */
  readonly projects: readonly string[];
  /** The modules of the app and its helpers. */
  readonly modules: readonly string[];
  readonly home: string;
  kindOf(path: string): "file" | "folder" | "missing";
  /** Whether a variable has a value, here or in the file of `envFile`. */
  isSet(name: string): boolean;
  /** Why a line is refused by the check of a config, if it is known to be. */
  refusedBy(line: Pick<Line, "process" | "key" | "item">): string | undefined;
}

/** Functions that make, remove or rename: what they need is a right of the folder. */
const CHANGES =
  /^(_?mkdir|mkdtemp|makeTemp|remove|rm|rmdir|unlink|rename|link|symlink|create(?!Read))/;

/** What a session has and packages look at, to no purpose of the app's. */
const OF_SESSION =
  /^(TERM|COLORTERM|FORCE_COLOR|NO_COLOR|CI|DEBUG|HOME|PATH|USER|LOGNAME|SHELL|LANG|LC_\w+|PWD|TMPDIR|TEMP|TMP|EDITOR|DISPLAY|COLUMNS|LINES|npm_\w+|VSCODE_\w+|JEST_\w+|VITEST\w*|BABEL_\w+)$/;

/** Where the app listens is Holdfast's matter. */
const OF_LISTENING = /^(PORT|HOST|HOSTNAME)$/;

const RIGHTS = ["r", "rw", "rwc"];

/** Something below a path, with the rights that it takes. */
interface PathWish {
  readonly path: string;
  readonly rights: string;
  readonly folder: boolean;
  readonly seen: readonly Access[];
}

/** Proposes lines. */
export function propose(accesses: readonly Access[], place: Place): Proposal {
  const processes = [...new Set(accesses.map(({ process }) => process))].sort();
  const all = processes.map((process) =>
    proposeFor(process, accesses.filter((each) => each.process === process), place)
  );
  const lines = all.flatMap((each) => each.lines);
  const refused = lines.flatMap(({ process, key, item, rights, seen }) => {
    const why = place.refusedBy({ process, key, item });
    return why === undefined ? [] : [{ process, what: wordsOf({ key, item, rights }), why, seen }];
  });
  return {
    lines: lines.filter((each) => place.refusedBy(each) === undefined),
    apart: [...all.flatMap((each) => each.apart), ...refused],
  };
}

/** A line as it is said. */
export function wordsOf(
  { key, item, rights }: { key: string; item: string; rights?: string | undefined },
): string {
  return [key, item, rights].filter((each) => each).join(" ");
}

function proposeFor(process: string, accesses: readonly Access[], place: Place): Proposal {
  const apart: Apart[] = [];
  const names: Record<"env" | "net" | "sys" | "tmp", Map<string, Access[]>> = {
    ...{ env: new Map(), net: new Map(), sys: new Map(), tmp: new Map() },
  };
  const wishes: PathWish[] = [];
  const decline = (access: Access, why: string, what = `${access.kind} ${access.what}`.trim()) =>
    apart.push({ process, what, why, seen: [access] });
  const want = (key: keyof typeof names, item: string, access: Access) =>
    names[key].set(item, [...names[key].get(item) ?? [], access]);

  for (const access of accesses) {
    const { kind, what, instead } = access;
    if (kind === "env") {
      const why = whyNoVariable(access, place);
      if (why === undefined) want("env", what, access);
      else if (why !== "") decline(access, why);
    } else if (kind === "net") {
      const parsed = parseNet(spellSocket(what, place));
      if (!(parsed instanceof Refusal)) want("net", parsed, access);
      else decline(access, instead || parsed.message);
    } else if (kind === "sys" && (SYS_KINDS as readonly string[]).includes(what)) {
      want("sys", what, access);
    } else if (["read", "write", "database", "kernel"].includes(kind)) {
      if (isTemporary(access, place)) want("tmp", "", access);
      else {
        const wish = wishOf(access, place);
        if (typeof wish === "object") wishes.push(wish);
        else if (wish !== "") decline(access, wish);
      }
    } else decline(access, instead || "no line of a config allows it");
  }
  const paths = prune(collapse(wishes, place)).map((each): Line => ({
    ...{ process, key: "unveil", seen: each.seen, rights: each.rights },
    item: spellPath(each, place),
  }));
  const others = Object.entries(names).flatMap(([key, items]) =>
    [...items].map(([item, seen]): Line => ({ process, key: key as Line["key"], item, seen }))
  );
  return { lines: [...paths, ...others], apart };
}

/** Why a variable is not listed; an empty text where there is nothing to say. */
function whyNoVariable(access: Access, { isSet }: Place): string | undefined {
  const { what, package: by } = access;
  if (OF_LISTENING.test(what)) return "";
  if (by !== "" && OF_SESSION.test(what)) {
    return `the package ${by} looks at it, and can do without`;
  }
  if (isSet(what)) return undefined;
  return 'it has no value here: set it and learn again, or add it to "env" yourself';
}

/** Where the operating system keeps temporary files: each process gets a folder of its own for that. */
function isTemporary({ kind, what }: Access, { projects }: Place): boolean {
  return what === "<TMP>" || kind !== "read" && /^\/(var\/)?tmp(\/|$)/.test(what) &&
      !projects.some((project) => covers(project, what));
}

/** What an access takes; or why nothing gives it, empty where there is nothing to say. */
function wishOf(access: Access, place: Place): PathWish | string {
  const { kind, what: path, op, looked } = access;
  const seen = [access];
  if (!isAbsolute(path)) return access.instead || "it names no path";
  if (path.split("/").includes("node_modules")) {
    return "packages read what they ship by themselves; nobody writes there";
  }
  const is = place.kindOf(path);
  if (kind === "read") {
    if (is === "missing") return looked ? "" : "nothing is there";
    if (is === "folder" && isShared(path, place)) {
      return "a folder that has more than the app's data";
    }
    return { path, rights: "r", folder: is === "folder", seen };
  }
  // Modes and owners are nobody's to change; and of a file that is there, its own may forbid it.
  const isOfWall = CHANGES.test(op) || op === "open" && is === "missing";
  if (kind === "kernel" && !isOfWall) return access.instead || "the kernel refused it";
  const isChange = kind !== "write" || is === "missing" || CHANGES.test(op);
  if (!isChange && is === "file") return { path, rights: "rw", folder: false, seen };
  // A folder that is itself made, or written in.
  const isFolder = is === "folder" || is === "missing" && kind === "write" && /mkdir/i.test(op);
  const folder = topMissing(isFolder ? path : dirname(path), place);
  if (!isShared(folder, place)) return { path: folder, rights: "rwc", folder: true, seen };
  return kind === "write" && is === "file" && !CHANGES.test(op)
    ? { path, rights: "rw", folder: false, seen }
    : `${folder} holds more than data: have the app keep it in a folder of its own, such as ` +
      `${spellPath({ path: join(place.folder, "data"), folder: true }, place)}`;
}

/** Of folders that are not there yet, the one that is made first. */
function topMissing(path: string, place: Place): string {
  let found = path;
  while (place.kindOf(dirname(found)) === "missing") found = dirname(found);
  return found;
}

/** Whether a folder has more than what an app is meant to reach as a whole. */
function isShared(path: string, { projects, folder, home }: Place): boolean {
  return path.split("/").length <= 2 || covers(path, home) ||
    [...projects, folder].some((each) => covers(path, each));
}

/** Several files of one folder become the folder; what is only read, also folders of one folder. */
function collapse(wishes: readonly PathWish[], place: Place): PathWish[] {
  const byPath = new Map<string, PathWish>();
  const add = (wish: PathWish) => {
    const known = byPath.get(wish.path);
    byPath.set(wish.path, known === undefined ? wish : joined(known, wish));
  };
  wishes.forEach(add);
  for (let changed = true; changed;) {
    changed = false;
    const groups = Map.groupBy(byPath.values(), ({ path, rights }) => `${rights} ${dirname(path)}`);
    for (const group of groups.values()) {
      const [{ path, rights }] = group as [PathWish];
      const above = dirname(path);
      const files = group.filter(({ folder }) => !folder);
      const mayJoin = rights === "r" ? group : files;
      const inProject = place.projects.some((project) => covers(project, above));
      const hasCode = place.modules.some((module) => covers(above, module));
      const fits = mayJoin.length > 1 && !isShared(above, place) &&
        (files.length > 1 || inProject && !hasCode);
      if (!fits) continue;
      for (const each of mayJoin) byPath.delete(each.path);
      add({ path: above, rights, folder: true, seen: mayJoin.flatMap(({ seen }) => seen) });
      changed = true;
    }
  }
  return [...byPath.values()];
}

function joined(one: PathWish, other: PathWish): PathWish {
  const most = Math.max(RIGHTS.indexOf(one.rights), RIGHTS.indexOf(other.rights));
  return {
    path: one.path,
    rights: RIGHTS[most]!,
    folder: one.folder || other.folder,
    seen: [...one.seen, ...other.seen],
  };
}

/** What a folder has already is not said again. */
function prune(wishes: readonly PathWish[]): PathWish[] {
  const inside = (inner: PathWish, outer: PathWish) =>
    inner !== outer && covers(outer.path, inner.path) &&
    RIGHTS.indexOf(outer.rights) >= RIGHTS.indexOf(inner.rights);
  return wishes.filter((wish) => !wishes.some((outer) => inside(wish, outer)))
    .map((wish) => ({
      ...wish,
      seen: [...wish.seen, ...wishes.filter((each) => inside(each, wish)).flatMap((w) => w.seen)],
    }));
}

/** As a config has it: relative in its folder, and a folder that may be made with a `/`. */
export function spellPath(
  { path, folder, rights = "rwc" }: { path: string; folder: boolean; rights?: string },
  place: Pick<Place, "folder">,
): string {
  const inside = covers(place.folder, path) && path !== place.folder;
  const spelled = inside ? `./${relative(place.folder, path)}` : path;
  return folder && rights === "rwc" ? `${spelled}/` : spelled;
}

function spellSocket(what: string, place: Place): string {
  if (!what.startsWith("unix:")) return what;
  const path = what.slice("unix:".length);
  return `unix:${spellPath({ path, folder: false }, place)}`;
}

/** The names by which a process tells that it used a line. */
export function namesOfUse({ key, item }: Line, { folder }: Pick<Place, "folder">): string[] {
  if (key === "unveil") {
    return ["r", "w"].map((right) => `unveil ${resolve(folder, item)} ${right}`);
  }
  if (!item.startsWith("unix:")) return [`${key} ${item}`];
  return [`net unix:${resolve(folder, item.slice("unix:".length))}`];
}

/** `main.ts:12:5; store.ts:3:1`: where in the app's code. */
export function placesOf(seen: readonly Access[], place: Pick<Place, "folder">): string {
  const all = new Set(seen.map((each) => {
    const from = each.from === "" ? "no line of the app's code" : shorten(each.from, place.folder);
    return each.package === "" ? from : `${from} (${each.package})`;
  }));
  const named = [...all].slice(0, MAX_PLACES).join("; ");
  return all.size > MAX_PLACES ? `${named}; and ${all.size - MAX_PLACES} more places` : named;
}

const MAX_PLACES = 3;

function shorten(from: string, folder: string): string {
  return covers(folder, from) ? relative(folder, from) : from;
}
