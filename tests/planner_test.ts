/** What a planner may do: a program in its place tries, by itself and by a deno program without limits. */
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { readConfigText } from "../lib/config/runtime_place.ts";
import { closeAllOnExec } from "../lib/os/descriptor.ts";
import { loadPrograms } from "../lib/supervisor/load_programs.ts";
import { findDenoDir } from "../lib/supervisor/image_store.ts";
import type { PlannedConfig } from "../lib/supervisor/read_config.ts";
import { runPlanner } from "../lib/supervisor/run_planner.ts";
import { realSystem } from "../lib/supervisor/system.ts";
import { isAlive } from "./harness/process.ts";
import { Project, REPOSITORY } from "./harness/project.ts";
import { until } from "./harness/wait.ts";

/** Plans with another program in the planner's place. */
async function planWith(
  project: Project,
  program: string,
  environment: Record<string, string> = {},
): Promise<PlannedConfig | Error> {
  closeAllOnExec();
  await Deno.mkdir(project.path(".holdfast"), { recursive: true });
  const lockFile = project.path(".holdfast/lock");
  await Deno.writeTextFile(lockFile, "");
  return await runPlanner({
    mayWiden: true,
    ...{ system: realSystem, program, spawner: undefined, lockFile },
    read: await readConfigText(project.configFile),
    ...{ packed: undefined, holdfast: REPOSITORY, images: project.path(".holdfast/images") },
    runtime: project.path(".holdfast"),
    environment: { ...Deno.env.toObject(), PLANNER_SECRET: "secret", ...environment },
    ...{ signal: new AbortController().signal, begun: () => {}, cache: undefined },
  }).catch((error: Error) => error);
}

/** Has a program answer with what became of each try. */
const REPORTING = `
const request = JSON.parse(Deno.readTextFileSync(Deno.args.at(-1) + "/request.json"));
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
  await planWith(project, "Deno.exit(1)");
}

Deno.test("a planner reads the project, and writes, dials, runs and signals nothing else, whatever Deno lets it", async () => {
  await using project = await Project.create();
  using server = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = server.addr;
  const canary = new Deno.Command(Deno.execPath(), {
    args: ["eval", "setInterval(() => {}, 1000)"],
    ...{ stdin: "null", stdout: "null", stderr: "null" },
  }).spawn();
  const text = JSON.stringify;
  const program = `${REPORTING}
    await attempt("read the project", () => Deno.readTextFile(request.planning.text.file).then(() => "done"));
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
    await beyond("write settings by deno", \`Deno.writeTextFileSync(\${JSON.stringify(request.images + "/settings/planted")}, "")\`);
    await beyond("write what was compiled by deno", \`Deno.writeTextFileSync(\${JSON.stringify(request.denoDir + "/holdfast/planted")}, "")\`);
    await beyond("write the cache by deno", \`Deno.writeTextFileSync(\${JSON.stringify(request.denoDir + "/npm/planted")}, "")\`);
    await beyond("dial by deno", ${text(`(await Deno.connect({ port: ${port} })).close()`)});
    await beyond("run another program by deno", ${
    text(`new Deno.Command("/bin/true").outputSync()`)
  });
    await beyond("signal by deno", ${text(`Deno.kill(${canary.pid}, "SIGKILL")`)});
    await beyond("see by deno", "console.log(Deno.env.get('PLANNER_SECRET') ?? 'nothing')");
    await report();
  `;
  const found = await planWith(project, program);
  canary.kill("SIGKILL");
  await canary.status;
  assertEquals(JSON.parse((found as Error).message), {
    "read the project": "done",
    "write the project": "NotCapable",
    dial: "NotCapable",
    "run deno": "done",
    "write the project by deno": "refused",
    "write an image by deno": "refused",
    "write settings by deno": "refused",
    "write what was compiled by deno": "refused",
    "write the cache by deno": "refused",
    "dial by deno": "refused",
    "run another program by deno": "refused",
    "signal by deno": "refused",
    "see by deno": "nothing",
  });
});

// The planner that fetches is the second one: the first may not.
Deno.test("a planner that fetches into a new cache writes packages and modules there, and nothing else", async () => {
  await using project = await Project.create();
  const cache = project.path("cache");
  const program = `${REPORTING}
    if (request.network === "none") {
      const answer = { missing: "a package", variables: [] };
      await Deno.writeTextFile(request.staging + "/answer.json", JSON.stringify(answer));
      Deno.exit(0);
    }
    const own = request.denoDir;
    for (const path of ["npm/planted", "remote/planted"]) {
      await attempt(path, () => Deno.writeTextFile(own + "/" + path, ""));
    }
    for (const path of ["gen", "bin", "dl", "holdfast", "v8_code_cache_v2"]) {
      const place = JSON.stringify(own + "/" + path);
      await attempt(path, () => Deno.mkdir(own + "/" + path));
      await beyond(path + " by deno", "Deno.mkdirSync(" + place + ")");
      await beyond(path + " in its place", "Deno.renameSync(" + JSON.stringify(own + "/npm") + ", " + place + ")");
    }
    await report();
  `;
  const planned = await planWith(project, program, { DENO_DIR: cache });
  const results = JSON.parse((planned as Error).message);
  const others = Object.entries(results).filter(([name]) => !name.includes("planted"));
  for (const [name, result] of others) {
    assertEquals(result, name.includes(" ") ? "refused" : "NotCapable", name);
  }
  assertEquals([results["npm/planted"], results["remote/planted"]], ["done", "done"]);
  assertEquals([...Deno.readDirSync(cache)].map(({ name }) => name).sort(), ["npm", "remote"]);
});

