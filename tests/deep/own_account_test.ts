/** Where root starts Holdfast, no two of its processes have one uid: real processes, real files. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { plainHelper, TELLING_APP } from "../harness/helpers.ts";
import { testWith } from "../harness/needs.ts";
import { tell } from "../harness/obeying_app.ts";
import { freePort } from "../harness/ports.ts";
import { isAlive, readStatus } from "../harness/process.ts";
import { Project, type ProjectOptions } from "../harness/project.ts";
import { Server, type ServerOptions } from "../harness/server.ts";
import { until } from "../harness/wait.ts";

const NOBODY = 65_534;

const QUICK = { idleGraceMs: 0, drainDeadlineMs: 1000 };

/** A project that everybody may enter; the deno program may be out of everybody's reach. */
async function createOpen(options: ProjectOptions): Promise<Project> {
  const project = await Project.create(options);
  await Deno.chmod(project.folder, 0o755);
  return project;
}

/** A server with every kind of process. */
async function startAll(
  changes: Record<string, unknown> = {},
  options: ServerOptions = {},
): Promise<Server> {
  const project = await createOpen({
    files: { "app.ts": TELLING_APP, "one.ts": plainHelper(), "two.ts": plainHelper() },
    config: {
      unveil: { "./data/": "rwc" },
      helpers: {
        one: { module: "./one.ts", unveil: { "./own/": "rwc" } },
        two: { module: "./two.ts" },
      },
      log: { folder: "./log" },
      metrics: { listen: `127.0.0.1:${freePort()}` },
      reload: QUICK,
      ...changes,
    },
  });
  return await Server.startOn(project, options);
}

/** The processes of the newest generation, and those beside it. */
async function processesOf(server: Server): Promise<Record<string, number>> {
  const { generations, logger, metrics } = await server.status();
  const { workers, helpers } = generations.at(-1)!;
  return {
    ...Object.fromEntries(workers.map(({ index, process }) => [`worker ${index}`, process!.pid])),
    ...Object.fromEntries(helpers.map(({ helper, process }) => [helper, process!.pid])),
    ...logger && { logger: logger.process!.pid },
    ...metrics && { metrics: metrics.process!.pid },
  };
}

/** The uid of each. Nothing of root's is left to any that has another. */
async function uidsOf(server: Server): Promise<Record<string, number>> {
  return Object.fromEntries(
    Object.entries(await processesOf(server)).map(([name, pid]) => {
      const status = readStatus(pid)!;
      const ids = (key: string) => [...new Set(status[key]!.split("\t").map(Number))];
      const [uid, ...more] = ids("Uid");
      assertEquals(more, [], name);
      for (const set of ["CapInh", "CapPrm", "CapEff", "CapAmb"]) {
        assertEquals(Number(`0x${status[set]}`), 0, `${name} ${set}`);
      }
      if (uid !== 0) {
        assertEquals(status["Groups"]!.trim(), "", name);
        assertEquals(ids("Gid").includes(0), false, name);
      }
      return [name, uid!];
    }),
  );
}

function assertDistinct(uids: Record<string, number>): void {
  assertEquals(new Set(Object.values(uids)).size, Object.keys(uids).length, JSON.stringify(uids));
  assert(!Object.values(uids).includes(0), JSON.stringify(uids));
}

testWith(
  { root: true },
  "no two processes have one uid, and each keeps its own over deaths, reloads and restarts",
  async () => {
    await using server = await startAll();
    const { project } = server;
    const before = await uidsOf(server);
    assertDistinct(before);
    assertEquals(Object.keys(before).length, 5);
    assertEquals(server.eventsOf("workers_run_as_root"), []);
    assertEquals(server.eventsOf("account_shared"), []);

    // The folders that Holdfast made are theirs alone.
    const owner = (name: string) => {
      const { uid, mode } = Deno.statSync(project.path(name));
      return [uid, (mode ?? 0) & 0o7777];
    };
    assertEquals([owner("data"), owner("own"), owner("log")], [
      [before["worker 0"], 0o700],
      [before["one"], 0o700],
      [before["logger"], 0o700],
    ]);
    const write = `Deno.writeTextFileSync("data/file", "mine")`;
    assertEquals(await tell(server, write), { ok: null });
    await until("a record", () => Deno.statSync(project.path("log/access.log")).size > 0);

    const [worker] = await server.workers();
    Deno.kill(worker!, "SIGKILL");
    await until("the replacement", async () => {
      const [now] = await server.workers();
      return now !== undefined && now !== worker;
    });
    assertEquals(await uidsOf(server), before);
    assertEquals((await server.hangUp()).event, "reload_done");
    assertEquals(await uidsOf(server), before);
    const read = `return Deno.readTextFileSync("data/file")`;
    assertEquals(await tell(server, read), { ok: "mine" });
    server.signal("SIGUSR2");
    await server.waitFor("serving", 2);
    assertEquals(await uidsOf(server), before);
    assertEquals((await server.stop()).code, 0);

    const again = await Server.startOn(project);
    assertEquals(await uidsOf(again), before);
    assertEquals(await tell(again, read), { ok: "mine" });
    assertEquals((await again.stop()).code, 0);
  },
);

