/** What slow and greedy clients are allowed, on both engines and for an app's own server. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import type { DEFAULT_HTTP } from "../../lib/base/http_limits.ts";
import { concat, formatChunk, formatRequest, Wire } from "../harness/http.ts";
import { Server } from "../harness/server.ts";
import {
  drip,
  endsAfterAll,
  LIMITED_APP,
  limitedWhen,
  post,
  SLOW,
} from "../harness/slow_clients.ts";
import { sleep, until } from "../harness/wait.ts";

/** The same as a server of node:http's, as far as that makes a difference. */
const NODE_APP = `
import http from "node:http";
let seen = 0;
http.createServer((request, response) => {
  if (request.method === "POST") seen++;
  if (request.url === "/seen") return response.end(String(seen));
  if (request.url === "/large") return response.end(Buffer.alloc(32_000_000));
  if (request.url === "/stream") {
    const more = () => { while (response.write(Buffer.alloc(100_000))); };
    response.on("drain", more);
    return more();
  }
  if (request.url === "/wait") return setTimeout(() => response.end("here"), 4_000);
  let bytes = 0;
  request.on("data", (piece) => bytes += piece.length);
  request.on("end", () => response.end(request.method === "POST" ? String(bytes) : "here"));
  request.on("error", () => {});
}).listen(8000);
`;

const SERVED = {
  native: { app: LIMITED_APP, engine: "native" },
  node: { app: LIMITED_APP, engine: "node" },
  "an app's own server": { app: NODE_APP, engine: "native" },
} as const;
type Served = keyof typeof SERVED;

async function start(served: Served, http: Partial<typeof DEFAULT_HTTP>, more = {}) {
  const { app, engine } = SERVED[served];
  return await Server.start({ files: { "app.ts": app }, config: { engine, http, ...more } });
}

