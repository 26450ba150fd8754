/**
 * What Holdfast holds by its name or by its inode is removed, replaced or full while it serves.
 * The rows are those of docs/held.md.
 */
import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { askSupervisor } from "../../lib/cli/control_client.ts";
import { findSupervisor } from "../../lib/cli/find_supervisor.ts";
import { readProc } from "../../lib/os/file.ts";
import type { Config } from "../../lib/config/config.ts";
import type { ControlHandlers } from "../../lib/supervisor/control_server.ts";
import { openRuntimeFolder } from "../../lib/supervisor/runtime_folder.ts";
import { RuntimeKeeper } from "../../lib/supervisor/runtime_keeper.ts";
import { realSystem } from "../../lib/supervisor/system.ts";
import { Troubles } from "../../lib/supervisor/troubles.ts";
import { testWith, whyNoNamespaces } from "../harness/needs.ts";
import { startIn } from "../harness/start_in.ts";
import { freePort } from "../harness/ports.ts";
import { PLAIN_APP, Project, REPOSITORY } from "../harness/project.ts";
import { resultOf, Server } from "../harness/server.ts";
import { whyNoSmallDisk } from "../harness/small_disk.ts";
import { startOnSmallLog } from "../harness/small_log.ts";
import { until, untilTold } from "../harness/wait.ts";

// A library that is loaded when it is first used would look like a leak of a test.
readProc("self/comm", 1);

const QUICK = { drainDeadlineMs: 2_000, idleGraceMs: 100 };

/** Asks on a Unix socket, and gives what answers. */
async function askUnix(path: string): Promise<string> {
  using client = Deno.createHttpClient({ proxy: { transport: "unix", path } });
  return await (await fetch("http://holdfast/", { client })).text();
}

/** Why no log is written, by the status. */
async function trouble(server: Server): Promise<string | undefined> {
  return (await server.status()).logger?.trouble;
}

async function reopenLogs(server: Server): Promise<void> {
  await askSupervisor(server.project.runtime, "reopen", "reopened");
}

/** Whether a request is in the access log. */
async function isLogged(server: Server, path: string): Promise<void> {
  await server.text(path);
  await until(`${path} in the access log`, async () => {
    const text = await Deno.readTextFile(server.project.path("log/access.log")).catch(() => "");
    return text.includes(path);
  });
}

interface Row {
  readonly what: string;
  /** What is done to it, and what comes of that; the server serves before and after. */
  readonly run: (server: Server) => Promise<void>;
}

