import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { isAlive, processesIn, readArguments, readStatus } from "./harness/process.ts";
import { PLAIN_APP, Project, REPOSITORY } from "./harness/project.ts";
import { runCommand, Server, supervisorPermissions } from "./harness/server.ts";
import { sleep, until } from "./harness/wait.ts";

/** Answers `/slow` after 1.5 s, `/die` never, and everything else at once. */
const APP = `export default {
  async fetch(request) {
    const { pathname } = new URL(request.url);
    if (pathname === "/die") Deno.exit(9);
    if (pathname === "/slow") await new Promise((resolve) => setTimeout(resolve, 1500));
    return new Response("whole " + pathname);
  },
};`;

const SLOW_START = `export const open = () => new Promise((resolve) => setTimeout(resolve, 2000));`;

const SIGNAL_BITS = { SIGHUP: 1n << 0n, SIGINT: 1n << 1n, SIGTERM: 1n << 14n } as const;

function version(text: string): string {
  return PLAIN_APP.replace('"one"', JSON.stringify(text));
}

/** Waits until a process has its own answer to a signal. */
async function catches(pid: number, signal: keyof typeof SIGNAL_BITS): Promise<void> {
  await until(`${signal} to be caught`, () => {
    const caught = readStatus(pid)?.["SigCgt"];
    return caught !== undefined && (BigInt(`0x${caught}`) & SIGNAL_BITS[signal]) !== 0n;
  });
}

