/** Apps that start a server by themselves: it is what Holdfast serves. */
import { assertEquals } from "@std/assert";
import { assertRefused, assertServed, REFUSED, SHAPES } from "../harness/app_shapes.ts";
import { SHAKE_HANDS } from "../harness/endless_app.ts";
import { formatRequest, Wire } from "../harness/http.ts";
import { assertNothingLost, loadDuring, versionFile } from "../harness/load_app.ts";
import { REPOSITORY } from "../harness/project.ts";
import { Server } from "../harness/server.ts";
import { until } from "../harness/wait.ts";

const { imports } = JSON.parse(Deno.readTextFileSync(`${REPOSITORY}/deno.json`));

/** One of each kind; deep/app_shapes_test.ts tries all of them. */
const FAST = [
  "Deno.serve, awaited",
  "node:http in a later turn, awaited by nobody",
  "a default export beside it",
  "a function of request and response",
];

Deno.test("an app's own server is what is served", async () => {
  await using server = await Server.start();
  for (const name of FAST) await assertServed(server, SHAPES[name]!);
  const { app, says } = REFUSED["nothing at all"]!;
  await assertRefused(server, app, says);
});

/** Answers by node:http what the load app answers to a Request. */
const NODE_LOAD_APP = `
import http from "node:http";
import { Readable } from "node:stream";
import app from "./load.ts";

const server = http.createServer(async (request, response) => {
  const bodiless = request.method === "GET" || request.method === "HEAD";
  const answer = await app.fetch(
    new Request("http://" + request.headers.host + request.url, {
      method: request.method,
      headers: request.headers as Record<string, string>,
      body: bodiless ? null : Readable.toWeb(request) as ReadableStream<Uint8Array>,
    }),
    { remoteAddr: { transport: "tcp", hostname: request.socket.remoteAddress, port: 1 } } as never,
  );
  response.writeHead(answer.status, [...answer.headers].flat());
  for await (const chunk of answer.body ?? []) {
    if (!response.write(chunk)) {
      await new Promise((resolve) => response.once("drain", resolve).once("close", resolve));
    }
  }
  response.end();
});
server.listen(3000, () => console.log("listening on", server.address()));
process.on("SIGTERM", () => {
  server.close(() => {
    console.log("closed");
    process.exit(0);
  });
  server.closeAllConnections();
});
`;

Deno.test("idle connections that an app ends when it is told to stop have the grace of the drain", async () => {
  const app = `import http from "node:http";
    const sockets = new Set();
    const server = http.createServer((_, response) => response.end("hello"));
    server.on("connection", (socket) => sockets.add(socket));
    server.listen(3000);
    process.on("SIGTERM", () => {
      server.close();
      server.closeIdleConnections();
      for (const socket of sockets) socket.destroy();
      console.log("told to stop");
    });`;
  await using server = await Server.start({ files: { "app.ts": app } });
  using kept = await Wire.open(server.project.port);
  using other = await Wire.open(server.project.port);
  for (const wire of [kept, other]) assertEquals((await wire.ask("/")).persistence, "keep_alive");
  assertEquals((await server.reload()).outcome, "done");
  await until("the app to be told", () => server.log.includes("told to stop"));
  const { status, persistence } = await kept.ask("/");
  assertEquals([status, persistence], [200, "close"]);
  assertEquals(await other.ended(), "closed");
  assertEquals((await server.waitFor("generation_ended")).outcome, "drained");
});

