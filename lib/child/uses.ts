/** Functions by which an app writes and dials: what it uses of its grants is counted there. */
import fs from "node:fs";
import type { GrantUse } from "./grant_use.ts";
import { type Method, replace } from "./replace.ts";

/** Functions whose first argument is a path that they write, and those that have two. */
const DENO_WRITERS = ["writeFile", "writeTextFile", "mkdir", "remove", "truncate", "create"];
const NODE_WRITERS = [
  ...["writeFile", "appendFile", "mkdir", "mkdtemp", "rm", "rmdir", "unlink", "truncate"],
];
const MOVERS = ["rename", "link"];
const COPIERS = ["copyFile"];

/** The names in modules of Node's that are replaced, for who imports them by name. */
export const REPLACED_WRITERS = {
  fs: [...NODE_WRITERS, ...MOVERS].flatMap((name) => [name, `${name}Sync`]),
  "fs/promises": [...NODE_WRITERS, ...MOVERS],
} as const;

type Holder = Record<string, Method | undefined>;

/** Counts them from here on. */
export function countUses(use: GrantUse): void {
  const places: [object, readonly string[], boolean][] = [
    [Deno, DENO_WRITERS, true],
    [fs, NODE_WRITERS, true],
    [fs.promises, NODE_WRITERS, false],
  ];
  for (const [holder, writers, hasSync] of places) {
    const each = (names: readonly string[], note: (all: unknown[]) => void) => {
      for (const name of hasSync ? names.flatMap((one) => [one, `${one}Sync`]) : names) {
        before(holder, name, note);
      }
    };
    each(writers, ([path]) => use.write(path));
    each(MOVERS, ([from, to]) => {
      use.write(from);
      use.write(to);
    });
    each(COPIERS, ([, to]) => use.write(to));
    each(["open"], ([path, how]) => {
      if (writes(how)) use.write(path);
    });
  }
  for (const name of ["makeTempDir", "makeTempFile"].flatMap((one) => [one, `${one}Sync`])) {
    before(Deno, name, ([options]) => use.write(Object(options).dir ?? Deno.env.get("TMPDIR")));
  }
  before(fs, "createWriteStream", ([path]) => use.write(path));
  countDials(use);
}

/** Whether a file is opened to be written: by Deno's options, or by Node's flags. */
function writes(how: unknown): boolean {
  if (typeof how === "string") return how !== "r" && how !== "rs";
  if (typeof how === "number") return (how & (fs.constants.O_WRONLY | fs.constants.O_RDWR)) !== 0;
  const { write, append, create, createNew } = Object(how);
  return [write, append, create, createNew].includes(true);
}

function countDials(use: GrantUse): void {
  for (const name of ["connect", "connectTls"]) {
    before(Deno, name, ([options]) => {
      const { path, hostname = "127.0.0.1", port } = Object(options);
      use.net(path === undefined ? `${bracketed(hostname)}:${port}` : `unix:${path}`);
    });
  }
  const { fetch } = globalThis;
  replace(globalThis, "fetch", function (...all) {
    use.url(all[0]);
    const answer = Reflect.apply(fetch, this, all as Parameters<typeof fetch>);
    // Of a redirect the last one is known.
    answer.then(({ redirected, url }) => redirected && use.url(url), () => {});
    return answer;
  });
  const globals = globalThis as unknown as Record<string, new (...all: never[]) => object>;
  for (const name of ["WebSocket", "EventSource"]) {
    if (globals[name] === undefined) continue;
    globals[name] = new Proxy(globals[name], {
      construct(target, all, made) {
        use.url(all[0]);
        return Reflect.construct(target, all, made);
      },
    });
  }
}

/** An address of IPv6 as a config has it. */
export function bracketed(host: unknown): string {
  const text = String(host);
  return text.includes(":") && !text.startsWith("[") ? `[${text}]` : text;
}

/** Has a function called before another one, with what that gets. */
function before(holder: object, name: string, note: (all: unknown[]) => void): void {
  const original = (holder as Holder)[name];
  if (original === undefined) return;
  replace(holder, name, function (...all) {
    note(all);
    return Reflect.apply(original, this, all);
  });
}
