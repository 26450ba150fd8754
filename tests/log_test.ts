import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { fstatSync } from "node:fs";
import { join } from "node:path";
import { isJournal } from "../lib/cli/journal_stream.ts";
import { LineWriter } from "../lib/base/log.ts";
import { DEFAULT_OUTPUT_LIMITS, LINE_COST } from "../lib/base/output_limits.ts";
import { askSupervisor } from "../lib/cli/control_client.ts";
import { STDERR_STREAM, withJournal } from "./harness/journal.ts";
import { testWith, whyNoNamespaces } from "./harness/needs.ts";
import { OBEYING_APP, tell } from "./harness/obeying_app.ts";
import { PLAIN_APP, Project, REPOSITORY } from "./harness/project.ts";
import { type LogEvent, Server, supervisorPermissions } from "./harness/server.ts";
import { PATIENCE_MS, until } from "./harness/wait.ts";

const MAX_TEXT = DEFAULT_OUTPUT_LIMITS.lineBytes;

function outputs(server: Server): string[] {
  return server.eventsOf("worker_output").map(({ text }) => String(text));
}

function startCommand(project: Project): string[] {
  const start = [join(REPOSITORY, "main.ts"), "start", "--config", project.configFile];
  return ["run", ...supervisorPermissions(project), ...start];
}

