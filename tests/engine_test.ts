import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { createHash } from "node:crypto";
import type { ProcessStatus } from "../lib/protocol/control.ts";
import { concat, formatChunk, formatRequest, Wire } from "./harness/http.ts";
import type { ProgramName } from "../tools/programs.ts";
import { findMissing, recordSkip } from "./harness/needs.ts";
import { isAlive } from "./harness/process.ts";
import { Project } from "./harness/project.ts";
import { Server } from "./harness/server.ts";
import { until, untilTold } from "./harness/wait.ts";

const ENGINES = ["native", "node"] as const;
type EngineName = typeof ENGINES[number];

/** An app with a route for whatever HTTP has to offer; `/cancelled` tells of streams given up. */
const APP = `
import { createHash } from "node:crypto";

let cancelled = 0;

const ROUTES = {
  "/text": () => new Response("text", { headers: { "x-app": "yes" } }),
  "/created": () => new Response("made", { status: 201 }),
  "/cookies"() {
    const headers = new Headers();
    headers.append("set-cookie", "a=1; Path=/");
    headers.append("set-cookie", "b=2, or so");
    return new Response("cookies", { headers });
  },
  "/empty": () => new Response(null, { status: 204 }),
  "/unchanged": () => new Response(null, { status: 304, headers: { etag: '"e"' } }),
  "/long"() {
    return new Response("x".repeat(100), { headers: { "content-length": "100" } });
  },
  "/request"(request, info) {
    const { method, url } = request;
    return Response.json({ method, url, headers: [...request.headers], remote: info.remoteAddr });
  },
  async "/echo"(request) {
    return new Response(await request.text());
  },
  "/stream_echo": (request) => new Response(request.body),
  async "/hash"(request) {
    const hash = createHash("sha256");
    let bytes = 0;
    for await (const chunk of request.body) {
      hash.update(chunk);
      bytes += chunk.length;
    }
    return Response.json({ sha256: hash.digest("hex"), bytes });
  },
  "/whole": () => new Response(pattern(20_000_000)),
  "/pieces"() {
    let left = 20_000_000;
    return new Response(new ReadableStream({
      pull(controller) {
        const bytes = Math.min(left, 50_000);
        left -= bytes;
        controller.enqueue(pattern(bytes));
        if (left === 0) controller.close();
      },
    }));
  },
  "/endless"() {
    let timer;
    return new Response(new ReadableStream({
      start(controller) {
        timer = setInterval(() => controller.enqueue(new Uint8Array(1000)), 20);
      },
      cancel() {
        clearInterval(timer);
        cancelled++;
      },
    }));
  },
  "/cancelled": () => new Response(String(cancelled)),
  "/pid": () => new Response(String(Deno.pid)),
  async "/refuse"(request) {
    await request.body.cancel();
    return new Response("too large", { status: 413 });
  },
  async "/slow"(request) {
    await new Promise((resolve) => setTimeout(resolve, 300));
    const status = Number(new URL(request.url).searchParams.get("status") ?? 200);
    return new Response(status === 204 ? null : "slow", { status });
  },
  async "/slow_stream"() {
    await new Promise((resolve) => setTimeout(resolve, 300));
    return new Response(new Blob(["slow"]).stream());
  },
  "/throw"() {
    throw new Error("the handler broke");
  },
};

const PERIOD = new Uint8Array(50_000).map((_, index) => index % 251);

function pattern(length) {
  const bytes = new Uint8Array(length);
  for (let at = 0; at < length; at += PERIOD.length) {
    bytes.set(PERIOD.subarray(0, length - at), at);
  }
  return bytes;
}

export default {
  fetch(request, info) {
    const route = ROUTES[new URL(request.url).pathname];
    return route ? route(request, info) : new Response("no route", { status: 404 });
  },
};
`;

/** The 20 MB that the app sends and is sent. */
const LARGE = new Uint8Array(20_000_000).map((_, index) => index % 50_000 % 251);
const LARGE_SHA256 = sha256(LARGE);

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}

