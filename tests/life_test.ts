/** The life of a supervisor and its worker: deaths, signals, starts and ends. More of it: deep/life_test.ts. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { Held, HOLDING_APP } from "./harness/held.ts";
import {
  GATE,
  GATE_FILES,
  GATE_UNVEIL,
  servingWorkers,
  startAsGroup,
  untilHeedsSignals,
  untilWorkers,
  version,
} from "./harness/life.ts";
import { holdsListener, isAlive, readArguments } from "./harness/process.ts";
import { PLAIN_APP, Project, REPOSITORY } from "./harness/project.ts";
import { runCommand, Server, supervisorPermissions } from "./harness/server.ts";
import { until } from "./harness/wait.ts";

/** What a thread of the supervisor throws takes its workers with it, which may look like a success. */
function assertNoCrash(server: Server): void {
  assert(!server.log.includes("Uncaught"), server.log);
}

/** Waits until a worker takes no connection any more. */
async function untilStopped(worker: number, { port }: Project): Promise<void> {
  await until("the worker to stop accepting", () => !holdsListener(worker, port));
}

/** The arguments of `deno run` in the task that starts the guestbook. */
async function taskPermissions(): Promise<string[]> {
  const { tasks } = JSON.parse(await Deno.readTextFile(join(REPOSITORY, "deno.json")));
  const command: string = tasks.start.command.replace(/\$\(deno eval '[^']*'\)/, Deno.execPath());
  const words = command.split(" ");
  return words.slice(words.indexOf("run") + 1, words.indexOf("main.ts"));
}

Deno.test("a worker that ends is replaced, signals to it change nothing, and one that does not react is killed", async (t) => {
  await using server = await Server.start({
    files: { "app.ts": HOLDING_APP },
    config: { reload: { idleGraceMs: 0, drainDeadlineMs: 0 } },
  });
  const { project } = server;

  await t.step(
    "the supervisor has the permissions that deno task start names, and no more",
    async () => {
      const folder = "examples/guestbook/.holdfast";
      const named = (await taskPermissions()).map((word) =>
        word.replace(`--allow-write=${folder}`, `--allow-write=${project.folder}`)
      );
      assertEquals([...supervisorPermissions(project)].sort(), named.sort());
      const used = readArguments(server.pid);
      for (const all of ["-A", "--allow-all", "--allow-run", "--allow-write"]) {
        assert(!used.includes(all), all);
        assert(!named.includes(all), all);
      }
      for (const permission of named) assert(used.includes(permission), permission);
    },
  );

  await t.step(
    "HUP, INT, TERM and USR2 to a worker itself: the same pid goes on serving",
    async () => {
      const before = await server.workers();
      using held = await Held.begin(project);
      for (const signal of ["SIGHUP", "SIGINT", "SIGTERM", "SIGTERM", "SIGUSR2"] as const) {
        Deno.kill(before[0]!, signal);
      }
      assertEquals(await server.text("/more"), "one /more");
      assertEquals(await held.release(), "one whole");
      // It still tells of itself.
      await until("both in status", async () => {
        const [worker] = (await server.status()).generations[0]!.workers;
        return worker!.process?.answered === 2;
      });
      assertEquals(await server.workers(), before);
      assertEquals(server.eventsOf("worker_lost"), []);
    },
  );

  await t.step("one that is killed from outside: who connects meanwhile is answered", async () => {
    const [worker] = await server.workers();
    Deno.kill(worker!, "SIGKILL");
    await until("the end of the worker", () => !isAlive(worker!));
    // None of these finds a worker at first.
    const answers = await Promise.all(
      Array.from({ length: 50 }, (_, index) => server.text(`/${index}`)),
    );
    assertEquals(answers, Array.from({ length: 50 }, (_, index) => `one /${index}`));
    const lost = await server.waitFor("worker_lost");
    assertEquals([lost.pid, lost.generation, lost.how], [worker, 1, "killed by SIGKILL"]);
    const { generations } = await server.status();
    assertEquals(
      generations.map(({ generation, replacements }) => [generation, replacements]),
      [[1, 1]],
    );
    assert(generations[0]!.workers[0]!.process!.pid !== worker);
  });

  await t.step("one that exits by itself, also after a reload", async () => {
    assertEquals((await server.hangUp()).event, "reload_done");
    await server.text("/die").catch(() => {});
    assertEquals(await server.text("/next"), "one /next");
    assertEquals((await server.waitFor("worker_lost", 2)).how, "exited with status 9");
  });

  await t.step("one that does not react is killed after the drain's deadline", async () => {
    const ended = server.eventsOf("generation_ended").length;
    const [worker] = await servingWorkers(server);
    Deno.kill(worker!, "SIGSTOP");
    assertEquals((await runCommand(project, "stop")).code, 0);
    assertEquals((await server.waitFor("generation_ended", ended + 1)).outcome, "killed");
    assertEquals((await server.exited()).code, 0);
    assertEquals(isAlive(worker!), false);
    assertNoCrash(server);
  });
});

Deno.test("TERM lets a request in flight finish, takes no new one, and exits 0", async () => {
  await using server = await Server.start({ files: { "app.ts": HOLDING_APP } });
  const [worker] = await server.workers();
  using held = await Held.begin(server.project);
  assert(holdsListener(worker!, server.project.port));
  server.signal("SIGTERM");
  await untilStopped(worker!, server.project);
  // Nobody takes it, though the kernel does until the end.
  const late = server.text("/late").then(() => "answered", () => "not answered");
  assertEquals(await held.release(), "one whole");
  assertEquals(await late, "not answered");
  assertEquals((await server.exited()).code, 0);
  const { outcome, cut } = await server.waitFor("generation_ended");
  assertEquals([outcome, cut], ["drained", 0]);
});

Deno.test("INT while a reload runs ends old and new, and exits 0", async () => {
  await using server = await Server.start({
    files: { "app.ts": HOLDING_APP, ...GATE_FILES },
    config: { unveil: GATE_UNVEIL },
  });
  const [worker] = await server.workers();
  using held = await Held.begin(server.project);
  await server.project.write("app.ts", HOLDING_APP + GATE);
  server.signal("SIGHUP");
  await untilWorkers(server, 2);
  server.signal("SIGINT");
  await untilStopped(worker!, server.project);
  assertEquals(await held.release(), "one whole");
  assertEquals((await server.exited()).code, 0);
  assertEquals(server.eventsOf("reload_done").length, 0);
  assertEquals((await server.waitFor("generation_ended")).outcome, "drained");
});

Deno.test("TERM while it starts ends it with exit 0, and nothing stays", async () => {
  await using server = await Server.start({
    files: { "app.ts": PLAIN_APP + GATE, ...GATE_FILES },
    config: { unveil: GATE_UNVEIL },
    wait: "nothing",
  });
  await untilWorkers(server, 1);
  server.signal("SIGTERM");
  assertEquals((await server.exited()).code, 0);
  assertEquals(server.eventsOf("serving").length, 0);
});

Deno.test("a second TERM cuts what the first lets finish", async () => {
  await using server = await Server.start({ files: { "app.ts": HOLDING_APP } });
  const [worker] = await server.workers();
  using held = await Held.begin(server.project);
  server.signal("SIGTERM");
  await untilStopped(worker!, server.project);
  assertEquals(server.eventsOf("stopped").length, 0);
  await server.cut();
  assertEquals((await server.exited()).code, 0);
  assertEquals(await held.rest().then(() => "answered", () => "cut"), "cut");
  assertEquals(server.eventsOf("generation_ended")[0]!.outcome, "killed");
  assertNoCrash(server);
});

Deno.test("Ctrl-C reaches the whole process group: all end with exit 0 and no request is lost", async () => {
  await using server = startAsGroup(await Project.create({ files: { "app.ts": HOLDING_APP } }));
  await server.waitFor("serving");
  using held = await Held.begin(server.project);
  const [worker] = await server.workers();
  Deno.kill(-server.pid, "SIGINT");
  await untilStopped(worker!, server.project);
  assertEquals(await held.release(), "one whole");
  assertEquals((await server.exited()).code, 0);
  assertEquals(isAlive(worker!), false);
  assertEquals((await server.waitFor("generation_ended")).outcome, "drained");
});

Deno.test("HUP before it serves is neither lost nor fatal, and one that serves has given up what it needs no more", async () => {
  await using server = await Server.start({
    entry: [join(REPOSITORY, "tests/doubles/telling_supervisor.ts")],
    files: { "app.ts": PLAIN_APP + GATE, ...GATE_FILES },
    config: { unveil: GATE_UNVEIL },
    wait: "nothing",
  });
  await untilHeedsSignals(server);
  server.signal("SIGHUP");
  await untilWorkers(server, 1);
  await server.project.write("app.ts", version("two"));
  server.signal("SIGHUP");
  await server.project.write("gate/open", "");
  await server.waitFor("serving");
  await server.waitFor("reload_done");
  assertEquals(await server.text("/"), "two /");
  const [start, ...reloads] = server.eventsOf("permissions").map(({ granted }) => granted);
  assertEquals(start, ["read", "net", "env", "ffi", "sys"]);
  assert(reloads.length > 0);
  for (const granted of reloads) assertEquals(granted, ["read", "net", "env", "ffi"]);
});

Deno.test("HUP before a start that fails does not hide why it fails", async () => {
  await using server = await Server.start({
    files: { "app.ts": `throw new Error("bad luck");` },
    wait: "nothing",
  });
  await untilHeedsSignals(server);
  server.signal("SIGHUP");
  assertEquals((await server.exited()).code, 75);
  assertStringIncludes(server.log, "bad luck");
});

Deno.test("workers of a killed supervisor finish what is in flight and leave, and a new one starts at once", async () => {
  const first = await Server.start({ files: { "app.ts": HOLDING_APP } });
  const { project } = first;
  const [worker] = await first.workers();
  using held = await Held.begin(project);
  first.signal("SIGKILL");
  // At once: the old worker is still busy with its request.
  await using second = await Server.startOn(project);
  assert(isAlive(worker!), "the old worker left before its request was answered");
  assertEquals(await second.text("/new"), "one /new");
  assertEquals(await held.release(), "one whole");
  await until("the old worker to leave", () => !isAlive(worker!));
  await first.exited();
  assertEquals((await second.status()).pid, second.pid);
});
