/** What decides what runs is out of every process's reach: seen by what is opened, and by what can be locked. */
import { assert, assertEquals } from "@std/assert";
import { join, normalize } from "node:path";
import { numberOf } from "../../lib/sandbox/seccomp.ts";
import type { Arch } from "../../lib/sandbox/seccomp.ts";
import { testWith } from "../harness/needs.ts";
import { tell } from "../harness/obeying_app.ts";
import { HOLDFAST, Project, REPOSITORY } from "../harness/project.ts";
import { runLongCommand, Server } from "../harness/server.ts";

const json = (value: unknown) => JSON.stringify(value);

/** A project with every kind of settings. */
const FILES = {
  "space/deno.json": json({
    ...{ workspace: ["./packages/*"], links: ["../linked", "../idle"], vendor: true },
    ...{ importMap: "../maps/map.json", lock: { path: "../conf/versions.lock", frozen: false } },
    nodeModulesDir: "none",
    compilerOptions: { jsx: "react-jsx", jsxImportSource: "hono/jsx" },
  }),
  "maps/map.json": json({ imports: { "hono/": "npm:/hono@4.13.19/", words: "../words/one.ts" } }),
  "words/one.ts": `export default "one" as string;`,
  "linked/deno.json": json({ name: "@test/linked", version: "1.0.0", exports: "./mod.ts" }),
  "linked/mod.ts": "export default 1 as number;",
  "idle/deno.json": json({ name: "@test/idle", version: "1.0.0", exports: "./mod.ts" }),
  "conf/base.json": json({ extends: "./deeper.json" }),
  "conf/deeper.json": "{}",
  "space/packages/site/deno.json": json({
    name: "@test/site",
    version: "1.0.0",
    exports: "./m.tsx",
  }),
  "space/packages/site/tsconfig.json": json({ extends: "../../../conf/base" }),
  "space/packages/site/m.tsx": `
    import words from "words";
    import linked from "@test/linked";
    import { word } from "@test/word";
    export default { fetch: () => new Response(String(<p>{words}{linked}{word}</p>)) };
  `,
  "space/packages/word/deno.json": json({
    name: "@test/word",
    version: "1.0.0",
    exports: "./w.ts",
  }),
  "space/packages/word/w.ts": `export const word: string = "w";`,
  "members/package.json": json({ name: "all", workspaces: ["packages/*"] }),
  "members/packages/site/package.json": json({
    ...{
      name: "site",
      version: "1.0.0",
      type: "module",
      dependencies: { word: "workspace:*", plain: "1" },
    },
  }),
  "members/packages/site/m.ts": `
    import { word } from "word";
    import plain from "plain";
    export default { fetch: () => new Response(word + plain) };
  `,
  "members/node_modules/plain/package.json": json({
    ...{ name: "plain", version: "1.0.0", exports: "./p.js", type: "module" },
  }),
  "members/node_modules/plain/p.js": `export default "p";`,
  "members/packages/word/package.json": json({
    ...{ name: "word", version: "1.0.0", exports: "./w.js", type: "module" },
  }),
  "members/packages/word/w.js": `export { word } from "./lib/inner.js";`,
  "members/packages/word/lib/inner.js": `export const word = "w";`,
  "members/packages/word/lib/only_required.js": "",
};

/** Kernel file systems, and what time it is. */
const NO_MATTER = /^\/(proc|sys|dev)\/|^\/etc\/localtime$/;

/** The paths that were opened for reading, there or not, without folders. */
function openedIn(trace: string): string[] {
  const calls = trace.matchAll(/ open(?:at)?\((?:AT_FDCWD, )?"((?:[^"\\]|\\.)*)", ([\w|]+)/g);
  return [...calls].flatMap(([, path, flags]) =>
    /O_DIRECTORY|O_WRONLY|O_RDWR|O_PATH/.test(flags!) || !path!.startsWith("/")
      ? []
      : [normalize(path!)]
  );
}

