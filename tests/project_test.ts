/** The projects that apps live in: where Deno finds settings, locks, maps and members, the wall and the check do. */
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { dirname, join } from "node:path";
import { readProject } from "../lib/config/project.ts";
import { findProject } from "../lib/config/project_files.ts";
import { Server } from "./harness/server.ts";

const HONO = "hono@4.13.19";
const ZOD = "zod@4.6.7";

/** An app that answers with what an expression gives. */
const answering = (expression: string, ...imports: string[]) =>
  `${imports.join("\n")}\nexport default { fetch: () => new Response(String(${expression})) };\n`;

const json = (value: unknown) => JSON.stringify(value);

async function write(folder: string, files: Readonly<Record<string, string>>): Promise<void> {
  for (const [path, text] of Object.entries(files)) {
    await Deno.mkdir(dirname(join(folder, path)), { recursive: true });
    await Deno.writeTextFile(join(folder, path), text);
  }
}

/** Has Deno write the lock file, as an operator does. */
async function lock(server: Server, app: string): Promise<void> {
  const path = server.project.path(app);
  const args = ["cache", "--quiet", "--frozen=false", path];
  const cwd = dirname(path);
  const { success, stderr } = await new Deno.Command(Deno.execPath(), { args, cwd }).output();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
}

type Kind = (server: Server) => Promise<void>;

