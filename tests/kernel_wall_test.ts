/** The kernel's layer of the wall, around real workers: also those for which Deno's does not count. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { ANY_CALLS, type AnyCall, anyNumberOf } from "../lib/sandbox/absent_calls.ts";
import { encodeProgram, seccompProgram } from "../lib/sandbox/seccomp.ts";
import { laterProgram } from "../lib/child/later_program.ts";
import { ALARMS, type Arch, numberOf, type SystemCall } from "../lib/sandbox/system_calls.ts";
import { AUDIT_ARCH, describeAnswer, runProgram, stricterOf } from "./harness/bpf.ts";
import { LATE_DESCRIPTORS } from "./harness/besieged.ts";
import { countDescriptors, isAlive, readStatus } from "./harness/process.ts";
import { denial, OBEYING_APP, tell } from "./harness/obeying_app.ts";
import { testWith } from "./harness/needs.ts";
import { Project, REPOSITORY } from "./harness/project.ts";
import { runCommand, Server, type ServerOptions, supervisorPermissions } from "./harness/server.ts";
import { until } from "./harness/wait.ts";
import { freePort } from "./harness/ports.ts";

const DOUBLES = join(REPOSITORY, "tests/doubles");

/** An app that does what it is told, by system calls too. */
const NATIVE_APP = `export { default } from "file://${DOUBLES}/native_app.ts";`;

/** No capability, as proc(5) shows a set of them. */
const NONE = "0".repeat(16);

const EPERM = 1;
const ENOSYS = 38;

/** What the code returns, in the worker. */
async function result(server: Server, code: string): Promise<unknown> {
  const outcome = await tell(server, code);
  assertEquals(outcome.denied, undefined, `${code}: ${outcome.message}`);
  return outcome.ok;
}

/** A server with an app that obeys; data/ is unveiled with all rights, and nothing else. */
async function start(options: ServerOptions = {}): Promise<Server> {
  const { files, config, ...more } = options;
  return await Server.start({
    files: { "app.ts": OBEYING_APP, "data/file.txt": "data", "secret.txt": "secret", ...files },
    config: { unveil: { "./data": "rwc" }, ...config },
    ...more,
  });
}

/** The same, with every permission of Deno in its workers. */
async function startWide(options: ServerOptions = {}): Promise<Server> {
  const { files, config, ...more } = options;
  return await start({
    files: { "app.ts": NATIVE_APP, ...files },
    config: { onViolation: "log", ...config },
    entry: [join(DOUBLES, "wide_supervisor.ts")],
    ...more,
  });
}

type Listed = ReturnType<typeof serveText>;
type Case = (server: Server, listed: Listed) => Promise<void>;

/** What is tried on one server each, in this order. */
const PLAIN_CASES: [name: string, run: Case][] = [];
const WIDE_CASES: [name: string, run: Case][] = [];
const FORKING_CASES: [name: string, run: Case][] = [];

/** In a worker as it ships. */
function plainCase(name: string, run: Case): void {
  PLAIN_CASES.push([name, run]);
}

/** In a worker that Deno lets do everything. */
function wideCase(name: string, run: Case): void {
  WIDE_CASES.push([name, run]);
}

const FILES = {
  "data/file.txt": "data",
  "other/file.txt": "other",
  "readable/file.txt": "readable",
  "outer/file.txt": "outer",
  "outer/inbox/file.txt": "inbox",
  "secret.txt": "secret",
};

const UNVEIL = {
  "./data": "rwc",
  "./other": "rwc",
  "./readable": "r",
  "./outer": "r",
  "./outer/inbox": "rwc",
};

/** In one whose filter has a hole besides. */
function forkingCase(name: string, run: Case): void {
  FORKING_CASES.push([name, run]);
}

/** Runs them, and puts everything back that one has changed. */
async function runCases(
  t: Deno.TestContext,
  cases: readonly [name: string, run: Case][],
  server: Server,
  listed: Listed,
): Promise<void> {
  const { project } = server;
  for (const [name, run] of cases) {
    await t.step(name, () => run(server, listed));
    for (const folder of ["data", "other"]) {
      // The folder itself stays: the wall is about it, and not about its name.
      for (const entry of Deno.readDirSync(project.path(folder))) {
        await Deno.remove(project.path(`${folder}/${entry.name}`), { recursive: true });
      }
    }
    for (const [path, text] of Object.entries(FILES)) await project.write(path, text);
  }
}

/** The events from here on. */
function following(server: Server) {
  const before = server.events.length;
  const of = (event: string) => server.events.slice(before).filter((each) => each.event === event);
  return {
    of,
    wait: (event: string, count = 1) =>
      until(`${count} ${event} in the log`, () => of(event)[count - 1]),
  };
}

function nativeTest(name: string, fn: Deno.TestDefinition["fn"]): void {
  // Native code is written for one architecture.
  testWith({ missing: Deno.build.arch === "x86_64" ? undefined : "not x86_64" }, name, fn);
}

async function workerPid(server: Server): Promise<number> {
  const [pid] = await server.workers();
  assert(pid !== undefined && isAlive(pid));
  return pid;
}

/** How often the worker asked in vain, as the status has it. */
async function deniedOf(server: Server): Promise<number> {
  return (await server.status()).generations[0]!.workers[0]!.process!.denied;
}

/** Waits for a worker that is not `before`. */
async function nextWorker(server: Server, before: number): Promise<number> {
  return await until(
    "another worker",
    async () => (await server.workers()).find((pid) => pid !== before),
  );
}

/** A system call as code. */
function callCode(call: SystemCall, ...args: string[]): string {
  return `native.call(${[numberOf(call, Deno.build.arch as Arch), ...args].join(", ")})`;
}

// ---- how a worker is held ----

