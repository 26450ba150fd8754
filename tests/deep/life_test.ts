/** The life of a supervisor at every moment, by the clock. What it decides: ../supervision_test.ts. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { Held, HOLDING_APP } from "../harness/held.ts";
import {
  firstArgument,
  GATE,
  GATE_FILES,
  GATE_UNVEIL,
  startAsGroup,
  untilHeedsSignals,
  untilWorkers,
  version,
  workersOf,
} from "../harness/life.ts";
import { freePort } from "../harness/ports.ts";
import { holdsListener, isAlive, processesIn, readStatus } from "../harness/process.ts";
import { PLAIN_APP, Project } from "../harness/project.ts";
import { copyRepository } from "../harness/repository_copy.ts";
import { Server } from "../harness/server.ts";
import { sleep, until } from "../harness/wait.ts";

/** What a thread of the supervisor throws takes its workers with it, which may look like a success. */
function assertNoCrash(server: Server): void {
  assert(!server.log.includes("Uncaught"), server.log);
}

/** An app that exits, or hangs, when it is loaded, as a file says; a replacement runs the same app. */
const MOODY = {
  files: {
    "app.ts": `
      let mood = "";
      try {
        mood = Deno.readTextFileSync("./mood/now");
      } catch {
        // It is well.
      }
      if (mood === "exit") Deno.exit(7);
      if (mood === "hang") while (true);
      ${PLAIN_APP}
    `,
    "mood/keep": "",
  },
  config: { unveil: { "./mood": "r" } },
};

Deno.test("the wait between tries grows while workers keep dying, and HUP with good code ends it", async () => {
  await using server = await Server.start(MOODY);
  const { project } = server;
  await project.write("mood/now", "exit");
  Deno.kill((await server.workers())[0]!, "SIGKILL");
  await server.waitFor("worker_start_failed", 4);
  const waits = server.eventsOf("worker_start_failed").map(({ nextTryMs }) => nextTryMs);
  for (const [index, mostMs] of [200, 400, 800, 1600].entries()) {
    const ms = Number(waits[index]);
    assert(ms >= mostMs / 2 && ms <= mostMs, `${waits}`);
  }
  assertStringIncludes(String(server.eventsOf("worker_start_failed")[0]!.reason), "status 7");
  const waiting = server.text("/waits");
  await project.write("app.ts", version("two"));
  assertEquals((await server.hangUp()).event, "reload_done");
  assertEquals(await waiting, "two /waits");
  const failures = server.eventsOf("worker_start_failed").length;
  await until(
    "the crashed generation to end",
    () => server.eventsOf("generation_ended").length === 1,
  );
  // The next try of the old generation was less than two seconds away.
  await sleep(2_500);
  assertEquals(server.eventsOf("worker_start_failed").length, failures);
  assertEquals((await server.status()).generations.map(({ generation }) => generation), [2]);
});

for (const signal of ["SIGTERM", "SIGINT"] as const) {
  Deno.test(`${signal} lets a request in flight finish, and exits 0`, async () => {
    await using server = await Server.start({ files: { "app.ts": HOLDING_APP } });
    const [worker] = await server.workers();
    using held = await Held.begin(server.project);
    server.signal(signal);
    await until("the worker to stop", () => !holdsListener(worker!, server.project.port));
    assertEquals(await held.release(), "one whole");
    assertEquals((await server.exited()).code, 0);
    const { outcome, cut } = await server.waitFor("generation_ended");
    assertEquals([outcome, cut], ["drained", 0]);
  });

  Deno.test(`${signal} while a reload runs ends old and new, and exits 0`, async () => {
    await using server = await Server.start({
      files: { "app.ts": HOLDING_APP, ...GATE_FILES },
      config: { unveil: GATE_UNVEIL },
    });
    using held = await Held.begin(server.project);
    await server.project.write("app.ts", HOLDING_APP + GATE);
    server.signal("SIGHUP");
    await untilWorkers(server, 2);
    server.signal(signal);
    await server.waitFor("stopping");
    assertEquals(await held.release(), "one whole");
    assertEquals((await server.exited()).code, 0);
    assertEquals(server.eventsOf("reload_done").length, 0);
    assertEquals((await server.waitFor("generation_ended")).outcome, "drained");
  });

  Deno.test(`${signal} while it starts ends it with exit 0, and nothing stays`, async () => {
    await using server = await Server.start({
      files: { "app.ts": PLAIN_APP + GATE, ...GATE_FILES },
      config: { unveil: GATE_UNVEIL },
      wait: "nothing",
    });
    await untilWorkers(server, 1);
    server.signal(signal);
    assertEquals((await server.exited()).code, 0);
    assertEquals(server.eventsOf("serving").length, 0);
  });

  Deno.test(`${signal} while a worker waits to be replaced exits 0, without another try`, async () => {
    await using server = await Server.start(MOODY);
    await server.project.write("mood/now", "exit");
    Deno.kill((await server.workers())[0]!, "SIGKILL");
    await server.waitFor("worker_start_failed", 6);
    // The next try is 3 to 6 s away.
    server.signal(signal);
    assertEquals((await server.exited()).code, 0);
    assertEquals(server.eventsOf("worker_start_failed").length, 6);
  });
}

