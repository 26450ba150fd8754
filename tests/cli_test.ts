import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { Answer } from "../lib/protocol/control.ts";
import { encodeFrame, FrameReader } from "../lib/protocol/frame.ts";
import { openRuntimeFolder } from "../lib/supervisor/runtime_folder.ts";
import type { CommandLine } from "./doubles/many_commands.ts";
import { isAlive, processesIn } from "./harness/process.ts";
import { PLAIN_APP, Project, REPOSITORY } from "./harness/project.ts";
import { type CommandResult, resultOf, Server } from "./harness/server.ts";
import { until } from "./harness/wait.ts";

/** The deadline of the control socket is 5 s; this is far from it on either side of a busy machine. */
const DEADLINE_PATIENCE_MS = 15_000;

/** How long a command, or many of them, may take; what serves although it must not is ended by TERM. */
const COMMAND_PATIENCE_MS = 40_000;

/** Runs the CLI with exactly these arguments, in `cwd`, to its end. */
async function holdfast(args: readonly string[], cwd = REPOSITORY): Promise<CommandResult> {
  const settings = ["--config", join(REPOSITORY, "deno.json")];
  const process = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", ...settings, join(REPOSITORY, "main.ts"), ...args],
    cwd,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const late = setTimeout(() => process.kill("SIGTERM"), COMMAND_PATIENCE_MS);
  const output = await process.output();
  clearTimeout(late);
  const [stdout, stderr] = [output.stdout, output.stderr].map((bytes) =>
    new TextDecoder().decode(bytes)
  );
  return { code: output.code, stdout: stdout!, stderr: stderr! };
}

/** Runs command lines in one process, see many_commands.ts. */
async function runMany(lines: readonly CommandLine[]): Promise<CommandResult[]> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", join(REPOSITORY, "tests/doubles/many_commands.ts")],
    cwd: REPOSITORY,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
    signal: AbortSignal.timeout(COMMAND_PATIENCE_MS),
  }).spawn();
  const output = child.output();
  await new Blob([JSON.stringify(lines)]).stream().pipeTo(child.stdin);
  const { stdout, stderr } = resultOf(await output);
  assert(stdout !== "", stderr);
  const results: CommandResult[] = JSON.parse(stdout);
  assertEquals(results.length, lines.length);
  return results;
}

/** Runs a command of the CLI on a project to its end. */
function runCommand(project: Project, name: string, ...args: string[]): Promise<CommandResult> {
  return holdfast([name, "--config", project.configFile, ...args]);
}

function controlPath(project: Project): string {
  return project.path(".holdfast/control.sock");
}

function dial(project: Project): Promise<Deno.UnixConn> {
  return Deno.connect({ transport: "unix", path: controlPath(project) });
}

/** Who is connected to the control socket, by inode: proc(5) lists what is accepted under its path. */
function clientsOf(project: Project): string[] {
  const CONNECTED = "03";
  const rows = Deno.readTextFileSync("/proc/net/unix").split("\n").map((row) => row.split(/\s+/));
  return rows.flatMap(([, , , , , state, inode = "", path]) =>
    state === CONNECTED && path === controlPath(project) ? [inode] : []
  );
}

/** All that comes until the other side ends the connection. */
async function readToEnd(connection: Deno.Conn): Promise<unknown[]> {
  const frames = new FrameReader(1024 * 1024);
  const values: unknown[] = [];
  const buffer = new Uint8Array(64 * 1024);
  try {
    while (true) {
      const length = await connection.read(buffer);
      if (length === null) return values;
      values.push(...frames.push(buffer.subarray(0, length)));
    }
  } catch {
    // A reset is an end too.
    return values;
  }
}

/** Whether the other side ends the connection in time. */
async function ends(connection: Deno.Conn, patienceMs = DEADLINE_PATIENCE_MS): Promise<boolean> {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<false>((resolve) =>
    timer = setTimeout(() => resolve(false), patienceMs)
  );
  const ended = await Promise.race([readToEnd(connection).then(() => true), late]);
  clearTimeout(timer);
  return ended;
}

function closeQuietly(connection: Deno.Conn): void {
  try {
    connection.close();
  } catch {
    // It was closed by its own failure.
  }
}

function version(text: string): string {
  return PLAIN_APP.replace('"one"', JSON.stringify(text));
}

/** Answers `/slow` once there is a file `data/go`, and everything else at once. */
const GATED_APP = `export default {
  async fetch(request) {
    if (new URL(request.url).pathname === "/slow") {
      while (!await Deno.stat("data/go").then(() => true, () => false)) {
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    }
    return new Response("done");
  },
};`;

