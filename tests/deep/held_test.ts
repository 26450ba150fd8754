/** The programs that Holdfast runs are replaced while it serves. */
import { assertEquals } from "@std/assert";
import { cp } from "node:fs/promises";
import { runLongCommand } from "../harness/server.ts";
import { HOLDFAST, PLAIN_APP, Project } from "../harness/project.ts";
import { startIn } from "../harness/start_in.ts";

const QUICK = { drainDeadlineMs: 2_000, idleGraceMs: 100 };
const LONG_MS = 120_000;

/** How a newer deno program comes to lie at its name. */
const REPLACED: Record<string, (bin: string, next: string) => Promise<void>> = {
  "by a rename over it": (bin, next) => Deno.rename(next, `${bin}/deno`),
  "behind a link, with the version before removed": async (bin, next) => {
    await Deno.mkdir(`${bin}/v2`);
    await Deno.rename(next, `${bin}/v2/deno`);
    await Deno.symlink("v2/deno", `${bin}/link`);
    await Deno.rename(`${bin}/link`, `${bin}/deno`);
    await Deno.remove(`${bin}/v1`, { recursive: true });
  },
};

for (const [how, replace] of Object.entries(REPLACED)) {
  Deno.test(`deno is replaced ${how}, and Holdfast's folder: dead workers come back, a reload runs the code that was started, an upgrade the new one`, async () => {
    const project = await Project.create({ config: { reload: QUICK } });
    const [program, holdfast] = [project.path("bin/deno"), project.path("holdfast")];
    const bin = project.path("bin");
    await Deno.mkdir(`${bin}/v1`, { recursive: true });
    const linked = how.startsWith("behind");
    await Deno.copyFile(Deno.execPath(), linked ? `${bin}/v1/deno` : program);
    if (linked) await Deno.symlink("v1/deno", program);
    await cp(HOLDFAST, holdfast, {
      recursive: true,
      filter: (path) => !/\/(\.git|tests)$/.test(path),
    });
    await using server = startIn(project, {
      cwd: project.folder,
      config: "holdfast.jsonc",
      program,
      holdfast,
    });
    await server.waitFor("serving");
    await Deno.copyFile(program, `${bin}/next`);
    await replace(bin, `${bin}/next`);
    await Deno.remove(holdfast, { recursive: true });
    const [worker] = await server.workers();
    Deno.kill(worker!, "SIGKILL");
    await server.waitFor("worker_lost");
    assertEquals(await server.text("/"), "one /");
    // All that a release may add.
    await project.configure({
      log: { folder: "./log" },
      metrics: { listen: "unix:./metrics.sock" },
    });
    await project.write("app.ts", PLAIN_APP.replace("one", "two"));
    const { outcome, reason } = await server.reload();
    assertEquals([outcome, reason], ["done", undefined]);
    assertEquals(await server.text("/"), "two /");
    // Whatever is on stderr is an event.
    assertEquals(server.log.split("\n").filter((line) => line !== "" && !line.startsWith("{")), []);

    // An upgrade takes what lies there now, under the same names.
    await cp(HOLDFAST, holdfast, { recursive: true });
    await Deno.writeTextFile(
      `${holdfast}/supervisor.ts`,
      '\nconsole.error("{\\"event\\":\\"next\\"}");',
      { append: true },
    );
    const upgraded = await runLongCommand(LONG_MS, project, "upgrade");
    assertEquals(upgraded.code, 0, upgraded.stderr);
    await server.waitFor("next");
    assertEquals(await server.text("/"), "two /");
  });
}