testWith(
  { root: true },
  "what several were granted, each may change, and nothing else of each other",
  async () => {
    const helpers = {
      one: { module: "./one.ts", unveil: { "./data/": "rwc" } },
      two: { module: "./two.ts", unveil: { "./two/": "rwc" } },
    };
    await using server = await startAll({ helpers });
    const { project } = server;
    assertDistinct(await uidsOf(server));
    const inHelper = (name: string, code: string) =>
      tell(server, `return await helper("${name}").run(${JSON.stringify(code)})`);
    const path = JSON.stringify(project.path("data/file"));
    assertEquals(await tell(server, `Deno.writeTextFileSync(${path}, "a")`), { ok: null });
    const append = `Deno.writeTextFileSync(${path}, "b", { append: true })`;
    assertEquals((await inHelper("one", append)).denied, undefined);
    assertEquals(Deno.readTextFileSync(project.path("data/file")), "ab");
    const made = JSON.stringify(project.path("data/of_helper"));
    await inHelper("one", `Deno.writeTextFileSync(${made}, "h")`);
    assertEquals(await tell(server, `Deno.writeTextFileSync(${made}, "w")`), { ok: null });
    assertEquals(Deno.readTextFileSync(project.path("data/of_helper")), "w");
    // Only those that share have files that their group may write.
    const alone = JSON.stringify(project.path("two/file"));
    await inHelper("two", `Deno.writeTextFileSync(${alone}, "2")`);
    assertEquals((Deno.statSync(project.path("two/file")).mode ?? 0) & 0o020, 0);
  },
);

testWith(
  { root: true },
  "data that is root's keeps its process at uid 0, the log says how to mend it, and that mends it",
  async () => {
    const project = await createOpen({
      files: { "app.ts": TELLING_APP, "data/file": "old" },
      config: { unveil: { "./data": "rwc" }, log: { folder: "./log" }, reload: QUICK },
    });
    await Deno.mkdir(project.path("log"), { mode: 0o700 });
    await using server = await Server.startOn(project);
    const held = await uidsOf(server);
    assertEquals(held, { "worker 0": 0, logger: 0 });
    const warnings = server.eventsOf("account_shared");
    assertEquals(warnings.map(({ process, path }) => [process, path]), [
      ["worker", project.path("data")],
      ["logger", project.path("log")],
    ]);
    assertEquals(server.eventsOf("workers_run_as_root").length, 1);
    assertEquals(await tell(server, `Deno.writeTextFileSync("data/file", "new")`), { ok: null });

    for (const { hint } of warnings) {
      const command = `${hint}`.replace(/^Try: /, "");
      assertStringIncludes(command, "chown -R ");
      const { success } = await new Deno.Command("sh", { args: ["-c", command] }).output();
      assertEquals(success, true);
    }
    assertEquals((await server.hangUp()).event, "reload_done");
    const mended = await uidsOf(server);
    assertDistinct(mended);
    const both = `Deno.writeTextFileSync("data/file", "!", { append: true });
      return Deno.readTextFileSync("data/file")`;
    assertEquals(await tell(server, both), { ok: "new!" });
    const { size } = Deno.statSync(project.path("log/access.log"));
    await server.get("/", { method: "POST", body: "" }).then((response) => response.body?.cancel());
    await until("the next record", () => Deno.statSync(project.path("log/access.log")).size > size);
  },
);

testWith(
  { root: true, programs: ["setpriv"] },
  "with the four capabilities that it takes it has its way, and ends what does not react",
  async () => {
    const few = "--bounding-set=-all,+chown,+kill,+setgid,+setuid";
    await using server = await startAll({}, { prefix: ["setpriv", few] });
    assertDistinct(await uidsOf(server));
    assertEquals(server.eventsOf("account_shared"), []);
    assertEquals((await server.hangUp()).event, "reload_done");
    const all = await processesOf(server);
    for (const pid of Object.values(all)) Deno.kill(pid, "SIGSTOP");
    assertEquals((await server.stop()).code, 0);
    assertEquals(Object.values(all).filter(isAlive), []);
  },
);

testWith(
  { root: true, programs: ["setpriv"] },
  "without one of them no process has an account of its own, and the log names it",
  async () => {
    const few = "--bounding-set=-all,+chown,+setgid,+setuid";
    await using server = await startAll({}, { prefix: ["setpriv", few] });
    assertEquals(new Set(Object.values(await uidsOf(server))), new Set([0]));
    const told = server.eventsOf("account_shared").map(({ process, reason }) => [process, reason]);
    assertEquals(told, [["all", "Holdfast has no CAP_KILL"]]);
  },
);

testWith(
  { root: true, programs: ["unshare"] },
  "in a user namespace that has no such ids all run as before, and the log says so",
  async () => {
    const prefix = ["unshare", "--user", "--map-root-user"];
    await using server = await startAll({}, { prefix });
    assertEquals(new Set(Object.values(await uidsOf(server))), new Set([0]));
    const [told] = server.eventsOf("account_shared");
    assertStringIncludes(`${told?.reason}`, "/proc/self/uid_map");
  },
);

testWith(
  { root: true },
  "with a user, helpers, logger and metrics process have accounts of their own beside it",
  async () => {
    await using server = await startAll({ user: "nobody", unveil: {} });
    const { "worker 0": worker, ...others } = await uidsOf(server);
    assertEquals(worker, NOBODY);
    assertDistinct(others);
    assert(!Object.values(others).includes(NOBODY));
  },
);