/** Starts a supervisor as a shell with other limits and descriptors does. */
function startInShell(project: Project, prelude: string): Server {
  const start = [join(REPOSITORY, "main.ts"), "start", "--config", project.configFile];
  const process = new Deno.Command("sh", {
    args: [
      "-c",
      `${prelude}; exec "$0" "$@"`,
      Deno.execPath(),
      ...["run", ...supervisorPermissions(project), ...start],
    ],
    cwd: REPOSITORY,
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).spawn();
  return new Server(project, process);
}

/** The limits of a process by their names, soft and hard. */
function readLimits(pid: number): Record<string, [soft: string, hard: string]> {
  const [, ...lines] = Deno.readTextFileSync(`/proc/${pid}/limits`).trim().split("\n");
  return Object.fromEntries(
    lines.map((line) => {
      const [, name, soft, hard] = /^(.{25}) (\S+)\s+(\S+)/.exec(line)!;
      return [name!.trim(), [soft!, hard!]];
    }),
  );
}

function processGroup(pid: number): number {
  const text = Deno.readTextFileSync(`/proc/${pid}/stat`);
  return Number(text.slice(text.lastIndexOf(")") + 2).split(" ")[2]);
}

/** What the descriptors of a process are. */
function descriptors(pid: number): Record<string, string> {
  const folder = `/proc/${pid}/fd`;
  const names = [...Deno.readDirSync(folder)].map(({ name }) => name);
  return Object.fromEntries(names.flatMap((name) => {
    try {
      return [[name, Deno.readLinkSync(`${folder}/${name}`)]];
    } catch {
      // It was closed while we looked.
      return [];
    }
  }));
}

plainCase(
  "every thread of a worker is confined, also in a replacement and after a reload",
  async (server) => {
    const filters = Number(readStatus(server.pid)!.Seccomp_filters);
    const assertConfined = async () => {
      const pid = await workerPid(server);
      // A Worker of the app is a thread too.
      const code = `const url = "data:text/javascript,postMessage(0)";
      globalThis.thread ??= new Worker(url, { type: "module" });
      await new Promise((resolve) => globalThis.thread.onmessage = resolve);`;
      await result(server, code);
      const threads = [...Deno.readDirSync(`/proc/${pid}/task`)].map(({ name }) => Number(name));
      assert(threads.length > 1, `${threads}`);
      for (const thread of threads) {
        const status = readStatus(thread);
        assertEquals([status?.NoNewPrivs, status?.Seccomp], ["1", "2"], `thread ${thread}`);
        // The supervisor's own one, and the worker's two.
        assertEquals(Number(status?.Seccomp_filters), filters + 2, `thread ${thread}`);
      }
      return pid;
    };
    const first = await assertConfined();
    // The status says so too, which has it from the kernel.
    const { stdout } = await runCommand(server.project, "status", "--json");
    const [{ workers }] = JSON.parse(stdout).generations;
    assertEquals([workers[0].process.pid, workers[0].process.filters], [first, 2]);
    Deno.kill(first, "SIGKILL");
    await nextWorker(server, first);
    await assertConfined();
    assertEquals((await server.hangUp()).event, "reload_done");
    await until("one generation", async () => (await server.status()).generations.length === 1);
    await assertConfined();
  },
);

plainCase("no file of a worker grows past its limit, and requests go on", async (server) => {
  const { of } = following(server);
  const write = (bytes: number) => `Deno.writeFileSync("data/large", new Uint8Array(${bytes}))`;
  assertEquals(await tell(server, write(1_048_576)), { ok: null });
  const { denied, message } = await tell(server, write(1_048_577));
  assert(denied !== undefined && message?.includes("File too large"), `${denied}: ${message}`);
  assertEquals(await result(server, `return Deno.statSync("data/large").size`), 1_048_576);
  assertEquals(of("worker_lost"), []);
});

plainCase(
  "a worker whose folder is gone comes back with the folder, and no try leaves anything",
  async (server) => {
    const log = following(server);
    const folder = server.project.path("data");
    const threads = () => [...Deno.readDirSync(`/proc/${server.pid}/task`)].length;
    const pid = await workerPid(server);
    await Deno.rename(folder, `${folder}_away`);
    Deno.kill(pid, "SIGKILL");
    const { reason } = await log.wait("worker_start_failed");
    assertStringIncludes(`${reason}`, `Cannot open ${folder} for its Landlock rule`);
    const before = [countDescriptors(server.pid), threads()] as const;
    await log.wait("worker_start_failed", 4);
    await until("the descriptors of three more tries", () => {
      return countDescriptors(server.pid) <= before[0] + LATE_DESCRIPTORS && threads() <= before[1];
    });
    await Deno.rename(`${folder}_away`, folder);
    assertEquals(await result(server, `return Deno.readTextFileSync("data/file.txt")`), "data");
  },
);

plainCase("a start with the kernel's wall warns of no missing wall", (server) => {
  assertEquals(server.eventsOf("wall_is_deno_only"), []);
  return Promise.resolve();
});

plainCase(
  "a worker leads a process group of its own, in the session of the supervisor",
  async (server) => {
    const pid = await workerPid(server);
    assertEquals(processGroup(pid), pid);
    assert(processGroup(server.pid) !== pid);
  },
);

plainCase("when memory is short a worker is killed before its supervisor", async (server) => {
  const score = (pid: number) => Number(Deno.readTextFileSync(`/proc/${pid}/oom_score_adj`));
  assertEquals(score(await workerPid(server)), score(server.pid) + 500);
});

Deno.test("a worker has the limits of its config, cut to what the supervisor was given, half of that for descriptors, and none of its descriptors", async () => {
  const limits = {
    descriptors: 100_000,
    processes: 12_345,
    fileBytes: 2_097_152,
    memoryBytes: 8 * 2 ** 30,
  };
  const project = await Project.create({ config: { limits } });
  await using server = startInShell(project, "ulimit -n 3000; exec 9</etc/passwd");
  await server.waitFor("serving");
  const found = readLimits(await workerPid(server));
  const both = (value: number): [string, string] => [String(value), String(value)];
  assertEquals(found["Max open files"], both(1500));
  assertEquals(found["Max processes"], both(12_345));
  assertEquals(found["Max file size"], both(2_097_152));
  const RESERVED_BYTES = 512 * 2 ** 20;
  assertEquals(found["Max data size"], both(limits.memoryBytes + RESERVED_BYTES));
  assertEquals(found["Max core file size"], both(1));
  assertEquals(readLimits(server.pid)["Max file size"], ["unlimited", "unlimited"]);
  assertEquals(await server.text("/"), "one /");
  const assertNone = async () => {
    const found = descriptors(await workerPid(server));
    const files = Object.values(found).filter((target) => target.startsWith("/"));
    // Its program, and Deno's own caches, whose place it is told.
    const own = /^\/dev\/|^\/memfd:holdfast \(deleted\)$|\/\w+_cache_v\d+(-shm|-wal)?$/;
    const strange = files.filter((path) => !own.test(path));
    assertEquals(strange, [], JSON.stringify(found));
    for (const kind of ["seccomp notify", "landlock", "pidfd"]) {
      assert(!Object.values(found).some((target) => target.includes(kind)), JSON.stringify(found));
    }
  };
  // The supervisor has it. Only root may look: it hides its /proc files from its own user.
  if (Deno.uid() === 0) assertEquals(descriptors(server.pid)["9"], "/etc/passwd");
  await assertNone();
  const before = await workerPid(server);
  Deno.kill(before, "SIGKILL");
  await nextWorker(server, before);
  await assertNone();
});

// ---- what only a start needs ----

/** Tries each call that is for a start alone; gives the errors by name. */
function startingCalls(): string {
  const calls: [name: SystemCall, ...args: string[]][] = [
    ["socketpair", "1, 1, 0", "new Uint8Array(8)"],
    ["setresuid", "-1, -1, -1"],
    ["setresgid", "-1, -1, -1"],
    ["setgroups", "0, 0"],
    ["pkey_alloc", "0, 0"],
    ["close_range", "4000000000, 4000000000, 0"],
    // ARCH_GET_FS
    ["arch_prctl", "0x1003", "new Uint8Array(8)"],
    // One that allows everything, on all threads, and one whose questions would be the worker's.
    ["seccomp", "1, 1, filter"],
    ["seccomp", "1, 8, filter"],
  ];
  return `const program = new Uint8Array([6, 0, 0, 0, 0, 0, 0xff, 0x7f]);
    const filter = new Uint8Array(16);
    new DataView(filter.buffer).setUint16(0, 1, true);
    new DataView(filter.buffer).setBigUint64(8, native.addressOf(program), true);
    return [${calls.map(([call, ...args]) => callCode(call, ...args)).join(", ")}];`;
}

/** Maps memory, makes it code, and maps a library as code; gives the errors, or 0. */
const MAKE_CODE = `
  const O_RDONLY = 0, PRIVATE = 2, ANONYMOUS = 0x20, READ = 1, WRITE = 2, EXEC = 4;
  const failed = (result) => result < 0 && result > -4096 ? result : 0;
  const map = (protection, flags, fd) => native.call(MMAP, 0, 4096, protection, flags, fd, 0);
  const data = map(READ | WRITE, PRIVATE | ANONYMOUS, -1);
  const file = native.call(OPENAT, -100, "/lib/x86_64-linux-gnu/libm.so.6", O_RDONLY);
  return {
    data: failed(data),
    library: failed(map(READ | EXEC, PRIVATE, file)),
    made: failed(native.call(MPROTECT, data, 4096, READ | EXEC)),
    // With no key.
    keyed: failed(native.call(PKEY_MPROTECT, data, 4096, READ | EXEC, -1)),
    code: failed(map(READ | EXEC, PRIVATE | ANONYMOUS, -1)),
    both: failed(map(READ | WRITE | EXEC, PRIVATE | ANONYMOUS, -1)),
    read: failed(map(READ, PRIVATE, file)),
  };`.replace(
  /\b(MMAP|OPENAT|MPROTECT|PKEY_MPROTECT)\b/g,
  (name) => String(numberOf(name.toLowerCase() as SystemCall, "x86_64")),
);

wideCase(
  "what only a start needs is refused to an app, and forks and execs are asked about",
  async (server) => {
    const log = following(server);
    assertEquals(await result(server, startingCalls()), Array(9).fill(-EPERM));
    assertEquals(log.of("call_denied"), []);
    // An error of the later program would outrank the question, and nobody would hear of it.
    await result(server, `return ${callCode("vfork")}`);
    await log.wait("call_denied");
    assertEquals(await result(server, execTouch(server.project.path("data/mark"))), EPERM);
    await log.wait("exec_denied");
  },
);

wideCase(
  "native code may be compiled where V8 compiles, and comes from no file",
  async (server) => {
    assertEquals(await result(server, MAKE_CODE), {
      ...{ data: 0, library: -EPERM, made: 0, keyed: 0, code: 0, both: 0, read: 0 },
    });
  },
);

nativeTest(
  "where V8 interprets alone no memory becomes code, in a Worker of the app neither",
  async () => {
    await using server = await startWide({ config: { jitless: true } });
    assertEquals(await result(server, MAKE_CODE), {
      ...{ data: 0, library: -EPERM, made: -EPERM, keyed: -EPERM, code: -EPERM, both: -EPERM },
      read: 0,
    });
    assertEquals(await result(server, "return typeof WebAssembly"), "undefined");
    const maps = () => Deno.readTextFileSync(`/proc/${pid}/maps`).split("\n");
    const pid = await workerPid(server);
    const run = `const url = "data:text/javascript,postMessage(/a+b/.test('aab'))";
    const worker = new Worker(url, { type: "module" });
    return await new Promise((resolve) => worker.onmessage = ({ data }) => resolve(data));`;
    assertEquals(await result(server, run), true);
    assertEquals(maps().filter((line) => /^\S+ .wx/.test(line)), []);
  },
);

plainCase("native code was given up before the app, and no thread of it has it", async (server) => {
  const attempt = (code: string) =>
    `try { ${code}; return "done" } catch (error) { return error.name }`;
  for (
    const code of [
      `Deno.dlopen("libc.so.6", {})`,
      `Deno.dlopen("/lib/x86_64-linux-gnu/libc.so.6", {})`,
      `Deno.UnsafePointer.of(new Uint8Array(1))`,
      `Deno.UnsafePointer.create(1n)`,
      `new Deno.UnsafeCallback({ parameters: [], result: "void" }, () => {})`,
      `process.dlopen({ exports: {} }, "/lib/x86_64-linux-gnu/libm.so.6")`,
    ]
  ) {
    assertEquals(await result(server, attempt(code)), "NotCapable", code);
    const inWorker = `const source = ${
      JSON.stringify(`postMessage((() => { ${attempt(code)} })())`)
    };
      const url = "data:text/javascript," + encodeURIComponent(source);
      const worker = new Worker(url, { type: "module" });
      const data = await new Promise((resolve) => worker.onmessage = ({ data }) => resolve(data));
      worker.terminate();
      return data;`;
    assertEquals(await result(server, inWorker), "NotCapable", code);
  }
  const request = `return (await Deno.permissions.request({ name: "ffi" })).state`;
  assertEquals(await result(server, request), "denied");
});

// ---- programs and signals ----

/** Tries to execute touch in the place of the worker; gives the error. */
const execTouch = (mark: string) =>
  `return -${
    callCode(
      "execve",
      '"/usr/bin/touch"',
      `native.vector("touch", ${JSON.stringify(mark)})`,
      "native.vector()",
    )
  }`;

wideCase(
  "an exec is refused, told and counted, and the worker stays where onViolation is log",
  async (server) => {
    const log = following(server);
    const mark = server.project.path("data/mark");
    const pid = await workerPid(server);
    const denied = await deniedOf(server);
    assertEquals(await result(server, execTouch(mark)), EPERM);
    const { path, call, ...event } = await log.wait("exec_denied");
    const told = (await server.status()).generations[0]!;
    assertEquals([event.generation, event.worker, path, call, event.pid], [
      ...[told.generation, told.workers[0]!.process!.worker],
      ...["/usr/bin/touch", "execve", pid],
    ]);
    assertEquals(await result(server, execTouch(mark)), EPERM);
    await log.wait("exec_denied", 2);
    const seen = (await server.status()).generations[0]!.workers[0]!.process;
    assertEquals([seen!.pid, seen!.denied], [pid, denied + 2]);
    assertEquals(await Deno.stat(mark).catch((error) => error.name), "NotFound");
    assertEquals(log.of("worker_lost"), []);
  },
);

nativeTest(
  "an exec gets through where there is no wall but Deno's, and Deno's is open",
  async () => {
    await using server = await startWide({ config: { wall: "deno" } });
    const mark = server.project.path("data/mark");
    // It takes the worker's place, so that there is no answer.
    await tell(server, execTouch(mark)).catch(() => {});
    await until("the program's mark", () => Deno.stat(mark).catch(() => undefined));
    assertEquals((await server.waitFor("worker_lost")).how, "exited with status 0");
  },
);

nativeTest(
  "a worker that tries an exec is replaced where onViolation is replace, and requests go on",
  async () => {
    await using server = await startWide({ config: { onViolation: "replace" } });
    const mark = server.project.path("data/mark");
    const pid = await workerPid(server);
    const tried = tell(server, execTouch(mark)).catch(() => {});
    const lost = await server.waitFor("worker_lost");
    assertEquals([lost.pid, lost.how], [pid, "tried execve (killed by SIGKILL)"]);
    const answers = await Promise.all(
      Array.from({ length: 20 }, (_, n) => result(server, `return ${n}`)),
    );
    assertEquals(answers, Array.from({ length: 20 }, (_, n) => n));
    assert(await nextWorker(server, pid) !== pid);
    assertEquals((await server.status()).generations[0]!.replacements, 1);
    assertEquals(await Deno.stat(mark).catch((error) => error.name), "NotFound");
    await tried;
  },
);

wideCase(
  "a worker that asks without end is replaced although onViolation is log",
  async (server) => {
    const log = following(server);
    const pid = await workerPid(server);
    const flood = `const path = "/bin/true", args = [native.vector(path), native.vector()];
    for (;;) native.call(${numberOf("execve", Deno.build.arch)}, path, ...args)`;
    const flooding = tell(server, flood).catch(() => {});
    const lost = await log.wait("worker_lost");
    assertEquals([lost.pid, lost.how], [pid, "tried execve (killed by SIGKILL)"]);
    assert(await nextWorker(server, pid) !== pid);
    await flooding;
  },
);

/** Makes the listener that the worker was handed listen no more, for every holder of it. */
const STOP_LISTENER = `
  const GETSOCKOPT = 55, CONNECT = ${numberOf("connect", "x86_64")};
  const value = new Uint8Array(4), length = Uint8Array.of(4, 0, 0, 0);
  for (let fd = 3; fd < 64; fd++) {
    value.fill(0);
    // SOL_SOCKET, SO_ACCEPTCONN
    if (native.call(GETSOCKOPT, fd, 1, 30, value, length) !== 0 || value[0] !== 1) continue;
    // To the family AF_UNSPEC, which is nobody.
    const stopped = native.call(CONNECT, fd, new Uint8Array(16), 16);
    native.call(GETSOCKOPT, fd, 1, 30, value, length);
    return [stopped, value[0]];
  }
  return "no listener";`;

wideCase("a worker that may dial nobody cannot make its listener stop", async (server) => {
  assertEquals(await result(server, STOP_LISTENER), [-EPERM, 1]);
  assertEquals(await result(server, "return 1"), 1);
});

/** Sets what the filter lets a worker set, on its listener; gives what came of it. */
const CHANGE_LISTENER = `
  const GETSOCKOPT = 55, SETSOCKOPT = 54;
  const value = new Uint8Array(4), length = Uint8Array.of(4, 0, 0, 0);
  for (let fd = 3; fd < 64; fd++) {
    value.fill(0);
    if (native.call(GETSOCKOPT, fd, 1, 30, value, length) !== 0 || value[0] !== 1) continue;
    // SO_KEEPALIVE, TCP_NODELAY, TCP_KEEPIDLE, TCP_KEEPINTVL, TCP_KEEPCNT, TCP_USER_TIMEOUT,
    // IP_RECVERR
    const options = [[1, 9], [6, 1], [6, 4], [6, 5], [6, 6], [6, 18], [0, 11]];
    const look = () => options.map(([level, name]) => {
      native.call(GETSOCKOPT, fd, level, name, value, length);
      return new DataView(value.buffer).getInt32(0, true);
    });
    const before = look();
    for (const [level, name] of options) {
      if (change) native.call(SETSOCKOPT, fd, level, name, Uint8Array.of(1, 0, 0, 0), 4);
    }
    // SO_LINGER, SO_RCVBUF, SO_ATTACH_FILTER, TCP_DEFER_ACCEPT, IP_TTL
    const others = [[1, 13], [1, 8], [1, 26], [6, 9], [0, 2]].map(([level, name]) =>
      native.call(SETSOCKOPT, fd, level, name, Uint8Array.of(1, 0, 0, 0, 0, 0, 0, 0), 8));
    return { before, after: look(), others };
  }`;

wideCase("what a worker changes of the shared listener is set back, and told", async (server) => {
  const log = following(server);
  const change = async (sets: boolean) =>
    await result(server, `const change = ${sets}; ${CHANGE_LISTENER}`) as Record<string, number[]>;
  const { before, after, others } = await change(true);
  assertEquals(after, Array(7).fill(1));
  assertEquals(others, Array(5).fill(-EPERM));
  const { options, listen } = await log.wait("listener_changed");
  assertEquals(listen, `127.0.0.1:${server.project.port}`);
  assertEquals(options, ["1:9", "0:11", "6:1", "6:4", "6:5", "6:6", "6:18"]);
  assertEquals((await change(false)).after, before!);
  // The next generation's worker finds it as it was bound, however late it was changed.
  await change(true);
  assertEquals((await server.hangUp()).event, "reload_done");
  assertEquals((await change(false)).before, before!);
});

/** Has the shared listener keep whoever accepts there waiting for a client. */
const BLOCK_LISTENER = `
  const GETSOCKOPT = 55, FCNTL = 72, F_GETFL = 3, F_SETFL = 4, O_NONBLOCK = 0o4000;
  const value = new Uint8Array(4), length = Uint8Array.of(4, 0, 0, 0);
  for (let fd = 3; fd < 64; fd++) {
    value.fill(0);
    if (native.call(GETSOCKOPT, fd, 1, 30, value, length) !== 0 || value[0] !== 1) continue;
    const flags = native.call(FCNTL, fd, F_GETFL);
    native.call(FCNTL, fd, F_SETFL, flags & ~O_NONBLOCK);
    return [flags & O_NONBLOCK, native.call(FCNTL, fd, F_GETFL) & O_NONBLOCK];
  }`;

wideCase(
  "a shared listener on which an accept would wait is set right, and told",
  async (server) => {
    const log = following(server);
    assertEquals(await result(server, BLOCK_LISTENER), [0o4000, 0]);
    assertEquals((await log.wait("listener_changed")).options, ["O_NONBLOCK"]);
    assertEquals(await result(server, "return 1"), 1);
    assertEquals(await result(server, "return 2"), 2);
  },
);

nativeTest(
  "of workers that may have changed a shared listener each is replaced, and a lone one is killed",
  async (t) => {
    await using server = await startWide({ config: { onViolation: "replace" } });
    const listen = `127.0.0.1:${server.project.port}`;
    await t.step("a lone one is killed", async () => {
      const [before] = await server.workers();
      await result(server, `const change = true; ${CHANGE_LISTENER}`);
      const { how, pid } = await server.waitFor("worker_lost");
      assertEquals([how, pid], [`changed ${listen} (killed by SIGKILL)`, before]);
      await nextWorker(server, before!);
    });
    await t.step("two are replaced one by one", async () => {
      await server.project.configure({ onViolation: "replace", workers: 2 });
      assertEquals((await server.hangUp()).event, "reload_done");
      await until("one generation", async () => (await server.status()).generations.length === 1);
      const before = await server.workers();
      await result(server, `const change = true; ${CHANGE_LISTENER}`);
      await server.waitFor("worker_recycled", 2);
      await until("others", async () => {
        const now = await server.workers();
        return now.length === 2 && !now.some((pid) => before.includes(pid));
      });
      assertEquals(server.eventsOf("worker_lost").length, 1);
    });
  },
);

nativeTest(
  "a worker with a Unix listener and net opens no port by a listen without a bind, nor changes a queue",
  async () => {
    await using listed = serveText();
    const project = await Project.create({
      files: { "app.ts": NATIVE_APP },
      config: { onViolation: "log", net: [`127.0.0.1:${listed.port}`] },
    });
    await project.configure({ listen: [`127.0.0.1:${project.port}`, "unix:./site.sock"] });
    const path = project.path("site.sock");
    const entry = [join(DOUBLES, "wide_supervisor.ts")];
    await using server = await Server.startOn(project, { entry });
    const listening = `
    const [GETSOCKOPT, GETSOCKNAME, LISTEN] = [55, 51, ${numberOf("listen", "x86_64")}];
    const fd = ${callCode("socket", "2", "1", "0")};
    const listened = native.call(LISTEN, fd, 8);
    const value = new Uint8Array(4);
    native.call(GETSOCKOPT, fd, 1, 30, value, Uint8Array.of(4, 0, 0, 0));
    const name = new Uint8Array(16);
    native.call(GETSOCKNAME, fd, name, Uint8Array.of(16, 0, 0, 0));
    return [listened, value[0], name[2] * 256 + name[3]];`;
    // It is said to be done, as to the runtime, and no port is open.
    assertEquals(await result(server, listening), [0, 0, 0]);
    // Nor does the queue of a shared one shrink: struct tcp_info has its length (tcp(7)).
    const shrink = `
    const value = new Uint8Array(4), length = Uint8Array.of(4, 0, 0, 0);
    const info = new Uint8Array(32);
    const queue = (fd) => {
      native.call(55, fd, 6, 11, info, Uint8Array.of(32, 0, 0, 0));
      return new DataView(info.buffer).getUint32(28, true);
    };
    for (let fd = 3; fd < 64; fd++) {
      value.fill(0);
      native.call(55, fd, 1, 30, value, length);
      if (value[0] !== 1 || queue(fd) === 0) continue;
      const before = queue(fd);
      return [before > 0, native.call(${numberOf("listen", "x86_64")}, fd, 0), queue(fd) - before];
    }`;
    assertEquals(await result(server, shrink), [true, 0, 0]);
    const client = Deno.createHttpClient({ proxy: { transport: "unix", path } });
    assertEquals(
      await (await fetch("http://site/", { method: "POST", body: "return 1", client })).json(),
      { ok: 1 },
    );
    client.close();
  },
);

wideCase(
  "what a worker sends by the descriptor on which it is handed others is soon thrown away",
  async (server) => {
    const [SENDTO, IPC, FLAGS, EAGAIN] = [numberOf("sendto", "x86_64"), 3, 0x4040, 11];
    const fill = `
    const bytes = new Uint8Array(1024);
    let sent = 0;
    while (native.call(${SENDTO}, ${IPC}, bytes, 1024, ${FLAGS}) === 1024) sent++;
    return [sent > 0, -native.call(${SENDTO}, ${IPC}, bytes, 1024, ${FLAGS})];`;
    assertEquals(await result(server, fill), [true, EAGAIN]);
    const send = `return native.call(${SENDTO}, ${IPC}, new Uint8Array(1), 1, ${FLAGS})`;
    await until("room for more", async () => await result(server, send) === 1);
    // What comes by it is taken still.
    assertEquals((await server.hangUp()).event, "reload_done");
  },
);

wideCase("execveat is refused too, and its path is told", async (server) => {
  const log = following(server);
  const args = ["-100", '"/bin/true"', 'native.vector("true")', "native.vector()", "0"];
  assertEquals(await result(server, `return -${callCode("execveat", ...args)}`), EPERM);
  const { path, call } = await log.wait("exec_denied");
  assertEquals([path, call], ["/bin/true", "execveat"]);
});

wideCase(
  "the path of a refused exec is told escaped, cut, and as unknown if it cannot be read",
  async (server) => {
    const log = following(server);
    const paths: [code: string, told: (path: unknown) => boolean][] = [
      [
        '"/bin/a\\nb\\x1b[2J"',
        (path) => /^[ -~]*bin\/a[ -~]*$/.test(String(path)),
      ],
      [`"/" + "x".repeat(5000)`, (path) => String(path).length <= 256],
      ["8", (path) => path === null],
    ];
    for (const [index, [path, told]] of paths.entries()) {
      const code = callCode("execve", path, "native.vector()", "native.vector()");
      assertEquals(await result(server, `return -${code}`), EPERM);
      const event = await log.wait("exec_denied", index + 1);
      assert(told(event.path), JSON.stringify(event));
    }
  },
);

wideCase(
  "Deno.Command and child_process fail in a worker with every permission of Deno",
  async (server) => {
    const mark = server.project.path("data/mark");
    const spawn = `new Deno.Command("/usr/bin/touch", { args: [${JSON.stringify(mark)}] })`;
    assertEquals(await denial(server, `return await ${spawn}.output()`), "PermissionDenied");
    const { ok } = await tell(
      server,
      `const { spawnSync } = await import("node:child_process");
     return spawnSync("/usr/bin/touch", [${JSON.stringify(mark)}]).status`,
    );
    assert(ok === null || ok === undefined, `${ok}`);
    assertEquals(await Deno.stat(mark).catch((error) => error.name), "NotFound");
  },
);

/** What fork(3), posix_spawn(3) and others ask for. */
const FORK_FLAGS = [17, 0x01200011, 0x4111, 0x111, 0x4011, 0x8011, 0x1011, 0];

wideCase("nothing can be made that runs as its owner, by whatever call", async (server) => {
  const CREATE = 0o101;
  const path = (name: string) => JSON.stringify(server.project.path(`data/${name}`));
  for (
    const code of [
      callCode("openat", "-100", path("a"), String(CREATE), String(0o4755)),
      callCode("open", path("b"), String(CREATE), String(0o2755)),
      callCode("creat", path("c"), String(0o6755)),
      callCode("mkdir", path("d"), String(0o2777)),
      callCode("mkdirat", "-100", path("e"), String(0o4777)),
      callCode("chmod", path("file.txt"), String(0o4755)),
    ]
  ) assertEquals(await result(server, `return -${code}`), EPERM, code);
  assertEquals(
    await result(server, `return -${callCode("openat2", "-100", path("f"), "0", "24")}`),
    ENOSYS,
  );
  assertEquals([...Deno.readDirSync(server.project.path("data"))].map(({ name }) => name), [
    "file.txt",
  ]);
  // What an app makes otherwise has the mode that it says.
  const made = `
    Deno.openSync("data/g", { write: true, create: true, mode: 0o640 }).close();
    Deno.mkdirSync("data/h", { mode: 0o1777 });
    return ["data/g", "data/h"].map((path) => Deno.statSync(path).mode & 0o7777);`;
  assertEquals(await result(server, made), [0o640, 0o755]);
});

wideCase("a worker has no capability, and cannot get a better priority", async (server) => {
  const status = readStatus(await workerPid(server))!;
  for (const set of ["CapInh", "CapPrm", "CapEff", "CapAmb"]) assertEquals(status[set], NONE, set);
  const EACCES = 13;
  const raised =
    -(await result(server, `return ${callCode("setpriority", "0", "0", "-20")}`) as number);
  assertEquals([EPERM, EACCES].includes(raised), true, `${raised}`);
});

wideCase("a worker cannot fork, by whatever call, and each attempt is told", async (server) => {
  const log = following(server);
  const denied = await deniedOf(server);
  const worker = await workerPid(server);
  const calls: [call: SystemCall, ...args: string[]][] = [
    ...FORK_FLAGS.map((flags): [SystemCall, string] => ["clone", String(flags)]),
    ["fork"],
    ["vfork"],
  ];
  for (const [index, [call, ...args]] of calls.entries()) {
    const code = callCode(call, ...args);
    assertEquals(await result(server, `return -${code}`), EPERM, code);
    const event = await log.wait("call_denied", index + 1);
    assertEquals([event.pid, event.call], [worker, call]);
  }
  assertEquals(await result(server, `return -${callCode("clone3", "0", "0")}`), ENOSYS);
  assertEquals(await deniedOf(server), denied + calls.length);
  assertEquals(await result(server, "return native.forkIdle()"), -EPERM);
  assertEquals(Deno.readTextFileSync(`/proc/${worker}/task/${worker}/children`), "");
});

wideCase(
  "a worker cannot leave its process group, nor change its own limits",
  async (server) => {
    for (
      const code of [
        callCode("setpgid", "0", String(server.pid)),
        callCode("setpgid", "0", "0"),
        callCode("setsid"),
        callCode("unshare", String(0x10000000)),
        callCode("ptrace", "0"),
        callCode("setrlimit", "7", "new Uint8Array(16)"),
        callCode("prlimit64", "0", "7", "new Uint8Array(16)"),
      ]
    ) assertEquals(await result(server, `return -${code}`), EPERM, code);
    assertEquals(processGroup(await workerPid(server)), await workerPid(server));
  },
);

wideCase("a worker cannot signal the supervisor, by whatever call", async (server) => {
  const log = following(server);
  const pid = String(server.pid);
  const denied = await deniedOf(server);
  for (const signal of [9, 15, 1, 2, 19, 10, 0]) {
    for (
      const code of [
        callCode("kill", pid, String(signal)),
        callCode("tkill", pid, String(signal)),
        callCode("tgkill", pid, pid, String(signal)),
        callCode("rt_sigqueueinfo", pid, String(signal), "new Uint8Array(128)"),
      ]
    ) assertEquals(await result(server, `return -${code}`), EPERM, code);
  }
  assertEquals(await result(server, `return -${callCode("pidfd_open", pid, "0")}`), EPERM);
  // The rest is refused by the program itself; nobody was asked about it.
  const told = await log.wait("call_denied");
  assertEquals([told.call, told.pid, told.path], ["kill", await workerPid(server), null]);
  assertEquals(await deniedOf(server), denied + 1);
  // It is alive and well, and can still end a worker itself.
  assertEquals((await server.status()).pid, server.pid);
  assertEquals((await server.hangUp()).event, "reload_done");
});

nativeTest(
  "what an old worker tries after an upgrade is refused and told, and ends it where onViolation is replace",
  async (t) => {
    for (const onViolation of ["log", "replace"]) {
      await t.step(onViolation, async () => {
        await using server = await startWide({
          // It stays until the deadline.
          files: { "app.ts": `${NATIVE_APP}\nexport const close = () => new Promise(() => {});` },
          config: { onViolation, reload: { drainDeadlineMs: 60_000, idleGraceMs: 0 } },
        });
        const { project } = server;
        const old = await workerPid(server);
        const go = JSON.stringify(project.path("data/go"));
        const touch = callCode(
          "execve",
          '"/usr/bin/touch"',
          'native.vector("touch", "data/mark")',
          "native.vector()",
        );
        const calls = `[${touch}, ${callCode("clone", "17")}]`;
        await result(
          server,
          `setInterval(() => { try { Deno.statSync(${go}); } catch { return; } ${calls}; }, 20);`,
        );
        await project.write("app.ts", NATIVE_APP);
        server.signal("SIGUSR2");
        await server.waitFor("serving", 2);
        assertEquals([server.eventsOf("exec_denied"), isAlive(old)], [[], true]);
        await project.write("data/go", "");
        const told = await server.waitFor("exec_denied");
        assertEquals([told.pid, told.path, told.role], [old, "/usr/bin/touch", "worker"]);
        if (onViolation === "replace") {
          await until("its end", () => !readStatus(old));
        } else {
          assertEquals((await server.waitFor("call_denied")).call, "clone");
          const [former] = (await server.status()).former!;
          assert(former!.denied > 1 && isAlive(old));
          Deno.kill(old, "SIGKILL");
        }
        assertEquals(
          await Deno.stat(project.path("data/mark")).catch(({ name }) => name),
          "NotFound",
        );
      });
    }
  },
);

nativeTest(
  "without its supervisor a worker's exec fails still, and the worker drains and ends",
  async () => {
    const server = await startWide();
    const mark = server.project.path("data/mark");
    const pid = await workerPid(server);
    const late = result(
      server,
      `const GETPPID = 110;
     while (native.call(GETPPID) === ${server.pid}) await new Promise((next) => setTimeout(next, 10));
     return await (async () => { ${execTouch(mark)} })()`,
    );
    await until("the request in flight", async () => {
      const { generations } = await server.status();
      return generations[0]!.workers[0]!.process!.inFlight === 1;
    });
    server.signal("SIGKILL");
    const errno = await late;
    assert(errno === ENOSYS || errno === EPERM, `errno ${errno}`);
    assertEquals(await Deno.stat(mark).catch((error) => error.name), "NotFound");
    await until("the worker to leave", () => !isAlive(pid));
    await server.exited();
    await server.project[Symbol.asyncDispose]();
  },
);

// ---- files ----

wideCase(
  "with every permission of Deno a worker still has no more files than the config says",
  async (server) => {
    const log = following(server);
    const { project } = server;
    await Deno.symlink(project.path("secret.txt"), project.path("data/link"));
    const quoted = (path: string) =>
      JSON.stringify(path.startsWith("/") ? path : project.path(path));
    const read = (path: string) => `return Deno.readTextFileSync(${quoted(path)})`;
    assertEquals(await result(server, read("data/file.txt")), "data");
    assertEquals(await result(server, read("readable/file.txt")), "readable");
    assertEquals(await result(server, `Deno.writeTextFileSync("data/new.txt", "new")`), null);
    assertEquals(await result(server, `Deno.removeSync("data/new.txt")`), null);
    for (
      const code of [
        read("secret.txt"),
        read("data/link"),
        read("data/../secret.txt"),
        read(project.configFile),
        read(".holdfast/lock"),
        read("/etc/passwd"),
        read("/etc/shadow"),
        read("/proc/self/environ"),
        read(`/proc/${server.pid}/environ`),
        read("/proc/self/root/etc/passwd"),
        read("/proc/version"),
        read("/sys/kernel/mm/transparent_hugepage/enabled"),
        `return [...Deno.readDirSync(${quoted(".")})]`,
        `return [...Deno.readDirSync("/")]`,
        `return [...Deno.readDirSync("/tmp")]`,
        `return [...Deno.readDirSync("/proc")]`,
        `Deno.writeTextFileSync(${quoted("readable/file.txt")}, "changed")`,
        `Deno.truncateSync(${quoted("readable/file.txt")}, 0)`,
        `Deno.writeTextFileSync(${quoted("app.ts")}, "changed")`,
        `Deno.writeTextFileSync(${quoted("made.txt")}, "made")`,
        `Deno.writeTextFileSync("/tmp/${crypto.randomUUID()}", "made")`,
        `Deno.writeTextFileSync(Deno.env.get("DENO_DIR") + "/made", "made")`,
        `Deno.mkdirSync(${quoted("made")})`,
        `Deno.removeSync(${quoted("secret.txt")})`,
        `Deno.renameSync(${quoted("secret.txt")}, ${quoted("data/secret.txt")})`,
        `Deno.renameSync(${quoted("data/file.txt")}, ${quoted("file.txt")})`,
        `Deno.symlinkSync("/etc/passwd", ${quoted("data/passwd")})`,
        `Deno.renameSync(${quoted("readable/file.txt")}, ${quoted("data/readable.txt")})`,
      ]
    ) assertEquals(await denial(server, code), "PermissionDenied", code);
    const text = (path: string) => Deno.readTextFileSync(project.path(path));
    assertEquals([text("secret.txt"), text("readable/file.txt")], ["secret", "readable"]);
    assertEquals(log.of("worker_lost"), []);
  },
);

/** What comes of reading a link that leads out of its folder. */
async function readOutwardLink(server: Server): Promise<unknown> {
  await Deno.symlink("../secret.txt", server.project.path("data/link"));
  await Deno.symlink("file.txt", server.project.path("data/inner"));
  const read = (name: string) => `return Deno.readTextFileSync("data/${name}")`;
  assertEquals(await result(server, read("inner")), "data");
  const { ok, denied } = await tell(server, read("link"));
  return ok ?? denied;
}

plainCase("a link in an unveiled folder leads nowhere outside", async (server) => {
  assertEquals(await readOutwardLink(server), "PermissionDenied");
});

plainCase("files and folders that come later in an unveiled folder can be used", async (server) => {
  const { project } = server;
  await project.write("readable/deep/later.txt", "later");
  assertEquals(
    await result(server, `return Deno.readTextFileSync("readable/deep/later.txt")`),
    "later",
  );
  const made = `
    Deno.mkdirSync("data/deep/deeper", { recursive: true });
    Deno.writeTextFileSync("data/deep/deeper/file.txt", "made");
    return Deno.readTextFileSync("data/deep/deeper/file.txt")`;
  assertEquals(await result(server, made), "made");
  // A file that replaces another by its name is in the folder like any other.
  await project.write("data/file.txt", "replaced");
  assertEquals(await result(server, `return Deno.readTextFileSync("data/file.txt")`), "replaced");
});

plainCase("an inner path may have more rights than the folder around it", async (server) => {
  const write = (path: string) => `Deno.writeTextFileSync("${path}", "new")`;
  assertEquals(await tell(server, write("outer/inbox/new.txt")), { ok: null });
  assertEquals(await result(server, `return Deno.readTextFileSync("outer/file.txt")`), "outer");
  assertEquals(await denial(server, write("outer/file.txt")), "NotCapable");
});

plainCase("localStorage fails: Deno's folder is read-only for a worker", async (server) => {
  const log = following(server);
  assertEquals(await result(server, `return Deno.readTextFileSync("data/file.txt")`), "data");
  const { ok, denied } = await tell(server, `localStorage.setItem("key", "value")`);
  assert(ok === undefined && denied !== undefined, `${ok}`);
  assertEquals(await result(server, "return 1"), 1);
  assertEquals(log.of("worker_lost"), []);
});

plainCase(
  "an app copies, renames and makes temporary files in what is unveiled with rwc",
  async (server) => {
    const log = following(server);
    const { project } = server;
    const text = (path: string) => Deno.readTextFileSync(project.path(path));
    const steps = [
      `Deno.copyFileSync("readable/file.txt", "data/copied.txt")`,
      `await Deno.copyFile("data/file.txt", "other/copied.txt")`,
      `Deno.renameSync("data/file.txt", "data/renamed.txt")`,
      `Deno.renameSync("data/renamed.txt", "other/moved.txt")`,
      `await Deno.mkdir("data/folder"); await Deno.rename("data/folder", "other/folder")`,
      `(await import("node:fs")).copyFileSync("data/copied.txt", "data/copied_again.txt")`,
      `const path = await Deno.makeTempFile({ dir: "data" });
     await Deno.writeTextFile(path, "temporary");
     await Deno.remove(path)`,
      `await Deno.remove(await Deno.makeTempDir({ dir: "data" }))`,
      `const file = await Deno.open("data/synced", { create: true, write: true });
     await file.write(new Uint8Array(8)); await file.syncData(); await file.sync();
     await file.truncate(4); await file.lock(true); await file.unlock(); file.close()`,
    ];
    for (const step of steps) assertEquals(await tell(server, step), { ok: null }, step);
    assertEquals([text("data/copied.txt"), text("data/copied_again.txt")], [
      "readable",
      "readable",
    ]);
    assertEquals([text("other/copied.txt"), text("other/moved.txt")], ["data", "data"]);
    assertEquals(log.of("worker_lost"), []);
  },
);

plainCase(
  "SQLite works in an unveiled folder, with a write-ahead log and without",
  async (server) => {
    const log = following(server);
    for (const mode of ["WAL", "DELETE", "TRUNCATE"]) {
      const code = `
      const { DatabaseSync } = await import("node:sqlite");
      const database = new DatabaseSync("data/${mode}.db");
      const { journal_mode } = database.prepare("PRAGMA journal_mode = ${mode}").get();
      database.exec("CREATE TABLE notes (text)");
      database.exec("BEGIN");
      for (let n = 0; n < 500; n++) database.prepare("INSERT INTO notes VALUES (?)").run("note " + n);
      database.exec("COMMIT");
      database.exec("CREATE TEMP TABLE sorted AS SELECT * FROM notes ORDER BY text DESC");
      const { count } = database.prepare("SELECT count(*) AS count FROM notes").get();
      database.close();
      return [journal_mode, count]`;
      assertEquals(await result(server, code), [mode.toLowerCase(), 500]);
    }
    assertEquals(log.of("worker_lost"), []);
  },
);

Deno.test("a module that is replaced while its worker is killed comes up with the next reload, and not before", async () => {
  const version = (text: string) => `export const VERSION = ${JSON.stringify(text)};`;
  await using server = await start({
    files: {
      "app.ts": `import { VERSION } from "./version.ts";
        export default { fetch: () => new Response(VERSION) };`,
      "version.ts": version("one"),
    },
  });
  assertEquals(await server.text("/"), "one");
  for (const [was, text] of [["one", "two"], ["two", "three"]] as const) {
    const pid = await workerPid(server);
    const before = await Deno.stat(server.project.path("version.ts"));
    await server.project.write("version.ts", version(text));
    assert((await Deno.stat(server.project.path("version.ts"))).ino !== before.ino);
    Deno.kill(pid, "SIGKILL");
    await nextWorker(server, pid);
    assertEquals(await server.text("/"), was);
    assertEquals((await server.hangUp()).event, "reload_done");
    assertEquals(await server.text("/"), text);
    await until("one generation", async () => (await server.status()).generations.length === 1);
  }
  assertEquals(server.eventsOf("worker_start_failed"), []);
});

// ---- the network ----

/** A server of the test's own, for an app to dial. */
function serveText() {
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 0, onListen: () => {} },
    () => new Response("reached"),
  );
  return {
    port: server.addr.port,
    async [Symbol.asyncDispose]() {
      await server.shutdown();
    },
  };
}

