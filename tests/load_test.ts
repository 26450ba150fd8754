import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import { type LoadOptions, type LoadReport, type ModeName, runLoad } from "./load/client.ts";
import { type RawConnection, RawServer } from "./load/raw_server.ts";
import { ServerProcess } from "./load/server_process.ts";
import { type Shape, streamBody } from "./load/shape.ts";
import { parseTarget } from "./load/target.ts";
import { sleep } from "./load/wait.ts";
import { freePort } from "./harness/ports.ts";

/** Each client of each mode sends one request at least, however short it is. */
const LOAD_MS = 600;

/** Small and fast, for the tests of one request against a raw server. */
const SMALL: Partial<Shape> = {
  streamChunks: 3,
  uploadPieces: 3,
  uploadPieceBytes: 10,
  uploadEveryMs: 5,
};

const CHUNKED = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nx-generation: 7\r\n\r\n";
const EVENT_STREAM = CHUNKED.replace("x-gen", "content-type: text/event-stream\r\nx-gen");
const ROOT = "HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\ngeneration 7\n";

Deno.test("the load client accounts for every request of a plain server and calls all of them ok", async () => {
  await using server = await ServerProcess.start("bare");
  const report = await runLoad({ target: server.target, durationMs: LOAD_MS, shape: SMALL });
  assertAccounted(report);
  assertEquals(report.samples, []);
  assertEquals(report.total.ok, report.total.sent);
  assertEquals(report.total.generations, { "1": report.total.sent });
  for (const [name, mode] of Object.entries(report.modes)) {
    assert(mode.ok >= 4, `${name}: ${mode.ok}`);
  }
});

// One misbehaviour each: a request of the named mode ends in exactly the named outcome.

interface Misbehaviour {
  name: string;
  mode: ModeName;
  outcome: "ok" | "lost" | "raced" | "bad";
  reason?: RegExp;
  /** Only of those that wait for it. */
  deadlineMs?: number;
  script: (connection: RawConnection) => Promise<void>;
}