Deno.test("TERM at any moment of the start is exit 0, with nothing left", async () => {
  for (const waitMs of [0, 40, 80, 120, 160, 200, 260]) {
    await using server = await Server.start({ wait: "nothing" });
    await untilHeedsSignals(server);
    await sleep(waitMs);
    server.signal("SIGTERM");
    assertEquals((await server.exited()).code, 0, `${waitMs}: ${server.log}`);
  }
});

Deno.test("a replacement that hangs is killed and tried again, until one comes up", async () => {
  await using server = await Server.start({
    ...MOODY,
    config: { ...MOODY.config, reload: { readyDeadlineMs: 5000 } },
  });
  const { project } = server;
  await project.write("mood/now", "hang");
  Deno.kill((await server.workers())[0]!, "SIGKILL");
  const { reason } = await server.waitFor("worker_start_failed", 2);
  assertStringIncludes(String(reason), "did not load and open the app within 5000 ms");
  const waiting = server.text("/waits");
  await Deno.remove(project.path("mood/now"));
  await server.waitFor("worker_ready", 2);
  assertEquals(await waiting, "one /waits");
  assertEquals(workersOf(project).length, 1);
  assertNoCrash(server);
});

Deno.test("TERM while a replacement hangs ends all with exit 0", async () => {
  await using server = await Server.start({
    ...MOODY,
    config: { ...MOODY.config, reload: { readyDeadlineMs: 3000 } },
  });
  await server.project.write("mood/now", "hang");
  Deno.kill((await server.workers())[0]!, "SIGKILL");
  await server.waitFor("worker_start_failed");
  await untilWorkers(server, 1);
  server.signal("SIGTERM");
  assertEquals((await server.exited()).code, 0);
});

Deno.test("Ctrl-C at any moment of the start or of a reload is exit 0", async () => {
  for (const waitMs of [0, 30, 60, 90, 120, 150, 180, 210, 240]) {
    await using server = startAsGroup(await Project.create());
    await untilHeedsSignals(server);
    await sleep(waitMs);
    Deno.kill(-server.pid, "SIGINT");
    assertEquals((await server.exited()).code, 0, `start + ${waitMs}: ${server.log}`);
  }
  for (const waitMs of [0, 20, 40, 60, 80, 100, 120]) {
    await using server = startAsGroup(await Project.create());
    await server.waitFor("serving");
    server.signal("SIGHUP");
    await sleep(waitMs);
    Deno.kill(-server.pid, "SIGINT");
    assertEquals((await server.exited()).code, 0, `reload + ${waitMs}: ${server.log}`);
  }
});