const fetchCode = (host: string, port: number) =>
  `return await (await fetch("http://${host}:${port}/")).text()`;
const dialCode = (port: number) =>
  `(await Deno.connect({ hostname: "127.0.0.1", port: ${port} })).close()`;

plainCase("an app fetches from what net lists, by address", async (server, listed) => {
  assertEquals(await result(server, fetchCode("127.0.0.1", listed.port)), "reached");
  assertEquals(await denial(server, fetchCode("127.0.0.1", freePort())), "NotCapable");
});

Deno.test("an app fetches from what net lists, by name", async () => {
  await using listed = serveText();
  await using server = await start({ config: { net: [`localhost:${listed.port}`] } });
  assertEquals(await result(server, fetchCode("localhost", listed.port)), "reached");
  assertEquals(await denial(server, fetchCode("localhost", freePort())), "NotCapable");
});

nativeTest(
  "with every permission of Deno a worker dials who is in net and nobody else, and harms no listener",
  async (t) => {
    await using listed = serveText();
    await using other = serveText();
    await using server = await startWide();
    for (const host of ["127.0.0.1", "localhost"]) {
      await t.step(`the ports of net, for ${host}`, async () => {
        await server.project.configure({ net: [`${host}:${listed.port}`] });
        assertEquals((await server.hangUp()).event, "reload_done");
        assertEquals(await result(server, fetchCode(host, listed.port)), "reached");
        assertEquals(await tell(server, dialCode(listed.port)), { ok: null });
        assertEquals(await denial(server, dialCode(other.port)), "PermissionDenied");
        assertEquals(await denial(server, fetchCode(host, other.port)), "TypeError");
        assertEquals(
          await denial(server, `Deno.listen({ hostname: "127.0.0.1", port: ${freePort()} })`),
          "PermissionDenied",
        );
        const unix = `await Deno.connect({ transport: "unix", path: ".holdfast/control.sock" })`;
        assertEquals(await denial(server, unix), "PermissionDenied");
      });
    }
    await server.project.configure({ workers: 2 });
    assertEquals((await server.hangUp()).event, "reload_done");
    await until("one generation", async () => (await server.status()).generations.length === 1);
    await t.step(
      "a worker that undoes the address of its listener harms itself alone",
      async () => {
        const before = server.events.length;
        // What it has at that number is another socket now.
        assertEquals(await result(server, STOP_LISTENER), [0, 0]);
        using connection = await Deno.connect({ hostname: "127.0.0.1", port: server.project.port });
        assertEquals(connection.remoteAddr.transport, "tcp");
        assertEquals(await result(server, "return 1"), 1);
        const told = server.events.slice(before).map(({ event }) => event);
        assertEquals(told.filter((event) => event === "listener_stopped"), []);
      },
    );
  },
);

