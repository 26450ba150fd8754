import { fileURLToPath } from "node:url";
import { sleep, within } from "../tests/load/wait.ts";
import { freePort } from "../tests/harness/ports.ts";

const MAIN = fileURLToPath(new URL("../main.ts", import.meta.url));
const ROOT_CONFIG = new URL("../deno.json", import.meta.url);
const LOAD_APP = new URL("../tests/load/", import.meta.url);

const START_DEADLINE_MS = 30_000;
const COMMAND_DEADLINE_MS = 60_000;
const NEW_CODE_DEADLINE_MS = 30_000;
const ASK_DEADLINE_MS = 5_000;
/** Longer than the drain deadline below. */
const STOP_DEADLINE_MS = 45_000;
const MAX_LOG_LINES = 500;

/** What `HoldfastProcess.start` is told. */
export interface HoldfastOptions {
  /** @default "native" */
  engine?: "native" | "node";
  /** The generation that the load app names at first. @default "1" */
  generation?: string;
  /** Further addresses on which it listens. */
  beside?: readonly string[];
  /** More keys of the config file, or other values. */
  config?: Record<string, unknown>;
}

/** What a command of Holdfast's ended with. */
export interface CommandResult {
  code: number;
  stdout: string;
  stderr: string;
}

/** A process of a running Holdfast. */
export interface ProcessInfo {
  pid: number;
  parentPid: number;
  residentKib: number;
}

/** The part of `status --json` that is read here. */
interface StatusGeneration {
  generation: number;
  state: string;
  workers: { process: { pid: number } | null }[];
}

/**
 * Holdfast as a real process, serving the load app from a project of its own in a temporary folder.
 *
 * ```ts ignore
 * await using holdfast = await HoldfastProcess.start({ engine: "node" });
 * await holdfast.writeGeneration("2");
 * await holdfast.reload();
 * ```
 */
export class HoldfastProcess implements AsyncDisposable {
  readonly port: number;
  readonly folder: string;
  /** The last lines that Holdfast logged. */
  readonly logLines: string[] = [];
  /** Why questions for the generation went unanswered while Holdfast was serving. */
  readonly unanswered: string[] = [];
  #child: Deno.ChildProcess;
  #logging: Promise<void>;
  #stopping: Promise<number> | undefined;

  constructor(port: number, folder: string, child: Deno.ChildProcess) {
    this.port = port;
    this.folder = folder;
    this.#child = child;
    this.#logging = this.#readLog();
  }

