import { bundle } from "../../lib/planner/bundle.ts";
import { ENTRIES } from "../../lib/planner/programs.ts";
import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { loadConfig } from "../../lib/config/load.ts";
import { ConfigError } from "../../lib/config/problem.ts";
import { join } from "node:path";
import { testWith } from "../harness/needs.ts";
import { isAlive, readStatus } from "../harness/process.ts";
import { HOLDFAST, Project, type ProjectOptions } from "../harness/project.ts";
import { resultOf, runCommand, Server, supervisorPermissions } from "../harness/server.ts";
import { until } from "../harness/wait.ts";

/** A deno program and its caches where everybody may read them; root's own are often not. */
class OpenDeno implements AsyncDisposable {
  readonly #folder: string;

  constructor(folder: string) {
    this.#folder = folder;
  }

  static async create(): Promise<OpenDeno> {
    const folder = await Deno.realPath(await Deno.makeTempDir({ prefix: "holdfast_deno_" }));
    const open = new OpenDeno(folder);
    await Deno.copyFile(Deno.execPath(), open.program);
    await Deno.chmod(open.program, 0o755);
    const { stdout } = await new Deno.Command(Deno.execPath(), { args: ["info", "--json"] })
      .output();
    const { denoDir } = JSON.parse(new TextDecoder().decode(stdout));
    // On a fresh machine the bundler is fetched by the first bundle, which may be this one.
    await bundle(folder, ENTRIES.worker);
    // What is cached for root, the bundler included, without the databases that others have open.
    await Deno.mkdir(open.denoDir);
    for (const name of ["npm", "dl"]) {
      await run("cp", "-r", join(denoDir, name), open.denoDir);
    }
    await run("chmod", "-R", "a+rX", folder);
    return open;
  }