const KINDS: Record<string, Kind> = {
  async "a member of a workspace is held to the workspace's lock, and imports another member"(
    server,
  ) {
    await write(server.project.path("space"), {
      "deno.json": json({ workspace: ["./packages/*"] }),
      "packages/site/deno.json": json({
        ...{ name: "@test/site", version: "1.0.0", exports: "./main.ts" },
        imports: { hono: `npm:${HONO}` },
      }),
      "packages/site/main.ts": answering(
        "typeof Hono + word",
        `import { Hono } from "hono";`,
        `import { word } from "@test/word";`,
      ),
      "packages/word/deno.json": json({ name: "@test/word", version: "1.0.0", exports: "./w.ts" }),
      "packages/word/w.ts": `export const word: string = " and a word";`,
      "packages/unused/deno.json": json({ name: "@test/no", version: "1.0.0", exports: "./n.ts" }),
      "packages/unused/n.ts": "",
    });
    const app = "space/packages/site/main.ts";
    await lock(server, app);
    await serve(server, app, "function and a word");
    await write(server.project.path("space/packages/site"), {
      "deno.json": json({
        ...{ name: "@test/site", version: "1.0.0", exports: "./main.ts" },
        imports: { hono: `npm:${HONO}`, zod: `npm:${ZOD}` },
      }),
      "main.ts": answering("typeof z", `import * as z from "zod";`),
    });
    const { outcome, reason, hint } = await server.reload();
    assertEquals(outcome, "refused");
    assertMatch(reason!, /lockfile is out of date/);
    assertStringIncludes(hint!, server.project.path("space/deno.lock"));
  },

  async "a lock file has the name that deno.json gives it, or there is none"(server) {
    const folder = server.project.path("lock");
    const settings = (lock: unknown, imports: Record<string, string>) =>
      write(folder, { "deno.json": json({ lock, imports }) });
    const named = { path: "./conf/versions.lock", frozen: true };
    await Deno.mkdir(join(folder, "conf"), { recursive: true });
    await settings(named, { hono: `npm:${HONO}` });
    await write(folder, { "main.ts": answering("typeof Hono", `import { Hono } from "hono";`) });
    await lock(server, "lock/main.ts");
    await serve(server, "lock/main.ts", "function");
    await settings("./conf/versions.lock", { hono: `npm:${HONO}`, zod: `npm:${ZOD}` });
    await write(folder, { "main.ts": answering("typeof z", `import * as z from "zod";`) });
    const { reason, hint } = await server.reload();
    assertMatch(reason!, /lockfile is out of date/);
    assertStringIncludes(hint!, join(folder, "conf/versions.lock"));
    await settings(false, { zod: `npm:${ZOD}` });
    await serve(server, "lock/main.ts", "object");
  },

  async "an import map in a file, with scopes, works behind the wall and is out of the app's reach"(
    server,
  ) {
    const { project } = server;
    await write(project.path("maps"), {
      "site/deno.json": json({ importMap: "../shared/import_map.json" }),
      "site/main.ts": answering(
        "words + more",
        `import words from "words";`,
        `import more from "./in/more.ts";`,
      ),
      "site/in/more.ts": `import words from "words";\nexport default words;`,
      "shared/import_map.json": json({
        imports: { words: "./a.ts" },
        scopes: { "../site/in/": { words: "./b.ts" } },
      }),
      "shared/a.ts": `export default "a" as string;`,
      "shared/b.ts": `export default "b" as string;`,
    });
    await serve(server, "maps/site/main.ts", "ab");
    await write(project.path("maps"), {
      "data/import_map.json": json({ imports: { words: "../shared/a.ts" } }),
    });
    await write(project.path("maps"), {
      "site/deno.json": json({ importMap: "../data/import_map.json" }),
    });
    await project.configure({ unveil: { "./maps/data": "rwc" } });
    const { outcome, reason } = await server.reload();
    assertEquals(outcome, "refused");
    assertMatch(reason!, /makes writable settings of the app, .*import_map\.json/);
    await project.configure({ unveil: {} });
  },

  async "linked packages, and members that package.json names, are found"(server) {
    const { project } = server;
    await write(project.path("linked"), {
      "site/deno.json": json({
        links: ["../library", "../idle"],
        imports: { lib: "jsr:@test/library@1" },
      }),
      "site/main.ts": answering("word", `import { word } from "lib";`),
      "library/deno.json": json({ name: "@test/library", version: "1.2.3", exports: "./mod.ts" }),
      "idle/deno.json": json({ name: "@test/idle", version: "1.0.0", exports: "./mod.ts" }),
      "library/mod.ts": `export const word: string = "linked";`,
    });
    await serve(server, "linked/site/main.ts", "linked");
    await write(project.path("members"), {
      "package.json": json({ name: "all", workspaces: ["packages/*"] }),
      "packages/site/package.json": json({
        ...{ name: "site", version: "1.0.0", type: "module" },
        dependencies: { word: "workspace:*" },
      }),
      "packages/site/main.ts": answering("word", `import { word } from "word";`),
      "packages/word/package.json": json({ name: "word", version: "1.0.0", exports: "./mod.ts" }),
      "packages/word/mod.ts": `export const word: string = "member";`,
    });
    await Deno.mkdir(project.path("members/node_modules"));
    await Deno.symlink("../packages/word", project.path("members/node_modules/word"));
    await serve(server, "members/packages/site/main.ts", "member");
  },

  async "packages that are linked to, as Deno and pnpm lay them out, find what they need"(server) {
    const folder = server.project.path("linking");
    const pack = (name: string, version: string, source: string, dependencies = {}) => ({
      [`node_modules/.store/${name}@${version}/node_modules/${name}/package.json`]: json({
        ...{ name, version, main: "main.js", dependencies },
      }),
      [`node_modules/.store/${name}@${version}/node_modules/${name}/main.js`]: source,
    });
    const link = async (from: string, name: string, version: string) => {
      const place = join(folder, from, "node_modules", name);
      await Deno.mkdir(dirname(place), { recursive: true });
      await Deno.symlink(
        join(folder, `node_modules/.store/${name}@${version}/node_modules`, name),
        place,
      );
    };
    await write(folder, {
      ...pack("shared", "1.0.0", "exports.tell = {};"),
      ...pack("low", "1.0.0", `exports.is = "low1";`),
      ...pack("low", "2.0.0", `exports.is = "low2";`),
      ...pack(
        "high",
        "1.0.0",
        `exports.low = require("low").is; exports.shared = require("shared");`,
        { low: "2", shared: "1" },
      ),
      "package.json": json({
        ...{ name: "linking", type: "module", dependencies: { high: "1", low: "1" } },
        imports: { "#high": "high" },
      }),
      "main.js": answering(
        "[high.low, low.is, inner, high.shared === shared, same === high].join()",
        `import high from "high"; import low from "low"; import same from "#high";
         import { inner, shared } from "./part/mod.js";`,
      ),
      // It has packages of its own, as a member of a workspace may.
      "part/mod.js": `import low from "low"; import shared from "shared";
        export const inner = low.is; export { shared };`,
    });
    await link("", "high", "1.0.0");
    await link("", "low", "1.0.0");
    await link("node_modules/.store/high@1.0.0", "low", "2.0.0");
    await link("node_modules/.store/high@1.0.0", "shared", "1.0.0");
    await link("part", "low", "2.0.0");
    await link("part", "shared", "1.0.0");
    await serve(server, "linking/main.js", "low2,low1,low2,true,true");
  },

  async "CommonJS is what Node takes for it, and what it requires is found"(server) {
    const folder = server.project.path("classic");
    await write(folder, {
      // It says no type.
      "package.json": json({ name: "classic", dependencies: { word: "1" } }),
      "node_modules/word/package.json": json({ name: "word", version: "1.0.0" }),
      "node_modules/word/index.js": `module.exports = "word";`,
      "main.js": `const routes = require("./routes");
const { own } = require("./settings");
const late = (name) => require("./plugins/" + name);
module.exports = {
  fetch: async () => {
    const { written } = await import("./written.js");
    let missing;
    try { require("./nowhere") } catch (error) { missing = error.code; }
    return new Response([routes, own, late("one.js"), written, missing].join());
  },
};`,
      "routes/index.js": `module.exports = require("./list").concat(require("../lib/"));`,
      "routes/list.js": `module.exports = ["list"];`,
      "lib/package.json": json({ main: "./deep/start" }),
      "lib/deep/start.cjs": `module.exports = "lib";`,
      "settings.json": json({ own: "settings" }),
      "plugins/one.js": `module.exports = "plugin with " + require("word");`,
      "written.js": `export const written = "module";`,
    });
    await server.project.configure({ unveil: { "./classic/plugins": "r" } });
    await serve(
      server,
      "classic/main.js",
      "list,lib,settings,plugin with word,module,MODULE_NOT_FOUND",
    );
    await server.project.configure({ unveil: { "./classic/lib": "rwc" } });
    const { outcome, reason } = await server.reload();
    assertEquals(outcome, "refused");
    assertMatch(reason!, /makes writable .*lib/);
    await server.project.configure({ unveil: {} });
  },

  async "JSX is compiled as a tsconfig.json says that extends another, and an error in it names its line"(
    server,
  ) {
    await write(server.project.path("jsx"), {
      "package.json": json({ name: "jsx", type: "module" }),
      "tsconfig.json": json({ extends: "./conf/base.json" }),
      "conf/base.json": json({ compilerOptions: { jsx: "react", jsxFactory: "h" } }),
      "main.tsx": `
interface Props { readonly price: number }
const h = (name: string, _: unknown, ...children: unknown[]) => name + children.join("");
const page = ({ price }: Props) => {
  if (price * 1.2 + 1 > 0) throw new Error("too much");
};
function where(): string {
  try {
    return String(page({ price: 1 }));
  } catch (error) {
    return /main.tsx:(\\d+)/.exec((error as Error).stack!)![1]!;
  }
}
export default { fetch: () => new Response(<b>{where()}</b> as unknown as string) };
`,
    });
    await serve(server, "jsx/main.tsx", "b5");
  },

  async "imports that may fail do not keep an app from being served, and those that may not do"(
    server,
  ) {
    const folder = server.project.path("optional");
    await write(folder, {
      "deno.json": "{}",
      "main.ts": `
import type { Settings } from "./settings_of_another_machine.ts";
export type { Theme } from "./themes.d.ts";
const load = async (act: () => Promise<unknown>) => await act().then(() => "there", () => "missing");
const found: (string | Settings)[] = [
  await load(() => import("./local_settings.ts")),
  await load(() => import("http://127.0.0.1:1/nobody_listens.ts")),
  await load(() => import("no-dependency")),
  await load(() => import("./there.ts")),
];
export default { fetch: () => new Response(found.join()) };
`,
      "there.ts": "export {};",
    });
    await serve(server, "optional/main.ts", "missing,missing,missing,there");
    await write(folder, { "main.ts": answering("x", `import x from "./missing.ts";`) });
    const { outcome, reason } = await server.reload();
    assertEquals(outcome, "refused");
    assertStringIncludes(reason!, "missing.ts");
  },

  async "a workspace above that leaves the project out is left alone"(server) {
    const { project } = server;
    await write(project.path("above"), {
      "package.json": json({ workspaces: ["./other"] }),
      "deno.lock": "no lock file",
      "other/package.json": json({ name: "other", version: "1.0.0" }),
      "site/deno.json": "{}",
      "site/main.ts": answering('"alone"'),
    });
    await serve(server, "above/site/main.ts", "alone");
  },

  async "text, bytes and JSON are imported"(server) {
    await write(server.project.path("raw"), {
      "deno.json": json({ unstable: ["raw-imports"] }),
      "data.json": json({ a: "json " }),
      "words.txt": "words ",
      "code.ts": "const one: number = 1;",
      "main.ts": answering(
        "data.a + words + code.length + bytes.length",
        `import data from "./data.json" with { type: "json" };`,
        `import words from "./words.txt" with { type: "text" };`,
        `import code from "./code.ts" with { type: "text" };`,
        `import bytes from "./words.txt" with { type: "bytes" };`,
      ),
    });
    await serve(server, "raw/main.ts", "json words 226");
  },

  async "a folder may have a name that is another one as a part of a URL"(server) {
    const folder = "o#dd ?a=%20%2F\\\\back ü [x]*";
    await write(server.project.path(folder), {
      "deno.json": json({ importMap: "./m%25p.json", workspace: ["./part*"] }),
      "parts/deno.json": "{}",
      "m%p.json": json({ imports: { word: "./w%23rd.ts" } }),
      "w#rd.ts": `export default "odd" as string;`,
      "data.json": json(" folder"),
      "main.ts": answering(
        "word + data",
        `import word from "word";`,
        `import data from "./data.json" with { type: "json" };`,
      ),
    });
    await serve(server, `${folder}/main.ts`, "odd folder");
    await write(server.project.path(folder), { "main.ts": `import "absent";` });
    const { hint } = await server.reload();
    assertStringIncludes(hint!, `cd '${server.project.path(folder)}' && deno add npm:absent`);
  },
};

