/** The logger as a process: fed by a real supervisor and real workers, killed, stopped, out of disk. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { OBEYING_APP, tell } from "./harness/obeying_app.ts";
import { countDescriptors, isAlive, readArguments } from "./harness/process.ts";
import { Project } from "./harness/project.ts";
import { type LogEvent, runCommand, Server } from "./harness/server.ts";
import { mountSmall } from "./harness/small_disk.ts";
import { sleep, until } from "./harness/wait.ts";
import { isAllOk, rowsOf, runLoad } from "./load/client.ts";

const QUICK = { drainDeadlineMs: 3_000, idleGraceMs: 500 };

interface LoggingServer {
  readonly server: Server;
  /** Text of a file of the log folder. */
  read(name: string): string;
  /** Events of `holdfast.log`, those of set-aside files too. */
  events(): LogEvent[];
  /** The process of the logger. */
  loggerPid(): Promise<number>;
}

async function start(
  { config = {}, files = {} }: {
    config?: Record<string, unknown>;
    files?: Record<string, string>;
  } = {},
): Promise<LoggingServer> {
  const server = await Server.start({
    config: { log: { folder: "./log", compress: false }, reload: QUICK, ...config },
    files: { "app.ts": OBEYING_APP, ...files },
  });
  return watching(server);
}

function watching(server: Server): LoggingServer {
  const read = (name: string) => Deno.readTextFileSync(server.project.path(`log/${name}`));
  return {
    server,
    read,
    events: () =>
      [...Deno.readDirSync(server.project.path("log"))].map(({ name }) => name)
        .filter((name) => name.startsWith("holdfast.log")).sort()
        .flatMap((name) => read(name).split("\n").filter((line) => line !== ""))
        .map((line) => JSON.parse(line)),
    loggerPid: async () => (await server.status()).logger!.process!.pid,
  };
}

Deno.test("what a worker prints and what it answered is in the log folder, under the worker's true name", async () => {
  const { server, read, events } = await start();
  await using _ = server;
  const forged = JSON.stringify({ time: "x", level: "info", event: "stopped", pid: 1 });
  await tell(
    server,
    `Deno.stderr.writeSync(new TextEncoder().encode(${JSON.stringify(forged)} + "\\n"))`,
  );
  const headers = { "user-agent": 'x" 200 1' };
  await (await server.get('/a"b%0a?c=\u0001', { headers })).text();
  const output = await until(
    "the line",
    () => events().find(({ event }) => event === "worker_output"),
  );
  const [worker] = await server.workers();
  assertEquals([output.role, output.pid, output.generation, output.text], [
    "worker",
    worker,
    1,
    forged,
  ]);
  assertEquals(events().filter(({ event }) => event === "stopped"), []);
  // It is in the files alone.
  assertEquals(server.eventsOf("worker_output"), []);
  const lines = await until("two records", () => {
    const lines = read("access.log").trim().split("\n");
    return lines.length === 2 && lines;
  });
  assertMatch(lines[0]!, /^127\.0\.0\.1 - - \[[^\]]+\] "POST \/ -" 200 \d+ "-" "Deno\/[\d.]+"$/);
  assertMatch(lines[1]!, /"GET \/a[^" ]* -" 200 \d+ "-" "x\\x22 200 1"$/);
});

Deno.test("the logger may write its folder and nothing else, and no other process may touch that", async () => {
  const { server, read, loggerPid } = await start({
    config: { unveil: { "./data/": "rwc" } },
  });
  await using _ = server;
  await server.text("/");
  const folder = server.project.path("log");
  const args = readArguments(await loggerPid());
  assert(args.includes(`--allow-write=${folder}`), args.join(" "));
  for (const denied of ["net", "run", "ffi", "sys", "import"]) {
    assert(args.includes(`--deny-${denied}`), args.join(" "));
  }
  const before = await until("a record", () => read("access.log"));
  for (
    const code of [
      `return Deno.readTextFileSync("${folder}/access.log")`,
      `return Deno.writeTextFileSync("${folder}/access.log", "")`,
      `return Deno.truncateSync("${folder}/access.log")`,
      `return Deno.renameSync("${folder}/access.log", "data/mine")`,
      `return Deno.kill(${await loggerPid()}, "SIGKILL")`,
    ]
  ) assertEquals((await tell(server, code)).denied, "NotCapable", code);
  assertStringIncludes(read("access.log"), before.trim());
  // Positive control: what is unveiled can be written.
  assertEquals((await tell(server, `Deno.writeTextFileSync("data/x", "x"); return 1`)).ok, 1);
});

