/** A service manager that a test owns, and a real Holdfast under it; the datagrams are real. */
import { join } from "node:path";
import { isAlive, processesIn } from "./process.ts";
import { ProcessLog } from "./process_log.ts";
import { Project, type ProjectOptions, REPOSITORY } from "./project.ts";
import { type LogEvent, supervisorPermissions } from "./server.ts";
import { until } from "./wait.ts";

const PROGRAM = join(REPOSITORY, "tests/harness/service_manager.py");

/** How long the end of a supervisor may take. */
const END_PATIENCE_MS = 60_000;

/** What the manager saw; `at` is CLOCK_MONOTONIC in microseconds. */
export interface Sight {
  readonly at: number;
  /** The assignments of a datagram. */
  readonly message?: Readonly<Record<string, string>>;
  /** Who sent it. */
  readonly sender?: number;
  /** How many descriptors came with it. */
  readonly sent?: number;
  /** The names in the store after it. */
  readonly stored?: readonly string[];
  readonly started?: number;
  readonly ended?: number;
  readonly signalled?: number;
  readonly listens?: string;
}

export interface ManagerOptions extends ProjectOptions {
  /** In the abstract namespace, instead of a path. */
  readonly abstract?: boolean;
}

export class ServiceManagerDouble implements AsyncDisposable {
  readonly project: Project;
  readonly sights: readonly Sight[];
  readonly #process: ProcessLog<Sight>;
  readonly #orders: WritableStreamDefaultWriter<Uint8Array>;

  constructor(project: Project, process: ProcessLog<Sight>) {
    this.project = project;
    this.sights = process.events;
    this.#process = process;
    this.#orders = process.child.stdin.getWriter();
  }

  static async create(options: ManagerOptions = {}): Promise<ServiceManagerDouble> {
    const project = await Project.create(options);
    const path = project.path("notify.sock");
    const address = options.abstract ? `@holdfast-test-${Deno.pid}-${project.port}` : path;
    const process = ProcessLog.spawn<Sight>(["python3", PROGRAM, address], {
      stdin: "piped",
      reads: "stdout",
    });
    const manager = new ServiceManagerDouble(project, process);
    await manager.until("the notify socket", ({ listens }) => listens === "notify");
    return manager;
  }

  async #order(order: Readonly<Record<string, unknown>>): Promise<void> {
    await this.#orders.write(new TextEncoder().encode(`${JSON.stringify(order)}\n`));
  }

  /** Waits for a sight after the first `from` ones. */
  async until(what: string, is: (sight: Sight) => unknown, from = 0): Promise<Sight> {
    try {
      return await until(what, () => this.sights.slice(from).find(is), END_PATIENCE_MS);
    } catch (error) {
      throw new Error(`${(error as Error).message}\n${JSON.stringify(this.sights)}\n${this.log}`);
    }
  }

  /** Starts Holdfast with what is passed and what is stored, and waits until it says READY=1. */
  async start(env: Readonly<Record<string, string>> = {}): Promise<number> {
    const from = this.sights.length;
    const started = await this.launch(env);
    await this.until("READY=1", ({ message }) => message?.READY === "1", from);
    return started;
  }

  /** Starts it, and waits for nothing. */
  async launch(env: Readonly<Record<string, string>> = {}): Promise<number> {
    const from = this.sights.length;
    await this.#order({
      do: "start",
      args: [
        Deno.execPath(),
        "run",
        ...supervisorPermissions(this.project),
        join(REPOSITORY, "main.ts"),
        "start",
        "--config",
        this.project.configFile,
      ],
      cwd: REPOSITORY,
      env,
      stderr: this.project.path("stderr.log"),
    });
    return (await this.until("the process", ({ started }) => started, from)).started!;
  }

  /** Makes a socket that is passed at the next start, as a socket unit does. */
  async listen(name: string, where: { port: number } | { path: string }): Promise<void> {
    await this.#order({ do: "listen", name, ...where });
    await this.until(`the socket ${name}`, ({ listens }) => listens === name);
  }

  /** Sends a signal by its number; gives when it was sent. */
  async signal(number: number): Promise<Sight> {
    const from = this.sights.length;
    await this.#order({ do: "signal", number });
    return await this.until("the signal", ({ signalled }) => signalled === number, from);
  }

  /** Sends a signal, and waits for the end. */
  async end(number: number): Promise<void> {
    const from = this.sights.length;
    await this.signal(number);
    await this.until("the end", ({ ended }) => ended !== undefined, from);
  }

  /** The datagrams from a sight on. */
  messages(from = 0): Readonly<Record<string, string>>[] {
    return this.sights.slice(from).flatMap(({ message }) => message ? [message] : []);
  }

  /** The names in the store. */
  get stored(): readonly string[] {
    return this.sights.findLast(({ stored }) => stored)?.stored ?? [];
  }

  get log(): string {
    try {
      return Deno.readTextFileSync(this.project.path("stderr.log"));
    } catch {
      return "";
    }
  }

  /** The events of that name so far, over all starts. */
  eventsOf(event: string): LogEvent[] {
    return this.log.split("\n").flatMap((line) => {
      try {
        const found = JSON.parse(line);
        return found.event === event ? [found] : [];
      } catch {
        return [];
      }
    });
  }

  async get(path = "/"): Promise<string> {
    const headers = { connection: "close" };
    return await (await fetch(`${this.project.origin}${path}`, { headers })).text();
  }

  /** Ends everything, and fails if a process is left. */
  async [Symbol.asyncDispose](): Promise<void> {
    const running = this.sights.findLast(({ started, ended }) => started ?? ended)?.started;
    if (running !== undefined && isAlive(running)) await this.end(15);
    await this.#orders.close();
    await this.#process.ended(END_PATIENCE_MS);
    let left: number[] = [];
    try {
      await until("the workers' end", () => {
        left = processesIn(this.project.folder).filter(isAlive);
        return left.length === 0;
      }, END_PATIENCE_MS);
    } finally {
      for (const pid of left) Deno.kill(pid, "SIGKILL");
      await this.project[Symbol.asyncDispose]();
    }
  }
}
