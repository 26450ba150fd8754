/** A generation runs what was planned, whatever becomes of the files; an error of the app's shows where it was thrown. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { Held } from "./harness/held.ts";
import { testWith } from "./harness/needs.ts";
import { PRICE } from "./harness/price.ts";
import { Project } from "./harness/project.ts";
import { runLongCommand, Server } from "./harness/server.ts";
import { mountSmall, whyNoSmallDisk } from "./harness/small_disk.ts";
import { until } from "./harness/wait.ts";

/** How long an upgrade by a command may take. */
const LONG_MS = 120_000;

const PAGE = `
interface Props { readonly price: number }
declare namespace JSX { interface IntrinsicElements { b: unknown } }
const h = (_: string, __: unknown, ...children: unknown[]) => children.join("");

export const page = ({ price }: Props): unknown => {
  const rows: string[] = [];
  return <b>{rows[price * 2 + 1].length}</b>;
};
`;

/** Says where its errors were thrown; a request to \`/hold\` does when it has ended. */
const APP = `
import { check, VERSION } from "./price.ts";
import { page } from "./page.tsx";
const encoder = new TextEncoder();
function stackOf(order: () => unknown): string {
  try {
    return String(order());
  } catch (error) {
    return VERSION + " " + (error as Error).stack!;
  }
}
export default {
  async fetch(request: Request): Promise<Response> {
    const { pathname } = new URL(request.url);
    if (pathname === "/pid") return new Response(String(Deno.pid));
    if (pathname === "/jsx") return new Response(stackOf(() => page({ price: 7 })));
    if (pathname === "/throw") check({ sum: 1, price: 2 });
    if (pathname !== "/hold") return new Response(stackOf(() => check({ sum: 1, price: 2 })));
    return new Response(new ReadableStream({
      async start(controller) {
        controller.enqueue(encoder.encode("held "));
        await request.text();
        controller.enqueue(encoder.encode(stackOf(() => check({ sum: 1, price: 2 }))));
        controller.close();
      },
    }));
  },
};
`;

const FILES = {
  "app.ts": APP,
  "price.ts": PRICE("one"),
  "page.tsx": PAGE,
  "deno.json": JSON.stringify({
    compilerOptions: { jsx: "react", jsxFactory: "h" },
  }),
};

/** A newer version: its error is thrown some lines further down. */
function newer(version: string): string {
  return `// A comment.\n\n// Another one.\n${PRICE(version)}`;
}

/** As an editor or an operator does, who looks whether the newer version is right. */
async function checkByHand(project: Project): Promise<void> {
  const args = ["cache", "--quiet", "--no-lock", "app.ts"];
  const { success } = await new Deno.Command(Deno.execPath(), { args, cwd: project.folder })
    .output();
  assert(success);
}

/** Has the app throw in every way, and looks whether it lives and knows the lines. */
async function assertThrows(server: Server, version: string, line: number): Promise<void> {
  const pid = await server.text("/pid");
  assertMatch(await server.text("/"), new RegExp(`^${version} .*price\\.ts:${line}:\\d+`, "s"));
  assertMatch(await server.text("/jsx"), /page\.tsx:8:\d+/);
  const threw = server.eventsOf("worker_output").length;
  const response = await server.get("/throw");
  assertEquals(response.status, 500);
  await response.body?.cancel();
  const { text } = await server.waitFor("worker_output", threw + 1);
  assertStringIncludes(String(text), `price.ts:${line}:`);
  assertEquals(await server.text("/pid"), pid);
}

const ONE_LINE = 8;
const NEWER_LINE = ONE_LINE + 3;

Deno.test("an app's error names its line and ends no worker: after reloads, a replacement, an upgrade, and in a drain", async (t) => {
  await using server = await Server.start({
    files: FILES,
    config: { reload: { idleGraceMs: 100, drainDeadlineMs: 60_000 } },
  });
  const { project } = server;

  await t.step("a newer version of the files was checked by hand", async () => {
    await project.write("price.ts", newer("checked"));
    await checkByHand(project);
    await assertThrows(server, "one", ONE_LINE);
  });

  await t.step("a reload was refused", async () => {
    const app = "export function open() { throw new Error('no good') }\n" + APP;
    await project.write("app.ts", app);
    assertEquals((await server.reload()).outcome, "refused");
    await assertThrows(server, "one", ONE_LINE);
    await project.write("app.ts", APP);
  });

  // The runtime keeps what it once looked up: those that drain must not have thrown before.
  await t.step("in a drain, while the newer version serves", async () => {
    assertEquals((await server.reload()).outcome, "done");
    using held = await Held.begin(project);
    await project.write("price.ts", PRICE("two"));
    await checkByHand(project);
    assertEquals((await server.reload()).outcome, "done");
    await assertThrows(server, "two", ONE_LINE);
    const line = new RegExp(`^held checked .*price\\.ts:${NEWER_LINE}:\\d+`, "s");
    assertMatch(await held.release(), line);
    await server.waitFor("generation_ended", 2);
  });

  await t.step("a worker that takes another's place runs what was planned", async () => {
    await project.write("price.ts", newer("changed"));
    await replaceWorker(server);
    await assertThrows(server, "two", ONE_LINE);
  });

  await t.step("in the drain of an upgrade, and after it", async () => {
    assertEquals((await server.reload()).outcome, "done");
    using held = await Held.begin(project);
    await project.write("price.ts", PRICE("upgraded"));
    const done = await runLongCommand(LONG_MS, project, "upgrade");
    assertEquals(done.code, 0, done.stderr);
    await assertThrows(server, "upgraded", ONE_LINE);
    const line = new RegExp(`^held changed .*price\\.ts:${NEWER_LINE}:\\d+`, "s");
    assertMatch(await held.release(), line);
    await server.waitFor("old_process_exited");
  });
});