Deno.test("a reader that leaves before the end, as head does, is no fault and changes no exit status", async () => {
  await using server = await Server.start();
  const { project } = server;
  const program = `'${Deno.execPath()}' run -A '${join(REPOSITORY, "main.ts")}'`;
  const config = `--config '${project.configFile}'`;
  /** Runs a command in a pipeline of a shell; gives its exit status, and what it said on standard error. */
  const piped = async (command: string, into: string) => {
    // Deno takes far longer to start than `true` to end.
    const script = `{ ${program} ${command}; echo "status $?" >&3; } 3>&2 ${into}`;
    const { stderr } = resultOf(
      await new Deno.Command("sh", { args: ["-c", script], stdin: "null" }).output(),
    );
    return stderr;
  };
  assertEquals(
    await Promise.all([
      piped("--help", "| true"),
      piped(`status ${config}`, "| true"),
      piped(`explain --json ${config}`, "| true"),
      piped(`explain ${config}`, "| head -n 1 >/dev/null"),
      piped(`reload ${config}`, "| true"),
      // What goes wrong is said to nobody.
      piped("status --nonsense", "2>&1 >/dev/null | true"),
      piped("status --nonsense", "2>/dev/full"),
    ]),
    [0, 0, 0, 0, 0, 64, 64].map((status) => `status ${status}\n`),
  );
  const full = await piped("--help", "> /dev/full");
  assertStringIncludes(full, "Cannot print");
  assertStringIncludes(full, "status 71");
});

Deno.test("--help names every command, option and exit status, and exits 0", async () => {
  const { code, stdout, stderr } = await holdfast(["--help"]);
  assertEquals([code, stderr], [0, ""]);
  for (const word of ["start", "check", "reload", "stop", "status", "--config", "--json"]) {
    assertStringIncludes(stdout, word);
  }
  for (const status of ["64", "69", "70", "71", "75", "78"]) assertStringIncludes(stdout, status);
  assertEquals(await runMany([{ args: ["-h"] }, { args: ["help"] }]), [
    { code, stdout, stderr },
    { code, stdout, stderr },
  ]);
});

Deno.test("--version names Holdfast's version and Deno's, and exits 0", async () => {
  const facts = JSON.parse(await Deno.readTextFile(join(REPOSITORY, "deno.json")));
  const stdout = `holdfast ${facts.version} (deno ${Deno.version.deno})\n`;
  assertEquals(await runMany([{ args: ["--version"] }, { args: ["-V"] }]), [
    { code: 0, stdout, stderr: "" },
    { code: 0, stdout, stderr: "" },
  ]);
});

const WRONG_USAGE: [string, string[], string][] = [
  ["no command", [], "No command given"],
  ["an unknown command", ["begin"], "Unknown command begin"],
  ["a mistyped command", ["relaod"], "Did you mean reload?"],
  ["a mistyped command of two words", ["logs", "reopn"], "Did you mean logs reopen?"],
  ["a command that is cut short", ["rel"], "Did you mean reload?"],
  ["a mistyped option", ["status", "--jsno"], "Did you mean --json?"],
  ["a mistyped option with a value", ["check", "--confg=x"], "Did you mean --config?"],
  ["help of an unknown command", ["help", "statsu"], "Did you mean status?"],
  ["the name of an object's own method as a command", ["toString"], "Unknown command toString"],
  ["an unknown option", ["status", "--colour"], "Unknown option --colour"],
  ["an unknown short option", ["status", "-x"], "Unknown option -x"],
  ["an unknown option with a value", ["status", "--port=80"], "Unknown option --port"],
  ["a second argument", ["stop", "now"], "Unexpected argument now"],
  ["an empty argument", ["status", ""], 'Unexpected argument ""'],
  ["an empty command", [""], 'Unknown command ""'],
  ["arguments behind --", ["stop", "--", "--config", "x"], "Unexpected argument --config"],
  ["an option of another command", ["status", "--stress"], "status has no option --stress"],
  ["a value of an option without one", ["status", "--json=1"], "--json takes no value"],
  ["an option that is taken back", ["status", "--no-json"], "Unknown option --no-json"],
  ["an option without its value", ["why", "--log"], "--log needs one file"],
  ["an option twice", ["why", "--log", "a", "--log", "b"], "--log needs one file"],
  ["a release that is none", ["rollback", ""], 'not ""'],
  ["an app that is not there", ["start", "nothing.ts"], "nothing.ts is not there"],
  ["an app that is a folder", ["check", "lib"], "lib is a folder"],
  ["a config as the app", ["start", "x.jsonc"], "write --config x.jsonc"],
  ["--config without a file", ["check", "--config"], "--config needs one file"],
  ["an attempt that is not there", ["audit", "--only", "FR1,EX"], "there is no attempt EX"],
  ["two forms of an audit", ["audit", "--json", "--sarif"], "printed in one form"],
  ["--config twice", ["check", "--config", "a", "--config", "b"], "--config needs one file"],
];