for (const served of Object.keys(SERVED) as Served[]) {
  Deno.test(`slow clients are cut, and others are not (${served})`, async () => {
    await using server = await start(served, {
      headerTimeoutMs: 1_000,
      bodyTimeoutMs: 1_000,
      keepAliveTimeoutMs: 1_500,
      minBytesPerSecond: 1_000,
    });
    const { port } = server.project;
    // A slow app, and a slow client that makes progress, take longer than any of these limits.
    using waiting = await Wire.open(port);
    await waiting.write(formatRequest("/wait"));
    using steady = await Wire.open(port);
    await steady.write(post("/buffer", 12_000));
    const sending = (async () => {
      for (let left = 12; left > 0; left--) {
        await steady.write(new Uint8Array(1_000));
        await sleep(300);
      }
    })();
    const slow = SLOW.map(async ([what, , first, then]) => {
      using wire = await Wire.open(port);
      if (first.length > 0) await wire.write(first);
      if (then !== undefined) assert(await drip(wire, new TextEncoder().encode(then)), what);
      else assert(await wire.ended() !== "more", what);
    });
    using idle = await Wire.open(port);
    assertEquals((await idle.ask("/")).text, "here");
    await Promise.all(slow);
    assertEquals(await idle.ended(), "closed");
    await sending;
    assertEquals((await steady.answer()).text, "12000");
    assertEquals((await waiting.answer()).status, 200);
    const wanted: Record<string, number> = {};
    for (const [, kind] of SLOW) wanted[kind] = (wanted[kind] ?? 0) + 1;
    const limited = await limitedWhen(
      server,
      ({ minBytesPerSecond = 0 }) => minBytesPerSecond >= 4,
    );
    const { keepAliveTimeoutMs = 0, ...others } = limited;
    assertEquals(others, wanted);
    assert(keepAliveTimeoutMs >= 1);
    const event = await server.waitFor("clients_limited");
    assertEquals(typeof (event.headerTimeoutMs ?? event.bodyTimeoutMs), "number");
    assertEquals(server.eventsOf("worker_exited"), []);
  });

  Deno.test(`a client that is idle after a long answer is closed (${served})`, async () => {
    await using server = await start(served, { keepAliveTimeoutMs: 1_000 });
    using wire = await Wire.open(server.project.port);
    assertEquals((await wire.ask("/large")).bytes.length, 32_000_000);
    assertEquals(await wire.ended(), "closed");
  });

  Deno.test(`clients that take no answer are cut (${served})`, async () => {
    await using server = await start(served, { sendTimeoutMs: 1_500 });
    const { port } = server.project;
    const wires = [];
    for (const path of ["/large", "/stream"]) {
      const wire = await Wire.open(port);
      await wire.write(formatRequest(path));
      wires.push(wire);
    }
    await until("them to be cut", async () => {
      const process = (await server.status()).generations[0]?.workers[0]?.process;
      return process?.accepted === 2 && process.inFlight + process.connections === 0;
    });
    for (const wire of wires) wire[Symbol.dispose]();
    assertEquals(await server.text("/"), "here");
  });

  Deno.test(`a client that takes an answer too slowly is cut (${served})`, async () => {
    await using server = await start(served, {
      // Longer than what is in the system's buffers can make the kernel wait.
      sendTimeoutMs: 4_000,
      minBytesPerSecond: 2 ** 30,
    });
    using wire = await Wire.open(server.project.port);
    await wire.write(formatRequest("/stream"));
    const taking = (async () => {
      for (;;) {
        await wire.bytes(10_000);
        await sleep(10);
      }
    })().catch(() => {});
    await limitedWhen(server, ({ minBytesPerSecond }) => minBytesPerSecond === 1);
    await taking;
  });

  Deno.test(`bodies beyond http.maxBodyBytes are refused (${served})`, async () => {
    await using server = await start(served, { maxBodyBytes: 200_000 });
    const { port } = server.project;
    assertEquals(
      await (await server.get("/buffer", { method: "POST", body: "x".repeat(200_000) })).text(),
      "200000",
    );
    const before = await server.text("/seen");
    {
      // By its length, before anything of it has come.
      using wire = await Wire.open(port);
      await wire.write(post("/buffer", 200_001));
      const { status, headers } = await wire.answer();
      assertEquals(status, 413);
      assertMatch(headers.get("connection")!, /^close/);
      assertEquals(await server.text("/seen"), before);
    }
    const chunked = { method: "POST", headers: { "transfer-encoding": "chunked" } };
    const paths = served === "an app's own server"
      ? ["/buffer"]
      : ["/buffer", "/pieces", "/copy", "/caught"];
    for (const path of paths) {
      using wire = await Wire.open(port);
      await wire.write(formatRequest(path, chunked));
      const piece = formatChunk(new Uint8Array(50_000));
      const sending = (async () => {
        for (let count = 0; count < 100; count++) await wire.write(piece);
      })().catch(() => {});
      const answer = await wire.answer().catch(() => undefined);
      if (path === "/caught") assertMatch(answer!.text, /^413 .*maxBodyBytes/);
      else if (served !== "an app's own server") assertEquals(answer?.status, 413, path);
      wire[Symbol.dispose]();
      await sending;
    }
    await limitedWhen(server, ({ maxBodyBytes }) => maxBodyBytes === 1 + paths.length);
    assertEquals(await server.text("/"), "here");
  });

  Deno.test(`a connection ends after http.maxRequestsPerConnection (${served})`, async () => {
    await using server = await start(served, { maxRequestsPerConnection: 3 });
    using wire = await Wire.open(server.project.port);
    // All at once: what is not answered must not have been carried out.
    await wire.write(concat(Array(5).fill(formatRequest("/", { method: "POST", body: "x" }))));
    for (let left = 3; left > 0; left--) {
      const { status, headers } = await wire.answer();
      assertEquals([status, headers.get("connection") === "close"], [200, left === 1]);
    }
    assert(await wire.ended() !== "more");
    assertEquals(await server.text("/seen"), "3");
  });

  Deno.test(`requests beyond http.maxRequests are told to come again (${served})`, async () => {
    await using server = await start(served, { maxRequests: 2 });
    const { port } = server.project;
    const busy = await Promise.all([Wire.open(port), Wire.open(port)]);
    for (const wire of busy) await wire.write(formatRequest("/wait"));
    using wire = await Wire.open(port);
    await until("both to be served", async () => {
      return (await server.status()).generations[0]?.workers[0]?.process?.inFlight === 2;
    });
    const { status, headers } = await wire.ask("/");
    assertEquals([status, headers.get("retry-after")], [503, "1"]);
    for (const wire of busy) assertEquals((await wire.answer()).status, 200);
    assertEquals((await wire.ask("/")).status, 200);
    for (const wire of busy) wire[Symbol.dispose]();
  });

  Deno.test(`connections beyond http.maxConnections wait until others end (${served})`, async () => {
    await using server = await start(served, { maxConnections: 3 });
    const { port } = server.project;
    const held = [];
    for (let count = 0; count < 3; count++) {
      const wire = await Wire.open(port);
      assertEquals((await wire.ask("/")).status, 200);
      held.push(wire);
    }
    const waiting = await Promise.all(Array.from({ length: 5 }, () => Wire.open(port)));
    for (const wire of waiting) await wire.write(formatRequest("/"));
    await limitedWhen(server, ({ maxConnections }) => maxConnections === 1);
    assertEquals((await server.status()).generations[0]?.workers[0]?.process?.connections, 3);
    const [first, ...others] = waiting;
    held.shift()![Symbol.dispose]();
    assertEquals((await first!.answer()).status, 200);
    // Those that the runtime holds are served, though their worker is replaced while it is full.
    // Who is answered leaves: all of them may have come to the new worker, which is full with three.
    const answers = others.map(async (wire) => {
      const { status } = await wire.answer();
      wire[Symbol.dispose]();
      return status;
    });
    assertEquals((await server.reload()).outcome, "done");
    assertEquals(await Promise.all(answers), others.map(() => 200));
    for (const wire of [...held, first!]) wire[Symbol.dispose]();
    assertEquals(server.eventsOf("worker_exited"), []);
  });

  Deno.test(`a client has http.maxConnectionsPerAddress (${served})`, async () => {
    await using server = await start(served, { maxConnectionsPerAddress: 2 });
    const { port } = server.project;
    const open = async () => {
      const wire = await Wire.open(port);
      await wire.write(formatRequest("/")).catch(() => {});
      const answer = await wire.answer().catch(() => undefined);
      if (answer === undefined) wire[Symbol.dispose]();
      return { wire, status: answer?.status };
    };
    const all = [await open(), await open(), await open()];
    assertEquals(all.map(({ status }) => status), [200, 200, undefined]);
    all[0]!.wire[Symbol.dispose]();
    const again = await until("room for another", async () => {
      const next = await open();
      return next.status === 200 ? next : undefined;
    });
    for (const { wire } of [...all, again]) wire[Symbol.dispose]();
  });
}

