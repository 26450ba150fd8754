/** A real Holdfast on a throw-away project, with its log at hand and a check for leaks at the end. */
import { join } from "node:path";
import { askSupervisor } from "../../lib/cli/control_client.ts";
import type { ReloadResult, Status } from "../../lib/protocol/control.ts";
import { isAlive, processesIn } from "./process.ts";
import { HOLDFAST, Project, type ProjectOptions } from "./project.ts";
import { PATIENCE_MS, until } from "./wait.ts";

/** How long the end of a supervisor may take; the default drain takes up to 32 s. */
const EXIT_PATIENCE_MS = 45_000;

/** One line of the log. */
export type LogEvent = { readonly event: string } & Readonly<Record<string, unknown>>;

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
  readonly events: LogEvent[] = [];
  readonly #process: Deno.ChildProcess;
  readonly #reading: Promise<void>;
  #text = "";
  #exit: Deno.CommandStatus | undefined;

  constructor(project: Project, process: Deno.ChildProcess) {
    this.project = project;
    this.#process = process;
    this.#reading = this.#readLog();
    process.status.then((status) => this.#exit = status);
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
    const [command, ...args] = [...prefix, Deno.execPath(), ...run];
    const process = new Deno.Command(command!, {
      args,
      cwd: HOLDFAST,
      env: { ...env },
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).spawn();
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
    return this.#process.status;
  }

  /** All of the log, as it was written. */
  get log(): string {
    return this.#text;
  }

  /** The events of that name so far. */
  eventsOf(event: string): LogEvent[] {
    return this.events.filter((each) => each.event === event);
  }

  /** Waits until the log has `count` events of that name, and gives the last of them. */
  async waitFor(event: string, count = 1): Promise<LogEvent> {
    return await until(`${count} ${event} in the log`, () => {
      if (this.#exit && this.eventsOf(event).length < count) {
        throw new Error(`It ended before it logged ${event}:\n${this.#text.slice(-4000)}`);
      }
      return this.eventsOf(event)[count - 1];
    });
  }

  signal(signal: Deno.Signal): void {
    Deno.kill(this.pid, signal);
  }

  /** Sends HUP and waits for the outcome of that reload. */
  async hangUp(): Promise<LogEvent> {
    const outcomes = () =>
      this.events.filter(({ event }) => event === "reload_done" || event === "reload_refused");
    const before = outcomes().length;
    this.signal("SIGHUP");
    return await until("the outcome of the reload", () => outcomes()[before]);
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
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      this.#killAll();
    }, EXIT_PATIENCE_MS);
    await this.#reading;
    const status = await this.#process.status;
    clearTimeout(timer);
    if (late) throw new Error(`It did not end by itself:\n${this.#text.slice(-4000)}`);
    return status;
  }

  /** Sends TERM and waits for the end. */
  async stop(): Promise<Deno.CommandStatus> {
    if (!this.#exit) this.signal("SIGTERM");
    return await this.exited();
  }

  /** Stops, and fails if anything is left: a process, a socket, a lock. */
  async [Symbol.asyncDispose](): Promise<void> {
    const late = setTimeout(() => this.#killAll(), 45_000);
    await this.stop();
    clearTimeout(late);
    const left = processesIn(this.project.folder).filter(isAlive);
    const files = [...readFolder(this.project.path(".holdfast"))];
    const listens = await connects(this.project.port);
    this.#killAll();
    await this.project[Symbol.asyncDispose]();
    if (left.length > 0) throw new Error(`Left behind: processes ${left}\n${this.#text}`);
    if (listens) throw new Error(`Left behind: somebody listens on ${this.project.port}`);
    if (files.length > 0) throw new Error(`Left behind: ${files} in .holdfast\n${this.#text}`);
  }

  #killAll(): void {
    const left = processesIn(this.project.folder);
    if (!this.#exit) left.push(this.pid);
    for (const pid of left) {
      try {
        Deno.kill(pid, "SIGKILL");
      } catch {
        // Gone by now.
      }
    }
  }

  async #readLog(): Promise<void> {
    let held = "";
    for await (const chunk of this.#process.stderr.pipeThrough(new TextDecoderStream())) {
      this.#text += chunk;
      const lines = (held + chunk).split("\n");
      held = lines.pop()!;
      for (const line of lines) {
        try {
          this.events.push(JSON.parse(line));
        } catch {
          // Not every line is an event: the CLI's own errors are for people.
        }
      }
    }
  }
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
