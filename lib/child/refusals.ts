/**
 * Refusals in the app's words: what was tried, where in its code, and which line of the config would allow
 * it. The first of a kind is told, and the others are counted. What decides is the runtime, or the kernel;
 * here it is only explained.
 */
import { dirname, isAbsolute, join, normalize } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import {
  type Advice,
  adviceOn,
  OF_VARIABLES,
  placedIn,
  type Refused,
  refusedByKernel,
  requiredIn,
} from "../base/refusal_kinds.ts";
import { callerOf } from "./callers.ts";
import { explainDatagrams } from "./datagrams.ts";
import { explainDials } from "./dials.ts";
import { operationIn, whereIn, withDeepStack } from "./frames.ts";
import { grantUse } from "./grant_use.ts";
import { explainReads } from "./reads.ts";
import { reportFields } from "./report.ts";
import { explainStarts } from "./starts.ts";
import { explainThreads } from "./threads.ts";

/** How many refusals are told apart; what is refused in a loop must not fill the log. */
const MAX_KINDS = 100;

/** How many of those that came again are named at a time. */
const MAX_NAMED = 20;

/** How often those that came again are told. */
const SUMMARY_MS = 3_600_000;

/** What the runtime says of a path that it hides. */
const HIDDEN = "No such file or directory (os error 2)";
const HIDDEN_HINT = '. Holdfast: the path is not unveiled; add it to "unveil" in the config, ' +
  'a Unix socket that is dialled to "net"';

let installed: Refusals | undefined;

/** Those of this process, once they are explained. */
export function refusals(): Refusals | undefined {
  return installed;
}

export class Refusals {
  readonly #readable: readonly string[];
  readonly #helper: string | undefined;
  /** How often each came, and how often that was told. */
  readonly #counts = new Map<string, { times: number; told: number }>();
  /** How many were too many to be told apart. */
  #others = 0;
  /** Above 0, somebody else tells. */
  #quiet = 0;

  /**
   * @param readable the paths that the process may read, with everything below them
   * @param helper its name, if it is one
   */
  constructor(readable: readonly string[], helper?: string) {
    this.#readable = readable;
    this.#helper = helper;
  }

  /** Explains them from here on. */
  install(): void {
    installed = this;
    this.#explainErrors();
    explainNotFound();
    explainReads(this);
    explainStarts(this);
    explainDials(this);
    explainDatagrams(this);
    explainThreads(this);
    Deno.unrefTimer(setInterval(() => this.summarize(), SUMMARY_MS));
  }

  /** The error of an import that the runtime will refuse in few words. */
  refusedImport(url: string, parent: string): Error | undefined {
    if (!/^(https?|jsr):/.test(url)) return undefined;
    const error = new TypeError(`Module not found "${url}"`);
    const { stack } = withDeepStack(new Error());
    this.explain(error, { kind: "import", what: url }, `${stack}\n    at ${parent}:1:1`);
    // The runtime puts it into a TypeError of its own, with its name in front.
    return Object.assign(error, { name: "", code: "ERR_MODULE_NOT_FOUND" });
  }