  /** Writes the project, starts Holdfast, and waits until it serves and its status answers. */
  static async start(options: HoldfastOptions = {}): Promise<HoldfastProcess> {
    const port = freePort();
    const folder = await Deno.makeTempDir({ prefix: "holdfast_bench_" });
    await writeProject(folder, port, options);
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", MAIN, "start", "--config", `${folder}/holdfast.jsonc`],
      cwd: folder,
      stdin: "null",
      stdout: "null",
      stderr: "piped",
    }).spawn();
    const holdfast = new HoldfastProcess(port, folder, child);
    try {
      await holdfast.#waitUntilServing();
    } catch (error) {
      await holdfast.stop();
      const log = holdfast.logLines.join("\n");
      throw new Error(`Cannot start Holdfast: ${(error as Error).message}\n${log}`, {
        cause: error,
      });
    }
    return holdfast;
  }

  /** `host:port` */
  get target(): string {
    return `127.0.0.1:${this.port}`;
  }

  /** The supervisor. */
  get pid(): number {
    return this.#child.pid;
  }

  /** Changes the app's code; the next reload serves it. */
  async writeGeneration(generation: string): Promise<void> {
    await writeGeneration(this.folder, generation);
  }

  /** Sends HUP, and does not wait for anything. */
  hangUp(): void {
    Deno.kill(this.pid, "SIGHUP");
  }

  /** Reloads by the command that waits for the outcome, and throws if the reload failed. */
  async reload(): Promise<void> {
    const { code, stdout, stderr } = await this.run("reload");
    if (code !== 0) throw new Error(`Cannot reload: exit status ${code}\n${stdout}${stderr}`);
  }

  /** Runs a command of Holdfast's on this config. */
  async run(command: string, ...args: string[]): Promise<CommandResult> {
    const config = `${this.folder}/holdfast.jsonc`;
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", MAIN, command, "--config", config, ...args],
      cwd: this.folder,
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    try {
      const output = await within(child.output(), COMMAND_DEADLINE_MS, `"holdfast ${command}"`);
      const [stdout, stderr] = [output.stdout, output.stderr].map((b) =>
        new TextDecoder().decode(b)
      );
      return { code: output.code, stdout: stdout!, stderr: stderr! };
    } catch (error) {
      kill(child.pid, "SIGKILL");
      throw error;
    }
  }

  /** Asks with fresh connections until the generation answers; returns the milliseconds it took. */
  async waitForGeneration(generation: string, everyMs = 1): Promise<number> {
    const startedAtMs = performance.now();
    const deadlineAtMs = startedAtMs + NEW_CODE_DEADLINE_MS;
    while (performance.now() < deadlineAtMs) {
      try {
        if (await askGeneration(this.port) === generation) return performance.now() - startedAtMs;
      } catch (error) {
        this.unanswered.push((error as Error).message);
      }
      await sleep(everyMs);
    }
    const log = this.logLines.slice(-20).join("\n");
    throw new Error(`Cannot see generation ${generation} in ${NEW_CODE_DEADLINE_MS} ms\n${log}`);
  }

  /** The processes there are now, the supervisor first; read from the kernel, not asked for. */
  processes(): ProcessInfo[] {
    return processTree(this.pid);
  }

  /** The processes there are now, each with what it is, as far as the status tells. */
  async namedProcesses(): Promise<(ProcessInfo & { name: string })[]> {
    const { stdout } = await this.run("status", "--json");
    const { generations } = JSON.parse(stdout) as { generations: StatusGeneration[] };
    const nameOf = (pid: number) => {
      if (pid === this.pid) return "supervisor";
      const own = generations.find(({ workers }) =>
        workers.some(({ process }) => process?.pid === pid)
      );
      return own === undefined ? "other" : `worker of generation ${own.generation}, ${own.state}`;
    };
    return this.processes().map((process) => ({ ...process, name: nameOf(process.pid) }));
  }

  /** Sends TERM and waits for the drain. Returns the exit status; -1 if it had to be killed. */
  stop(): Promise<number> {
    return this.#stopping ??= this.#stop();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #stop(): Promise<number> {
    const started = this.processes();
    kill(this.pid, "SIGTERM");
    let code = -1;
    try {
      code = (await within(this.#child.status, STOP_DEADLINE_MS, "Holdfast to end")).code;
    } catch {
      for (const { pid } of [...started, ...this.processes()]) kill(pid, "SIGKILL");
      await this.#child.status;
    }
    await this.#logging;
    await Deno.remove(this.folder, { recursive: true });
    return code;
  }

  async #waitUntilServing(): Promise<void> {
    const hasEnded = this.#child.status.then(({ code }) => `it ended with exit status ${code}`);
    const deadlineAtMs = performance.now() + START_DEADLINE_MS;
    while (await askGeneration(this.port).catch(() => undefined) === undefined) {
      const end = await Promise.race([hasEnded, sleep(50)]);
      if (typeof end === "string") throw new Error(end);
      if (performance.now() > deadlineAtMs) throw new Error(`no answer in ${START_DEADLINE_MS} ms`);
    }
    const { code, stdout, stderr } = await this.run("status", "--json");
    if (code !== 0) throw new Error(`status ended with exit status ${code}\n${stdout}${stderr}`);
  }

  async #readLog(): Promise<void> {
    let rest = "";
    for await (const text of this.#child.stderr.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + text).split("\n");
      rest = lines.pop()!;
      this.logLines.push(...lines);
      this.logLines.splice(0, this.logLines.length - MAX_LOG_LINES);
    }
    if (rest !== "") this.logLines.push(rest);
  }
}

