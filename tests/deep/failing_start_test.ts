/** Apps that do not start: each is told with its own error, its place, and a hint that is true for it. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { Server } from "../harness/server.ts";

interface FailingStart {
  readonly app: string;
  readonly files?: Readonly<Record<string, string>>;
  readonly config?: Readonly<Record<string, unknown>>;
  /** What is said of the error. */
  readonly says: RegExp;
  readonly hint: RegExp;
}

const OK = `export default { fetch: () => new Response("ok") };`;

const SYNTAX = /^It is a fault of syntax/;
const SLOPPY = /extension of its file, or set "unstable": \["sloppy-imports"\] in deno\.json/;
const SETTINGS = /^It is a fault of a file of settings/;
const THROWN = /^The app threw it while its module was loaded, or in its open\(\)/;
const WAITS = /waits for what does not come/;
const EXPORTS = /docs\/apps\.md for what an app exports/;

/** Where the error was thrown: of the app, and not of the runtime or of Holdfast. */
const AT = String.raw`\(at .*app\.tsx?:\d+:\d+`;

const STARTS: Record<string, FailingStart> = {
  "a fault of syntax": { app: `const x = ;\n${OK}`, says: /app\.ts:1:11/, hint: SYNTAX },
  "a fault of syntax in another module": {
    app: `import "./b.js";\n${OK}`,
    files: { "b.js": "let a = {;" },
    says: /b\.js:1:10/,
    hint: SYNTAX,
  },
  "a module that is not there": {
    app: `import "./nope.ts";\n${OK}`,
    says: /Module not found .*nope\.ts"\.\n.*app\.ts:1:8/,
    hint: /^There is no such file/,
  },
  "an import without an extension": {
    app: `import { a } from "./a";\nconsole.log(a);\n${OK}`,
    files: { "a.ts": "export const a = 1;" },
    says: /Maybe add a '\.ts' extension\n/,
    hint: SLOPPY,
  },
  "an import with another extension": {
    app: `import { a } from "./a.js";\nconsole.log(a);\n${OK}`,
    files: { "a.ts": "export const a = 1;" },
    says: /Maybe change the extension to '\.ts'\n/,
    hint: SLOPPY,
  },
  "an import of a folder": {
    app: `import { a } from "./folder";\nconsole.log(a);\n${OK}`,
    files: { "folder/index.ts": "export const a = 1;" },
    says: /Maybe specify path to 'index\.ts' file in directory instead\n/,
    hint: SLOPPY,
  },
  "a package that the project does not have": {
    app: `import { Hono } from "hono";\nexport default new Hono();`,
    says: /Import "hono" not a dependency\n.*app\.ts:1:22/,
    hint: /deno add npm:hono; it writes the package into deno\.json/,
  },
  "a package of another registry": {
    app: `import { a } from "@std/nothing";\nconsole.log(a);\n${OK}`,
    says: /Import "@std\/nothing" not a dependency/,
    hint: /deno add jsr:@std\/nothing/,
  },
  "a package that is not installed": {
    app: `import "hono";\n${OK}`,
    files: { "package.json": `{ "dependencies": { "hono": "4.13.19" } }` },
    says: /Could not resolve "hono", but found it in a package\.json/,
    hint: /deno install, or npm install/,
  },
  "a lock file that is out of date": {
    app: `import { Hono } from "hono";\nexport default new Hono();`,
    files: {
      "deno.json": `{ "imports": { "hono": "npm:hono@4.13.19" } }`,
      "deno.lock": `{ "version": "5" }`,
    },
    says: /The lockfile is out of date\.$/,
    hint: /--frozen=false; it brings .*deno\.lock up to date/,
  },
  "code from a host that is not asked": {
    app: `import "https://127.0.0.1:1/x.ts";\n${OK}`,
    says: /Requires import access to "127\.0\.0\.1:1"\n/,
    hint: /^Code is fetched from deno\.land, .* alone/,
  },
  "a module of Bun's": {
    app: `import { serve } from "bun";\nserve({});`,
    says: /Import "bun"/,
    hint: /^Deno has no module of Bun's/,
  },
  "a module of Node's that is not there": {
    app: `import { x } from "node:nothing";\nconsole.log(x);\n${OK}`,
    says: /No such built-in module: node:nothing/,
    hint: /^Deno has no such module of Node's/,
  },
  "a deno.json that is no JSON": {
    app: OK,
    files: { "deno.json": "{ nope" },
    says: /deno\.json'[^]*line 1 column 7/,
    hint: SETTINGS,
  },
  "a package.json that is no JSON": {
    app: OK,
    files: { "package.json": "{ nope" },
    says: /package\.json'[^]*line 1 column 3/,
    hint: SETTINGS,
  },
  "an import map that is no JSON": {
    app: OK,
    files: { "deno.json": `{ "importMap": "./map.json" }`, "map.json": "{" },
    says: /line 1 column 1/,
    hint: SETTINGS,
  },
  "a style as a module": {
    app: `import "./style.css";\n${OK}`,
    files: { "style.css": "a {}" },
    says: /style\.css/,
    hint: /for a bundler/,
  },
  "an export that is not there": {
    app: `import { b } from "./b.ts";\nconsole.log(b);\n${OK}`,
    files: { "b.ts": "export const a = 1;" },
    says: /does not provide an export named 'b' at .*app\.ts:1:10/,
    hint: /^Mend the name in that import/,
  },
  "an exception at the top of a module": {
    app: `import { f } from "./b.ts";\nf();\n${OK}`,
    files: { "b.ts": `export function f() { throw new RangeError("no"); }` },
    says: /RangeError: no \(at f .*b\.ts:1:\d+\), at .*app\.ts:2:1\)/,
    hint: THROWN,
  },
  "a text that is thrown": { app: `throw "just text";\n${OK}`, says: /just text/, hint: THROWN },
  "a promise that is rejected and awaited": {
    app: `await Promise.reject(new TypeError("awaited"));\n${OK}`,
    says: new RegExp(`TypeError: awaited ${AT}`),
    hint: THROWN,
  },
  "a promise that is rejected and not awaited": {
    app:
      `Promise.reject(new Error("late"));\nawait new Promise((go) => setTimeout(go, 100));\n${OK}`,
    says: new RegExp(`Error: late ${AT}`),
    hint: /^Nothing awaits that promise/,
  },
  "a refusal that nothing awaits": {
    app:
      `Deno.readTextFile("/etc/passwd");\nawait new Promise((go) => setTimeout(go, 100));\n${OK}`,
    says: new RegExp(`"unveil": \\{ "/etc/passwd": "r" \\} to the config ${AT}`),
    hint: /^It says what would allow it/,
  },
  "an error in a timer": {
    app: `setTimeout(() => { throw new Error("ticked"); }, 0);
await new Promise((go) => setTimeout(go, 5_000));\n${OK}`,
    says: /Error: ticked \(at .*app\.ts:1:\d+/,
    hint: /worker_output/,
  },
  "an exit": {
    app: `Deno.exit(3);\n${OK}`,
    says: new RegExp(`the app called exit\\(3\\) before it was ready.*${AT}.*status 3`),
    hint: /worker_output/,
  },
  "an exit by Node's name, with status 0": {
    app: `import process from "node:process";\nprocess.exit(0);\n${OK}`,
    says: new RegExp(`the app called exit\\(0\\) before it was ready.*${AT}.*status 0`),
    hint: /worker_output/,
  },
  "memory that runs out": {
    app:
      `const all = [];\nwhile (true) all.push(new Array(1e5).fill(0).map((n) => ({ n })));\n${OK}`,
    config: { limits: { memoryBytes: 400 * 1024 * 1024 }, reload: { readyDeadlineMs: 60_000 } },
    says: /killed by SIG/,
    hint: /^Most likely memory ran out: raise limits\.memoryBytes/,
  },
  "an open() that does not end": {
    app: `export const open = () => new Promise(() => {});\n${OK}`,
    config: { reload: { readyDeadlineMs: 10_000 } },
    says: /did not load and open the app within 10000 ms/,
    hint: WAITS,
  },
  "a loop without an end": {
    app: `while (true);\n${OK}`,
    config: { reload: { readyDeadlineMs: 10_000 } },
    says: /did not load and open the app within 10000 ms/,
    hint: WAITS,
  },
  "an open() that throws": {
    app: `export async function open() {\n  throw new Error("no connection");\n}\n${OK}`,
    says: /Error: no connection \(at open .*app\.ts:2:\d+\)/,
    hint: THROWN,
  },
  "an open() that connects to nobody": {
    app: `export const open = () => Deno.connect({ hostname: "127.0.0.1", port: 1 });\n${OK}`,
    config: { net: ["127.0.0.1:1"] },
    says: /Connection refused/,
    hint: /^What it connects to does not answer/,
  },
  "a default export that is no app": {
    app: "export default 42;",
    says: /default export has no fetch/,
    hint: EXPORTS,
  },
  "a module that exports nothing": {
    app: "export const a = 1;",
    says: /exports no handler/,
    hint: EXPORTS,
  },
  "an open that is no function": {
    app: `export const open = 3;\n${OK}`,
    says: /export open is not a function but number/,
    hint: EXPORTS,
  },
  "a read of what is not unveiled": {
    app: `Deno.readTextFileSync("/etc/passwd");\n${OK}`,
    says: new RegExp(`"unveil": \\{ "/etc/passwd": "r" \\}.*${AT}`),
    hint: /^Add that line/,
  },
  "a program that is started": {
    app: `new Deno.Command("/bin/ls").outputSync();\n${OK}`,
    says: /may start a program/,
    hint: /docs\/apps\.md/,
  },
  "a variable that is not granted": {
    app: `if (!Deno.env.get("DATABASE_URL")) throw new Error("DATABASE_URL is not set");\n${OK}`,
    says: /DATABASE_URL is not set/,
    hint: /list it in "env"/,
  },
  "what is not stable in the runtime": {
    app: `await Deno.openKv(":memory:");\n${OK}`,
    says: /Deno\.openKv is not a function/,
    hint: /"unstable": \["kv"\] in deno\.json/,
  },
  "CommonJS in an ES module": {
    app: `import "./b.js";\n${OK}`,
    files: { "b.js": `const fs = require("node:fs"); module.exports = fs;` },
    says: /require is not defined \(at .*b\.js:1:\d+/,
    hint: /^It is CommonJS in an ES module/,
  },
  "a package that is required and not there": {
    app: `import { createRequire } from "node:module";
createRequire(import.meta.url)("nothing");\n${OK}`,
    says: /./,
    hint: /deno add npm:NAME/,
  },
  "JSON without its type": {
    app: `import data from "./data.json";\nconsole.log(data);\n${OK}`,
    files: { "data.json": "{}" },
    says: /identified a Json module[^]*data\.json\n.*app\.ts:1:18/,
    hint: /with \{ type: "json" \}/,
  },
  "modules that import each other in a circle": {
    app: `import { b } from "./b.ts";\nexport const a = 1;\nconsole.log(b);\n${OK}`,
    files: { "b.ts": `import { a } from "./app.ts";\nexport const b = a + 1;` },
    says: /Cannot access 'a' before initialization \(at .*b\.ts:2:18/,
    hint: /import each other in a circle/,
  },
  "an object that is thrown": {
    app: `throw { code: 7, why: "because" };\n${OK}`,
    says: /ready: \{ code: 7, why: "because" \} \(exited/,
    hint: /throw an Error, which says at which place/,
  },
  "an error with a cause": {
    app: `throw new Error("no users", { cause: new TypeError("column\\nunknown") });\n${OK}`,
    says: /Error: no users \(at .*app\.ts:1:\d+\); caused by TypeError: column unknown \(at /,
    hint: THROWN,
  },
  "a lock file that is broken": {
    app: OK,
    files: { "deno.json": "{}", "deno.lock": "{ nope" },
    says: /Failed reading lockfile at '\/[^']*\/deno\.lock'/,
    hint: /^It is a fault of \/\S*\/deno\.lock: .*deno install$/,
  },
  "a package of which a part is missing": {
    app: `import "half";\n${OK}`,
    files: {
      "package.json": `{ "dependencies": { "half": "1.0.0" } }`,
      "node_modules/half/package.json":
        `{ "name": "half", "version": "1.0.0", "exports": "./dist/index.js" }`,
    },
    says: /Cannot find module '.*node_modules\/half\/dist\/index\.js'/,
    hint: /not installed whole: cd \S+ && deno install/,
  },
  "a path that a package does not export": {
    app: `import "closed/inner.js";\n${OK}`,
    files: {
      "package.json": `{ "dependencies": { "closed": "1.0.0" } }`,
      "node_modules/closed/package.json":
        `{ "name": "closed", "version": "1.0.0", "exports": { ".": "./index.js" } }`,
      "node_modules/closed/index.js": "",
      "node_modules/closed/inner.js": "",
    },
    says: /'\.\/inner\.js' is not defined by "exports"/,
    hint: /does not export that path/,
  },
  "a package whose own package is missing": {
    app: `import "outer";\n${OK}`,
    files: {
      "package.json": `{ "dependencies": { "outer": "1.0.0" } }`,
      "node_modules/outer/package.json": `{ "name": "outer", "version": "1.0.0", "main": "i.js" }`,
      "node_modules/outer/i.js": `require("inner");`,
    },
    says: /Cannot find module 'inner' \(at .*\(node_modules\/outer\/i\.js:1:\d+\)/,
    hint: /^The package outer lacks what it needs/,
  },
  "a path in a package that the project does not have": {
    app: `import "@scope/name/deep/path";\n${OK}`,
    says: /Import "@scope\/name\/deep\/path" not a dependency/,
    hint: /deno add (npm|jsr):@scope\/name;/,
  },
  "a name of tsconfig.json, in a project with a deno.json": {
    app: `import { a } from "@lib/a";\nconsole.log(a);\n${OK}`,
    files: {
      "lib/a.ts": "export const a = 1;",
      "deno.json": "{}",
      "tsconfig.json": `{ "compilerOptions": { "paths": { "@lib/*": ["./lib/*"] } } }`,
    },
    says: /Import "@lib\/a" not a dependency/,
    hint:
      /"paths" of tsconfig\.json: write "imports": \{"@lib\/": "file:\/\/\/.*\/lib\/"\} into deno\.json/,
  },
  "a name that no package has": {
    app: `import { a } from "~/a";\nconsole.log(a);\n${OK}`,
    says: /Import "~\/a" not a dependency/,
    hint: /^That is no package's name: "imports" of deno\.json says where it leads/,
  },
  "a package with a package.json that is no JSON": {
    app: `import bad from "bad";\nconsole.log(bad);\n${OK}`,
    files: {
      "package.json": `{ "dependencies": { "bad": "1.0.0" } }`,
      "node_modules/bad/package.json": `{ "name": `,
    },
    says: /ERR_INVALID_PACKAGE_CONFIG/,
    hint: /^That package\.json is no valid JSON/,
  },
  "CommonJS in a folder that is unveiled, and a package.json that is not": {
    app: `import { createRequire } from "node:module";
createRequire(import.meta.url)(["./loaded", "a.js"].join("/"));\n${OK}`,
    files: { "loaded/a.js": "exports.a = 1;", "package.json": "{}" },
    config: { unveil: { "./loaded": "r" } },
    says: /Failed reading '.*\/package\.json'/,
    hint: /^Add "unveil": \{ "\/.*\/package\.json": "r" \} to the config/,
  },
  "an error with a code that looks like a variable": {
    app: `throw Object.assign(new Error("SOME_CODE: it is so"), { code: "SOME_CODE" });\n${OK}`,
    says: /SOME_CODE: it is so/,
    hint: THROWN,
  },
  "an error with a code of Node's": {
    app: `throw new Error("[ERR_INVALID_THING] it is so");\n${OK}`,
    says: /ERR_INVALID_THING/,
    hint: THROWN,
  },
  "an addon that was not built": {
    app: `throw new Error("Could not locate the bindings file. Tried: x");\n${OK}`,
    says: /Could not locate the bindings file/,
    hint: /^That is a native addon, and no worker loads one/,
  },
  "a module of Bun's, by its scheme": {
    app: `import { Database } from "bun:sqlite";\nconsole.log(Database);\n${OK}`,
    says: /Unsupported scheme "bun" for module "bun:sqlite"\n.*app\.ts:1:26/,
    hint: /^Deno has no module of Bun's/,
  },
  "a module of Workers', by its scheme": {
    app: `import { env } from "cloudflare:workers";\nconsole.log(env);\n${OK}`,
    says: /Unsupported scheme "cloudflare" for module "cloudflare:workers"\n.*app\.ts:1:21/,
    hint: /^Deno has no cloudflare: modules/,
  },
  "a module of Bun's, in a package": {
    app: `import "wraps";\n${OK}`,
    files: {
      "package.json": `{ "dependencies": { "wraps": "1.0.0" } }`,
      "node_modules/wraps/package.json":
        `{ "name": "wraps", "version": "1.0.0", "type": "module", "exports": "./i.js" }`,
      "node_modules/wraps/i.js": `export { Database } from "bun:sqlite";`,
    },
    says: /bun:sqlite/,
    hint: /^Deno has no module of Bun's/,
  },
  "the module of helpers without its place": {
    app: `import { helper } from "holdfast/helper";\nconsole.log(helper);\n${OK}`,
    says: /Import "holdfast\/helper" not a dependency/,
    hint: /^Write "holdfast\/helper": "\/.*\/lib\/helper\/mod\.ts" into "imports" of deno\.json/,
  },
  "what a browser has": {
    app: `console.log(document.title);\n${OK}`,
    says: /document is not defined/,
    hint: /^There is no document on a server/,
  },
};

Deno.test("each app that does not start is told with its own error and a hint that is true for it", async (t) => {
  await using server = await Server.start({ files: { "app.ts": OK } });
  const { project } = server;
  for (const [name, { app, files = {}, config = {}, says, hint }] of Object.entries(STARTS)) {
    await t.step(name, async () => {
      const all = { "app.ts": app, ...files };
      for (const [path, text] of Object.entries(all)) await project.write(path, text);
      await project.configure({ limits: {}, reload: {}, net: [], unveil: {}, ...config });
      const result = await server.reload();
      for (const path of Object.keys(files)) {
        await Deno.remove(project.path(path.split("/")[0]!), { recursive: true }).catch(() => {});
      }
      const { outcome, reason = "" } = result;
      assertEquals(outcome, "refused", name);
      assertMatch(reason, says);
      assertMatch(result.hint ?? "none", hint);
      assert(
        !/\(ext:|node:\w+:\d|deno\$stdin|Stack backtrace|--sloppy|--allow-/.test(reason),
        reason,
      );
    });
  }
  // The one that served does so still.
  assertStringIncludes(await server.text("/"), "ok");
});