/** Serves the app on TCP and on a Unix socket beside it. */
async function start(engine: EngineName): Promise<Server> {
  const project = await Project.create({ files: { "app.ts": APP }, config: { engine } });
  await project.configure({ listen: [`127.0.0.1:${project.port}`, "unix:./http.sock"] });
  const server = await Server.startOn(project);
  assertEquals(server.eventsOf("worker_ready")[0]?.engine, engine, "the engine that was asked for");
  return server;
}

type Stats = ProcessStatus;

/** The figures of the only worker, once they are as `settled` wants them; they come once a second. */
async function figuresWhen(server: Server, settled: (figures: Stats) => boolean) {
  let last: Stats | null | undefined;
  try {
    return await untilTold("the figures to settle", async () => {
      last = (await server.status()).generations[0]?.workers[0]?.process;
      return last && settled(last) ? last : undefined;
    });
  } catch (error) {
    throw new Error(`${(error as Error).message}: ${JSON.stringify(last)}`);
  }
}

/** What the worker wrote so far, as lines. */
function outputOf(server: Server): string[] {
  return server.eventsOf("worker_output").map(({ text }) => String(text));
}

async function drainPieces(pieces: AsyncIterable<Uint8Array>) {
  const hash = createHash("sha256");
  for await (const piece of pieces) hash.update(piece);
  return hash.digest("hex");
}

async function run(program: string, ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await new Deno.Command(program, { args }).output();
  const text = new TextDecoder().decode(stdout);
  assertEquals(code, 0, text + new TextDecoder().decode(stderr));
  return text;
}

type Promises = Record<string, (server: Server) => Promise<void>>;

/** What the figures of a worker tell from its first request on; in this order. */
const FIRST: Promises = {
  async "tells by its status what passed through"(server) {
    const idle: Wire[] = [];
    for (let index = 0; index < 5; index++) {
      const wire = await Wire.open(server.project.port);
      for (let asked = 0; asked < 4; asked++) assertEquals((await wire.ask("/text")).status, 200);
      if (index < 3) idle.push(wire);
      else wire[Symbol.dispose]();
    }
    using busy = await Wire.open(server.project.port);
    await busy.write(formatRequest("/endless"));
    await busy.head();
    const { accepted, answered, inFlight, connections } = await figuresWhen(
      server,
      (figures) => figures.inFlight === 1 && figures.connections === 4,
    );
    assertEquals(
      { accepted, answered, inFlight, connections },
      { accepted: 6, answered: 20, inFlight: 1, connections: 4 },
    );
    for (const wire of [...idle, busy]) wire[Symbol.dispose]();
    const after = await figuresWhen(server, (figures) => figures.connections === 0);
    assertEquals([after.accepted, after.answered, after.inFlight], [6, 21, 0]);
  },

  async "forgets a request whose client goes away before it is answered"(server) {
    for (const path of ["/slow", "/slow?status=204", "/slow_stream"]) {
      for (const method of ["GET", "HEAD"]) {
        using wire = await Wire.open(server.project.port);
        await wire.write(formatRequest(path, { method }));
      }
    }
    await figuresWhen(
      server,
      (now) => now.accepted === 12 && now.answered === 27 && now.inFlight + now.connections === 0,
    );
  },
};