/** Kills the worker, and waits until another one serves. */
async function replaceWorker(server: Server): Promise<void> {
  const pid = Number(await server.text("/pid"));
  Deno.kill(pid, "SIGKILL");
  await until("another worker", async () => {
    return await server.text("/pid").then((text) => Number(text) !== pid, () => false);
  });
}

testWith(
  { missing: whyNoSmallDisk() },
  "a reload that has no room for an image is refused with the reason, and the old version goes on",
  async () => {
    const project = await Project.create({ files: FILES, config: { runtime: "./run" } });
    await Deno.mkdir(project.runtime);
    const disk = await mountSmall(project.runtime, 8);
    await using server = await Server.startOn(project);
    // Before the server looks what it has left behind, its folder must be an ordinary one.
    await using unmounting = new AsyncDisposableStack();
    unmounting.defer(async () => {
      await server.stop();
      await disk?.[Symbol.asyncDispose]();
    });
    // More than the disk has: what a planner may free meanwhile does not help.
    await project.write("price.ts", newer("two") + "//".padEnd(8 * 2 ** 20, "x"));
    const { outcome, reason } = await server.reload();
    assertEquals(outcome, "refused");
    assertMatch(reason!, /Cannot keep code in .*No space left/);
    await assertThrows(server, "one", ONE_LINE);
    await project.write("price.ts", newer("two"));
    assertEquals((await server.reload()).outcome, "done");
    await assertThrows(server, "two", NEWER_LINE);
    await server.stop();
  },
);

testWith(
  { missing: whyNoSmallDisk() },
  "code that Deno could not keep as compiled is never taken from an earlier state of the file",
  async () => {
    await using server = await Server.start({ files: FILES });
    const { project } = server;
    const kept = `${project.runtime}/images/compiled/gen`;
    const mount = (...args: string[]) =>
      assert(new Deno.Command("mount", { args }).outputSync().success);
    mount("--bind", kept, kept);
    try {
      mount("-o", "remount,bind,ro", kept);
      await project.write("price.ts", newer("two"));
      const { outcome, reason } = await server.reload();
      assertEquals(outcome, "refused");
      assertStringIncludes(reason!, `${project.path("price.ts")} is of an earlier state`);
      await assertThrows(server, "one", ONE_LINE);
    } finally {
      new Deno.Command("umount", { args: ["--lazy", kept] }).outputSync();
    }
    assertEquals((await server.reload()).outcome, "done");
    await assertThrows(server, "two", NEWER_LINE);
  },
);

/** Every form in which an app can have a part of it; each is asked for by its path. */
const FORMS: Record<string, { code: string; answer: string }> = {
  static: { code: "sum(1, 2)", answer: "3" },
  dynamic: { code: `(await import("./lazy.ts")).default`, answer: "lazy" },
  computed: { code: `(await import("./la" + "zy.ts")).default`, answer: "lazy" },
  alias: { code: `(await import("#la" + "zy")).default`, answer: "lazy" },
  json: { code: "data.word", answer: "json" },
  text: { code: "words", answer: "some words" },
  wasm: { code: "add(20, 3)", answer: "23" },
  "common js": { code: "old.word + word", answer: "cjscjs" },
  "common js, passed on": { code: "again", answer: "cjs" },
  "common js in TypeScript": { code: "typed.twice(4)", answer: "8" },
  required: { code: `require("./old.cjs").word`, answer: "cjs" },
  "in its place": { code: "import.meta.dirname", answer: "FOLDER" },
  "a package": { code: "name", answer: "from a package" },
  "a package that requires JSON": { code: "json.read()", answer: "inner" },
  "a package that requires an ES module": { code: "mixed.read()", answer: "esm deep" },
  "a package that is required": { code: `require("plain-json").read()`, answer: "inner" },
};