Deno.test("wrong usage is exit 64, and a way to the help", async () => {
  const results = await runMany(WRONG_USAGE.map(([, args]) => ({ args })));
  for (const [index, [what, , message]] of WRONG_USAGE.entries()) {
    const { code, stdout, stderr } = results[index]!;
    assertEquals([code, stdout], [64, ""], what);
    assertStringIncludes(stderr, message);
    assertStringIncludes(stderr, "--help");
  }
  assertEquals(await holdfast(WRONG_USAGE[0]![1]), results[0], "as a process of its own");
});

Deno.test("check says ok with exit 0, opens no socket and makes no runtime folder", async () => {
  await using project = await Project.create({ config: { listen: ["127.0.0.1:1"] } });
  await Deno.chmod(project.folder, 0o755);
  // If it bound anything, this would make it fail.
  using taken = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const socket = project.path("app.sock");
  await project.configure({ listen: [`127.0.0.1:${taken.addr.port}`, `unix:${socket}`] });
  const mark = "marks that the app was run";
  await project.write("app.ts", `${PLAIN_APP}\nconsole.log(${JSON.stringify(mark)});`);
  const { code, stdout, stderr } = await runCommand(project, "check");
  assertEquals([code, stdout, stderr], [0, `${project.configFile}: ok\n`, ""]);
  const names = [...Deno.readDirSync(project.folder)].map(({ name }) => name).sort();
  assertEquals(names, ["app.ts", "holdfast.jsonc"]);
});

Deno.test("check reads ./holdfast.jsonc unless --config names another", async () => {
  await using project = await Project.create();
  await project.write("other.jsonc", "{}");
  const cwd = project.folder;
  const [own, other] = await runMany([
    { args: ["check"], cwd },
    { args: ["check", "--config", "other.jsonc"], cwd },
  ]);
  assertEquals(own!.code, 0);
  assertEquals(other!.code, 78);
  assertStringIncludes(other!.stderr, "other.jsonc:1:1: app: this key is missing");
});

interface WrongConfig {
  readonly config: string;
  readonly app?: string;
  /** Whether a start finds it after it gave up rights: it can be the last in a process alone. */
  readonly late?: true;
  /** What the message must say; `FOLDER` stands for the project's folder. */
  readonly says: readonly string[];
}

const WRONG_CONFIGS: Record<string, WrongConfig> = {
  "a syntax error": {
    config: `{\n  "app": "./app.ts",\n  "listen": ["127.0.0.1:8000",\n}`,
    says: ["FOLDER/holdfast.jsonc:4:1: "],
  },
  "an unknown key": {
    config: `{\n  "app": "./app.ts",\n  "listne": ["127.0.0.1:8000"] }`,
    says: [
      'FOLDER/holdfast.jsonc:3:3: listne: unknown key "listne"; did you mean "listen"?',
      "FOLDER/holdfast.jsonc:1:1: listen: this key is missing",
    ],
  },
  "a value out of bounds": {
    config:
      `{ "app": "./app.ts", "listen": ["127.0.0.1:8000"],\n"reload": { "readyDeadlineMs": 1 } }`,
    says: ["FOLDER/holdfast.jsonc:2:32: reload.readyDeadlineMs: found 1; at least 100"],
  },
  "an app that is not there": {
    config: `{\n  "app": "./nothing.ts",\n  "listen": ["127.0.0.1:8000"] }`,
    says: ['FOLDER/holdfast.jsonc:2:10: app: "FOLDER/nothing.ts" is not a file, or does not exist'],
  },
  "an app that imports what is not there": {
    config: `{ "app": "./app.ts", "listen": ["127.0.0.1:8000"] }`,
    late: true,
    app: `\nimport "./missing.ts";\nexport default { fetch() {} };`,
    says: ["Cannot load the app's modules", "FOLDER/missing.ts", "FOLDER/app.ts:2:8"],
  },
  "an app with a syntax error": {
    config: `{ "app": "./app.ts", "listen": ["127.0.0.1:8000"] }`,
    late: true,
    app: `\n\nexport default {`,
    says: ["Cannot load the app's modules", "FOLDER/app.ts:3:17"],
  },
  "code that the app may write": {
    late: true,
    config: `{ "app": "./app.ts", "listen": ["127.0.0.1:8000"],\n "unveil": { "./app.ts": "rw" } }`,
    says: ["FOLDER/holdfast.jsonc:2:", 'makes writable the app\'s code, "FOLDER/app.ts"'],
  },
};