/** Each promise, kept by either engine. */
const PROMISES: Promises = {
  // As Deno's own server has it: that the client has gone is told by the same sign, and an app that is
  // told of it at once gives up work for nobody. What a client waits for that has only stopped sending
  // is rarer.
  async "takes a client that sends nothing more for one that has gone"(server) {
    const connection = await Deno.connect({ hostname: "127.0.0.1", port: server.project.port });
    await connection.write(formatRequest("/endless"));
    await connection.read(new Uint8Array(1_000));
    const before = Number(await server.text("/cancelled"));
    await connection.closeWrite();
    await untilTold("the app to hear of it", async () => {
      return Number(await server.text("/cancelled")) === before + 1;
    });
    connection.close();
  },

  async "answers what came whole before what is no request"(server) {
    using wire = await Wire.open(server.project.port);
    await wire.write(
      concat([formatRequest("/slow"), new TextEncoder().encode("no request\r\n\r\n")]),
    );
    assertEquals((await wire.answer()).text, "slow");
    assertEquals((await wire.answer()).status, 400);
    assertEquals(await wire.ended(), "closed");
  },

  async "sends the app's status and headers"(server) {
    using wire = await Wire.open(server.project.port);
    const text = await wire.ask("/text");
    assertEquals([text.status, text.text, text.headers.get("x-app")], [200, "text", "yes"]);
    assertMatch(text.headers.get("content-type")!, /^text\/plain/);
    assertEquals((await wire.ask("/created")).status, 201);
    assertEquals((await wire.ask("/nowhere")).status, 404);
  },

  async "keeps several Set-Cookie headers apart"(server) {
    const answer = await server.get("/cookies");
    assertEquals(await answer.text(), "cookies");
    assertEquals(answer.headers.getSetCookie(), ["a=1; Path=/", "b=2, or so"]);
  },

  async "answers HEAD with the headers of GET and no body"(server) {
    using wire = await Wire.open(server.project.port);
    const head = await wire.ask("/long", { method: "HEAD" });
    assertEquals([head.status, head.headers.get("content-length")], [200, "100"]);
    // Anything sent as a body would be taken for the head of the next answer.
    assertEquals((await wire.ask("/text")).text, "text");
    assertEquals((await wire.ask("/pieces", { method: "HEAD" })).status, 200);
    assertEquals((await wire.ask("/text")).text, "text");
  },

  async "sends 204 and 304 without a body"(server) {
    using wire = await Wire.open(server.project.port);
    const empty = await wire.ask("/empty");
    assertEquals([empty.status, empty.framing.kind, empty.text], [204, "none", ""]);
    const unchanged = await wire.ask("/unchanged");
    assertEquals([unchanged.status, unchanged.headers.get("etag")], [304, '"e"']);
    assertEquals(unchanged.text, "");
    assertEquals((await wire.ask("/text")).text, "text");
  },

  async "tells the app the method, the URL, the headers and the client's address"(server) {
    using wire = await Wire.open(server.project.port);
    const { text } = await wire.ask("/request?a=1&b=%20", {
      method: "PATCH",
      headers: { host: "example.com:81", "x-two": "words here" },
    });
    const { method, url, headers, remote } = JSON.parse(text);
    assertEquals([method, url], ["PATCH", "http://example.com:81/request?a=1&b=%20"]);
    assertEquals(new Headers(headers).get("x-two"), "words here");
    assertEquals([remote.transport, remote.hostname], ["tcp", "127.0.0.1"]);
    assert(remote.port > 0);
  },

  async "tells the app every value of a header that comes twice"(server) {
    using wire = await Wire.open(server.project.port);
    await wire.write("GET /request HTTP/1.1\r\nhost: a\r\nx-via: one\r\nX-Via: two\r\n\r\n");
    const { headers } = JSON.parse((await wire.answer()).text);
    assertEquals(new Headers(headers).get("x-via"), "one, two");
  },

  async "takes 20 MB up, of known length and in chunks"(server) {
    const known = await server.get("/hash", { method: "POST", body: LARGE });
    assertEquals(await known.json(), { sha256: LARGE_SHA256, bytes: LARGE.length });
    const chunked = await server.get("/hash", { method: "POST", body: new Blob([LARGE]).stream() });
    assertEquals(await chunked.json(), { sha256: LARGE_SHA256, bytes: LARGE.length });
  },

  async "sends 20 MB down, whole and in pieces"(server) {
    for (const path of ["/whole", "/pieces"]) {
      const answer = await server.get(path);
      assertEquals(await drainPieces(answer.body!), LARGE_SHA256, path);
    }
  },

  async "streams both ways: a piece comes back before the next one is sent"(server) {
    using wire = await Wire.open(server.project.port);
    const headers = { "transfer-encoding": "chunked" };
    await wire.write(formatRequest("/stream_echo", { method: "POST", headers }));
    await wire.write(formatChunk("first"));
    const head = await wire.head();
    assertEquals([head.status, head.framing.kind], [200, "chunked"]);
    const pieces = wire.body(head);
    let echo = "";
    const decoder = new TextDecoder();
    const read = async (upTo: string) => {
      while (!echo.endsWith(upTo)) {
        const { done, value } = await pieces.next();
        assert(!done, `ended after ${echo}`);
        echo += decoder.decode(value, { stream: true });
      }
    };
    await read("first");
    await wire.write(formatChunk("second"));
    await read("second");
    await wire.write(formatChunk(""));
    assertEquals((await pieces.next()).done, true);
    assertEquals(echo, "firstsecond");
  },

  async "keeps a connection for request after request"(server) {
    using wire = await Wire.open(server.project.port);
    const ports = new Set<number>();
    for (let index = 0; index < 20; index++) {
      ports.add(JSON.parse((await wire.ask("/request")).text).remote.port);
    }
    assertEquals(ports.size, 1);
    assertEquals((await wire.ask("/echo", { method: "POST", body: "and on" })).text, "and on");
  },

  async "keeps a connection after an upload, of known length and in chunks"(server) {
    using wire = await Wire.open(server.project.port);
    const body = "x".repeat(1000);
    assertEquals((await wire.ask("/echo", { method: "POST", body })).text, body);
    const headers = { "transfer-encoding": "chunked" };
    await wire.write(formatRequest("/echo", { method: "POST", headers }));
    await wire.write(concat([formatChunk(body), formatChunk("")]));
    assertEquals((await wire.answer()).text, body);
    assertEquals((await wire.ask("/text")).text, "text");
  },

  async "answers an upload that the app never reads, and does not hang after it"(server) {
    for (const bytes of [1000, 1_000_000]) {
      using wire = await Wire.open(server.project.port);
      const sending = wire.write(formatRequest("/text", {
        method: "POST",
        body: new Uint8Array(bytes),
      })).catch(() => {});
      assertEquals((await wire.answer()).text, "text");
      await sending;
      // Either is in order: to read over the body, or to end the connection.
      await wire.write(formatRequest("/text")).catch(() => {});
      const next = await wire.ended();
      assert(next !== "more" || /TTP.*200/.test(await wire.line()), next);
    }
  },

  async "answers an upload before its end when the app does not want it"(server) {
    for (const path of ["/text", "/refuse"]) {
      using wire = await Wire.open(server.project.port);
      const headers = { "content-length": "1000000" };
      await wire.write(formatRequest(path, { method: "POST", headers }));
      await wire.write("only the beginning");
      assertEquals((await wire.answer()).status, path === "/text" ? 200 : 413);
    }
  },

  async "closes after a request that says Connection: close"(server) {
    using wire = await Wire.open(server.project.port);
    assertEquals((await wire.ask("/text", { headers: { connection: "close" } })).text, "text");
    assertEquals(await wire.ended(), "closed");
  },

  async "answers pipelined requests in their order"(server) {
    using wire = await Wire.open(server.project.port);
    const bodies = Array.from({ length: 10 }, (_, index) => `number ${index}`);
    await wire.write(concat(bodies.flatMap((body, index) => [
      formatRequest("/echo", { method: "POST", body }),
      formatRequest(index % 3 === 0 ? "/slow" : "/text"),
    ])));
    for (const [index, body] of bodies.entries()) {
      assertEquals((await wire.answer()).text, body);
      assertEquals((await wire.answer()).text, index % 3 === 0 ? "slow" : "text");
    }
  },

  async "says 100 Continue before it takes a body that waits for it"(server) {
    using wire = await Wire.open(server.project.port);
    const headers = { expect: "100-continue", "content-length": "5" };
    await wire.write(formatRequest("/echo", { method: "POST", headers }));
    assertMatch(await wire.line(), /^HTTP\/1\.1 100 /);
    while (await wire.line() !== "");
    await wire.write("later");
    assertEquals((await wire.answer()).text, "later");
  },

  async "answers a malformed request with 400, and goes on"(server) {
    const malformed = [
      "NO SUCH THING\r\n\r\n",
      "GET /text HTTP/1.1\r\nhost holdfast\r\n\r\n",
      "POST /echo HTTP/1.1\r\nhost: a\r\ncontent-length: many\r\n\r\n",
    ];
    for (const bytes of malformed) {
      using wire = await Wire.open(server.project.port);
      await wire.write(bytes);
      assertMatch(await wire.line(), /^HTTP\/1\.1 400 /, bytes);
    }
  },

  async "answers a broken chunk with an error or the end, and goes on"(server) {
    using wire = await Wire.open(server.project.port);
    const headers = { "transfer-encoding": "chunked" };
    await wire.write(formatRequest("/echo", { method: "POST", headers }));
    await wire.write("zzz\r\n");
    const line = await wire.line().catch(() => "the end");
    assertMatch(line, /^(HTTP\/1\.1 [45]00 .*|the end)$/);
  },

  async "understands a URL in absolute form"(server) {
    using wire = await Wire.open(server.project.port);
    const { text } = await wire.ask("http://example.com/request?x", {
      headers: { host: "example.com" },
    });
    assertEquals(JSON.parse(text).url, "http://example.com/request?x");
  },

  async "takes a path that begins with two slashes for a path"(server) {
    using wire = await Wire.open(server.project.port);
    const answer = await wire.ask("//elsewhere/request", { headers: { host: "example.com" } });
    assertEquals([answer.status, answer.text], [404, "no route"]);
  },

  async "survives a Host header that is no host"(server) {
    for (const host of ["not a host", "a/b", "a:port", "[::", ""]) {
      using wire = await Wire.open(server.project.port);
      assert((await wire.ask("/text", { headers: { host } })).status >= 200, host);
    }
  },

  async "answers HTTP/1.0 without a Host header, and then closes"(server) {
    using wire = await Wire.open(server.project.port);
    await wire.write("GET /request HTTP/1.0\r\n\r\n");
    const { status, text } = await wire.answer();
    assertEquals(status, 200, text);
    const { hostname, pathname } = new URL(JSON.parse(text).url);
    assertEquals([hostname, pathname], ["localhost", "/request"]);
    assertEquals(await wire.ended(), "closed");
  },

  async "answers a request that asks for another protocol as if it did not"(server) {
    const upgrade = { connection: "Upgrade, HTTP2-Settings", upgrade: "h2c", "http2-settings": "" };
    using wire = await Wire.open(server.project.port);
    const answer = await wire.ask("/text", { headers: upgrade });
    assertEquals([answer.status, answer.text], [200, "text"]);
  },

  async "gives up the app's stream when the client goes away"(server) {
    const before = Number(await server.text("/cancelled"));
    {
      using wire = await Wire.open(server.project.port);
      await wire.write(formatRequest("/endless"));
      const head = await wire.head();
      assertEquals(head.status, 200);
      await wire.body(head).next();
      await figuresWhen(server, ({ inFlight }) => inFlight === 1);
    }
    await until("the app's stream to be cancelled", async () => {
      return Number(await server.text("/cancelled")) === before + 1;
    });
  },

  async "forgets a request whose client goes away during its upload"(server) {
    {
      using wire = await Wire.open(server.project.port);
      const headers = { "content-length": "1000000" };
      await wire.write(formatRequest("/echo", { method: "POST", headers }));
      await wire.write("only the beginning");
      await figuresWhen(server, ({ inFlight }) => inFlight === 1);
    }
    await figuresWhen(server, ({ inFlight, connections }) => inFlight + connections === 0);
  },

  async "answers 500 when the handler throws, and tells only the log why"(server) {
    using wire = await Wire.open(server.project.port);
    for (let round = 0; round < 3; round++) {
      const answer = await wire.ask("/throw");
      assertEquals([answer.status, answer.text], [500, "Internal Server Error"]);
    }
    const lines = await until("three lines in the log", () => {
      const found = outputOf(server).filter((line) => line.includes("the handler broke"));
      return found.length === 3 && found;
    });
    assertStringIncludes(lines[0]!, "Error: the handler broke");
  },

  async "serves a Unix listener beside TCP"(server) {
    const path = server.project.path("http.sock");
    using wire = await Wire.open(path);
    const { remote, url } = JSON.parse((await wire.ask("/request")).text);
    assertEquals(remote, { transport: "unix", path });
    assertEquals(url, "http://holdfast.test/request");
    const body = LARGE.subarray(0, 1_000_000);
    const hash = JSON.parse((await wire.ask("/hash", { method: "POST", body })).text);
    assertEquals(hash, { sha256: sha256(body), bytes: body.length });
    assertEquals(await drainPieces(wire.body(await askHead(wire, "/pieces"))), LARGE_SHA256);
    assertEquals((await wire.ask("/text")).text, "text");
    assertEquals(await server.text("/text"), "text");
  },

  async "survives garbage on every kind of connection"(server) {
    for (const place of [server.project.port, server.project.path("http.sock")]) {
      for (let index = 0; index < 15; index++) {
        using wire = await Wire.open(place);
        await wire.write(crypto.getRandomValues(new Uint8Array(1 + index * 200)));
      }
    }
  },
};