Deno.test("no request to an app's own node:http server is lost over reloads, and its close is called", async () => {
  await using server = await Server.start({
    files: {
      "app.ts": NODE_LOAD_APP,
      "load.ts": await Deno.readTextFile(`${REPOSITORY}/tests/load/app.ts`),
      "version.ts": versionFile("1"),
      "deno.json": JSON.stringify({ imports: { hono: imports.hono } }),
    },
    config: { readiness: "/ready", log: { folder: "./log" } },
  });
  assertEquals(await server.text("/ready"), "ready\n");
  const report = await loadDuring(server, async () => {
    for (const name of ["2", "3", "4"]) {
      await server.project.write("version.ts", versionFile(name));
      assertEquals((await server.reload()).outcome, "done");
    }
  });
  assertNothingLost(report);
  await until("the old generations to end", () => {
    return server.eventsOf("generation_ended").length === 3;
  });
  assertEquals(server.eventsOf("generation_ended").map(({ outcome }) => outcome), [
    ...["drained", "drained", "drained"],
  ]);
  await until("the app's servers to have closed", async () => {
    const log = await Deno.readTextFile(server.project.path("log/holdfast.log"));
    return log.split('"closed"').length > 3;
  });
  await until("the access log", async () => {
    return (await Deno.readTextFile(server.project.path("log/access.log"))).includes("GET /ready");
  });
});

/** Holds a request until a file is there; events without end; and a WebSocket's handshake by hand. */
const HOLDING_APP = `
import http from "node:http";
import { createHash } from "node:crypto";
import { existsSync } from "node:fs";
const server = http.createServer((request, response) => {
  if (request.url === "/events") {
    response.writeHead(200, { "Content-Type": "text/event-stream" });
    const timer = setInterval(() => response.write("data: x\\n\\n"), 20);
    response.on("close", () => clearInterval(timer));
    return;
  }
  console.log("asked", request.url);
  const look = setInterval(() => {
    if (!existsSync("./gates" + request.url)) return;
    clearInterval(look);
    response.end("held");
  }, 20);
});
server.on("upgrade", (request, socket, head) => {${SHAKE_HANDS}
  socket.on("data", (frame) => (frame[0] & 15) === 8 && socket.end());
});
server.listen(80);
`;

for (const kind of ["tcp", "unix"] as const) {
  Deno.test(`a drain of an app's own node:http server ends what it holds properly, over ${kind}`, async () => {
    await using server = await Server.start({
      files: { "app.ts": HOLDING_APP, "gates/.keep": "" },
      config: { unveil: { "./gates": "r" } },
    });
    const { project } = server;
    if (kind === "unix") {
      await project.configure({ listen: [`127.0.0.1:${project.port}`, "unix:./app.sock"] });
      assertEquals((await server.reload()).outcome, "done");
    }
    const place = kind === "tcp" ? project.port : project.path("app.sock");
    using held = await Wire.open(place);
    await held.write(formatRequest("/first"));
    using events = await Wire.open(place);
    await events.write(formatRequest("/events"));
    const head = await events.head();
    const socket = await Wire.open(place);
    await socket.write(formatRequest("/socket", {
      headers: {
        connection: "upgrade",
        upgrade: "websocket",
        "sec-websocket-version": "13",
        "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
      },
    }));
    assertEquals((await socket.head()).status, 101);
    await until("the app to have been asked", () => {
      return server.eventsOf("worker_output").some(({ text }) => text === "asked /first");
    });
    assertEquals((await server.reload()).outcome, "done");
    // Its client is told, and answers: then the app's end of it ends.
    assertEquals(await socket.bytes(4), new Uint8Array([0x88, 2, 0x03, 0xe9]));
    await socket.write(new Uint8Array([0x88, 0x80, 0, 0, 0, 0]));
    assertEquals(await socket.ended(), "closed");
    socket[Symbol.dispose]();
    for await (const _ of events.body(head)) { /* It throws if the stream is cut. */ }
    // What comes after the answer that says that it is the last one is not given to the app.
    await held.write(formatRequest("/second"));
    await project.write("gates/first", "");
    const answer = await held.answer();
    assertEquals([answer.text, answer.headers.get("connection")], ["held", "close"]);
    const asked = server.eventsOf("worker_output").map(({ text }) => text);
    assertEquals(asked.filter((text) => text === "asked /second").length, 0);
    const ended = await server.waitFor("generation_ended", kind === "tcp" ? 1 : 2);
    assertEquals(ended.outcome, "drained");
  });
}
