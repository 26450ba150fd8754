/** Private temporary folders: whose they are, and that they end with their processes. */
import { assertEquals, assertMatch, assertNotEquals, assertStringIncludes } from "@std/assert";
import { dirname } from "node:path";
import { tellHelper, TELLING_APP } from "../harness/helpers.ts";
import { tell } from "../harness/obeying_app.ts";
import { Project } from "../harness/project.ts";
import { runCommand, Server } from "../harness/server.ts";
import { assertLook, CONFIG, FILES, gone, LOOK, type Look } from "../harness/temporary.ts";
import { untilTold } from "../harness/wait.ts";

Deno.test("each process has a temporary folder that nobody else uses, and that goes with it, behind either wall", async (t) => {
  await using server = await Server.start({ files: FILES, config: CONFIG });
  const { project } = server;
  await t.step("kernel", () => assertPrivate(server));
  await project.configure({ wall: "deno" });
  const { folder: before } = (await tell(server, LOOK)).ok as Look;
  assertEquals((await server.reload()).outcome, "done");
  await gone(before);
  await t.step("deno", () => assertPrivate(server));
  // One that is killed leaves nothing, and the one in its place has another.
  const { folder } = (await tellHelper(server, LOOK)).ok as Look;
  const pid = (await tellHelper(server, "return Deno.pid")).ok as number;
  Deno.kill(pid, "SIGKILL");
  await gone(folder);
  await untilTold("another instance", async () => {
    const { ok } = await tellHelper(server, LOOK);
    return ok !== undefined && (ok as Look).folder !== folder;
  });
});

async function assertPrivate(server: Server): Promise<void> {
  const worker = assertLook((await tell(server, LOOK)).ok, server.project.runtime);
  const helper = assertLook((await tellHelper(server, LOOK)).ok, server.project.runtime);
  assertNotEquals(worker.folder, helper.folder);
  // Each is behind its own wall, also where one user has both.
  for (const path of [helper.folder, dirname(helper.folder)]) {
    assertEquals((await tell(server, `return [...Deno.readDirSync("${path}")]`)).ok, undefined);
  }
  const write = `Deno.writeTextFileSync("${worker.folder}/planted", "x"); return 1`;
  assertEquals((await tellHelper(server, write)).ok, undefined);
}

Deno.test("no code may lie where temporary folders are, and explain says who has one", async () => {
  await using project = await Project.create({
    files: {
      "app.ts":
        `import "./.holdfast/tmp/planted.ts"; export default { fetch: () => new Response() };`,
      ".holdfast/tmp/planted.ts": "export {};",
    },
    config: { tmp: true },
  });
  const refused = await runCommand(project, "check");
  assertEquals(refused.code, 78);
  assertStringIncludes(refused.stderr, "tmp");
  assertMatch(refused.stderr, /contains the app's code/);
  await project.write("app.ts", TELLING_APP);
  const explained = await runCommand(project, "explain", "--all");
  assertEquals(explained.code, 0, explained.stderr);
  assertStringIncludes(explained.stdout, `${project.folder}/.holdfast/tmp/NAME`);
  await project.configure({ env: { TMPDIR: "/srv" } });
  const both = await runCommand(project, "check");
  assertEquals(both.code, 78);
  assertStringIncludes(both.stderr, `"tmp" sets TMPDIR`);
});