async function writeProject(folder: string, port: number, options: HoldfastOptions): Promise<void> {
  const { imports } = JSON.parse(await Deno.readTextFile(ROOT_CONFIG));
  const config = {
    app: "./app.ts",
    listen: [`127.0.0.1:${port}`, ...options.beside ?? []],
    engine: options.engine ?? "native",
    unveil: { "./data": "rwc" },
    reload: {
      readyDeadlineMs: 20_000,
      idleGraceMs: 5_000,
      drainDeadlineMs: 30_000,
      maxDraining: 64,
    },
    ...options.config,
  };
  await Deno.mkdir(`${folder}/data`);
  await Deno.writeTextFile(`${folder}/holdfast.jsonc`, JSON.stringify(config, undefined, 2));
  await Deno.writeTextFile(
    `${folder}/deno.json`,
    JSON.stringify({ imports: { hono: imports.hono } }),
  );
  await Deno.copyFile(new URL("app.ts", LOAD_APP), `${folder}/app.ts`);
  await writeGeneration(folder, options.generation ?? "1");
  // Workers load from the cache and by a frozen lock file only.
  const install = await new Deno.Command(Deno.execPath(), {
    args: ["cache", "app.ts"],
    cwd: folder,
    stdin: "null",
  }).output();
  if (!install.success) throw new Error(new TextDecoder().decode(install.stderr));
}

async function writeGeneration(folder: string, generation: string): Promise<void> {
  // Renamed into place, so that no reload ever reads half of it.
  const text = `export const GENERATION = ${JSON.stringify(generation)};\n`;
  await Deno.writeTextFile(`${folder}/version.ts.new`, text);
  await Deno.rename(`${folder}/version.ts.new`, `${folder}/version.ts`);
}

/** Asks over a fresh connection, and throws unless an answer with a generation comes in time. */
async function askGeneration(port: number): Promise<string> {
  const conn = await Deno.connect({ hostname: "127.0.0.1", port });
  const timer = setTimeout(() => conn.close(), ASK_DEADLINE_MS);
  try {
    const request = "GET / HTTP/1.1\r\nHost: holdfast\r\nConnection: close\r\n\r\n";
    await conn.write(new TextEncoder().encode(request));
    const decoder = new TextDecoder("latin1");
    const buffer = new Uint8Array(4096);
    let text = "";
    for (let count; (count = await conn.read(buffer)) !== null;) {
      text += decoder.decode(buffer.subarray(0, count));
      const match = /\r\nx-generation: (\S+)\r\n/i.exec(text);
      if (match !== null) return match[1]!;
    }
    throw new Error(`the connection ended after ${JSON.stringify(text.slice(0, 200))}`);
  } finally {
    clearTimeout(timer);
    try {
      conn.close();
    } catch {
      // The deadline has closed it.
    }
  }
}

function processTree(rootPid: number): ProcessInfo[] {
  const parents = new Map<number, number>();
  for (const { name } of Deno.readDirSync("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const parent = statusFieldOf(Number(name), "PPid");
    if (parent !== undefined) parents.set(Number(name), parent);
  }
  const tree: ProcessInfo[] = [];
  const add = (pid: number) => {
    const residentKib = statusFieldOf(pid, "VmRSS");
    const parentPid = parents.get(pid);
    if (residentKib === undefined || parentPid === undefined) return; // it has ended meanwhile
    tree.push({ pid, parentPid, residentKib });
    for (const [child, parent] of parents) if (parent === pid) add(child);
  };
  add(rootPid);
  return tree;
}

function statusFieldOf(pid: number, name: "PPid" | "VmRSS"): number | undefined {
  const match = new RegExp(`^${name}:\\s*(\\d+)`, "m").exec(readOrEmpty(`/proc/${pid}/status`));
  return match === null ? undefined : Number(match[1]);
}

function readOrEmpty(path: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch {
    return ""; // the process has ended meanwhile
  }
}

function kill(pid: number, signal: Deno.Signal): void {
  try {
    Deno.kill(pid, signal);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound) && !(error instanceof TypeError)) throw error;
  }
}
