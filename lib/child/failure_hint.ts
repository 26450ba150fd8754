/** What to do about an error that ends a start, by what it is. */
import { causesOf, messageOf } from "./report.ts";

/** Where `deno.json` has to name what of the runtime is not stable, by the function that is not there. */
const UNSTABLE: Readonly<Record<string, string>> = {
  openKv: "kv",
  cron: "cron",
  listenDatagram: "net",
  createHttpClient: "http",
};

type Hint = (found: readonly string[]) => string;

/** The first that fits counts. */
const HINTS: readonly (readonly [RegExp, Hint])[] = [
  [
    /os error 2\)[^]*\n.*\bnode:module:/,
    () =>
      "It requires a package or a file that its project does not have: deno add npm:NAME, or npm install",
  ],
  [
    /Invalid package config\. Failed reading '(.*?)'/,
    ([, path]) =>
      `Add "unveil": { ${
        JSON.stringify(path)
      }: "r" } to the config: the runtime reads it to know how ` +
      "modules of a folder that is unveiled are written",
  ],
  [
    /ERR_INVALID_PACKAGE_CONFIG/,
    () =>
      "That package.json is no valid JSON, or says what it must not: mend it, or install it again",
  ],
  [
    /Loading unprepared module/,
    () =>
      "That is no code, or was not there when this version was brought in: a style or an image is for a " +
      "bundler, whose output is then the app",
  ],
  [
    /Holdfast: .*\badd /,
    () => "Add that line if the app is to have it; holdfast why tells what the config allows",
  ],
  [
    /^Error: reload\.probe: /,
    () =>
      "The old version serves on. What the app itself says of it, if anything, is in the log just above",
  ],
  [/Holdfast: /, () => "See docs/apps.md for what does in its place"],
  [
    /^SyntaxError: .*does not provide an export named/,
    () => "Mend the name in that import, or take a version of the package that exports it",
  ],
  [/^SyntaxError/, () => "It is a fault of syntax: mend it at that place"],
  [
    /^ReferenceError: (require|module|exports|__dirname|__filename) is not defined/,
    () =>
      'It is CommonJS in an ES module: name the file .cjs, set "type": "commonjs" in package.json, or ' +
      "write import and import.meta.dirname",
  ],
  [
    /^ReferenceError: (window|document|localStorage|caches) is not defined/,
    ([, name]) =>
      `There is no ${name} on a server: use globalThis, or leave that code to the browser`,
  ],
  [
    /^ReferenceError: React is not defined/,
    () => 'Set "jsx": "react-jsx" and "jsxImportSource" in "compilerOptions" of deno.json',
  ],
  [
    /Unsupported scheme "bun"/,
    () =>
      "Deno has no module of Bun's: import what does the same of node: or npm:, such as node:sqlite",
  ],
  [
    /Could not locate the bindings file|No native build was found|Cannot find (?:native binding|module '[^']*\.node')|Could not load the ".*" module using the/,
    () =>
      'That is a native addon, and no worker loads one: call it in a helper with "native": true, after ' +
      "deno approve-scripts or npm rebuild has built it, or take node:sqlite, scrypt of node:crypto or a " +
      "WebAssembly build",
  ],
  [/^ReferenceError: Bun is not defined/, () => "Deno has no Bun: use what the web or node: has"],
  [
    /Deno\.(\w+) is not a function/,
    ([, name]) =>
      Object.hasOwn(UNSTABLE, name!)
        ? `Set "unstable": ["${UNSTABLE[name!]}"] in deno.json`
        : 'This Deno has no such function, or has it by a name of "unstable" in deno.json',
  ],
  [
    /--unstable-([\w-]+)/,
    ([, name]) => `Set "unstable": ["${name}"] in deno.json`,
  ],
  [
    /^ReferenceError: Cannot access '(.*?)' before initialization/,
    ([, name]) =>
      `${name} is used before the module that declares it has run: modules import each other in a circle, ` +
      "so move what both need into one of its own, or the declaration is below",
  ],
  [
    /Cannot find (?:module|package) [^\n]*[^]*Require stack:\n- [^\n]*\/node_modules\/((?:@[^/\n]+\/)?[^/\n]+)/,
    ([, name]) =>
      `The package ${name} lacks what it needs: deno install, or npm install; an addon is built by ` +
      "deno approve-scripts",
  ],
  [
    /Cannot find (?:module|package) ['"]([^.'"/][^'"]*)['"]|Import "([^"]+)" not found/,
    ([, name, other]) =>
      `Add the package to the project: deno add npm:${name ?? other}, or npm install ${
        name ?? other
      }`,
  ],
  [
    /Cannot find module|Module not found|ERR_MODULE_NOT_FOUND/,
    () => "There is no such file: mend the import, or add the file",
  ],
  [
    /is not a schema: use/,
    () => "See docs/helpers.md for what a helper takes and answers",
  ],
  [
    /EADDRINUSE|[Aa]ddress already in use/,
    () => "Holdfast listens for the app: see docs/apps.md",
  ],
  [
    /(exports no handler|default export has no|no methods|is not a function but)/,
    () => "See docs/apps.md for what an app exports, and docs/helpers.md for a helper",
  ],
  [
    /ECONNREFUSED|[Cc]onnection refused|ENOTFOUND|failed to lookup|ETIMEDOUT|timed out/,
    () => "What it connects to does not answer: start that first, or have the app try again",
  ],
  [
    /out of memory|allocation failed|Invalid (array|string) length/,
    () => "Memory ran out: raise limits.memoryBytes, or load less at the start",
  ],
];

/** Names of variables, and of the errors of packages. */
const NAMES = /\b[A-Z][A-Z0-9]*_[A-Z0-9_]+\b/g;

/** What is said of the last name in a message that may be a variable's; codes of errors are none. */
function hintOnName(said: string, causes: readonly unknown[]): string | undefined {
  const codes = causes.map((each) => String((each as { code?: unknown } | null)?.code));
  const name = (said.split("\n", 1)[0]!.match(NAMES) ?? [])
    .findLast((each) => !each.startsWith("ERR_") && !codes.includes(each));
  return name && `If ${name} is a variable: list it in "env" of the config, with its value in ` +
      '"envFile" or where Holdfast is started';
}

/** What to do about it. */
export function hintOn(error: unknown): string {
  const causes = causesOf(error);
  const said = causes.map((each) =>
    each instanceof Error
      ? [`${messageOf(each.name)}: ${messageOf(each)}`, messageOf(each.stack)].join("\n")
      : messageOf(each)
  ).join("\n");
  for (const [pattern, hint] of HINTS) {
    const found = pattern.exec(said);
    if (found) return hint(found);
  }
  const onName = hintOnName(said, causes);
  if (onName !== undefined) return onName;
  return "The app threw it while its module was loaded, or in its open(): " +
    (error instanceof Error
      ? "mend it at that place"
      : "throw an Error, which says at which place");
}