for (const served of Object.keys(SERVED) as Served[]) {
  /** Is too slow so often, as a client of a proxy's where `client` is given. */
  const beSlow = async (port: number, times: number, client?: string) => {
    await Promise.all(Array.from({ length: times }, async () => {
      using wire = await Wire.open(port);
      const headers = {
        "content-length": "1000",
        ...client !== undefined && { "x-forwarded-for": client },
      };
      await wire.write(formatRequest("/buffer", { method: "POST", headers }));
      assert(await endsAfterAll(wire));
    }));
  };

  Deno.test(`a client that is cut again and again is refused for a while (${served})`, async () => {
    const http = { bodyTimeoutMs: 300, maxPenaltyMs: 4_000, penaltyExempt: [] };
    await using server = await start(served, http);
    const { port } = server.project;
    using open = await Wire.open(port);
    assertEquals((await open.ask("/")).text, "here");
    await beSlow(port, 10);
    using refused = await Wire.open(port);
    await refused.write(formatRequest("/")).catch(() => {});
    assert(await refused.ended() !== "more");
    // What is open goes on.
    assertEquals((await open.ask("/")).text, "here");
    const again = await until("it to be served again", async () => {
      using wire = await Wire.open(port);
      return (await wire.ask("/").catch(() => undefined))?.text;
    });
    assertEquals(again, "here");
    await limitedWhen(server, ({ maxPenaltyMs = 0 }) => maxPenaltyMs >= 1);
  });

  Deno.test(`behind a proxy a client with a penalty is told so, and no other (${served})`, async () => {
    const http = { bodyTimeoutMs: 300, penaltyExempt: [] };
    await using server = await start(served, http, { trustedProxies: ["127.0.0.1"] });
    const { port } = server.project;
    await beSlow(port, 10, "198.51.100.1");
    using wire = await Wire.open(port);
    const ask = async (client: string) => {
      const { status, headers } = await wire.ask("/", { headers: { "x-forwarded-for": client } });
      return [status, headers.has("retry-after")];
    };
    assertEquals(await ask("198.51.100.1"), [429, true]);
    assertEquals(await ask("198.51.100.2"), [200, false]);
  });
}

