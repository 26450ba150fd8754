/**
 * Whatever a client asks and an app answers, the app sees and the client gets what Deno's own server
 * would have given them: on both engines, while they serve and while they drain.
 */
import { assertEquals, assertMatch } from "@std/assert";
import { createServer } from "node:http";
import { gzipSync } from "node:zlib";
import { formatChunk, formatRequest, Wire } from "./harness/http.ts";
import { freePort } from "./harness/ports.ts";
import { Server } from "./harness/server.ts";
import { PATIENCE_MS } from "./harness/wait.ts";

/** An app that answers in every way; what it fetches comes from the port in its address. */
const APP = `
const UPSTREAM = "http://127.0.0.1:PORT";
const stream = (...pieces) => new ReadableStream({
  start(controller) {
    for (const piece of pieces) controller.enqueue(new TextEncoder().encode(piece));
    controller.close();
  },
});
const twoCookies = () => {
  const headers = new Headers({ "x-one": "1" });
  headers.append("set-cookie", "a=1");
  headers.append("set-cookie", "b=2");
  headers.append("x-many", "1");
  headers.append("x-many", "2");
  return new Response("cookies", { headers });
};
const fetched = (path, init) => fetch(UPSTREAM + path, { redirect: "manual", ...init });
const ANSWERS = {
  "/text": () => new Response("text"),
  "/empty": () => new Response(""),
  "/null": () => new Response(null),
  "/bytes": () => new Response(new Uint8Array([1, 2, 3])),
  "/blob": () => new Response(new Blob(["blob"], { type: "text/x-blob" })),
  "/json": () => Response.json({ a: 1 }),
  "/form": () => new Response(new URLSearchParams({ a: "1" })),
  "/stream": () => new Response(stream("one", "two")),
  "/stream/length": () => new Response(stream("one"), { headers: { "content-length": "3" } }),
  "/stream/empty": () => new Response(stream()),
  "/204": () => new Response(null, { status: 204 }),
  "/205": () => new Response(null, { status: 205 }),
  "/304": () => new Response(null, { status: 304, headers: { etag: '"x"' } }),
  "/301": () => Response.redirect("http://holdfast.test/there", 301),
  "/404": () => new Response("nothing here", { status: 404, statusText: "Gone Fishing" }),
  "/418": () => new Response("teapot", { status: 418 }),
  "/503": () => new Response("later", { status: 503, headers: { "retry-after": "1" } }),
  "/range": () => new Response("ang", {
    status: 206,
    headers: { "content-range": "bytes 1-3/6", "accept-ranges": "bytes" },
  }),
  "/cookies": twoCookies,
  "/date": () => new Response("date", { headers: { date: "Thu, 01 Jan 1970 00:00:00 GMT" } }),
  "/gzip/own": async () => new Response(
    await new Response(new Blob(["zip"]).stream().pipeThrough(new CompressionStream("gzip"))).bytes(),
    { headers: { "content-encoding": "gzip" } },
  ),
  "/vary": () => new Response("vary", { headers: { vary: "accept", "cache-control": "no-transform" } }),
  "/type": () => new Response("<p>", { headers: { "content-type": "text/html" } }),
  "/length": (request) => new Response(request.method === "HEAD" ? null : "length", {
    headers: { "content-length": "6" },
  }),
  "/promise": async () => { await null; return new Response("later"); },
  "/echo": async (request) => Response.json([
    request.method,
    request.url.length > 500 ? request.url.length : request.url,
    [...request.headers].filter(([name]) => name !== "x-long"),
    await request.text(),
  ]),
  "/fetched": () => fetched("/plain"),
  "/fetched/gzip": () => fetched("/gzip"),
  "/fetched/chunked": () => fetched("/chunked"),
  "/fetched/204": () => fetched("/204"),
  "/fetched/304": () => fetched("/304"),
  "/fetched/302": () => fetched("/302"),
  "/fetched/cookies": () => fetched("/cookies"),
  "/fetched/events": () => fetched("/events"),
};
export default {
  fetch: (request) =>
    ANSWERS[new URL(request.url).pathname]?.(request) ??
      (request.headers.has("x-odd") ? ANSWERS["/echo"](request) : Response.json(Object.keys(ANSWERS))),
};
`;

