/** An app that is served by its name, without a config. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { ProcessLog } from "../harness/process_log.ts";
import { HOLDFAST, PLAIN_APP, Project } from "../harness/project.ts";
import { resultOf, Server, supervisorPermissions } from "../harness/server.ts";

Deno.test("an app is served by its name, through an upgrade, until there is a config for it", async () => {
  const project = await Project.create();
  await Deno.remove(project.configFile);
  /** As somebody types it, in the folder of the app. */
  const command = (...args: string[]) => [
    ...[Deno.execPath(), "run", ...supervisorPermissions(project)],
    ...[join(HOLDFAST, "main.ts"), ...args],
  ];
  const run = async (...args: string[]) => {
    const [program, ...rest] = command(...args);
    return resultOf(
      await new Deno.Command(program!, { args: rest, cwd: project.folder, stdin: "null" }).output(),
    );
  };
  const process = ProcessLog.spawn(command("start", "app.ts"), {
    cwd: project.folder,
    env: { PORT: String(project.port) },
  });
  await using server = new Server(project, process);
  assertEquals((await server.waitFor("no_config")).listen, `127.0.0.1:${project.port}`);
  await server.waitFor("serving");
  assertEquals(await server.text("/"), "one /");
  // The commands find it where a config would be.
  assertEquals(JSON.parse((await run("status", "--json")).stdout).config, project.configFile);
  // What takes the supervisor's place finds the app too.
  server.signal("SIGUSR2");
  await server.waitFor("serving", 2);
  await project.write("app.ts", PLAIN_APP.replace("one", "two"));
  assertEquals((await server.reload()).outcome, "done");
  assertEquals(await server.text("/"), "two /");
  await project.write("other.ts", PLAIN_APP.replace("one", "other"));
  await project.configure({ app: "./other.ts" });
  assertEquals((await server.reload()).outcome, "done");
  assertEquals(await server.text("/"), "other /");
  const { code, stderr } = await run("start", "app.ts");
  assertEquals(code, 64);
  assertStringIncludes(stderr, "There is a config");
});
