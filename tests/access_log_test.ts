import { assert, assertEquals } from "@std/assert";
import net from "node:net";
import { AccessLane } from "../lib/logger/access_lane.ts";
import {
  type AccessRecord,
  MAX_ACCESS_BATCH,
  MAX_ACCESS_FRAME_BYTES,
} from "../lib/protocol/access.ts";
import { AccessLog, MAX_WAITING_FRAMES } from "../lib/worker/access_log.ts";
import type { Fetcher } from "../lib/worker/app.ts";
import type { Acceptor, Engine } from "../lib/worker/engine.ts";
import { createNativeEngine, detectNative } from "../lib/worker/native_engine.ts";
import { createNodeEngine } from "../lib/worker/node_engine.ts";
import { Traffic } from "../lib/worker/traffic.ts";
import { trackWebSockets } from "../lib/worker/web_socket.ts";
import { sleep, until } from "./harness/wait.ts";

const ENGINES: Record<Engine["name"], Engine> = {
  native: createNativeEngine(detectNative()!),
  node: createNodeEngine(),
};
const NAMES = ["native", "node"] as const;

interface Handle {
  getsockname(out: { port?: number }): number;
}

/** An engine that serves an app on a free port, and a lane that reads what is recorded. */
class Served implements AsyncDisposable {
  readonly port: number;
  readonly access = new AccessLog();
  readonly traffic = new Traffic();
  readonly records: AccessRecord[] = [];
  readonly lane = new AccessLane();
  readonly #acceptor: Acceptor;

  constructor(engine: Engine, fetch: Fetcher["fetch"]) {
    const { _createServerHandle: create } = net as unknown as {
      _createServerHandle(host: string, port: number, family: 4): Handle;
    };
    const handle = create("127.0.0.1", 0, 4);
    const bound: { port?: number } = {};
    handle.getsockname(bound);
    this.port = bound.port!;
    this.access.attach((frame) => {
      this.records.push(...this.lane.receive(frame));
      return true;
    });
    const { traffic, access } = this;
    this.#acceptor = engine.serve({
      handle,
      address: `127.0.0.1:${this.port}`,
      fetcher: { fetch },
      traffic,
      access,
    });
  }

  /** Sends bytes and reads until the server ends the connection. */
  async ask(...lines: string[]): Promise<string> {
    const connection = await Deno.connect({ port: this.port });
    await connection.write(new TextEncoder().encode([...lines, "", ""].join("\r\n")));
    return await new Response(connection.readable).text();
  }

  get(path: string, ...headers: string[]): Promise<string> {
    return this.ask(`GET ${path} HTTP/1.1`, "Host: h", "Connection: close", ...headers);
  }

  async recorded(count: number): Promise<AccessRecord[]> {
    await until(`${count} records`, () => this.records.length >= count);
    return this.records;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#acceptor.stop();
    for (const connection of this.traffic.connections) connection.close();
    await until("the end of the connections", () => this.traffic.connections.size === 0);
    this.access.detach();
  }
}

