/**
 * Refusals in the app's words: what was tried, where in its code, and which line of the config would allow
 * it. The first of a kind is told, and the others are counted. What decides is the runtime, or the kernel;
 * here it is only explained.
 */
import childProcess from "node:child_process";
import fs from "node:fs";
import { isAbsolute, join, normalize } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { dialler, rememberDials } from "./dials.ts";
import { whereIn, withDeepStack } from "./frames.ts";
import {
  type Advice,
  adviceOn,
  placedIn,
  type Refused,
  refusedByKernel,
  requiredIn,
} from "../base/refusal_kinds.ts";
import { reportFields } from "./report.ts";

/** How many refusals are told apart; what is refused in a loop must not fill the log. */
const MAX_KINDS = 100;

/** How many of those that came again are named at a time. */
const MAX_NAMED = 20;

/** How often those that came again are told. */
const SUMMARY_MS = 3_600_000;

/** Functions whose first argument is a path that they read. */
const DENO_READERS = ["open", "readFile", "readTextFile", "readDir"] as const;
const NODE_READERS = ["open", "readFile", "readdir", "opendir"] as const;

/** Functions whose first argument is a program that they start. */
const STARTERS = [
  "exec",
  "execFile",
  "execFileSync",
  "execSync",
  "fork",
  "spawn",
  "spawnSync",
] as const;

/** The names in modules of Node's that are replaced, for who imports them by name. */
export const REPLACED_READERS = {
  fs: [...NODE_READERS, ...NODE_READERS.map((name) => `${name}Sync`), "createReadStream"],
  "fs/promises": [...NODE_READERS],
  child_process: [...STARTERS],
} as const;

/** What the runtime says of a path that it hides. */
const HIDDEN = "No such file or directory (os error 2)";
const HIDDEN_HINT = '. Holdfast: the path is not unveiled; add it to "unveil" in the config, ' +
  'a Unix socket that is dialled to "net"';

/** Those of this process. */
let installed: Refusals | undefined;

/** Those of this process, once they are explained. */
export function refusals(): Refusals | undefined {
  return installed;
}

type Method = (this: unknown, ...all: unknown[]) => unknown;

