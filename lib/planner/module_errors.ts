/** What Deno says of modules that do not load, in Holdfast's words: the advice is for another command line. */

/** What is known of the project. */
export interface ModuleContext {
  /** The project's folder, as a word of a command line. */
  readonly folder: string;
  /** The app's module, likewise. */
  readonly module: string;
  readonly lockfile: string | undefined;
  /** The names in `paths` of tsconfig.json, with absolute addresses. */
  readonly aliases?: Readonly<Record<string, string>> | undefined;
  /** Holdfast's own folder. */
  readonly holdfast?: string;
}

type Hint = (found: readonly string[], context: ModuleContext) => string;

/** What it says, and what to do: the first that fits counts. */
const HINTS: readonly (readonly [RegExp, Hint])[] = [
  [
    /--sloppy-imports/,
    () =>
      'Write the import with the extension of its file, or set "unstable": ["sloppy-imports"] in deno.json',
  ],
  [
    /--unstable-([\w-]+)/,
    ([, name]) => `Set "unstable": ["${name}"] in deno.json`,
  ],
  [
    /ERR_INVALID_PACKAGE_CONFIG/,
    () =>
      "That package.json is no valid JSON, or says what it must not: mend it, or install it again",
  ],
  [
    /ERR_PACKAGE_PATH_NOT_EXPORTED/,
    () =>
      'The package does not export that path: mend the import by "exports" in its package.json, or take a ' +
      "version that does",
  ],
  [
    /Cannot find module 'file:[^']*\/node_modules\//,
    (_, { folder }) =>
      `That package is not installed whole: cd ${folder} && deno install, or npm install; if it stays so, ` +
      "remove node_modules before",
  ],
  [
    /reading lockfile|Lockfile may be corrupt|Unsupported lockfile/,
    (_, { folder, lockfile }) =>
      `It is a fault of ${
        lockfile ?? "the lock file"
      }: take it from version control again, or remove it ` +
      `and make another: cd ${folder} && deno install`,
  ],
  [
    /identified a Json module/,
    () => 'Write it with its type: import data from "./FILE.json" with { type: "json" }',
  ],
  [
    /"holdfast\/helper" not a dependency/,
    (_, { holdfast }) =>
      `Write "holdfast/helper": "${
        holdfast ?? "HOLDFAST"
      }/lib/helper/mod.ts" into "imports" of deno.json, as ` +
      "docs/helpers.md has it",
  ],
  [
    /lockfile is out of date|lockfile.*--frozen/i,
    (_, { folder, module, lockfile }) =>
      `Try: cd ${folder} && deno cache ${module} --frozen=false; it brings ` +
      `${lockfile ?? "the lock file"} up to date`,
  ],
  [
    /[Ii]ntegrity check failed|checksum/,
    (_, { lockfile }) =>
      `What was fetched is not what ${lockfile ?? "the lock file"} says: find out why before you ` +
      "change either",
  ],
  [
    /SyntaxError|could not be parsed|[Uu]nexpected (token|eof|end)/,
    () => "It is a fault of syntax: mend it at that place",
  ],
  [
    /["']bun(:\w+)?["']/,
    () => "Deno has no module of Bun's: import what does the same of node:, npm: or jsr:",
  ],
  [
    /but found it in a package\.json|deno install|node_modules.*up to date/,
    (_, { folder }) =>
      `Try: cd ${folder} && deno install, or npm install; it makes the node_modules that package.json asks for`,
  ],
  [
    /(?:Import "([^"]+)" not a dependency|Relative import path "([^"]+)" not prefixed)(?:[^]*\bdeno add ([\w:@/.^~-]+))?/,
    ([, name, other, advised], context) => notFound(name ?? other!, advised, context),
  ],
  [/deno add ([\w:@/.^~-]+)/, ([, name], { folder }) => addPackage(name!, folder)],
  [
    /(npm|JSR) package '?([^' ]+)'? does not exist|package not found/i,
    () => "The registry has no package of that name: look how it is spelled",
  ],
  [
    /Could not find (npm|jsr|JSR|constraint|version|package).*(matching|constraint)/,
    () => "The registry has no such version: name another in the import, deno.json or package.json",
  ],
  [
    /Requires import access|--allow-import/,
    () =>
      "Code is fetched from deno.land, jsr.io, esm.sh, cdn.jsdelivr.net and GitHub alone: copy the " +
      "module into the project, or import a package",
  ],
  [
    /Module not found "https?:|404 Not Found/,
    () => "That server has no such module: mend the import",
  ],
  [/Module not found/, () => "There is no such file: mend the import, or add the file"],
  [
    /config file|import map|deno\.jsonc?'|package\.json'|at line \d+ column \d+$/,
    () =>
      "It is a fault of a file of settings, deno.json, its import map or package.json: mend it there",
  ],
  [
    /Expected a JavaScript or TypeScript module|[Uu]nsupported (media|file) type/,
    () =>
      "Only code and JSON can be imported: a style or an image is for a bundler, whose output is " +
      "then the app",
  ],
  [
    /[Uu]nsupported scheme "?(\w+)/,
    ([, scheme]) =>
      `Deno has no ${scheme}: modules; import what does the same of node:, npm: or jsr:`,
  ],
  [
    /Unknown built-in "?node:|No such built-in module/i,
    () => "Deno has no such module of Node's: see docs.deno.com/api/node",
  ],
  [
    /error sending request|dns error|failed to lookup|[Cc]onnection refused|timed out|took longer|failed to load|Import '[^']*' failed/,
    (_, { folder, module }) =>
      `The registry was not reached. When it can be: cd ${folder} && deno cache ${module}`,
  ],
];

