/** An app in one file, built, alone in a folder, and run where nothing else of it can be reached. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { buildPortable, type BuildReport } from "../../lib/compile/portable.ts";
import type { Status } from "../../lib/protocol/control.ts";
import { findMissing, recordSkip } from "./needs.ts";
import type { PageAccount } from "./page_load.ts";
import { isAlive, processesIn } from "./process.ts";
import { hangUp, killQuietly, type LogEvent, ProcessLog, waitForEvent } from "./process_log.ts";
import { REPOSITORY } from "./project.ts";
import { type CommandResult, resultOf } from "./server.ts";
import { PATIENCE_MS } from "./wait.ts";
import { freePort } from "./ports.ts";

/** How long the end may take; the default drain takes up to 32 s. */
const STOP_PATIENCE_MS = 45_000;

/** Builds a portable executable of a config's app. */
export async function build(
  configFile: string,
  folder: string,
  alterStage?: (stage: string) => Promise<void>,
): Promise<BuildReport> {
  const options = { configFile, output: join(folder, "guestbook") };
  return await buildPortable(alterStage ? { ...options, alterStage } : options);
}

/** Whether this machine lets the tests take everything else away; the run says why if not. */
export function canIsolate(): boolean {
  const why = findMissing({ programs: ["curl", "ip", "nsenter"], root: true }) ?? tryIsolation();
  if (why !== undefined) recordSkip({ name: "that an executable is all it needs", why });
  return why === undefined;
}

function tryIsolation(): string | undefined {
  const { success, stderr } = new Deno.Command("unshare", {
    args: ["--net", "--mount", "ip", "link", "set", "lo", "up"],
  }).outputSync();
  return success ? undefined : new TextDecoder().decode(stderr).trim();
}

/** What is covered: every program that could stand in for what the executable brings. */
const PROGRAMS = ["deno", "denort", "node", "npm", "npx"];

/** The lines of a shell that take everything away, in a namespace of its own. */
function takeAway(): string {
  const folders = (Deno.env.get("PATH") ?? "").split(":");
  const programs = folders.flatMap((folder) => PROGRAMS.map((name) => join(folder, name)));
  const found = [Deno.execPath(), ...programs].filter((path) => {
    try {
      return Deno.statSync(path).isFile;
    } catch {
      return false;
    }
  });
  const denoDir = JSON.parse(
    new TextDecoder().decode(
      new Deno.Command(Deno.execPath(), { args: ["info", "--json"] }).outputSync().stdout,
    ),
  ).denoDir;
  return [
    "set -e",
    "ip link set lo up",
    ...[...new Set(found)].map((path) => `mount --bind /dev/null '${Deno.realPathSync(path)}'`),
    ...[denoDir, REPOSITORY].map((folder) => `mount -t tmpfs tmpfs '${folder}'`),
    // Whoever could still be found would show here.
    `for program in ${PROGRAMS.join(" ")}; do`,
    '  if "$program" --version >/dev/null 2>&1; then echo "$program runs" >&2; exit 99; fi',
    "done",
    'exec "$@"',
  ].join("\n");
}

/** Where an executable is started. */
export interface PlaceOptions {
  /** Copied; it is all that is there. Or what builds one for the folder that it is to lie in. */
  readonly executable: string | ((state: string) => Promise<string>);
  readonly isolation: "isolated" | "none";
  /** Keys of the file that is laid over the config; the port is always in it. */
  readonly override?: Readonly<Record<string, unknown>>;
}

/** An executable, alone in a folder. */
export class Executable implements AsyncDisposable {
  readonly folder: string;
  readonly port: number;
  readonly path: string;
  readonly cache: string;
  readonly isolation: PlaceOptions["isolation"];

  constructor(folder: string, port: number, isolation: PlaceOptions["isolation"]) {
    this.folder = folder;
    this.port = port;
    this.path = join(folder, "alone/guestbook");
    this.cache = join(folder, "cache");
    this.isolation = isolation;
  }

  static async place(options: PlaceOptions): Promise<Executable> {
    const folder = await Deno.realPath(await Deno.makeTempDir({ prefix: "holdfast_test_" }));
    const placed = new Executable(folder, freePort(), options.isolation);
    const state = join(folder, "alone");
    await Deno.mkdir(state);
    const { executable } = options;
    await placed.put(typeof executable === "string" ? executable : await executable(state));
    await placed.override(options.override ?? {});
    return placed;
  }

  /** Puts another file in its place, as a deployment does. */
  async put(executable: string): Promise<void> {
    await Deno.copyFile(executable, `${this.path}.new`);
    await Deno.chmod(`${this.path}.new`, 0o755);
    await Deno.rename(`${this.path}.new`, this.path);
  }

  async override(keys: Readonly<Record<string, unknown>>): Promise<void> {
    const text = JSON.stringify({ listen: [`127.0.0.1:${this.port}`], ...keys });
    await Deno.writeTextFile(`${this.path}.jsonc`, text);
  }

  /** The command that runs it, and the environment. */
  command(
    args: readonly string[],
    env: Readonly<Record<string, string>> = {},
  ): { program: string; options: Deno.CommandOptions } {
    const [program, ...more] = this.isolation === "isolated"
      ? ["unshare", "--net", "--mount", "sh", "-c", takeAway(), "sh", this.path, ...args]
      : [this.path, ...args];
    return {
      program: program!,
      options: {
        args: more,
        cwd: this.folder,
        clearEnv: true,
        env: { PATH: Deno.env.get("PATH")!, HOLDFAST_CACHE: this.cache, ...env },
        stdin: "null",
        stdout: "piped",
        stderr: "piped",
      },
    };
  }

