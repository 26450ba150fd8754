/**
 * Whatever an app answers, the client gets what Deno's own server would have sent it: from both
 * engines, while they serve and while they drain.
 */
import { assertEquals, assertMatch } from "@std/assert";
import { createServer } from "node:http";
import { gzipSync } from "node:zlib";
import { formatRequest } from "./harness/http.ts";
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
    ANSWERS[new URL(request.url).pathname]?.(request) ?? Response.json(Object.keys(ANSWERS)),
};
`;

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
        for (let left = 2 * whole.length; left > 0; left--) {
          const connection = await connect();
          // An idle one has had an answer: the drain gives it the grace.
          await connection.write(formatRequest("/null"));
          await connection.read(new Uint8Array(16_384));
          kept.push(connection);
        }
        await server.reload();
        const { "GET /fetched/events": _, "HEAD /fetched/events": __, ...same } = expected;
        assertEquals(await askAll(() => Promise.resolve(kept.shift()!), whole), same);
      });
    });
  }
}