const MISBEHAVIOURS: Misbehaviour[] = [
  {
    name: "an answer with the right content-length is ok",
    mode: "close",
    outcome: "ok",
    script: answer(ROOT),
  },
  {
    name: "an answer that ends by the close of its connection is ok",
    mode: "close",
    outcome: "ok",
    script: answer("HTTP/1.1 200 OK\r\n\r\ngeneration 7\n"),
  },
  {
    name: "an answer after an interim answer is ok",
    mode: "close",
    outcome: "ok",
    script: answer("HTTP/1.1 103 Early Hints\r\nlink: </a>\r\n\r\n" + ROOT),
  },
  {
    name: "an answer shorter than its content-length is lost",
    mode: "close",
    outcome: "lost",
    reason: /1 bytes short/,
    script: answer(ROOT.slice(0, -1)),
  },
  {
    name: "an answer cut within its headers is lost",
    mode: "close",
    outcome: "lost",
    reason: /middle of a line/,
    script: answer("HTTP/1.1 200 OK\r\ncontent-le"),
  },
  {
    name: "a close with no answer on a fresh connection is lost",
    mode: "close",
    outcome: "lost",
    reason: /0 bytes of the answer, fresh connection/,
    script: answer(""),
  },
  {
    name: "a reset on a fresh connection is lost",
    mode: "close",
    outcome: "lost",
    reason: /fresh connection/,
    script: () => Promise.resolve(), // the request is left unread, so the close is a reset
  },
  {
    name: "a server that stays silent loses the request when the deadline passes",
    mode: "close",
    outcome: "lost",
    reason: /no whole answer within 300 ms/,
    deadlineMs: 300,
    script: (connection) => connection.waitForEnd(),
  },
  {
    name: "a status other than 2xx is bad",
    mode: "close",
    outcome: "bad",
    reason: /status 503/,
    script: answer("HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n"),
  },
  {
    name: "an answer that is no HTTP is bad",
    mode: "close",
    outcome: "bad",
    reason: /status line "hello"/,
    script: answer("hello\r\n\r\n"),
  },
  {
    name: "an answer with both content-length and chunks is bad",
    mode: "close",
    outcome: "bad",
    reason: /both/,
    script: answer(CHUNKED.replace("\r\n\r\n", "\r\ncontent-length: 0\r\n\r\n") + "0\r\n\r\n"),
  },
  {
    name: "a wrong body is bad",
    mode: "close",
    outcome: "bad",
    reason: /body "degeneration\\n"/,
    script: answer("HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\ndegeneration\n"),
  },
  {
    name: "a body of another generation than its header is bad",
    mode: "close",
    outcome: "bad",
    reason: /x-generation 8/,
    script: answer(ROOT.replace("\r\n\r\n", "\r\nx-generation: 8\r\n\r\n")),
  },
  {
    name: "a silent server on a reused connection is lost and not raced",
    mode: "keep_alive_0",
    outcome: "lost",
    reason: /no whole answer within 1000 ms \(0 bytes of the answer, reused connection\)/,
    deadlineMs: 1_000,
    script: async (connection) => {
      await answer(ROOT)(connection);
      await connection.waitForEnd();
    },
  },
  {
    name: "a reused connection that is closed before the answer is raced",
    mode: "keep_alive_0",
    outcome: "raced",
    script: async (connection) => {
      await answer(ROOT)(connection);
      await connection.readHead();
    },
  },
  {
    name: "a reused connection that is closed within the answer is lost",
    mode: "keep_alive_0",
    outcome: "lost",
    reason: /9 bytes of the answer, reused connection/,
    script: async (connection) => {
      await answer(ROOT)(connection);
      await answer("HTTP/1.1 ")(connection);
    },
  },
  {
    name: "bytes after the answer on a kept connection are bad",
    mode: "keep_alive_0",
    outcome: "bad",
    reason: /bytes came after the answer/,
    script: async (connection) => {
      await answer(ROOT + "HTTP/1.1 408 Request Timeout\r\n\r\n")(connection);
      await connection.waitForEnd();
    },
  },
  {
    name: "a stream that comes whole is ok",
    mode: "stream",
    outcome: "ok",
    script: answer(CHUNKED + chunk(streamBody(3)) + "0\r\n\r\n"),
  },
  {
    name: "a stream cut in the middle of a chunk is lost",
    mode: "stream",
    outcome: "lost",
    reason: /20 bytes short/,
    script: answer(CHUNKED + chunk(streamBody(3)).slice(0, -22)),
  },
  {
    name: "a stream cut after a chunk and before its terminator is lost",
    mode: "stream",
    outcome: "lost",
    reason: /a line was due/,
    script: answer(CHUNKED + chunk(streamBody(3))),
  },
  {
    name: "a stream cut within its terminator is lost",
    mode: "stream",
    outcome: "lost",
    reason: /a line was due/,
    script: answer(CHUNKED + chunk(streamBody(3)) + "0\r\n"),
  },
  {
    name: "a stream that is ended in order but too early is lost",
    mode: "stream",
    outcome: "lost",
    reason: /ended after \d+ of \d+ bytes/,
    script: answer(CHUNKED + chunk(streamBody(2)) + "0\r\n\r\n"),
  },
  {
    name: "a stream out of order is bad",
    mode: "stream",
    outcome: "bad",
    reason: /not the expected one/,
    script: answer(CHUNKED + chunk(streamBody(3).replace("chunk 1", "chunk 2")) + "0\r\n\r\n"),
  },
  {
    name: "a chunk longer than it says is bad",
    mode: "stream",
    outcome: "bad",
    reason: /a chunk is longer than it said/,
    script: answer(CHUNKED + "3\r\nchunk\r\n0\r\n\r\n"),
  },
  {
    name: "an upload that is counted right is ok",
    mode: "upload",
    outcome: "ok",
    script: async (connection) => {
      await connection.readHead();
      await connection.readBytes(30);
      await connection.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n30");
    },
  },
  {
    name: "an upload whose bytes are counted wrong is bad",
    mode: "upload",
    outcome: "bad",
    reason: /the server counted "20", not 30/,
    script: async (connection) => {
      await connection.readHead();
      await connection.readBytes(30);
      await connection.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n20");
    },
  },
  {
    name: "an upload that is answered before all of it was sent is bad",
    mode: "upload_chunked",
    outcome: "bad",
    reason: /200 came before the whole body was sent/,
    script: async (connection) => {
      await connection.readHead();
      await connection.write("HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n30");
      await connection.waitForEnd();
    },
  },
  {
    name: "an upload that is cut off is lost",
    mode: "upload",
    outcome: "lost",
    reason: /0 bytes of the answer/,
    script: async (connection) => {
      await connection.readHead();
      await connection.readBytes(10);
    },
  },
  {
    name: "an event stream that ends at an event's end is ok",
    mode: "sse",
    outcome: "ok",
    script: answer(EVENT_STREAM + chunk(eventText(0) + eventText(1)) + "0\r\n\r\n"),
  },
  {
    name: "an event stream cut in the middle of a chunk is lost",
    mode: "sse",
    outcome: "lost",
    reason: /bytes short/,
    script: answer(EVENT_STREAM + chunk(eventText(0)) + chunk(eventText(1)).slice(0, -10)),
  },
  {
    name: "an event stream that ends without its terminator is lost",
    mode: "sse",
    outcome: "lost",
    reason: /a line was due/,
    script: answer(EVENT_STREAM + chunk(eventText(0))),
  },
  {
    name: "an event stream that ends in order within an event is lost",
    mode: "sse",
    outcome: "lost",
    reason: /within an event/,
    script: answer(EVENT_STREAM + chunk(eventText(0) + "id: 1\nda") + "0\r\n\r\n"),
  },
  {
    name: "an event stream that leaves an event out is bad",
    mode: "sse",
    outcome: "bad",
    reason: /event 2 came where 1 was due/,
    script: answer(EVENT_STREAM + chunk(eventText(0) + eventText(2)) + "0\r\n\r\n"),
  },
  {
    name: "an event that is not well formed is bad",
    mode: "sse",
    outcome: "bad",
    reason: /event "id: 0\\ndate: 0"/,
    script: answer(EVENT_STREAM + chunk("id: 0\ndate: 0\n\n") + "0\r\n\r\n"),
  },
];

