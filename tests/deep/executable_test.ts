/** An executable of either kind runs images as a project does: what is served stays, and is brought back. */
import { assertEquals, assertMatch, assertRejects, assertStringIncludes } from "@std/assert";
import { basename, join } from "node:path";
import { HoldfastError } from "../../lib/base/error.ts";
import { buildPortable } from "../../lib/compile/portable.ts";
import type { Release } from "../../lib/protocol/control.ts";
import { build, Executable, type RunningExecutable } from "../harness/executable.ts";
import { how, NativeBuilds } from "../harness/native.ts";
import { PRICE } from "../harness/price.ts";
import { Project, REPOSITORY } from "../harness/project.ts";
import { until } from "../harness/wait.ts";

/** Where the price module throws: another line than in what it is compiled to. */
const LINE = 8;

/** Its error is thrown some lines further down. */
const newer = (version: string) => `// A comment.\n\n${PRICE(version)}`;

const APP = (folder: string) => `
import { check, VERSION } from "./price.ts";
// By a path that is this machine's alone.
import { far } from "file://${folder}/far.ts";
import style from "./style.css" with { type: "text" };

export default {
  fetch(request: Request): Response {
    const { pathname } = new URL(request.url);
    if (pathname === "/throw") check({ sum: 1, price: 2 });
    if (pathname === "/pid") return new Response(String(Deno.pid));
    if (pathname === "/file") {
      return new Response(Deno.readTextFileSync(import.meta.dirname + "/public/a.txt"));
    }
    if (pathname !== "/stack") return new Response(VERSION + far + " " + style.trim());
    try {
      return new Response(String(check({ sum: 1, price: 2 })));
    } catch (error) {
      return new Response((error as Error).stack);
    }
  },
};
`;

type Build = (project: Project, state: string) => Promise<string>;

/** What builds an executable that is to lie in a folder, and removes it in the end. */
class Product implements AsyncDisposable {
  readonly #native = new NativeBuilds();
  readonly #folders: string[] = [];
  readonly build: Build;