Deno.test("what a planner has started ends with it", async () => {
  await using project = await Project.create();
  const program = `${REPORTING}
    const child = new Deno.Command(Deno.execPath(), {
      args: ["eval", "setInterval(() => {}, 1000)"],
      stdin: "null", stdout: "null", stderr: "null",
    }).spawn();
    results.pid = child.pid;
    await report();
    Deno.exit(0);
  `;
  const { message } = await planWith(project, program) as Error;
  const { pid } = JSON.parse(message);
  await until("it to end", () => !isAlive(pid));
});

const HEX = "0".repeat(64);

/** Answers that are no plan. */
const ANSWERS: Record<string, string> = {
  "no JSON": "{",
  "too much": JSON.stringify({ missing: "x".repeat(5_000_000), variables: [] }),
};

for (const [what, answer] of Object.entries(ANSWERS)) {
  Deno.test(`a planner that answers ${what} is not believed`, async () => {
    await using project = await Project.create();
    const program = `${REPORTING}
      await Deno.writeTextFile(request.staging + "/answer.json", ${JSON.stringify(answer)});
    `;
    const found = await planWith(project, program);
    assertEquals(found instanceof Error, true, String(found));
    // Nothing of it stays.
    const left = [...Deno.readDirSync(project.path(".holdfast/images"))].map(({ name }) => name);
    assertEquals(left.sort(), ["compiled", "packages", "settings"]);
  });
}

Deno.test("a planner that fails says so, and its lines are in the log", async () => {
  await using project = await Project.create();
  const found = await planWith(project, "throw new Error('no plan')");
  assertStringIncludes(
    (found as Error).message,
    "The planner failed: Error: no plan (exited with status 1)",
  );
  assertEquals([...Deno.readDirSync(join(project.folder, ".holdfast/images"))].length, 3);
});

/** Runs the real planner, which a program spoils that comes after it. */
async function spoiled(project: Project, spoil: string) {
  const { signal } = new AbortController();
  const { planner } = await loadPrograms(project.folder, findDenoDir(), signal);
  const found = await planWith(
    project,
    `globalThis.staging = Deno.args.at(-1);
    Deno.exit = () => {};
    ${planner!}
    {
      const path = globalThis.staging + "/answer.json";
      const answer = JSON.parse(Deno.readTextFileSync(path));
      const { config } = answer;
      ${spoil};
      Deno.writeTextFileSync(path, JSON.stringify(answer));
    }`,
  );
  if (found instanceof Error) throw found;
  return found;
}

/** Has a deno program without limits put a link in the place of what the planner wrote. */
function linked(path: string, target = "/elsewhere"): string {
  const code = `const [at, to] = Deno.args;
    if (to.startsWith(at.slice(0, 5))) Deno.renameSync(at, to);
    else Deno.removeSync(at);
    Deno.symlinkSync(to, at);`;
  return `{
    const [at, to] = [${JSON.stringify(path)}, ${JSON.stringify(target)}];
    const place = to === "/elsewhere" ? globalThis.staging + to : to;
    const args = ["eval", ${JSON.stringify(code)}, globalThis.staging + at, place];
    const { success, stderr } = new Deno.Command(Deno.execPath(), { args }).outputSync();
    if (!success) throw new Error(new TextDecoder().decode(stderr));
  }`;
}

Deno.test("an answer that is a link is not followed", async () => {
  await using project = await Project.create();
  const program = `${REPORTING}
    await report();
    globalThis.staging = request.staging;
    ${linked("/answer.json", "/etc/passwd")}
  `;
  const { message } = await planWith(project, program) as Error;
  assertEquals(message, "The planner's answer is no file");
});

Deno.test("a planner's process that lies is not believed, and leaves no image", async (t) => {
  await using project = await Project.create({ config: { unveil: { "./data/": "rwc" } } });
  await t.step("one that does not lie is", async () => {
    const { config, code } = await spoiled(project, "");
    assertEquals(config.unveil.map(({ path }) => path), [project.path("data")]);
    await Deno.remove(code.folder!, { recursive: true });
  });
  for (
    const [spoil, what] of [
      ["config.unveil.push({ ...config.unveil[0], path: '/etc' })", "its app is not what"],
      ["config.wall = 'deno'", "its wall is not what"],
      ["config.runtime = '/run/holdfast'", "its place is not what"],
      ["answer.config = 5", "its config has a fault"],
      ["answer.plan.processes[0].project = '../../../etc'", "project"],
      ["answer.plan.reads = ['/etc']", "reads"],
      ["answer.plan.digest = '../../x'", "digest"],
      [`answer.plan.digest = "${HEX}"`, "is not what was planned"],
      ["Deno.removeSync(globalThis.staging + '/image', { recursive: true })", "No such file"],
      [linked("/image/worker/image.js"), "is not what was planned"],
      [linked("/image/worker"), "is not what was planned"],
      ["answer.plan.processes.push(answer.plan.processes[0])", "of another config"],
    ] as const
  ) {
    await t.step(spoil, async () => {
      await assertRejects(() => spoiled(project, spoil), Error, what);
      const left = [...Deno.readDirSync(project.path(".holdfast/images"))].map(({ name }) => name);
      assertEquals(left.sort(), ["compiled", "packages", "settings"]);
    });
  }
});
