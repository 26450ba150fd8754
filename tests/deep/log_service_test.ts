/** The logger as a process: fed by a real supervisor and real workers, killed, stopped, out of disk. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { MAX_WAITING_BYTES } from "../../lib/logger/log_file.ts";
import { testWith } from "../harness/needs.ts";
import { OBEYING_APP, tell } from "../harness/obeying_app.ts";
import { countDescriptors, isAlive, readArguments } from "../harness/process.ts";
import { Project } from "../harness/project.ts";
import { type LogEvent, runCommand, Server } from "../harness/server.ts";
import { whyNoSmallDisk } from "../harness/small_disk.ts";
import { startOnSmallLog } from "../harness/small_log.ts";
import { sleep, until } from "../harness/wait.ts";
import { isAllOk, rowsOf, runLoad } from "../load/client.ts";

/** How often a logger is killed, and how often somebody asks meanwhile. */
const KILLS = 3;
const PACE_MS = 5;

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

/** A full disk may cut a line off, which is counted with those that it cost. */
function parseEvent(line: string): LogEvent[] {
  try {
    return [JSON.parse(line)];
  } catch {
    return [];
  }
}

function watching(server: Server): LoggingServer {
  const read = (name: string) => Deno.readTextFileSync(server.project.path(`log/${name}`));
  return {
    server,
    read,
    events: () =>
      [...Deno.readDirSync(server.project.path("log"))].map(({ name }) => name)
        .filter((name) => name.startsWith("holdfast.log")).sort()
        // What has no end yet is being written, or waits for room.
        .flatMap((name) => read(name).split("\n").slice(0, -1))
        .flatMap(parseEvent),
    loggerPid: async () => (await server.status()).logger!.process!.pid,
  };
}

