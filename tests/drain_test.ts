import { assert, assertEquals } from "@std/assert";
import type { AnswerHead } from "./load/answer.ts";
import { APP, PIECES, WHOLE } from "./harness/drain_app.ts";
import { concat, formatChunk, formatRequest, Wire } from "./harness/http.ts";
import { findMissing, recordSkip } from "./harness/needs.ts";
import { isWorker, processesIn } from "./harness/process.ts";
import { Server } from "./harness/server.ts";
import { sleep, until, untilTold } from "./harness/wait.ts";

const ENGINES = ["native", "node"] as const;
type EngineName = typeof ENGINES[number];

/** Keys of `reload` in the config. */
interface Limits {
  readonly idleGraceMs: number;
  readonly drainDeadlineMs: number;
}

/** Limits that nothing in these tests waits for. */
const FAR: Limits = { idleGraceMs: 120_000, drainDeadlineMs: 120_000 };

async function start(engine: EngineName, reload: Limits): Promise<Server> {
  return await Server.start({
    files: { "app.ts": APP, "gates/.keep": "" },
    config: { engine, reload, unveil: { "./gates": "r" } },
  });
}

/** Lets the answers go on that wait behind a gate. */
async function open(server: Server, gate: string): Promise<void> {
  await server.project.write(`gates/${gate}`, "");
}

/** What the next generation says it is. */
async function prepare(server: Server, version: string, reload: Limits): Promise<void> {
  await server.project.write("app.ts", APP.replace('"one"', JSON.stringify(version)));
  await server.project.configure({ reload });
}

/** Brings in that version, with limits for its own drain; when it returns, the one before drains. */
async function swap(server: Server, version: string, reload: Limits): Promise<void> {
  await prepare(server, version, reload);
  assertEquals((await server.reload()).outcome, "done");
  assertEquals(await server.text(), version);
}

/** The record of a generation, from the log and from `status`, which must agree. */
async function recordOf(server: Server, generation: number) {
  const logged = await server.waitFor("generation_ended", generation);
  const { ended } = await server.status();
  const shown = ended.find((each) => each.generation === generation);
  const pick = ({ answered, cut, outcome }: typeof logged) => ({ answered, cut, outcome });
  assertEquals(logged["generation"], generation);
  assertEquals(pick(logged), pick({ event: "", ...shown }));
  return pick(logged);
}

/** Waits until the serving worker has so many requests in flight. */
async function inFlightIs(server: Server, expected: number): Promise<void> {
  await untilTold(`${expected} in flight`, async () => {
    const { generations } = await server.status();
    return generations.at(-1)?.workers[0]?.process?.inFlight === expected;
  });
}

async function askFor(wire: Wire, path: string): Promise<AnswerHead> {
  await wire.write(formatRequest(path));
  return await wire.head();
}

async function textOf(pieces: AsyncIterable<Uint8Array>): Promise<string> {
  return new TextDecoder().decode(concat(await Array.fromAsync(pieces)));
}

async function curl(server: Server, path: string): Promise<[code: number, text: string]> {
  const { code, stdout } = await new Deno.Command("curl", {
    args: ["--silent", "--fail", "--http2-prior-knowledge", `${server.project.origin}${path}`],
    stdout: "piped",
  }).output();
  return [code, new TextDecoder().decode(stdout)];
}

interface Upload {
  readonly headers: Readonly<Record<string, string>>;
  readonly format: (piece: string) => Uint8Array;
  readonly end: Uint8Array;
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
} satisfies Record<string, Upload>;

/** An upload whose client sends the second half when it likes. */
async function beginUpload(wire: Wire, { headers, format, end }: Upload) {
  const half = PIECES.length / 2;
  const send = async (pieces: readonly string[]) => {
    for (const piece of pieces) await wire.write(format(piece));
  };
  await wire.write(formatRequest("/upload", { method: "POST", headers }));
  await send(PIECES.slice(0, half));
  return async () => {
    await send(PIECES.slice(half));
    await wire.write(end);
    return await wire.answer();
  };
}

