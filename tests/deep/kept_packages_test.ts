/** Packages of an image are what was put there when a generation takes them, or they are not taken. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { isUntouched, recordPackages } from "../../lib/supervisor/package_sets.ts";
import { stampOf } from "../../lib/os/file.ts";

import { Project } from "../harness/project.ts";
import { runCommand, Server } from "../harness/server.ts";

const app = (version: string) => `
  import { Hono } from "hono";
  const app = new Hono();
  app.get("/", (c) => c.text("${version}"));
  export default app;
`;

// The C library is loaded by the first call and stays, which is no leak of a test.
stampOf("/");

/** The one file of the packages that ends so. */
function findFile(project: Project, end: string): string {
  const visit = (folder: string): string[] =>
    [...Deno.readDirSync(folder)].flatMap(({ name, isDirectory }) =>
      isDirectory ? visit(join(folder, name)) : [join(folder, name)]
    );
  const [found] = visit(project.path(".holdfast/images/packages")).filter((path) =>
    path.endsWith(end)
  );
  assert(found, end);
  return found;
}

/** Changes some of a file, and nothing of its size and its time. */
async function change(path: string): Promise<string> {
  const { mtime, atime } = await Deno.stat(path);
  const text = await Deno.readTextFile(path);
  await Deno.writeTextFile(path, text.replace("export", "EXPORT"));
  await Deno.utime(path, atime!, mtime!);
  return text;
}

Deno.test("packages that somebody has changed are not run: a reload makes them anew, a rollback is refused", async (t) => {
  const project = await Project.create({
    files: {
      "app.ts": app("one"),
      "deno.json": JSON.stringify({ imports: { hono: "npm:hono@4.13.19" } }),
    },
    config: { reload: { idleGraceMs: 100 } },
  });
  {
    await using server = await Server.startOn(project);
    const file = findFile(project, "/hono/4.13.19/dist/hono.js");
    const reload = async (text: string) => {
      await project.write("app.ts", app(text));
      assertEquals((await server.reload()).outcome, "done", server.log);
      assertEquals(await server.text("/"), text);
    };
    await reload("two");
    await t.step("a reload", async () => {
      const text = await change(file);
      await reload("three");
      assertEquals(await Deno.readTextFile(file), text);
      const [told] = server.eventsOf("packages_changed");
      assertEquals(told?.level, "warn");
      assert(file.startsWith(String(told!.folder)));
    });
    await t.step("one that only looks changed, as out of a backup, is taken", async () => {
      await Deno.utime(file, new Date(), new Date());
      await reload("four");
      const { code, stderr } = await runCommand(project, "rollback");
      assertEquals(code, 0, stderr);
      assertEquals(server.eventsOf("packages_changed").length, 1);
    });
    await t.step("a rollback", async () => {
      assertEquals((await runCommand(project, "releases", "--verify")).code, 0);
      const text = await change(file);
      const verified = await runCommand(project, "releases", "--verify", "--json");
      assertEquals(verified.code, 1);
      const faults = JSON.parse(verified.stdout).map(({ fault }: { fault?: string }) => fault);
      assertStringIncludes(faults[0], "are not what was put there");
      const { code, stderr } = await runCommand(project, "rollback", "1");
      assertEquals(code, 1);
      assertStringIncludes(stderr, "are not what was put there");
      assertEquals(await server.text("/"), "three");
      await Deno.writeTextFile(file, text);
      assertEquals((await runCommand(project, "rollback", "1")).code, 0);
    });
    await t.step("a rollback to an image that leads to other packages", async () => {
      const images = project.path(".holdfast/images");
      const settings = await Deno.readTextFile(join(images, await imageOf(project), "settings"));
      const link = join(images, "settings", settings, "deno_dir/npm");
      const target = await Deno.readLink(link);
      await Deno.remove(link);
      await Deno.symlink("/elsewhere", link);
      const { code, stderr } = await runCommand(project, "rollback");
      assertEquals(code, 1);
      assertStringIncludes(stderr, "is not what was planned");
      await Deno.remove(link);
      await Deno.symlink(target, link);
      assertEquals((await runCommand(project, "rollback")).code, 0);
    });
  }
});

/** The image of the release before the one that serves. */
async function imageOf(project: Project): Promise<string> {
  const list = JSON.parse(await Deno.readTextFile(project.path(".holdfast/images/releases.json")));
  return list[1].plan.digest;
}

Deno.test("whatever is changed, added, removed or replaced in packages is noticed", async () => {
  await using project = await Project.create({
    files: { "images/packages/a/x/one.js": "1", "images/packages/a/two.js": "2" },
  });
  const images = project.path("images");
  const path = (name: string) => join(images, "packages/a", name);
  await recordPackages(images, "a");
  const changes: Record<string, [() => Promise<void>, () => Promise<void>]> = {
    "another text of the same size": [
      () => Deno.writeTextFile(path("two.js"), "3"),
      () => Deno.writeTextFile(path("two.js"), "2"),
    ],
    "a file more": [
      () => Deno.writeTextFile(path("x/three.js"), ""),
      () => Deno.remove(path("x/three.js")),
    ],
    "a file less": [
      () => Deno.remove(path("two.js")),
      () => Deno.writeTextFile(path("two.js"), "2"),
    ],
    "another name": [
      () => Deno.rename(path("x"), path("y")),
      () => Deno.rename(path("y"), path("x")),
    ],
    "a link to the same": [
      async () => {
        await Deno.rename(path("two.js"), project.path("two.js"));
        await Deno.symlink(project.path("two.js"), path("two.js"));
      },
      async () => {
        await Deno.remove(path("two.js"));
        await Deno.rename(project.path("two.js"), path("two.js"));
      },
    ],
  };
  for (const [what, [make, undo]] of Object.entries(changes)) {
    await make();
    assertEquals(await isUntouched(images, "a"), false, what);
    await undo();
    assertEquals(await isUntouched(images, "a"), true, what);
  }
});