  get program(): string {
    return join(this.#folder, "deno");
  }

  get denoDir(): string {
    return join(this.#folder, "dir");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.#folder, { recursive: true });
  }
}

async function run(program: string, ...args: string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command(program, { args }).output();
  if (!success) throw new Error(`${program}: ${new TextDecoder().decode(stderr)}`);
}

/** A project that everybody may enter. */
async function createOpenProject(options: ProjectOptions): Promise<Project> {
  const project = await Project.create(options);
  await Deno.chmod(project.folder, 0o755);
  return project;
}

/** Starts as root, with two more groups than root has, that no worker may inherit. */
function startAsRoot(project: Project, deno: OpenDeno, prefix: readonly string[] = []): Server {
  const permissions = supervisorPermissions(project).map((permission) =>
    permission.startsWith("--allow-run=") ? `--allow-run=${deno.program}` : permission
  );
  const start = [join(HOLDFAST, "main.ts"), "start", "--config", project.configFile];
  const [program, ...args] = [
    ...[...prefix, "setpriv", "--groups=4,27", deno.program, "run"],
    ...[...permissions, ...start],
  ];
  const process = new Deno.Command(program!, {
    args,
    cwd: HOLDFAST,
    env: { DENO_DIR: deno.denoDir },
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).spawn();
  return new Server(project, process);
}

/** Ids and groups of a process, as /proc shows them. */
function credentials(pid: number) {
  const status = readStatus(pid);
  assert(status !== undefined, `${pid} is gone`);
  const ids = (text: string) => text.trim().split(/\s+/).filter((id) => id !== "").map(Number);
  return {
    uids: ids(status["Uid"]!),
    gids: ids(status["Gid"]!),
    groups: ids(status["Groups"]!),
    capabilities: ["CapInh", "CapPrm", "CapEff", "CapAmb"].map((name) =>
      Number(`0x${status[name]}`)
    ),
  };
}

async function nobody(): Promise<{ uid: number; gid: number }> {
  const passwd = await Deno.readTextFile("/etc/passwd");
  const [, , uid, gid] = passwd.split("\n").find((line) => line.startsWith("nobody:"))!.split(":");
  return { uid: Number(uid), gid: Number(gid) };
}

/** A package that is cached. */
const HONO = "hono@4.13.19";

/** Says what it can do to files. */
const APP = `export default {
  async fetch(request) {
    const path = decodeURIComponent(new URL(request.url).pathname.slice(1));
    try {
      return new Response(path === "" ? "serves" : await Deno.readTextFile(path));
    } catch (error) {
      return new Response(error.name);
    }
  },
};`;

type Case = (deno: OpenDeno) => Promise<void>;

/** What is tried as root, with one deno that everybody may run. */
const CASES: [name: string, run: Case][] = [];

function rootCase(name: string, run: Case): void {
  CASES.push([name, run]);
}

rootCase(
  "a worker of user nobody has its ids alone: no group, no capability; the supervisor stays root",
  async (deno) => {
    const project = await createOpenProject({
      files: { "app.ts": APP, "data/open": "for all", "data/closed": "for root" },
      config: { user: "nobody", unveil: { "./data": "r" } },
    });
    await Deno.chmod(project.path("data/closed"), 0o600);
    await using server = startAsRoot(project, deno);
    await server.waitFor("serving");
    const { uid, gid } = await nobody();
    const expected = {
      uids: Array(4).fill(uid),
      gids: Array(4).fill(gid),
      groups: [],
      capabilities: [0, 0, 0, 0],
    };
    const [worker] = await server.workers();
    assertEquals(credentials(worker!), expected);
    const supervisor = credentials(server.pid);
    assertEquals([supervisor.uids, supervisor.groups], [[0, 0, 0, 0], [4, 27]]);
    assertEquals(await server.text("/"), "serves");

    // The kernel keeps it from what is root's, in a folder that Deno allows.
    const read = (name: string) => server.text(`/${encodeURIComponent(project.path(name))}`);
    assertEquals([await read("data/open"), await read("data/closed")], [
      "for all",
      "PermissionDenied",
    ]);

    // Those that come later are no different.
    Deno.kill(worker!, "SIGKILL");
    await until(
      "the replacement",
      async () => (await server.workers()).some((pid) => pid !== worker),
    );
    assertEquals(credentials((await server.workers())[0]!), expected);
    assertEquals((await server.hangUp()).event, "reload_done");
    await until("one generation alone", async () => (await server.workers()).length === 1);
    assertEquals(credentials((await server.workers())[0]!), expected);
    assertEquals(await server.text("/"), "serves");
    assertEquals(server.eventsOf("workers_run_as_root"), []);
  },
);

rootCase(
  "a worker of user nobody comes up where /proc shows the supervisor no process but its own",
  async (deno) => {
    const recycle = { maxMemoryBytes: 16 * 2 ** 30 };
    const project = await createOpenProject({ config: { user: "nobody", recycle } });
    const seen = "mount -t proc -o hidepid=ptraceable,subset=pid proc /proc";
    const bound = 'exec setpriv --bounding-set=-sys_ptrace --inh-caps=-sys_ptrace "$0" "$@"';
    const prefix = ["unshare", "--mount", "sh", "-c", `${seen} && ${bound}`];
    await using server = startAsRoot(project, deno, prefix);
    await server.waitFor("serving");
    const [worker] = await server.workers();
    assertEquals(credentials(worker!).uids, Array(4).fill((await nobody()).uid));
    assertEquals(readStatus(worker!)!.Seccomp, "2");
    assertEquals((await server.hangUp()).event, "reload_done");
    assertEquals(await server.text("/"), "one /");
    // What it cannot do then, it says.
    const { hint } = await server.waitFor("memory_not_seen");
    assertStringIncludes(`${hint}`, "ProtectProc=");
  },
);

rootCase(
  "a supervisor that is root can end a worker of user nobody that does not react",
  async (deno) => {
    const project = await createOpenProject({
      config: { user: "nobody", reload: { idleGraceMs: 0, drainDeadlineMs: 0 } },
    });
    await using server = startAsRoot(project, deno);
    await server.waitFor("serving");
    const [worker] = await server.workers();
    Deno.kill(worker!, "SIGSTOP");
    assertEquals((await server.stop()).code, 0);
    assertEquals((await server.waitFor("generation_ended")).outcome, "killed");
    assertEquals(isAlive(worker!), false);
  },
);

rootCase("group sets the worker's group, and user and group may be decimal ids", async (deno) => {
  const project = await createOpenProject({ config: { user: "12345", group: "23456" } });
  await using server = startAsRoot(project, deno);
  await server.waitFor("serving");
  const found = credentials((await server.workers())[0]!);
  assertEquals([found.uids, found.gids, found.groups], [
    Array(4).fill(12345),
    Array(4).fill(23456),
    [],
  ]);
});

rootCase(
  "an error of TypeScript names its line under a user, after each reload; the control socket stays out of reach",
  async (deno) => {
    const app = (line: number) =>
      `interface Order { readonly price: number }
${"\n".repeat(line - 4)}type Price = (order: Order) => number;
const total: Price = ({ price }: Order): number => {
  if (price * 1.2 + 3 > 0) throw new Error("too much");
  return price;
};
export default {
  fetch(request: Request): Response {
    try {
      return new Response(String(total({ price: request.url.length })));
    } catch (error) {
      return new Response((error as Error).stack + " in " + Deno.pid);
    }
  },
};`;
    const project = await createOpenProject({
      files: { "app.ts": app(10) },
      config: { user: "nobody" },
    });
    await using server = startAsRoot(project, deno);
    await server.waitFor("serving");
    const assertThrows = async (line: number) => {
      const [pid] = (await server.workers()).slice(-1);
      const text = await server.text("/");
      assertStringIncludes(text, `app.ts:${line}:`);
      assertStringIncludes(text, ` in ${pid}`);
    };
    await project.write("app.ts", "not a program");
    assertEquals((await server.hangUp()).event, "reload_refused");
    await assertThrows(10);
    await project.write("app.ts", app(20));
    assertEquals((await server.hangUp()).event, "reload_done");
    await until("one generation alone", async () => (await server.workers()).length === 1);
    await assertThrows(20);
    const { gid } = await nobody();
    const modes = await Promise.all(["", "/control.sock", "/lock"].map(async (name) => {
      const { mode, uid, gid } = await Deno.lstat(project.runtime + name);
      return [(mode ?? 0) & 0o777, uid, gid];
    }));
    assertEquals(modes, [[0o710, 0, gid], [0o600, 0, 0], [0o600, 0, 0]]);
  },
);

rootCase(
  "code and packages that the user cannot read are run all the same, and its errors are",
  async (deno) => {
    const project = await createOpenProject({
      files: {
        "deno.json": JSON.stringify({ imports: { hono: `npm:${HONO}` } }),
        "app.ts": `
        import { Hono } from "hono";
        const app = new Hono();
        app.get("/", (context) => context.text("read"));
        app.get("/throw", (): Response => {
          throw new Error("thrown" as string);
        });
        export default app;
      `,
      },
      config: { user: "nobody" },
    });
    await Deno.chmod(project.path("app.ts"), 0o600);
    const packages = join(deno.denoDir, "npm");
    await Deno.chmod(packages, 0o700);
    await using server = startAsRoot(project, deno);
    await server.waitFor("serving");
    await Deno.chmod(packages, 0o755);
    assertEquals(await server.text("/"), "read");
    const response = await server.get("/throw");
    assertEquals(response.status, 500);
    await response.body?.cancel();
    const output = () => server.eventsOf("worker_output").map(({ text }) => text).join("\n");
    await until("its stack in the log", () => /app\.ts:6:\d+/.test(output()));
    assertEquals(await server.text("/"), "read");
    assertEquals(server.eventsOf("worker_lost"), []);
  },
);

rootCase(
  "a project that the user cannot enter is refused with the reason, at start and at reload",
  async (deno) => {
    const project = await createOpenProject({ config: { user: "nobody" } });
    {
      await using server = startAsRoot(project, deno);
      await server.waitFor("serving");
      await Deno.chmod(project.folder, 0o700);
      const refused = await server.hangUp();
      assertEquals(refused.event, "reload_refused");
      assertStringIncludes(`${refused.reason} ${refused.hint}`, project.folder);
      assertEquals(await server.text("/"), "one /");
      assertEquals((await runCommand(project, "stop")).code, 0);
      await server.exited();
      const again = startAsRoot(project, deno);
      const { code } = await again.exited();
      assertEquals([code === 0, code === 70], [false, false], again.log);
      assertStringIncludes(again.log, project.folder);
    }
  },
);

const WRONG_USERS: Record<string, [Record<string, string>, string]> = {
  "a user that does not exist": [{ user: "nosuchuser" }, 'no user "nosuchuser" in /etc/passwd'],
  "a group that does not exist": [
    { user: "nobody", group: "nosuchgroup" },
    'no group "nosuchgroup" in /etc/group',
  ],
  root: [{ user: "root" }, "workers never run as root"],
  "the id of root": [{ user: "0" }, "workers never run as root"],
  "the group of root": [{ user: "nobody", group: "root" }, "workers never run as root"],
};

for (const [what, [config, message]] of Object.entries(WRONG_USERS)) {
  Deno.test(`${what} as the workers' account is refused, and the file's place is named`, async () => {
    await using project = await Project.create({ config });
    const error = await assertRejects(() => loadConfig(project.configFile), ConfigError);
    assertStringIncludes(error.message, message);
    assertStringIncludes(error.message, `${project.configFile}:1:`);
  });
}

Deno.test("check and start of a config with such an account are exit 78, and say why", async () => {
  const [config, message] = WRONG_USERS["root"]!;
  await using project = await Project.create({ config });
  for (const command of ["check", "start"]) {
    const { code, stderr } = await runCommand(project, command);
    assertEquals(code, 78, stderr);
    assertStringIncludes(stderr, message);
    assertStringIncludes(stderr, `${project.configFile}:1:`);
  }
});

/** Runs a command as nobody, with nothing of root left. */
async function runAsNobody(deno: OpenDeno, project: Project, command: string) {
  const { uid, gid } = await nobody();
  const home = project.path("home");
  await Deno.mkdir(home, { recursive: true });
  await Deno.chown(home, uid, gid);
  const ids = [`--reuid=${uid}`, `--regid=${gid}`, "--clear-groups", "--reset-env"];
  const output = await new Deno.Command("setpriv", {
    args: [
      ...ids,
      "env",
      `DENO_DIR=${deno.denoDir}`,
      `HOME=${home}`,
      deno.program,
      "run",
      "-A",
      join(HOLDFAST, "main.ts"),
      command,
      "--config",
      project.configFile,
    ],
    cwd: "/",
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    signal: AbortSignal.timeout(40_000),
  }).output();
  return resultOf(output);
}

rootCase(
  "a config that names a user is exit 78 for everybody but root, and fine without the user",
  async (deno) => {
    await using project = await createOpenProject({});
    const fine = await runAsNobody(deno, project, "check");
    assertEquals([fine.code, fine.stdout], [0, `${project.configFile}: ok\n`], fine.stderr);
    await project.configure({ user: "nobody" });
    const { uid } = await nobody();
    for (const command of ["check", "start"]) {
      // The runtime folder would be in a folder of root.
      await project.configure({ runtime: project.path("home/runtime") });
      const { code, stderr } = await runAsNobody(deno, project, command);
      assertEquals(code, 78, stderr);
      assertStringIncludes(stderr, `only root can run workers as "nobody", and this is uid ${uid}`);
    }
  },
);

rootCase(
  "an ordinary user's workers are behind the whole wall, and nobody of that user looks into the supervisor",
  async (deno) => {
    const { uid, gid } = await nobody();
    await run("chown", "-R", `${uid}:${gid}`, deno.denoDir);
    const project = await createOpenProject({ config: { limits: { descriptors: 500 } } });
    await run("chown", "-R", `${uid}:${gid}`, project.folder);
    const permissions = supervisorPermissions(project).map((permission) =>
      permission.startsWith("--allow-run=") ? `--allow-run=${deno.program}` : permission
    );
    const ids = [`--reuid=${uid}`, `--regid=${gid}`, "--clear-groups"];
    const start = [join(HOLDFAST, "main.ts"), "start", "--config", project.configFile];
    const process = new Deno.Command("setpriv", {
      args: [...ids, deno.program, "run", ...permissions, ...start],
      cwd: HOLDFAST,
      env: { DENO_DIR: deno.denoDir, HOME: project.folder },
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).spawn();
    await using server = new Server(project, process);
    await server.waitFor("serving");
    assertEquals(await server.text("/"), "one /");
    for (const reload of ["before", "after"]) {
      const [worker] = await server.workers();
      const { uids } = credentials(worker!);
      assertEquals(uids, Array(4).fill(uid), reload);
      const status = readStatus(worker!)!;
      assertEquals([status["NoNewPrivs"], status["Seccomp"]], ["1", "2"], reload);
      assertMatch(
        await Deno.readTextFile(`/proc/${worker}/limits`),
        /^Max open files +500 +500 /m,
      );
      // The kernel gives these files to root as soon as a process is not dumpable.
      assertEquals(Deno.statSync(`/proc/${server.pid}/environ`).uid, 0, reload);
      if (reload === "before") assertEquals((await server.hangUp()).event, "reload_done");
      await until("one generation alone", async () => (await server.workers()).length === 1);
    }
    // Root refuses a cache that the user of its workers owns.
    await run("chown", "-R", "0:0", deno.denoDir);
  },
);

rootCase("the runtime folder of another user is refused", async () => {
  await using project = await Project.create();
  const { uid, gid } = await nobody();
  await Deno.mkdir(project.path(".holdfast"));
  await Deno.chown(project.path(".holdfast"), uid, gid);
  const { code, stderr } = await runCommand(project, "start");
  assertEquals(code, 71);
  assertStringIncludes(stderr, `${project.path(".holdfast")} is no folder of this user`);
});

rootCase(
  "a helper has the group of the workers' user and an id of its own, and so has the logger",
  async (deno) => {
    const anything = `const anything = {
    "~standard": { version: 1, vendor: "test", validate: (value) => ({ value }) },
  };`;
    const project = await createOpenProject({
      files: {
        "app.ts": APP,
        "helper.ts": `${anything}
        export default { echo: { input: anything, output: anything, handle: (value) => value } };`,
      },
      config: {
        user: "nobody",
        helpers: { echo: { module: "./helper.ts" } },
        log: { folder: "./log" },
      },
    });
    await using server = startAsRoot(project, deno);
    await server.waitFor("serving");
    const status = await server.status();
    const { workers, helpers } = status.generations[0]!;
    const ids = await nobody();
    const [worker, helper, logger] = [workers[0]!, helpers[0]!, status.logger!].map(
      ({ process }) => credentials(process!.pid),
    );
    for (const { gids, groups, capabilities } of [worker!, helper!]) {
      assertEquals(new Set(gids), new Set([ids.gid]));
      assertEquals(groups.filter((group) => group !== ids.gid), []);
      assertEquals(capabilities, [0, 0, 0, 0]);
    }
    assertEquals(new Set(worker!.uids), new Set([ids.uid]));
    const all = new Set([0, ...worker!.uids, ...helper!.uids, ...logger!.uids]);
    assertEquals(all.size, 4, [...all].join());
    await server.text("/");
    const log = await until("a record", async () => {
      const text = await Deno.readTextFile(project.path("log/access.log"));
      return text === "" ? undefined : await Deno.stat(project.path("log/access.log"));
    });
    assertEquals([log.uid, (log.mode ?? 0) & 0o777], [logger!.uids[0], 0o640]);
  },
);

const needs = { root: true, programs: ["setpriv"] } as const;
testWith(needs, "workers run as whom the config names, and as nobody else", async (t) => {
  await using deno = await OpenDeno.create();
  for (const [name, run] of CASES) await t.step(name, () => run(deno));
});
