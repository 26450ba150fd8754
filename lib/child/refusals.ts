/**
 * Refusals in the app's words: what was tried, where in its code, and which line of the config would allow
 * it. Each is reported once. What decides is the runtime; here it is only explained.
 */
import fs from "node:fs";
import { isAbsolute, join, normalize } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";
import { placesIn, report } from "./report.ts";

/** How many refusals are reported; what is refused in a loop must not fill the log. */
const MAX_REPORTED = 100;

/** Functions whose first argument is a path that they read. */
const DENO_READERS = ["open", "readFile", "readTextFile", "readDir"] as const;
const NODE_READERS = ["open", "readFile", "readdir", "opendir"] as const;

/** The names of `node:fs` that are replaced, for who imports them by name. */
export const REPLACED_READERS = {
  fs: [...NODE_READERS, ...NODE_READERS.map((name) => `${name}Sync`), "createReadStream"],
  "fs/promises": [...NODE_READERS],
} as const;

/** What the runtime says of a path that it hides. */
const HIDDEN = "No such file or directory (os error 2)";
const HIDDEN_HINT = '. Holdfast: the path is not unveiled; add it to "unveil" in the config, ' +
  'a Unix socket that is dialled to "net"';

type Method = (this: unknown, ...all: unknown[]) => unknown;

/** The config's line for what the runtime says that it requires. */
export function lineFor(message: string): string | undefined {
  const [, kind, what = ""] = /Requires (\w+) access(?: to "(.*?)"(?:,|$))?/.exec(message) ?? [];
  const quoted = JSON.stringify(what);
  switch (kind) {
    case "read":
      return `add "unveil": { ${quoted}: "r" }`;
    case "write":
      return `add "unveil": { ${quoted}: "rwc" }, best of the folder with data that it lies in`;
    case "net":
      return `add "net": [${quoted}]`;
    case "sys":
      return `add "sys": [${quoted}]`;
    case "run":
      return "no process of Holdfast's may start a program; have another service do that";
    case "ffi":
      return `${packageOf(what)} is native code, which no worker loads: use it in a helper with ` +
        '"native": true, or take node:sqlite, scrypt of node:crypto or a WebAssembly build instead';
  }
  return undefined;
}

/** The package that a file of its own is of, in a folder of packages or in the cache. */
function packageOf(path: string): string {
  const name = "((?:@[^/]+/)?[^/@]+)";
  const [, found] = new RegExp(`.*/node_modules/${name}/`).exec(path) ??
    new RegExp(`/npm/[^/]+/${name}/\\d`).exec(path) ?? [];
  return found ?? (path || "this");
}

export class Refusals {
  readonly #readable: readonly string[];
  readonly #reported = new Set<string>();

  /** @param readable the paths that the process may read, with everything below them */
  constructor(readable: readonly string[]) {
    this.#readable = readable;
  }

  /** Explains them from here on. */
  install(): void {
    this.#explainNotCapable();
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
  }

  /** The runtime's own errors of permissions get what would allow it, wherever they come from. */
  #explainNotCapable(): void {
    const told = (error: Error) => this.#tell(error.message, error.stack);
    Object.defineProperty(Deno.errors.NotCapable.prototype, "name", {
      configurable: true,
      get: () => "NotCapable",
      // Its constructor sets it last, when the message is there.
      set(this: Error, value: string) {
        Object.defineProperty(this, "name", { value, writable: true, configurable: true });
        const line = lineFor(this.message);
        if (line === undefined) return;
        const plain = this.message.replace(/, run again with the --[\w-]+ flag$/, "");
        this.message = `${plain}. Holdfast: ${line}${
          line.startsWith("add") ? " to the config" : ""
        }`;
        Error.captureStackTrace(this);
        told(this);
      },
    });
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
        if (result instanceof Promise) {
          return result.catch((error) => {
            throw explain(error);
          });
        }
        return name === "createReadStream" ? explainEvents(result as never, explain) : result;
      } catch (error) {
        throw explain(error);
      }
    };
    Object.defineProperty(wrapped, "name", { value: name });
    Object.defineProperty(holder, name, {
      value: wrapped,
      writable: true,
      configurable: true,
      enumerable: true,
    });
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
    const line = `add "unveil": { ${JSON.stringify(place)}: "r" } to the config`;
    failure.message +=
      `. Holdfast: ${place} is not unveiled, so it is not there for the app; ${line}`;
    this.#tell(
      `A read of ${place} found nothing, since it is not unveiled; if it is to be there, ${line}`,
      new Error().stack,
    );
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

  #tell(text: string, stack: string | undefined): void {
    if (this.#reported.size >= MAX_REPORTED || this.#reported.has(text)) return;
    this.#reported.add(text);
    const [place] = placesIn(stack, 1);
    report(`Refused: ${text}${place === undefined ? "" : ` (${place})`}`);
  }
}

/**
 * The runtime names the path of what is not there, and not of what it hides: whoever opens that in another
 * way than by the functions above is told so.
 */
function explainNotFound(): void {
  Object.defineProperty(Deno.errors.NotFound.prototype, "name", {
    configurable: true,
    get: () => "NotFound",
    set(this: Error, value: string) {
      Object.defineProperty(this, "name", { value, writable: true, configurable: true });
      if (this.message !== HIDDEN) return;
      this.message += HIDDEN_HINT;
      Error.captureStackTrace(this);
    },
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