wideCase("with every permission of Deno a worker without net dials nobody", async (server) => {
  await using other = serveText();
  assertEquals(await denial(server, dialCode(other.port)), "PermissionDenied");
  for (
    const [domain, type] of [[1, 1], [1, 2], [2, 1], [2, 2], [2, 3], [10, 1], [16, 3], [17, 3]]
  ) {
    const socket = callCode("socket", `${domain}`, `${type}`, "0");
    assertEquals(await result(server, `return -${socket}`), EPERM, socket);
  }
  assertEquals(await result(server, `return native.call(39) > 0`), true);
});

/**
 * Calls that, even with arguments that make no sense, end or stop the thread, change what the test needs,
 * or are refused by the kernel itself with an error of the filter.
 */
const NOT_MADE: readonly AnyCall[] = [
  ...["exit", "exit_group", "pause", "rt_sigreturn", "restart_syscall"] as const,
  ...["set_tid_address", "umask", "futex", "setgroups"] as const,
  // The kernel does not show these to filters: from elsewhere than a probe's own code they end the process.
  ...["uprobe", "uretprobe"] as const,
];

/** How each answer of a program looks to who makes the call. */
const ERRORS: Readonly<Record<string, number>> = {
  ...{ ask: EPERM, EPERM, ENOSYS, EINVAL: 22, success: 0 },
};