/** Has an app served, and looks at its answer. */
async function serve(server: Server, app: string, answer: string): Promise<void> {
  await server.project.configure({ app: `./${app}` });
  const { outcome, reason } = await server.reload();
  assertEquals([outcome, reason], ["done", undefined]);
  assertEquals(await server.text(), answer);
}

Deno.test("apps in projects of every kind", async (t) => {
  await using server = await Server.start({ config: { reload: { idleGraceMs: 100 } } });
  for (const [promise, keep] of Object.entries(KINDS)) {
    await t.step(promise, () => keep(server));
  }
  assertEquals(server.eventsOf("code_not_cached"), []);
});

Deno.test("what decides which code runs is found as Deno finds it", async () => {
  const folder = await Deno.realPath(await Deno.makeTempDir());
  try {
    await write(folder, {
      "deno.jsonc": `{
        // Members, but for one of them.
        "workspace": { "members": ["./a/**", "b", "!./a/left_out"] },
        "importMap": "file://${folder}/maps/m%23.json",
        "lock": true,
      }`,
      "a/deep/er/deno.json": "{}",
      "a/deep/er/tsconfig.json": json({ extends: ["../base", "not-a-path"] }),
      "a/deep/base.json": json({ extends: "./base.json" }),
      "a/deep/er/src/main.ts": "",
      "a/left_out/deno.json": json({
        lock: { frozen: true },
        importMap: "https://example.com/m.json",
      }),
      "a/left_out/main.ts": "",
      "b/package.json": "not JSON",
      "b/main.ts": "",
    });
    const place = (path: string) => {
      const module = join(folder, path);
      return { module, project: findProject(module) };
    };
    const deep = place("a/deep/er/src/main.ts");
    assertEquals(deep.project, join(folder, "a/deep/er"));
    const read = readProject(deep);
    assertEquals(read.lockfile, undefined);
    assertEquals(read.listed, [join(folder, "a")]);
    const settings = read.settings.map((path) => path.slice(folder.length + 1));
    for (
      const each of [
        "maps/m#.json",
        "deno.lock",
        "b/package.json",
        "a/deep/base.json",
        "a/deep/base.js",
      ]
    ) {
      assertEquals(settings.includes(each), true, `${each} in ${settings}`);
    }
    await write(folder, { "deno.lock": "{}" });
    assertEquals(readProject(place("b/main.ts")).lockfile, join(folder, "deno.lock"));
    const leftOut = readProject(place("a/left_out/main.ts"));
    const others = leftOut.settings.filter((path) => !/\.jsonc?$|\/deep\//.test(path));
    assertEquals(others, [join(folder, "a/left_out/deno.lock")]);
    assertEquals(leftOut.settings.filter((path) => path.includes("m.json")), []);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});
