/** `holdfast dev` on a throw-away project: what it prints, and what its pages hear. */
import { join } from "node:path";
import { plannersOf, processesIn } from "./process.ts";
import { killQuietly, ProcessLog } from "./process_log.ts";
import { HOLDFAST, type Project } from "./project.ts";
import { PATIENCE_MS, until } from "./wait.ts";

/** How long its end may take. */
const EXIT_PATIENCE_MS = 45_000;

/** A message to a page. */
export type PageMessage = { readonly type: string } & Readonly<Record<string, unknown>>;

/** What a page hears, without a browser. */
export class ListeningPage implements Disposable {
  readonly messages: PageMessage[] = [];
  readonly #abort = new AbortController();

  /** @param html the page as it was loaded */
  static async open(html: string, origin: string): Promise<ListeningPage> {
    const page = new ListeningPage();
    const url = eventsIn(html);
    const response = await fetch(url, { headers: { origin }, signal: page.#abort.signal });
    if (!response.ok) throw new Error(`${url} answered with ${response.status}`);
    void page.#read(response.body!);
    await page.next("hello");
    return page;
  }

  /** Waits for the message number `count` of a type. */
  async next(type: string, count = 1): Promise<PageMessage> {
    return await until(
      `message ${count} of type ${type}`,
      () => this.messages.filter((each) => each.type === type)[count - 1],
    ).catch((error: Error) => {
      throw new Error(`${error.message}: ${JSON.stringify(this.messages)}`);
    });
  }

  [Symbol.dispose](): void {
    this.#abort.abort();
  }

  async #read(body: ReadableStream<Uint8Array>): Promise<void> {
    let held = "";
    try {
      for await (const chunk of body.pipeThrough(new TextDecoderStream() as never)) {
        const parts = (held + chunk).split("\n\n");
        held = parts.pop()!;
        for (const part of parts) {
          const [, data] = /^data: (.*)$/m.exec(part) ?? [];
          if (data !== undefined) this.messages.push(JSON.parse(data));
        }
      }
    } catch {
      // It was closed.
    }
  }
}

/** Where the script of a page hears of reloads. */
export function eventsIn(html: string): string {
  const [, base] = /<script async src="([^"]*)page\.js"/.exec(html) ?? [];
  if (base === undefined) throw new Error(`No script of development in ${html}`);
  return `${base}events`;
}

export interface DevelopmentOptions {
  readonly args?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** A line to wait for. */
  readonly until?: RegExp;
}

export class DevelopmentServer implements AsyncDisposable {
  readonly project: Project;
  readonly process: ProcessLog<never>;
  /** What works in the project besides. */
  readonly #others: readonly number[];

  constructor(project: Project, process: ProcessLog<never>, others: readonly number[]) {
    this.project = project;
    this.process = process;
    this.#others = others;
  }

  /** The command for a project. */
  static command(project: Project, args: readonly string[] = []): string[] {
    return [
      ...[Deno.execPath(), "run", "-A", join(HOLDFAST, "main.ts"), "dev"],
      ...["--config", project.configFile, "--open", "no", ...args],
    ];
  }

  static async start(
    project: Project,
    { args = [], env = {}, until: line = /serving after/ }: DevelopmentOptions = {},
  ): Promise<DevelopmentServer> {
    const command = DevelopmentServer.command(project, args);
    const others = processesIn(project.folder);
    const process = ProcessLog.spawn<never>(command, { reads: "stdout", env: { ...env } });
    const server = new DevelopmentServer(project, process, others);
    try {
      await server.says(line);
    } catch (error) {
      await server[Symbol.asyncDispose]();
      throw error;
    }
    return server;
  }

  /** All that it printed. */
  get text(): string {
    return this.process.text;
  }

  /** Where the app's pages are. */
  get origin(): string {
    return /^pages: (\S+)\/,/m.exec(this.text)![1]!;
  }

  /** Waits until it has printed what fits. */
  async says(line: RegExp): Promise<RegExpExecArray> {
    return await this.process.until(
      `${line} in its output:\n${this.text}`,
      () => line.exec(this.text) ?? undefined,
    );
  }

  /** Asks as a browser does that is to show a page. */
  async page(path = "/", headers: Record<string, string> = {}): Promise<Response> {
    return await fetch(`${this.origin}${path}`, {
      headers: { "sec-fetch-dest": "document", connection: "close", ...headers },
      signal: AbortSignal.timeout(PATIENCE_MS),
    });
  }

  async load(path = "/"): Promise<string> {
    return await (await this.page(path)).text();
  }

  /** Ends it as Ctrl-C does in a terminal of which it is alone in its group. */
  async stop(): Promise<Deno.CommandStatus> {
    this.process.signal("SIGINT");
    const { status, late } = await this.process.ended(EXIT_PATIENCE_MS, () => this.#killAll());
    if (late) throw new Error(`It did not end by itself:\n${this.text}`);
    return status;
  }

  /** Whatever of it is left. */
  left(): number[] {
    const { folder } = this.project;
    return [...processesIn(folder), ...plannersOf(folder), ...this.#supervisors()]
      .filter((pid) => !this.#others.includes(pid));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
    const left = this.left();
    this.#killAll();
    if (left.length > 0) throw new Error(`Left behind: processes ${left}\n${this.text}`);
  }

  #killAll(): void {
    this.left().forEach((pid) => killQuietly(pid));
    this.process.kill();
  }

  /** The supervisor works in the root folder: its command line tells whose it is. */
  #supervisors(): number[] {
    return [...Deno.readDirSync("/proc")].flatMap(({ name }) => {
      if (!/^\d+$/.test(name)) return [];
      try {
        const words = Deno.readTextFileSync(`/proc/${name}/cmdline`).split("\0");
        return words.includes("--supervise") && words.includes(this.project.configFile)
          ? [Number(name)]
          : [];
      } catch {
        return [];
      }
    });
  }
}