/** What makes a request that the app tells of in its answer, after which its connection ends. */
const END = "Connection: close\r\nX-Odd: 1\r\n";
const HOST = `Host: h\r\n${END}`;
const long = (length: number) => "a".repeat(length);
const lines = (count: number) => Array.from({ length: count }, (_, i) => `X-${i}: 1\r\n`).join("");

/** Requests that clients can make, odd ones too. */
const REQUESTS: Readonly<Record<string, string>> = {
  trace: `TRACE /a HTTP/1.1\r\n${HOST}\r\n`,
  "trace with a body": `TRACE /a HTTP/1.1\r\n${HOST}Content-Length: 2\r\n\r\nab`,
  connect: `CONNECT h:80 HTTP/1.1\r\n${HOST}\r\n`,
  "connect to a path": `CONNECT /a HTTP/1.1\r\n${HOST}\r\n`,
  patch: `PATCH /a HTTP/1.1\r\n${HOST}Content-Length: 2\r\n\r\nab`,
  propfind: `PROPFIND /a HTTP/1.1\r\n${HOST}\r\n`,
  query: `QUERY /a HTTP/1.1\r\n${HOST}Content-Length: 2\r\n\r\nab`,
  "delete with a body": `DELETE /a HTTP/1.1\r\n${HOST}Content-Length: 2\r\n\r\nab`,
  "options *": `OPTIONS * HTTP/1.1\r\n${HOST}\r\n`,
  "get *": `GET * HTTP/1.1\r\n${HOST}\r\n`,
  "get with a body": `GET /a HTTP/1.1\r\n${HOST}Content-Length: 2\r\n\r\nab`,
  "no path": `GET abc HTTP/1.1\r\n${HOST}\r\n`,
  "HTTP/0.9": `GET /a\r\n\r\n`,
  "HTTP/1.0": `GET /a HTTP/1.0\r\nX-Odd: 1\r\n\r\n`,
  "HTTP/1.0, chunked": `POST /a HTTP/1.0\r\n${HOST}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n`,
  "HTTP/1.2": `GET /a HTTP/1.2\r\n${HOST}\r\n`,
  "HTTP/2.0": `GET /a HTTP/2.0\r\n${HOST}\r\n`,
  "TLS": "\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
  "no host": `GET /a HTTP/1.1\r\n${END}\r\n`,
  "an empty host": `GET /a HTTP/1.1\r\nHost:\r\n${END}\r\n`,
  "two hosts": `GET /a HTTP/1.1\r\nHost: b\r\n${HOST}\r\n`,
  "a host twice": `GET /a HTTP/1.1\r\nHost: h\r\n${HOST}\r\n`,
  "a host in capitals": `GET /a HTTP/1.1\r\nHost: H.Example:8080\r\n${END}\r\n`,
  "a host with port 80": `GET /a HTTP/1.1\r\nHost: h:80\r\n${END}\r\n`,
  "a host of IPv6": `GET /a HTTP/1.1\r\nHost: [::1]:80\r\n${END}\r\n`,
  "a host with %": `GET /a HTTP/1.1\r\nHost: h%41\r\n${END}\r\n`,
  "a whole URL": `GET http://other/x?y=1 HTTP/1.1\r\n${HOST}\r\n`,
  "a whole URL without a path": `GET http://other HTTP/1.1\r\n${HOST}\r\n`,
  "a whole URL in capitals": `GET HTTP://Other:80/x HTTP/1.1\r\n${HOST}\r\n`,
  "a whole URL of https": `GET https://other/x HTTP/1.1\r\n${HOST}\r\n`,
  "a whole URL, no host": `GET http://other/x HTTP/1.1\r\n${END}\r\n`,
  "two slashes": `GET //other/x HTTP/1.1\r\n${HOST}\r\n`,
  dots: `GET /a/../b/./c HTTP/1.1\r\n${HOST}\r\n`,
  "a fragment": `GET /a#b HTTP/1.1\r\n${HOST}\r\n`,
  "odd characters": `GET /a"<>|\\^\`{}?'" HTTP/1.1\r\n${HOST}\r\n`,
  "odd escapes": `GET /%zz%ff%2e%2E HTTP/1.1\r\n${HOST}\r\n`,
  "a space": `GET /a b HTTP/1.1\r\n${HOST}\r\n`,
  "header lines twice": `GET /a HTTP/1.1\r\n${HOST}` +
    "Cookie: a=1\r\nX-A: 1\r\nCookie: b=2\r\nX-A: 2\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n" +
    "User-Agent: a\r\nUser-Agent: b\r\nAuthorization: a\r\nAuthorization: b\r\n\r\n",
  "blanks around a value": `GET /a HTTP/1.1\r\n${HOST}X-A:  a \t \r\nX-B:\r\n\r\n`,
  "a folded line": `GET /a HTTP/1.1\r\n${HOST}X-A: a\r\n b\r\n\r\n`,
  "a blank before the colon": `GET /a HTTP/1.1\r\n${HOST}X-A : a\r\n\r\n`,
  "a name that is none": `GET /a HTTP/1.1\r\n${HOST}X(A: a\r\n\r\n`,
  "a value of Latin-1": `GET /a HTTP/1.1\r\n${HOST}X-A: caf\xe9\r\n\r\n`,
  "a value of UTF-8": `GET /a HTTP/1.1\r\n${HOST}X-A: caf\xc3\xa9\r\n\r\n`,
  "a control character": `GET /a HTTP/1.1\r\n${HOST}X-A: a\x01b\r\n\r\n`,
  "a NUL": `GET /a HTTP/1.1\r\n${HOST}X-A: a\0b\r\n\r\n`,
  "a long path": `GET /${long(40_000)} HTTP/1.1\r\n${HOST}\r\n`,
  "a long header": `GET /a HTTP/1.1\r\n${HOST}X-Long: ${long(64_000)}\r\n\r\n`,
  "too long a header": `GET /a HTTP/1.1\r\n${HOST}X-Long: ${long(70_000)}\r\n\r\n`,
  "many header lines": `GET /a HTTP/1.1\r\n${HOST}${lines(125)}\r\n`,
  "too many header lines": `GET /a HTTP/1.1\r\n${HOST}${lines(126)}\r\n`,
  "two lengths": `POST /a HTTP/1.1\r\n${HOST}Content-Length: 2\r\nContent-Length: 3\r\n\r\nab`,
  "a length and chunks": `POST /a HTTP/1.1\r\n${HOST}Content-Length: 5\r\n` +
    "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
  "a length with a sign": `POST /a HTTP/1.1\r\n${HOST}Content-Length: +2\r\n\r\nab`,
  chunks: `POST /a HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\nTrailer: X-T\r\n\r\n` +
    "2;e=1\r\nab\r\n0\r\nX-T: 1\r\n\r\n",
  "a chunk that is none": `POST /a HTTP/1.1\r\n${HOST}Transfer-Encoding: chunked\r\n\r\nzz\r\n`,
  "compressed chunks":
    `POST /a HTTP/1.1\r\n${HOST}Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n`,
  "expects to go on":
    `POST /a HTTP/1.1\r\n${HOST}Expect: 100-continue\r\nContent-Length: 2\r\n\r\nab`,
  "expects to go on without a body": `GET /a HTTP/1.1\r\n${HOST}Expect: 100-continue\r\n\r\n`,
  "expects something": `POST /a HTTP/1.1\r\n${HOST}Expect: more\r\nContent-Length: 2\r\n\r\nab`,
  "offers HTTP/2": "GET /a HTTP/1.1\r\nHost: h\r\nX-Odd: 1\r\nConnection: Upgrade, close\r\n" +
    "Upgrade: h2c\r\n\r\n",
  "offers a WebSocket and closes": `GET /a HTTP/1.1\r\n${HOST}Upgrade: websocket\r\n\r\n`,
  "an empty line first": `\r\n\r\nGET /a HTTP/1.1\r\n${HOST}\r\n`,
  "one more after the end": `GET /a HTTP/1.1\r\n${HOST}\r\nGET /b HTTP/1.1\r\n${HOST}\r\n`,
  "one more that is none": `GET /a HTTP/1.1\r\nHost: h\r\nX-Odd: 1\r\n\r\n` +
    `GET /b HTTP/1.1\r\n${HOST}X A: 1\r\n\r\n`,
};