const OWN: Record<EngineName, Promises> = {
  native: {},
  node: {
    async "answers a Host header that is no host with 400, and blames no app"(server) {
      const before = outputOf(server);
      for (const host of ["not a host", "a/b", "a:port", "[::"]) {
        using wire = await Wire.open(server.project.port);
        assertEquals((await wire.ask("/text", { headers: { host } })).status, 400, host);
      }
      assertEquals(outputOf(server), before);
    },

    async "answers a request with a body that asks for another protocol"(server) {
      using wire = await Wire.open(server.project.port);
      const headers = { connection: "Upgrade", upgrade: "h2c" };
      const { status, text } = await wire.ask("/echo", {
        method: "POST",
        headers,
        body: "with a body",
      });
      assertEquals([status, text], [200, "with a body"]);
    },
  },
};

/** Promises of the native engine that another program holds it to. */
const BY_PROGRAM: Record<string, [ProgramName, (server: Server) => Promise<void>]> = {
  "speaks HTTP/2 to curl that knows it beforehand": ["curl", async ({ project }) => {
    const ask = async (way: string) => {
      const format = " %{http_version} %{response_code}";
      const args = ["--silent", "--fail", way, "--write-out", format, `${project.origin}/text`];
      return await run("curl", ...args);
    };
    assertEquals(await ask("--http2-prior-knowledge"), "text 2 200");
    // Without prior knowledge curl asks for it by Upgrade, and is content with HTTP/1.1.
    assertEquals(await ask("--http2"), "text 1.1 200");
  }],
  "answers every request of h2load over HTTP/2": ["h2load", async (server) => {
    const before = await freshFigures(server);
    const url = `${server.project.origin}/text`;
    const report = await run("h2load", "-n", "2000", "-c", "10", "-m", "20", url);
    assertStringIncludes(report, "2000 succeeded, 0 failed, 0 errored, 0 timeout");
    assertStringIncludes(report, "Application protocol: h2c");
    const { answered } = await figuresWhen(
      server,
      ({ accepted, connections }) => accepted === before.accepted + 10 && connections === 0,
    );
    assertEquals(answered - before.answered, 2000);
  }],
};