/** Every drain of one server after the other: the steps build on each other. */
async function drainInTurn(t: Deno.TestContext, server: Server, engine: EngineName) {
  const { port } = server.project;
  const step = async (name: string, fn: (t: Deno.TestContext) => Promise<void>) => {
    // Without the one before, the next has another generation before it than it thinks.
    if (!await t.step(name, fn)) throw new Error(`The drains end here: ${name}`);
  };

  // Generation 1: everything that can be under way.
  await step("what is under way at a reload", async (t) => {
    const noCurl = engine === "native" ? findMissing({ programs: ["curl"] }) : "no HTTP/2 in it";
    if (engine === "native" && noCurl !== undefined) {
      recordSkip({ name: "answers under way over HTTP/2 at a reload arrive whole", why: noCurl });
    }
    using known = await Wire.open(port);
    using chunked = await Wire.open(port);
    using slow = await Wire.open(port);
    using stream = await Wire.open(port);
    using large = await Wire.open(port);
    using events = await Wire.open(port);
    const uploads = [
      { kind: "of known length", wire: known },
      { kind: "in chunks", wire: chunked },
    ] as const;
    const finishes = await Promise.all(
      uploads.map(({ kind, wire }) => beginUpload(wire, UPLOADS[kind])),
    );
    await slow.write(formatRequest("/slow?first"));
    const streamHead = await askFor(stream, "/stream?first");
    const largeHead = await askFor(large, "/large");
    const largePieces = large.body(largeHead);
    let largeBytes = (await largePieces.next()).value!.length;
    const eventsHead = await askFor(events, "/events");
    assertEquals(eventsHead.headers.get("x-version"), "one");
    assertEquals(eventsHead.framing.kind, "chunked");
    // It fails unless the last chunk comes.
    const eventsRead = textOf(events.body(eventsHead)).catch((error) => `not whole: ${error}`);
    const curls = noCurl === undefined
      ? [curl(server, "/slow?first"), curl(server, "/stream?first")]
      : [];
    // What leaves the native engine whole, as the large one does, is never in flight there.
    const count = (engine === "native" ? 5 : 6) + curls.length;
    await inFlightIs(server, count);

    await swap(server, "two", FAR);

    await t.step("keeps no connection made after it from the new generation", async () => {
      for (let index = 0; index < 50; index++) assertEquals(await server.text(), "two");
      assertEquals(server.eventsOf("generation_ended"), [], "the old one drains still");
    });
    await t.step("an event stream ends whole, and the next one meets the new one", async () => {
      const read = await eventsRead;
      assert(read.endsWith("data: one\n\n"), read.slice(-100));
      using again = await Wire.open(port);
      assertEquals((await askFor(again, "/events")).headers.get("x-version"), "two");
    });
    for (const [index, { wire, kind }] of uploads.entries()) {
      await t.step(`an upload ${kind} is answered whole by the old generation`, async () => {
        const { status, text, headers } = await finishes[index]!();
        assertEquals([status, text], [200, `one ${WHOLE}`]);
        assertEquals(headers.get("connection"), "close");
        assertEquals(await wire.ended(), "closed");
      });
    }
    assertEquals(server.eventsOf("generation_ended"), [], "the rest outlasts the reload");
    await open(server, "first");
    await t.step("a slow answer arrives", async () => {
      const { text, headers } = await slow.answer();
      assertEquals([text, headers.get("connection")], ["one", "close"]);
      assertEquals(await slow.ended(), "closed");
    });
    await t.step("a streamed answer arrives whole", async () => {
      assertEquals(await textOf(stream.body(streamHead)), WHOLE);
      assertEquals(await stream.ended(), "closed");
    });
    await t.step("a large answer that is read slowly arrives whole", async () => {
      for await (const piece of largePieces) largeBytes += piece.length;
      assertEquals(largeBytes, 20_000_000);
    });
    if (curls.length > 0) {
      await t.step("answers over HTTP/2 arrive whole", async () => {
        assertEquals(await Promise.all(curls), [[0, "one"], [0, WHOLE]]);
      });
    }
    assertEquals(await recordOf(server, 1), { answered: count, cut: 0, outcome: "drained" });
  });

  // Generation 2: within a grace that is longer than any test waits.
  await step("within the idle grace", async (t) => {
    using kept = await Wire.open(port);
    const before = await kept.ask("/");
    assertEquals([before.text, before.persistence], ["two", "keep_alive"]);
    using streaming = await Wire.open(port);
    const head = await askFor(streaming, "/stream?second");
    assertEquals(head.persistence, "keep_alive");
    await swap(server, "three", { idleGraceMs: 3_000, drainDeadlineMs: 120_000 });
    await t.step("a kept connection is answered, told that it ends, and ended", async () => {
      const { text, headers } = await kept.ask("/");
      assertEquals([text, headers.get("connection")], ["two", "close"]);
      // RFC 9112, 9.6: who says close must close; the grace is longer than this test waits.
      assertEquals(await kept.ended(), "closed");
    });
    await t.step("a connection whose answer began before the drain stays usable", async () => {
      await open(server, "second");
      assertEquals(await textOf(streaming.body(head)), WHOLE);
      // Many looks of the drain at its connections.
      await sleep(300);
      const { text, headers } = await streaming.ask("/");
      assertEquals([text, headers.get("connection")], ["two", "close"]);
      assertEquals(await streaming.ended(), "closed");
    });
    assertEquals(await recordOf(server, 2), { answered: 3, cut: 0, outcome: "drained" });
  });

  // Generation 3: a grace that ends.
  await step("at the end of the idle grace", async (t) => {
    using used = await Wire.open(port);
    using uploading = await Wire.open(port);
    for (const wire of [used, uploading]) assertEquals((await wire.ask("/")).text, "three");
    using fresh = await Wire.open(port);
    using last = await Wire.open(port);
    await last.write(formatRequest("/stream?third", { headers: { connection: "close" } }));
    const lastHead = await last.head();
    await untilTold("all to be accepted", async () => {
      return (await server.status()).generations.at(-1)?.workers[0]?.process?.connections === 4;
    });
    const askedMs = performance.now();
    await swap(server, "four", { idleGraceMs: 100, drainDeadlineMs: 1_000 });
    const finish = await beginUpload(uploading, UPLOADS["of known length"]);
    await t.step("an idle connection ends in order, and not before it", async () => {
      await Promise.all([used, fresh].map(async (wire) => {
        assertEquals(await wire.ended(), "closed");
        const afterMs = performance.now() - askedMs;
        assert(afterMs >= 3_000, `closed after ${afterMs} ms`);
      }));
    });
    await t.step("an upload that began within it is answered whole", async () => {
      assertEquals((await finish()).text, `three ${WHOLE}`);
    });
    await t.step("an answer after which its client wanted the end is not cut by it", async () => {
      await open(server, "third");
      assertEquals(await textOf(last.body(lastHead)), WHOLE);
    });
    assertEquals(await recordOf(server, 3), { answered: 2, cut: 0, outcome: "drained" });
  });

  // Generation 4: a deadline that passes.
  await step("what exceeds the drain deadline is cut and counted", async () => {
    using endless = await Wire.open(port);
    const head = await askFor(endless, "/endless");
    using stuck = await Wire.open(port);
    const headers = { "content-length": "100" };
    await stuck.write(formatRequest("/upload", { method: "POST", headers, body: "a part" }));
    using finishing = await Wire.open(port);
    assertEquals((await finishing.ask("/")).text, "four");
    await inFlightIs(server, 2);
    const reading = textOf(endless.body(head)).then(() => "whole", () => "cut");
    await swap(server, "five", { idleGraceMs: 100, drainDeadlineMs: 500 });
    assertEquals(await reading, "cut");
    assert(["closed", "reset"].includes(await stuck.ended()));
    assertEquals(await recordOf(server, 4), { answered: 0, cut: 2, outcome: "cut" });
    assertEquals(await server.text(), "five");
  });

  // Generation 5: a worker that does nothing any more.
  await step(
    "a reload answers all 200 that wait while the only worker is suspended",
    async () => {
      const [pid] = await server.workers();
      Deno.kill(pid!, "SIGSTOP");
      await using waiting = await openMany(port);
      await Promise.all(waiting.wires.map((wire) => wire.write(formatRequest("/"))));
      await swap(server, "six", FAR);
      const answers = await Promise.all(waiting.wires.map((wire) => wire.answer()));
      assertEquals(answers.filter(({ text }) => text === "six").length, 200);
      assertEquals(await recordOf(server, 5), { answered: 0, cut: null, outcome: "killed" });
    },
  );

  // Generation 6: one that comes back in the middle.
  await step("a worker that is suspended over a reload loses no connection", async () => {
    const [pid] = await server.workers();
    Deno.kill(pid!, "SIGSTOP");
    {
      await using waiting = await openMany(port);
      await prepare(server, "seven", { idleGraceMs: 100, drainDeadlineMs: 120_000 });
      const reloading = server.reload();
      await server.waitFor("worker_ready", 7);
      Deno.kill(pid!, "SIGCONT");
      const answers = await Promise.all(waiting.wires.map((wire) => wire.ask("/")));
      assertEquals(answers.filter(({ text }) => ["six", "seven"].includes(text)).length, 200);
      assertEquals((await reloading).outcome, "done");
    }
    // What it answered before it heard of the drain is kept for its grace, unless the client goes.
    assertEquals((await recordOf(server, 6)).cut, 0);
  });

  // Generation 7: the last one.
  await step("TERM lets an answer in flight finish, and exits 0", async () => {
    using slow = await Wire.open(port);
    await slow.write(formatRequest("/slow?last"));
    using stream = await Wire.open(port);
    const head = await askFor(stream, "/stream?last");
    using events = await Wire.open(port);
    const eventsHead = await askFor(events, "/events");
    await inFlightIs(server, 3);
    server.signal("SIGTERM");
    // Its end says that the drain has begun in the worker, too.
    assert((await textOf(events.body(eventsHead))).endsWith("data: seven\n\n"));
    await open(server, "last");
    assertEquals(await textOf(stream.body(head)), WHOLE);
    assertEquals((await slow.answer()).text, "seven");
    assertEquals((await server.exited()).code, 0);
    const { answered, cut, outcome } = server.eventsOf("generation_ended")[6]!;
    assertEquals({ answered, cut, outcome }, { answered: 3, cut: 0, outcome: "drained" });
  });
}