/** What Deno's own server takes and both engines refuse: no app could read the URL. */
const NO_URL: Readonly<Record<string, string>> = {
  "a host with a blank": `GET /a HTTP/1.1\r\nHost: a b\r\n${END}\r\n`,
  "a host with a port that is none": `GET /a HTTP/1.1\r\nHost: a:99999\r\n${END}\r\n`,
};

/** What the node engine refuses, and the native one takes: docs/architecture.md names them. */
const STRICTER: Readonly<Record<string, string>> = {
  "a method that node:http does not know": `TRACK /a HTTP/1.1\r\n${HOST}\r\n`,
  "a method in small letters": `get /a HTTP/1.1\r\n${HOST}\r\n`,
  "a path with raw UTF-8": `GET /caf\xc3\xa9 HTTP/1.1\r\n${HOST}\r\n`,
  "a length twice": `POST /a HTTP/1.1\r\n${HOST}Content-Length: 2\r\nContent-Length: 2\r\n\r\nab`,
  "lines that end without a carriage return": `GET /a HTTP/1.1\n${HOST.replaceAll("\r", "")}\n`,
  "a host with a user": `GET /a HTTP/1.1\r\nHost: u@h\r\n${END}\r\n`,
  "a host with a path": `GET /a HTTP/1.1\r\nHost: h/b\r\n${END}\r\n`,
  "a host with a query": `GET /a HTTP/1.1\r\nHost: h?b\r\n${END}\r\n`,
};

