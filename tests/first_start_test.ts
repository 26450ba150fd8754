/** The first minutes: README's commands as they are printed, and what is said where something is missing. More: deep/first_start_test.ts. */
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { join } from "node:path";
import { flagsOf } from "../deploy/npm/flags.ts";
import { HoldfastError } from "../lib/base/error.ts";
import { DENO_VERSION, requireDeno } from "../lib/base/runtime.ts";
import { blocksOf, NodeOnly, README, stop } from "./harness/node_only.ts";
import { freePort } from "./harness/ports.ts";
import { waitForEvent } from "./harness/process_log.ts";
import { HOLDFAST, Project, REPOSITORY } from "./harness/project.ts";
import { resultOf, Server, supervisorPermissions } from "./harness/server.ts";
import { PATIENCE_MS } from "./harness/wait.ts";

Deno.test("README's own app starts by the command that README prints, on a machine with only Node", async () => {
  await using machine = await NodeOnly.make();
  const [app, holdfast] = [join(machine.folder, "app"), join(machine.folder, "holdfast")];
  await Deno.symlink(HOLDFAST, holdfast);
  await Deno.mkdir(app);
  const [packages, main, config, command, ...more] = blocksOf("Your own app");
  assertEquals([packages, main, config, command].map((each) => each!.language), [
    ...["json", "ts", "jsonc", "sh"],
  ]);
  assertEquals(more, []);
  const port = freePort();
  assertStringIncludes(config!.text, "127.0.0.1:8080");
  for (
    const [name, text] of [
      ["deno.json", packages!.text],
      ["main.ts", main!.text],
      ["holdfast.jsonc", config!.text.replace("8080", String(port))],
    ]
  ) await Deno.writeTextFile(join(app, name!), text!);
  const server = machine.run(command!.text, app);
  await waitForEvent(server, "serving", 1);
  assertEquals(await (await fetch(`http://127.0.0.1:${port}/`)).text(), "Hello");
  assertEquals(Deno.statSync(join(app, "data")).isDirectory, true);
  await stop(server, join(app, ".holdfast"));
});

Deno.test("each flag of a start that is missing is named, and --help takes none", async () => {
  await using project = await Project.create();
  const flags = supervisorPermissions(project);
  const main = join(REPOSITORY, "main.ts");
  const run = async (given: readonly string[], ...args: string[]) =>
    resultOf(
      await new Deno.Command(Deno.execPath(), {
        args: ["run", ...given, main, ...args],
        stdin: "null",
        signal: AbortSignal.timeout(PATIENCE_MS),
      }).output(),
    );
  const help = await run(["--no-prompt"], "--help");
  assertEquals([help.code, help.stderr], [0, ""]);
  for (const missing of flags.filter((flag) => flag.startsWith("--allow-"))) {
    const name = missing.split("=")[0]!;
    const { code, stderr } = await run(
      flags.filter((flag) => flag !== missing),
      ...["start", "--config", project.configFile],
    );
    assert(code === 71 || code === 78, `${missing}: ${code} ${stderr}`);
    assertStringIncludes(stderr, name);
    if (name === "--allow-sys") assertStringIncludes(stderr, "hint: Add --allow-sys=uid after");
    assert(!stderr.includes("    at "), stderr);
  }
  // A command that only asks says so too, and not that nobody runs.
  const unwriting = flags.filter((flag) => !flag.startsWith("--allow-write"));
  const asked = await run(unwriting, "status", "--config", project.configFile);
  assertEquals(asked.code, 71, asked.stderr);
  assertStringIncludes(asked.stderr, "--allow-write=");
  // Another config of deno's own takes the names of packages away.
  const without = await run(["-A", "--no-config"], "--help");
  assertEquals(without.code, 71, without.stderr);
  assertStringIncludes(without.stderr, "--no-config");
});

Deno.test("the flags of a supervisor are those of its command and its config, wherever options stand", async () => {
  await using project = await Project.create({ config: { runtime: "./run" } });
  const config = ["--config", project.configFile];
  const trusted = [["check"], [...config, "check"], ["init"], ["--output", "x", "compile"]];
  for (const args of trusted) assertEquals(flagsOf(args, "/bin/deno"), ["--allow-all"], args[0]);
  for (
    const args of [["start", ...config], [...config, "start"], ["status", `--config=${config[1]}`]]
  ) {
    const flags = flagsOf(args, "/bin/deno");
    assertEquals(flags.filter((flag) => /=/.test(flag)), [
      ...[`--allow-write=${project.path("run")}`, "--allow-run=/bin/deno", "--allow-sys=uid"],
    ]);
  }
  await project.configure({
    listen: ["unix:./a.sock", { unix: "/run/b.sock", mode: "0660" }, "127.0.0.1:1"],
    metrics: { listen: "unix:./c.sock" },
  });
  const sockets = [project.path("a.sock"), "/run/b.sock", project.path("c.sock")];
  assert(
    flagsOf(["start", ...config], "/bin/deno")
      .includes(`--allow-write=${[project.path("run"), ...sockets]}`),
  );
  // A value is no command, and no flag can name such a path.
  assertEquals(flagsOf(["--name", "check", "start"], "/bin/deno").includes("--allow-all"), false);
  await project.configure({ runtime: "./a,/b" });
  assertThrows(() => flagsOf(["start", ...config], "/bin/deno"), Error, "comma");
});

Deno.test("a Deno that is older than the tested one is refused by name", () => {
  for (const version of [DENO_VERSION, "2.9.10", "2.10.0", "3.0.0-rc.1", Deno.version.deno]) {
    requireDeno(version);
  }
  for (const version of ["2.9.5", "2.8.20", "1.46.3", "2.9"]) {
    const error = assertThrows(() => requireDeno(version), HoldfastError, version);
    assertStringIncludes(error.hint!, `npx -y deno@${DENO_VERSION}`);
  }
});

Deno.test("README, CI and the code name the same Deno, and it is this one", () => {
  assertEquals(DENO_VERSION, Deno.version.deno);
  const named = new Set([...README.matchAll(/deno@(\d[\d.]*)/g)].map(([, version]) => version));
  assertEquals([...named], [DENO_VERSION]);
});

Deno.test("a folder that cannot be made is told with the command that makes it, and no module", async () => {
  await using project = await Project.create({
    files: { "file": "" },
    config: { unveil: { "./file/data/": "rwc" } },
  });
  const server = await Server.startOn(project, { wait: "exit" });
  assertEquals((await server.exited()).code, 71);
  assertStringIncludes(
    server.log,
    `Cannot make the folder ${project.path("file/data")}: Not a dir`,
  );
  assertStringIncludes(server.log, `Try: mkdir -p '${project.path("file/data")}'`);
  assert(!/data:application|\bat /.test(server.log), server.log);
});
