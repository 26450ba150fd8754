/**
 * What the supervisor's own threads open, and how each of its children is started, as the kernel sees
 * it, over everything that a supervisor does: it reads of a project what makes it what it is, and
 * starts nothing without a wall.
 */
import { assert, assertEquals } from "@std/assert";
import { basename, join, normalize } from "node:path";
import { askSupervisor } from "../../lib/cli/control_client.ts";
import { findDenoDir } from "../../lib/supervisor/image_store.ts";
import { testWith } from "../harness/needs.ts";
import { Project } from "../harness/project.ts";
import { Server, type ServerOptions } from "../harness/server.ts";
import { PATIENCE_MS, until } from "../harness/wait.ts";

const CALLS = "open,openat,openat2,execve,execveat,clone,clone3,fork,vfork," +
  "seccomp,landlock_restrict_self";

/** A process that was started, and what its parent was held by at that time. */
interface Started {
  readonly pid: number;
  readonly landlock: boolean;
  readonly filter: boolean;
}

/** What a supervisor did. */
interface Trace {
  readonly opened: readonly { readonly path: string; readonly flags: string }[];
  readonly started: readonly Started[];
  /** The programs that these have come to run. */
  readonly executed: ReadonlyMap<number, string>;
}

/** Goes through the files of strace: the first process, its threads, and its children. */
function readTrace(folder: string, first: number): Trace {
  const linesOf = (id: number): string[] => {
    try {
      return Deno.readTextFileSync(join(folder, `t.${id}`)).split("\n");
    } catch {
      return [];
    }
  };
  const opened: { path: string; flags: string }[] = [];
  const started: Started[] = [];
  const executed = new Map<number, string>();
  const threads = [first];
  for (let id = threads.shift(); id !== undefined; id = threads.shift()) {
    let [landlock, filter] = [false, false];
    for (const line of linesOf(id)) {
      const open = line.match(/^open(?:at)?\((?:[^,"]*, )?"((?:[^"\\]|\\.)*)", ([\w|]+).*= \d+/);
      if (open) opened.push({ path: open[1]!, flags: open[2]! });
      if (/^landlock_restrict_self\(.*= 0$/.test(line)) landlock = true;
      if (/^seccomp\(.*NEW_LISTENER.*= \d+/.test(line)) filter = true;
      const child = line.match(/^(?:clone3?|v?fork)\(.*= (\d+)$/);
      if (child && line.includes("CLONE_THREAD")) threads.push(Number(child[1]));
      else if (child) started.push({ pid: Number(child[1]), landlock, filter });
    }
  }
  for (const { pid } of started) {
    const exec = linesOf(pid).find((line) => /^execve(at)?\(.*= 0$/.test(line));
    if (exec) executed.set(pid, exec.match(/"([^"]*)"/)![1]!);
  }
  return { opened, started, executed };
}

/** Runs a server behind strace to its end, and gives what it did. */
async function traced(
  project: Project,
  options: ServerOptions,
  use: (server: Server) => Promise<void>,
): Promise<Trace> {
  const folder = await Deno.makeTempDir({ prefix: "holdfast_trace_" });
  try {
    // It stays the test's child: the tracer is a grandchild.
    const prefix = ["strace", "-D", "-ff", "-qq", "-s", "4096", "-e", `trace=${CALLS}`];
    const server = await Server.startOn(project, {
      ...options,
      prefix: [...prefix, "-e", "signal=none", "-o", join(folder, "t")],
    });
    const { pid } = server;
    {
      await using _ = server;
      await use(server);
    }
    return readTrace(folder, pid);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** What was opened of a project in which `files` may be read, and `folders` are the supervisor's. */
function foreignTo(
  { opened }: Trace,
  project: Project,
  files: readonly string[],
  folders: readonly string[],
): string[] {
  const own = (path: string) =>
    files.some((file) => path === project.path(file)) ||
    folders.some((folder) => `${path}/`.startsWith(`${project.path(folder)}/`));
  const foreign = opened.filter(({ path, flags }) =>
    // By what is opened as a path alone nothing can be read: the wall's rules are made of it.
    !flags.includes("O_PATH") && `${path}/`.startsWith(`${project.folder}/`) &&
    !own(normalize(path))
  );
  return [...new Set(foreign.map(({ path }) => path))];
}

/** Every process that was started runs one program, which is Deno, and was behind a wall before. */
function assertWalled({ started, executed }: Trace, atLeast: number): void {
  assertEquals(started.filter(({ landlock, filter }) => !landlock || !filter), []);
  assertEquals(
    [...new Set([...executed.values()].map((path) => basename(path)))],
    [basename(Deno.execPath())],
  );
  assert(executed.size >= atLeast, `${executed.size} programs`);
}

const app = (version: string) => `
  import { word } from "./word.ts";
  export default { fetch: () => new Response("${version} " + word) };
`;

/** A cache with what can be fetched, and none of Holdfast's programs. */
async function createCache(project: Project): Promise<string> {
  const denoDir = project.path("cache");
  await Deno.mkdir(denoDir);
  for (const name of ["npm", "dl", "remote"]) {
    await Deno.symlink(join(findDenoDir(), name), join(denoDir, name));
  }
  return denoDir;
}

testWith(
  { programs: ["strace"], root: true },
  "a supervisor reads of a project its config and env file alone, and starts nothing without a wall",
  async () => {
    const project = await Project.create({
      files: {
        "app.ts": app("one"),
        "word.ts": `export const word: string = "word";`,
        "deno.json": "{}",
        ".env": "WORD=secret",
      },
      config: {
        ...{ env: ["WORD"], envFile: ".env", log: { folder: "./log" } },
        ...{ unveil: { "./data/": "rwc", "./word.ts": "r" }, recycle: { maxRequests: 1 } },
      },
    });
    const denoDir = await createCache(project);
    const env = { DENO_DIR: denoDir };
    const trace = await traced(project, { env, wait: "nothing" }, async (server) => {
      // The first start bundles, and all of it is traced.
      await until("serving", () => server.eventsOf("serving").length > 0, 4 * PATIENCE_MS);
      const bringIn = async (text: string) => {
        await project.write("app.ts", text);
        return (await server.hangUp()).event;
      };
      assertEquals(await bringIn(app("two")), "reload_done");
      assertEquals(await bringIn("import './missing.ts';"), "reload_refused");
      assertEquals(await bringIn("throw new Error('no start');"), "reload_refused");
      const { result } = await askSupervisor(project.runtime, "rollback", "reloaded");
      assertEquals(result.outcome, "done", result.reason);
      assertEquals(await server.text("/"), "one word");
      // Every request makes a worker due.
      await server.waitFor("worker_recycled");
      const [worker] = await server.workers();
      Deno.kill(worker!, "SIGKILL");
      await server.waitFor("worker_lost");
      await until("another worker", async () => {
        const [next] = await server.workers();
        return next !== undefined && next !== worker;
      });
      assertEquals((await server.stop()).code, 0);
    });
    const folders = [".holdfast", "cache"];
    assertEquals(foreignTo(trace, project, ["holdfast.jsonc", ".env", "data", "log"], folders), []);
    // control
    assert(trace.opened.some(({ path }) => path === project.configFile), "no config was read");
    assert(trace.opened.some(({ path }) => path === project.path(".env")), "no env file was read");
    assert(
      trace.opened.some(({ path }) => path.startsWith(project.runtime)),
      "nothing was written",
    );
    assertWalled(trace, 10);
  },
);

testWith(
  { programs: ["strace"], root: true },
  "a start that is refused before there is a runtime folder starts nothing without a wall",
  async () => {
    const project = await Project.create();
    await project.write("holdfast.jsonc", '{ "app": "./app.ts", "runtime": 5 }');
    const trace = await traced(project, { wait: "exit" }, async (server) => {
      assertEquals((await server.ended).code, 78);
    });
    assertEquals(foreignTo(trace, project, ["holdfast.jsonc"], []), []);
    assertWalled(trace, 1);
  },
);
