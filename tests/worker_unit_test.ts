import { assert, assertEquals, assertMatch, assertRejects, assertThrows } from "@std/assert";
import { spawn } from "node:child_process";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { Probe } from "../lib/base/probe.ts";
import type { Grants } from "../lib/protocol/to_worker.ts";
import {
  answerForError,
  ask,
  endEventsAtDrain,
  requireResponse,
  withConnectionClose,
} from "../lib/worker/answer.ts";
import {
  type Fetcher,
  type Handler,
  handlerOf,
  noHandler,
  type ServeInfo,
  toApp,
} from "../lib/worker/app.ts";
import { drain as drainStopped, type DrainLimits, stopAccepting } from "../lib/worker/drain.ts";
import { findGrantFaults } from "../lib/child/grants.ts";
import type { Acceptor } from "../lib/worker/engine.ts";
import { probeApp, type ProbeOptions } from "../lib/worker/probe.ts";
import { type Connection, Traffic } from "../lib/worker/traffic.ts";
import { until } from "./harness/wait.ts";

// ---- grants ----

const GRANTS: Grants = {
  read: ["/srv/app", "/srv/data"],
  write: ["/srv/data"],
  net: ["127.0.0.1:5432"],
  env: ["TZ"],
};

type Descriptor = Deno.PermissionDescriptor | { name: "import" };

/** One key for a permission: its kind, and what it is for if it is for something. */
function keyOf(descriptor: Descriptor): string {
  const { name, ...of } = descriptor as { name: string };
  return [name, ...Object.values(of)].join(" ");
}

/** The states of a worker that has just what {@link GRANTS} says, but for `changes`. */
function stateWith(changes: Record<string, Deno.PermissionState> = {}) {
  const states: Record<string, Deno.PermissionState> = {
    ...Object.fromEntries(["run", "ffi", "sys", "import"].map((name) => [name, "denied"])),
    ...Object.fromEntries(GRANTS.read.map((path) => [`read ${path}`, "granted"])),
    ...Object.fromEntries(GRANTS.write.map((path) => [`write ${path}`, "granted"])),
    ...Object.fromEntries(GRANTS.net.map((host) => [`net ${host}`, "granted"])),
    ...Object.fromEntries(GRANTS.env.map((variable) => [`env ${variable}`, "granted"])),
    ...changes,
  };
  return (descriptor: Descriptor) => states[keyOf(descriptor)] ?? "prompt";
}

Deno.test("a worker with exactly its grants finds nothing wrong", () => {
  assertEquals(findGrantFaults(GRANTS, stateWith()), []);
  assertEquals(findGrantFaults({ read: [], write: [], net: [], env: [] }, stateWith()), []);
});

/** Each single deviation, and what the worker must say of it. */
const DEVIATIONS: [string, Deno.PermissionState, string][] = [
  // Native code reads as a question when it was given up.
  ...["run", "ffi", "sys", "import"].flatMap((name) =>
    (name === "ffi" ? ["granted"] as const : ["granted", "prompt"] as const).map((
      state,
    ): [string, Deno.PermissionState, string] => [
      name,
      state,
      `${name} is not denied`,
    ])
  ),
  ...["read", "write", "net", "env"].map((name): [string, Deno.PermissionState, string] => [
    name,
    "granted",
    `${name} is granted for everything`,
  ]),
  ["read /srv/app", "prompt", "read of /srv/app is not granted"],
  ["read /srv/data", "denied", "read of /srv/data is not granted"],
  ["write /srv/data", "prompt", "write of /srv/data is not granted"],
  ["net 127.0.0.1:5432", "denied", "net of 127.0.0.1:5432 is not granted"],
  ["env TZ", "prompt", "env of TZ is not granted"],
];

for (const [permission, state, fault] of DEVIATIONS) {
  Deno.test(`a worker whose ${permission} is ${state} says: ${fault}`, () => {
    assertEquals(findGrantFaults(GRANTS, stateWith({ [permission]: state })), [fault]);
  });
}

