/** Deno's own server with an app and nothing around it, to tell what is Deno's from what is ours. */
import type { Pair } from "./certificates.ts";
import { freePort } from "./ports.ts";
import { Project } from "./project.ts";
import { until } from "./wait.ts";

export interface BareServerOptions {
  /** The text of a module with an app as its default export. */
  readonly app: string;
  readonly files?: Readonly<Record<string, string>>;
  /** Serves HTTPS with it. */
  readonly pair?: Pair | undefined;
  /** The app starts a server itself, on the port that the variable PORT names. */
  readonly own?: boolean;
  /** Listens at `http.sock` in its folder instead. */
  readonly over?: "tcp" | "unix";
}

export class BareServer implements AsyncDisposable {
  readonly port: number;
  readonly pid: number;
  readonly #project: Project;
  readonly #child: Deno.ChildProcess;

  private constructor(project: Project, port: number, child: Deno.ChildProcess) {
    this.#project = project;
    this.port = port;
    this.pid = child.pid;
    this.#child = child;
  }

  static async start({ app, files = {}, pair, own, over = "tcp" }: BareServerOptions) {
    const project = await Project.create({ files: { "app.ts": app, ...files } });
    const port = freePort();
    const place = over === "unix"
      ? { transport: "unix", path: project.path("http.sock") }
      : { hostname: "127.0.0.1", port };
    const main = `import app from "./app.ts";
Deno.serve(${JSON.stringify({ ...place, ...pair })}, (request, info) => app.fetch(request, info));`;
    await project.write("main.ts", main);
    const child = new Deno.Command(Deno.execPath(), {
      args: ["run", "--quiet", "--no-prompt", "-A", project.path(own ? "app.ts" : "main.ts")],
      env: { PORT: String(port) },
      cwd: project.folder,
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    const server = new BareServer(project, port, child);
    try {
      const connect = () => {
        if (over === "unix") return Deno.connect({ transport: "unix", path: server.path });
        return Deno.connect({ hostname: "127.0.0.1", port });
      };
      await until("the bare server", () => connect().then((it) => (it.close(), true), () => false));
    } catch (error) {
      await server[Symbol.asyncDispose]();
      throw error;
    }
    return server;
  }

  /** Where its Unix socket is. */
  get path(): string {
    return this.#project.path("http.sock");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#child.kill("SIGKILL");
    await this.#child.status;
    await this.#project[Symbol.asyncDispose]();
  }
}