Deno.test("one logger writes what a server's processes say and answer, through kills and reloads", async (t) => {
  const { server, read, events, loggerPid } = await start({
    config: { unveil: { "./data/": "rwc" } },
  });
  await using _ = server;

  await t.step(
    "what a worker prints and what it answered is in the log folder, under the worker's true name",
    async () => {
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
      assertMatch(
        lines[0]!,
        /^127\.0\.0\.1 - - \[[^\]]+\] "POST \/ -" 200 \d+ "-" "Deno\/[\d.]+"$/,
      );
      assertMatch(lines[1]!, /"GET \/a[^" ]* -" 200 \d+ "-" "x\\x22 200 1"$/);
    },
  );

  await t.step(
    "the logger may write its folder and nothing else, and no other process may touch that",
    async () => {
      const folder = server.project.path("log");
      const args = readArguments(await loggerPid());
      assert(args.includes(`--allow-write=${folder}`), args.join(" "));
      // Native code is given up by its first lines.
      for (const denied of ["net", "run", "sys", "import"]) {
        assert(args.includes(`--deny-${denied}`), args.join(" "));
      }
      const before = read("access.log");
      for (
        const code of [
          `return Deno.readTextFileSync("${folder}/access.log")`,
          `return Deno.writeTextFileSync("${folder}/access.log", "")`,
          `return Deno.truncateSync("${folder}/access.log")`,
          `return Deno.renameSync("${folder}/access.log", "data/mine")`,
          `return Deno.kill(${await loggerPid()}, "SIGKILL")`,
        ]
      ) {
        const { denied } = await tell(server, code);
        assert(["NotCapable", "NotFound"].includes(denied!), `${code}: ${denied}`);
      }
      assertStringIncludes(read("access.log"), before.trim());
      // Positive control: what is unveiled can be written.
      assertEquals((await tell(server, `Deno.writeTextFileSync("data/x", "x"); return 1`)).ok, 1);
    },
  );

  await t.step(
    "logs reopen and HUP leave a renamed log file alone and go on in a new one",
    async () => {
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
    },
  );

  await t.step(
    "a logger that is killed again and again costs no request, and the supervisor goes on",
    async () => {
      const descriptors = countDescriptors(server.pid);
      const losses = () =>
        events().filter(({ event, role }) => event === "worker_lost" && role === "logger");
      const stop = new AbortController();
      let answered = 0;
      const load = (async () => {
        while (!stop.signal.aborted) {
          const { status, body } = await server.get(`/n${answered}`);
          assertEquals(status, 200);
          await body?.cancel();
          answered++;
          await sleep(PACE_MS);
        }
      })();
      // Its failure shows where it is awaited.
      load.catch(() => {});
      for (let round = 0; round < KILLS; round++) {
        const before = await loggerPid();
        Deno.kill(before, "SIGKILL");
        await until("another logger", async () => {
          const { logger } = await server.status();
          return logger?.process ? logger.process.pid !== before : false;
        });
        // What the supervisor said while none lived came to the next one, which must live to write it.
        await until("the loss in the log", () => losses().length === round + 1);
      }
      stop.abort();
      await load;
      await server.text("/last");
      await until("the last record", () => read("access.log").includes("/last"));
      assertEquals((await server.status()).logger!.replacements, KILLS);
      assertEquals(losses().length, KILLS);
      const asked = new Set(read("access.log").match(/\/n\d+/g));
      assert(asked.size > 0 && asked.size <= answered, `${asked.size} of ${answered}`);
      await until(
        `at most ${descriptors} descriptors`,
        () => countDescriptors(server.pid) <= descriptors,
      );
    },
  );

  await t.step("a reload moves the log, and one without a log folder ends the logger", async () => {
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

  await t.step("logs reopen without log files says so", async () => {
    const { code, stderr } = await runCommand(server.project, "logs", "reopen");
    assertEquals(code, 70);
    assertStringIncludes(stderr, "the config has no log.folder");
  });

  await t.step("a log that cannot be written fails the reload that brings it", async () => {
    await server.project.write("elsewhere", "a file");
    await server.project.configure({ log: { folder: "./elsewhere" } });
    assertEquals((await server.hangUp()).event, "reload_refused");
    assertEquals((await tell(server, "return 1")).ok, 1);
  });
});

testWith(
  { missing: whyNoSmallDisk() },
  "a full log disk costs lines, which are counted, and no request over reloads under load",
  async () => {
    const app = `export default {
    fetch: () => new Response("generation 1\\n", { headers: { "x-generation": "1" } }),
  };`;
    const project = await Project.create({
      files: { "app.ts": app },
      config: { log: { folder: "./log", compress: false }, reload: QUICK },
    });
    await using small = await startOnSmallLog(project);
    const { server } = small;
    const { events } = watching(server);
    const filler = new Uint8Array(4 * 1024 * 1024);
    await Deno.writeFile(project.path("log/filler"), filler).catch(() => {});
    const enough = new AbortController();
    const load = runLoad({
      target: `127.0.0.1:${project.port}`,
      durationMs: 600_000,
      modes: ["close", "keep_alive_20"],
      clients: 2,
      signal: enough.signal,
    });
    load.catch(() => {}); // it is awaited below
    try {
      const path = `/?${"p".repeat(2_000)}`;
      const headers = { referer: "r".repeat(1_000), "user-agent": "u".repeat(500) };
      // More than what waits for the disk at the most, however fast this machine is.
      const count = Math.ceil(1.5 * MAX_WAITING_BYTES / 3_500);
      const reloads = 3;
      for (let asked = 0; asked < count; asked++) {
        assertEquals(await (await server.get(path, { headers })).text(), "generation 1\n");
        if (asked % Math.ceil(count / reloads) === 1) {
          assertEquals((await server.hangUp()).event, "reload_done");
        }
      }
    } finally {
      enough.abort();
      await load;
    }
    const report = await load;
    assert(isAllOk(report), JSON.stringify(rowsOf(report)));
    assert(report.total.ok > 0);
    assert(isAlive(server.pid));
    await Deno.remove(project.path("log/filler"));
    const dropped = await until(
      "the count of what is missing",
      () =>
        events().find(({ event, file, lines }) =>
          event === "log_dropped" && file === "access.log" && Number(lines) > 0
        ),
    );
    assertEquals(dropped.level, "warn");
  },
);

Deno.test("a log that cannot be written fails the start", async () => {
  await using bad = await Server.start({
    config: { log: { folder: "./log" } },
    files: { "log": "a file" },
    wait: "exit",
  });
  assertEquals((await bad.exited()).success, false);
  assertEquals(bad.eventsOf("serving"), []);
});