for (const name of NAMES) {
  const engine = ENGINES[name];

  Deno.test(`${name}: a record has what the client asked and what it was answered`, async () => {
    await using served = new Served(engine, () => new Response("grüße", { status: 201 }));
    const beforeMs = Date.now();
    await served.get("/a/b?c=%22d", "Referer: http://r/", "User-Agent: test/1");
    await served.ask("HEAD /head HTTP/1.1", "Host: h", "Connection: close");
    const [{ time, durationMs, ...record }, head] = await served.recorded(2) as [
      AccessRecord,
      AccessRecord,
    ];
    assertEquals(record, {
      remote: "127.0.0.1",
      method: "GET",
      path: "/a/b?c=%22d",
      protocol: name === "node" ? "HTTP/1.1" : null,
      status: 201,
      bytes: 7,
      referer: "http://r/",
      userAgent: "test/1",
      cut: false,
    });
    assert(time >= beforeMs && time <= Date.now(), `${time}`);
    assert(durationMs >= 0 && durationMs < 10_000, `${durationMs}`);
    assertEquals([head.method, head.bytes, head.referer, head.userAgent], ["HEAD", 0, null, null]);
  });

  const stream = (text: string) => new Blob([text]).stream();
  const ANSWERS: Record<string, [() => Response | Promise<Response>, number, number | null]> = {
    "text": [() => new Response("12345"), 200, 5],
    "bytes": [() => new Response(new Uint8Array(6)), 200, 6],
    "JSON": [() => Response.json({ a: 1 }, { status: 202 }), 202, 7],
    "text with headers": [() => new Response("123", { headers: { "x-a": "b" } }), 200, 3],
    "a promise": [() => Promise.resolve(new Response("1234")), 200, 4],
    "nothing": [() => new Response(null, { status: 204 }), 204, 0],
    "a redirection": [
      () => new Response(null, { status: 303, headers: { location: "/" } }),
      303,
      0,
    ],
    "a Blob": [() => new Response(new Blob(["12345678"])), 200, 8],
    "a stream": [() => new Response(stream("abc")), 200, 3],
    "a file": [
      async () => {
        const file = await Deno.open(new URL(import.meta.url));
        return new Response(file.readable);
      },
      200,
      name === "node" ? Deno.statSync(new URL(import.meta.url)).size : null,
    ],
    "a stream with a length": [
      () => new Response(stream("abc"), { headers: { "content-length": "3" } }),
      200,
      3,
    ],
    "a throw": [
      () => {
        throw new Error("on purpose");
      },
      500,
      21,
    ],
    "a rejection": [() => Promise.reject(new Error("on purpose")), 500, 21],
    "no Response": [() => Promise.resolve("x") as unknown as Promise<Response>, 500, 21],
    "a Response that was read": [
      async () => {
        const response = new Response(stream("abc"));
        await response.text();
        return response;
      },
      500,
      name === "node" ? 21 : null,
    ],
  };
  Deno.test(`${name}: each kind of answer is recorded once, with its status and its bytes`, async (t) => {
    const kinds = Object.entries(ANSWERS);
    await using served = new Served(engine, (request) => {
      const [, [answer]] = kinds[Number(new URL(request.url).pathname.slice(1))]!;
      return answer();
    });
    const answers: string[] = [];
    for (const index of kinds.keys()) answers.push(await served.get(`/${index}`));
    await served.recorded(kinds.length);
    for (const [index, [what, [, status, bytes]]] of kinds.entries()) {
      await t.step(`${what}: ${status}, ${bytes} bytes`, () => {
        assertEquals(answers[index]!.slice(0, 12), `HTTP/1.1 ${status}`, "control");
        const [record, ...more] = served.records.filter(({ path }) => path === `/${index}`);
        assertEquals([record!.status, record!.bytes, record!.cut, more], [
          status,
          bytes,
          false,
          [],
        ]);
      });
    }
    assertEquals(served.records.length, kinds.length);
  });

  Deno.test(`${name}: an answer whose client goes away in the middle is recorded as cut`, async () => {
    let cancelled = 0;
    await using served = new Served(engine, () => {
      let timer: ReturnType<typeof setInterval>;
      return new Response(
        new ReadableStream({
          start(controller) {
            timer = setInterval(() => controller.enqueue(new Uint8Array(1000)), 5);
          },
          cancel() {
            clearInterval(timer);
            cancelled++;
          },
        }),
      );
    });
    const connection = await Deno.connect({ port: served.port });
    await connection.write(new TextEncoder().encode("GET /endless HTTP/1.1\r\nHost: h\r\n\r\n"));
    let read = 0;
    while (read < 3_000) read += await connection.read(new Uint8Array(500)) ?? 0;
    assertEquals(served.records, []);
    connection.close();
    const [record] = await served.recorded(1);
    assertEquals([record!.status, record!.cut, cancelled], [200, true, 1]);
    assert(record!.durationMs >= 1);
  });

  Deno.test({
    name: `${name}: an answer whose body breaks is recorded as cut`,
    // The runtime keeps the resource of a connection whose body broke, with a record or without.
    sanitizeResources: name !== "native",
    fn: async () => {
      await using served = new Served(engine, () => {
        let chunks = 0;
        return new Response(
          new ReadableStream({
            pull(controller) {
              if (chunks++ < 3) controller.enqueue(new Uint8Array(10));
              else controller.error(new Error("on purpose"));
            },
          }),
        );
      });
      await served.get("/").catch(() => {});
      const [record, ...more] = await served.recorded(1);
      assertEquals([record!.status, record!.bytes, record!.cut, more], [200, 30, true, []]);
    },
  });

  Deno.test(`${name}: a request whose answer never comes is recorded as cut when the log ends`, async () => {
    const { promise, resolve } = Promise.withResolvers<Response>();
    await using served = new Served(engine, () => promise);
    const asking = served.get("/never");
    await until("the request", () => served.traffic.inFlight === 1);
    assertEquals(served.records, []);
    served.access.detach();
    const [record] = await served.recorded(1);
    assertEquals([record!.path, record!.status, record!.cut], ["/never", null, true]);
    resolve(new Response("late"));
    await asking;
    let again = 0;
    served.access.attach(() => ++again > 0);
    await sleep(150);
    assertEquals([again, served.records.length], [0, 1], "it is recorded once");
  });
}

Deno.test("the path of a URL is recorded as the client sent it, and cut where it is too long", async () => {
  await using served = new Served(ENGINES.native, () => new Response("x"));
  await served.get("/");
  await served.get("//twice/?q=//x");
  await served.get(`/${"p".repeat(5000)}`, `User-Agent: ${"u".repeat(5000)}`);
  const records = await served.recorded(3);
  assertEquals(records.slice(0, 2).map(({ path }) => path), ["/", "//twice/?q=//x"]);
  assertEquals([records[2]!.path.length, records[2]!.userAgent!.length], [2048, 512]);
});