const ROWS: readonly Row[] = [
  {
    what: "the control socket, removed: it comes back",
    run: async (server) => {
      const count = server.eventsOf("control_restored").length;
      await Deno.remove(server.project.path(".holdfast/control.sock"));
      await until("an answer", () => server.status().then(() => true, () => false));
      // It answers before it says so: the next row counts from here.
      await server.waitFor("control_restored", count + 1);
    },
  },
  {
    what: "the lock, removed: another start is refused still",
    run: async (server) => {
      const { project } = server;
      const count = server.eventsOf("control_restored").length;
      await Deno.remove(project.path(".holdfast/lock"));
      await server.waitFor("control_restored", count + 1);
      await assertRejects(() => openRuntimeFolder(project.runtime), Error, "Already running");
      assertEquals((await server.status()).pid, server.pid);
    },
  },
  {
    what: "the runtime folder, removed: it comes back with both",
    run: async (server) => {
      const { project } = server;
      await Deno.remove(project.runtime, { recursive: true });
      await until("an answer", () => server.status().then(() => true, () => false));
      await assertRejects(() => openRuntimeFolder(project.runtime), Error, "Already running");
      assertEquals((await server.reload()).outcome, "done");
    },
  },
  {
    what: "the runtime folder, moved by the config: refused, guarded, and found all the same",
    run: async (server) => {
      const { project } = server;
      const { runtime } = project;
      const changes = [{}, { unveil: { "./.holdfast": "rwc" } }, { wall: "deno" }];
      for (const more of changes) {
        // Not by the project, which would look for the supervisor there.
        const config = JSON.parse(await Deno.readTextFile(project.configFile));
        await project.write(
          "holdfast.jsonc",
          JSON.stringify({ ...config, runtime: "./run2", ...more }),
        );
        const { result } = await askSupervisor(runtime, "reload", "reloaded");
        assertEquals(result.outcome, "refused");
        assertStringIncludes(result.hint ?? "", "Restart Holdfast");
        assertEquals(await findSupervisor(project.configFile, realSystem), runtime);
      }
      await project.configure({});
    },
  },
  {
    what: "the config, removed: the commands find the supervisor, and a reload is refused",
    run: async (server) => {
      const { project } = server;
      await Deno.remove(project.configFile);
      assertEquals(await findSupervisor(project.configFile, realSystem), project.runtime);
      const { outcome, reason } = await server.reload();
      assertEquals(outcome, "refused");
      assertStringIncludes(reason!, project.configFile);
      await project.configure({});
      assertEquals((await server.reload()).outcome, "done");
    },
  },
  {
    what: "the socket of a listener, removed: a reload binds it anew",
    run: async (server) => {
      const path = server.project.path("web.sock");
      await Deno.remove(path);
      const { listen } = await server.waitFor("listener_lost");
      assertEquals(listen, `unix:${path}`);
      assertEquals((await server.reload()).outcome, "done");
      assertStringIncludes(await askUnix(path), "one");
    },
  },
  {
    what: "the socket of a listener, replaced by a file: a reload says so, and leaves the file",
    run: async (server) => {
      const path = server.project.path("web.sock");
      await Deno.remove(path);
      await Deno.writeTextFile(path, "not ours");
      const { outcome, reason } = await server.reload();
      assertEquals(outcome, "refused");
      assertStringIncludes(reason!, "a file that is no socket is there");
      assertEquals(await Deno.readTextFile(path), "not ours");
      await Deno.remove(path);
      assertEquals((await server.reload()).outcome, "done");
      assertStringIncludes(await askUnix(path), "one");
    },
  },
  {
    what: "the socket of the metrics, removed: a reload binds it anew",
    run: async (server) => {
      const path = server.project.path("metrics.sock");
      await Deno.remove(path);
      assertEquals((await server.reload()).outcome, "done");
      await until("an answer", () => askUnix(path).then(() => true, () => false));
    },
  },
  {
    what: "the log folder, removed: status and stderr say so, and logs reopen brings it back",
    run: async (server) => {
      await Deno.remove(server.project.path("log"), { recursive: true });
      assertStringIncludes(
        await untilTold("the trouble", () => trouble(server)),
        "holdfast logs reopen",
      );
      await server.waitFor("log_unwritten");
      await reopenLogs(server);
      await isLogged(server, "/reopened");
      await untilTold("no trouble", async () => await trouble(server) === undefined);
    },
  },
  {
    what: "the log folder, replaced by another: a reload writes there",
    run: async (server) => {
      const folder = server.project.path("log");
      await Deno.rename(folder, server.project.path("old_log"));
      await Deno.mkdir(folder);
      assertEquals((await server.reload()).outcome, "done");
      await isLogged(server, "/reloaded");
    },
  },
  {
    what: "a log file, removed: logs reopen makes it again",
    run: async (server) => {
      await Deno.remove(server.project.path("log/access.log"));
      await untilTold("the trouble", () => trouble(server));
      await reopenLogs(server);
      await isLogged(server, "/again");
    },
  },
  {
    what: "the folder that it was started in, removed: nothing depends on it",
    run: async (server) => {
      await Deno.remove(server.project.path("started_in"), { recursive: true });
      const [worker] = await server.workers();
      Deno.kill(worker!, "SIGKILL");
      await server.waitFor("worker_lost");
      assertStringIncludes(await server.text(), "one");
      assertEquals((await server.reload()).outcome, "done");
    },
  },
];

