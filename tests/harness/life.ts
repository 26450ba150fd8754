/** What tests of a supervisor's life look at: its processes, signals, and starts that take as long as wanted. */
import { join } from "node:path";
import { processesIn, readArguments, readStatus } from "./process.ts";
import { isAlive } from "./process.ts";
import { HOLDFAST, PLAIN_APP, Project } from "./project.ts";
import { Server, supervisorPermissions } from "./server.ts";
import { until } from "./wait.ts";

/** {@link PLAIN_APP} by its version. */
export function version(text: string): string {
  return PLAIN_APP.replace('"one"', JSON.stringify(text));
}

/** What the config of an app with {@link GATE} unveils. */
export const GATE_UNVEIL = { "./gate/": "rwc" };

/** An app with this opens when the file `gate/open` is there, and takes it away: each lets one in. */
export const GATE = `
export async function open() {
  for (;;) {
    try {
      return Deno.removeSync("gate/open");
    } catch {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}
`;

/** Files that make {@link GATE_UNVEIL} a place that is there. */
export const GATE_FILES = { "gate/about": "" };

/**
 * Waits until a supervisor has its own answer to signals: it takes its lock after that. The kernel's
 * word that a signal is caught comes too early, since the runtime may not have the listener yet.
 */
export async function untilHeedsSignals({ project }: Server): Promise<void> {
  await until("the lock", () => {
    try {
      return Deno.statSync(join(project.runtime, "lock")).isFile;
    } catch {
      return false;
    }
  });
}

/** What a process was told to do, if it is still there. */
export function firstArgument(pid: number): string | undefined {
  try {
    return readArguments(pid)[1];
  } catch {
    return undefined;
  }
}

/** Starts a supervisor as the leader of a process group, as a terminal does. */
export function startAsGroup(project: Project): Server {
  const start = [join(HOLDFAST, "main.ts"), "start", "--config", project.configFile];
  const process = new Deno.Command(Deno.execPath(), {
    args: ["run", ...supervisorPermissions(project), ...start],
    cwd: HOLDFAST,
    stdin: "null",
    stdout: "null",
    stderr: "piped",
    detached: true,
  }).spawn();
  return new Server(project, process);
}

/** The workers of a project; other children of its supervisor do not run from standard input. */
export function workersOf({ folder }: Project): number[] {
  return processesIn(folder).filter((pid) => {
    try {
      return isAlive(pid) && readArguments(pid).at(-1) === "-";
    } catch {
      return false;
    }
  });
}

/** The living workers of the generation that serves; `server.workers()` has those that drain, too. */
export async function servingWorkers(server: Server): Promise<number[]> {
  const { generations } = await server.status();
  const { workers } = generations.find(({ state }) => state === "serving")!;
  return workers.flatMap(({ process }) => process?.pid ?? []);
}

/** Waits until a project has so many workers, those of a candidate with them. */
export async function untilWorkers(server: Server, count: number): Promise<void> {
  let ended: Deno.CommandStatus | undefined;
  void server.ended.then((status) => ended = status);
  try {
    await until(`${count} workers`, () => {
      if (ended) throw new Error(`It ended: ${JSON.stringify(ended)}`);
      return workersOf(server.project).length === count;
    });
  } catch (error) {
    const { pid, project } = server;
    const found = processesIn(project.folder).map((each) => readArguments(each).join(" "));
    const facts = JSON.stringify({ supervisor: readStatus(pid)?.["State"], found });
    throw new Error(`${(error as Error).message}\n${facts}\n${server.log.slice(-4000)}`, {
      cause: error,
    });
  }
}
