/** The supervisor that `holdfast dev` starts, as a process of its own: what it says, and its end. */
import { fileURLToPath } from "node:url";
import { askSupervisor } from "../cli/control_client.ts";
import type { ReloadResult, Status } from "../protocol/control.ts";
import { denoProgram } from "../supervisor/deno_program.ts";
import type { DevelopmentSettings } from "./settings.ts";
import type { LogEvent } from "./terminal.ts";

/** How many lines of its last words are kept. */
const MAX_WORDS = 60;

export interface SupervisorOptions {
  /** The config's path, and the app where there is none. */
  readonly config: string;
  readonly app: string | undefined;
  readonly runtime: string;
  readonly settings: DevelopmentSettings;
  /** Whether all of Holdfast was bundled beforehand: then no settings count. */
  readonly prebuilt: boolean;
  readonly hear: (event: LogEvent) => void;
}

/** The words by which it is started. */
export function supervisorCommand(
  { config, app, runtime, prebuilt }: Pick<
    SupervisorOptions,
    "config" | "app" | "runtime" | "prebuilt"
  >,
): { readonly program: string; readonly args: string[] } {
  const words = ["dev", ...app === undefined ? [] : [app], "--supervise", "--config", config];
  // What `deno compile` makes has its permissions in itself.
  if (Deno.build.standalone) return { program: Deno.execPath(), args: words };
  const program = denoProgram();
  return {
    program,
    args: [
      ...["run", "--quiet", "--no-prompt"],
      ...prebuilt ? ["--no-config", "--no-lock", "--no-npm", "--no-remote", "--no-code-cache"] : [],
      ...["--allow-read", `--allow-write=${runtime}`, "--allow-net"],
      ...[`--allow-run=${program}`, "--allow-env", "--allow-ffi", "--allow-sys=uid"],
      ...[fileURLToPath(Deno.mainModule), ...words],
    ],
  };
}

export class SupervisorProcess {
  readonly #options: SupervisorOptions;
  readonly #child: Deno.ChildProcess;
  readonly #input: WritableStreamDefaultWriter<Uint8Array>;
  readonly #serving = Promise.withResolvers<boolean>();
  readonly #words: string[] = [];
  #ended = false;
  /** Resolves when it has ended, and all that it said was heard. */
  readonly ended: Promise<void>;

  constructor(options: SupervisorOptions) {
    this.#options = options;
    const { program, args } = supervisorCommand(options);
    this.#child = new Deno.Command(program, {
      args,
      env: { NODE_ENV: "development", DENO_NO_UPDATE_CHECK: "1" },
      ...{ stdin: "piped", stdout: "null", stderr: "piped" },
    }).spawn();
    this.#input = this.#child.stdin.getWriter();
    const settings = new TextEncoder().encode(`${JSON.stringify(options.settings)}\n`);
    this.#input.write(settings).catch(() => {});
    this.ended = this.#read().then(() => this.#child.status).then(() => {
      this.#ended = true;
      this.#serving.resolve(false);
    });
  }

  get isRunning(): boolean {
    return !this.#ended;
  }

  /** Resolves to true when it serves, or to false when it has ended before. */
  get serving(): Promise<boolean> {
    return this.#serving.promise;
  }

  /** What it said last that is no event. */
  get lastWords(): { readonly message: string; readonly hint: string | undefined } {
    const text = this.#words.join("\n").replace(/^holdfast: /, "");
    const [message, hint] = text.split("\n  hint: ");
    return { message: message || "The supervisor has ended", hint };
  }

  async reload(): Promise<ReloadResult> {
    return (await askSupervisor(this.#options.runtime, "reload", "reloaded")).result;
  }

  async status(): Promise<Status> {
    return (await askSupervisor(this.#options.runtime, "status", "status")).status;
  }

  /** Has it drain and end; it does so by itself when this process is gone. */
  stop(): void {
    this.#input.close().catch(() => {});
  }

  /** For one who does not want to wait for that. */
  hurry(): void {
    if (!this.#ended) this.#child.kill("SIGTERM");
  }

  async #read(): Promise<void> {
    let held = "";
    for await (const chunk of this.#child.stderr.pipeThrough(new TextDecoderStream())) {
      const lines = (held + chunk).split("\n");
      held = lines.pop()!;
      lines.forEach((line) => this.#hear(line));
    }
    if (held !== "") this.#hear(held);
  }

  #hear(line: string): void {
    const event = eventIn(line);
    if (event === undefined) {
      this.#words.push(line);
      if (this.#words.length > MAX_WORDS) this.#words.shift();
      return;
    }
    if (event.event === "serving") this.#serving.resolve(true);
    this.#options.hear(event);
  }
}

function eventIn(line: string): LogEvent | undefined {
  if (!line.startsWith("{")) return undefined;
  try {
    const value = JSON.parse(line);
    return typeof value.event === "string" ? value : undefined;
  } catch {
    return undefined;
  }
}