Deno.test("check and start refuse a wrong config with exit 78 and say where it is", async (t) => {
  await using stack = new AsyncDisposableStack();
  const checks: CommandLine[] = [];
  const starts: CommandLine[] = [];
  const rows = [];
  for (const [what, { config, app, late, says }] of Object.entries(WRONG_CONFIGS)) {
    const files: Record<string, string> = app === undefined ? {} : { "app.ts": app };
    const project = stack.use(await Project.create({ files }));
    await project.write("holdfast.jsonc", config);
    const start = { args: ["start", "--config", project.configFile] };
    checks.push({ args: ["check", "--config", project.configFile] });
    if (!late) starts.push(start);
    rows.push({ what, project, start, says, late, at: starts.length - 1 });
  }
  const checked = await runMany(checks);
  const started = await runMany(starts);
  for (const [index, { what, project, start, says, at, late }] of rows.entries()) {
    await t.step(what, async () => {
      for (const result of [checked[index]!, late ? await holdfast(start.args) : started[at]!]) {
        const { code, stdout, stderr } = result;
        assertEquals([code, stdout], [78, ""], stderr);
        for (const text of says) {
          assertStringIncludes(stderr, text.replaceAll("FOLDER", project.folder));
        }
      }
    });
  }
  assertEquals(await holdfast(checks[0]!.args), checked[0], "as a process of its own");
});

Deno.test("a config path that does not exist is exit 78 for every command, and is named", async () => {
  await using project = await Project.create();
  const missing = project.path("missing.jsonc");
  const names = ["start", "check", "reload", "stop", "status"];
  const results = await runMany(names.map((name) => ({ args: [name, "--config", missing] })));
  for (const [index, { code, stderr }] of results.entries()) {
    assertEquals(code, 78, `${names[index]}: ${stderr}`);
    assertStringIncludes(stderr, missing);
  }
});

Deno.test("where there is no config, that is said, and an app is checked by its name", async () => {
  await using project = await Project.create();
  await Deno.remove(project.configFile);
  const cwd = project.folder;
  const [absent, checked] = await runMany([
    { args: ["check"], cwd },
    { args: ["check", "app.ts"], cwd },
  ]);
  assertEquals(absent!.code, 78);
  for (const says of [project.configFile, "holdfast init", "holdfast start app.ts"]) {
    assertStringIncludes(absent!.stderr, says);
  }
  assertEquals([checked!.code, checked!.stdout], [0, "app.ts: ok\n"]);
});

Deno.test("status, reload and stop without a supervisor are exit 69 and say how to start it", async () => {
  await using project = await Project.create();
  const names = ["status", "reload", "stop"];
  const config = project.configFile;
  const results = await runMany(names.map((name) => ({ args: [name, "--config", config] })));
  for (const [index, { code, stdout, stderr }] of results.entries()) {
    assertEquals([code, stdout], [69, ""], names[index]);
    assertStringIncludes(stderr, `No supervisor answers on ${controlPath(project)}`);
    assertStringIncludes(stderr, "holdfast start");
  }
});

/** What lies in the runtime folder. */
function leftIn(project: Project): string[] {
  return [...Deno.readDirSync(project.runtime)].map(({ name }) => name).sort();
}

Deno.test("a control socket and a lock that a killed supervisor left are replaced", async () => {
  const first = await Server.start();
  const { project } = first;
  const [worker] = await first.workers();
  first.signal("SIGKILL");
  await first.exited();
  const left = [...Deno.readDirSync(project.path(".holdfast"))].map(({ name }) => name)
    .filter((name) => name !== "images").sort();
  assertEquals(await Deno.readTextFile(project.path(".holdfast/.gitignore")), "*\n");
  const { code } = await runCommand(project, "status");
  await until("the worker to leave", () => !isAlive(worker!));
  await using server = await Server.startOn(project);
  assertEquals(left, [".gitignore", "control.sock", "lock", "processes.json"]);
  assertEquals(code, 69);
  assertEquals((await server.status()).pid, server.pid);
  assertEquals(await server.text("/"), "one /");
});

