/**
 * Helpers, workers and the logger die in turn, and reloads come, while clients that account for every request
 * ask on. They speak HTTP over raw sockets, since `fetch` asks again by itself.
 */
import { assert, assertEquals } from "@std/assert";
import { HELPER_MODULE, plainHelper } from "../harness/helpers.ts";
import { formatRequest } from "../harness/http.ts";
import { Project } from "../harness/project.ts";
import { Server } from "../harness/server.ts";
import { mountSmall } from "../harness/small_disk.ts";
import { sleep, until } from "../harness/wait.ts";

/**
 * Ten rounds: a reload between them, which moves the log, ends the series of quick deaths, and with it
 * the long waits.
 */
const ROUNDS = 10;
const VICTIMS = [
  "worker",
  ...["helper job.0", "logger", "helper job.1", "worker", "helper job.2", "logger"],
  ...["helper job.0", "worker", "helper job.1"],
];

const RELOADS = 20;

const APP = `
import { helper } from ${JSON.stringify(HELPER_MODULE)};
const job = helper("job");
export default {
  async fetch(request) {
    const { pathname } = new URL(request.url);
    if (pathname === "/plain") return new Response("whole plain");
    if (pathname === "/safe") return new Response("whole " + await job.pid(0));
    return new Response("whole " + await job.sleep(5));
  },
};
`;

/** How a request ended. */
interface Ended {
  readonly path: string;
  readonly sentMs: number;
  readonly endMs: number;
  /** `reset`: no whole answer came. */
  readonly outcome: "ok" | "busy" | "reset" | "wrong";
  readonly detail: string;
}

/** Clients that ask for one path each, over and over, until they are stopped. */
class Clients implements AsyncDisposable {
  readonly ended: Ended[] = [];
  readonly #stop = new AbortController();
  readonly #running: Promise<void>[];
  readonly #port: number;

  constructor(port: number, paths: readonly string[]) {
    this.#port = port;
    this.#running = paths.map((path) => this.#run(path));
  }

  async stop(): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#running);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #run(path: string): Promise<void> {
    while (!this.#stop.signal.aborted) {
      const sentMs = performance.now();
      const text = await this.#ask(path).catch((error) => `${error}`);
      this.ended.push({ path, sentMs, endMs: performance.now(), ...judge(text) });
    }
  }

  /** The whole answer, as far as it came. */
  async #ask(path: string): Promise<string> {
    using conn = await Deno.connect({ hostname: "127.0.0.1", port: this.#port });
    let text = "";
    try {
      await conn.write(formatRequest(path, { headers: { connection: "close" } }));
      const decoder = new TextDecoder();
      const buffer = new Uint8Array(4096);
      for (let count; (count = await conn.read(buffer)) !== null;) {
        text += decoder.decode(buffer.subarray(0, count), { stream: true });
      }
    } catch (error) {
      text += ` ${error}`;
    }
    return text;
  }
}

function judge(text: string): Pick<Ended, "outcome" | "detail"> {
  const detail = text.slice(0, 300);
  if (/^HTTP\/1\.1 200 [^]*\r\n\r\n[^]*whole /.test(text)) return { outcome: "ok", detail };
  if (/^HTTP\/1\.1 503 [^]*\r\nretry-after: \d+\r\n/i.test(text)) {
    return { outcome: "busy", detail };
  }
  return { outcome: text.startsWith("HTTP/1.1 ") ? "wrong" : "reset", detail };
}

/** Three instances, and a log. */
const PROJECT = {
  files: { "app.ts": APP, "job.ts": plainHelper() },
  config: {
    reload: { idleGraceMs: 100, drainDeadlineMs: 5_000 },
    helpers: { job: { module: "./job.ts", instances: 3, timeoutMs: 10_000 } },
    log: { folder: "./log", compress: false },
  },
};

function countsOf(ended: readonly Ended[]): Record<string, number> {
  return Object.fromEntries(
    Object.entries(Object.groupBy(ended, ({ path, outcome }) => `${path} ${outcome}`))
      .map(([key, each]) => [key, each!.length]),
  );
}

/** A kill: its victim may have taken requests until the supervisor knew that it was gone. */
interface Kill {
  readonly killMs: number;
  readonly goneMs: number;
}

/** What was in flight while one of those kills took effect. */
function inFlightAt(ended: readonly Ended[], kills: readonly Kill[]): Ended[] {
  return ended.filter(({ sentMs, endMs }) =>
    kills.some(({ killMs, goneMs }) => sentMs <= goneMs && killMs <= endMs)
  );
}

/** The process that has this role in the newest generation, once it is there. */
async function findRole(server: Server, role: string): Promise<number> {
  return await until(`the ${role}`, () => {
    const generation = 1 + server.eventsOf("reload_done").length;
    const gone = new Set(server.eventsOf("worker_lost").map(({ pid }) => pid));
    return server.eventsOf("worker_ready").findLast((event) =>
      event.role === role && (role === "logger" || event.generation === generation) &&
      !gone.has(event.pid)
    )?.pid as number | undefined;
  });
}

