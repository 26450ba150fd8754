import { fileURLToPath } from "node:url";
import { within } from "./wait.ts";
import { freePort } from "../harness/ports.ts";

const START_DEADLINE_MS = 20_000;
const RELOAD_DEADLINE_MS = 20_000;
const STOP_DEADLINE_MS = 5_000;

/** One of the servers in `broken/`, running as a process of its own. */
export class ServerProcess implements AsyncDisposable {
  readonly port: number;
  #child: Deno.ChildProcess;
  #lines: ReadableStreamDefaultReader<string>;

  constructor(
    port: number,
    child: Deno.ChildProcess,
    lines: ReadableStreamDefaultReader<string>,
  ) {
    this.port = port;
    this.#child = child;
    this.#lines = lines;
  }

  /** Starts `broken/NAME.ts` and waits until it serves. */
  static async start(name: "bare" | "reuseport_restart" | "cutting_drain"): Promise<ServerProcess> {
    const script = fileURLToPath(new URL(`./broken/${name}.ts`, import.meta.url));
    const port = freePort();
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "-A", "--no-lock", script, String(port)],
      stdin: "null",
      stdout: "piped",
    }).spawn();
    const lines = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
    const server = new ServerProcess(port, child, lines);
    try {
      await server.#expect("serving", START_DEADLINE_MS);
    } catch (error) {
      await server[Symbol.asyncDispose]();
      throw error;
    }
    return server;
  }

  get target(): string {
    return `127.0.0.1:${this.port}`;
  }

  /** Sends HUP and waits until new code serves. */
  async reload(): Promise<void> {
    Deno.kill(this.#child.pid, "SIGHUP");
    await this.#expect("reloaded", RELOAD_DEADLINE_MS);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      Deno.kill(this.#child.pid, "SIGTERM");
    } catch (error) {
      if (!(error instanceof Deno.errors.NotFound)) throw error; // it has ended by itself
    }
    try {
      await within(this.#child.status, STOP_DEADLINE_MS, "a server to end");
    } catch {
      Deno.kill(this.#child.pid, "SIGKILL");
      await this.#child.status;
    }
    await this.#lines.cancel();
  }

  async #expect(word: string, deadlineMs: number): Promise<void> {
    const reading = (async () => {
      for (let text = ""; !text.includes(word);) {
        const { value, done } = await this.#lines.read();
        if (done) throw new Error(`Cannot see ${JSON.stringify(word)}: the server has ended`);
        text += value;
      }
    })();
    await within(reading, deadlineMs, `the server's ${JSON.stringify(word)}`);
  }
}