for (const { name, mode, outcome, reason, deadlineMs, script } of MISBEHAVIOURS) {
  Deno.test(name, async () => {
    await using server = new RawServer(script);
    const requests = mode === "keep_alive_0" && outcome !== "bad" ? 2 : 1;
    const report = await runOne({ target: server.target, mode, requests, deadlineMs });
    assertAccounted(report);
    assertEquals(report.total.sent, requests);
    assertEquals(report.total.ok, outcome === "ok" ? requests : requests - 1);
    assertEquals(report.total[outcome], 1, JSON.stringify(report.samples));
    if (outcome === "ok") return;
    assertEquals(report.samples.map((sample) => sample.outcome), [outcome]);
    assertMatch(report.samples[0]!.reason, reason ?? /./);
  });
}

Deno.test("a request to a port that nobody listens on is refused", async () => {
  const report = await runOne({ target: `127.0.0.1:${freePort()}`, mode: "close", requests: 1 });
  assertAccounted(report);
  assertEquals([report.total.sent, report.total.refused], [1, 1]);
});

Deno.test("a kept connection that the server announces to close is not used again", async () => {
  await using server = new RawServer(answer(ROOT.replace("OK\r\n", "OK\r\nConnection: close\r\n")));
  const report = await runOne({ target: server.target, mode: "keep_alive_0", requests: 3 });
  assertAccounted(report);
  assertEquals([report.total.sent, report.total.ok], [3, 3]);
});

Deno.test("an event stream is taken up again after the last event seen", async () => {
  const heads: string[] = [];
  await using server = new RawServer(async (connection) => {
    heads.push(await connection.readHead());
    const events = eventText(2 * connection.index) + eventText(2 * connection.index + 1);
    await connection.write(EVENT_STREAM + chunk(events) + "0\r\n\r\n");
  });
  const report = await runOne({ target: server.target, mode: "sse", requests: 2 });
  assertAccounted(report);
  assertEquals([report.total.sent, report.total.ok], [2, 2]);
  assertEquals(report.total.generations, { "7": 2 });
  assert(!heads[0]!.includes("Last-Event-ID"));
  assertMatch(heads[1]!, /\r\nLast-Event-ID: 1\r\n/);
});

Deno.test("the load client reaches a server on a Unix socket", async () => {
  const folder = await Deno.makeTempDir({ prefix: "holdfast_load_" });
  try {
    await using server = new RawServer(answer(ROOT), `${folder}/socket`);
    const report = await runOne({ target: server.target, mode: "close", requests: 2 });
    assertAccounted(report);
    assertEquals([report.total.sent, report.total.ok], [2, 2]);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("an aborted load finishes what is in flight and is accounted for", async () => {
  const controller = new AbortController();
  await using server = new RawServer(async (connection) => {
    await connection.readHead();
    controller.abort();
    await sleep(30);
    await connection.write(ROOT);
  });
  const report = await runLoad({
    target: server.target,
    durationMs: 60_000,
    modes: ["close"],
    clients: 1,
    signal: controller.signal,
  });
  assertAccounted(report);
  assertEquals([report.total.sent, report.total.ok], [1, 1]);
});

Deno.test("a target is a host and a port or the path of a Unix socket", () => {
  assertEquals(parseTarget("localhost:80"), { kind: "tcp", hostname: "localhost", port: 80 });
  assertEquals(parseTarget("[::1]:8000"), { kind: "tcp", hostname: "::1", port: 8000 });
  assertEquals(parseTarget("unix:/run/a.sock"), { kind: "unix", path: "/run/a.sock" });
  for (const wrong of ["", "localhost", "localhost:0", "localhost:65536", "::1:80"]) {
    assertThrows(() => parseTarget(wrong), RangeError, "Cannot use target");
  }
});

function runOne(one: {
  target: string;
  mode: ModeName;
  requests: number;
  deadlineMs?: number | undefined;
}): Promise<LoadReport> {
  const options: LoadOptions = {
    target: one.target,
    durationMs: 60_000,
    modes: [one.mode],
    clients: 1,
    requestDeadlineMs: one.deadlineMs ?? 30_000,
    requestsPerClient: one.requests,
    shape: SMALL,
  };
  return runLoad(options);
}

function assertAccounted(report: LoadReport): void {
  for (const mode of [...Object.values(report.modes), report.total]) {
    const { sent, ok, refused, lost, raced, bad, unaccounted } = mode;
    assertEquals(unaccounted, 0);
    assertEquals(ok + refused + lost + raced + bad, sent);
  }
}

/** A script that reads one request, writes this and closes. */
function answer(text: string): (connection: RawConnection) => Promise<void> {
  return async (connection) => {
    await connection.readHead();
    await connection.write(text);
  };
}

function chunk(text: string): string {
  return `${text.length.toString(16)}\r\n${text}\r\n`;
}

function eventText(id: number): string {
  return `id: ${id}\ndata: event ${id} of generation 7\n\n`;
}
