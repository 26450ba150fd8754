/** A config that is brought back is judged as a new one: what its paths lead to may be something else by now. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { version } from "./harness/life.ts";
import { runCommand, Server } from "./harness/server.ts";

Deno.test("a release whose paths lead elsewhere by now, or may be written by others, is not brought back", async (t) => {
  await using server = await Server.start({
    files: { "src/app.ts": version("one"), "deno.json": "{}" },
    config: {
      ...{ app: "./src/app.ts", unveil: { "./data/": "rwc" } },
      ...{ reload: { idleGraceMs: 100 } },
    },
  });
  const { project } = server;
  await project.configure({ unveil: {} });
  await project.write("src/app.ts", version("two"));
  assertEquals((await server.reload()).outcome, "done");
  const data = project.path("data");
  const leadTo = async (target: string) => {
    await Deno.remove(data);
    await Deno.symlink(target, data);
  };
  const faults: Record<string, [spoil: () => Promise<void>, reason: string]> = {
    "the app's code": [() => leadTo(project.path("src")), "makes writable"],
    "the config": [() => leadTo(project.folder), "data"],
    "a place of the system": [() => leadTo("/etc/cron.d"), "/etc/cron.d"],
    "what everybody may write": [
      async () => {
        await Deno.remove(data);
        await Deno.writeTextFile(data, "");
        await Deno.chmod(project.path("src"), 0o777);
      },
      "may be written by everybody",
    ],
  };
  for (const [what, [spoil, reason]] of Object.entries(faults)) {
    await t.step(what, async () => {
      await spoil();
      const { code, stderr } = await runCommand(project, "rollback");
      assertEquals(code, 1, stderr);
      assertStringIncludes(stderr, reason);
      assertEquals(await server.text("/"), "two /");
    });
  }
  await t.step(
    "control: one whose code and data are gone comes back, and its folder is made again",
    async () => {
      await Deno.remove(project.path("src"), { recursive: true });
      await Deno.remove(data);
      const { code, stderr } = await runCommand(project, "rollback");
      assertEquals(code, 0, stderr);
      assertEquals(await server.text("/"), "one /");
      assertEquals((await Deno.stat(data)).isDirectory, true);
    },
  );
});