/** What stands before apps that hand on what they fetched. */
function startUpstream(port: number): Promise<AsyncDisposable> {
  const zipped = gzipSync("zipped text ".repeat(20));
  const server = createServer((incoming, outgoing) => {
    const answers: Record<string, () => void> = {
      "/plain": () => outgoing.end("plain"),
      "/gzip": () =>
        outgoing.writeHead(200, {
          "content-encoding": "gzip",
          "content-length": String(zipped.length),
        }).end(zipped),
      "/chunked": () => {
        outgoing.write("one");
        outgoing.end("two");
      },
      "/204": () => outgoing.writeHead(204).end(),
      "/304": () => outgoing.writeHead(304, { etag: '"x"' }).end(),
      "/302": () => outgoing.writeHead(302, { location: "/there" }).end(),
      "/cookies": () =>
        outgoing.writeHead(200, [["set-cookie", "a=1"], ["set-cookie", "b=2"]].flat()).end("ok"),
      "/events": () =>
        outgoing.writeHead(200, { "content-type": "text/event-stream", "content-encoding": "gzip" })
          .end(gzipSync("data: 1\n\n")),
    };
    answers[incoming.url!]!();
  });
  return new Promise((resolve) =>
    server.listen(port, "127.0.0.1", () =>
      resolve({
        [Symbol.asyncDispose]: () =>
          new Promise<void>((closed) => {
            server.closeAllConnections();
            server.close(() => closed());
          }),
      }))
  );
}

/** Headers that are the connection's and not the answer's, or the moment's. */
const NOT_COMPARED = new Set(["connection", "keep-alive", "date", "content-length"]);

/** Everything that comes until the connection ends, as text of which each byte is a character. */
async function readAll(connection: Deno.Conn, what: string): Promise<string> {
  const late = setTimeout(() => connection.close(), PATIENCE_MS);
  let text = "";
  const buffer = new Uint8Array(16_384);
  try {
    for (let size; (size = await connection.read(buffer)) !== null;) {
      text += String.fromCharCode(...buffer.subarray(0, size));
    }
  } catch (error) {
    // What the server left unread when it refused.
    if (error instanceof Deno.errors.ConnectionReset && text !== "") return text;
    throw new Error(`${what} did not end after ${JSON.stringify(text)}`, { cause: error });
  } finally {
    clearTimeout(late);
  }
  return text;
}

/**
 * What an answer says, whatever its framing: a reason phrase is nobody's business, and a length may
 * be told where Deno's own server sends chunks.
 */
function readAnswer(text: string, method: string): string {
  const end = text.indexOf("\r\n\r\n");
  const [status, ...lines] = text.slice(0, end).split("\r\n");
  const headers = lines.map((line) => line.replace(/^[^:]+/, (name) => name.toLowerCase()));
  const raw = text.slice(end + 4);
  const chunked = headers.includes("transfer-encoding: chunked");
  const length = headers.find((line) => line.startsWith("content-length: "))?.slice(16);
  const body = chunked && method === "GET" ? unchunk(raw) : raw;
  if (length !== undefined && method === "GET") assertEquals(Number(length), body.length, text);
  const compared = headers.filter((line) =>
    !NOT_COMPARED.has(line.split(":")[0]!) && line !== "transfer-encoding: chunked"
  );
  return [status!.split(" ")[1], ...compared.sort(), JSON.stringify(body)].join("\n");
}

