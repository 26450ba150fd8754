/** What a planner may do: a program in its place tries, by itself and by a deno program without limits. */
import { assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { loadConfig } from "../lib/config/load.ts";
import type { Config } from "../lib/config/config.ts";
import { closeAllOnExec } from "../lib/os/descriptor.ts";
import { runPlanner } from "../lib/supervisor/run_planner.ts";
import { realSystem } from "../lib/supervisor/system.ts";
import { isAlive } from "./harness/process.ts";
import { Project, REPOSITORY } from "./harness/project.ts";
import { until } from "./harness/wait.ts";

/** Plans with another program in the planner's place. */
async function planWith(project: Project, config: Config, program: string): Promise<unknown> {
  closeAllOnExec();
  await Deno.mkdir(project.path(".holdfast"), { recursive: true });
  const lockFile = project.path(".holdfast/lock");
  await Deno.writeTextFile(lockFile, "");
  return await runPlanner({
    ...{ system: realSystem, config, program, spawner: undefined, lockFile },
    ...{ packed: undefined, holdfast: REPOSITORY, images: project.path(".holdfast/images") },
    runtime: project.path(".holdfast"),
    environment: { ...Deno.env.toObject(), PLANNER_SECRET: "secret" },
    signal: new AbortController().signal,
  }).catch((error: Error) => error);
}

/** Has a program answer with what became of each try. */
const REPORTING = `
const request = globalThis[Symbol.for("holdfast.plan")];
const results = {};
async function attempt(name, work) {
  try {
    results[name] = String(await work() ?? "done");
  } catch (error) {
    results[name] = error.name;
  }
}
async function beyond(name, code) {
  await attempt(name, async () => {
    const { success, stdout } = await new Deno.Command(Deno.execPath(), {
      args: ["eval", code],
      stderr: "null",
    }).output();
    return success ? new TextDecoder().decode(stdout).trim() || "done" : "refused";
  });
}
async function report() {
  const error = { message: JSON.stringify(results), kind: "bug", code: "results" };
  await Deno.writeTextFile(request.staging + "/answer.json", JSON.stringify({ error }));
}
`;

// Libraries that are loaded when they are first used would look like leaks of a test.
{
  await using project = await Project.create();
  await planWith(project, await loadConfig(project.configFile), "Deno.exit(1)");
}

Deno.test("a planner reads the project, and writes, dials, runs and signals nothing else, whatever Deno lets it", async () => {
  await using project = await Project.create();
  const config = await loadConfig(project.configFile);
  using server = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = server.addr;
  const canary = new Deno.Command(Deno.execPath(), {
    args: ["eval", "setInterval(() => {}, 1000)"],
    ...{ stdin: "null", stdout: "null", stderr: "null" },
  }).spawn();
  const text = JSON.stringify;
  const program = `${REPORTING}
    await attempt("read the project", () => Deno.readTextFile(request.config.app.module).then(() => "done"));
    await attempt("write the project", () => Deno.writeTextFile(${
    text(project.path("planted.ts"))
  }, ""));
    await attempt("dial", () => Deno.connect({ port: ${port} }));
    await beyond("run deno", "1");
    await beyond("write the project by deno", ${
    text(`Deno.writeTextFileSync(${text(project.path("planted.ts"))}, "")`)
  });
    await beyond("write an image by deno", ${
    text(`Deno.writeTextFileSync(${text(project.path(".holdfast/images/planted"))}, "")`)
  });
    await beyond("write the cache by deno", \`Deno.writeTextFileSync(\${JSON.stringify(request.denoDir + "/npm/planted")}, "")\`);
    await beyond("dial by deno", ${text(`(await Deno.connect({ port: ${port} })).close()`)});
    await beyond("run another program by deno", ${
    text(`new Deno.Command("/bin/true").outputSync()`)
  });
    await beyond("signal by deno", ${text(`Deno.kill(${canary.pid}, "SIGKILL")`)});
    await beyond("see by deno", "console.log(Deno.env.get('PLANNER_SECRET') ?? 'nothing')");
    await report();
  `;
  const found = await planWith(project, config, program);
  canary.kill("SIGKILL");
  await canary.status;
  assertEquals(JSON.parse((found as Error).message), {
    "read the project": "done",
    "write the project": "NotCapable",
    dial: "NotCapable",
    "run deno": "done",
    "write the project by deno": "refused",
    "write an image by deno": "refused",
    "write the cache by deno": "refused",
    "dial by deno": "refused",
    "run another program by deno": "refused",
    "signal by deno": "refused",
    "see by deno": "nothing",
  });
});

Deno.test("what a planner has started ends with it", async () => {
  await using project = await Project.create();
  const config = await loadConfig(project.configFile);
  const program = `${REPORTING}
    const child = new Deno.Command(Deno.execPath(), {
      args: ["eval", "setInterval(() => {}, 1000)"],
      stdin: "null", stdout: "null", stderr: "null",
    }).spawn();
    results.pid = child.pid;
    await report();
    Deno.exit(0);
  `;
  const { message } = await planWith(project, config, program) as Error;
  const { pid } = JSON.parse(message);
  await until("it to end", () => !isAlive(pid));
});

const HEX = "0".repeat(64);

/** Answers that are no plan. */
const ANSWERS: Record<string, string> = {
  "no JSON": "{",
  "a path of its own": JSON.stringify({
    plan: {
      digest: HEX,
      processes: [{ packages: "", layout: "cache", project: "../../../etc" }],
      reads: ["/etc"],
    },
  }),
  "a digest that is a path": JSON.stringify({ plan: { digest: "../../x", processes: [] } }),
  "more processes than the config has": JSON.stringify({
    plan: {
      digest: HEX,
      processes: Array.from({ length: 2 }, () => ({ packages: "", layout: "cache", project: "" })),
    },
  }),
  "an image that is not there": JSON.stringify({
    plan: { digest: HEX, processes: [{ packages: "", layout: "cache", project: "" }] },
  }),
  "too much": JSON.stringify({ missing: "x".repeat(300_000), variables: [] }),
};

for (const [what, answer] of Object.entries(ANSWERS)) {
  Deno.test(`a planner that answers ${what} is not believed`, async () => {
    await using project = await Project.create();
    const config = await loadConfig(project.configFile);
    const program = `${REPORTING}
      await Deno.writeTextFile(request.staging + "/answer.json", ${JSON.stringify(answer)});
    `;
    const found = await planWith(project, config, program);
    assertEquals(found instanceof Error, true, String(found));
    // Nothing of it stays.
    const left = [...Deno.readDirSync(project.path(".holdfast/images"))].map(({ name }) => name);
    assertEquals(left.sort(), ["compiled", "packages"]);
  });
}

Deno.test("a planner that fails says so, and its lines are in the log", async () => {
  await using project = await Project.create();
  const config = await loadConfig(project.configFile);
  const found = await planWith(project, config, "throw new Error('no plan')");
  assertStringIncludes((found as Error).message, "The planner failed: exited with status 1");
  assertEquals([...Deno.readDirSync(join(project.folder, ".holdfast/images"))].length, 2);
});
