/** What a program of Holdfast's own may do that is of no generation: a program in its place tries. */
import { assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { findDenoDir } from "../lib/supervisor/image_store.ts";
import { runOwn } from "../lib/supervisor/run_own.ts";
import { isAlive } from "./harness/process.ts";
import { Project } from "./harness/project.ts";
import { until } from "./harness/wait.ts";

const { signal } = new AbortController();

/** Runs a program, with every permission of Deno's, behind the wall of one that writes a folder. */
function run(program: string, writes: string, stop = signal): Promise<string> {
  const address = `data:application/javascript,${encodeURIComponent(program)}`;
  const flags = ["--quiet", "--no-config", "--no-lock", "--allow-all"];
  const may = { network: "none" as const, reads: [writes], writes: [writes] };
  return runOwn({ args: ["run", ...flags, address], denoDir: findDenoDir(), may, signal: stop });
}

// Libraries that are loaded when they are first used would look like leaks of a test.
await run("", "/tmp").catch(() => {});
await run("", "/tmp", AbortSignal.abort()).catch(() => {});

Deno.test("what is started to make Holdfast's programs reads, writes, dials and runs nothing else, whatever Deno lets it", async () => {
  await using project = await Project.create();
  await Deno.mkdir(project.path("own"));
  using server = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  Deno.env.set("RUN_OWN_SECRET", "secret");
  const text = JSON.stringify;
  const program = `
    const results = {};
    const attempt = async (name, work) => {
      try {
        results[name] = String(await work() ?? "done");
      } catch (error) {
        results[name] = error.name;
      }
    };
    await attempt("write its folder", () => Deno.writeTextFile(${text(project.path("own/a"))}, ""));
    await attempt("read its folder", () => Deno.readTextFile(${
    text(project.path("own/a"))
  }).then(() => "done"));
    await attempt("read another", () => Deno.readTextFile(${text(project.configFile)}));
    await attempt("write another", () => Deno.writeTextFile(${text(project.path("b"))}, ""));
    await attempt("dial", () => Deno.connect({ port: ${server.addr.port} }));
    await attempt("run another program", () => new Deno.Command("/bin/true").outputSync().code);
    await attempt("signal", () => Deno.kill(${Deno.pid}, "SIGCONT"));
    results.see = Deno.env.get("RUN_OWN_SECRET") ?? "nothing";
    console.log(JSON.stringify(results));
  `;
  assertEquals(JSON.parse(await run(program, project.path("own"))), {
    "write its folder": "done",
    "read its folder": "done",
    "read another": "PermissionDenied",
    "write another": "PermissionDenied",
    dial: "PermissionDenied",
    "run another program": "PermissionDenied",
    signal: "PermissionDenied",
    see: "nothing",
  });
});

Deno.test("one that fails says why, and one that is given up ends with all that it has started", async () => {
  await using project = await Project.create();
  const failing = run("throw new Error('no answer')", project.folder);
  assertStringIncludes((await assertRejects(() => failing, Error)).message, "no answer");
  const stop = new AbortController();
  const program = `
    const { pid } = new Deno.Command(Deno.execPath(), {
      args: ["eval", "setInterval(() => {}, 1000)"],
      stdin: "null", stdout: "null", stderr: "null",
    }).spawn();
    Deno.writeTextFileSync(${JSON.stringify(project.path("pid"))}, String(pid));
    setInterval(() => {}, 1000);
  `;
  const given = run(program, project.folder, stop.signal);
  const pidOf = () => {
    try {
      return Number(Deno.readTextFileSync(join(project.folder, "pid")));
    } catch {
      return 0;
    }
  };
  await until("it to start another", () => pidOf() > 0);
  const pid = pidOf();
  stop.abort(new Error("given up"));
  await assertRejects(() => given, Error, "given up");
  await until("that to end", () => !isAlive(pid));
});