wideCase("each call number is answered in a worker as the program says", async (server) => {
  const log = following(server);
  const arch = Deno.build.arch as Arch;
  const policy = { network: "none", listens: false, runs: false } as const;
  const program = encodeProgram(seccompProgram(arch, policy));
  const later = encodeProgram(laterProgram(arch, { compiled: true, libraries: false }));
  const names = new Map(ANY_CALLS.map((call) => [anyNumberOf(call, arch), call]));
  const numbers = Array.from({ length: 601 }, (_, number) => number)
    .filter((number) => !NOT_MADE.includes(names.get(number)!));
  const errors = await result(
    server,
    `return ${JSON.stringify(numbers)}.map((number) =>
       Math.max(0, -native.call(number, ...[-1, -1, -1, -1, -1, -1])))`,
  ) as number[];
  const args = [-1, -1, -1, -1, -1, -1];
  let asked = 0;
  const wrong = numbers.flatMap((number, index) => {
    const call = { arch: AUDIT_ARCH[arch], number, args };
    const answer = describeAnswer(stricterOf(runProgram(program, call), runProgram(later, call)));
    if (answer === "ask") asked++;
    const error = errors[index]!;
    // A kernel that is older than the newest of them has not all that are allowed.
    const agrees = answer === "allow"
      ? error !== EPERM && (error !== ENOSYS || number > 460)
      : error === ERRORS[answer];
    return agrees ? [] : [`${names.get(number) ?? number}: ${answer}, and error ${error}`];
  });
  assertEquals(wrong, []);
  assert(asked > Object.keys(ALARMS).length / 2);
  await log.wait("call_denied", asked - 2);
  const told = log.of("call_denied").map(({ call }) => `${call}`);
  const alarms = Object.keys(ALARMS).filter((call) => numberOf(call as SystemCall, arch));
  assertEquals(alarms.filter((call) => !told.includes(call)), []);
});

