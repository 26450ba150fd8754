import { assert, assertEquals } from "@std/assert";
import type { AnswerHead } from "./load/answer.ts";
import { concat, formatChunk, formatRequest, Wire } from "./harness/http.ts";
import { hasProgram } from "../tools/programs.ts";
import { processesIn, readArguments } from "./harness/process.ts";
import { Server } from "./harness/server.ts";
import { sleep, until } from "./harness/wait.ts";

const ENGINES = ["native", "node"] as const;
type EngineName = typeof ENGINES[number];

/** What the pieces of an upload, or of a streamed answer, add up to. */
const PIECES = Array.from({ length: 20 }, (_, index) => `piece ${index} `.repeat(100));
const WHOLE = PIECES.join("");

/** How long a sender waits between two pieces: twenty of them outlast a reload. */
const PIECE_MS = 100;

/** An app whose every answer begins with its version. */
const APP = `
const VERSION = "one";
const PIECES = Array.from({ length: 20 }, (_, index) => ("piece " + index + " ").repeat(100));
const sleep = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

function stream(pieces, type = "text/plain") {
  const encoder = new TextEncoder();
  return new Response(ReadableStream.from(pieces).pipeThrough(new TextEncoderStream()), {
    headers: { "content-type": type, "x-version": VERSION },
  });
}

async function* paced() {
  for (const piece of PIECES) {
    await sleep(100);
    yield piece;
  }
}

async function* forever() {
  for (let index = 0;; index++) {
    yield "id: " + index + "\\ndata: " + VERSION + "\\n\\n";
    await sleep(50);
  }
}

export default {
  async fetch(request) {
    switch (new URL(request.url).pathname) {
      case "/upload":
        return new Response(VERSION + " " + await request.text());
      case "/slow":
        await sleep(2000);
        return new Response(VERSION);
      case "/stream":
        return stream(paced());
      case "/events":
        return stream(forever(), "text/event-stream");
      case "/endless":
        return stream(forever());
      case "/large":
        return new Response(new Uint8Array(20_000_000).fill(7));
      default:
        return new Response(VERSION);
    }
  },
};
`;

interface Reload {
  readonly idleGraceMs?: number;
  readonly drainDeadlineMs?: number;
}

async function start(engine: EngineName, reload: Reload = {}): Promise<Server> {
  return await Server.start({ files: { "app.ts": APP }, config: { engine, reload } });
}

/** Brings in version two; when it returns, the first generation drains. */
async function swap(server: Server): Promise<void> {
  await server.project.write("app.ts", APP.replace('"one"', '"two"'));
  assertEquals((await server.hangUp()).event, "reload_done");
  assertEquals(await server.text(), "two");
}

/** The record of the first generation, from the log and from `status`, which must agree. */
async function recordOf(server: Server) {
  const { generation, answered, cut, outcome } = await server.waitFor("generation_ended");
  const [record] = (await server.status()).ended;
  assertEquals(
    { generation, answered, cut, outcome },
    {
      generation: record?.generation,
      answered: record?.answered,
      cut: record?.cut,
      outcome: record?.outcome,
    },
  );
  assertEquals(generation, 1);
  return { answered, cut, outcome };
}

async function askFor(wire: Wire, path: string): Promise<AnswerHead> {
  await wire.write(formatRequest(path));
  return await wire.head();
}

async function textOf(pieces: AsyncIterable<Uint8Array>): Promise<string> {
  return new TextDecoder().decode(concat(await Array.fromAsync(pieces)));
}

const UPLOADS = {
  "of known length": {
    headers: { "content-length": String(WHOLE.length) },
    format: (piece: string) => new TextEncoder().encode(piece),
    end: new Uint8Array(),
  },
  "in chunks": {
    headers: { "transfer-encoding": "chunked" },
    format: formatChunk,
    end: formatChunk(""),
  },
};