/** RFC 9112, 7.1, without extensions and trailers. */
function unchunk(text: string): string {
  const [, size, rest] = /^([0-9a-f]+)\r\n([^]*)$/.exec(text) ?? [];
  if (size === undefined) throw new Error(`No chunk: ${JSON.stringify(text)}`);
  const length = parseInt(size, 16);
  return length === 0 ? "" : rest!.slice(0, length) + unchunk(rest!.slice(length + 2));
}

type Answers = Record<string, string>;

/** Asks for everything, each on a connection of its own. */
async function askAll(
  connect: () => Promise<Deno.Conn>,
  paths: readonly string[],
): Promise<Answers> {
  const answers: Answers = {};
  for (const path of paths) {
    for (const method of ["GET", "HEAD"]) {
      const connection = await connect();
      await connection.write(formatRequest(path, { method, headers: { connection: "close" } }));
      answers[`${method} ${path}`] = readAnswer(
        await readAll(connection, `${method} ${path}`),
        method,
      );
    }
  }
  return answers;
}

/** Sends each as it is, on a connection of its own. */
async function askOdd(
  connect: () => Promise<Deno.Conn>,
  requests: Readonly<Record<string, string>>,
): Promise<Answers> {
  const answers: Answers = {};
  for (const [name, request] of Object.entries(requests)) {
    using connection = await connect();
    const { port } = connection.remoteAddr as Deno.NetAddr;
    await connection.write(Uint8Array.from(request, (character) => character.charCodeAt(0)));
    const parts = (await readAll(connection, name)).split(/(?=HTTP\/1\.[01] )/);
    const answer = parts.map(readOdd).join("\n");
    answers[name] = answer.replaceAll(`localhost:${port}`, "localhost:PORT");
  }
  return answers;
}

/** An answer to a request of HTTP/1.0 may tell either version, and an interim one has no body. */
function readOdd(text: string): string {
  return text === "" ? "" : readAnswer(text, "GET");
}

/** The statuses alone. */
function statusesOf(answers: Answers): Record<string, string> {
  return Object.fromEntries(
    Object.entries(answers).map(([name, answer]) => [name, answer.slice(0, 3)]),
  );
}

function each(requests: Answers, status: string): Record<string, string> {
  return Object.fromEntries(Object.keys(requests).map((name) => [name, status]));
}

Deno.test({
  name: "a client gets from both engines, also in a drain, what Deno's own server sends",
  // The bare server's app is in this process, and its fetch() keeps a pool of connections.
  sanitizeResources: false,
  fn: compareAll,
});

async function compareAll(t: Deno.TestContext): Promise<void> {
  const upstream = freePort();
  await using _upstream = await startUpstream(upstream);
  const text = APP.replace("PORT", String(upstream));
  const app = await import(`data:text/javascript,${encodeURIComponent(text)}`);
  const bare = freePort();
  await using _bare = Deno.serve(
    { port: bare, hostname: "127.0.0.1", onListen() {} },
    app.default.fetch,
  );
  const paths: string[] = await (await fetch(`http://127.0.0.1:${bare}/`)).json();
  const connectTo = (port: number) => () => Deno.connect({ hostname: "127.0.0.1", port });
  const expected = await askAll(connectTo(bare), paths);
  const expectedOdd = await askOdd(connectTo(bare), REQUESTS);
  const taken = await askOdd(connectTo(bare), STRICTER);
  for (const engine of ["native", "node"]) {
    await t.step(engine, async (t) => {
      await using server = await Server.start({
        files: { "app.ts": text },
        config: { engine, net: [`127.0.0.1:${upstream}`], reload: { idleGraceMs: 20_000 } },
      });
      const connect = connectTo(server.project.port);
      await t.step("while it serves", async () => {
        assertEquals(await askAll(connect, paths), expected);
      });
      await t.step("whatever is asked", async () => {
        assertEquals(await askOdd(connect, REQUESTS), expectedOdd);
      });
      await t.step("what no app could read is refused, and the app not blamed", async () => {
        assertEquals(statusesOf(await askOdd(connect, NO_URL)), each(NO_URL, "400"));
        assertEquals(server.log.includes("The app threw"), false);
      });
      await t.step("what node:http does not take", async () => {
        const answers = await askOdd(connect, STRICTER);
        if (engine === "native") assertEquals(answers, taken);
        else assertEquals(statusesOf(answers), each(STRICTER, "400"));
      });
      await t.step(
        "a length that the app tells of a body that HEAD leaves out is its own",
        async () => {
          using connection = await connect();
          await connection.write(
            formatRequest("/length", { method: "HEAD", headers: { connection: "close" } }),
          );
          assertMatch(await readAll(connection, "HEAD /length"), /^content-length: 6\r$/im);
        },
      );
      await t.step("while it drains", async () => {
        // An event stream ends at once in a drain, so that its client comes back to a new worker.
        const whole = paths.filter((path) => path !== "/fetched/events");
        const kept: Deno.Conn[] = [];
        for (let left = 2 * whole.length + Object.keys(REQUESTS).length; left > 0; left--) {
          const connection = await connect();
          // An idle one has had an answer: the drain gives it the grace.
          await connection.write(formatRequest("/null"));
          await connection.read(new Uint8Array(16_384));
          kept.push(connection);
        }
        await server.reload();
        const { "GET /fetched/events": _, "HEAD /fetched/events": __, ...same } = expected;
        const next = () => Promise.resolve(kept.shift()!);
        assertEquals(await askAll(next, whole), same);
        const { "one more that is none": ___, ...odd } = expectedOdd;
        const { "one more that is none": ____, ...requests } = REQUESTS;
        assertEquals(await askOdd(next, requests), odd);
        for (const connection of kept) connection.close();
      });
    });
  }
}