// ---- what forks in spite of it ----

forkingCase("what a worker forked has no exec, and is gone with its worker", async (server) => {
  const log = following(server);
  const mark = server.project.path("data/mark");
  const worker = await workerPid(server);
  const child = await result(server, "return native.forkIdle()") as number;
  assert(child > 0 && isAlive(child), `${child}`);
  assertEquals(processGroup(child), worker);
  assertEquals([readStatus(child)?.NoNewPrivs, readStatus(child)?.Seccomp], ["1", "2"]);

  const exec = `
    const child = native.forkExec("/usr/bin/touch", "touch", ${JSON.stringify(mark)});
    const status = new Uint8Array(4);
    const WAIT4 = 61;
    return [native.call(WAIT4, child, status, 0, 0) === child, status[1]]`;
  assertEquals(await result(server, exec), [true, EPERM]);
  const told = await log.wait("exec_denied");
  assertEquals([told.pid, told.path], [worker, "/usr/bin/touch"]);
  assertEquals(await Deno.stat(mark).catch((error) => error.name), "NotFound");

  assert(isAlive(child));
  Deno.kill(worker, "SIGKILL");
  await until("the end of the child", () => !isAlive(child));
  await nextWorker(server, worker);
});

forkingCase(
  "what a worker forked is gone after a reload has drained the worker",
  async (server) => {
    const log = following(server);
    const child = await result(server, "return native.forkIdle()") as number;
    assertEquals((await server.hangUp()).event, "reload_done");
    await log.wait("generation_ended");
    await until("the end of the child", () => !isAlive(child));
  },
);

