import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { LineWriter } from "../lib/base/log.ts";
import { STDERR_STREAM, withJournal } from "./harness/journal.ts";
import { PLAIN_APP, Project, REPOSITORY } from "./harness/project.ts";
import { type LogEvent, runCommand, Server, supervisorPermissions } from "./harness/server.ts";
import { PATIENCE_MS, sleep, until } from "./harness/wait.ts";

const MAX_TEXT = 4096;

/** An app that prints `lines` when it is loaded; each is a JavaScript expression. */
function printing(...lines: string[]): string {
  return `${PLAIN_APP}${lines.map((line) => `console.log(${line});\n`).join("")}`;
}

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

async function answers(project: Project): Promise<void> {
  await until("an answer to status", async () => {
    return (await runCommand(project, "status")).code === 0;
  });
  await until("a generation that serves", async () => {
    return (await runCommand(project, "status")).stdout.includes("serving");
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

Deno.test("each line of the log is one JSON object with time, level, event and facts", async () => {
  await using server = await Server.start({ files: { "app.ts": printing('"hello"') } });
  const [first] = await server.workers();
  Deno.kill(first!, "SIGKILL");
  await server.waitFor("worker_ready", 2);
  assertEquals((await server.hangUp()).event, "reload_done");
  await server.project.write("app.ts", "export default {");
  assertEquals((await server.hangUp()).event, "reload_refused");
  await server.stop();
  const events = parseLines(server.log);
  const find = (name: string) => {
    const event = events.find(({ event }) => event === name);
    assert(event !== undefined, `${name} is not in the log:\n${server.log}`);
    return event;
  };
  const ready = find("worker_ready");
  assertEquals([ready.level, ready.generation, ready.worker, ready.pid], ["info", 1, 1, first]);
  assert(Number.isInteger(ready.ms));
  const serving = find("serving");
  assertEquals([serving.pid, serving.generation], [server.pid, 1]);
  assertEquals(serving.listen, [`127.0.0.1:${server.project.port}`]);
  assert(Number.isInteger(serving.ms));
  const lost = find("worker_lost");
  assertEquals([lost.level, lost.generation, lost.worker, lost.pid, lost.how], [
    "error",
    1,
    1,
    first,
    "killed by SIGKILL",
  ]);
  assert(Number.isInteger(lost.livedMs));
  const done = find("reload_done");
  assertEquals([done.outcome, done.generation, Number.isInteger(done.ms)], ["done", 2, true]);
  const refused = find("reload_refused");
  assertEquals([refused.level, refused.generation], ["error", 2]);
  assertStringIncludes(String(refused.reason), "app.ts");
  assertStringIncludes(String(refused.hint), "deno cache");
  const ended = find("generation_ended");
  assertEquals([ended.generation, ended.outcome, ended.cut], [1, "drained", 0]);
  for (const name of ["stopping", "stopped"]) find(name);
});

Deno.test("what a worker prints is logged with its generation, number, pid and stream", async () => {
  const app = `${PLAIN_APP}console.log("to stdout"); console.error("to stderr");`;
  await using server = await Server.start({ files: { "app.ts": app } });
  await server.waitFor("worker_output", 2);
  const [pid] = await server.workers();
  assertEquals(
    server.eventsOf("worker_output").map(({ stream, text, generation, worker, pid }) => ({
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

Deno.test("a printed line of 1 MB is cut, and the next one is whole", async () => {
  await using server = await Server.start({
    files: { "app.ts": printing('"<" + "x".repeat(1_000_000) + ">"', '"after it"') },
  });
  await until("the next line", () => outputs(server).includes("after it"));
  const [long, ...others] = outputs(server);
  assertEquals(others, ["after it"]);
  assertEquals(long!.slice(0, MAX_TEXT), "<" + "x".repeat(MAX_TEXT - 1));
  const more = /^… \((\d+) more\)$/.exec(long!.slice(MAX_TEXT));
  // What comes after the cut is not even kept until the line ends.
  assert(more !== null && Number(more[1]) < 500_000, long!.slice(MAX_TEXT));
});

Deno.test("terminal escapes, carriage returns and text direction marks are escaped", async () => {
  await using server = await Server.start({
    files: {
      "app.ts": printing(
        String.raw`"red \u001b[31m back\rover\u0007 \u009b1m"`,
        String.raw`"admin\u202e nimda \u2066\u2028\ufeff"`,
        String.raw`"tab\tand ünïcödé 🦕"`,
      ),
    },
  });
  await server.waitFor("worker_output", 3);
  assertEquals(outputs(server), [
    String.raw`red \x1b[31m back\x0dover\x07 \x9b1m`,
    String.raw`admin\u202e nimda \u2066\u2028\ufeff`,
    String.raw`tab\x09and ünïcödé 🦕`,
  ]);
  // deno-lint-ignore no-control-regex
  assert(!/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u2028-\u202e\u2066-\u2069]/.test(server.log));
});

Deno.test("a reason that a worker gives for its failure is escaped and cut", async () => {
  await using server = await Server.start();
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

Deno.test("an app that prints without end has its lines limited, and each one counted", async () => {
  const count = 5000;
  const app =
    `${PLAIN_APP}for (let line = 0; line < ${count}; line++) console.log("line " + line);`;
  await using server = await Server.start({ files: { "app.ts": app } });
  const dropped = () =>
    server.eventsOf("worker_output_dropped").reduce((sum, { lines }) => sum + Number(lines), 0);
  await until("every line to be accounted for", () => outputs(server).length + dropped() >= count);
  assertEquals(outputs(server).length + dropped(), count);
  assert(outputs(server).length >= 200, `${outputs(server).length} logged`);
  assert(dropped() > count / 2, `${dropped()} dropped`);
  assertEquals(outputs(server)[0], "line 0");
  assertEquals(server.eventsOf("worker_output_dropped")[0]!.level, "warn");
  assertEquals(await server.text("/"), "one /");
});

Deno.test("a line that an app forges stays inside of the text of its own output", async () => {
  const forged = '{"time":"2026-01-01T00:00:00.000Z","level":"error","event":"forged","worker":7}';
  const app = `${PLAIN_APP}
    console.log(${JSON.stringify(forged)});
    console.error("\\n" + ${JSON.stringify(forged)} + "\\n");
    console.log('"}\\r\\n' + ${JSON.stringify(forged)});`;
  await using server = await Server.start({ files: { "app.ts": app } });
  await until(
    "the forged lines",
    () => outputs(server).filter((text) => text === forged).length === 3,
  );
  assertEquals(server.eventsOf("forged"), []);
  parseLines(server.log);
});

Deno.test("last words without a line end are logged before the end of the worker", async () => {
  const app = `Deno.stdout.writeSync(new TextEncoder().encode("last words")); Deno.exit(3);`;
  await using server = await Server.start();
  await server.project.write("app.ts", app);
  assertEquals((await server.hangUp()).event, "reload_refused");
  const index = (event: string) => server.events.findIndex((each) => each.event === event);
  assertEquals(outputs(server), ["last words"]);
  assert(index("worker_output") < index("reload_refused"));
});

Deno.test("on a terminal the log is for people: colours, and no JSON", async () => {
  await using project = await Project.create();
  const words = [Deno.execPath(), ...startCommand(project)].map((word) => `'${word}'`).join(" ");
  const process = new Deno.Command("script", {
    args: ["--quiet", "--return", "--command", words, "/dev/null"],
    cwd: REPOSITORY,
    env: { SHELL: "/bin/sh", TERM: "xterm" },
    stdin: "null",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const reading = new Response(process.stdout).text();
  await answers(project);
  assertEquals((await runCommand(project, "stop")).code, 0);
  const text = await reading;
  assertEquals(await exitCode(process), 0, text);
  const serving = text.split("\n").find((line) => line.includes("serving"));
  // deno-lint-ignore no-control-regex
  assertMatch(serving ?? text, /^\u001b\[2m\d\d:\d\d:\d\d\.\d{3}\u001b\[0m \u001b\[32mINFO /);
  assertStringIncludes(serving!, "127.0.0.1:");
  assert(!text.includes('{"'), text);
});

/** Prints more than a pipe holds, and more lines than are allowed at once, whenever it is loaded. */
const LOUD_APP = `${PLAIN_APP}
for (let line = 0; line < 300; line++) console.log("x".repeat(4000) + line);`;

Deno.test("a log that nobody reads stops nothing, and what was dropped is counted when it is read", async () => {
  await using project = await Project.create({ files: { "app.ts": LOUD_APP } });
  const process = startUnread(project);
  try {
    await answers(project);
    for (let index = 0; index < 30; index++) {
      Deno.kill(process.pid, "SIGHUP");
      await sleep(100);
    }
    for (let index = 0; index < 12; index++) {
      assertEquals((await runCommand(project, "reload")).code, 0);
    }
    assertEquals(await ask(project), "one /x");
    const status = JSON.parse((await runCommand(project, "status", "--json")).stdout);
    assertEquals([status.pid, status.lastReload.outcome], [process.pid, "done"]);
    assert(status.reloads >= 14, `${status.reloads} reloads`);

    let text = "";
    const reading = (async () => {
      for await (const chunk of process.stderr.pipeThrough(new TextDecoderStream())) text += chunk;
    })();
    await until("the count of what was dropped", () => text.includes("log_dropped"));
    const before = text.length;
    assertEquals((await runCommand(project, "reload")).code, 0);
    await until("the log to go on", () => text.slice(before).includes("reload_done"));
    assertEquals((await runCommand(project, "stop")).code, 0);
    assertEquals(await exitCode(process), 0);
    await reading;
    const events = parseLines(text);
    const dropped = events.filter(({ event }) => event === "log_dropped");
    assert(dropped.reduce((sum, { lines }) => sum + Number(lines), 0) > 100, `${dropped}`);
    assertEquals(events.at(-1)!.event, "stopped");
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

Deno.test("a supervisor whose log nobody reads can be stopped", async () => {
  await using project = await Project.create({ files: { "app.ts": LOUD_APP } });
  const process = startUnread(project);
  try {
    await answers(project);
    Deno.kill(process.pid, "SIGTERM");
    assertEquals(await exitCode(process), 0);
    await process.stderr.cancel();
  } finally {
    await end(process);
  }
});

Deno.test("a supervisor whose log's reader is gone goes on", async () => {
  await using project = await Project.create({ files: { "app.ts": LOUD_APP } });
  const process = startUnread(project);
  try {
    await answers(project);
    await process.stderr.cancel();
    for (let index = 0; index < 3; index++) {
      assertEquals((await runCommand(project, "reload")).code, 0);
    }
    assertEquals(await ask(project), "one /x");
    assertEquals((await runCommand(project, "stop")).code, 0);
    assertEquals(await exitCode(process), 0);
  } finally {
    await end(process);
  }
});

/** Ends what a failed test has left running. */
async function end(process: Deno.ChildProcess): Promise<void> {
  try {
    process.kill("SIGKILL");
  } catch {
    // It has ended, as it should.
  }
  await process.status;
}

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

/** What a supervisor prints on a pipe where no journal is, and `JOURNAL_STREAM` is what a shell makes of `stream`. */
async function logWithJournal(stream: string): Promise<string> {
  await using project = await Project.create({ files: { "app.ts": LOUD_APP } });
  const [command, ...words] = withJournal(undefined, stream);
  const process = new Deno.Command(command!, {
    args: [...words, Deno.execPath(), ...startCommand(project)],
    cwd: REPOSITORY,
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).spawn();
  try {
    const reading = new Response(process.stderr).text();
    await answers(project);
    await project.write("app.ts", "export default {");
    assertEquals((await runCommand(project, "reload")).code, 1);
    assertEquals((await runCommand(project, "stop")).code, 0);
    const text = await reading;
    assertEquals(await exitCode(process), 0, text);
    return text;
  } finally {
    await end(process);
  }
}

Deno.test("when the journal reads stderr and takes no entries, each line begins with the priority of its level", async () => {
  const lines = (await logWithJournal(STDERR_STREAM)).trimEnd().split("\n");
  const priorities = { info: 6, warn: 4, error: 3 };
  const seen = new Set<string>();
  for (const line of lines) {
    const [, priority, json] = /^<(\d)>(.*)$/.exec(line) ?? [];
    const { level } = JSON.parse(json ?? line);
    assertEquals(Number(priority), priorities[level as keyof typeof priorities], line);
    seen.add(level);
  }
  assertEquals([...seen].sort(), ["error", "info", "warn"]);
});

Deno.test("a supervisor under systemd whose stderr goes elsewhere prints plain JSON", async () => {
  parseLines(await logWithJournal("1:2"));
  parseLines(await logWithJournal(`x${STDERR_STREAM}`));
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
