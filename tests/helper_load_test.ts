/**
 * Helpers and workers die in turn, and reloads come, while clients that account for every request
 * ask on. They speak HTTP over raw sockets, since `fetch` asks again by itself.
 */
import { assert, assertEquals } from "@std/assert";
import { HELPER_MODULE, plainHelper } from "./harness/helpers.ts";
import { formatRequest } from "./harness/http.ts";
import { Server } from "./harness/server.ts";
import { sleep, until } from "./harness/wait.ts";

const KILLS = 100;
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
class Clients {
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

function startServer(): Promise<Server> {
  return Server.start({
    files: { "app.ts": APP, "job.ts": plainHelper() },
    config: {
      reload: { idleGraceMs: 100, drainDeadlineMs: 5_000 },
      helpers: { job: { module: "./job.ts", instances: 2, timeoutMs: 10_000 } },
    },
  });
}

function countsOf(ended: readonly Ended[]): Record<string, number> {
  return Object.fromEntries(
    Object.entries(Object.groupBy(ended, ({ path, outcome }) => `${path} ${outcome}`))
      .map(([key, each]) => [key, each!.length]),
  );
}

/** What was in flight at one of those moments. */
function inFlightAt(ended: readonly Ended[], moments: readonly number[]): Ended[] {
  return ended.filter(({ sentMs, endMs }) => moments.some((ms) => sentMs <= ms && ms <= endMs));
}

Deno.test("a hundred kills of workers and helpers in turn cost only what was in flight on the killed", async () => {
  await using server = await startServer();
  const { pid } = server;
  const clients = new Clients(server.project.port, [
    ...["/helped", "/helped", "/helped", "/safe", "/safe"],
    ...["/plain", "/plain"],
  ]);
  const helperKillsMs: number[] = [];
  const workerKillsMs: number[] = [];
  for (let round = 0; round < KILLS; round++) {
    await sleep(50);
    const { worker, helpers } = await until("all processes", async () => {
      const { generations: [generation] } = await server.status();
      const { worker, helpers } = generation!;
      return worker !== null && helpers.every(({ process }) => process) && { worker, helpers };
    });
    const ready = server.eventsOf("worker_ready").length;
    const killed = round % 2 === 0 ? worker : helpers[(round - 1) / 2 % 2]!.process!;
    (round % 2 === 0 ? workerKillsMs : helperKillsMs).push(performance.now());
    Deno.kill(killed.pid, "SIGKILL");
    await server.waitFor("worker_ready", ready + 1);
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
    resets!.filter((each) => inFlightAt([each], workerKillsMs).length === 0),
    [],
    account,
  );
  assert(resets!.length <= inFlightAt(ended, workerKillsMs).length, account);
  // Busy: only calls that a killed helper had and that may not be made twice.
  assertEquals(busies!.filter(({ path }) => path !== "/helped"), [], account);
  assertEquals(
    busies!.filter((each) => inFlightAt([each], helperKillsMs).length === 0),
    [],
    account,
  );
  assert(busies!.length > 0, `No call was in flight at a kill: ${account}`);
  for (const path of ["/helped", "/safe", "/plain"]) assert(counts[`${path} ok`]! > 100, account);
  assertEquals(server.pid, pid);
  assertEquals(server.eventsOf("worker_lost").length, KILLS);
  assertEquals((await server.stop()).code, 0);
});

Deno.test("twenty reloads under load, with calls of helpers in flight, lose nothing", async () => {
  await using server = await startServer();
  const clients = new Clients(server.project.port, [
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