const FORMS_APP = `
import { createRequire } from "node:module";
import { sum } from "./sum.ts";
import data from "./data.json" with { type: "json" };
import words from "./words.txt" with { type: "text" };
import { add } from "./add.wasm";
import old, { word } from "./old.cjs";
import { word as again } from "./again.cjs";
import * as typed from "./typed.cts";
import { name } from "es-package";
import json from "plain-json";
import mixed from "mixed";
const require = createRequire(import.meta.url);
const forms: Record<string, () => unknown> = {
${
  Object.entries(FORMS).map(([name, { code }]) => `  ${JSON.stringify(name)}: async () => ${code},`)
    .join("\n")
}
};
export default {
  async fetch(request: Request) {
    const name = decodeURIComponent(new URL(request.url).pathname.slice(1));
    if (name === "pid") return new Response(String(Deno.pid));
    try {
      return new Response(String(await forms[name]()));
    } catch (error) {
      return new Response((error as Error).stack);
    }
  },
};
`;

/** \`(module (func (export "add") (param i32 i32) (result i32) (i32.add (local.get 0) (local.get 1))))\` */
const ADD_WASM =
  "0061736d0100000001070160027f7f017f030201000707010361646400000a09010700200020016a0b";

const FORMS_FILES = {
  "app.ts": FORMS_APP,
  "deno.json": JSON.stringify({
    nodeModulesDir: "manual",
    imports: { "#lazy": "./lazy.ts" },
  }),
  "package.json": JSON.stringify({
    type: "module",
    dependencies: { "es-package": "1.0.0", "plain-json": "1.0.0", mixed: "1.0.0" },
  }),
  "sum.ts": "export const sum = (a: number, b: number): number => a + b;",
  "lazy.ts": `export default "lazy" as string;`,
  "data.json": JSON.stringify({ word: "json" }),
  "words.txt": "some words",
  "old.cjs": `exports.word = "cjs";`,
  "again.cjs": `module.exports = require("./old.cjs");`,
  "typed.cts": "exports.twice = (value: number): number => 2 * value;",
  "node_modules/es-package/package.json": JSON.stringify({
    ...{ name: "es-package", version: "1.0.0", type: "module", exports: "./main.js" },
  }),
  "node_modules/es-package/main.js": `export { name } from "./inner.js";`,
  "node_modules/es-package/inner.js": `export const name = "from a package";`,
  "node_modules/plain-json/package.json": JSON.stringify({ name: "plain-json", version: "1.0.0" }),
  "node_modules/plain-json/index.js": `exports.read = () => require("./inner.json").word;`,
  "node_modules/plain-json/inner.json": JSON.stringify({ word: "inner" }),
  "node_modules/mixed/package.json": JSON.stringify({
    ...{ name: "mixed", version: "1.0.0", dependencies: { deep: "1.0.0" } },
  }),
  "node_modules/mixed/index.js":
    `exports.read = () => require("./esm.mjs").word + " " + require("deep");`,
  "node_modules/mixed/esm.mjs": `export { word } from "./word.mjs";`,
  "node_modules/mixed/word.mjs": `export const word = "esm";`,
  "node_modules/mixed/node_modules/deep/package.json": JSON.stringify({
    ...{ name: "deep", version: "1.0.0" },
  }),
  "node_modules/mixed/node_modules/deep/index.js": `module.exports = "deep";`,
};

/** What does not answer as it should. */
async function wrongForms(server: Server): Promise<string[]> {
  const wrong: string[] = [];
  for (const [name, { answer }] of Object.entries(FORMS)) {
    const text = await server.text(`/${encodeURIComponent(name)}`);
    const wanted = answer.replace("FOLDER", server.project.folder);
    if (text !== wanted) wrong.push(`${name}: ${text}`);
  }
  return wrong;
}

Deno.test("a generation goes on when every file of its project is changed, and then removed", async (t) => {
  const project = await Project.create({ files: FORMS_FILES });
  await Deno.writeFile(project.path("add.wasm"), Uint8Array.fromHex(ADD_WASM));
  await using server = await Server.startOn(project);
  const { folder, configFile } = project;

  await t.step("all forms of imports work", async () => {
    assertEquals(await wrongForms(server), []);
  });

  await t.step("files that are broken change nothing, for the next worker either", async () => {
    for (const path of filesBelow(folder)) {
      if (path !== configFile) await Deno.writeTextFile(path, "throw new Error('broken');");
    }
    await replaceWorker(server);
    assertEquals(await wrongForms(server), []);
    assertEquals((await server.reload()).outcome, "refused");
    assertEquals(await wrongForms(server), []);
  });

  await t.step("files that are removed change nothing, for the next worker either", async () => {
    for (const { name } of Deno.readDirSync(folder)) {
      const path = project.path(name);
      if (path !== configFile && name !== ".holdfast") await Deno.remove(path, { recursive: true });
    }
    await replaceWorker(server);
    assertEquals(await wrongForms(server), []);
  });
});

/** The files of a project that are not Holdfast's. */
function* filesBelow(folder: string): Generator<string> {
  for (const { name, isDirectory } of Deno.readDirSync(folder)) {
    if (name === ".holdfast") continue;
    const path = `${folder}/${name}`;
    if (isDirectory) yield* filesBelow(path);
    else yield path;
  }
}
