/**
 * What an app is not told that it was refused: a variable that is not listed reads as undefined, and a path
 * that is not unveiled is not there for who only looks. Most of such looks mean nothing, so each process
 * tells a few: the variables that the app's own code asks for, and paths in the app's folder.
 */
import fs from "node:fs";
import { isAbsolute, join, normalize } from "node:path";
import { fileURLToPath } from "node:url";
import workerThreads from "node:worker_threads";
import { adviceOn, placedIn } from "../base/refusal_kinds.ts";
import { covers } from "../base/covers.ts";
import { packageIn, type Where, whereIn, withDeepStack } from "./frames.ts";
import { grantUse } from "./grant_use.ts";
import { callExplained, type Method, replace } from "./replace.ts";
import { reportFields } from "./report.ts";

/** How long names are gathered: an app asks for most of its variables at once. */
const GATHER_MS = 1000;

/** How many variables a process names, and how many paths with their folders: a client may choose them. */
const MAX_NAMES = 40;
const MAX_PATHS = 20;

/** Where to listen is Holdfast's matter, and it says so. */
const OF_LISTENING = ["PORT", "HOST", "HOSTNAME"];

/** What the runtime asks for by itself, while the app calls it, and what is asked of any object. */
const OF_RUNTIME = /^(NODE|DENO)_|^(then|toJSON|constructor)$/;

/** Functions that only look, by where they are. */
const DENO_LOOKERS = ["stat", "statSync", "lstat", "lstatSync"] as const;
const NODE_LOOKERS = ["access", "lstat", "stat"] as const;
const NODE_CALLBACK_LOOKERS = [...NODE_LOOKERS, "exists"] as const;
const NODE_SYNC_LOOKERS = ["accessSync", "existsSync", "lstatSync", "statSync"] as const;

/** The names in modules of Node's that are replaced, for who imports them by name. */
export const REPLACED_LOOKERS = {
  fs: [...NODE_CALLBACK_LOOKERS, ...NODE_SYNC_LOOKERS],
  "fs/promises": [...NODE_LOOKERS],
  worker_threads: ["Worker"],
} as const;

/** Those of this process. */
let installed: QuietRefusals | undefined;

/** Those of this process, once they are heard of. */
export function quietRefusals(): QuietRefusals | undefined {
  return installed;
}

export class QuietRefusals {
  readonly #readable: readonly string[];
  readonly #folder: string;
  readonly #helper: string | undefined;
  readonly #names = new Set<string>();
  readonly #paths: string[] = [];
  #gathered: string[] = [];
  /** Where the first of them was asked for. */
  #asked: Where = {};
  #looking = false;

  /**
   * @param readable the paths that the process may read, with everything below them
   * @param folder the app's
   * @param helper its name, if it is one
   */
  constructor(readable: readonly string[], folder: string, helper?: string) {
    this.#readable = readable;
    this.#folder = folder;
    this.#helper = helper;
  }