testWith(
  { programs: ["strace"] },
  "whatever is opened to find out what runs can be made writable by no config",
  async (t) => {
    await using project = await Project.create({ files: FILES });
    await Deno.symlink("../packages/word", project.path("members/node_modules/word"));
    const trace = project.path("trace.txt");
    for (const app of ["./space/packages/site/m.tsx", "./members/packages/site/m.ts"]) {
      await t.step(app, async () => {
        await project.configure({ app, unveil: {} });
        const { success, stderr } = await new Deno.Command("strace", {
          args: [
            ...["-f", "-qq", "-s", "4096", "-e", "trace=open,openat", "-o", trace],
            ...[Deno.execPath(), "run", "-A", join(HOLDFAST, "main.ts"), "check"],
            ...["--config", project.configFile],
          ],
        }).output();
        assert(success, new TextDecoder().decode(stderr));
        const all = [...new Set(openedIn(await Deno.readTextFile(trace)))];
        await Deno.remove(trace);
        const opened = all.filter((path) =>
          !NO_MATTER.test(path) && !path.includes("/holdfast_images_") && !/[,*]/.test(path)
        );
        for (const name of ["deno.json", "package.json", ".npmrc"]) {
          assert(opened.some((path) => path.endsWith(`/${name}`)), name); // control
        }
        // Copied with its package, which a link has led to.
        const copied = project.path("members/packages/word/lib/only_required.js");
        if (app.includes("members")) opened.push(copied);
        const open: string[] = [];
        while (opened.length > 0) {
          // A refusal shows fifty lines.
          const batch = opened.splice(0, 40);
          await project.configure({ unveil: Object.fromEntries(batch.map((path) => [path, "w"])) });
          const { stderr } = await runLongCommand(120_000, project, "check");
          for (const path of batch) {
            const line = stderr.split("\n").find((each) =>
              each.includes(`unveil[${json(path).slice(0, 80)}`)
            );
            if (
              line === undefined || !/makes writable|node_modules folder|runtime folder/.test(line)
            ) {
              open.push(path);
            }
          }
        }
        assertEquals(open, []);
      });
    }
  },
);

/** Every file below a folder. */
function filesBelow(folder: string): string[] {
  return [...Deno.readDirSync(folder)].flatMap(({ name, isDirectory, isFile }) => {
    const path = join(folder, name);
    return isDirectory ? filesBelow(path) : isFile ? [path] : [];
  });
}

const CHANGED = 10;
const modules = (version: string) =>
  Object.fromEntries(
    Array.from({ length: CHANGED }, (_, index) => [
      `part${index}.ts`,
      `export const part${index}: string = ${json(version)};`,
    ]),
  );

testWith(
  { missing: Deno.build.arch === "x86_64" ? undefined : "not x86_64" },
  "a worker locks every file that it can open, and a reload with changed modules waits for none",
  async () => {
    const native = `file://${join(REPOSITORY, "tests/doubles/native_app.ts")}`;
    const imports = Array.from({ length: CHANGED }, (_, index) => `import "./part${index}.ts";`);
    const app = `${imports.join("\n")}\nexport { default } from ${json(native)};`;
    const denoDir = await Deno.makeTempDir({ prefix: "holdfast_cache_" });
    try {
      await using server = await Server.start({
        files: { "app.ts": app, ...modules("one") },
        config: { onViolation: "log" },
        entry: [join(REPOSITORY, "tests/doubles/wide_supervisor.ts")],
        env: { DENO_DIR: denoDir },
      });
      const { project } = server;
      const paths = [...filesBelow(project.folder), ...filesBelow(denoDir), Deno.execPath()];
      const arch = Deno.build.arch as Arch;
      // flock(2), and what SQLite uses: F_OFD_SETLK and F_SETLK with a read lock on the whole file.
      const code = `
        globalThis.held = [];
        const locked = [];
        for (const path of ${json(paths)}) {
          const fd = native.call(257, -100, path, 0);
          if (fd < 0) continue;
          held.push(fd);
          native.call(73, fd, 2 | 4);
          for (const how of [37, 6]) {
            native.call(${numberOf("fcntl", arch)}, fd, how, new Uint8Array(32));
          }
          locked.push(path);
        }
        return locked;`;
      const { ok, message } = await tell(server, code);
      assert(Array.isArray(ok), message);
      const locked: string[] = ok;
      // Its own image, and the program: nothing that anybody writes or locks later.
      assert(locked.some((path) => path.endsWith("/deno.json")), locked.join("\n"));
      assertEquals(
        locked.filter((path) =>
          path !== Deno.execPath() &&
          !/\/images\/settings\/[0-9a-f]{64}\/(deno_dir\/)?[\w.-]+$/.test(path)
        ),
        [],
      );
      for (const [path, text] of Object.entries(modules("two"))) await project.write(path, text);
      const { outcome, reason } = await server.reload();
      assertEquals([outcome, reason], ["done", undefined]);
    } finally {
      await Deno.remove(denoDir, { recursive: true });
    }
  },
);