// ---- the cases ----

Deno.test("the kernel holds a worker, tried in one of an app that obeys", async (t) => {
  await using listed = serveText();
  await using server = await start({
    files: FILES,
    config: {
      unveil: UNVEIL,
      limits: { fileBytes: 1_048_576 },
      net: [`127.0.0.1:${listed.port}`],
    },
  });
  await runCases(t, PLAIN_CASES, server, listed);
});

nativeTest("the kernel alone holds a worker that Deno lets do everything", async (t) => {
  await using listed = serveText();
  await using server = await startWide({
    files: FILES,
    config: {
      unveil: { "./data": "rwc", "./readable": "r" },
      reload: { idleGraceMs: 0 },
    },
  });
  await runCases(t, WIDE_CASES, server, listed);
});

nativeTest(
  "a worker that makes a call which no app makes is replaced, and the call is told",
  async () => {
    await using server = await startWide({ config: { onViolation: "replace" } });
    const log = following(server);
    for (const call of ["ptrace", "io_uring_setup", "unshare", "keyctl"] as const) {
      const worker = await workerPid(server);
      await tell(server, `return ${callCode(call, "-1", "-1")}`).catch(() => {});
      await nextWorker(server, worker);
      const told = await log.wait("call_denied", log.of("call_denied").length || 1);
      assertEquals([told.pid, told.call], [worker, call]);
    }
    assertEquals(await result(server, "return 1"), 1);
  },
);

