/** A real Holdfast on a throw-away project, with its log at hand and a check for leaks at the end. */
import { join } from "node:path";
import { askSupervisor } from "../../lib/cli/control_client.ts";
import type { ReloadResult, Status } from "../../lib/protocol/control.ts";
import { isAlive, plannersOf, processesIn } from "./process.ts";
import {
  eventsOf,
  hangUp,
  killQuietly,
  type LogEvent,
  ProcessLog,
  waitForEvent,
} from "./process_log.ts";
import { HOLDFAST, Project, type ProjectOptions } from "./project.ts";
import { PATIENCE_MS, until } from "./wait.ts";

/** How long the end of a supervisor may take; the default drain takes up to 32 s. */
const EXIT_PATIENCE_MS = 45_000;

/** How often one that is to cut is told again. */
const CUT_EVERY_MS = 100;

export type { LogEvent } from "./process_log.ts";

/** How a command ended. */
export interface CommandResult {
  readonly code: number;
  readonly stdout: string;
  readonly stderr: string;
}

/** The permissions that `deno task start` gives the supervisor; the runtime folder is the project's. */
export function supervisorPermissions(project: Project): string[] {
  return [
    "--no-prompt",
    "--allow-read",
    `--allow-write=${project.folder}`,
    "--allow-net",
    `--allow-run=${Deno.execPath()}`,
    "--allow-env",
    "--allow-ffi",
    "--allow-sys=uid",
  ];
}

/** Runs a command of the CLI on a project to its end. */
export function runCommand(project: Project, ...args: string[]): Promise<CommandResult> {
  return runLongCommand(PATIENCE_MS, project, ...args);
}

/** Runs a command that may take its time. */
export async function runLongCommand(
  patienceMs: number,
  project: Project,
  ...args: string[]
): Promise<CommandResult> {
  const [name, ...more] = args;
  const output = await new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "-A",
      join(HOLDFAST, "main.ts"),
      name!,
      "--config",
      project.configFile,
      ...more,
    ],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
    // A start that serves although it must not is ended by this TERM.
    signal: AbortSignal.timeout(patienceMs),
  }).output();
  return resultOf(output);
}