/** Starts a supervisor as the leader of a process group, as a terminal does. */
function startAsGroup(project: Project): Server {
  const start = [join(REPOSITORY, "main.ts"), "start", "--config", project.configFile];
  const process = new Deno.Command("setsid", {
    args: [Deno.execPath(), "run", ...supervisorPermissions(project), ...start],
    cwd: REPOSITORY,
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).spawn();
  return new Server(project, process);
}

/** What a thread of the supervisor throws takes its workers with it, which may look like a success. */
function assertNoCrash(server: Server): void {
  assert(!server.log.includes("Uncaught"), server.log);
}

function isWorker(pid: number): boolean {
  try {
    return isAlive(pid) && readArguments(pid).at(-1) === "-";
  } catch {
    return false;
  }
}

/** The workers of a project; other children of its supervisor do not run from standard input. */
function workersOf({ folder }: Project): number[] {
  return processesIn(folder).filter((pid) => isWorker(pid));
}

/** What a process was told to do, if it is still there. */
function firstArgument(pid: number): string | undefined {
  try {
    return readArguments(pid)[1];
  } catch {
    return undefined;
  }
}

/** Sends a request; when it is in flight, gives its answer's text to come. */
async function beginSlow(server: Server): Promise<{ slow: Promise<string> }> {
  const slow = server.text("/slow");
  await until("the request in flight", async () => {
    const { generations } = await server.status();
    return generations.some(({ workers }) => workers[0]?.process?.inFlight === 1);
  });
  return { slow };
}

Deno.test("a worker killed from outside is replaced, and who connects meanwhile is answered", async () => {
  await using server = await Server.start();
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
  const status = await server.status();
  assertEquals(
    status.generations.map(({ generation, replacements }) => [generation, replacements]),
    [
      [1, 1],
    ],
  );
  assert(status.generations[0]!.workers[0]!.process!.pid !== worker);
});

Deno.test("a worker that exits by itself is replaced too", async () => {
  await using server = await Server.start({ files: { "app.ts": APP } });
  await server.text("/die").catch(() => {});
  assertEquals(await server.text("/next"), "whole /next");
  assertEquals((await server.waitFor("worker_lost")).how, "exited with status 9");
});

Deno.test("the wait between tries grows while workers keep dying, and HUP with good code ends it", async () => {
  await using server = await Server.start();
  const { project } = server;
  await project.write("app.ts", "Deno.exit(7);");
  Deno.kill((await server.workers())[0]!, "SIGKILL");
  await server.waitFor("worker_start_failed", 4);
  const waits = server.eventsOf("worker_start_failed").map(({ nextTryMs }) => nextTryMs);
  assertEquals(waits.slice(0, 4), [200, 400, 800, 1600]);
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
  await sleep(2000);
  assertEquals(server.eventsOf("worker_start_failed").length, failures);
  assertEquals((await server.status()).generations.map(({ generation }) => generation), [2]);
});

for (const signal of ["SIGTERM", "SIGINT"] as const) {
  Deno.test(`${signal} lets a request in flight finish, takes no new one, and exits 0`, async () => {
    await using server = await Server.start({ files: { "app.ts": APP } });
    const { slow } = await beginSlow(server);
    server.signal(signal);
    await server.waitFor("stopping");
    await until("the port to be closed", async () => {
      try {
        (await Deno.connect({ hostname: "127.0.0.1", port: server.project.port })).close();
        return false;
      } catch (error) {
        return error instanceof Deno.errors.ConnectionRefused;
      }
    });
    assertEquals(await slow, "whole /slow");
    assertEquals((await server.exited()).code, 0);
    const { outcome, cut } = await server.waitFor("generation_ended");
    assertEquals([outcome, cut], ["drained", 0]);
  });

  Deno.test(`${signal} while a reload runs ends old and new, and exits 0`, async () => {
    await using server = await Server.start({ files: { "app.ts": APP } });
    const { slow } = await beginSlow(server);
    await server.project.write("app.ts", APP + SLOW_START);
    server.signal("SIGHUP");
    await until("the candidate", () => workersOf(server.project).length === 2);
    server.signal(signal);
    assertEquals(await slow, "whole /slow");
    assertEquals((await server.exited()).code, 0);
    assertEquals(server.eventsOf("reload_done").length, 0);
    assertEquals((await server.waitFor("generation_ended")).outcome, "drained");
  });

  Deno.test(`${signal} while it starts ends it with exit 0, and nothing stays`, async () => {
    await using server = await Server.start({
      files: { "app.ts": PLAIN_APP + SLOW_START },
      wait: "nothing",
    });
    await until("the candidate", () => workersOf(server.project).length === 1);
    server.signal(signal);
    assertEquals((await server.exited()).code, 0);
    assertEquals(server.eventsOf("serving").length, 0);
  });

  Deno.test(`${signal} while a worker waits to be replaced exits 0 at once`, async () => {
    await using server = await Server.start();
    await server.project.write("app.ts", "Deno.exit(7);");
    Deno.kill((await server.workers())[0]!, "SIGKILL");
    await server.waitFor("worker_start_failed", 6);
    // The next try is 6 s away.
    server.signal(signal);
    const startMs = performance.now();
    assertEquals((await server.exited()).code, 0);
    assert(performance.now() - startMs < 5000);
  });
}

Deno.test("TERM at any moment of the start is exit 0, with nothing left", async () => {
  for (const waitMs of [0, 40, 80, 120, 160, 200, 260]) {
    await using server = await Server.start({ wait: "nothing" });
    await catches(server.pid, "SIGTERM");
    await sleep(waitMs);
    server.signal("SIGTERM");
    assertEquals((await server.exited()).code, 0, `${waitMs}: ${server.log}`);
  }
});

Deno.test("a second TERM cuts what the first lets finish", async () => {
  const never = APP.replace("1500", "600000");
  await using server = await Server.start({ files: { "app.ts": never } });
  const { slow } = await beginSlow(server);
  const end = slow.then(() => "answered", () => "cut");
  server.signal("SIGTERM");
  await server.waitFor("stopping");
  await sleep(300);
  assertEquals(server.eventsOf("stopped").length, 0);
  server.signal("SIGTERM");
  assertEquals((await server.exited()).code, 0);
  assertEquals(await end, "cut");
  assertEquals(server.eventsOf("cutting").length, 1);
  assertEquals(server.eventsOf("generation_ended")[0]!.outcome, "killed");
  assertNoCrash(server);
});

Deno.test("a worker that does not react is killed after the drain's deadline", async () => {
  const reload = { idleGraceMs: 0, drainDeadlineMs: 0 };
  await using server = await Server.start({ config: { reload } });
  const [worker] = await server.workers();
  Deno.kill(worker!, "SIGSTOP");
  server.signal("SIGTERM");
  assertEquals((await server.waitFor("generation_ended")).outcome, "killed");
  assertEquals((await server.exited()).code, 0);
  assertEquals(isAlive(worker!), false);
  assertNoCrash(server);
});

Deno.test("a replacement that hangs is killed and tried again, until the code on disk is good", async () => {
  await using server = await Server.start({ config: { reload: { readyDeadlineMs: 1000 } } });
  const { project } = server;
  await project.write("app.ts", PLAIN_APP + "while (true);");
  Deno.kill((await server.workers())[0]!, "SIGKILL");
  const { reason } = await server.waitFor("worker_start_failed", 2);
  assertStringIncludes(String(reason), "did not load and open the app within 1000 ms");
  const waiting = server.text("/waits");
  await project.write("app.ts", version("two"));
  await server.waitFor("worker_ready", 2);
  assertEquals(await waiting, "two /waits");
  assertEquals(workersOf(project).length, 1);
  assertNoCrash(server);
});

Deno.test("TERM while a replacement hangs ends all with exit 0", async () => {
  await using server = await Server.start({ config: { reload: { readyDeadlineMs: 1000 } } });
  await server.project.write("app.ts", PLAIN_APP + "while (true);");
  Deno.kill((await server.workers())[0]!, "SIGKILL");
  await server.waitFor("worker_start_failed");
  await until("the next replacement", () => workersOf(server.project).length === 1);
  server.signal("SIGTERM");
  assertEquals((await server.exited()).code, 0);
});

Deno.test("HUP, INT and TERM to a worker itself change nothing: the same pid goes on serving", async () => {
  await using server = await Server.start({ files: { "app.ts": APP } });
  const before = await server.workers();
  const { slow } = await beginSlow(server);
  for (const signal of ["SIGHUP", "SIGINT", "SIGTERM", "SIGTERM"] as const) {
    Deno.kill(before[0]!, signal);
    await sleep(50);
  }
  assertEquals(await slow, "whole /slow");
  assertEquals(await server.text("/more"), "whole /more");
  assertEquals(await server.workers(), before);
  assertEquals(server.eventsOf("worker_lost").length, 0);
});

Deno.test("Ctrl-C reaches the whole process group: all end with exit 0 and no request is lost", async () => {
  await using server = startAsGroup(await Project.create({ files: { "app.ts": APP } }));
  await server.waitFor("serving");
  const { slow } = await beginSlow(server);
  const [worker] = await server.workers();
  Deno.kill(-server.pid, "SIGINT");
  assertEquals(await slow, "whole /slow");
  assertEquals((await server.exited()).code, 0);
  assertEquals(isAlive(worker!), false);
  assertEquals((await server.waitFor("generation_ended")).outcome, "drained");
});

Deno.test("Ctrl-C at any moment of the start or of a reload is exit 0", async () => {
  for (const waitMs of [0, 30, 60, 90, 120, 150, 180, 210, 240]) {
    await using server = startAsGroup(await Project.create());
    await catches(server.pid, "SIGINT");
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
    Deno.kill(-server.pid, "SIGINT");
    await sleep(50);
    server.signal("SIGCONT");
    assertEquals((await server.exited()).code, 0, server.log);
    await until("the end of deno cache", () => !isAlive(cache));
    assertEquals(server.eventsOf("serving"), []);
  }
});

Deno.test("HUP before it serves is neither lost nor fatal", async () => {
  await using server = await Server.start({
    files: { "app.ts": PLAIN_APP + SLOW_START },
    wait: "nothing",
  });
  await catches(server.pid, "SIGHUP");
  server.signal("SIGHUP");
  await until("the candidate", () => workersOf(server.project).length === 1);
  await server.project.write("app.ts", version("two"));
  server.signal("SIGHUP");
  await server.waitFor("serving");
  await server.waitFor("reload_done");
  assertEquals(await server.text("/"), "two /");
});

Deno.test("HUP before a start that fails does not hide why it fails", async () => {
  await using server = await Server.start({
    files: {
      "app.ts": "await new Promise((r) => setTimeout(r, 500)); throw new Error('bad luck');",
    },
    wait: "nothing",
  });
  await catches(server.pid, "SIGHUP");
  server.signal("SIGHUP");
  assertEquals((await server.exited()).code, 75);
  assertStringIncludes(server.log, "bad luck");
});

Deno.test("workers of a killed supervisor finish what is in flight and leave, and a new one starts at once", async () => {
  const first = await Server.start({ files: { "app.ts": APP } });
  const { project } = first;
  const [worker] = await first.workers();
  const { slow } = await beginSlow(first);
  first.signal("SIGKILL");
  // At once: the old worker is still busy with its request.
  await using second = await Server.startOn(project);
  const oldIsThere = isAlive(worker!);
  assertEquals(await second.text("/new"), "whole /new");
  assertEquals(await slow, "whole /slow");
  await until("the old worker to leave", () => !isAlive(worker!));
  await first.exited();
  assert(oldIsThere, "the old worker left before its request was answered");
  assertEquals((await second.status()).pid, second.pid);
});

Deno.test("a supervisor killed in the middle of a reload leaves no process behind", async () => {
  const first = await Server.start();
  const { project } = first;
  await project.write("app.ts", version("two") + SLOW_START);
  first.signal("SIGHUP");
  await until("the candidate", () => workersOf(project).length === 2);
  const old = processesIn(project.folder);
  first.signal("SIGKILL");
  await first.exited();
  await until("old and new to leave", () => !old.some(isAlive));
  await using second = await Server.startOn(project);
  assertEquals(await second.text("/"), "two /");
});

/** The arguments of `deno run` in the task that starts the guestbook. */
async function taskPermissions(): Promise<string[]> {
  const { tasks } = JSON.parse(await Deno.readTextFile(join(REPOSITORY, "deno.json")));
  const command: string = tasks.start.command.replace(/\$\(deno eval '[^']*'\)/, Deno.execPath());
  const words = command.split(" ");
  return words.slice(words.indexOf("run") + 1, words.indexOf("main.ts"));
}

Deno.test("the supervisor runs with the permissions that deno task start names, and no more", async () => {
  await using server = await Server.start();
  const folder = "examples/guestbook/.holdfast";
  const named = (await taskPermissions()).map((word) =>
    word.replace(`--allow-write=${folder}`, `--allow-write=${server.project.folder}`)
  );
  assertEquals([...supervisorPermissions(server.project)].sort(), named.sort());
  const used = readArguments(server.pid);
  for (const all of ["-A", "--allow-all", "--allow-run", "--allow-write"]) {
    assert(!used.includes(all), all);
    assert(!named.includes(all), all);
  }
  for (const permission of named) assert(used.includes(permission), permission);
  // These suffice for a reload, a replacement and a stop too.
  assertEquals((await server.hangUp()).event, "reload_done");
  const [worker] = await server.workers();
  Deno.kill(worker!, "SIGKILL");
  await server.waitFor("worker_ready", 3);
  assertEquals((await runCommand(server.project, "stop")).code, 0);
  assertEquals((await server.exited()).code, 0);
});

Deno.test("a supervisor that serves has given up what it needs no more", async () => {
  const entry = [join(REPOSITORY, "tests/doubles/telling_supervisor.ts")];
  await using server = await Server.start({ entry });
  assertEquals((await server.hangUp()).event, "reload_done");
  assertEquals(server.eventsOf("permissions").map(({ granted }) => granted), [
    ["read", "net", "env", "ffi", "sys"],
    ["read", "net", "env", "ffi"],
  ]);
});

function isFree(port: number): boolean {
  try {
    Deno.listen({ hostname: "127.0.0.1", port }).close();
    return true;
  } catch {
    return false;
  }
}

/** Copies what runs of the repository. */
async function copyRepository(): Promise<string> {
  const copy = await Deno.realPath(await Deno.makeTempDir({ prefix: "holdfast_copy_" }));
  const names = [
    "deno.json",
    "deno.lock",
    "main.ts",
    "supervisor.ts",
    "worker.ts",
    "lib",
    "examples",
  ];
  const { success } = await new Deno.Command("cp", {
    args: ["-r", ...names.map((name) => join(REPOSITORY, name)), copy],
  }).output();
  assert(success);
  await Deno.remove(join(copy, "examples/guestbook/data"), { recursive: true }).catch(() => {});
  await Deno.mkdir(join(copy, "examples/guestbook/data"));
  return copy;
}

Deno.test({
  name:
    "deno task start serves the guestbook on 127.0.0.1:8000, and HUP to the supervisor reloads it",
  ignore: !isFree(8000),
  async fn() {
    const copy = await copyRepository();
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
        const response = await fetch("http://127.0.0.1:8000/");
        return [response.status, (await response.text()).toLowerCase().includes("guestbook")];
      };
      assertEquals(await page(), [200, true]);
      Deno.kill(pid, "SIGHUP");
      assertEquals((await until("the reload", () => eventOf("reload_done"))).generation, 2);
      assertEquals(await page(), [200, true]);
      Deno.kill(pid, "SIGTERM");
      assertEquals((await task.status).code, 0, log);
      assert(isFree(8000));
    } finally {
      const pid = eventOf("serving")?.pid;
      if (pid && isAlive(pid)) Deno.kill(pid, "SIGKILL");
      await task.status;
      await reading;
      await Deno.remove(copy, { recursive: true });
    }
  },
});

Deno.test({
  name: "SKIPPED, since port 8000 is taken: deno task start serves the guestbook",
  ignore: isFree(8000),
  fn() {},
});