Deno.test("private addresses have no penalties, unless the config says so", async () => {
  await using server = await start("native", { bodyTimeoutMs: 300 });
  const { port } = server.project;
  await Promise.all(Array.from({ length: 20 }, async () => {
    using wire = await Wire.open(port);
    await wire.write(post("/buffer", 1_000));
    assert(await endsAfterAll(wire));
  }));
  assertEquals(await server.text("/"), "here");
});

Deno.test("a WebSocket without a message is closed after http.webSocketIdleTimeoutMs", async () => {
  for (const served of ["native", "node"] as const) {
    await using server = await start(served, { webSocketIdleTimeoutMs: 1_000 });
    const open = async () => {
      const socket = new WebSocket(`ws://127.0.0.1:${server.project.port}/socket`);
      await new Promise((resolve) => socket.onopen = resolve);
      return socket;
    };
    const [idle, used] = [await open(), await open()];
    let closed = false;
    used.onclose = () => closed = true;
    const use = setInterval(() => used.send("x"), 200);
    // It does not answer that it is to close, and never closes by itself.
    using deaf = await Wire.open(server.project.port);
    await deaf.write(formatRequest("/socket", {
      headers: {
        ...{ connection: "upgrade", upgrade: "websocket" },
        ...{ "sec-websocket-version": "13", "sec-websocket-key": btoa("x".repeat(16)) },
      },
    }));
    assertEquals((await deaf.head()).status, 101);
    const { code } = await new Promise<CloseEvent>((resolve) => idle.onclose = resolve);
    clearInterval(use);
    assertEquals([code, closed], [1001, false]);
    assert(await endsAfterAll(deaf));
    await limitedWhen(server, ({ webSocketIdleTimeoutMs = 0 }) => webSocketIdleTimeoutMs >= 1);
    used.close();
  }
});

Deno.test("a time for which the worker itself is busy is no client's", async () => {
  const app = `export default {
    fetch({ url }) {
      if (url.endsWith("/block")) Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5_500);
      return new Response();
    },
  };`;
  await using server = await Server.start({
    files: { "app.ts": app },
    config: { http: { headerTimeoutMs: 4_000 } },
  });
  const { port } = server.project;
  using head = await Wire.open(port);
  await until(
    "the head to be waited for",
    async () => (await server.status()).generations[0]?.workers[0]?.process?.connections === 1,
  );
  using block = await Wire.open(port);
  await block.write(formatRequest("/block"));
  await head.write(formatRequest("/"));
  for (const wire of [block, head]) assertEquals((await wire.answer()).status, 200);
});