/** Two hundred clients that have connected and said nothing. */
async function openMany(port: number) {
  const wires = await Promise.all(Array.from({ length: 200 }, () => Wire.open(port)));
  return {
    wires,
    [Symbol.asyncDispose]() {
      for (const wire of wires) wire[Symbol.dispose]();
      return Promise.resolve();
    },
  };
}

for (const engine of ENGINES) {
  Deno.test(`drains of the ${engine} engine`, async (t) => {
    await using server = await start(engine, { idleGraceMs: 100, drainDeadlineMs: 120_000 });
    await drainInTurn(t, server, engine);
  });

  Deno.test(`what comes after an answer that ends the connection is not given to the app (${engine})`, async () => {
    const app = `export default {
      async fetch(request) {
        await request.text();
        console.error("ran " + new URL(request.url).pathname);
        return new Response("one");
      },
    };`;
    await using server = await Server.start({
      files: { "app.ts": app },
      config: { engine, reload: FAR, log: { folder: "./log", access: "combined" } },
    });
    const read = (name: string) => Deno.readTextFileSync(server.project.path(`log/${name}`));
    using wire = await Wire.open(server.project.port);
    assertEquals((await wire.ask("/0")).text, "one");
    assertEquals((await server.reload()).outcome, "done");
    const posts = Array.from(
      { length: 5 },
      (_, index) => formatRequest(`/${index + 1}`, { method: "POST", body: "ab" }),
    );
    await wire.write(concat(posts));
    const { text, headers } = await wire.answer();
    assertEquals([text, headers.get("connection")], ["one", "close"]);
    assertEquals(await wire.ended(), "closed");
    assertEquals(await recordOf(server, 1), { answered: 1, cut: 0, outcome: "drained" });
    await until("both to be told of", () => read("holdfast.log").includes("ran /1"));
    assertEquals(read("holdfast.log").match(/ran .\d/g), ["ran /0", "ran /1"]);
    // Nothing tells of the others: they are for whom the client sends them to next.
    await until("both to be recorded", () => read("access.log").includes("/1 "));
    assertEquals(read("access.log").match(/POST .\d|GET .\d/g), ["GET /0", "POST /1"]);
  });

  Deno.test(`a second TERM cuts what the first one waits for (${engine})`, async () => {
    await using server = await start(engine, { idleGraceMs: 100, drainDeadlineMs: 600_000 });
    using wire = await Wire.open(server.project.port);
    const head = await askFor(wire, "/endless");
    const reading = textOf(wire.body(head)).then(() => "whole", () => "cut");
    server.signal("SIGTERM");
    await server.waitFor("stopping");
    assertEquals(server.eventsOf("generation_ended"), []);
    await server.cut();
    assertEquals(await reading, "cut");
    assertEquals((await server.exited()).code, 0);
    const { cut, outcome } = server.eventsOf("generation_ended")[0]!;
    assertEquals({ cut, outcome }, { cut: null, outcome: "killed" });
  });
}

Deno.test("a reload whose new worker is killed while it opens is refused, and the old one serves on", async () => {
  await using server = await start("native", FAR);
  const opening = APP + "export const open = () => new Promise(() => {});";
  await server.project.write("app.ts", opening.replace('"one"', '"two"'));
  const known = processesIn(server.project.folder);
  const reloading = server.reload();
  const pid = await until("the new worker", () => {
    return processesIn(server.project.folder).find((each) =>
      !known.includes(each) && isWorker(each)
    );
  });
  Deno.kill(pid, "SIGKILL");
  assertEquals((await reloading).outcome, "refused");
  assertEquals(await server.text(), "one");
});