export class Refusals {
  readonly #readable: readonly string[];
  readonly #helper: string | undefined;
  /** How often each came, and how often that was told. */
  readonly #counts = new Map<string, { times: number; told: number }>();
  /** How many were too many to be told apart. */
  #others = 0;

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
    for (const name of DENO_READERS) {
      this.#wrap(Deno, name);
      this.#wrap(Deno, `${name}Sync`);
    }
    for (const name of NODE_READERS) {
      this.#wrap(fs, name);
      this.#wrap(fs, `${name}Sync`);
      this.#wrap(fs.promises, name);
    }
    this.#wrap(fs, "createReadStream");
    this.#explainStarts();
    rememberDials();
    Deno.unrefTimer(setInterval(() => this.summarize(), SUMMARY_MS));
  }

  /** Tells of an import that the runtime refuses, since no error of it comes by here. */
  tellImport(url: string, parent: string): void {
    const { stack } = withDeepStack(new Error());
    this.#tell({ kind: "import", what: url }, `${stack}\n    at ${parent}:1:1`);
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

  /** The runtime's own errors get what would allow it, wherever they come from. */
  #explainErrors(): void {
    onNaming(Deno.errors.NotCapable, (error) => {
      const required = requiredIn(error.message);
      if (required === undefined) return;
      withDeepStack(error);
      const refused = isListening(error.stack)
        ? { ...required, kind: "listen" as const }
        : required;
      const plain = error.message.replace(/, run again with the --[\w-]+ flag$/, "");
      error.message = `${plain}. Holdfast: ${this.#advise(refused)}`;
      this.#tell(refused, withDeepStack(error).stack);
    });
    onNaming(Deno.errors.PermissionDenied, (error) => {
      const refused = refusedByKernel(error.message);
      if (refused === undefined) return;
      withDeepStack(error);
      // What Holdfast itself tries is not the app's.
      if (whereIn(error.stack).from !== undefined) this.#tell(refused, error.stack);
    });
  }

  /** Programs: Node's functions fail in several ways, and Deno's as if the program were not there. */
  #explainStarts(): void {
    // One function calls another one.
    let depth = 0;
    const told = (program: unknown) => {
      if (depth > 0) return;
      this.#tell({ kind: "run", what: String(program) }, withDeepStack(new Error()).stack);
    };
    for (const name of STARTERS) {
      const original = (childProcess as unknown as Record<string, Method>)[name]!;
      replace(childProcess, name, function (program, ...rest) {
        told(program);
        depth++;
        try {
          return Reflect.apply(original, this, [program, ...rest]);
        } finally {
          depth--;
        }
      });
    }
    const { prototype } = Deno.Command;
    for (const name of ["spawn", "output", "outputSync"]) {
      const original = (prototype as unknown as Record<string, Method>)[name]!;
      const explain = (error: unknown) => {
        const [, program] = /^Failed to spawn '(.*?)'/.exec((error as Error)?.message) ?? [];
        if (program !== undefined) {
          told(program);
          (error as Error).message += `. Holdfast: ${this.#advise({ kind: "run", what: program })}`;
        }
        return error;
      };
      replace(prototype, name, function (...all) {
        try {
          const result = Reflect.apply(original, this, all);
          return result instanceof Promise ? explained(result, explain) : result;
        } catch (error) {
          throw explain(error);
        }
      });
    }
  }

  #wrap(place: object, name: string): void {
    const holder = place as Record<string, Method>;
    const original = holder[name]!;
    // deno-lint-ignore no-this-alias -- for functions that have a `this` of their own
    const refusals = this;
    const wrapped: Method = function (path, ...all) {
      const explain = (error: unknown) => refusals.#explainHidden(error, path);
      const last = all.at(-1);
      if (typeof last === "function") {
        all[all.length - 1] = (error: unknown, ...values: unknown[]) =>
          last(error && explain(error), ...values);
      }
      try {
        const result = Reflect.apply(original, this, [path, ...all]);
        if (result instanceof Promise) return explained(result, explain);
        return name === "createReadStream" ? explainEvents(result as never, explain) : result;
      } catch (error) {
        throw explain(error);
      }
    };
    replace(holder, name, wrapped);
  }

  /** What is not unveiled is answered as if it were not there. */
  #explainHidden(error: unknown, path: unknown): unknown {
    const absent = error instanceof Deno.errors.NotFound ||
      error instanceof Error && "code" in error && error.code === "ENOENT";
    const place = absent ? this.#hidden(path) : undefined;
    if (place === undefined) return error;
    const failure = error as Error;
    if (failure.message.includes("Holdfast: /")) return error;
    failure.message = failure.message.replace(HIDDEN_HINT, "");
    const refused = { kind: "read", what: place } as const;
    failure.message += `. Holdfast: ${place} is not unveiled, so it is not there for the app; ${
      this.#advise(refused)
    }`;
    this.#tell(refused, withDeepStack(new Error()).stack);
    return failure;
  }

  /** The path, where it is none that may be read. */
  #hidden(path: unknown): string | undefined {
    let text: string;
    try {
      text = path instanceof URL ? fileURLToPath(path) : String(path);
      if (!isAbsolute(text)) text = join(process.cwd(), text);
    } catch {
      return undefined;
    }
    const place = normalize(text);
    const readable = this.#readable.some((each) => place === each || place.startsWith(`${each}/`));
    return readable ? undefined : place;
  }

  /** What to do about it, in the message of an error. */
  #advise(refused: Refused): string {
    const { allow, instead } = adviceOn(refused);
    if (allow === undefined) return instead ?? "";
    const line = `add ${placedIn(allow, this.#helper)} to the config`;
    return instead === undefined ? line : `${line}, ${instead}`;
  }

  #tell(refused: Refused, stack: string | undefined): void {
    const { kind, what, call } = refused;
    const key = [call ?? kind, what].join(" ").trim().slice(0, 300);
    const known = this.#counts.get(key);
    if (known !== undefined) known.times++;
    else if (this.#counts.size >= MAX_KINDS) this.#others++;
    else {
      this.#counts.set(key, { times: 1, told: 1 });
      const advice: Advice = adviceOn(refused);
      reportFields({
        ...{ holdfast: "refused", level: "warn", msg: describe(refused), kind, what, call },
        ...{ ...whereIn(kind === "net" ? dialler(what) : undefined), ...whereIn(stack), ...advice },
        ...advice.allow !== undefined && { allow: placedIn(advice.allow, this.#helper) },
      });
    }
  }
}

/** Whether it was a listener that was asked for, which is the same permission as to dial. */
function isListening(stack: string | undefined): boolean {
  return /\bat (\w+\.)*listen\w* \(ext:/.test(stack ?? "");
}

function describe({ kind, what, call }: Refused): string {
  return call === undefined ? `Refused: ${kind} ${what}` : `Refused by the kernel: ${call} ${what}`;
}

/** In an async function, where the stack has the callers that wait. */
async function explained(
  result: Promise<unknown>,
  explain: (error: unknown) => unknown,
): Promise<unknown> {
  try {
    return await result;
  } catch (error) {
    throw explain(error);
  }
}

/** Puts a function in the place of another one. */
function replace(holder: object, name: string, value: Method): void {
  Object.defineProperty(value, "name", { value: name });
  const facts = { value, writable: true, configurable: true, enumerable: true };
  Object.defineProperty(holder, name, facts);
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

function explainEvents(
  stream: { emit(name: string, ...all: unknown[]): boolean },
  explain: (error: unknown) => unknown,
): unknown {
  const { emit } = stream;
  stream.emit = (name, ...all) => {
    if (name === "error") explain(all[0]);
    return Reflect.apply(emit, stream, [name, ...all]);
  };
  return stream;
}