nativeTest("what a worker has forked, if its filter has a hole, ends with it", async (t) => {
  await using listed = serveText();
  await using server = await startWide({
    files: FILES,
    config: {
      unveil: { "./data": "rwc", "./other": "rwc" },
      reload: { idleGraceMs: 0 },
    },
    env: { FORKING: "1" },
  });
  await runCases(t, FORKING_CASES, server, listed);
});

// ---- what is given up after the start ----

Deno.test("what is dropped can be used while the app opens, and not by its requests nor its Workers", async () => {
  const read = (path: string) => `Deno.readTextFileSync(${JSON.stringify(path)})`;
  await using server = await start({
    files: {
      "app.ts": `import app from "./obeying.ts";
        const key = ${read("keys/key.pem")} + ${read("cert.pem")};
        Deno.writeTextFileSync("keys/used", key);
        globalThis.key = key;
        export default app;
        export function open() { globalThis.opened = ${read("keys/used")}; }`,
      "obeying.ts": OBEYING_APP,
      "keys/key.pem": "key",
      "cert.pem": "cert",
    },
    config: {
      unveil: { "./data": "rwc", "./keys/": "rwc", "./cert.pem": "r" },
      dropAfterOpen: ["./keys", "./cert.pem"],
    },
  });
  assertEquals(await result(server, "return [globalThis.key, globalThis.opened]"), [
    "keycert",
    "keycert",
  ]);
  for (const path of ["keys/key.pem", "keys/used", "cert.pem"]) {
    assertEquals(await denial(server, read(path)), "NotFound", path);
  }
  assertEquals(await denial(server, `Deno.writeTextFileSync("keys/used", "")`), "NotCapable");
  const inWorker = `const source = 'let found; try { ${
    read("keys/key.pem").replaceAll('"', '\\"')
  }; found = "there" } ' +
      'catch (error) { found = error.name } postMessage(found)';
    const worker = new Worker("data:text/javascript," + encodeURIComponent(source), { type: "module" });
    const found = await new Promise((resolve) => worker.onmessage = ({ data }) => resolve(data));
    worker.terminate();
    return found;`;
  assertEquals(await result(server, inWorker), "NotFound");
  assertEquals(await result(server, read("data/file.txt").replace(/^/, "return ")), "data");
  // A worker that comes later has it for its own start.
  const before = await workerPid(server);
  Deno.kill(before, "SIGKILL");
  await nextWorker(server, before);
  assertEquals(await result(server, "return globalThis.key"), "keycert");
});

// ---- without a wall ----

Deno.test('"wall": "deno" leaves workers to Deno\'s permissions, and says so at start', async () => {
  await using server = await start({ config: { wall: "deno" } });
  assertEquals(server.eventsOf("wall_is_deno_only").length, 1);
  const filters = (pid: number) => readStatus(pid)!.Seccomp_filters;
  // It has none but what it inherits.
  assertEquals(filters(await workerPid(server)), filters(server.pid));
  assertEquals(await denial(server, `Deno.readTextFileSync("/etc/passwd")`), "NotFound");
  // It follows a link that leads outside.
  assertEquals(await readOutwardLink(server), "secret");
  // A reload brings the wall in.
  await server.project.configure({ wall: "kernel" });
  assertEquals((await server.hangUp()).event, "reload_done");
  await until("one generation", async () => (await server.status()).generations.length === 1);
  assert(filters(await workerPid(server)) !== filters(server.pid));
});

for (const abi of [0, 1, 2]) {
  Deno.test(`a kernel with Landlock ABI ${abi} is exit 71, and the way out is named`, async () => {
    const entry = [join(DOUBLES, "old_kernel_supervisor.ts"), String(abi)];
    await using server = await start({ entry, wait: "exit" });
    assertEquals((await server.exited()).code, 71);
    assertStringIncludes(server.log, `Landlock ABI ${abi}`);
    assertStringIncludes(server.log, '"wall": "deno"');
    assertEquals(server.eventsOf("serving"), []);
    if (abi > 0) return;
    // What it does then does not ask for the ABI.
    await using other = await start({ entry, config: { wall: "deno" } });
    assertEquals(await result(other, "return 1"), 1);
  });
}

Deno.test("a kernel with the least ABI serves behind what that can hold", async () => {
  const entry = [join(DOUBLES, "old_kernel_supervisor.ts"), "3"];
  await using server = await start({ entry });
  await Deno.symlink("../secret.txt", server.project.path("data/link"));
  const read = (name: string) => `return Deno.readTextFileSync("data/${name}")`;
  assertEquals(await result(server, read("file.txt")), "data");
  assertEquals(await denial(server, read("link")), "PermissionDenied");
  assertEquals(readStatus(await workerPid(server))?.Seccomp, "2");
});