  /** Hears of them from here on. */
  install(): void {
    installed = this;
    this.#hearOfWorkers();
    for (const name of DENO_LOOKERS) this.#wrap(Deno, name);
    for (const name of NODE_CALLBACK_LOOKERS) this.#wrap(fs, name);
    for (const name of NODE_LOOKERS) this.#wrap(fs.promises, name);
    for (const name of NODE_SYNC_LOOKERS) this.#wrap(fs, name);
    // What fails for want of a variable may end before they are told.
    for (const end of ["unload", "error", "unhandledrejection"]) {
      addEventListener(end, () => this.#tellNames());
    }
  }

  /** Tells of a variable that is not listed. */
  missName(name: string): void {
    if (this.#names.has(name) || this.#names.size >= MAX_NAMES) return;
    this.#names.add(name);
    if (OF_LISTENING.includes(name) || OF_RUNTIME.test(name) || !/^\w+$/.test(name)) return;
    const { stack, ...where } = this.#where();
    // Packages that the app only imports ask for many that nobody sets.
    if (where.from === undefined || packageIn(where.from) !== undefined) return;
    const [inner = ""] = stack?.split(where.from) ?? [];
    if (where.package !== undefined && inner.includes("node:module")) return;
    if (this.#gathered.push(name) > 1) return;
    this.#asked = where;
    Deno.unrefTimer(setTimeout(() => this.#tellNames(), GATHER_MS));
  }

  #tellNames(): void {
    const names = this.#gathered;
    if (names.length === 0) return;
    this.#gathered = [];
    const what = names.join(", ");
    const { allow: _, ...advice } = adviceOn({ kind: "env", what });
    const allow = `"env": [${names.map((name) => JSON.stringify(name)).join(", ")}]`;
    this.#tell("env", what, this.#asked, { ...advice, allow });
  }

  /** Whether a path is in the app's folder. */
  isOfApp(path: string | undefined): boolean {
    return path !== undefined && covers(this.#folder, path);
  }

  /**
   * Tells of a module that is not there for the app.
   *
   * @returns what to do about it, if it is not unveiled
   */
  missModule(path: string): string | undefined {
    grantUse()?.read(path);
    const isOpen = packageIn(path) !== undefined ||
      this.#readable.some((each) => covers(each, path));
    if (isOpen) return undefined;
    const advice = adviceOn({ kind: "read", what: path }, this.#helper);
    const allow = advice.allow === undefined ? "" : placedIn(advice.allow, this.#helper);
    if (!this.#paths.includes(path) && this.#paths.length < MAX_PATHS) {
      this.#paths.push(path);
      const { stack: _, ...where } = this.#where();
      this.#tell("read", path, where, advice, "warn");
    }
    return allow === "" ? "not unveiled" : `not unveiled; add ${allow} to the config`;
  }

  /** The script of a worker is read by its own thread, which says no name. */
  #hearOfWorkers(): void {
    const hear = (Original: typeof Worker) =>
      new Proxy(Original, {
        construct: (target, all, made) => {
          const path = pathOf(all[0], this.#folder);
          const advice = path && this.missModule(path);
          try {
            return Reflect.construct(target, all, made);
          } catch (error) {
            if (advice && error instanceof Error) {
              const said = error.message.replace(/\. Holdfast: .*$/s, "");
              error.message = `${said}. Holdfast: ${path} is ${advice}`;
            }
            throw error;
          }
        },
      });
    if (globalThis.Worker) globalThis.Worker = hear(globalThis.Worker);
    const threads = workerThreads as unknown as { Worker: typeof Worker };
    this.#hearOfMessages(globalThis.Worker?.prototype);
    this.#hearOfMessages(threads.Worker.prototype);
    threads.Worker = hear(threads.Worker);
  }

  /** A pool gives its threads the paths of what they are to run, and a thread says no name either. */
  #hearOfMessages(prototype: object | undefined): void {
    if (prototype === undefined) return;
    const { postMessage: original } = prototype as Record<string, Method>;
    const hear = (message: unknown) => {
      for (const text of textsIn(message)) {
        if (text.startsWith("/") || text.startsWith("file:")) this.#missing(text)?.();
      }
    };
    replace(prototype, "postMessage", function (message, ...all) {
      hear(message);
      return Reflect.apply(original!, this, [message, ...all]);
    });
  }

  /**
   * Tells of a path of the app's folder that was looked for, and is not unveiled.
   *
   * @param where it was asked for: nothing is left of the app in the stack when the answer comes
   */
  #missPath(place: string, where: Where): void {
    if (this.#isTold(place)) return;
    this.#paths.push(place, ...siblings(place, this.#folder));
    this.#tell("read", place, where, adviceOn({ kind: "read", what: place }, this.#helper));
  }

  /** What tells of a path, if it is one that is to be told of should it not be there. */
  #missing(path: unknown): (() => void) | undefined {
    if (this.#looking) return undefined;
    const place = this.#hidden(path);
    if (place === undefined || this.#isTold(place)) return undefined;
    const { stack: _, ...where } = this.#where();
    return () => this.#missPath(place, where);
  }

  /** One is as good as another one of the same folder, or below it. */
  #isTold(place: string): boolean {
    return this.#paths.length >= MAX_PATHS || this.#paths.some((each) => covers(each, place));
  }

  /** Where in the app's code this is done; what writes a stack down may itself look for files. */
  #where(): Where & { readonly stack?: string | undefined } {
    if (this.#looking) return {};
    this.#looking = true;
    try {
      const { stack } = withDeepStack(new Error());
      return { ...whereIn(stack), stack };
    } finally {
      this.#looking = false;
    }
  }

  #tell(
    kind: "env" | "read",
    what: string,
    where: Where,
    advice: ReturnType<typeof adviceOn>,
    level: "info" | "warn" = "info",
  ): void {
    const said = { holdfast: "refused", level, msg: `Refused: ${kind} ${what}` };
    const { allow } = advice;
    const placed = allow !== undefined && { allow: placedIn(allow, this.#helper) };
    reportFields({ ...said, kind, what, ...where, ...advice, ...placed });
  }

  #wrap(holder: object, name: string): void {
    const original = (holder as Record<string, Method>)[name]!;
    const missing = (path: unknown) => this.#missing(path);
    const wrapped: Method = function (path, ...all) {
      grantUse()?.read(path);
      const miss = missing(path);
      if (miss === undefined) return Reflect.apply(original, this, [path, ...all]);
      const last = all.at(-1);
      if (name === "exists" && typeof last === "function") {
        all[all.length - 1] = (there: unknown) => {
          if (!there) miss();
          last(there);
        };
        return Reflect.apply(original, this, [path, ...all]);
      }
      const found = callExplained(original, this, [path, ...all], (error) => {
        if (isAbsent(error)) miss();
        return error;
      });
      if (found === false || found === undefined && isSilent(all)) miss();
      return found;
    };
    replace(holder, name, wrapped);
  }

  /** The path, where it is one of the app's folder that may not be read. */
  #hidden(path: unknown): string | undefined {
    const place = pathOf(path, this.#folder);
    if (place === undefined || place === this.#folder || place.includes("/node_modules")) {
      return undefined;
    }
    const isOpen = this.#readable.some((each) => covers(each, place));
    return covers(this.#folder, place) && !isOpen ? place : undefined;
  }
}

/** The path that a text or a URL stands for, if it stands for one. */
function pathOf(given: unknown, folder: string): string | undefined {
  try {
    const text = String(given);
    if (/^[a-z][\w+.-]+:/i.test(text) && !text.startsWith("file:")) return undefined;
    const path = text.startsWith("file:") ? fileURLToPath(text) : text;
    const place = normalize(isAbsolute(path) ? path : join(folder, path));
    return place.replace(/(.)\/+$/, "$1");
  } catch {
    return undefined;
  }
}

/** How many values of a message are looked at. */
const MAX_VALUES = 10;

/** The texts in a message, and right in an object of it. */
function textsIn(message: unknown): string[] {
  if (typeof message === "string") return [message];
  if (typeof message !== "object" || message === null) return [];
  if (Object.getPrototypeOf(message) !== Object.prototype) return [];
  return Object.values(message).slice(0, MAX_VALUES).filter((each) => typeof each === "string");
}

function isAbsent(error: unknown): boolean {
  return error instanceof Deno.errors.NotFound ||
    error instanceof Error && "code" in error && error.code === "ENOENT";
}

/** Whether the options say that what is not there is no error. */
function isSilent(all: readonly unknown[]): boolean {
  return all.some((each) =>
    typeof each === "object" && each !== null && "throwIfNoEntry" in each && !each.throwIfNoEntry
  );
}

/** The folder of a path, where it is not the app's own. */
function siblings(place: string, folder: string): string[] {
  const above = join(place, "..");
  return above === folder ? [] : [above];
}