/** Starts with a log that nobody reads. */
function startUnread(project: Project): Deno.ChildProcess {
  return new Deno.Command(Deno.execPath(), {
    args: startCommand(project),
    cwd: REPOSITORY,
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).spawn();
}

async function ask(project: Project): Promise<string> {
  const response = await fetch(`${project.origin}/x`, {
    headers: { connection: "close" },
    signal: AbortSignal.timeout(PATIENCE_MS),
  });
  return await response.text();
}

/** Waits for the end of a supervisor, which {@link startUnread} started; a late one is killed. */
async function exitCode(process: Deno.ChildProcess): Promise<number> {
  const late = setTimeout(() => process.kill("SIGKILL"), PATIENCE_MS);
  const { code } = await process.status;
  clearTimeout(late);
  return code;
}

/** Ends what a failed test has left running. */
async function end(process: Deno.ChildProcess): Promise<void> {
  try {
    process.kill("SIGKILL");
  } catch {
    // It has ended, as it should.
  }
  await process.status;
}

async function statusOf({ runtime }: Project) {
  return (await askSupervisor(runtime, "status", "status")).status;
}

/** Reloads, and gives the outcome. */
async function reload({ runtime }: Project): Promise<string> {
  return (await askSupervisor(runtime, "reload", "reloaded")).result.outcome;
}

/** Waits until a generation serves: of a log that nobody reads, the status tells it alone. */
async function serves(project: Project): Promise<void> {
  await until("a generation that serves", async () => {
    const status = await statusOf(project).catch(() => undefined);
    return status?.generations.some(({ state }) => state === "serving");
  });
}

/** Every line of a log, each of which must be an event. */
function parseLines(text: string): LogEvent[] {
  assert(text.endsWith("\n"), text.slice(-200));
  return text.trimEnd().split("\n").map((line) => {
    const event = JSON.parse(line);
    assertMatch(event.time ?? line, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
    assertMatch(event.level ?? line, /^(info|warn|error)$/);
    assertMatch(event.event ?? line, /^[a-z]+(_[a-z]+)*$/);
    return event;
  });
}

Deno.test("what an app prints is logged as what it is: a worker's text", async (t) => {
  await using server = await Server.start({ files: { "app.ts": OBEYING_APP } });
  /** Has the worker run code, and gives its next so many lines. */
  const printed = async (count: number, code: string): Promise<LogEvent[]> => {
    const before = server.eventsOf("worker_output").length;
    assertEquals((await tell(server, code)).denied, undefined);
    await server.waitFor("worker_output", before + count);
    const events = server.eventsOf("worker_output").slice(before);
    assertEquals(events.length, count);
    return events;
  };
  const texts = async (count: number, code: string) =>
    (await printed(count, code)).map(({ text }) => String(text));

  await t.step("with its generation, number, pid and stream", async () => {
    const [pid] = await server.workers();
    const events = await printed(2, `console.log("to stdout"); console.error("to stderr");`);
    assertEquals(
      events.map(({ stream, text, generation, worker, pid }) => ({
        stream,
        text,
        generation,
        worker,
        pid,
      })).sort((a, b) => String(a.stream).localeCompare(String(b.stream))),
      ["stderr", "stdout"].map((stream) => ({
        stream,
        text: `to ${stream}`,
        generation: 1,
        worker: 1,
        pid: pid!,
      })),
    );
  });

  await t.step("a printed line of 1 MB is cut, and the next one is whole", async () => {
    const [long, after] = await texts(
      2,
      `console.log("<" + "x".repeat(1_000_000) + ">"); console.log("after it");`,
    );
    assertEquals(after, "after it");
    assertEquals(long!.slice(0, MAX_TEXT), "<" + "x".repeat(MAX_TEXT - 1));
    assertEquals(long!.slice(MAX_TEXT), `… (cut at ${MAX_TEXT} bytes)`);
  });

  await t.step("the config says how much of it", async () => {
    await server.project.configure({
      log: { outputLineBytes: 256, outputBurstBytes: 1_024, outputBytesPerSecond: 1_024 },
    });
    await server.project.write(
      "app.ts",
      `${PLAIN_APP}
for (let n = 0; n < 100; n++) console.log("z".repeat(500));`,
    );
    const before = outputs(server).length;
    assertEquals((await server.hangUp()).event, "reload_done");
    const dropped = await until("what was dropped", () => {
      const events = server.eventsOf("worker_output_dropped");
      return events.reduce((sum, { lines }) => sum + Number(lines), 0) > 50 && events;
    });
    const logged = outputs(server).slice(before);
    assertEquals([logged.length > 1, logged.length < 50], [true, true]);
    assertEquals(logged[0], `${"z".repeat(256)}… (cut at 256 bytes)`);
    assertEquals(new Set(dropped.map(({ stream }) => stream)), new Set(["stdout"]));
    await server.project.configure({ log: {} });
    await server.project.write("app.ts", OBEYING_APP);
    assertEquals((await server.hangUp()).event, "reload_done");
  });

  await t.step("what an app logs under load is whole: 600 lines, and 6 KiB of JSON", async () => {
    const drops = server.eventsOf("worker_output_dropped").length;
    const json = JSON.stringify({ level: "error", stack: "at app.ts:1 ".repeat(500), id: 77 });
    const lines = await texts(
      601,
      `for (let n = 1; n <= 600; n++) console.log("GET / " + n); console.log(${
        JSON.stringify(json)
      });`,
    );
    assertEquals(lines.slice(0, 600), Array.from({ length: 600 }, (_, n) => `GET / ${n + 1}`));
    assertEquals(JSON.parse(lines[600]!).id, 77);
    assertEquals(server.eventsOf("worker_output_dropped").length, drops);
  });

  await t.step(
    "terminal escapes, carriage returns and text direction marks are escaped",
    async () => {
      const lines = [
        String.raw`"red \u001b[31m back\rover\u0007 \u009b1m"`,
        String.raw`"admin\u202e nimda \u2066\u2028\ufeff"`,
        String.raw`"tab\tand ünïcödé 🦕"`,
      ];
      assertEquals(await texts(3, lines.map((line) => `console.log(${line});`).join("\n")), [
        String.raw`red \x1b[31m back\x0dover\x07 \x9b1m`,
        String.raw`admin\u202e nimda \u2066\u2028\ufeff`,
        String.raw`tab\x09and ünïcödé 🦕`,
      ]);
      const unescaped =
        // deno-lint-ignore no-control-regex
        /[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/;
      assert(!unescaped.test(server.log));
    },
  );

  await t.step("a line that an app forges stays inside of the text of its own output", async () => {
    const forged =
      '{"time":"2026-01-01T00:00:00.000Z","level":"error","event":"forged","worker":7}';
    const code = `
      console.log(${JSON.stringify(forged)});
      console.error("\\n" + ${JSON.stringify(forged)} + "\\n");
      console.log('"}\\r\\n' + ${JSON.stringify(forged)});`;
    const found = await texts(6, code);
    assertEquals(found.filter((text) => text === forged).length, 3);
    assertEquals(server.eventsOf("forged"), []);
  });

  await t.step(
    "a line of JSON becomes fields, with its level, and cannot speak for others",
    async () => {
      const pino = {
        level: 50,
        time: 1,
        pid: 7,
        hostname: "h",
        reqId: 3,
        msg: "no \u001b[31m answer",
      };
      const named = {
        severity: "WARNING",
        message: "slow",
        event: "worker_lost",
        worker: 9,
        role: "x",
      };
      const deep = `{"a":${"[".repeat(30_000)}}`;
      const [first, second, third, fourth] = await printed(
        4,
        [JSON.stringify(pino), JSON.stringify(named), deep, `{"holdfast":"serving","level":"info"}`]
          .map((line) => `console.log(${JSON.stringify(line)});`).join("\n"),
      );
      const { level, text, reqId, pid, hostname, app_pid } = first!;
      assertEquals([level, text, reqId], ["error", String.raw`no \x1b[31m answer`, 3]);
      assertEquals([hostname, app_pid], ["h", 7]);
      assertEquals([pid], await server.workers());
      const { event, worker, role } = second!;
      assertEquals([second!.level, second!.text, event], ["warn", "slow", "worker_output"]);
      assertEquals([worker === 9, role], [false, "worker"]);
      assertEquals([second!.app_event, second!.app_worker, second!.app_role], [
        "worker_lost",
        9,
        "x",
      ]);
      assertEquals(third!.text, deep);
      assertEquals(fourth!.event, "worker_output");
    },
  );

  await t.step("a stack trace, or an object that was printed, is one event", async () => {
    const [trace, object, after] = await texts(
      3,
      `const cause = new RangeError("the cause");
       console.error(new TypeError("no \\u001b[2J", { cause }));
       console.error({ of: "x".repeat(60), more: "y".repeat(60) });
       console.error("after");`,
    );
    assertMatch(
      trace!,
      /^TypeError: no \\x1b\[2J\n {4}at .*\n[^]*\[cause\]: RangeError: the cause\n[^]*\n\}$/,
    );
    assertMatch(object!, /^\{\n {2}of: "x+",\n {2}more: "y+",?\n\}$/);
    assertEquals(after, "after");
  });

  await t.step(
    "a trace whose last line end comes by itself is one event, over and over",
    async () => {
      const all = await texts(
        20,
        `for (let count = 0; count < 20; count++) {
         console.trace("trace " + count);
         await new Promise((go) => setTimeout(go, 5));
       }`,
      );
      for (const [count, text] of all.entries()) {
        assertMatch(text!, new RegExp(`^Trace: trace ${count}\\n {4}at [^]*\\n {4}at `));
      }
    },
  );

  await t.step("a reason that a worker gives for its failure is escaped and cut", async () => {
    await server.project.write(
      "app.ts",
      String.raw`throw new Error("\u001b[2J" + "bad\u202e ".repeat(50_000));`,
    );
    const refused = await server.hangUp();
    assertEquals(refused.event, "reload_refused");
    assertStringIncludes(String(refused.reason), String.raw`\x1b[2Jbad\u202e`);
    assert(String(refused.reason).length < 20_000);
    // deno-lint-ignore no-control-regex
    assert(!/[\u001b\u202e]/.test(server.log));
  });

  await t.step(
    "last words without a line end are logged before the end of the worker",
    async () => {
      const before = outputs(server).length;
      const app = `Deno.stdout.writeSync(new TextEncoder().encode("last words")); Deno.exit(3);`;
      await server.project.write("app.ts", app);
      assertEquals((await server.hangUp()).event, "reload_refused");
      const printed = outputs(server).slice(before);
      // The exit itself is told beside them.
      assertEquals(printed.filter((text) => !text.startsWith("error: Uncaught exit:")), [
        "last words",
      ]);
      assertEquals(printed.length, 2);
      const index = (event: string) => server.events.findLastIndex((each) => each.event === event);
      assert(index("worker_output") < index("reload_refused"));
    },
  );

  await t.step(
    "an app that prints without end has its lines limited, and each one counted",
    async () => {
      const before = outputs(server).length;
      const drops = server.eventsOf("worker_output_dropped").length;
      const most = 200;
      const count = 5000;
      await server.project.configure({
        log: {
          outputLineBytes: 256,
          outputBurstBytes: most * LINE_COST,
          outputBytesPerSecond: 20 * LINE_COST,
        },
      });
      const app =
        `${PLAIN_APP}for (let line = 0; line < ${count}; line++) console.log("line " + line);`;
      await server.project.write("app.ts", app);
      assertEquals((await server.hangUp()).event, "reload_done");
      const logged = () => outputs(server).slice(before);
      const dropped = () =>
        server.eventsOf("worker_output_dropped").slice(drops)
          .reduce((sum, { lines }) => sum + Number(lines), 0);
      await until("every line to be accounted for", () => logged().length + dropped() >= count);
      assertEquals(logged().length + dropped(), count);
      assert(logged().length > most / 2, `${logged().length} logged`);
      assert(dropped() > count / 2, `${dropped()} dropped`);
      assertEquals(logged()[0], "line 0");
      assertEquals(server.eventsOf("worker_output_dropped")[0]!.level, "warn");
      assertEquals(await server.text("/"), "one /");
    },
  );

  await t.step(
    "each line of the log is one JSON object with time, level, event and facts",
    async () => {
      // The newest: one of an older generation, which may still drain, is not replaced.
      const newest = (await server.workers()).at(-1)!;
      const { generation: before } = server.eventsOf("reload_done").at(-1)!;
      Deno.kill(newest, "SIGKILL");
      const ready = server.eventsOf("worker_ready").length;
      await server.waitFor("worker_ready", ready + 1);
      await server.project.write("app.ts", PLAIN_APP);
      const done = await server.hangUp();
      await server.project.write("app.ts", "export default {");
      const refused = await server.hangUp();
      await server.stop();
      const events = parseLines(server.log);
      const find = (name: string) => {
        const event = events.findLast(({ event }) => event === name);
        assert(event !== undefined, `${name} is not in the log:\n${server.log}`);
        return event;
      };
      const [started] = events.filter(({ event }) => event === "worker_ready");
      assertEquals([started!.level, started!.generation, started!.worker], ["info", 1, 1]);
      assert(Number.isInteger(started!.ms) && Number.isInteger(started!.pid));
      const serving = find("serving");
      assertEquals([serving.pid, serving.generation], [server.pid, 1]);
      assertEquals(serving.listen, [`127.0.0.1:${server.project.port}`]);
      assert(Number.isInteger(serving.ms));
      const lost = find("worker_lost");
      assertEquals([lost.level, lost.generation, lost.pid, lost.how], [
        "error",
        before,
        newest,
        "killed by SIGKILL",
      ]);
      assert(Number.isInteger(lost.worker) && Number.isInteger(lost.livedMs));
      const current = Number(before) + 1;
      assertEquals([done.event, done.outcome, done.generation], ["reload_done", "done", current]);
      assert(Number.isInteger(done.ms));
      assertEquals([refused.event, refused.level, refused.generation], [
        "reload_refused",
        "error",
        current,
      ]);
      assertStringIncludes(String(refused.reason), "app.ts");
      assertStringIncludes(String(refused.hint), "fault of syntax");
      const ended = events.find(({ event, generation }) =>
        event === "generation_ended" && generation === before
      );
      assertEquals([ended?.outcome, ended?.cut], ["drained", 0]);
      for (const name of ["stopping", "stopped"]) find(name);
    },
  );
});

testWith(
  { programs: ["script"] },
  "on a terminal the log is for people: colours, and no JSON",
  async () => {
    await using project = await Project.create();
    const words = [Deno.execPath(), ...startCommand(project)].map((word) => `'${word}'`).join(" ");
    const process = new Deno.Command("script", {
      // Whoever tests may want no colours.
      args: ["--quiet", "--return", "--command", `unset NO_COLOR; ${words}`, "/dev/null"],
      cwd: REPOSITORY,
      env: { SHELL: "/bin/sh", TERM: "xterm" },
      stdin: "null",
      stdout: "piped",
      stderr: "inherit",
    }).spawn();
    const reading = new Response(process.stdout).text();
    await serves(project);
    await askSupervisor(project.runtime, "stop", "stopped");
    const text = await reading;
    assertEquals(await exitCode(process), 0, text);
    const serving = text.split("\n").find((line) => line.includes("serving"));
    // deno-lint-ignore no-control-regex
    const begins = /^(\r\u001b\[K)?\u001b\[2m\d\d:\d\d:\d\d\u001b\[0m \u001b\[32mINFO /;
    assertMatch(serving ?? text, begins);
    assertStringIncludes(serving!, "127.0.0.1:");
    assert(!text.includes('{"'), text);
  },
);

/** Prints more than a pipe holds, and more lines than are allowed at once, whenever it is loaded. */
const LOUD_APP = `${PLAIN_APP}
for (let line = 0; line < 300; line++) console.log("x".repeat(4000) + line);`;

/** Reloads of {@link LOUD_APP} that print more than the 8 MiB that may wait. */
const LOUD_RELOADS = 12;

Deno.test("a log that nobody reads stops nothing; what was dropped is counted when it is read, and its reader may go", async () => {
  await using project = await Project.create({ files: { "app.ts": LOUD_APP } });
  const process = startUnread(project);
  try {
    await serves(project);
    for (let index = 0; index < 3; index++) Deno.kill(process.pid, "SIGHUP");
    for (let index = 0; index < LOUD_RELOADS; index++) assertEquals(await reload(project), "done");
    assertEquals(await ask(project), "one /x");
    const status = await statusOf(project);
    assertEquals([status.pid, status.lastReload!.outcome], [process.pid, "done"]);
    // Those by signal may have become one with the first of the others.
    assert(status.reloads >= LOUD_RELOADS, `${status.reloads} reloads`);

    let text = "";
    const [reader, stderr] = [new TextDecoder(), process.stderr.getReader()];
    const readUntil = async (word: string) => {
      const from = text.length;
      while (!text.slice(from).includes(word)) {
        const { value, done } = await stderr.read();
        if (done) throw new Error(`It ended before it logged ${word}:\n${text.slice(-4000)}`);
        text += reader.decode(value, { stream: true });
      }
    };
    await readUntil("log_dropped");
    assertEquals(await reload(project), "done");
    await readUntil("reload_done");
    const events = parseLines(text.slice(0, text.lastIndexOf("\n") + 1));
    const dropped = events.filter(({ event }) => event === "log_dropped");
    assert(dropped.reduce((sum, { lines }) => sum + Number(lines), 0) > 100, `${dropped}`);

    // From here on, whatever it writes is an error to it.
    await stderr.cancel();
    for (let index = 0; index < 2; index++) assertEquals(await reload(project), "done");
    assertEquals(await ask(project), "one /x");
    await askSupervisor(project.runtime, "stop", "stopped");
    assertEquals(await exitCode(process), 0);
  } finally {
    await end(process);
  }
});

Deno.test("a supervisor whose log nobody reads can be stopped", async () => {
  await using project = await Project.create({ files: { "app.ts": LOUD_APP } });
  const process = startUnread(project);
  try {
    await serves(project);
    Deno.kill(process.pid, "SIGTERM");
    assertEquals(await exitCode(process), 0);
    await process.stderr.cancel();
  } finally {
    await end(process);
  }
});

Deno.test("every line that is lost while stderr fails is counted once it works again", async () => {
  let works = false;
  let text = "";
  const writer = new LineWriter((bytes) => {
    if (!works) return Promise.reject(new Deno.errors.BrokenPipe("nobody reads"));
    text += new TextDecoder().decode(bytes);
    return Promise.resolve(bytes.length);
  });
  const lost = 3000;
  for (let line = 0; line < lost; line++) writer.write(`lost ${line}\n`);
  await writer.flush(5000);
  assertEquals(text, "");
  works = true;
  writer.write("kept\n");
  await writer.flush(5000);
  const [kept, count, ...more] = text.trimEnd().split("\n");
  assertEquals([kept, more], ["kept", []]);
  const { event, lines } = JSON.parse(count!);
  assertEquals([event, lines], ["log_dropped", lost]);
});

Deno.test("a line that comes just as the one before it is out is written at once", async () => {
  for (let turns = 0; turns < 10; turns++) {
    const written: string[] = [];
    const writer = new LineWriter((bytes) => {
      written.push(new TextDecoder().decode(bytes));
      return Promise.resolve(bytes.length);
    });
    writer.write("first\n");
    for (let turn = 0; turn < turns; turn++) await undefined;
    writer.write("second\n");
    await new Promise((resolve) => setTimeout(resolve, 0));
    assertEquals(written.join(""), "first\nsecond\n", `after ${turns} turns`);
  }
});

const NAMESPACES = { missing: whyNoNamespaces() };

/** What a supervisor prints on a pipe where no journal is, and `JOURNAL_STREAM` is what a shell makes of `stream`. */
async function logWithJournal(stream: string, app = PLAIN_APP): Promise<string> {
  const project = await Project.create({ files: { "app.ts": app } });
  const prefix = withJournal(undefined, stream);
  await using server = await Server.startOn(project, { prefix, wait: "nothing" });
  await serves(project);
  await project.write("app.ts", "export default {");
  assertEquals(await reload(project), "refused");
  assertEquals((await server.stop()).code, 0);
  return server.log;
}

testWith(
  NAMESPACES,
  "when the journal reads stderr and takes no entries, each line begins with the priority of its level",
  async () => {
    const lines = (await logWithJournal(STDERR_STREAM, LOUD_APP)).trimEnd().split("\n");
    const priorities = { info: 6, warn: 4, error: 3 };
    const seen = new Set<string>();
    for (const line of lines) {
      const [, priority, json] = /^<(\d)>(.*)$/.exec(line) ?? [];
      const { level } = JSON.parse(json ?? line);
      assertEquals(Number(priority), priorities[level as keyof typeof priorities], line);
      seen.add(level);
    }
    assertEquals([...seen].sort(), ["error", "info", "warn"]);
  },
);

testWith(
  NAMESPACES,
  "a supervisor under systemd whose stderr goes elsewhere prints plain JSON",
  async () => {
    parseLines(await logWithJournal("1:2"));
  },
);

Deno.test("only the exact device and inode of stderr make it the journal's", () => {
  const { dev, ino } = fstatSync(2, { bigint: true });
  assert(isJournal(`${dev}:${ino}`));
  for (const stream of [undefined, "", "1:2", `x${dev}:${ino}`, `${dev}:${ino}0`, `${dev}`]) {
    assert(!isJournal(stream), stream);
  }
});

Deno.test("the count of dropped lines has a priority too where the others do", async () => {
  let works = false;
  let text = "";
  const writer = new LineWriter((bytes) => {
    if (!works) return Promise.reject(new Deno.errors.BrokenPipe("nobody reads"));
    text += new TextDecoder().decode(bytes);
    return Promise.resolve(bytes.length);
  });
  writer.droppedPrefix = "<4>";
  writer.write("<6>lost\n");
  await writer.flush(5000);
  works = true;
  writer.write("<6>kept\n");
  await writer.flush(5000);
  assertMatch(text, /^<6>kept\n<4>\{.*"log_dropped","lines":1\}\n$/);
});