Deno.test("Ctrl-C while the app's modules are looked at is exit 0, and the look ends with it", async () => {
  // Large enough to be looked at for a while.
  const functions = Array.from(
    { length: 8000 },
    (_, n) => `export function f${n}(a: number) { return a + ${n}; }`,
  );
  for (let round = 0; round < 8; round++) {
    const app = `${PLAIN_APP}// ${crypto.randomUUID()}\n${functions.join("\n")}`;
    await using server = startAsGroup(await Project.create({ files: { "app.ts": app } }));
    const cache = await until(
      "deno cache",
      () => processesIn(server.project.folder).find((pid) => firstArgument(pid) === "cache"),
    );
    // A busy supervisor learns of the signal and of what the signal did to others at the same time.
    server.signal("SIGSTOP");
    await until("it to stand still", () => readStatus(server.pid)?.["State"]?.startsWith("T"));
    Deno.kill(-server.pid, "SIGINT");
    server.signal("SIGCONT");
    assertEquals((await server.exited()).code, 0, server.log);
    await until("the end of deno cache", () => !isAlive(cache));
    assertEquals(server.eventsOf("serving"), []);
  }
});

Deno.test("a supervisor killed in the middle of a reload leaves no process behind", async () => {
  const first = await Server.start({ files: GATE_FILES, config: { unveil: GATE_UNVEIL } });
  const { project } = first;
  await project.write("app.ts", version("two") + GATE);
  first.signal("SIGHUP");
  await untilWorkers(first, 2);
  const old = processesIn(project.folder);
  first.signal("SIGKILL");
  await first.exited();
  await until("old and new to leave", () => !old.some(isAlive));
  await project.write("gate/open", "");
  await using second = await Server.startOn(project);
  assertEquals(await second.text("/"), "two /");
});

/** Copies what runs of the repository, with no entry in its guestbook. */
async function copyExample(): Promise<string> {
  const copy = await Deno.realPath(await Deno.makeTempDir({ prefix: "holdfast_copy_" }));
  await copyRepository(copy);
  await Deno.remove(join(copy, "examples/guestbook/data"), { recursive: true }).catch(() => {});
  await Deno.mkdir(join(copy, "examples/guestbook/data"));
  return copy;
}

Deno.test("deno task start serves the guestbook on 127.0.0.1:8000, and HUP to the supervisor reloads it", async () => {
  const copy = await copyExample();
  const port = freePort();
  const file = join(copy, "examples/guestbook/holdfast.jsonc");
  const config = await Deno.readTextFile(file);
  assertStringIncludes(config, `"127.0.0.1:8000"`);
  // That one may be somebody else's here.
  await Deno.writeTextFile(file, config.replace("127.0.0.1:8000", `127.0.0.1:${port}`));
  const task = new Deno.Command(Deno.execPath(), {
    args: ["task", "start"],
    cwd: copy,
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).spawn();
  let log = "";
  const reading = (async () => {
    for await (const chunk of task.stderr.pipeThrough(new TextDecoderStream())) log += chunk;
  })();
  const eventOf = (name: string) =>
    log.split("\n").filter((line) => line.includes(`"event":"${name}"`)).map((line) =>
      JSON.parse(line)
    )[0];
  let ended = false;
  task.status.then(() => ended = true);
  try {
    const { pid } = await until("serving", () => {
      if (ended) throw new Error(`It ended before it served:\n${log}`);
      return eventOf("serving");
    });
    const page = async () => {
      const response = await fetch(`http://127.0.0.1:${port}/`);
      return [response.status, (await response.text()).toLowerCase().includes("guestbook")];
    };
    assertEquals(await page(), [200, true]);
    Deno.kill(pid, "SIGHUP");
    assertEquals((await until("the reload", () => eventOf("reload_done"))).generation, 2);
    assertEquals(await page(), [200, true]);
    Deno.kill(pid, "SIGTERM");
    assertEquals((await task.status).code, 0, log);
    const refused = await Deno.connect({ hostname: "127.0.0.1", port }).then(
      (connection) => connection.close(),
      (error) => error,
    );
    assert(refused instanceof Deno.errors.ConnectionRefused);
  } finally {
    const pid = eventOf("serving")?.pid;
    if (pid && isAlive(pid)) Deno.kill(pid, "SIGKILL");
    await task.status;
    await reading;
    await Deno.remove(copy, { recursive: true });
  }
});