Deno.test("a port that another program holds is exit 71 with the address, and nothing stays", async () => {
  await using project = await Project.create();
  using taken = Deno.listen({ hostname: "127.0.0.1", port: project.port });
  const { code, stderr } = await runCommand(project, "start");
  assertEquals(code, 71);
  assertStringIncludes(stderr, `Cannot listen on 127.0.0.1:${taken.addr.port}: another socket`);
  assertEquals(leftIn(project), [".gitignore"]);
  assertEquals(processesIn(project.folder), []);
});

Deno.test("an app that does not come up at start is exit 75, and nothing stays", async () => {
  await using project = await Project.create({
    files: { "app.ts": "throw new Error('no luck');" },
  });
  const { code, stderr } = await runCommand(project, "start");
  assertEquals(code, 75);
  assertStringIncludes(stderr, "no luck");
  assertEquals(leftIn(project), [".gitignore"]);
  assertEquals(processesIn(project.folder), []);
});

Deno.test("a runtime folder that cannot be used is exit 71 and is named", async () => {
  await using stack = new AsyncDisposableStack();
  const project = stack.use(await Project.create({ files: { "a_file": "text" } }));
  await Deno.symlink(project.folder, project.path("a_link"));
  const unusable = ["/proc/holdfast", project.path("a_file"), project.path("a_link")];
  const lines: CommandLine[] = [];
  // Control: a folder that may be used gets as far as the port.
  for (const [index, runtime] of [...unusable, project.path("a_folder")].entries()) {
    const file = project.path(`${index}.jsonc`);
    const listen = [`127.0.0.1:${project.port}`];
    await project.write(`${index}.jsonc`, JSON.stringify({ app: "./app.ts", listen, runtime }));
    lines.push({ args: ["start", "--config", file] });
  }
  using _taken = Deno.listen({ hostname: "127.0.0.1", port: project.port });
  const results = await runMany(lines);
  for (const [index, runtime] of unusable.entries()) {
    const { code, stderr } = results[index]!;
    assertEquals(code, 71, stderr);
    assertStringIncludes(stderr, runtime);
    assertStringIncludes(stderr, "hint: ");
  }
  assertEquals(await Deno.readTextFile(project.path("a_file")), "text");
  assertStringIncludes(results.at(-1)!.stderr, "Cannot listen on");
});

Deno.test("a runtime folder outside of --allow-write is exit 71 with that as a hint", async () => {
  const runtime = await Deno.makeTempDir();
  await using server = await Server.start({ config: { runtime }, wait: "exit" });
  assertEquals((await server.exited()).code, 71);
  assertStringIncludes(server.log, `Cannot use the runtime folder ${runtime}`);
  assertStringIncludes(server.log, "--allow-write");
  await Deno.remove(runtime);
});

Deno.test("a link that lies in the place of the lock leads to no file being changed", async () => {
  await using project = await Project.create({ files: { "victim": "precious" } });
  await Deno.mkdir(project.path(".holdfast"));
  await Deno.chmod(project.path(".holdfast"), 0o777);
  await Deno.symlink(project.path("victim"), project.path(".holdfast/lock"));
  const { code } = await runCommand(project, "start");
  assertEquals(await Deno.readTextFile(project.path("victim")), "precious");
  assertEquals(code, 71);
});

Deno.test("two never hold one runtime folder, whenever the first lets go of it", async () => {
  const folder = join(await Deno.makeTempDir(), "runtime");
  for (let round = 0; round < 300; round++) {
    const first = await openRuntimeFolder(folder);
    const second = openRuntimeFolder(folder).catch(() => undefined);
    for (let hop = 0; hop < round % 12; hop++) await Deno.lstat("/");
    first.close();
    const holder = await second;
    if (holder === undefined) continue;
    const third = await openRuntimeFolder(folder).catch(() => undefined);
    third?.close();
    assertEquals(third, undefined, `round ${round}`);
    holder.close();
  }
  await Deno.remove(join(folder, ".."), { recursive: true });
});

