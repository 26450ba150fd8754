/** Memory that runs out ends a worker, and not the supervisor. */
import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { plainHelper } from "../harness/helpers.ts";
import { isAlive } from "../harness/process.ts";
import { freePort } from "../harness/ports.ts";
import { OBEYING_APP, tell } from "../harness/obeying_app.ts";
import { testWith, whyNoNamespaces } from "../harness/needs.ts";
import { Project } from "../harness/project.ts";
import { Server } from "../harness/server.ts";
import { until } from "../harness/wait.ts";

const GROUPS = "/sys/fs/cgroup/memory";

const MIB = 2 ** 20;

/** Why a group with a limit cannot be made here. */
function whyNoGroup(): string | undefined {
  try {
    const path = join(GROUPS, `holdfast_probe_${Deno.pid}`);
    Deno.mkdirSync(path);
    Deno.removeSync(path);
    return undefined;
  } catch (error) {
    return `no memory control group: ${(error as Error).message}`;
  }
}

testWith(
  { root: true, missing: whyNoGroup() ?? whyNoNamespaces() },
  "a worker that uses up the memory of its control group is killed, and the supervisor is not",
  async () => {
    const group = join(GROUPS, `holdfast_test_${Deno.pid}`);
    Deno.mkdirSync(group);
    try {
      const project = await Project.create({
        files: { "app.ts": OBEYING_APP, "data/file.txt": "" },
        config: { unveil: { "./data": "rwc" } },
      });
      // What is written to a file in memory counts as the group's, and as no process's.
      const mount = `mount -t tmpfs tmpfs ${project.path("data")}`;
      const enter = `${mount} && echo $$ > ${group}/cgroup.procs && exec "$@"`;
      await using server = await Server.startOn(project, {
        prefix: ["unshare", "--mount", "sh", "-c", enter, "sh"],
      });
      assertEquals(await tell(server, "return 1"), { ok: 1 });
      const [worker] = await server.workers();
      const used = Number(Deno.readTextFileSync(`${group}/memory.usage_in_bytes`));
      Deno.writeTextFileSync(`${group}/memory.limit_in_bytes`, String(used + 64 * MIB));
      const filling = tell(
        server,
        `const file = Deno.openSync("data/full", { create: true, write: true });
         const chunk = new Uint8Array(${MIB}).fill(1);
         for (let n = 0; n < 2048; n++) file.writeSync(chunk);`,
      ).catch(() => {});
      const lost = await server.waitFor("worker_lost");
      Deno.writeTextFileSync(`${group}/memory.limit_in_bytes`, "-1");
      await filling;
      assertEquals([lost.pid, lost.how], [worker, "killed by SIGKILL"]);
      assert(isAlive(server.pid));
      await until("another worker", async () => (await server.workers()).length === 1);
      assertEquals(await tell(server, "return 1"), { ok: 1 });
    } finally {
      await until("the end of the group", () => {
        try {
          Deno.removeSync(group);
          return true;
        } catch {
          return false;
        }
      });
    }
  },
);

Deno.test("when memory is short a worker goes before a helper, that before logger and metrics, and all before the supervisor", async () => {
  const project = await Project.create({
    files: {
      "helper.ts": plainHelper(),
    },
    config: { helpers: { idle: { module: "./helper.ts" } }, log: { folder: "./log" } },
  });
  await project.configure({ metrics: { listen: `127.0.0.1:${freePort()}` } });
  await using server = await Server.startOn(project);
  const { generations: [generation], logger, metrics } = await server.status();
  const score = (pid: number) => Number(Deno.readTextFileSync(`/proc/${pid}/oom_score_adj`));
  const own = score(server.pid);
  const scores = [
    generation!.workers[0]!.process,
    generation!.helpers[0]!.process,
    logger!.process,
    metrics!.process,
  ].map((process) => score(process!.pid!) - own);
  assertEquals(scores, [500, 400, 300, 300]);
});

testWith(
  { root: true, missing: whyNoGroup() ?? whyNoNamespaces() },
  "a worker that has filled its control group is killed for the memory that a reload needs, and not its successor",
  async () => {
    const group = join(GROUPS, `holdfast_test_${Deno.pid}_reload`);
    Deno.mkdirSync(group);
    try {
      const project = await Project.create({ files: { "app.ts": OBEYING_APP } });
      await using server = await Server.startOn(project, {
        prefix: ["sh", "-c", `echo $$ > ${group}/cgroup.procs && exec "$@"`, "sh"],
      });
      const [worker] = await server.workers();
      const filled = 512;
      assertEquals(
        await tell(
          server,
          `globalThis.kept = Array.from({ length: ${filled} }, () => new Uint8Array(${MIB}).fill(1));
           return globalThis.kept.length`,
        ),
        { ok: filled },
      );
      // Less than a planner and a new worker need.
      const used = Number(Deno.readTextFileSync(`${group}/memory.usage_in_bytes`));
      Deno.writeTextFileSync(`${group}/memory.limit_in_bytes`, String(used + 16 * MIB));
      await project.write("app.ts", OBEYING_APP.replace("ok: value ?? null", "ok: 'new'"));
      assertEquals((await server.hangUp()).event, "reload_done");
      assertEquals(await tell(server, "return 1"), { ok: "new" });
      assert(isAlive(server.pid));
      assert(!isAlive(worker!) || (await server.workers())[0] !== worker);
      const lost = server.eventsOf("worker_lost");
      assertEquals(lost.map(({ pid, how }) => [pid, how]), [[worker, "killed by SIGKILL"]]);
    } finally {
      await until("an empty control group", () => {
        try {
          Deno.removeSync(group);
          return true;
        } catch {
          return undefined;
        }
      });
    }
  },
);