Deno.test("logs reopen and HUP leave a renamed log file alone and go on in a new one", async () => {
  const { server, read } = await start();
  await using _ = server;
  for (
    const [round, reopen] of [
      () => runCommand(server.project, "logs", "reopen"),
      () => server.hangUp(),
    ].entries()
  ) {
    const mark = `/before_${round}`;
    await server.text(mark);
    await until("the record", () => read("access.log").includes(mark));
    const path = server.project.path("log/access.log");
    await Deno.rename(path, `${path}.old${round}`);
    const result = await reopen();
    if ("code" in result) assertEquals(result.code, 0, JSON.stringify(result));
    await until("another file", () => Deno.stat(path).then(() => true, () => false));
    await server.text(`/after_${round}`);
    await until("the record in it", () => read("access.log").includes(`/after_${round}`));
    assert(!read(`access.log.old${round}`).includes(`/after_${round}`));
  }
});

Deno.test("logs reopen without log files says so", async () => {
  await using server = await Server.start();
  const { code, stderr } = await runCommand(server.project, "logs", "reopen");
  assertEquals(code, 70);
  assertStringIncludes(stderr, "the config has no log.folder");
});

Deno.test("a logger that is killed again and again costs no request, and the supervisor goes on", async () => {
  const { server, read, events, loggerPid } = await start();
  await using _ = server;
  await server.text("/");
  const descriptors = countDescriptors(server.pid);
  const stop = new AbortController();
  let answered = 0;
  const load = (async () => {
    while (!stop.signal.aborted) {
      const { status, body } = await server.get(`/n${answered}`);
      assertEquals(status, 200);
      await body?.cancel();
      answered++;
    }
  })();
  // Its failure shows where it is awaited.
  load.catch(() => {});
  for (let round = 0; round < 5; round++) {
    const before = await loggerPid();
    Deno.kill(before, "SIGKILL");
    await until("another logger", async () => {
      const { logger } = await server.status();
      return logger?.process ? logger.process.pid !== before : false;
    });
  }
  stop.abort();
  await load;
  await server.text("/last");
  await until("the last record", () => read("access.log").includes("/last"));
  assertEquals((await server.status()).logger!.replacements, 5);
  // What the supervisor said while none lived came to the next one.
  await until("every loss", () =>
    events().filter(({ event, role }) => {
      return event === "worker_lost" && role === "logger";
    }).length === 5);
  const asked = new Set(read("access.log").match(/\/n\d+/g));
  assert(asked.size > 0 && asked.size <= answered, `${asked.size} of ${answered}`);
  await until(
    `at most ${descriptors} descriptors`,
    () => countDescriptors(server.pid) <= descriptors,
  );
});

Deno.test("a logger that does not run holds nobody up, and is replaced", async () => {
  const { server, events, loggerPid } = await start();
  await using _ = server;
  const stuck = await loggerPid();
  Deno.kill(stuck, "SIGSTOP");
  const line = "y".repeat(3_000);
  for (let round = 0; round < 20; round++) {
    const print = `for (let n = 0; n < 100; n++) {
      Deno.stderr.writeSync(new TextEncoder().encode("${line}\\n"));
    }`;
    assertEquals((await tell(server, print)).ok, null);
  }
  assertEquals((await server.hangUp()).event, "reload_done");
  assertEquals((await tell(server, "return 1")).ok, 1);
  await until("another logger", async () => {
    const { logger } = await server.status();
    return logger?.process ? logger.process.pid !== stuck : false;
  });
  assertMatch(
    String(server.eventsOf("worker_lost")[0]!.how),
    /^said nothing for \d+ ms \(killed by SIGKILL\)$/,
  );
  await until("the reload in the log", () => events().some(({ event }) => event === "reload_done"));
});