/** Kills the process that has this role, while requests are answered, and returns when. */
async function killRole(server: Server, role: string): Promise<Kill> {
  const deaths = server.eventsOf("worker_lost").length;
  await findRole(server, "worker");
  const pid = await findRole(server, role);
  // Clients are to have begun again.
  await sleep(60);
  const killMs = performance.now();
  try {
    Deno.kill(pid, "SIGKILL");
  } catch (error) {
    // Whoever ended before it was killed is a fault of its own: its last events say which.
    const events = server.events.slice(-30).map((event) => JSON.stringify(event)).join("\n");
    throw new Error(`The ${role}, pid ${pid}, had ended by itself:\n${events}`, { cause: error });
  }
  await server.waitFor("worker_lost", deaths + 1);
  return { killMs, goneMs: performance.now() };
}

Deno.test("a hundred kills of workers, helpers and the logger in turn cost only what was in flight on the killed", async () => {
  await using server = await Server.start(PROJECT);
  const { pid } = server;
  await using clients = new Clients(server.project.port, [
    ...["/helped", "/helped", "/helped", "/safe", "/safe"],
    ...["/plain", "/plain"],
  ]);
  const helperKills: Kill[] = [];
  const workerKills: Kill[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    for (const role of VICTIMS) {
      const kill = await killRole(server, role);
      // The death of the logger is nothing to any request.
      if (role === "worker") workerKills.push(kill);
      else if (role !== "logger") helperKills.push(kill);
    }
    // A worker that is to be replaced still is, so that it is none of the reload's doing.
    await until("a worker", async () => await server.text("/plain") === "whole plain");
    await server.project.configure({ log: { folder: `./log_${round}`, compress: false } });
    assertEquals((await server.hangUp()).event, "reload_done");
  }
  await sleep(200);
  await clients.stop();
  const { ended } = clients;
  const counts = countsOf(ended);
  const [resets, busies, wrongs] = (["reset", "busy", "wrong"] as const).map((outcome) =>
    ended.filter((each) => each.outcome === outcome)
  );
  const account = JSON.stringify(counts);
  assertEquals(wrongs, [], account);
  // Cut off: only what a killed worker had, or what asked it in that moment.
  assertEquals(
    resets!.filter((each) => inFlightAt([each], workerKills).length === 0),
    [],
    account,
  );
  assert(resets!.length <= inFlightAt(ended, workerKills).length, account);
  // Busy: only calls that a killed helper had and that may not be made twice.
  assertEquals(busies!.filter(({ path }) => path !== "/helped"), [], account);
  assertEquals(
    busies!.filter((each) => inFlightAt([each], helperKills).length === 0),
    [],
    account,
  );
  assert(busies!.length > 0, `No call was in flight at a kill: ${account}`);
  for (const path of ["/helped", "/safe", "/plain"]) assert(counts[`${path} ok`]! > 100, account);
  assertEquals(server.pid, pid);
  assertEquals(server.eventsOf("worker_lost").length, ROUNDS * VICTIMS.length);
  assertEquals((await server.stop()).code, 0);
});

Deno.test("twenty reloads under load, with calls in flight and a log disk that is full, lose nothing", async () => {
  const project = await Project.create(PROJECT);
  const folder = project.path("log");
  await Deno.mkdir(folder);
  const disk = await mountSmall(folder);
  if (disk) {
    await Deno.writeFile(`${folder}/filler`, new Uint8Array(4 * 2 ** 20)).catch(() => {});
  }
  await using server = await Server.startOn(project);
  await using _disk = {
    // Before the server looks what it has left behind, its folder must be an ordinary one.
    [Symbol.asyncDispose]: async () => {
      await server.stop();
      await disk?.[Symbol.asyncDispose]();
    },
  };
  await using clients = new Clients(server.project.port, [
    ...["/helped", "/helped", "/helped", "/safe", "/plain", "/plain"],
  ]);
  for (let round = 0; round < RELOADS; round++) {
    await sleep(100);
    assertEquals((await server.hangUp()).event, "reload_done");
  }
  await sleep(300);
  await clients.stop();
  const bad = clients.ended.filter(({ outcome }) => outcome !== "ok");
  assertEquals(bad, [], JSON.stringify(countsOf(clients.ended)));
  assert(clients.ended.length > 500, JSON.stringify(countsOf(clients.ended)));
  await server.waitFor("generation_ended", RELOADS);
  assertEquals(
    server.eventsOf("generation_ended").filter(({ outcome }) => outcome !== "drained"),
    [],
  );
  assertEquals(server.eventsOf("worker_lost"), []);
});