Deno.test("a server goes on, and says so, when what it holds is removed or replaced", async (t) => {
  const project = await Project.create({
    config: {
      log: { folder: "./log", compress: false },
      metrics: { listen: "unix:./metrics.sock" },
      reload: QUICK,
    },
  });
  await project.configure({ listen: [`127.0.0.1:${project.port}`, "unix:./web.sock"] });
  await project.write("started_in/file", "");
  const cwd = project.path("started_in");
  await using server = startIn(project, { cwd, config: "../holdfast.jsonc" });
  await server.waitFor("serving");
  for (const { what, run } of ROWS) {
    await t.step(what, async () => {
      await run(server);
      assertEquals(await server.text("/"), "one /");
    });
  }
});

Deno.test("what is missing of the runtime folder is made anew when two looks in a row miss the same, and not while it is being removed", async () => {
  await using project = await Project.create();
  const config = { runtime: project.runtime, folder: project.folder } as Config;
  const keeper = new RuntimeKeeper({
    system: { ...realSystem, locateRuntime: () => Promise.resolve(config) },
    file: project.configFile,
    handlers: {} as ControlHandlers,
    troubles: new Troubles(),
    signal: new AbortController().signal,
    config: () => config,
    group: () => undefined,
  });
  await keeper.open(config);
  await keeper.openControl();
  try {
    const [lock, socket] = [join(project.runtime, "lock"), join(project.runtime, "control.sock")];
    const there = () => [project.runtime, lock, socket].map((path) => exists(path));
    const look = async () => {
      await keeper.look();
      return there();
    };
    assertEquals(await look(), [true, true, true]);
    // As `rm -r` goes on, look after look.
    await Deno.remove(lock);
    assertEquals(await look(), [true, false, true]);
    await Deno.remove(socket);
    assertEquals(await look(), [true, false, false]);
    await Deno.remove(project.runtime, { recursive: true });
    assertEquals(await look(), [false, false, false]);
    assertEquals(await look(), [true, true, true]);
    await Deno.remove(socket);
    assertEquals(await look(), [true, true, false]);
    assertEquals(await look(), [true, true, true]);
    // An upgrade does not wait.
    await Deno.remove(lock);
    await keeper.restore();
    assertEquals(there(), [true, true, true]);
  } finally {
    keeper.close();
  }
});

function exists(path: string): boolean {
  try {
    return Deno.lstatSync(path) !== undefined;
  } catch {
    return false;
  }
}

Deno.test("an app of release folders is reloaded by the link, with what the next release adds and the old one gone", async () => {
  const project = await Project.create();
  const listen = [`127.0.0.1:${project.port}`];
  const helper = `const anything = { "~standard": {
    version: 1, vendor: "test", validate: (value) => ({ value }) } };
  export default { echo: { input: anything, output: anything, handle: (value) => value } };`;
  const release = async (name: string, more: Record<string, unknown>) => {
    await project.write(`releases/${name}/app.ts`, PLAIN_APP.replace("one", name));
    await project.write(`releases/${name}/helper.ts`, helper);
    const config = { app: "./app.ts", listen, reload: QUICK, ...more };
    await project.write(`releases/${name}/holdfast.jsonc`, JSON.stringify(config));
  };
  const current = project.path("current");
  const switchTo = async (name: string) => {
    await Deno.symlink(`releases/${name}`, `${current}.new`);
    await Deno.rename(`${current}.new`, current);
  };
  await release("first", {});
  await release("second", {
    log: { folder: project.path("log") },
    metrics: { listen: `127.0.0.1:${freePort()}` },
    helpers: { echo: { module: "./helper.ts" } },
  });
  await switchTo("first");
  await using server = startIn(project, { cwd: current, config: "./holdfast.jsonc" });
  await server.waitFor("serving");
  const config = join(current, "holdfast.jsonc");
  const ask = async () => await findSupervisor(config, realSystem);
  assertEquals(await ask(), project.path("releases/first/.holdfast"));

  await switchTo("second");
  // Before the reload the socket is where it was, and after it where the link leads.
  assertEquals(await ask(), project.path("releases/first/.holdfast"));
  await Deno.remove(project.path("releases/first"), { recursive: true });
  const { result } = await askSupervisor(await ask(), "reload", "reloaded");
  assertEquals(result.outcome, "done", server.log);
  assertEquals(await server.text("/"), "second /");
  const runtime = project.path("releases/second/.holdfast");
  assertEquals(await ask(), runtime);
  const { status } = await askSupervisor(runtime, "status", "status");
  assertEquals([status.named, status.config], [
    config,
    `${project.path("releases/second")}/holdfast.jsonc`,
  ]);
  assert(status.logger?.process && status.metrics?.process, server.log);

  await release("third", {});
  await switchTo("third");
  const again = await askSupervisor(await ask(), "reload", "reloaded");
  assertEquals([again.result.outcome, await server.text("/")], ["done", "third /"]);
  assertEquals(await ask(), project.path("releases/third/.holdfast"));
  const kept = [...Deno.readDirSync(project.path("releases/third/.holdfast/images"))]
    .filter(({ name }) => /^[0-9a-f]{64}$/.test(name));
  assertEquals(kept.length, 1, "a release keeps its image itself");
  // The one before is left clean when its generation has ended.
  const left = () => [...Deno.readDirSync(runtime)].map(({ name }) => name);
  await until("an empty folder", () => left().every((name) => name === ".gitignore"));
});