  constructor(kind: "portable" | "compiled") {
    this.build = kind === "compiled"
      ? ({ configFile }, state) => this.#native.make(configFile, state)
      : async ({ configFile }) => {
        const folder = await Deno.makeTempDir({ prefix: "holdfast_test_builds_" });
        this.#folders.push(folder);
        return (await build(configFile, folder)).output;
      };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#native[Symbol.asyncDispose]();
    for (const folder of this.#folders) await Deno.remove(folder, { recursive: true });
  }
}

async function createProject(): Promise<Project> {
  const project = await Project.create({
    files: {
      "price.ts": PRICE("one"),
      "far.ts": 'export const far: string = " and";',
      "style.css": " far\n",
      "public/a.txt": "a file",
    },
    config: { app: "./app.ts", unveil: { "./public": "r" }, reload: { idleGraceMs: 100 } },
  });
  await project.write("app.ts", APP(project.folder));
  return project;
}

async function releases({ place }: RunningExecutable): Promise<Release[]> {
  const { code, stdout, stderr } = await place.run(["releases", "--json"]);
  assertEquals(code, 0, stderr);
  return JSON.parse(stdout);
}

async function rollBack(running: RunningExecutable, ...which: string[]): Promise<void> {
  const { code, stderr } = await running.place.run(["rollback", ...which]);
  assertEquals(code, 0, stderr + running.log.slice(-2000));
}

/** Looks at which version serves, and whether its error ends no worker and names its line. */
async function assertServes(
  running: RunningExecutable,
  version: string,
  line: number,
): Promise<void> {
  assertEquals(await running.text("/"), `${version} and far`);
  assertMatch(
    await running.text("/stack"),
    new RegExp(`too much of ${version}.*price\\.ts:${line}:\\d+`, "s"),
  );
  const pid = await running.text("/pid");
  const response = await fetch(`http://127.0.0.1:${running.place.port}/throw`);
  await response.body?.cancel();
  assertEquals(response.status, 500);
  assertEquals(await running.text("/pid"), pid);
  assertEquals(await running.text("/file"), "a file");
}

/** Kills the worker, and waits until another one serves. */
async function replaceWorker(running: RunningExecutable): Promise<void> {
  const pid = Number(await running.text("/pid"));
  Deno.kill(pid, "SIGKILL");
  await until("another worker", async () => {
    return await running.text("/pid").then((text) => Number(text) !== pid, () => false);
  });
}

for (const kind of ["portable", "compiled"] as const) {
  Deno.test({
    name:
      `${kind}: what served is listed and brought back when its file was replaced, and its errors name their lines`,
    // The first build loads libraries, and makes folders that it does not wait for.
    sanitizeOps: false,
    sanitizeResources: false,
    fn: async (t) => {
      await using product = new Product(kind);
      await using project = await createProject();
      await using executable = await Executable.place({
        executable: (state) => product.build(project, state),
        isolation: "none",
      });
      const next = async (text: string) => {
        await project.write("price.ts", text);
        await executable.put(await product.build(project, join(executable.folder, "alone")));
      };
      {
        await using running = await executable.start();
        await assertServes(running, "one", LINE);

        await t.step("a reload that brings nothing new makes no release", async () => {
          assertEquals((await running.hangUp()).event, "reload_done");
          assertEquals((await releases(running)).map(({ release }) => release), [1]);
        });

        await t.step("a worker that takes another's place runs what was planned", async () => {
          await next(newer("two"));
          await replaceWorker(running);
          await assertServes(running, "one", LINE);
        });

        await t.step("the new file's image is a release, which tells what changed", async () => {
          assertEquals((await running.hangUp()).event, "reload_done", running.log.slice(-2000));
          await assertServes(running, "two", LINE + 2);
          const list = await releases(running);
          assertEquals(list.map(({ release, serving }) => [release, serving]), [[2, true], [
            1,
            false,
          ]]);
          assertEquals(list[0]!.changed.map((url) => basename(url)), ["price.ts"]);
        });

        await t.step(
          "the version before is brought back, and its workers come up again",
          async () => {
            await rollBack(running);
            await assertServes(running, "one", LINE);
            await replaceWorker(running);
            await assertServes(running, "one", LINE);
          },
        );

        await t.step("a file that does not come up is refused", async () => {
          await next(`throw new Error("no good");\n${PRICE("three")}`);
          assertEquals((await running.hangUp()).event, "reload_refused");
          await assertServes(running, "one", LINE);
          await replaceWorker(running);
          await assertServes(running, "one", LINE);
        });

        await t.step("a reload takes the file that is there", async () => {
          await next(PRICE("four"));
          assertEquals((await running.hangUp()).event, "reload_done");
          await assertServes(running, "four", LINE);
        });
      }

      await t.step("after a restart, what served before it is brought back", async () => {
        await using running = await executable.start();
        const list = await releases(running);
        assertEquals(list.map(({ release }) => release), [4, 3, 2, 1]);
        assertEquals(list[0]!.serving, true);
        await rollBack(running, "2");
        await assertServes(running, "two", LINE + 2);
        await replaceWorker(running);
        await assertServes(running, "two", LINE + 2);
      });
    },
  });
}

// ---- packages ----

const PACKAGED = {
  "package.json": JSON.stringify({
    type: "module",
    dependencies: { used: "1.0.0", required: "1.0.0", unused: "1.0.0" },
  }),
  "app.ts": `
    import { createRequire } from "node:module";
    import { used } from "used";
    const { required } = createRequire(import.meta.url)("required/main.js");
    export default { fetch: () => new Response([used, required].join(" ")) };
  `,
  ...packageFiles("used", {
    "main.js": 'import { needed } from "needed"; export const used = "used " + needed;',
    "main.d.ts": "export declare const used: string;",
    "code.wasm": "wasm",
    "addon.node": "native",
  }, { needed: "1.0.0" }),
  ...packageFiles("needed", { "main.js": 'export const needed = "needed";' }),
  ...packageFiles("required", { "main.js": 'export const required = "required";' }),
  ...packageFiles("unused", { "main.js": "export {};" }),
  ...packageFiles("large", { "main.js": "export {};", "large.bin": "large" }),
};

function packageFiles(
  name: string,
  files: Readonly<Record<string, string>>,
  dependencies: Readonly<Record<string, string>> = {},
): Record<string, string> {
  const manifest = { name, version: "1.0.0", type: "module", main: "./main.js", dependencies };
  const all = { ...files, "package.json": JSON.stringify(manifest) };
  return Object.fromEntries(
    Object.entries(all).map(([path, text]) => [`node_modules/${name}/${path}`, text]),
  );
}

/** The files of packages below a folder, from the package's name on. */
function packedFiles(folder: string): string[] {
  const found: string[] = [];
  const look = (path: string) => {
    for (const { name, isDirectory } of Deno.readDirSync(path)) {
      const inner = join(path, name);
      if (isDirectory) look(inner);
      else if (inner.includes("/node_modules/")) found.push(inner.split("/node_modules/").pop()!);
    }
  };
  look(folder);
  return found.sort();
}

for (const kind of ["portable", "compiled"] as const) {
  Deno.test(`${kind}: of a large node_modules folder the packages that are used are built in, whole`, async () => {
    await using builds = new NativeBuilds();
    await using product = new Product("portable");
    await using project = await Project.create({ files: PACKAGED, config: { app: "./app.ts" } });
    await using executable = await Executable.place({
      executable: (state) =>
        kind === "portable"
          ? product.build(project, state)
          : builds.make(project.configFile, state),
      isolation: "none",
    });
    await using running = await executable.start();
    assertEquals(await running.text("/"), "used needed required");
    if (kind === "compiled" && await how === "compile") return;
    const folder = kind === "compiled"
      ? builds.last
      : (await executable.run(["--unpack"])).stdout.trim();
    assertEquals(packedFiles(folder), [
      ...["needed/main.js", "needed/package.json", "required/main.js", "required/package.json"],
      ...["used/addon.node", "used/code.wasm", "used/main.js", "used/package.json"],
    ]);
  });
}

// ---- names ----

Deno.test("an app's name is of its config's folder, of the config or of --name, and never of the file", async () => {
  await using project = await Project.create({});
  const folder = await Deno.makeTempDir({ prefix: "holdfast_test_builds_" });
  await using files = new AsyncDisposableStack();
  files.defer(() => Deno.remove(folder, { recursive: true }));
  const make = async (file: string, name?: string) =>
    (await buildPortable({
      configFile: project.configFile,
      output: join(folder, file),
      ...name !== undefined && { name },
    })).output;
  await using executable = await Executable.place({
    executable: await make("app-v1"),
    isolation: "none",
  });
  await using running = await executable.start();
  const nameOf = async () => (await executable.run(["--version"])).stdout.split(" ")[0];
  assertEquals(await nameOf(), basename(project.folder));
  assertStringIncludes((await executable.run(["--help"])).stdout, "guestbook.jsonc");

  await executable.put(await make("app-v2"));
  assertEquals((await running.hangUp()).event, "reload_done");
  await executable.put(await make("app-v3", "other"));
  assertEquals(await nameOf(), "other");
  const refused = await running.hangUp();
  assertEquals(refused.event, "reload_refused");
  assertStringIncludes(String(refused.reason), `it is other, this is ${basename(project.folder)}`);

  const config = JSON.parse(await Deno.readTextFile(project.configFile));
  const named = { ...config, name: "Its_name-1" };
  await Deno.writeTextFile(project.configFile, JSON.stringify(named));
  await executable.put(await make("app-v4"));
  assertEquals(await nameOf(), "Its_name-1");
  for (const name of ["", "a b", "../a", "-a", "a".repeat(65), "a.b", "a'b"]) {
    await Deno.writeTextFile(project.configFile, JSON.stringify(config));
    const error = await assertRejects(() => make("app-v5", name), HoldfastError);
    assertEquals([error.kind, error.code], ["usage", "app_name"], name);
    await Deno.writeTextFile(project.configFile, JSON.stringify({ ...config, name }));
    const { code, stderr } = await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", join(REPOSITORY, "main.ts"), "check", "--config", project.configFile],
    }).output().then(({ code, stderr }) => ({ code, stderr: new TextDecoder().decode(stderr) }));
    assertEquals(code, 78, name);
    assertMatch(stderr, /: name: .*up to 64 letters/);
  }
});