Deno.test("a reload whose new worker is killed at any moment of its start is refused, and never stuck", async () => {
  await using server = await start("native");
  const moments = Array.from({ length: 12 }, (_, index) => index * 8);
  for (const delayMs of moments) {
    const known = processesIn(server.project.folder);
    const refused = server.eventsOf("reload_refused").length;
    const done = server.eventsOf("reload_done").length;
    server.signal("SIGHUP");
    const pid = await until("the new worker", () => {
      return processesIn(server.project.folder).find((each) =>
        !known.includes(each) && readArguments(each).includes("--cached-only")
      );
    });
    await sleep(delayMs);
    // Stopped first, so that what the supervisor sends it at that moment stays unread.
    Deno.kill(pid, "SIGSTOP");
    await sleep(150);
    Deno.kill(pid, "SIGKILL");
    // One that is ready by then is in charge, and is replaced.
    await until(`the outcome of the reload with a death after ${delayMs} ms`, () => {
      return server.eventsOf("reload_refused").length > refused ||
        server.eventsOf("reload_done").length > done;
    });
    await until("an answer", () => server.text().then((text) => text === "one", () => false));
  }
  assert(server.eventsOf("reload_refused").length > 0, "none was killed early enough");
});

Deno.test({
  name: "answers under way over HTTP/2 at a reload arrive whole",
  ignore: !hasProgram("curl"),
  async fn() {
    await using server = await start("native", { idleGraceMs: 100 });
    const curls = ["/slow", "/stream"].map((path) =>
      new Deno.Command("curl", {
        args: ["--silent", "--fail", "--http2-prior-knowledge", `${server.project.origin}${path}`],
        stdout: "piped",
      }).spawn().output()
    );
    await sleep(500);
    await swap(server);
    assertEquals(server.eventsOf("generation_ended"), [], "both outlast the reload");
    const [slow, stream] = await Promise.all(curls);
    assertEquals([slow!.code, stream!.code], [0, 0]);
    assertEquals(new TextDecoder().decode(slow!.stdout), "one");
    assertEquals(new TextDecoder().decode(stream!.stdout), WHOLE);
    assertEquals(await recordOf(server), { answered: 2, cut: 0, outcome: "drained" });
  },
});