  /** Runs it to its end. */
  async run(
    args: readonly string[],
    { env = {}, patienceMs = PATIENCE_MS }: {
      env?: Readonly<Record<string, string>>;
      patienceMs?: number;
    } = {},
  ): Promise<CommandResult> {
    const { program, options } = this.command(args, env);
    const signal = AbortSignal.timeout(patienceMs);
    const output = await new Deno.Command(program, { ...options, signal }).output();
    return resultOf(output);
  }

  async start(args: readonly string[] = []): Promise<RunningExecutable> {
    const { program, options } = this.command(["start", ...args]);
    const { args: more = [], stdout: _stdout, stderr: _stderr, ...rest } = options;
    const running = new RunningExecutable(this, ProcessLog.spawn([program, ...more], rest));
    try {
      await running.waitFor("serving");
    } catch (error) {
      await running[Symbol.asyncDispose]();
      throw error;
    }
    return running;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.folder, { recursive: true });
  }
}

/** One that serves. */
export class RunningExecutable implements AsyncDisposable {
  readonly place: Executable;
  readonly #process: ProcessLog;

  constructor(place: Executable, process: ProcessLog) {
    this.place = place;
    this.#process = process;
  }

  get pid(): number {
    return this.#process.pid;
  }

  get events(): LogEvent[] {
    return this.#process.events;
  }

  get log(): string {
    return this.#process.text;
  }

  /** Waits until the log has `count` events of that name, and gives the last of them. */
  async waitFor(event: string, count = 1): Promise<LogEvent> {
    return await waitForEvent(this.#process, event, count);
  }

  /** Sends HUP and waits for the outcome of that reload. */
  async hangUp(): Promise<LogEvent> {
    return await hangUp(this.#process);
  }

  /** A program that sees the network, and the files, that this one sees. */
  beside(program: string, args: readonly string[]): [program: string, args: string[]] {
    if (this.place.isolation === "none") return [program, [...args]];
    return ["nsenter", [`--net=/proc/${this.pid}/ns/net`, program, ...args]];
  }

  /** The text of a page; its status must be 200. */
  async text(path: string): Promise<string> {
    const url = `http://127.0.0.1:${this.place.port}${path}`;
    const response = await fetch(url, { headers: { connection: "close" } });
    const text = await response.text();
    assertEquals(response.status, 200, text);
    return text;
  }

  /** The text of the front page, by a client in the network of the server. */
  async page(): Promise<string> {
    if (this.place.isolation === "none") return await this.#fetchPage();
    const [program, args] = this.beside("curl", [
      ...["--silent", "--show-error", "--fail", "--max-time", "10"],
      `http://127.0.0.1:${this.place.port}/`,
    ]);
    const { success, stdout, stderr } = await new Deno.Command(program, { args }).output();
    if (!success) throw new Error(new TextDecoder().decode(stderr));
    return new TextDecoder().decode(stdout);
  }

  async #fetchPage(): Promise<string> {
    const response = await fetch(`http://127.0.0.1:${this.place.port}/`, {
      headers: { connection: "close" },
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${response.status} ${text}`);
    return text;
  }

  async status(): Promise<Status> {
    const { code, stdout, stderr } = await this.place.run(["status", "--json"]);
    if (code !== 0) throw new Error(stderr);
    return JSON.parse(stdout);
  }

  /** Sends TERM and waits for the end. */
  async stop(): Promise<number> {
    this.#process.signal("SIGTERM");
    return (await this.#process.ended(STOP_PATIENCE_MS, () => this.#killAll())).status.code;
  }

  /** Stops, and fails if anything is left. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    const left = processesIn(this.place.folder).filter(isAlive);
    this.#killAll();
    if (left.length > 0) throw new Error(`Left behind: processes ${left}\n${this.log}`);
  }

  #killAll(): void {
    processesIn(this.place.folder).forEach((pid) => killQuietly(pid));
    this.#process.kill();
  }
}

/**
 * Reloads a guestbook under load again and again, puts another release in its place and the first one
 * back, and sees that no request was lost.
 */
export async function reloadUnderLoad(
  running: RunningExecutable,
  { one, two, reloads }: { one: string; two: string; reloads: number },
): Promise<void> {
  const executable = running.place;
  const [program, args] = running.beside(Deno.execPath(), [
    ...["run", "--quiet", "--allow-net", join(REPOSITORY, "tests/harness/page_load.ts")],
    String(executable.port),
  ]);
  const load = new Deno.Command(program, { args, stdin: "piped", stdout: "piped" }).spawn();
  const reload = async () => {
    const startMs = performance.now();
    const { event, ms, reason } = await running.hangUp();
    assertEquals([event, reason], ["reload_done", undefined], running.log.slice(-2000));
    return { ms: Number(ms), tookMs: Math.round(performance.now() - startMs) };
  };
  const tookMs: number[] = [];
  for (let count = 0; count < reloads; count++) tookMs.push((await reload()).ms);
  await executable.put(two);
  const { tookMs: swappedMs } = await reload();
  assertStringIncludes(await running.page(), "You were here again.");
  await executable.put(one);
  const { tookMs: backMs } = await reload();
  assertStringIncludes(await running.page(), "You were here.");
  await load.stdin.close();
  const { sent, ok, lost }: PageAccount = JSON.parse(
    new TextDecoder().decode((await load.output()).stdout),
  );
  tookMs.sort((a, b) => a - b);
  // deno-lint-ignore no-console
  console.log(
    `${reloads} reloads under load, median ${tookMs[reloads >> 1]} ms; HUP to new code ` +
      `${swappedMs} ms, back ${backMs} ms; ${sent} requests sent, ${sent - ok} lost`,
  );
  assertEquals(lost, []);
  assertEquals(ok, sent);
  assert(sent > 500, `only ${sent} were sent`);
}