testWith(
  { missing: whyNoSmallDisk() },
  "a log disk that is full is told by status, and written again when it can be",
  async () => {
    const project = await Project.create({
      config: { log: { folder: "./log", compress: false }, reload: QUICK },
    });
    await using small = await startOnSmallLog(project);
    const { server } = small;
    const filler = project.path("log/filler");
    await Deno.writeFile(filler, new Uint8Array(4 * 1024 * 1024)).catch(() => {});
    const why = await untilTold("the trouble", async () => {
      await server.text(`/${"x".repeat(4_000)}`);
      return await trouble(server);
    });
    assertStringIncludes(why, "the disk refuses");
    await server.waitFor("log_unwritten");
    await Deno.remove(filler);
    await untilTold("no trouble", async () => await trouble(server) === undefined);
    await isLogged(server, "/after");
  },
);

/** Another /etc for what comes after it, in a mount namespace of its own. */
const OTHER_ETC = ["unshare", "--mount", "sh", "-c"];

testWith(
  { root: true, missing: whyNoNamespaces() },
  "names are found by a running worker after /etc/hosts was replaced, and no file of /etc can be opened by the app",
  async () => {
    using answering = Deno.listen({ port: 0, hostname: "127.0.0.1" });
    const { port } = answering.addr;
    const project = await Project.create({
      files: {
        "app.ts": `export default {
          async fetch() {
            const read = await Deno.readTextFile("/etc/hosts").catch(({ name }) => name);
            // A connection that is kept would need no name.
            const found = await Deno.connect({ hostname: "backend.test", port: ${port} })
              .then((connection) => (connection.close(), "ok"), String);
            return new Response(read + " " + found);
          },
        };`,
      },
      config: { net: [`backend.test:${port}`], reload: QUICK },
    });
    const etc = project.path("etc");
    await new Deno.Command("cp", { args: ["-a", "/etc", etc] }).output();
    const hosts = join(etc, "hosts");
    const replace = async (text: string) => {
      await Deno.writeTextFile(`${hosts}.new`, text);
      await Deno.rename(`${hosts}.new`, hosts);
    };
    await replace("127.0.0.1 localhost backend.test\n");
    const prefix = [...OTHER_ETC, `mount --bind '${etc}' /etc && exec "$0" "$@"`];
    await using server = await Server.startOn(project, { prefix });
    for (let round = 0; round < 3; round++) {
      assertEquals(await server.text("/"), "NotFound ok");
      await replace(`# ${round}\n127.0.0.1 localhost backend.test\n`);
    }
    assertEquals(server.eventsOf("worker_lost"), []);
  },
);

Deno.test("a spawner thread that fails is an event, and nothing that the runtime prints", async () => {
  const { stdout, stderr } = resultOf(
    await new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", join(REPOSITORY, "tests/doubles/failing_spawner.ts")],
      stdin: "null",
    }).output(),
  );
  assertEquals(stderr, "");
  const { type, error } = JSON.parse(stdout);
  assertEquals(type, "exited");
  assertStringIncludes(error, "Cannot start /bin/true; ");
});
