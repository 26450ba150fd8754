import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import type { Explanation } from "../lib/cli/explanation.ts";
import { Project } from "./harness/project.ts";
import { runCommand } from "./harness/server.ts";

async function explain(project: Project): Promise<Explanation> {
  const { code, stdout, stderr } = await runCommand(project, "explain", "--json");
  assertEquals(code, 0, stderr);
  return JSON.parse(stdout);
}

Deno.test("explain says what a worker may do, by which layers, and in which flags", async () => {
  await using project = await Project.create({
    files: { "data/file.txt": "" },
    config: { unveil: { "./data": "rw" }, net: ["10.0.0.1:5432", "unix:./db.sock"] },
  });
  const { commands, rules, kernel } = await explain(project);
  const command = commands.find(({ process }) => process === "worker")!.command;
  const worker = (may: string) =>
    rules.find((rule) => rule.process === "worker" && rule.may === may);
  const data = project.path("data");
  assertEquals(worker("write"), {
    process: "worker",
    may: "write",
    what: [data],
    by: "Deno, Landlock",
  });
  assertEquals(worker("create")?.what, ["nothing"]);
  assertEquals(worker("run")?.what, ["nothing"]);
  const socket = project.path("db.sock");
  assertEquals(
    rules.filter((rule) => rule.process === "worker" && rule.may === "dial")
      .map(({ what, by }) => [what, by]),
    [
      [["10.0.0.1:5432"], "Deno, seccomp asks the supervisor, Landlock by port"],
      [[`unix:${socket}`], "Deno, seccomp asks the supervisor, by path"],
    ],
  );
  assert(
    command.some((each) => each.startsWith("--allow-net=") && each.includes(`unix:${socket}`)),
  );
  const settings = project.path(".holdfast/images/settings/");
  assertEquals(worker("load")?.what.filter((each) => each.startsWith(settings)).length, 1);
  assert(command.includes(`--allow-write=${data},${socket}`) && command.includes("--deny-run"));
  assertStringIncludes(kernel.join("\n"), "The kernel's wall: no_new_privs, Landlock ABI");
  const { stdout } = await runCommand(project, "explain", "--all");
  for (const text of ["PROCESS", "supervisor", data, "--deny-run"]) {
    assertStringIncludes(stdout, text);
  }
});

Deno.test("explain says so where the config does without the kernel's layer", async () => {
  await using project = await Project.create({ config: { wall: "deno" } });
  const { rules, kernel } = await explain(project);
  assertEquals(kernel, [
    "The config does not ask for the kernel's wall: native code is not restricted.",
  ]);
  assertEquals(rules.filter(({ by }) => /Landlock|seccomp|rlimits/.test(by)), []);
});

Deno.test("explain gives each helper its own rules and flags, and the worker none of them", async () => {
  await using project = await Project.create({
    files: {
      "data/file.txt": "",
      "mail.ts": "export default {};",
      "pure.ts": "export default {};",
    },
    config: {
      log: { folder: "./log" },
      helpers: {
        mail: {
          module: "./mail.ts",
          unveil: { "./data": "r" },
          net: ["10.0.0.1:25"],
          instances: 2,
        },
        pure: { module: "./pure.ts", restart: "never", memoryBytes: 2 ** 28 },
      },
    },
  });
  const { commands, rules } = await explain(project);
  const may = (process: string, may: string) =>
    rules.find((rule) => rule.process === process && rule.may === may)?.what;
  const data = project.path("data");
  assertEquals(may("worker", "read"), ["nothing"]);
  assertEquals(may("worker", "dial"), ["nothing"]);
  assertEquals(may("worker", "call"), ["mail", "pure"]);
  assertEquals(may("helper mail", "read"), [data]);
  assertEquals(may("helper mail", "write"), ["nothing"]);
  assertEquals(may("helper mail", "dial"), ["10.0.0.1:25"]);
  assertEquals(may("helper pure", "read"), ["nothing"]);
  assertEquals(may("helper pure", "accept"), ["nothing"]);
  assertEquals(may("helper pure", "call"), ["nothing"]);
  for (const verb of ["be", "create", "load", "run", "signal", "see", "use up"]) {
    assert(may("helper pure", verb), verb);
  }
  const images = project.path(".holdfast/images/");
  for (const who of ["worker", "helper mail", "helper pure"]) {
    const [loaded, ...more] = may(who, "load")!.filter((each) => each.startsWith(images));
    // Its settings and the packages that it uses; its modules come with its program.
    assert(loaded!.startsWith(`${images}settings/`), loaded);
    assertEquals(more, []);
  }
  assertStringIncludes(may("helper mail", "answer")!.join("\n"), "2 processes");
  assertStringIncludes(may("helper pure", "answer")!.join("\n"), "not replaced when it dies");
  assertEquals(
    [may("worker", "use up"), may("helper pure", "use up")].map((limits) =>
      limits?.some((limit) => limit.startsWith("data:"))
    ),
    [false, true],
  );
  const log = project.path("log");
  assertEquals([may("logger", "write"), may("logger", "create")], [[log], [log]]);
  for (const verb of ["dial", "accept", "answer", "call", "run", "signal"]) {
    assertEquals(may("logger", verb), ["nothing"], verb);
  }
  assert(!may("worker", "write")?.includes(log));
  assertEquals(commands.map(({ process }) => process), [
    ...["worker", "helper mail", "helper pure", "logger"],
  ]);
  const flags = (process: string) => commands.find((each) => each.process === process)!.command;
  assert(flags("helper mail").includes(`--allow-read=${data}`));
  assert(flags("helper mail").includes("--allow-net=10.0.0.1:25"));
  for (const process of ["worker", "helper pure"]) {
    for (const flag of ["--ignore-read", "--deny-write", "--deny-net"]) {
      assert(flags(process).includes(flag), `${process} ${flag}`);
    }
  }
  const short = await runCommand(project, "explain");
  assertEquals([short.code, short.stderr], [0, ""]);
  assertMatch(
    short.stdout,
    /^helper mail ×2 +answer .*\n +read +data\n +connect to +10\.0\.0\.1:25$/m,
  );
  assertMatch(short.stdout, /^helper pure +answer +calls of the workers\nlogger /m);
  const { stdout } = await runCommand(project, "explain", "--all");
  for (const text of ["helper mail", "The helper pure's command:", "--allow-net=10.0.0.1:25"]) {
    assertStringIncludes(stdout, text);
  }
});