/** The figures with everything in them that was answered before: a request of their own shows. */
async function freshFigures(server: Server): Promise<Stats> {
  const held = await Wire.open(server.project.port);
  assertEquals((await askHead(held, "/endless")).status, 200);
  await figuresWhen(server, ({ inFlight, connections }) => inFlight === 1 && connections === 1);
  held[Symbol.dispose]();
  return await figuresWhen(server, ({ inFlight, connections }) => inFlight + connections === 0);
}

for (const engine of ENGINES) {
  Deno.test(`the ${engine} engine`, async (t) => {
    await using server = await start(engine);
    const [pid] = await server.workers();
    for (const [promise, keep] of Object.entries(FIRST)) {
      await t.step(promise, () => keep(server));
    }
    for (const [promise, keep] of Object.entries({ ...PROMISES, ...OWN[engine] })) {
      await t.step(promise, async () => {
        await keep(server);
        assertEquals(await server.text("/text"), "text");
      });
    }
    for (const [promise, [program, keep]] of Object.entries(BY_PROGRAM)) {
      if (engine !== "native") break;
      const why = findMissing({ programs: [program] });
      if (why !== undefined) recordSkip({ name: `the ${engine} engine ${promise}`, why });
      await t.step({ name: promise, ignore: why !== undefined, fn: () => keep(server) });
    }
    await t.step("has no harm done by any of it", async () => {
      assertEquals(await server.text("/pid"), String(pid));
      assert(isAlive(pid!));
      await figuresWhen(server, ({ inFlight, connections }) => inFlight + connections === 0);
      assertEquals(server.eventsOf("worker_lost"), []);
    });
  });
}

async function askHead(wire: Wire, path: string) {
  await wire.write(formatRequest(path));
  return await wire.head();
}
