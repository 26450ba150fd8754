/** The supervisor reads the config's text and judges nothing: what is said of a wrong one stays the same. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { Project } from "./harness/project.ts";
import { runCommand, Server } from "./harness/server.ts";

/** Config texts that say nowhere, or not without a fault, where the runtime folder is. */
const FAULTS: Record<string, (good: string) => string> = {
  "a bracket that is missing": (good) => good.slice(0, -1),
  "a runtime folder that is a number": (good) => good.replace(/}$/, ',"runtime":5}'),
};

Deno.test("a config in which no runtime folder can be found is refused at the start as by check, and nothing is made", async (t) => {
  await using project = await Project.create();
  const good = await Deno.readTextFile(project.configFile);
  const names = () => [...Deno.readDirSync(project.folder)].map(({ name }) => name).sort();
  const before = names();
  for (const [what, spoil] of Object.entries(FAULTS)) {
    await t.step(what, async () => {
      await project.write("holdfast.jsonc", spoil(good));
      const [started, checked] = await Promise.all([
        runCommand(project, "start"),
        runCommand(project, "check"),
      ]);
      assertEquals([started.code, checked.code], [78, 78], started.stderr);
      assertEquals(started.stderr, checked.stderr);
      assertStringIncludes(started.stderr, `${project.configFile}:1:`);
      assertEquals(names(), before);
    });
  }
});

Deno.test("a reload with such a config is refused by its fault, makes nothing, and the next one is taken", async () => {
  await using server = await Server.start({ config: { runtime: "./run" } });
  const { project } = server;
  const good = await Deno.readTextFile(project.configFile);
  for (const [what, spoil] of Object.entries(FAULTS)) {
    await project.write("holdfast.jsonc", spoil(good));
    const { outcome, reason } = await server.reload();
    assertEquals(outcome, "refused", what);
    assertStringIncludes(reason!, `${project.configFile}:1:`, what);
  }
  const names = [...Deno.readDirSync(project.folder)].map(({ name }) => name).sort();
  assertEquals(names, ["app.ts", "holdfast.jsonc", "run"]);
  await project.write("holdfast.jsonc", good);
  assertEquals((await server.reload()).outcome, "done");
});

Deno.test("a key by its old name is told once by each start and reload", async () => {
  await using server = await Server.start({ config: { on_violation: "log" } });
  await server.reload();
  const told = server.events.filter(({ event }) => event === "config_key_renamed");
  assertEquals(told.map(({ key, line }) => [key, line]), Array(2).fill(["on_violation", 1]));
  assertStringIncludes(String(told[0]!.hint), "Write onViolation");
});

Deno.test("a second supervisor learns that it is one before it learns that its config is wrong", async () => {
  await using server = await Server.start();
  await server.project.configure({ lisen: 5 });
  const { code, stderr } = await runCommand(server.project, "start");
  assertEquals(code, 71, stderr);
  assertStringIncludes(stderr, "Already running");
});

Deno.test("a release whose unveiled folder was replaced by a link to the images is not brought back", async () => {
  await using server = await Server.start({ config: { unveil: { "./data/": "rwc" } } });
  const { project } = server;
  await project.configure({ unveil: {} });
  assertEquals((await server.reload()).outcome, "done");
  await Deno.remove(project.path("data"));
  await Deno.symlink(`${project.runtime}/images`, project.path("data"));
  const { code, stderr } = await runCommand(project, "rollback");
  assertEquals(code, 1, stderr);
  assertStringIncludes(stderr, `"${project.runtime}/images"`);
  assertEquals((await server.status()).generations.map(({ generation }) => generation), [2]);
  // control: the same without the link
  await Deno.remove(project.path("data"));
  await Deno.mkdir(project.path("data"));
  assertEquals((await runCommand(project, "rollback")).code, 0);
});