/** The package in the name of an import, which may go on with a path in it. */
function packageOf(name: string): string {
  return /^(?:(?:npm|jsr):)?(?:@[^/]+\/)?[^/]+/.exec(name)?.[0] ?? name;
}

/** What to do about an import by a name that leads nowhere: it may be a package's, or one of the project's own. */
function notFound(
  name: string,
  advised: string | undefined,
  { folder, aliases = {} }: ModuleContext,
): string {
  const alias = Object.keys(aliases).find((each) =>
    each === name || each.endsWith("/") && name.startsWith(each)
  );
  if (alias !== undefined) {
    const line = JSON.stringify({ [alias]: aliases[alias] }).replaceAll('":"', '": "');
    return `Deno does not read "paths" of tsconfig.json: write "imports": ${line} into deno.json`;
  }
  if (!/^(@[\w.-]+\/)?[a-z\d][\w.-]*(\/|$)/i.test(name)) {
    return 'That is no package\'s name: "imports" of deno.json says where it leads, or that of ' +
      "package.json where it begins with #";
  }
  return addPackage(advised ?? `npm:${name}`, folder);
}

function addPackage(name: string, folder: string): string {
  return `Try: cd ${folder} && deno add ${
    packageOf(name)
  }; it writes the package into deno.json, or ` +
    "package.json";
}

/** What to do about what Deno says. */
export function hintOn(said: string, context: ModuleContext): string {
  for (const [pattern, hint] of HINTS) {
    const found = pattern.exec(said);
    if (found) return hint(found, context);
  }
  return `Try: cd ${context.folder} && deno cache ${context.module}`;
}

/** What Deno says, without advice that is for its own command line, and without a diff. */
export function withoutAdvice(said: string): string {
  return said
    .replace(/\n+Stack backtrace:[^]*$/, "")
    .replace(/^error: /, "")
    .replace(/\nchanges:\n[^]*$/, "")
    .replace(/\n\s*hint: .*/g, "")
    .replace(
      /,? (or |and )?(re)?run (again )?with (the )?[`']?--[\w=-]+[`']?( flag)?( to [\w ]+)?/g,
      "",
    )
    .replace(/ Did you forget to run [`']deno install[`']\?/, "")
    .replace(
      / Run [`']deno install[^`']*[`'](, or rerun with [`']--frozen=false[`'] to update it)?\.?/,
      "",
    );
}