// ---- batches ----

const ASKED = {
  method: "GET",
  target: "http://h/x",
  remote: "10.0.0.1",
  protocol: null,
  referer: null,
  userAgent: null,
};

function add(log: AccessLog, count: number, change: Partial<typeof ASKED> = {}): void {
  for (let index = 0; index < count; index++) {
    const record = log.begin({ ...ASKED, ...change });
    record.answer(200);
    record.end("whole", 1);
  }
}

Deno.test("records go in batches: at once when one is full, else within a moment", async () => {
  const log = new AccessLog();
  const frames: Uint8Array[] = [];
  log.attach((frame) => frames.push(frame) > 0);
  add(log, MAX_ACCESS_BATCH - 1);
  assertEquals(frames.length, 0);
  add(log, 1);
  assert(frames.length > 0);
  const lane = new AccessLane();
  assertEquals(frames.flatMap((frame) => [...lane.receive(frame)]).length, MAX_ACCESS_BATCH);
  frames.length = 0;
  add(log, 3);
  await until("the others", () => frames.length > 0);
  assertEquals(frames.flatMap((frame) => [...lane.receive(frame)]).length, 3);
  log.detach();
});

Deno.test("the largest records a client can cause make no frame that the logger refuses", () => {
  const log = new AccessLog();
  const lane = new AccessLane();
  let count = 0;
  log.attach((frame) => {
    assert(frame.length <= MAX_ACCESS_FRAME_BYTES + 4, `${frame.length}`);
    count += [...lane.receive(frame)].length;
    return true;
  });
  for (const mark of ["x", "\u0001", "\ud800", "漢", '"', "🦕"]) {
    const long = mark.repeat(20_000);
    add(log, 200, { method: long, target: `/${long}`, referer: long, userAgent: long } as never);
  }
  log.detach();
  assertEquals(count, 1200);
  assertEquals(lane.takeMissing(), undefined);
});

Deno.test("a logger that reads nothing costs bounded memory, and what was dropped is counted", async () => {
  const log = new AccessLog();
  let open = false;
  let [offered, taken] = [0, 0];
  const lane = new AccessLane();
  log.attach((frame) => {
    offered++;
    if (!open) return false;
    taken += [...lane.receive(frame)].length;
    return true;
  });
  const count = MAX_WAITING_FRAMES * MAX_ACCESS_BATCH * 3;
  add(log, count);
  assertEquals(taken, 0);
  assert(offered > 10);
  open = true;
  await until("what waits", () => taken > 0);
  // The count goes with the next records.
  add(log, 1);
  await until("one more", () => taken > 1);
  let missing = 0;
  await until("the whole account", () => {
    missing += lane.takeMissing()?.worker ?? 0;
    return taken + missing >= count + 1;
  });
  assertEquals(taken + missing, count + 1);
  assert(missing > 0, "nothing was dropped");
  assert(taken <= MAX_WAITING_FRAMES * MAX_ACCESS_BATCH + 1, `${taken}`);
  log.detach();
});

Deno.test("records from before the lane is there are sent when it comes, and none after its end", async () => {
  const log = new AccessLog();
  add(log, 5);
  const lane = new AccessLane();
  const records: AccessRecord[] = [];
  const send = (frame: Uint8Array) => records.push(...lane.receive(frame)) > 0;
  log.attach(send);
  assertEquals(records.length, 5);
  add(log, 2);
  log.detach();
  assertEquals(records.length, 7);
  add(log, 2);
  await sleep(200);
  assertEquals(records.length, 7);
  log.detach();
});

// Last, since it stands in for Deno.upgradeWebSocket for good.
Deno.test("an upgrade to WebSocket is recorded with 101, on both engines", async () => {
  for (const name of NAMES) {
    const traffic = new Traffic();
    const upgrade = Deno.upgradeWebSocket;
    trackWebSockets(traffic, [ENGINES[name].upgrade]);
    await using served = new Served(ENGINES[name], (request) => {
      const { socket, response } = Deno.upgradeWebSocket(request);
      socket.onmessage = ({ data }) => socket.send(data);
      return response;
    });
    const socket = new WebSocket(`ws://127.0.0.1:${served.port}/ws`);
    await new Promise((resolve) => socket.onopen = resolve);
    const echo = new Promise((resolve) => socket.onmessage = ({ data }) => resolve(data));
    socket.send("hello");
    assertEquals(await echo, "hello");
    const [record] = await served.recorded(1);
    assertEquals([record!.path, record!.status, record!.cut], ["/ws", 101, false]);
    const closed = new Promise((resolve) => socket.onclose = resolve);
    socket.close();
    await closed;
    Deno.upgradeWebSocket = upgrade;
  }
});