/** What a process came to, as text. */
export function resultOf({ code, stdout, stderr }: Deno.CommandOutput): CommandResult {
  const decoder = new TextDecoder();
  return { code, stdout: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

export interface ServerOptions extends ProjectOptions {
  /** The program to run in place of `main.ts start`, with the config's path as last argument. */
  readonly entry?: readonly string[];
  /** What stands before the command, such as `ip netns exec NAME`; it must end in an exec. */
  readonly prefix?: readonly string[];
  /** Further environment. */
  readonly env?: Readonly<Record<string, string>>;
  /** What to wait for before the test goes on; "exit" for a start that must fail. */
  readonly wait?: "serving" | "exit" | "nothing";
}

export class Server implements AsyncDisposable {
  readonly project: Project;
  readonly #process: ProcessLog;

  /** @param process its standard error is a pipe, or is read already */
  constructor(project: Project, process: Deno.ChildProcess | ProcessLog) {
    this.project = project;
    this.#process = process instanceof ProcessLog
      ? process
      : new ProcessLog(process, process.stderr);
  }

  static async start(options: ServerOptions = {}): Promise<Server> {
    const project = await Project.create(options);
    return await Server.startOn(project, options);
  }

  /** Starts on a project that exists; it is removed with the server. */
  static async startOn(project: Project, options: ServerOptions = {}): Promise<Server> {
    const { entry, prefix = [], env = {}, wait = "serving" } = options;
    const program = entry ?? [join(HOLDFAST, "main.ts"), "start", "--config"];
    const run = ["run", ...supervisorPermissions(project), ...program, project.configFile];
    const process = ProcessLog.spawn([...prefix, Deno.execPath(), ...run], {
      cwd: HOLDFAST,
      env: { ...env },
    });
    const server = new Server(project, process);
    try {
      if (wait === "serving") await server.waitFor("serving");
      if (wait === "exit") await server.exited();
    } catch (error) {
      await server[Symbol.asyncDispose]().catch(() => {});
      throw error;
    }
    return server;
  }

  get pid(): number {
    return this.#process.pid;
  }

  /** How it ended, when it has. */
  get ended(): Promise<Deno.CommandStatus> {
    return this.#process.child.status;
  }

  get events(): LogEvent[] {
    return this.#process.events;
  }

  /** All of the log, as it was written. */
  get log(): string {
    return this.#process.text;
  }

  /** The events of that name so far. */
  eventsOf(event: string): LogEvent[] {
    return eventsOf(this.events, event);
  }

  /** Waits until the log has `count` events of that name, and gives the last of them. */
  async waitFor(event: string, count = 1): Promise<LogEvent> {
    return await waitForEvent(this.#process, event, count);
  }

  signal(signal: Deno.Signal): void {
    Deno.kill(this.pid, signal);
  }

  /** Says TERM until it cuts: one that comes soon after the first is the same order. */
  async cut(): Promise<void> {
    await until(
      "the cut",
      () => {
        this.#process.signal("SIGTERM");
        return this.eventsOf("cutting").length > 0;
      },
      PATIENCE_MS,
      CUT_EVERY_MS,
    );
  }

  /** Sends HUP and waits for the outcome of that reload. */
  async hangUp(): Promise<LogEvent> {
    return await hangUp(this.#process);
  }

  /** What the supervisor says of itself, asked over its control socket. */
  async status(): Promise<Status> {
    const { status } = await askSupervisor(this.project.runtime, "status", "status");
    return status;
  }

  /** Reloads over the control socket, and waits for the outcome. */
  async reload(): Promise<ReloadResult> {
    const { result } = await askSupervisor(this.project.runtime, "reload", "reloaded");
    return result;
  }

  /** Process ids of all workers that `status` names. */
  async workers(): Promise<number[]> {
    const { generations } = await this.status();
    return generations.flatMap(({ workers }) =>
      workers.flatMap(({ process }) => process?.pid ?? [])
    );
  }

  /** Asks once, on a connection of its own. */
  async get(path = "/", init: RequestInit = {}): Promise<Response> {
    const headers = { connection: "close", ...init.headers };
    const signal = AbortSignal.timeout(PATIENCE_MS);
    return await fetch(`${this.project.origin}${path}`, { signal, ...init, headers });
  }

  /** The text of the answer to one question. */
  async text(path = "/"): Promise<string> {
    return await (await this.get(path)).text();
  }

  /** Waits for the end of the supervisor. */
  async exited(): Promise<Deno.CommandStatus> {
    const { status, late } = await this.#process.ended(EXIT_PATIENCE_MS, () => this.#killAll());
    if (late) throw new Error(`It did not end by itself:\n${this.log.slice(-4000)}`);
    return status;
  }

  /** Sends TERM and waits for the end. */
  async stop(): Promise<Deno.CommandStatus> {
    this.#process.signal("SIGTERM");
    return await this.exited();
  }

  /** Stops, and fails if anything is left: a process, a socket, a lock. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    const { folder } = this.project;
    const left = [...processesIn(folder), ...plannersOf(folder)].filter(isAlive);
    const files = leftIn(this.project.path(".holdfast"));
    const listens = await connects(this.project.port);
    this.#killAll();
    await this.project[Symbol.asyncDispose]();
    if (left.length > 0) throw new Error(`Left behind: processes ${left}\n${this.log}`);
    if (listens) throw new Error(`Left behind: somebody listens on ${this.project.port}`);
    if (files.length > 0) throw new Error(`Left behind: ${files} in .holdfast\n${this.log}`);
  }

  #killAll(): void {
    processesIn(this.project.folder).forEach((pid) => killQuietly(pid));
    this.#process.kill();
  }
}

/** What is left in a runtime folder: images and certificates stay, and nothing that was being made. */
function leftIn(folder: string): string[] {
  return [...readFolder(folder)].flatMap((name) =>
    name === ".gitignore"
      ? []
      : name === "images" || name === "acme"
      ? [...readFolder(join(folder, name))].filter((each) => /^new_|\.new$/.test(each))
      : name
  );
}

async function connects(port: number): Promise<boolean> {
  try {
    (await Deno.connect({ hostname: "127.0.0.1", port })).close();
    return true;
  } catch {
    return false;
  }
}

function* readFolder(path: string): Generator<string> {
  try {
    for (const { name } of Deno.readDirSync(path)) yield name;
  } catch {
    // Never made.
  }
}