  /** Tells which came again since this was asked last. */
  summarize(): void {
    const again = [...this.#counts].filter(([, { times, told }]) => times > told)
      .sort(([, a], [, b]) => (b.times - b.told) - (a.times - a.told));
    if (again.length === 0 && this.#others === 0) return;
    const named = again.slice(0, MAX_NAMED)
      .map(([what, { times, told }]) => `${times - told} × ${what}`);
    const times = again.reduce((sum, [, each]) => sum + each.times - each.told, this.#others);
    const left = again.length - named.length;
    const more = left > 0 && { kinds: again.length };
    reportFields({
      holdfast: "refused_again",
      level: "warn",
      msg: `Refused ${times} times more`,
      times,
      refusals: named.join("; "),
      ...more,
    });
    for (const [, each] of again) each.told = each.times;
    this.#others = 0;
  }

  /** Does something that says by itself what of it is refused. */
  quietly<Result>(act: () => Result): Result {
    this.#quiet++;
    try {
      return act();
    } finally {
      this.#quiet--;
    }
  }

  /** The runtime's own errors get what would allow it, wherever they come from. */
  #explainErrors(): void {
    onNaming(Deno.errors.NotCapable, (error) => {
      const required = requiredIn(error.message, withDeepStack(error).stack);
      if (required === undefined) return;
      error.message = error.message.replace(/, run again with the --[\w-]+ flag$/, "");
      this.explain(error, absolute(required), withDeepStack(error).stack);
    });
    onNaming(Deno.errors.PermissionDenied, (error) => {
      const refused = refusedByKernel(error.message);
      if (refused === undefined) return;
      const { stack } = withDeepStack(error);
      // What Holdfast itself tries is not the app's.
      if (whereIn(stack).from !== undefined) this.explain(error, absolute(refused), stack);
    });
  }

  /**
   * Puts into an error what would allow it, and tells of it.
   *
   * @param stack of where it was asked for
   */
  explain(error: Error, refused: Refused, stack: string | undefined): void {
    const message = error.message.replace(HIDDEN_HINT, "");
    if (!message.includes("Holdfast: ")) {
      error.message = `${message}. Holdfast: ${this.#advise(refused)}`;
    }
    this.tell(refused, stack);
  }

  /** Explains an error that says of a path that it is not there, where it is there and hidden. */
  explainHidden(
    error: unknown,
    place: string,
    stack: string | undefined,
    kind: "read" | "database" = "read",
  ): unknown {
    const absent = error instanceof Deno.errors.NotFound ||
      error instanceof Error && "code" in error && error.code === "ENOENT";
    if (!absent || error.message.includes("Holdfast: /")) return error;
    // Packages look for the project's settings in all folders above, too.
    if (isSearch(place)) return error;
    const inProject = dirname(place) === process.cwd();
    const refused = { kind, what: place, inProject };
    error.message = error.message.replace(HIDDEN_HINT, "") +
      `. Holdfast: ${place} is not unveiled, so it is not there for the app; ${
        this.#advise(refused)
      }`;
    this.tell(refused, stack);
    return error;
  }

  /** The path, where it is none that may be read. */
  hidden(path: unknown): string | undefined {
    const text = textOf(path);
    if (text === undefined) return undefined;
    const place = placeOf(text);
    const readable = this.#readable.some((each) => place === each || place.startsWith(`${each}/`));
    if (!readable) return place;
    grantUse()?.read(place);
    return undefined;
  }

  /** What to do about it, in the message of an error. */
  #advise(refused: Refused): string {
    const { allow, instead } = adviceOn(refused, this.#helper);
    if (allow === undefined) return instead ?? "";
    const line = `add ${placedIn(allow, this.#helper)} to the config`;
    return instead === undefined ? line : `${line}, ${instead}`;
  }

  /** Tells of it, or counts it. */
  tell(refused: Refused, stack: string | undefined): void {
    const { kind, what, call } = refused;
    // Frameworks look that name up to say where they listen; who dials it is told of with the port.
    const isOwnName = kind === "net" && what === "localhost";
    if (this.#quiet > 0 || isOwnName) return;
    const key = [call ?? kind, what].join(" ").trim().slice(0, 300);
    const known = this.#counts.get(key);
    if (known !== undefined) known.times++;
    else if (this.#counts.size >= MAX_KINDS) this.#others++;
    else {
      this.#counts.set(key, { times: 1, told: 1 });
      const advice: Advice = adviceOn(refused, this.#helper);
      reportFields({
        ...{
          holdfast: "refused",
          level: levelOf(refused),
          msg: describe(refused),
          kind,
          what,
          call,
        },
        op: call ?? operationIn(stack),
        ...{ ...whereIn(callerOf(what)), ...whereIn(stack), ...advice },
        ...advice.allow !== undefined && { allow: placedIn(advice.allow, this.#helper) },
      });
    }
  }
}

/** Packages look for files of variables whether there is one or not, and get the values by the environment. */
function levelOf({ kind, what }: Refused): "info" | "warn" {
  return kind === "read" && OF_VARIABLES.test(what) ? "info" : "warn";
}

/** A path as the config would have it. */
function absolute(refused: Refused): Refused {
  const { kind, what } = refused;
  const isPath = kind === "read" || kind === "write" || kind === "kernel" && /[./]/.test(what);
  if (!isPath || what === "" || what.startsWith("<")) return refused;
  const place = placeOf(what);
  return { ...refused, what: place, inProject: `${place}/`.startsWith(`${process.cwd()}/`) };
}

/** Whether it is what marks a project, in a folder above the app's: it is only searched for. */
function isSearch(place: string): boolean {
  return `${process.cwd()}/`.startsWith(`${dirname(place)}/`.replace("//", "/")) &&
    dirname(place) !== process.cwd() &&
    /\/(package\.json|deno\.jsonc?|tsconfig\.json|pnpm-workspace\.yaml|\.git|node_modules)$/.test(
      place,
    );
}

/** A path as it is given to a function, which may be something else. */
function textOf(path: unknown): string | undefined {
  if (typeof path === "string") return path;
  if (path instanceof Uint8Array) return new TextDecoder().decode(path);
  return path instanceof URL && path.protocol === "file:" ? fileURLToPath(path) : undefined;
}

function placeOf(path: string): string {
  return normalize(isAbsolute(path) ? path : join(process.cwd(), path));
}

function describe({ kind, what, call }: Refused): string {
  const said = call === undefined
    ? `Refused: ${kind} ${what}`
    : `Refused by the kernel: ${call} ${what}`;
  return said.trimEnd();
}

/** Calls a function for each error of a kind: its constructor sets the name last, with the message there. */
function onNaming(kind: { prototype: Error; name: string }, explain: (error: Error) => void): void {
  Object.defineProperty(kind.prototype, "name", {
    configurable: true,
    get: () => kind.name,
    set(this: Error, value: string) {
      Object.defineProperty(this, "name", { value, writable: true, configurable: true });
      explain(this);
    },
  });
}

/**
 * The runtime names the path of what is not there, and not of what it hides: whoever opens that in another
 * way than by the functions above is told so.
 */
function explainNotFound(): void {
  onNaming(Deno.errors.NotFound, (error) => {
    if (error.message !== HIDDEN) return;
    error.message += HIDDEN_HINT;
    Error.captureStackTrace(error);
  });
}