for (const engine of ENGINES) {
  for (const [kind, { headers, format, end }] of Object.entries(UPLOADS)) {
    Deno.test(`an upload ${kind} under way at a reload is answered whole by the old generation (${engine})`, async () => {
      await using server = await start(engine, { idleGraceMs: 100 });
      using wire = await Wire.open(server.project.port);
      await wire.write(formatRequest("/upload", { method: "POST", headers }));
      const sending = (async () => {
        for (const piece of PIECES) {
          await wire.write(format(piece));
          await sleep(PIECE_MS);
        }
        await wire.write(end);
      })();
      await sleep(3 * PIECE_MS);
      await swap(server);
      assertEquals(server.eventsOf("generation_ended"), [], "the upload outlasts the reload");
      await sending;
      const { status, text, headers: answered } = await wire.answer();
      assertEquals([status, text], [200, `one ${WHOLE}`]);
      assertEquals(answered.get("connection"), "close");
      assertEquals(await wire.ended(), "closed");
      assertEquals(await recordOf(server), { answered: 1, cut: 0, outcome: "drained" });
    });
  }

  Deno.test(`a slow answer under way at a reload arrives (${engine})`, async () => {
    await using server = await start(engine, { idleGraceMs: 100 });
    using wire = await Wire.open(server.project.port);
    await wire.write(formatRequest("/slow"));
    await sleep(100);
    await swap(server);
    const { text, headers } = await wire.answer();
    assertEquals([text, headers.get("connection")], ["one", "close"]);
    assertEquals(await wire.ended(), "closed");
    assertEquals(await recordOf(server), { answered: 1, cut: 0, outcome: "drained" });
  });

  Deno.test(`a streamed answer under way at a reload arrives whole (${engine})`, async () => {
    await using server = await start(engine, { idleGraceMs: 100 });
    using wire = await Wire.open(server.project.port);
    const head = await askFor(wire, "/stream");
    await swap(server);
    assertEquals(server.eventsOf("generation_ended"), [], "the stream outlasts the reload");
    assertEquals(await textOf(wire.body(head)), WHOLE);
    assertEquals(await wire.ended(), "closed");
    assertEquals(await recordOf(server), { answered: 1, cut: 0, outcome: "drained" });
  });

  Deno.test(`every connection made after a reload meets the new generation while the old one drains (${engine})`, async () => {
    await using server = await start(engine);
    using wire = await Wire.open(server.project.port);
    const head = await askFor(wire, "/stream");
    await swap(server);
    for (let index = 0; index < 50; index++) assertEquals(await server.text(), "two");
    assertEquals(server.eventsOf("generation_ended"), [], "the old one drains still");
    assertEquals(await textOf(wire.body(head)), WHOLE);
  });

  Deno.test(`a large answer that is read slowly over a reload arrives whole (${engine})`, async () => {
    await using server = await start(engine, { idleGraceMs: 100 });
    using wire = await Wire.open(server.project.port);
    const head = await askFor(wire, "/large");
    let bytes = 0;
    let pausing = true;
    const swapped = swap(server).finally(() => pausing = false);
    for await (const piece of wire.body(head)) {
      bytes += piece.length;
      if (pausing) await sleep(20);
    }
    await swapped;
    assertEquals(bytes, 20_000_000);
    assertEquals((await recordOf(server)).cut, 0);
  });

  Deno.test(`a kept connection that writes within the idle grace is answered, told that it ends, and ended (${engine})`, async () => {
    await using server = await start(engine, { idleGraceMs: 60_000, drainDeadlineMs: 60_000 });
    using wire = await Wire.open(server.project.port);
    const before = await wire.ask("/");
    assertEquals([before.text, before.persistence], ["one", "keep_alive"]);
    await swap(server);
    const { text, headers } = await wire.ask("/");
    assertEquals([text, headers.get("connection")], ["one", "close"]);
    // RFC 9112, 9.6: who says close must close; the grace is longer than this test waits.
    assertEquals(await wire.ended(), "closed");
    assertEquals(await recordOf(server), { answered: 1, cut: 0, outcome: "drained" });
  });

  Deno.test(`an upload that begins within the idle grace is answered whole (${engine})`, async () => {
    await using server = await start(engine, { idleGraceMs: 1000 });
    using wire = await Wire.open(server.project.port);
    assertEquals((await wire.ask("/")).text, "one");
    await swap(server);
    const headers = { "content-length": String(WHOLE.length) };
    await wire.write(formatRequest("/upload", { method: "POST", headers }));
    for (const piece of PIECES) {
      await wire.write(piece);
      await sleep(PIECE_MS);
    }
    assertEquals((await wire.answer()).text, `one ${WHOLE}`);
    assertEquals((await recordOf(server)).cut, 0);
  });

  Deno.test(`an idle connection ends in order after the idle grace, and not before it (${engine})`, async () => {
    const idleGraceMs = 1500;
    await using server = await start(engine, { idleGraceMs });
    using used = await Wire.open(server.project.port);
    assertEquals((await used.ask("/")).text, "one");
    using fresh = await Wire.open(server.project.port);
    await until("both to be accepted", async () => {
      return (await server.status()).generations[0]?.workers[0]?.process?.connections === 2;
    });
    const hungUpMs = performance.now();
    await server.hangUp();
    const ends = await Promise.all([used, fresh].map(async (wire) => {
      assertEquals(await wire.ended(), "closed");
      return performance.now() - hungUpMs;
    }));
    for (const afterMs of ends) assert(afterMs >= idleGraceMs, `closed after ${afterMs} ms`);
    assertEquals(await recordOf(server), { answered: 0, cut: 0, outcome: "drained" });
  });

  Deno.test(`an event stream ends whole at a reload, and the next one meets the new generation (${engine})`, async () => {
    await using server = await start(engine, { idleGraceMs: 100 });
    using wire = await Wire.open(server.project.port);
    const head = await askFor(wire, "/events");
    assertEquals([head.headers.get("x-version"), head.framing.kind], ["one", "chunked"]);
    // It fails unless the last chunk comes.
    const reading = textOf(wire.body(head)).catch((error) => `not whole: ${error}`);
    await swap(server);
    const events = await reading;
    assert(events.endsWith("data: one\n\n"), events.slice(-100));
    using again = await Wire.open(server.project.port);
    assertEquals((await askFor(again, "/events")).headers.get("x-version"), "two");
    assertEquals(await recordOf(server), { answered: 1, cut: 0, outcome: "drained" });
  });

  Deno.test(`a connection whose answer began before the drain stays usable through the grace (${engine})`, async () => {
    await using server = await start(engine, { idleGraceMs: 60_000, drainDeadlineMs: 60_000 });
    using wire = await Wire.open(server.project.port);
    const head = await askFor(wire, "/stream");
    assertEquals(head.persistence, "keep_alive");
    await swap(server);
    assertEquals(await textOf(wire.body(head)), WHOLE);
    await sleep(500);
    const { text, headers } = await wire.ask("/");
    assertEquals([text, headers.get("connection")], ["one", "close"]);
    assertEquals(await wire.ended(), "closed");
    assertEquals(await recordOf(server), { answered: 2, cut: 0, outcome: "drained" });
  });

  Deno.test(`what exceeds the drain deadline is cut and counted (${engine})`, async () => {
    await using server = await start(engine, { idleGraceMs: 100, drainDeadlineMs: 1000 });
    using endless = await Wire.open(server.project.port);
    const head = await askFor(endless, "/endless");
    using stuck = await Wire.open(server.project.port);
    const headers = { "content-length": "100" };
    await stuck.write(formatRequest("/upload", { method: "POST", headers, body: "a part" }));
    using finishing = await Wire.open(server.project.port);
    const whole = await finishing.ask("/");
    assertEquals(whole.text, "one");
    const reading = textOf(endless.body(head)).then(() => "whole", () => "cut");
    await swap(server);
    assertEquals(await reading, "cut");
    assert(["closed", "reset"].includes(await stuck.ended()));
    assertEquals(await recordOf(server), { answered: 0, cut: 2, outcome: "cut" });
    assertEquals(await server.text(), "two");
  });

  Deno.test(`TERM lets an answer in flight finish, and exits 0 (${engine})`, async () => {
    await using server = await start(engine, { idleGraceMs: 100 });
    using slow = await Wire.open(server.project.port);
    await slow.write(formatRequest("/slow"));
    using stream = await Wire.open(server.project.port);
    const head = await askFor(stream, "/stream");
    server.signal("SIGTERM");
    assertEquals(await textOf(stream.body(head)), WHOLE);
    assertEquals((await slow.answer()).text, "one");
    assertEquals((await server.exited()).code, 0);
    const { answered, cut, outcome } = server.eventsOf("generation_ended")[0]!;
    assertEquals({ answered, cut, outcome }, { answered: 2, cut: 0, outcome: "drained" });
  });

  Deno.test(`a second TERM cuts what the first one waits for (${engine})`, async () => {
    await using server = await start(engine, { drainDeadlineMs: 600_000 });
    using wire = await Wire.open(server.project.port);
    const head = await askFor(wire, "/endless");
    const reading = textOf(wire.body(head)).then(() => "whole", () => "cut");
    server.signal("SIGTERM");
    await server.waitFor("stopping");
    assertEquals(server.eventsOf("generation_ended"), []);
    server.signal("SIGTERM");
    assertEquals(await reading, "cut");
    assertEquals((await server.exited()).code, 0);
    const { cut, outcome } = server.eventsOf("generation_ended")[0]!;
    assertEquals({ cut, outcome }, { cut: null, outcome: "killed" });
  });

  Deno.test(`a reload answers all 200 connections that wait while the only worker is suspended (${engine})`, async () => {
    await using server = await start(engine, { idleGraceMs: 100, drainDeadlineMs: 500 });
    const [pid] = await server.workers();
    Deno.kill(pid!, "SIGSTOP");
    const waiting = await Promise.all(
      Array.from({ length: 200 }, () => Wire.open(server.project.port)),
    );
    try {
      await Promise.all(waiting.map((wire) => wire.write(formatRequest("/"))));
      await swap(server);
      const answers = await Promise.all(waiting.map((wire) => wire.answer()));
      assertEquals(answers.filter(({ text }) => text === "two").length, 200);
    } finally {
      for (const wire of waiting) wire[Symbol.dispose]();
    }
    assertEquals(await recordOf(server), { answered: 0, cut: null, outcome: "killed" });
  });

  Deno.test(`a worker that is suspended over a reload loses no connection when it goes on (${engine})`, async () => {
    await using server = await start(engine, { idleGraceMs: 100 });
    const [pid] = await server.workers();
    Deno.kill(pid!, "SIGSTOP");
    const waiting = await Promise.all(
      Array.from({ length: 200 }, () => Wire.open(server.project.port)),
    );
    try {
      await server.project.write("app.ts", APP.replace('"one"', '"two"'));
      server.signal("SIGHUP");
      await server.waitFor("worker_ready", 2);
      Deno.kill(pid!, "SIGCONT");
      const answers = await Promise.all(waiting.map((wire) => wire.ask("/")));
      assertEquals(answers.filter(({ text }) => text === "one" || text === "two").length, 200);
    } finally {
      for (const wire of waiting) wire[Symbol.dispose]();
    }
    assertEquals((await recordOf(server)).cut, 0);
  });
}
