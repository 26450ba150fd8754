/**
 * HAProxy, on its sample, in front of two hosts, each a network namespace with a real Holdfast. The
 * hosts reload in turn, lose workers and are stopped whole while clients go on.
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { pick, randomFrom } from "./doubles/random.ts";
import { Balancer } from "./harness/balancer.ts";
import { loadProject, writeGeneration } from "./harness/load_project.ts";
import { type Host, Network } from "./harness/network.ts";
import type { Project } from "./harness/project.ts";
import { Server } from "./harness/server.ts";
import { sleep, until } from "./harness/wait.ts";
import {
  isAllOk,
  type LoadReport,
  type ModeName,
  rowsOf,
  runLoad,
  sampleLinesOf,
} from "./load/client.ts";

const PORT = 8000;
const ROUNDS = 5;
const KILLS = 6;
const PAUSE_MS = 700;
/** An end if all else fails; what happens to the hosts ends the load. */
const LOAD_MS = 110_000;
const CLIENTS = 2;

/** Answered with one write, and safe to ask again: HAProxy does, when a worker dies on them. */
const SHORT: readonly ModeName[] = [
  "close",
  "keep_alive_0",
  "keep_alive_20",
  "keep_alive_500",
  "slow",
];
/** In flight for long, and changing something or half answered: these end with their worker. */
const LONG: readonly ModeName[] = ["stream", "upload", "upload_chunked", "sse"];

/** A Holdfast on a host, that may be stopped and started. */
class Site implements AsyncDisposable {
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

  static async start(name: string, host: Host): Promise<Site> {
    const project = await loadProject({
      listen: [`${host.address}:${PORT}`],
      readiness: "/ready",
      // As the sample's comment has it.
      reload: { announceMs: 4000 },
    });
    const server = await Server.startOn(project, { prefix: host.prefix });
    return new Site(name, host, project, server);
  }

  async reload(): Promise<void> {
    await writeGeneration(this.#project, `${this.#name}${++this.#generation}`);
    assertEquals((await this.server.hangUp()).event, "reload_done", this.server.log.slice(-2000));
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
}

/** Two sites and an HAProxy, which has seen both. */
class Scene implements AsyncDisposable {
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

  static async start(): Promise<Scene> {
    await using stack = new AsyncDisposableStack();
    const network = stack.use(await Network.create(2));
    const [one, two] = network.hosts;
    const sites = [
      stack.use(await Site.start("one_", one!)),
      stack.use(await Site.start("two_", two!)),
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
    const loading = runLoad({ target, durationMs: LOAD_MS, clients: CLIENTS, modes, signal });
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

function print(line: string): void {
  // deno-lint-ignore no-console
  console.log(line);
}

Deno.test("two hosts behind HAProxy reload in turn, and nothing is lost", async () => {
  await using scene = await Scene.start();
  const report = await scene.loadWhile([...SHORT, ...LONG], async () => {
    for (let round = 0; round < ROUNDS; round++) {
      for (const site of scene.sites) {
        await site.reload();
        await sleep(PAUSE_MS / 2);
      }
    }
  });
  assert(isAllOk(report), scene.tell(report));
  const generations = Object.keys(report.total.generations);
  for (const name of ["one_", "two_"]) {
    assert(generations.filter((each) => each.startsWith(name)).length >= ROUNDS, `${generations}`);
  }
  print(`${report.total.sent} requests over ${2 * ROUNDS} reloads on two hosts, none lost`);
});

Deno.test("a worker killed behind HAProxy takes with it what it had in flight, and nothing else", async () => {
  await using scene = await Scene.start();
  const random = randomFrom(20261124);
  const report = await scene.loadWhile([...SHORT, ...LONG], async () => {
    for (let kill = 0; kill < KILLS; kill++) {
      await pick(random, scene.sites).killWorker();
      await sleep(PAUSE_MS * random());
    }
  });
  const { total, modes } = report;
  assertEquals(total.refused + total.raced, 0, scene.tell(report));
  for (const name of SHORT) assertEquals(modes[name]!.ok, modes[name]!.sent, scene.tell(report));
  const broken = total.sent - total.ok;
  // Each client has one request in flight, and a worker that dies can only break those it had.
  assert(broken <= KILLS * LONG.length * CLIENTS, scene.tell(report));
  assert(broken > 0, "the kills broke nothing, so they were none");
  print(`${total.sent} requests over ${KILLS} kills: ${broken} in flight on the killed were lost`);
});

Deno.test("a whole host behind HAProxy is stopped and started, and nothing is lost", async () => {
  await using scene = await Scene.start();
  const [, two] = scene.sites;
  const report = await scene.loadWhile([...SHORT, ...LONG], async () => {
    const stopped = two.stop();
    // It is seen going while it still serves.
    await scene.sees("two", "DOWN", 1);
    assertMatch(scene.balancer.log, /Server app\/two is DOWN, reason: Layer7 .*code: 503/);
    await stopped;
    await two.start();
    await scene.sees("two", "UP", 1);
    await two.reload();
  });
  assert(isAllOk(report), scene.tell(report));
  assert("two_1" in report.total.generations, "the host that came back got nothing to do");
  print(`${report.total.sent} requests while a host went and came back, none lost`);
});