/** Reads a body in a way that the path names, and tells what came of it. */
const READER = `
const told = (promise) => promise.then((value) => value, ({ name }) => name);
const sizeOf = async (body) => {
  let size = 0;
  for await (const piece of body ?? []) size += piece.length;
  return size;
};
const WAYS = {
  text: async (request) => (await request.text()).length,
  bytes: async (request) => [(await request.bytes()).length, request.bodyUsed, request.body.locked],
  buffer: async (request) => (await request.arrayBuffer()).byteLength,
  blob: async (request) => (await request.blob()).size,
  json: async (request) => (await request.json()).length,
  pieces: (request) => sizeOf(request.body),
  twice: async (request) => [(await request.text()).length, await told(request.text())],
  both: async (request) => {
    const copy = request.clone();
    return [(await request.text()).length, (await copy.bytes()).length];
  },
  copied: async (request) => {
    const copy = new Request(request);
    return [(await copy.text()).length, request.bodyUsed, await told(request.text())];
  },
  handed: async (request) => (await new Response(request.body).text()).length,
  touched: async (request) => [request.body.locked, (await request.text()).length, request.bodyUsed],
  begun: async (request) => {
    const reader = request.body.getReader();
    const { value } = await reader.read();
    reader.releaseLock();
    return [value.length > 0, request.bodyUsed, await told(request.text())];
  },
  late: async (request) => {
    await new Promise((resolve) => setTimeout(resolve, 20));
    return (await request.text()).length;
  },
  never: (request) => request.bodyUsed,
};
export default {
  fetch: async (request) => Response.json(await WAYS[new URL(request.url).pathname.slice(1)](request)),
};
export const ways = Object.keys(WAYS);
`;

Deno.test({
  name: "an app reads a body in every way as from Deno's own server",
  sanitizeResources: false,
  fn: async () => {
    const { default: app, ways } = await import(
      `data:text/javascript,${encodeURIComponent(READER)}`
    );
    const bare = freePort();
    await using _bare = Deno.serve(
      { port: bare, hostname: "127.0.0.1", onListen() {} },
      app.fetch,
    );
    await using server = await Server.start({ files: { "app.ts": READER } });
    // The whole at once, and in pieces with a pause.
    const bodies = [10, 70_000, 1_500_000].map((size) => JSON.stringify("x".repeat(size)));
    for (const way of ways) {
      for (const body of bodies) {
        for (const chunked of [false, true]) {
          const answers: string[] = [];
          for (const port of [bare, server.project.port]) {
            using wire = await Wire.open(port);
            const length = chunked
              ? { "transfer-encoding": "chunked" }
              : { "content-length": String(body.length) };
            await wire.write(formatRequest(`/${way}`, { method: "POST", headers: length }));
            const middle = Math.ceil(body.length / 2);
            for (const piece of [body.slice(0, middle), body.slice(middle)]) {
              await wire.write(chunked ? formatChunk(piece) : piece);
            }
            if (chunked) await wire.write(formatChunk(""));
            answers.push((await wire.answer()).text);
          }
          assertEquals(answers[1], answers[0], `${way}, ${body.length}, chunked: ${chunked}`);
        }
      }
    }
  },
});