Deno.test("a full log disk costs lines, which are counted, and no request over reloads under load", async () => {
  const app = `export default {
    fetch: () => new Response("generation 1\\n", { headers: { "x-generation": "1" } }),
  };`;
  const project = await Project.create({
    files: { "app.ts": app },
    config: { log: { folder: "./log", compress: false }, reload: QUICK },
  });
  await Deno.mkdir(project.path("log"));
  const disk = await mountSmall(project.path("log"));
  if (!disk) return await project[Symbol.asyncDispose]();
  await using server = await Server.startOn(project);
  await using _disk = {
    // Before the server looks what it has left behind, its folder must be an ordinary one.
    [Symbol.asyncDispose]: async () => {
      await server.stop();
      await disk[Symbol.asyncDispose]();
    },
  };
  const { events } = watching(server);
  const filler = new Uint8Array(4 * 1024 * 1024);
  await Deno.writeFile(project.path("log/filler"), filler).catch(() => {});
  const load = runLoad({
    target: `127.0.0.1:${project.port}`,
    durationMs: 6_000,
    modes: ["close", "keep_alive_20"],
    clients: 4,
  });
  for (let reloads = 0; reloads < 4; reloads++) {
    await sleep(1_000);
    assertEquals((await server.hangUp()).event, "reload_done");
  }
  const report = await load;
  assert(isAllOk(report), JSON.stringify(rowsOf(report)));
  assert(report.total.ok > 0);
  assert(isAlive(server.pid));
  await Deno.remove(project.path("log/filler"));
  const dropped = await until(
    "the count of what is missing",
    () => events().find(({ event, lines }) => event === "log_dropped" && Number(lines) > 0),
  );
  assertEquals(dropped.level, "warn");
});

Deno.test("a reload moves the log, and one without a log folder ends the logger", async () => {
  const { server, read, loggerPid } = await start();
  await using _ = server;
  const first = await loggerPid();
  assertEquals((await server.hangUp()).event, "reload_done");
  assertEquals(await loggerPid(), first, "the same log keeps its logger");
  await server.project.configure({ log: { folder: "./other", access: "json" } });
  assertEquals((await server.hangUp()).event, "reload_done");
  const second = await loggerPid();
  assert(second !== first);
  await until("the first logger's end", () => !isAlive(first));
  await server.text("/moved");
  const moved = server.project.path("other/access.log");
  const record = await until("the record", async () => {
    return (await Deno.readTextFile(moved)).trim() || undefined;
  });
  assertEquals(JSON.parse(record.split("\n").at(-1)!).path, "/moved");
  assert(!read("access.log").includes("/moved"));
  await server.project.configure({ log: {} });
  assertEquals((await server.hangUp()).event, "reload_done");
  await until("the second logger's end", () => !isAlive(second));
  assertEquals((await server.status()).logger, null);
  await tell(server, `Deno.stderr.writeSync(new TextEncoder().encode("on stderr\\n"))`);
  assertEquals((await server.waitFor("worker_output")).text, "on stderr");
});

Deno.test("a log that cannot be written fails the start, and the reload that brings it", async () => {
  await using bad = await Server.start({
    config: { log: { folder: "./log" } },
    files: { "log": "a file" },
    wait: "exit",
  });
  assertEquals((await bad.exited()).success, false);
  assertEquals(bad.eventsOf("serving"), []);
  await using server = await Server.start({ files: { "elsewhere": "a file" } });
  await server.project.configure({ log: { folder: "./elsewhere" } });
  assertEquals((await server.hangUp()).event, "reload_refused");
  assertEquals(await server.text(), "one /");
});