Deno.test("a running supervisor is asked by commands, from its first status to its stop", async (t) => {
  const project = await Project.create({
    files: { "app.ts": GATED_APP, "data/keep": "" },
    config: { unveil: { "./data/": "r" } },
  });
  // One that was open to everybody is closed.
  await Deno.mkdir(project.path(".holdfast"));
  await Deno.chmod(project.path(".holdfast"), 0o777);
  await using server = await Server.startOn(project);

  await t.step(
    "only the user reaches the control socket: folder 0700, socket 0600, lock 0600",
    async () => {
      const modeOf = async (path: string) => (await Deno.stat(project.path(path))).mode! & 0o777;
      assertEquals(await modeOf(".holdfast"), 0o700);
      assertEquals(await modeOf(".holdfast/control.sock"), 0o600);
      assertEquals(await modeOf(".holdfast/lock"), 0o600);
      assertEquals(
        (await Deno.readTextFile(project.path(".holdfast/lock"))).trim(),
        `${server.pid}`,
      );
    },
  );

  await t.step(
    "status prints a table whose columns line up, without colours",
    async () => {
      const pid = (await server.workers())[0]!;
      const { code, stdout } = await runCommand(project, "status");
      assertEquals(code, 0);
      const lines = stdout.trimEnd().split("\n");
      assertStringIncludes(lines[0]!, project.configFile);
      assertEquals(lines[1], `listening on 127.0.0.1:${project.port}`);
      assertEquals(lines[2], "never reloaded");
      const [head, supervisor, worker, ...more] = lines.slice(4);
      assertEquals(more, []);
      assertMatch(head!, /^ROLE +STATE +GEN +PID +AGE +IN FLIGHT +ANSWERED +MEMORY/);
      assertMatch(supervisor!, new RegExp(`^supervisor +${server.pid} +\\d+s +\\d+ MiB`));
      assertMatch(worker!, new RegExp(`^worker +serving +1 +${pid} +\\d+s +0 +0 +\\d+ MiB`));
      const endOf = (row: string, text: string) => row.indexOf(text) + text.length;
      assertEquals(endOf(supervisor!, `${server.pid}`), endOf(head!, "PID"));
      assertEquals(worker!.indexOf("serving"), head!.indexOf("STATE"));
      assert(lines.every((line) => line.length <= 80), stdout);
      const wide = (await runCommand(project, "status", "--wide")).stdout;
      assertMatch(
        wide.trimEnd().split("\n").at(-1)!,
        new RegExp(
          `^worker +serving +1 +${pid} +\\d+s +0 +0 +\\d+ MiB +0 +0 +0 +${Deno.uid()} +kernel +\\d+ +native +0 +\\d+$`,
        ),
      );
      // deno-lint-ignore no-control-regex
      assert(!/[\u001b\u2500-\u257f]/.test(stdout), stdout);
      assert(lines.every((line) => line === line.trimEnd()));
    },
  );

  await t.step(
    "status --json names processes, generations, traffic and the last reload",
    async () => {
      const ask = async () => {
        const { code, stdout } = await runCommand(project, "status", "--json");
        assertEquals(code, 0);
        assertMatch(stdout, /^\{.*\}\n$/);
        // The command adds what the kernel says of each process.
        const said = JSON.parse(stdout, (key, value) => key === "filters" ? undefined : value);
        const answer = Answer.parse({ type: "status", status: said });
        assert(answer.type === "status");
        return answer.status;
      };
      const first = await ask();
      assertEquals(first.pid, server.pid);
      assertEquals(first.config, project.configFile);
      assertEquals(first.listeners, [`127.0.0.1:${project.port}`]);
      assertEquals([first.reloads, first.lastReload, first.ended], [0, null, []]);
      assertEquals(first.generations.map(({ generation, state }) => [generation, state]), [[
        1,
        "serving",
      ]]);
      assert(isAlive(first.generations[0]!.workers[0]!.process!.pid));
      assert(first.ageMs >= first.generations[0]!.ageMs);
      await until("the descriptors as proc(5) lists them", async () => {
        const { pid, descriptors } = (await server.status()).generations[0]!.workers[0]!.process!;
        return descriptors === [...Deno.readDirSync(`/proc/${pid}/fd`)].length;
      });

      await server.text("/");
      const slow = server.text("/slow");
      const busy = await until("the request in flight", async () => {
        const worker = (await server.status()).generations[0]!.workers[0]!.process;
        return worker?.inFlight === 1 ? worker : undefined;
      });
      assertEquals([busy.accepted, busy.answered, busy.connections], [2, 1, 1]);

      assertEquals((await server.reload()).outcome, "done");
      const during = await ask();
      assertEquals(
        during.generations.map(({ generation, state }) => [generation, state]),
        [[1, "draining"], [2, "serving"]],
      );
      assertEquals([during.lastReload!.outcome, during.lastReload!.generation], ["done", 2]);
      await project.write("data/go", "");
      assertEquals(await slow, "done");
      const after = await until("the end of the drain", async () => {
        const status = await server.status();
        return status.generations.length === 1 && status;
      });
      assertEquals(
        after.ended.map(({ generation, answered, cut, outcome }) => [
          generation,
          answered,
          cut,
          outcome,
        ]),
        [[1, 1, 0, "drained"]],
      );

      await project.write("app.ts", "export default {");
      assertEquals((await server.reload()).outcome, "refused");
      const last = (await ask()).lastReload!;
      assertEquals([last.outcome, last.generation], ["refused", 2]);
      assertStringIncludes(last.reason!, "app.ts");
    },
  );

  await t.step(
    "a second start is exit 71 and names the pid of the first, which is untouched",
    async () => {
      await project.write("app.ts", PLAIN_APP);
      assertEquals((await server.reload()).outcome, "done");
      const before = await until("one generation", async () => {
        const status = await server.status();
        return status.generations.length === 1 && status;
      });
      const { code, stderr } = await runCommand(project, "start");
      assertEquals(code, 71);
      assertStringIncludes(stderr, `Already running, pid ${server.pid}:`);
      assertEquals(await server.text("/"), "one /");
      const after = await server.status();
      const pidsOf = ({ generations }: typeof before) =>
        generations.flatMap(({ workers }) => workers.map(({ process }) => process?.pid));
      assertEquals(pidsOf(after), pidsOf(before));
      assertEquals(after.reloads, before.reloads);
      assertEquals((await server.reload()).outcome, "done");
    },
  );

  await t.step(
    "reload waits for its outcome: 0 and the generation, or 1 and the reason",
    async () => {
      const current = (await server.status()).lastReload!.generation;
      const slowly =
        "export const open = () => new Promise((resolve) => setTimeout(resolve, 1500));";
      await project.write("app.ts", version("two") + slowly);
      const done = await runCommand(project, "reload");
      assertEquals([done.code, done.stderr], [0, ""]);
      const [, generation, ms] = /^Generation (\d+) serves after (\d+) ms\n$/.exec(done.stdout) ??
        [];
      assertEquals(Number(generation), current + 1, done.stdout);
      assert(Number(ms) >= 1500, done.stdout);
      assertEquals(await server.text("/"), "two /");
      await project.write("app.ts", "throw new Error('out of luck');");
      const { code, stdout, stderr } = await runCommand(project, "reload");
      assertEquals([code, stdout], [1, ""]);
      assertStringIncludes(
        stderr,
        `The new version was refused, generation ${generation} keeps serving: `,
      );
      assertStringIncludes(stderr, "out of luck");
      assertEquals(await server.text("/"), "two /");
    },
  );

  await t.step("a reload goes on when the one who asked for it hangs up", async () => {
    const before = server.eventsOf("reload_done").length;
    await project.write("app.ts", version("three"));
    const connection = await dial(project);
    await connection.write(encodeFrame({ type: "reload" }));
    connection.close();
    await server.waitFor("reload_done", before + 1);
    assertEquals(await server.text("/"), "three /");
  });

  await t.step("what is no question on the control socket is refused with the reason", async () => {
    const reloads = server.eventsOf("reload_done").length;
    const wrong: Record<string, [Uint8Array, RegExp]> = {
      garbage: [new TextEncoder().encode("GET / HTTP/1.1\r\n\r\n"), /allowed are 1024/],
      "an oversized frame": [new Uint8Array([255, 255, 255, 255, 1]), /allowed are 1024/],
      "no JSON": [new Uint8Array([0, 0, 0, 3, 255, 254, 253]), /3 bytes/],
      "an unknown question": [encodeFrame({ type: "exec" }), /Invalid/],
      "a question with more in it": [encodeFrame({ type: "status", path: "/etc" }), /path/],
      "a list": [encodeFrame(["stop"]), /Invalid/],
    };
    for (const [what, [bytes, reason]] of Object.entries(wrong)) {
      const connection = await dial(server.project);
      await connection.write(bytes);
      const [answer, ...more] = await readToEnd(connection) as { type: string; reason: string }[];
      connection.close();
      assertEquals([answer?.type, more], ["refused", []], what);
      assertMatch(answer!.reason, reason);
    }
    // Control: the same words, as they should be.
    const connection = await dial(server.project);
    await connection.write(encodeFrame({ type: "status" }));
    const answer = Answer.parse((await readToEnd(connection))[0]);
    connection.close();
    assertEquals(answer.type, "status");
    assertEquals(server.eventsOf("reload_done").length, reloads);
    assertEquals(await server.text("/"), "three /");
  });

  await t.step(
    "clients that are silent, drip, or never hang up are cut off by the deadline, and block nobody for ever",
    async () => {
      const clients = await Promise.all([1, 2, 3].map(() => dial(project)));
      const [silent, half, dripping] = clients;
      await half!.write(encodeFrame({ type: "status" }).subarray(0, 7));
      const drops = new Uint8Array(1000).fill(32);
      new DataView(drops.buffer).setUint32(0, 996);
      let dripped = 0;
      const drip = setInterval(() => {
        dripping!.write(drops.subarray(dripped, ++dripped)).catch(() => clearInterval(drip));
      }, 250);
      // More than may be connected at once, some of which ask and do not hang up.
      for (let index = 0; index < 200; index++) {
        const connection = await dial(project);
        if (index % 2 === 1) {
          await connection.write(encodeFrame({ type: "status" })).catch(() => {});
        }
        clients.push(connection);
      }
      assertEquals(await server.text("/"), "three /");
      const [silentEnds, halfEnds, drippingEnds] = await Promise.all(
        [silent!, half!, dripping!].map((each) => ends(each)),
      );
      clearInterval(drip);
      assertEquals({ silentEnds, halfEnds, drippingEnds }, {
        silentEnds: true,
        halfEnds: true,
        drippingEnds: true,
      });
      await until(
        "an answer to status",
        () => server.status().then(({ pid }) => pid === server.pid, () => false),
        DEADLINE_PATIENCE_MS,
      );
      clients.forEach(closeQuietly);
    },
  );

  await t.step("status reaches the supervisor while the config on disk is broken", async () => {
    const texts = [
      `{ "app": "./gone.ts", "listen": ["127.0.0.1:${project.port}"] }`,
      `{ "app": "./app.ts", "listne": [] }`,
      `{ "app": "./app.ts", `,
    ];
    const lines: CommandLine[] = [];
    for (const [index, text] of texts.entries()) {
      await project.write(`broken_${index}.jsonc`, text);
      lines.push({ args: ["status", "--config", project.path(`broken_${index}.jsonc`)] });
    }
    assertEquals((await runMany(lines)).map(({ code }) => code), [0, 0, 0]);
  });

  await t.step(
    "stop, with a broken config too, lets requests in flight finish, waits until all is gone, and exits 0",
    async () => {
      await Deno.remove(project.path("data/go"));
      await project.write("app.ts", GATED_APP);
      assertEquals((await server.reload()).outcome, "done");
      const pids = [server.pid, ...await server.workers()];
      const slow = server.text("/slow");
      await until("the request in flight", async () => {
        const { generations } = await server.status();
        return generations.some(({ workers }) =>
          workers.some(({ process }) => process?.inFlight === 1)
        );
      });
      const broken = project.path("broken_2.jsonc");
      const stopping = Promise.all([
        runCommand(project, "stop"),
        holdfast(["stop", "--config", broken]),
      ]);
      // Each asks for the status before, on a connection of its own.
      let seen: string[] = [];
      await until("both to be connected, and to wait", () => {
        const before = seen.join();
        seen = clientsOf(project);
        return seen.length === 2 && seen.join() === before;
      });
      assert(isAlive(pids.at(-1)!));
      await project.write("data/go", "");
      const stops = await stopping;
      // The worker is gone, and so are the port and the runtime folder's files, when stop says so.
      assertEquals(processesIn(project.folder), []);
      assertEquals(leftIn(project), [".gitignore", "images"]);
      Deno.listen({ hostname: "127.0.0.1", port: project.port }).close();
      assertEquals(stops.map(({ code, stderr }) => [code, stderr]), [[0, ""], [0, ""]]);
      for (const { stdout } of stops) {
        assertMatch(stdout, /^Stopped pid \d+ after \d+ ms, with 1 request in flight: it served /);
        assertStringIncludes(stdout, `${project.configFile} on 127.0.0.1:${project.port}\n`);
        assertStringIncludes(stdout, `pid ${server.pid} `);
      }
      assertEquals(await slow, "done");
      assertEquals((await server.exited()).code, 0);
      assertEquals(pids.filter(isAlive), []);
      assertEquals((await runCommand(project, "stop")).code, 69);
    },
  );
});
