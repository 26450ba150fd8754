import { assert, assertEquals, assertStringIncludes } from "@std/assert";
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
    config: { unveil: { "./data": "rw" }, net: ["10.0.0.1:5432"] },
  });
  const { command, rules, kernel } = await explain(project);
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
  assertEquals(worker("dial")?.what, ["10.0.0.1:5432"]);
  assert(worker("load")?.what.includes(`${project.path("app.ts")} r`));
  assert(command.includes(`--allow-write=${data}`) && command.includes("--deny-run"));
  assertStringIncludes(kernel.join("\n"), "The kernel's wall: no_new_privs, Landlock ABI");
  const { stdout } = await runCommand(project, "explain");
  for (const text of ["PROCESS", "supervisor", data, "--deny-run"]) {
    assertStringIncludes(stdout, text);
  }
});

Deno.test("explain says so where the config does without the kernel's layer", async () => {
  await using project = await Project.create({ config: { wall: "deno" } });
  const { rules, kernel } = await explain(project);
  assertEquals(kernel, [
    "The kernel's wall is not asked for: native code is not held back.",
  ]);
  assertEquals(rules.filter(({ by }) => /Landlock|seccomp|rlimits/.test(by)), []);
});