Deno.test("every fault is told, not only the first", () => {
  const all = Object.fromEntries(DEVIATIONS.map(([permission, state]) => [permission, state]));
  assertEquals(
    findGrantFaults(GRANTS, stateWith(all)).sort(),
    [...new Set(DEVIATIONS.map(([, , fault]) => fault))].sort(),
  );
});

Deno.test("a helper with native code has it of its packages alone", () => {
  const native = { ...GRANTS, native: true };
  assertEquals(findGrantFaults(native, stateWith({ ffi: "prompt" })), []);
  assertEquals(findGrantFaults(native, stateWith({ ffi: "granted" })), ["ffi is not denied"]);
  // Given up after the start, it reads so everywhere.
  assertEquals(findGrantFaults(GRANTS, stateWith({ ffi: "prompt" })), []);
});

/** Runs the look at the grants in a `deno` of its own, spawned as a worker is. */
async function faultsInChild(flags: string[]): Promise<string[]> {
  const grants = new URL("../lib/child/grants.ts", import.meta.url);
  const program = `
    import { findGrantFaults } from ${JSON.stringify(grants.href)};
    const faults = findGrantFaults({ read: [], write: [], net: [], env: [] });
    Deno.stdout.writeSync(new TextEncoder().encode(JSON.stringify(faults)));
  `;
  const child = spawn(Deno.execPath(), ["run", "--quiet", "--ext=ts", ...flags, "-"], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  let text = "";
  child.stdout!.on("data", (chunk: Uint8Array) => text += new TextDecoder().decode(chunk));
  child.stdin!.end(program);
  await new Promise((resolve) => child.on("close", resolve));
  return JSON.parse(text);
}

Deno.test("a child that got all permissions by the trap of node:child_process finds it out", async () => {
  const denied = ["read", "write", "net", "env", "run", "ffi", "sys", "import"]
    .map((kind) => `--deny-${kind}`);
  assertEquals(await faultsInChild(["--no-prompt", ...denied]), []);
  // No permission flag at all, which reads as the least, and which is turned into -A.
  assertEquals(await faultsInChild(["--no-prompt"]), [
    ...["run", "ffi", "sys", "import"].map((kind) => `${kind} is not denied`),
    ...["read", "write", "net", "env"].map((kind) => `${kind} is granted for everything`),
  ]);
});

Deno.test("a child whose run was forgotten finds it out", async () => {
  const denied = ["read", "write", "net", "env", "ffi", "sys", "import"]
    .map((kind) => `--deny-${kind}`);
  assertEquals(await faultsInChild(["--no-prompt", ...denied]), ["run is not denied"]);
  assertEquals(
    await faultsInChild(["--no-prompt", "--deny-run", "--allow-read", ...denied.slice(1)]),
    ["read is granted for everything"],
  );
});

// ---- the app contract ----

function appOf(module: Record<string, unknown>) {
  const handler = handlerOf(module.default);
  if (handler === undefined) throw noHandler(module);
  return toApp(module, handler);
}

const FETCHER = { fetch: () => new Response("ok") };

const WRONG_APPS: Record<string, [Record<string, unknown>, string]> = {
  "no default": [{ fetch: FETCHER.fetch }, "exports no handler"],
  "null as default": [{ default: null }, "default export has no fetch"],
  "a class as default": [{ default: class {} }, "default export has no fetch"],
  "a string as default": [{ default: "app" }, "default export has no fetch"],
  "a fetch that is no function": [{ default: { fetch: "x" } }, "default export has no fetch"],
  "an open that is no function": [{ default: FETCHER, open: 1 }, "export open is not a function"],
  "an open that is null": [{ default: FETCHER, open: null }, "export open is not a function"],
  "a close that is no function": [
    { default: FETCHER, close: {} },
    "export close is not a function",
  ],
};

for (const [what, [module, message]] of Object.entries(WRONG_APPS)) {
  Deno.test(`an app with ${what} is refused`, () => {
    assertThrows(() => appOf(module), TypeError, message);
  });
}

Deno.test("an app's open and close may be missing, plain or async", async () => {
  const called: string[] = [];
  const bare = appOf({ default: FETCHER });
  await bare.open();
  await bare.close();
  const app = appOf({
    default: FETCHER,
    open: () => void called.push("open"),
    close: async () => void await Promise.resolve().then(() => called.push("close")),
  });
  await app.open();
  await app.close();
  assertEquals(called, ["open", "close"]);
  assertEquals(app.handler, { kind: "fetch", fetcher: FETCHER });
});

Deno.test("what an app's open throws reaches the worker, thrown at once or later", async () => {
  const now = appOf({
    default: FETCHER,
    open: () => {
      throw new RangeError("no database");
    },
  });
  await assertRejects(() => now.open(), RangeError, "no database");
  const later = appOf({ default: FETCHER, open: () => Promise.reject(new RangeError("later")) });
  await assertRejects(() => later.open(), RangeError, "later");
});

/** The answer to a request as the engines get it. */
async function answerOf(fetcher: Fetcher): Promise<Response> {
  const answer = ask(fetcher, new Request("http://x/"), {} as ServeInfo);
  return await Promise.resolve(answer).then(requireResponse, answerForError);
}

Deno.test("an app of a class keeps its this", async () => {
  class Counter {
    count = 41;
    fetch() {
      return new Response(String(++this.count));
    }
  }
  const { handler } = appOf({ default: new Counter() });
  assert(handler.kind === "fetch");
  const { fetcher } = handler;
  assertEquals(await (await answerOf(fetcher)).text(), "42");
});

const WRONG_FETCHES: Record<string, () => unknown> = {
  "throws": () => {
    throw new Error("secret path /srv/x");
  },
  "throws what is no error": () => {
    throw undefined;
  },
  "rejects": () => Promise.reject(new Error("secret path /srv/x")),
  "returns nothing": () => undefined,
  "returns a string": () => "hello",
  "resolves to null": () => Promise.resolve(null),
  "returns a thenable that throws": () => ({
    then() {
      throw new Error("secret path /srv/x");
    },
  }),
};

for (const [what, fetch] of Object.entries(WRONG_FETCHES)) {
  Deno.test(`a handler that ${what} is a 500 that tells the client nothing`, async () => {
    const answer = await answerOf({ fetch } as never);
    assertEquals([answer.status, await answer.text()], [500, "Internal Server Error"]);
  });
}

// ---- answers during a drain ----

Deno.test("an answer of a drain says that the connection ends, whatever the app said", async () => {
  const plain = new Response("body", { status: 201, headers: { "x-app": "1" } });
  assertEquals(withConnectionClose(plain).headers.get("connection"), "close");
  const kept = new Response("body", { headers: { connection: "keep-alive" } });
  assertEquals(withConnectionClose(kept).headers.get("connection"), "close");
  assertEquals(await withConnectionClose(plain).text(), "body");
});

Deno.test("an answer whose headers cannot be changed is copied whole", async () => {
  const fetched = await fetch("data:text/plain,body");
  assertThrows(() => fetched.headers.set("x", "1"), TypeError);
  const answer = withConnectionClose(fetched);
  assertEquals(answer.headers.get("connection"), "close");
  assertEquals(answer.headers.get("content-type"), "text/plain");
  assertEquals([answer.status, await answer.text()], [200, "body"]);
  const redirect = withConnectionClose(Response.redirect("http://x.example/", 307));
  assertEquals([redirect.status, redirect.headers.get("location")], [307, "http://x.example/"]);
  assertEquals(redirect.headers.get("connection"), "close");
});

/** A body that the test feeds, and that knows how it was cancelled. */
function fedBody() {
  const body: { cancelled: unknown[]; feed: ReadableStreamDefaultController<Uint8Array> } = {
    cancelled: [],
    feed: undefined as never,
  };
  const stream = new ReadableStream<Uint8Array>({
    start: (controller) => void (body.feed = controller),
    cancel: (reason) => void body.cancelled.push(reason),
  });
  return { body, stream };
}

function events(stream: ReadableStream<Uint8Array>): Response {
  return new Response(stream as ReadableStream<Uint8Array<ArrayBuffer>>, {
    status: 203,
    headers: { "content-type": "text/event-stream; charset=utf-8", "x-app": "1" },
  });
}

const bytes = (text: string) => new TextEncoder().encode(text);

Deno.test("an event stream ends whole, between two chunks, when the drain begins", async () => {
  const traffic = new Traffic();
  const { body, stream } = fedBody();
  const answer = endEventsAtDrain(events(stream), traffic);
  assertEquals([answer.status, answer.headers.get("x-app")], [203, "1"]);
  const reading = answer.text();
  body.feed.enqueue(bytes("data: 1\n\n"));
  body.feed.enqueue(bytes("data: 2\n\n"));
  await until("the source to be drained", () => body.feed.desiredSize === 1);
  traffic.startDrain();
  assertEquals(await reading, "data: 1\n\ndata: 2\n\n");
  await until("the source to be told", () => body.cancelled.length === 1);
});

Deno.test("an event stream whose client reads slowly ends after a whole chunk too", async () => {
  const traffic = new Traffic();
  const { body, stream } = fedBody();
  const reader = endEventsAtDrain(events(stream), traffic).body!.getReader();
  const sent = ["data: 1\n\n", "data: 2\n\n", "data: 3\n\n"];
  for (const each of sent) body.feed.enqueue(bytes(each));
  const read = [new TextDecoder().decode((await reader.read()).value)];
  traffic.startDrain();
  await until("the source to be told", () => body.cancelled.length === 1);
  for (let next = await reader.read(); !next.done; next = await reader.read()) {
    read.push(new TextDecoder().decode(next.value));
  }
  assertEquals(read, sent.slice(0, read.length));
});

Deno.test("an event stream that begins during the drain ends at once and whole", async () => {
  const traffic = new Traffic();
  traffic.startDrain();
  const { body, stream } = fedBody();
  assertEquals(await endEventsAtDrain(events(stream), traffic).text(), "");
  assertEquals(body.cancelled.length, 1);
});

Deno.test("an event stream that ends by itself ends whole", async () => {
  const { body, stream } = fedBody();
  const reading = endEventsAtDrain(events(stream), new Traffic()).text();
  body.feed.enqueue(bytes("data: 1\n\n"));
  body.feed.close();
  assertEquals(await reading, "data: 1\n\n");
});

Deno.test("a broken source breaks the answer: the client must not take it for whole", async () => {
  const { body, stream } = fedBody();
  const reader = endEventsAtDrain(events(stream), new Traffic()).body!.getReader();
  body.feed.enqueue(bytes("data: 1\n\n"));
  assertEquals(new TextDecoder().decode((await reader.read()).value), "data: 1\n\n");
  body.feed.error(new RangeError("database gone"));
  await assertRejects(() => reader.read(), RangeError, "database gone");
});

Deno.test("a client that goes away cancels the app's stream", async () => {
  const traffic = new Traffic();
  const { body, stream } = fedBody();
  const reader = endEventsAtDrain(events(stream), traffic).body!.getReader();
  body.feed.enqueue(bytes("data: 1\n\n"));
  await reader.read();
  await reader.cancel("client gone");
  await until("the app's stream to be cancelled", () => body.cancelled.length === 1);
  traffic.startDrain();
});

Deno.test("only event streams are ended by a drain: a download goes on to its end", async () => {
  const traffic = new Traffic();
  const { body, stream } = fedBody();
  const download = new Response(stream as ReadableStream<Uint8Array<ArrayBuffer>>);
  assertEquals(endEventsAtDrain(download, traffic), download);
  const empty = new Response(null, { headers: { "content-type": "text/event-stream" } });
  assertEquals(endEventsAtDrain(empty, traffic), empty);
  traffic.startDrain();
  body.feed.enqueue(bytes("part"));
  body.feed.close();
  assertEquals(await download.text(), "part");
});

// ---- the drain ----

class FakeConnection implements Connection {
  inFlight = 0;
  idleSinceMs = performance.now();
  closeAnnounced = false;
  uploading = false;
  closed = 0;
  /** What was in flight whenever it was told to close. */
  readonly inFlightAtClose: number[] = [];
  readonly #traffic: Traffic;

  constructor(traffic: Traffic, inFlight = 0) {
    this.#traffic = traffic;
    this.inFlight = inFlight;
    traffic.connections.add(this);
  }

  cut() {
    this.close();
  }

  close(): void {
    this.closed++;
    this.inFlightAtClose.push(this.inFlight);
    this.#traffic.connections.delete(this);
  }

  /** The answer is out. */
  answer(): void {
    this.inFlight--;
    this.#traffic.answered++;
    this.idleSinceMs = performance.now();
  }
}

/** As a worker does it. */
function drain(traffic: Traffic, limits: DrainLimits, acceptors: readonly Acceptor[] = []) {
  stopAccepting(acceptors, traffic);
  return drainStopped(traffic, limits);
}

const LIMITS = { idleGraceMs: 100, drainDeadlineMs: 20_000 };

Deno.test("a drain without connections stops accepting and is over", async () => {
  const traffic = new Traffic();
  traffic.answered = 5;
  let stopped = 0;
  const acceptors = [{ stop: () => void stopped++ }, { stop: () => void stopped++ }];
  assertEquals(await drain(traffic, LIMITS, acceptors), { answered: 0, cut: 0 });
  assertEquals([stopped, traffic.draining, traffic.drainSignal.aborted], [2, true, true]);
});

Deno.test("a connection with a request in flight is not closed, idle as it may look", async () => {
  const traffic = new Traffic();
  const busy = new FakeConnection(traffic, 1);
  busy.idleSinceMs = -1e6;
  const idle = new FakeConnection(traffic);
  idle.idleSinceMs = -1e6;
  const drained = drain(traffic, LIMITS);
  await until("the idle one to be closed", () => idle.closed > 0);
  assertEquals(busy.closed, 0);
  busy.answer();
  assertEquals(await drained, { answered: 1, cut: 0 });
  assertEquals(busy.inFlightAtClose, [0]);
});

Deno.test("an idle connection is closed after the grace, and not before", async () => {
  const traffic = new Traffic();
  const idle = new FakeConnection(traffic);
  // Idle for ages already: the grace runs from the beginning of the drain on all the same.
  idle.idleSinceMs = -1e6;
  const startMs = performance.now();
  const drained = drain(traffic, { ...LIMITS, idleGraceMs: 300 });
  await until("the connection to be closed", () => idle.closed > 0);
  assert(performance.now() - startMs >= 300, "closed within its grace");
  assertEquals(await drained, { answered: 0, cut: 0 });
});

Deno.test("an answer during the drain gives its connection a new grace", async () => {
  const traffic = new Traffic();
  const connection = new FakeConnection(traffic, 1);
  const drained = drain(traffic, { ...LIMITS, idleGraceMs: 300 });
  await new Promise((resolve) => setTimeout(resolve, 350));
  assertEquals(connection.closed, 0);
  const answeredMs = performance.now();
  connection.answer();
  assertEquals(await drained, { answered: 1, cut: 0 });
  assert(performance.now() - answeredMs >= 300, "closed within its grace");
});

Deno.test("a client that asks on though it was told to go is closed after the grace", async () => {
  const traffic = new Traffic();
  const asking = new FakeConnection(traffic, 1);
  asking.closeAnnounced = true;
  const uploading = new FakeConnection(traffic, 1);
  uploading.closeAnnounced = true;
  uploading.uploading = true;
  const startMs = performance.now();
  const drained = drain(traffic, { ...LIMITS, idleGraceMs: 300 });
  await until("the connection to be closed", () => asking.closed > 0);
  assert(performance.now() - startMs >= 300, "closed within the grace");
  assertEquals(uploading.closed, 0);
  uploading.answer();
  assertEquals(await drained, { answered: 1, cut: 0 });
});

Deno.test("the deadline cuts what is left and counts it", async () => {
  const traffic = new Traffic();
  const busy = [1, 2, 3].map(() => new FakeConnection(traffic, 1));
  const idle = new FakeConnection(traffic);
  const startMs = performance.now();
  const drained = await drain(traffic, { idleGraceMs: 0, drainDeadlineMs: 300 });
  assertEquals(drained, { answered: 0, cut: 3 });
  assert(performance.now() - startMs >= 300, "cut before the deadline");
  assertEquals(busy.map(({ closed }) => closed), [0, 0, 0]);
  assertEquals(idle.inFlightAtClose, [0]);
});

// ---- probes ----

const ASKED: Omit<ProbeOptions, "handler"> = {
  ...{ address: "127.0.0.1:8000", secure: false, probes: [], warmUp: [] },
};

const probeOf = (path: string, more: Partial<Probe> = {}): Probe => ({
  ...{ path, status: [], timeoutMs: 5_000, times: 1, headers: {}, ...more },
});

/** The same app, for the web and for node:http. */
const PROBED = (asked: string[]): Record<string, Handler> => {
  const answer = (path: string, host: string): [number, string] => {
    asked.push(`${host}${path}`);
    if (path === "/thrown") throw new Error("no database");
    return path === "/"
      ? [302, ""]
      : path === "/broken"
      ? [500, "no\u001bgood"]
      : [200, "x".repeat(9)];
  };
  return {
    fetch: handlerOf({
      fetch: ({ url, headers }: Request) => {
        const [status, text] = answer(new URL(url).pathname, headers.get("host")!);
        if (url.endsWith("/hangs")) return new Promise(() => {});
        return new Response(text, { status });
      },
    })!,
    node: handlerOf((incoming: IncomingMessage, outgoing: ServerResponse) => {
      if (incoming.url === "/thrown") return incoming.socket.destroy();
      const [status, text] = answer(incoming.url!, incoming.headers.host!);
      if (incoming.url !== "/hangs") outgoing.writeHead(status).end(text);
    })!,
  };
};

for (const kind of ["fetch", "node"]) {
  Deno.test(`a probe fails by any answer that is not wanted, and says which: ${kind}`, async () => {
    const asked: string[] = [];
    const handler = PROBED(asked)[kind]!;
    const probe = (...probes: Probe[]) => probeApp({ ...ASKED, handler, probes });
    const why = async (each: Probe) => (await assertRejects(() => probe(each), Error)).message;
    await probe(probeOf("/ok"), probeOf("/", { status: [200, 302] }));
    assertMatch(
      await why(probeOf("/broken", { times: 3 })),
      /^reload\.probe: GET \/broken \(1 of 3\) was answered with 500 after \d+ ms, not with 200 to 299: no\\x1bgood$/,
    );
    assertMatch(await why(probeOf("/")), /answered with 302 after .*, not with 200 to 299: $/);
    assertMatch(await why(probeOf("/ok", { status: [204, 304] })), /not with 204 or 304: x{9}$/);
    assertMatch(
      await why(probeOf("/thrown")),
      /^reload\.probe: GET \/thrown failed after \d+ ms: ./,
    );
    assertMatch(await why(probeOf("/hangs", { timeoutMs: 20 })), /no whole answer within 20 ms$/);
    asked.length = 0;
    await probe(probeOf("/ok", { times: 2, headers: { Host: "www.example.com" } }));
    assertEquals(asked, ["www.example.com/ok", "www.example.com/ok"]);
    asked.length = 0;
    await probeApp({ ...ASKED, handler, probes: [probeOf("/last")], warmUp: ["/broken", "/b"] });
    assertEquals(asked, ["/broken", "/b", "/last"].map((path) => `127.0.0.1:8000${path}`));
  });
}
