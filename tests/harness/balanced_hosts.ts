/** Two hosts, each a network namespace with a real Holdfast, behind HAProxy on its sample. */
import { assertEquals } from "@std/assert";
import { type LoadReport, type ModeName, rowsOf, runLoad, sampleLinesOf } from "../load/client.ts";
import { Balancer } from "./balancer.ts";
import { hasProgram } from "../../tools/programs.ts";
import { loadProject, writeGeneration } from "./load_project.ts";
import { type Host, Network } from "./network.ts";
import type { Project } from "./project.ts";
import { Server } from "./server.ts";
import { sleep, until } from "./wait.ts";

/** Clients of each mode of load. */
export const CLIENTS = 2;

const PORT = 8000;
/** Before and after what happens under load. */
const PAUSE_MS = 700;
/** Only a hang makes it matter; what happens to the hosts ends the load. */
const MAX_LOAD_MS = 4 * 3_600_000;
const ASK_DEADLINE_S = 10;
const UPGRADE_PATIENCE_MS = 120_000;

/** Keys of the config besides those that the balancer needs. */
export interface SiteConfig extends Readonly<Record<string, unknown>> {
  readonly reload?: Readonly<Record<string, unknown>>;
}

/** A Holdfast on a host, that may be stopped and started. */
export class Site implements AsyncDisposable {
  readonly #host: Host;
  readonly #project: Project;
  readonly #name: string;
  #generation = 0;
  server: Server;

  constructor(name: string, host: Host, project: Project, server: Server) {
    this.#name = name;
    this.#host = host;
    this.#project = project;
    this.server = server;
  }

  /** @param config further keys, and `reload` with what it has besides */
  static async start(
    name: string,
    host: Host,
    { reload, ...config }: SiteConfig = {},
  ): Promise<Site> {
    const project = await loadProject({
      ...config,
      listen: [`${host.address}:${PORT}`],
      readiness: "/ready",
      // As the sample's comment has it.
      reload: { shutdownDelayMs: 4000, ...reload },
    });
    const server = await Server.startOn(project, { prefix: host.prefix });
    return new Site(name, host, project, server);
  }

  /** Changes the code, and reloads to it. */
  async reload(): Promise<void> {
    await this.#renewCode();
    assertEquals((await this.server.hangUp()).event, "reload_done", this.server.log.slice(-2000));
  }

  /** Changes the code, has the supervisor replace its own program, and waits until that serves. */
  async upgrade(): Promise<void> {
    await this.#renewCode();
    const wanted = this.server.eventsOf("serving").length + 1;
    this.server.signal("SIGUSR2");
    await until("the new supervisor to serve", () => {
      const refused = this.server.eventsOf("upgrade_refused").at(-1);
      if (refused) throw new Error(`The upgrade was refused: ${JSON.stringify(refused)}`);
      return this.server.eventsOf("serving").length >= wanted;
    }, UPGRADE_PATIENCE_MS);
  }

  /**
   * Asks on the host itself, each time on a fresh connection, until the newest code answers.
   *
   * @throws {Error} if one of the questions has no answer
   */
  async answers(): Promise<void> {
    if (!hasProgram("curl")) {
      throw new Error("Cannot ask a host: no curl. Run: apt-get install curl");
    }
    const wanted = `generation ${this.#name}${this.#generation}\n`;
    await until(`${wanted.trim()} to answer`, async () => await this.#ask() === wanted);
  }

  /** Kills the worker that serves, and waits for another. */
  async killWorker(): Promise<void> {
    const [pid] = await this.server.workers();
    const ready = this.server.eventsOf("worker_ready").length;
    Deno.kill(pid!, "SIGKILL");
    await this.server.waitFor("worker_ready", ready + 1);
  }

  async stop(): Promise<void> {
    assertEquals((await this.server.stop()).code, 0);
  }

  async start(): Promise<void> {
    this.server = await Server.startOn(this.#project, { prefix: this.#host.prefix });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.server[Symbol.asyncDispose]();
  }

  async #renewCode(): Promise<void> {
    await writeGeneration(this.#project, `${this.#name}${++this.#generation}`);
  }

  async #ask(): Promise<string> {
    const url = `http://${this.#host.address}:${PORT}/`;
    const question = ["curl", "--silent", "--show-error", "--max-time", `${ASK_DEADLINE_S}`, url];
    const [command, ...args] = [...this.#host.prefix, ...question];
    const { success, stdout, stderr } = await new Deno.Command(command!, { args }).output();
    const decoder = new TextDecoder();
    if (!success) throw new Error(`A fresh connection went unanswered: ${decoder.decode(stderr)}`);
    return decoder.decode(stdout);
  }
}

/** Two sites and an HAProxy, which has seen both. */
export class Scene implements AsyncDisposable {
  readonly #stack: AsyncDisposableStack;
  readonly sites: readonly [Site, Site];
  readonly balancer: Balancer;
  readonly target: string;

  constructor(
    stack: AsyncDisposableStack,
    sites: readonly [Site, Site],
    balancer: Balancer,
    target: string,
  ) {
    this.#stack = stack;
    this.sites = sites;
    this.balancer = balancer;
    this.target = target;
  }

  /** @param config of both sites, see {@link Site.start} */
  static async start(config: SiteConfig = {}): Promise<Scene> {
    await using stack = new AsyncDisposableStack();
    const network = stack.use(await Network.create(2));
    const [one, two] = network.hosts;
    const sites = [
      stack.use(await Site.start("one_", one!, config)),
      stack.use(await Site.start("two_", two!, config)),
    ] as const;
    const folder = await Deno.makeTempDir({ prefix: "holdfast_test_front_" });
    stack.defer(() => Deno.remove(folder, { recursive: true }));
    const socket = `${folder}/front.sock`;
    // The clients are on this side of the namespaces, and a Unix socket has no side.
    const balancer = stack.use(
      await Balancer.start(
        "haproxy",
        [
          ["bind :80", `bind ${socket}`],
          [
            "server one 127.0.0.1:8000",
            `server one ${one!.address}:${PORT}\n    server two ${two!.address}:${PORT}`,
          ],
        ],
        socket,
        network.front.prefix,
      ),
    );
    return new Scene(stack.move(), sites, balancer, `unix:${socket}`);
  }

  /** Waits until HAProxy has said so of a server so many times. */
  async sees(server: string, state: "UP" | "DOWN", count: number): Promise<void> {
    const said = new RegExp(`^Server app/${server} is ${state}`, "gm");
    await until(
      `HAProxy to see ${server} ${state}`,
      () => [...this.balancer.log.matchAll(said)].length >= count,
    );
  }

  /** Loads the sites through HAProxy while `happens` does, and gives the account. */
  async loadWhile(modes: readonly ModeName[], happens: () => Promise<void>): Promise<LoadReport> {
    const { target } = this;
    const enough = new AbortController();
    const { signal } = enough;
    const loading = runLoad({ target, durationMs: MAX_LOAD_MS, clients: CLIENTS, modes, signal });
    loading.catch(() => {}); // it is awaited below; until then its failure must not end the test
    try {
      await sleep(PAUSE_MS);
      await happens();
      await sleep(PAUSE_MS);
    } finally {
      enough.abort();
      await loading;
    }
    return await loading;
  }

  /** All that is to be known of an account that is not as it should be. */
  tell(report: LoadReport): string {
    const rows = Object.entries(rowsOf(report)).map((row) => JSON.stringify(row));
    return [...rows, ...sampleLinesOf(report), this.balancer.log.slice(-3000)].join("\n");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack[Symbol.asyncDispose]();
  }
}
