import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import * as z from "zod";
import { Buffer } from "node:buffer";
import net from "node:net";
import type { Handed } from "../lib/child/hand_over.ts";
import { type Client, HelperError, type Methods } from "../lib/helper/mod.ts";
import { toMethods } from "../lib/helper/run.ts";
import { CallServer } from "../lib/helper/serve.ts";
import {
  type CallFrame,
  CallFrameReader,
  CallHead,
  decodeChunk,
  decodeHead,
  decodeJson,
  deserialize,
  encodeCallFrame,
  encodeChunk,
  encodeHead,
  encodeJson,
  Failure,
  HelloMethods,
  MAX_CALL_BYTES,
  MAX_CHUNK_BYTES,
  MAX_LANE_CALLS,
  MAX_WAITING_BYTES,
  NotSerializable,
  ResultHead,
  serialize,
  STREAM_WINDOW_BYTES,
  StreamCredit,
  StreamEnd,
} from "../lib/protocol/call.ts";
import { Violation } from "../lib/protocol/violation.ts";
import { Helpers } from "../lib/worker/helpers.ts";
import { cutAtRandom, pick, randomFrom } from "./doubles/random.ts";
import { handlePair, RawEnd } from "./harness/lane_pair.ts";
import { sleep, until } from "./harness/wait.ts";

const ENCODER = new TextEncoder();

function joined(pieces: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  return Uint8Array.from(Buffer.concat(pieces));
}

function frameBytes(...parts: Parameters<typeof encodeCallFrame>): Uint8Array<ArrayBuffer> {
  return joined(encodeCallFrame(...parts));
}

/** A header that says what a test wants. */
function headerOf(length: number, kind: number, zero = 0): Uint8Array {
  const header = new Uint8Array(12);
  new DataView(header.buffer).setUint32(0, length);
  header.set([kind, zero], 4);
  return header;
}

function ruleOf(step: () => unknown): string | undefined {
  try {
    step();
    return undefined;
  } catch (error) {
    if (error instanceof Violation) return error.rule;
    throw error;
  }
}

const NO_STREAMS = () => {
  throw new Error("There is no stream in it");
};

/** Over the wire and back, without a socket. */
function roundTrip(value: unknown): unknown {
  const { value: rest, parts, bytes } = serialize(value);
  const payload = joined(encodeHead({ value: rest, parts }, bytes));
  const { head, rest: left } = decodeHead(ResultHead, payload);
  return deserialize(head, left, NO_STREAMS);
}

Deno.test("frames come out as they went in, however they are cut", () => {
  const random = randomFrom(1);
  const sent = [
    { kind: "hello", id: 0, payload: encodeJson({ methods: {} }) },
    { kind: "call", id: 1, payload: new Uint8Array(100_000).fill(7) },
    { kind: "cancel", id: 2 ** 32 - 1, payload: new Uint8Array() },
    { kind: "end", id: 3, payload: encodeJson({ stream: 0 }) },
  ] as const;
  const bytes = joined(sent.flatMap(({ kind, id, payload }) => encodeCallFrame(kind, id, payload)));
  const cuts = [
    [bytes],
    Array.from(bytes, (byte) => Uint8Array.of(byte)),
    [...cutAtRandom(random, bytes, 5_000)],
  ];
  for (const pieces of cuts) {
    const reader = new CallFrameReader();
    const frames = pieces.flatMap((piece) => [...reader.push(piece)]);
    assertEquals(frames, [...sent] as CallFrame[]);
    assertEquals(reader.partial, false);
  }
});

Deno.test("half a frame is known as one, from its first byte to its last but one", () => {
  const bytes = frameBytes("call", 1, new Uint8Array(5));
  const reader = new CallFrameReader();
  for (const byte of bytes.subarray(0, -1)) {
    assertEquals([...reader.push(Uint8Array.of(byte))], []);
    assertEquals(reader.partial, true);
  }
  assertEquals([...reader.push(bytes.subarray(-1))].length, 1);
  assertEquals(reader.partial, false);
});

Deno.test("a frame that is too long is refused by its header, before memory is taken for it", () => {
  for (const length of [MAX_CALL_BYTES + 1, 2 ** 32 - 1]) {
    const before = Deno.memoryUsage().external;
    assertEquals(
      ruleOf(() => [...new CallFrameReader().push(headerOf(length, 2))]),
      "frame_too_long",
    );
    assert(Deno.memoryUsage().external - before < MAX_CALL_BYTES);
  }
  assertEquals(
    ruleOf(() => [...new CallFrameReader().push(headerOf(MAX_CALL_BYTES, 2))]),
    undefined,
  );
});

Deno.test("a frame of no kind, and one whose zeros are none, are refused", () => {
  for (const kind of [0, 9, 255]) {
    assertEquals(ruleOf(() => [...new CallFrameReader().push(headerOf(0, kind))]), "bad_message");
  }
  assertEquals(ruleOf(() => [...new CallFrameReader().push(headerOf(0, 2, 1))]), "bad_message");
});

Deno.test("a value comes out as it went in, with its bytes", () => {
  const own = JSON.parse('{"__proto__": null, "constructor": {"prototype": 1}}');
  Object.defineProperty(own, "__proto__", { value: Uint8Array.of(9) });
  const values = [
    null,
    undefined,
    0,
    "text with \u0000 and \u{1f600}",
    [],
    {},
    [[[]]],
    { a: [1, { b: Uint8Array.of(1, 2, 3) }], c: null, d: new Uint8Array() },
    Uint8Array.of(5),
    [Uint8Array.of(1), null, Uint8Array.of(2)],
    own,
  ];
  for (const value of values) assertEquals(roundTrip(value), value as never);
  const back = roundTrip(own) as object;
  assertEquals(Object.getPrototypeOf(back), Object.prototype);
  assertEquals(Object.keys(back).sort(), ["__proto__", "constructor"]);
  assertEquals(({} as { prototype?: unknown }).prototype, undefined);
});

Deno.test("what JSON turns into something else comes out as that", () => {
  const when = new Date(0);
  assertEquals(roundTrip({ when, gone: undefined, list: [undefined] }), {
    when: when.toJSON(),
    list: [null],
  });
  const buffer = roundTrip({ photo: Buffer.from("abc") }) as { photo: Uint8Array };
  assertEquals([...buffer.photo], [97, 98, 99]);
  assertEquals(roundTrip(new Map([[1, 2]])), {});
});

Deno.test("a value that cannot be sent is refused with a reason", () => {
  const deep = (levels: number): unknown => levels === 0 ? 1 : [deep(levels - 1)];
  assertEquals(roundTrip(deep(32)), deep(32) as never);
  const cyclic: Record<string, unknown> = {};
  cyclic["self"] = cyclic;
  const many = Array.from({ length: 65 }, () => new Uint8Array(1));
  assertEquals((roundTrip(many.slice(1)) as unknown[]).length, 64);
  const locked = new ReadableStream();
  locked.getReader();
  const stream = new ReadableStream();
  const refused: [unknown, string][] = [
    [deep(40), "deeper"],
    [cyclic, "deeper"],
    [many, "More than 64 parts"],
    [Array.from({ length: 5 }, () => new ReadableStream()), "More than 4 streams"],
    [locked, "read elsewhere"],
    [[stream, stream], "read elsewhere"],
    [new Float64Array(1), "not a Uint8Array"],
    [new ArrayBuffer(1), "not a Uint8Array"],
    [{ count: 1n }, "BigInt"],
    ["x".repeat(1024 * 1024), "bytes of JSON"],
    [new Uint8Array(MAX_CALL_BYTES), "pass a stream"],
  ];
  for (const [value, why] of refused) {
    const error = assertThrows(() => roundTrip(value), NotSerializable);
    assertStringIncludes(error.message, why);
  }
});

Deno.test("parts that do not fit their value are refused", () => {
  const part = (path: (string | number)[], bytes: number) => ({ path, bytes });
  const cases: [unknown, unknown[], number][] = [
    [{ a: null }, [part(["b"], 1)], 1],
    [{ a: null }, [part(["a", "b"], 1)], 1],
    [{ a: 1 }, [part(["a"], 1)], 1],
    [{ a: null }, [part(["a"], 1), part(["a"], 1)], 2],
    [{ a: null }, [part(["a"], 2)], 1],
    [{ a: null }, [part(["a"], 1)], 2],
    [{ a: null }, [part(["a"], 1), part(["a", 0], 1)], 2],
    [{}, [part(["__proto__"], 1)], 1],
    [{}, [part(["__proto__", "polluted"], 1)], 1],
    [{}, [part(["constructor", "prototype", "polluted"], 1)], 1],
    [[null], [part(["length"], 1)], 1],
    [[null], [part([1], 1)], 1],
    ["text", [part([0], 1)], 1],
    [{ a: null, b: null }, [{ path: ["a"], stream: 0 }, { path: ["b"], stream: 0 }], 0],
  ];
  for (const [value, parts, length] of cases) {
    const rule = ruleOf(() =>
      deserialize(
        { value, parts } as z.infer<typeof ResultHead>,
        new Uint8Array(length),
        () => new ReadableStream(),
      )
    );
    assertEquals(rule, "bad_message", JSON.stringify({ value, parts }));
  }
  assertEquals(({} as { polluted?: unknown }).polluted, undefined);
});

Deno.test("a head that lies about its length, its text or its shape is refused", () => {
  const json = (head: unknown) => joined(encodeHead(head));
  const long = new Uint8Array(10);
  new DataView(long.buffer).setUint32(0, 7);
  const call = { method: "a", timeoutMs: 1, value: null, parts: [] };
  const bad: [string, Uint8Array<ArrayBuffer>][] = [
    ["bad_message", new Uint8Array()],
    ["bad_message", new Uint8Array(3)],
    ["bad_message", long],
    ["frame_not_json", new Uint8Array(4)],
    ["frame_not_json", joined([Uint8Array.of(0, 0, 0, 1), Uint8Array.of(0xff)])],
    ["bad_message", json([])],
    ["bad_message", json({ ...call, extra: 1 })],
    ["bad_message", json({ ...call, method: "" })],
    ["bad_message", json({ ...call, method: "m".repeat(65) })],
    ["bad_message", json({ ...call, timeoutMs: -1 })],
    ["bad_message", json({ ...call, timeoutMs: 0.5 })],
    ["bad_message", json({ ...call, parts: [{ path: [], bytes: -1 }] })],
    ["bad_message", json({ ...call, parts: [{ path: [], stream: 4 }] })],
    ["bad_message", json({ ...call, parts: [{ path: [], bytes: 1, stream: 1 }] })],
    ["bad_message", json({ ...call, parts: [{ path: Array(33).fill(0), bytes: 1 }] })],
    ["bad_message", json({ ...call, parts: Array(65).fill({ path: [], bytes: 0 }) })],
  ];
  for (const [rule, payload] of bad) {
    assertEquals(
      ruleOf(() => decodeHead(CallHead, payload)),
      rule,
      new TextDecoder().decode(payload),
    );
  }
  assertEquals(decodeHead(CallHead, json(call)).head, call as never);
});

Deno.test("a piece of a stream holds something, and not too much", () => {
  for (const length of [0, 2, 3 + MAX_CHUNK_BYTES]) {
    assertEquals(ruleOf(() => decodeChunk(new Uint8Array(length))), "bad_message");
  }
  assertEquals(decodeChunk(joined(encodeChunk(258, Uint8Array.of(1)))), {
    stream: 258,
    bytes: Uint8Array.of(1),
  });
});

/** What either end makes of bytes, without its sockets. */
function digest(bytes: Uint8Array): void {
  for (const { kind, payload } of new CallFrameReader().push(bytes)) {
    if (kind === "hello") decodeJson(HelloMethods, payload);
    else if (kind === "failed") decodeJson(Failure, payload);
    else if (kind === "end") decodeJson(StreamEnd, payload);
    else if (kind === "credit") decodeJson(StreamCredit, payload);
    else if (kind === "chunk") decodeChunk(payload);
    else if (kind === "call" || kind === "result") {
      const { head, rest } = kind === "call"
        ? decodeHead(CallHead, payload)
        : decodeHead(ResultHead, payload);
      deserialize(head, rest, () => new ReadableStream());
    }
  }
}

/** A whole conversation, a frame an element. */
function recordedFrames(): Uint8Array<ArrayBuffer>[] {
  const { value, parts, bytes } = serialize({ photo: new Uint8Array(50).fill(1), sizes: [1, 2] });
  return [
    frameBytes("hello", 0, encodeJson({ methods: { resize: { retry: "safe" } } })),
    frameBytes("call", 1, ...encodeHead({ method: "resize", timeoutMs: 9, value, parts }, bytes)),
    frameBytes("chunk", 1, ...encodeChunk(0, new Uint8Array(20))),
    frameBytes("credit", 1, encodeJson({ stream: 0, bytes: 20 })),
    frameBytes("end", 1, encodeJson({ stream: 0, error: "no" })),
    frameBytes("result", 1, ...encodeHead({ value, parts }, bytes)),
    frameBytes("failed", 2, encodeJson({ code: "helper_failed", message: "no" })),
    frameBytes("cancel", 3),
  ];
}

function mutated(random: () => number, frames: readonly Uint8Array[]): Uint8Array {
  const bytes = joined(frames.filter(() => random() < 0.8));
  for (let times = 1 + Math.floor(random() * 4); times > 0 && bytes.length > 0; times--) {
    const at = Math.floor(random() * bytes.length);
    const change = pick(random, ["byte", "bit", "cut", "digit"] as const);
    if (change === "byte") bytes[at] = Math.floor(random() * 256);
    else if (change === "bit") bytes[at]! ^= 1 << Math.floor(random() * 8);
    else if (change === "digit") bytes[at] = 48 + Math.floor(random() * 10);
    else bytes.copyWithin(at, at + 1 + Math.floor(random() * 8));
  }
  return bytes;
}

Deno.test("ten thousand spoilt conversations break rules and nothing else", () => {
  const random = randomFrom(20_261);
  const frames = recordedFrames();
  digest(joined(frames));
  let refused = 0;
  for (let round = 0; round < 10_000; round++) {
    if (ruleOf(() => digest(mutated(random, frames))) !== undefined) refused++;
  }
  assert(refused > 2_000, `${refused} were refused`);
  assertEquals(Object.keys(Object.prototype), []);
});

const ANYTHING = z.unknown();

function echoing(more: Methods = {}): Methods {
  return {
    echo: { input: ANYTHING, output: ANYTHING, handle: (value) => value },
    ...more,
  };
}

const LIMITS = { timeoutMs: 30_000, concurrency: 16 };

/** A helper's side, and the lane of a worker that says what a test wants. */
function serveRaw(methods: Methods, limits = LIMITS): { server: CallServer; worker: RawEnd } {
  const server = new CallServer(methods, limits);
  return { server, worker: addRaw(server, 1) };
}

function addRaw(server: CallServer, number: number): RawEnd {
  const [theirs, own] = handlePair();
  server.addLane(number, theirs);
  return new RawEnd(own);
}

function callOf(method: string, input: unknown, timeoutMs = 30_000): Uint8Array[] {
  const { value, parts, bytes } = serialize(input);
  return encodeHead({ method, timeoutMs, value, parts }, bytes);
}

/** A worker's side, whose helper says what a test wants. */
function callRaw(
  timeoutMs = 30_000,
): { helpers: Helpers; client: Client<Methods>; helper: RawEnd } {
  const helpers = new Helpers([{ name: "raw", timeoutMs }]);
  return { helpers, client: helpers.client("raw"), helper: addInstance(helpers) };
}

function addInstance(helpers: Helpers): RawEnd {
  const [theirs, own] = handlePair();
  helpers.take(handed(theirs));
  return new RawEnd(own);
}

function handed(handle: unknown): Handed {
  return { message: { type: "helper_lane", helper: "raw", instance: 0 }, handle };
}

/** A worker and a helper, and the wire between them, which whoever disposes of it cuts. */
function connected(methods: Methods, limits = LIMITS) {
  const server = new CallServer(methods, limits);
  const helpers = new Helpers([{ name: "raw", timeoutMs: limits.timeoutMs }]);
  const wire = new Wire();
  server.addLane(1, wire.left);
  helpers.take(handed(wire.right));
  return { server, wire, client: helpers.client("raw"), strict: helpers };
}

/** Two socket pairs, joined: what is between them can be seen, and cut. */
class Wire implements AsyncDisposable {
  readonly left: unknown;
  readonly right: unknown;
  /** What went from left to right. */
  bytes = 0;
  readonly #sockets: net.Socket[];
  readonly #closed: Promise<unknown>;

  constructor() {
    const [left, innerLeft] = handlePair();
    const [innerRight, right] = handlePair();
    this.left = left;
    this.right = right;
    this.#closed = Promise.all([whenClosed(left), whenClosed(right)]);
    this.#sockets = [innerLeft, innerRight].map((handle) =>
      new net.Socket({ handle, readable: true, writable: true } as never)
    );
    const [first, second] = this.#sockets as [net.Socket, net.Socket];
    for (const socket of this.#sockets) socket.on("error", () => {});
    first.on("data", (chunk: Uint8Array) => this.bytes += chunk.length);
    first.pipe(second);
    second.pipe(first);
  }

  /** Cuts it, and waits until both ends have seen that: the lanes on them have timers till then. */
  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await this.#closed;
  }
}

/** Settles when the socket around a handle has closed it, and has told who listens. */
function whenClosed(handle: unknown): Promise<void> {
  const closing = handle as { close(callback?: () => void): void };
  const close = closing.close.bind(closing);
  return new Promise((resolve) => {
    closing.close = (callback) =>
      close(() => {
        callback?.();
        setTimeout(resolve);
      });
  });
}

async function failureOf(call: Promise<unknown>): Promise<string> {
  const error = await call.then(() => undefined, (error) => error);
  assert(error instanceof HelperError, String(error));
  return error.code;
}

async function textOf(error: Promise<unknown>): Promise<string> {
  return String(await error.then(() => "nothing", (error) => error.message));
}

/** So many bytes, which say where they belong. */
function patternOf(length: number): Uint8Array<ArrayBuffer> {
  const words = new Uint32Array(length / 4).map((_, index) => Math.imul(index, 2_654_435_761));
  return new Uint8Array(words.buffer);
}

function streamOf(pieces: number, bytes: number, told?: (index: number) => void) {
  let index = 0;
  return new ReadableStream<Uint8Array>({
    pull(controller) {
      if (index === pieces) return controller.close();
      told?.(index);
      controller.enqueue(new Uint8Array(bytes).fill(index++ % 251));
    },
  }, { highWaterMark: 0 });
}

/** Counts, and sees to it that every byte is right. */
async function countOf(stream: ReadableStream<Uint8Array>, pieceBytes: number): Promise<number> {
  let at = 0;
  for await (const chunk of stream) {
    for (const byte of chunk) {
      if (byte !== Math.floor(at / pieceBytes) % 251) throw new Error(`Wrong byte at ${at}`);
      at++;
    }
  }
  return at;
}

Deno.test("a call goes over a socket and its answer comes back, bytes and nothing too", async () => {
  const { wire, client } = connected(echoing());
  await using _wire = wire;
  const photo = patternOf(20_000_000);
  const back = await client["echo"]!({ photo, at: 1 }) as { photo: Uint8Array };
  assertEquals(Buffer.compare(back.photo, photo), 0);
  assertEquals(await client["echo"]!(undefined), undefined);
  assertEquals(await client["echo"]!(null), null);
  assertEquals(
    await Promise.all(Array.from({ length: 200 }, (_, index) => client["echo"]!(index))),
    [
      ...Array(200).keys(),
    ],
  );
});

Deno.test("streams go both ways, many windows long, and their bytes are right", async () => {
  const { wire, client } = connected(echoing());
  await using _wire = wire;
  const pieces = Math.ceil(40 * STREAM_WINDOW_BYTES / 50_000);
  const back = await client["echo"]!(streamOf(pieces, 50_000)) as ReadableStream<Uint8Array>;
  assertEquals(await countOf(back, 50_000), pieces * 50_000);
});

Deno.test("as many streams as a lane has calls go at once, and none stops the others", async () => {
  const { wire, client } = connected(echoing(), { timeoutMs: 300_000, concurrency: 16 });
  await using _wire = wire;
  const lengths = await Promise.all(
    Array.from({ length: 2 * MAX_LANE_CALLS }, async () => {
      const back = await client["echo"]!(streamOf(20, 50_000)) as ReadableStream<Uint8Array>;
      return await countOf(back, 50_000);
    }),
  );
  assertEquals(lengths, Array(2 * MAX_LANE_CALLS).fill(1_000_000));
});

Deno.test("a reader that does not read stops the writer within a window", async () => {
  const sent: number[] = [];
  const { wire, client } = connected(echoing({
    pour: {
      input: ANYTHING,
      output: ANYTHING,
      handle: () => streamOf(2_000, 10_000, (index) => sent.push(index)),
    },
  }));
  await using _wire = wire;
  const stream = await client["pour"]!(null) as ReadableStream<Uint8Array>;
  await until("the first pieces", () => sent.length > 10);
  let before;
  do {
    before = sent.length;
    await sleep(100);
  } while (sent.length > before);
  assert(sent.length <= STREAM_WINDOW_BYTES / 10_000 + 2, `${sent.length} pieces`);
  assert(wire.bytes < STREAM_WINDOW_BYTES + 20_000, `${wire.bytes} bytes`);
  assertEquals(await countOf(stream, 10_000), 20_000_000);
});

Deno.test("many short pieces count for more than their bytes", async () => {
  const sent: number[] = [];
  const { wire, client } = connected(echoing({
    drip: {
      input: ANYTHING,
      output: ANYTHING,
      handle: () => streamOf(5_000, 1, (index) => sent.push(index)),
    },
  }));
  await using _wire = wire;
  const stream = await client["drip"]!(null) as ReadableStream<Uint8Array>;
  await sleep(300);
  assert(sent.length <= STREAM_WINDOW_BYTES / 1024 + 2, `${sent.length} pieces`);
  assertEquals(await countOf(stream, 1), 5_000);
});

Deno.test("a stream that is read no further ends in the helper, and its call with it", async () => {
  const ended = Promise.withResolvers<unknown>();
  const { server, wire, client } = connected({
    pour: {
      input: ANYTHING,
      output: ANYTHING,
      handle: () => [
        streamOf(3, 10),
        new ReadableStream({
          pull: (controller) => controller.enqueue(new Uint8Array(50_000)),
          cancel: (reason) => ended.resolve(reason),
        }),
      ],
    },
  });
  await using _wire = wire;
  const [short, long] = await client["pour"]!(null) as ReadableStream<Uint8Array>[];
  await long!.cancel();
  // The other one of the same call goes on.
  assertEquals(await countOf(short!, 10), 30);
  assertStringIncludes(String(await ended.promise), "given up");
  await until("the end of the call", () => server.figures().inFlight === 0);
});

Deno.test("a stream that is cut at the deadline does not look whole", async () => {
  const { server, wire, client } = connected(
    {
      pour: {
        input: ANYTHING,
        output: ANYTHING,
        handle: () => new ReadableStream({ start: (own) => own.enqueue(new Uint8Array(9)) }),
      },
    },
    { timeoutMs: 300, concurrency: 16 },
  );
  await using _wire = wire;
  const stream = await client["pour"]!(null) as ReadableStream<Uint8Array>;
  assertEquals(await failureOf(new Response(stream).bytes()), "helper_failed");
  await until("the end of the call", () => server.figures().inFlight === 0);
});

Deno.test("a stream that breaks at its source breaks at its reader, with its message", async () => {
  const { wire, client } = connected(echoing());
  await using _wire = wire;
  const broken = new ReadableStream<Uint8Array>({
    start: (controller) => controller.enqueue(new Uint8Array(9)),
    pull: (controller) => controller.error(new Error("the disk is full")),
  }, { highWaterMark: 0 });
  const back = await client["echo"]!(broken) as ReadableStream<Uint8Array>;
  assertStringIncludes(await textOf(new Response(back).bytes()), "the disk is full");
  const text = new ReadableStream({ start: (own) => own.enqueue("no bytes") });
  const other = await client["echo"]!(text) as ReadableStream<Uint8Array>;
  assertStringIncludes(await textOf(new Response(other).bytes()), "no bytes");
  const locked = new ReadableStream();
  locked.getReader();
  assertEquals(await failureOf(client["echo"]!(locked)), "helper_bad_input");
  assertEquals(await client["echo"]!("still there"), "still there");
});

Deno.test("a stream fails with helper_lost when its helper is gone", async () => {
  const { wire, client } = connected({
    pour: { input: ANYTHING, output: ANYTHING, handle: () => new ReadableStream() },
  });
  const stream = await client["pour"]!(null) as ReadableStream<Uint8Array>;
  await wire[Symbol.asyncDispose]();
  assertEquals(await failureOf(new Response(stream).bytes()), "helper_lost");
});

Deno.test("whatever a method throws, the helper goes on, and the caller is told what it said", async () => {
  const thrown: Record<string, unknown> = {
    "it broke": new Error("it broke"),
    text: "text",
    "5": Object.assign(new Error(), { message: 5 }),
    "It threw what has no text": Object.create(null),
    "undefined": undefined,
    "Symbol(a)": Symbol("a"),
    "It threw what has no text ": {
      toString() {
        throw new Error();
      },
    },
  };
  const { server, wire, client } = connected(echoing({
    fail: {
      input: ANYTHING,
      output: ANYTHING,
      handle: (name) => {
        throw thrown[name as string];
      },
    },
    big: { input: ANYTHING, output: ANYTHING, handle: () => 1n },
    long: {
      input: ANYTHING,
      output: ANYTHING,
      handle: () => {
        throw new Error("\u{1f600}".repeat(600));
      },
    },
  }));
  await using _wire = wire;
  for (const name of Object.keys(thrown)) {
    const call = client["fail"]!(name);
    assertEquals(await textOf(call), name.trim());
    assertEquals(await failureOf(call), "helper_failed");
  }
  assertEquals(await failureOf(client["big"]!(null)), "helper_bad_output");
  assertEquals((await textOf(client["long"]!(null))).length, 1_000);
  assertEquals(await client["echo"]!(1), 1);
  assertEquals(server.figures().inFlight, 0);
});

Deno.test("an input that cannot be sent fails its call alone", async () => {
  const { wire, client } = connected(echoing());
  await using _wire = wire;
  for (const input of [1n, new Float32Array(2), new Uint8Array(MAX_CALL_BYTES)]) {
    assertEquals(await failureOf(client["echo"]!(input)), "helper_bad_input");
  }
  assertEquals(await failureOf(client["toString"]!(1)), "helper_unknown");
  assertEquals(await failureOf(client["__proto__"]!(1)), "helper_unknown");
  for (const timeoutMs of [NaN, -1]) {
    assertStringIncludes(await textOf(client["echo"]!(1, { timeoutMs })), "Cannot wait");
  }
  assertEquals(await client["echo"]!(1), 1);
  assertEquals(await (client as unknown as Promise<unknown>), client as never);
});

Deno.test("calls over what a lane carries wait in the worker and are answered in turn", async () => {
  const gate = Promise.withResolvers<void>();
  const { server, wire, client } = connected(echoing({
    wait: {
      input: ANYTHING,
      output: ANYTHING,
      handle: async (value) => {
        await gate.promise;
        return value;
      },
    },
  }));
  await using _wire = wire;
  const calls = Array.from({ length: 256 }, (_, index) => client["wait"]!(index));
  assertEquals(await failureOf(client["wait"]!(256)), "helper_busy");
  await until("what a lane carries", () => server.figures().inFlight === MAX_LANE_CALLS);
  await sleep(50);
  assertEquals(server.figures().inFlight, MAX_LANE_CALLS);
  gate.resolve();
  assertEquals(await Promise.all(calls), [...Array(256).keys()]);
});

Deno.test("a call that nobody waits for any more leaves the queue and keeps nobody waiting", async () => {
  const running: AbortSignal[] = [];
  const { server, wire, client } = connected(
    {
      hold: {
        input: ANYTHING,
        output: ANYTHING,
        handle: (_, { signal }) => {
          running.push(signal);
          return new Promise((resolve) => signal.addEventListener("abort", () => resolve("late")));
        },
      },
    },
    { timeoutMs: 30_000, concurrency: 1 },
  );
  await using _wire = wire;
  const stop = new AbortController();
  const first = client["hold"]!(1, { signal: stop.signal });
  await until("the first to run", () => running.length === 1);
  assertEquals(await failureOf(client["hold"]!(2, { timeoutMs: 100 })), "helper_timeout");
  await until("the second to be forgotten", () => server.figures().inFlight === 1);
  assertEquals(server.figures().overdueMs, 0);
  stop.abort(new Error("enough"));
  assertEquals(await textOf(first), "enough");
  await until("the end of the first", () => server.figures().inFlight === 0);
  assert(running[0]!.aborted);
  assertEquals(running.length, 1);
});

Deno.test("a call that is held on to counts as overdue, though its worker is gone", async () => {
  const { server, wire, client } = connected(
    { hang: { input: ANYTHING, output: ANYTHING, handle: () => new Promise(() => {}) } },
    { timeoutMs: 200, concurrency: 1 },
  );
  const call = failureOf(client["hang"]!(1, { timeoutMs: 50 }));
  assertEquals(await call, "helper_timeout");
  await wire[Symbol.asyncDispose]();
  await until("the time", () => server.figures().overdueMs! > 200);
  assertEquals(server.figures().inFlight, 1);
});

Deno.test("a helper that drains serves until its last worker is gone", async () => {
  const { server, wire, client } = connected(echoing());
  assertEquals(await client["echo"]!(1), 1);
  const drained = server.drain();
  assertEquals(await client["echo"]!(2), 2);
  await wire[Symbol.asyncDispose]();
  assertEquals(await drained, { answered: 1, cut: 0 });
});

Deno.test("modules that are no helper are refused with what is missing", () => {
  const schema = { "~standard": { version: 1, vendor: "test", validate: () => ({ value: 1 }) } };
  const method = { input: schema, output: schema, handle: () => 1 };
  const refused: [unknown, string][] = [
    [undefined, "no methods"],
    [{}, "no methods"],
    [{ a: null }, "has no function handle"],
    [{ a: { ...method, handle: 1 } }, "has no function handle"],
    [{ a: { ...method, input: {} } }, "The input of a is not a schema"],
    [{ a: { ...method, output: undefined } }, "The output of a is not a schema"],
    [{ a: { ...method, retry: "always" } }, "The retry of a"],
    [{ ["a".repeat(65)]: method }, "1 to 64 characters"],
    [{ "": method }, "1 to 64 characters"],
  ];
  for (const [methods, why] of refused) {
    const error = assertThrows(() => toMethods({ default: methods }), TypeError);
    assertStringIncludes(error.message, why);
  }
  assertEquals(Object.keys(toMethods({ default: { a: method } })), ["a"]);
});

Deno.test("a lane whose worker breaks a rule is closed, and the others are served on", async () => {
  const breaks: Record<string, (worker: RawEnd) => void> = {
    garbage: (worker) => worker.write(new Uint8Array(4096).fill(0x47)),
    "a long frame": (worker) => worker.write(headerOf(MAX_CALL_BYTES + 1, 2)),
    "a result": (worker) => worker.send("result", 1, ...encodeHead({ value: 1, parts: [] })),
    "a hello": (worker) => worker.send("hello", 0, encodeJson({ methods: {} })),
    "a call twice": (worker) => {
      for (let times = 0; times < 2; times++) worker.send("call", 1, ...callOf("hold", 1));
    },
    "a call that is no JSON": (worker) => worker.send("call", 1, new Uint8Array(20)),
    "more of a stream than was asked for": (worker) => {
      worker.send("call", 1, ...callOf("hold", new ReadableStream()));
      for (let sent = 0; sent <= STREAM_WINDOW_BYTES; sent += 50_000) {
        worker.send("chunk", 1, ...encodeChunk(0, new Uint8Array(50_000)));
      }
    },
    "more short pieces than a window holds": (worker) => {
      worker.send("call", 1, ...callOf("hold", new ReadableStream()));
      for (let sent = 0; sent < 257; sent++) {
        worker.send("chunk", 1, ...encodeChunk(0, Uint8Array.of(1)));
      }
    },
  };
  for (const [name, act] of Object.entries(breaks)) {
    const methods = echoing({
      hold: { input: ANYTHING, output: ANYTHING, handle: () => new Promise(() => {}) },
    });
    const { server, worker } = serveRaw(methods);
    await using bad = worker;
    await using good = addRaw(server, 2);
    await bad.next("hello");
    act(bad);
    await until(`the end of the lane after ${name}`, () => bad.closed);
    good.send("call", 1, ...callOf("echo", "me"));
    await good.next("result");
    assertEquals(server.figures().connections, 1, name);
  }
});

Deno.test("credit for streams that are not, and words on calls that are over, are no fault", async () => {
  const { worker } = serveRaw(echoing());
  await using end = worker;
  end.send("credit", 7, encodeJson({ stream: 0, bytes: 2 ** 40 }));
  end.send("chunk", 7, ...encodeChunk(0, Uint8Array.of(1)));
  end.send("end", 7, encodeJson({ stream: 0 }));
  end.send("cancel", 7);
  end.send("call", 7, ...callOf("echo", 1));
  await end.next("result");
  assert(!end.closed);
});

Deno.test("credit beyond the window buys nothing", async () => {
  const { worker } = serveRaw({
    pour: { input: ANYTHING, output: ANYTHING, handle: () => streamOf(100, 50_000) },
  });
  await using end = worker;
  end.send("call", 1, ...callOf("pour", null));
  await end.next("result");
  end.send("credit", 1, encodeJson({ stream: 0, bytes: Number.MAX_SAFE_INTEGER }));
  await sleep(200);
  assert(end.readBytes <= 2 * STREAM_WINDOW_BYTES + 10_000, `${end.readBytes} bytes`);
});

Deno.test("half a frame that stays half ends the lane", async () => {
  const { server, worker } = serveRaw(echoing());
  await using end = worker;
  await using good = addRaw(server, 2);
  end.write(frameBytes("call", 1, ...callOf("echo", 1)).subarray(0, 20));
  const startMs = performance.now();
  await end.end();
  assert(performance.now() - startMs > 3_000);
  // Silence between frames is no fault.
  good.send("call", 1, ...callOf("echo", 1));
  await good.next("result");
});

Deno.test("a process that was busy itself does not blame the other end for half a frame", async () => {
  const { worker } = serveRaw(echoing());
  await using end = worker;
  await end.next("hello");
  const frame = frameBytes("call", 1, ...callOf("echo", 1));
  end.write(frame.subarray(0, 20));
  await sleep(50);
  // Busy as far as its event loop goes, and at no cost to the other tests.
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 6_500);
  end.write(frame.subarray(20));
  await end.next("result");
});

Deno.test("a worker that floods a helper has so many calls, is told so, and others are served", async () => {
  const started: string[] = [];
  const ends: (() => void)[] = [];
  let over = false;
  const { server, worker } = serveRaw({
    work: {
      input: ANYTHING,
      output: ANYTHING,
      handle: async (who) => {
        started.push(who as string);
        if (!over) await new Promise<void>((end) => ends.push(end));
        return who;
      },
    },
  }, { timeoutMs: 30_000, concurrency: 2 });
  const inFlight = () => server.figures().inFlight;
  await using flooding = worker;
  await using good = addRaw(server, 2);
  const payload = joined(callOf("work", "flooding"));
  for (let id = 1; id <= 10_000; id++) flooding.send("call", id, payload);
  await until("the flood", () => flooding.frames.length + inFlight() === 10_001);
  assert(flooding.frames.some(({ kind }) => kind === "failed"));
  for (let id = 1; id <= 5; id++) {
    const waiting = inFlight();
    good.send("call", id, ...callOf("work", "good"));
    await until("the call", () => inFlight() === waiting + 1);
    const before = started.length;
    while (!started.includes("good", before)) {
      const count = started.length;
      ends.shift()!();
      await until("the next call", () => started.length > count);
    }
    // In turn: one of the flood at most may come before it.
    const waited = started.indexOf("good", before) - before;
    assert(waited <= 1, `${waited} of the flood came first`);
    ends.pop()!();
    await good.next("result");
  }
  over = true;
  ends.forEach((end) => end());
  await until("every answer", () => flooding.frames.length === 10_001);
  assertEquals(inFlight(), 0);
});

Deno.test("a worker that does not read is not heard any more, and what waits for it is bounded", async () => {
  let ran = 0;
  const { server, worker } = serveRaw(echoing({
    big: {
      input: ANYTHING,
      output: ANYTHING,
      handle: () => {
        ran++;
        return new Uint8Array(1_000_000);
      },
    },
  }));
  await using deaf = worker;
  await using good = addRaw(server, 2);
  await deaf.next("hello");
  deaf.pause();
  const payload = joined(callOf("big", null));
  for (let id = 1; id <= 10_000; id++) deaf.send("call", id, payload);
  await until("some", () => ran > 5);
  let before;
  do {
    before = ran;
    await sleep(100);
  } while (ran > before);
  assert(ran <= MAX_WAITING_BYTES / 1_000_000 + MAX_LANE_CALLS, `${ran} ran`);
  good.send("call", 1, ...callOf("echo", 1));
  await good.next("result");
  deaf.resume();
  await until("every answer", () => deaf.frames.length >= 10_000);
});

Deno.test("a helper that breaks a rule loses its lane, and its calls fail", async () => {
  const result = (value: unknown) => encodeHead({ value, parts: [] });
  const breaks: Record<string, (helper: RawEnd, id: number) => void> = {
    garbage: (helper) => helper.write(new Uint8Array(4096).fill(0x47)),
    "a long frame": (helper) => helper.write(headerOf(2 ** 31, 3)),
    "another hello": (helper) => helper.send("hello", 0, encodeJson({ methods: {} })),
    "a result of no call": (helper) => helper.send("result", 999, ...result(1)),
    "a call": (helper, id) => helper.send("call", id, ...callOf("echo", 1)),
    "a failure of a kind that is none": (helper, id) =>
      helper.send("failed", id, encodeJson({ code: "helper_lost", message: "" })),
    "a failure with a long message": (helper, id) =>
      helper.send("failed", id, encodeJson({ code: "helper_failed", message: "x".repeat(2_000) })),
    "a part in a prototype": (helper, id) =>
      helper.send(
        "result",
        id,
        ...encodeHead({ value: {}, parts: [{ path: ["__proto__", "polluted"], bytes: 1 }] }, [
          Uint8Array.of(1),
        ]),
      ),
    "a stream without end": (helper, id) => {
      helper.send("result", id, ...encodeHead({ value: null, parts: [{ path: [], stream: 0 }] }));
      for (let sent = 0; sent < 10; sent++) {
        helper.send("chunk", id, ...encodeChunk(0, new Uint8Array(MAX_CHUNK_BYTES)));
      }
    },
  };
  for (const [name, act] of Object.entries(breaks)) {
    const { helpers, client, helper } = callRaw();
    await using bad = helper;
    bad.send("hello", 0, encodeJson({ methods: { echo: { retry: "never" } } }));
    const outcome = client["echo"]!(1).then((value) => value, (error) => error);
    const { id } = await bad.next("call");
    act(bad, id);
    await until(`the end of the lane after ${name}`, () => bad.closed);
    const value = await outcome;
    if (value instanceof ReadableStream) {
      assertStringIncludes(await failureOf(new Response(value).bytes()), "helper_lost");
    } else assertEquals((value as HelperError).code, "helper_lost", name);
    // Another instance takes over.
    await using good = addInstance(helpers);
    good.send("hello", 0, encodeJson({ methods: { echo: { retry: "never" } } }));
    const call = client["echo"]!(2);
    good.send("result", (await good.next("call")).id, ...result("good"));
    assertEquals(await call, "good");
  }
  assertEquals(({} as { polluted?: unknown }).polluted, undefined);
});

Deno.test("an answer's own keys reach no prototype", async () => {
  const { client, helper } = callRaw();
  await using end = helper;
  end.send("hello", 0, encodeJson({ methods: { echo: { retry: "never" } } }));
  const call = client["echo"]!(1);
  const { id } = await end.next("call");
  const json = '{"value":{"__proto__":{"polluted":1}},"parts":[]}';
  const head = new Uint8Array(4 + json.length);
  new DataView(head.buffer).setUint32(0, json.length);
  head.set(ENCODER.encode(json), 4);
  end.send("result", id, head);
  const value = await call as object;
  assertEquals(Object.keys(value), ["__proto__"]);
  assertEquals((value as { polluted?: unknown }).polluted, undefined);
  assertEquals(({} as { polluted?: unknown }).polluted, undefined);
});

Deno.test("a call that is safe is made once more when its helper dies, and not a third time", async () => {
  const { helpers, client, helper } = callRaw();
  const hello = encodeJson({ methods: { read: { retry: "safe" }, pay: { retry: "never" } } });
  helper.send("hello", 0, hello);
  const calls = [client["read"]!(1), client["pay"]!(1), client["read"]!(new ReadableStream())];
  const outcomes = Promise.allSettled(calls);
  for (let count = 0; count < 3; count++) await helper.next("call");
  helper[Symbol.dispose]();
  await using second = addInstance(helpers);
  second.send("hello", 0, hello);
  second.send("result", (await second.next("call")).id, ...encodeHead({ value: 2, parts: [] }));
  const [read, pay, stream] = await outcomes;
  assertEquals(read, { status: "fulfilled", value: 2 });
  for (const outcome of [pay, stream]) {
    assertEquals((outcome as PromiseRejectedResult).reason.code, "helper_lost");
  }
  const again = failureOf(client["read"]!(1));
  await second.next("call");
  await using third = addInstance(helpers);
  second[Symbol.dispose]();
  third.send("hello", 0, hello);
  await third.next("call");
  third[Symbol.dispose]();
  assertEquals(await again, "helper_lost");
});

Deno.test("an answer that comes after its call was given up changes nothing", async () => {
  const { client, helper } = callRaw();
  await using end = helper;
  end.send("hello", 0, encodeJson({ methods: { echo: { retry: "never" } } }));
  const late = failureOf(client["echo"]!(1, { timeoutMs: 50 }));
  const { id } = await end.next("call");
  assertEquals(await late, "helper_timeout");
  await end.next("cancel");
  end.send("result", id, ...encodeHead({ value: 1, parts: [] }));
  const call = client["echo"]!(2);
  end.send("result", (await end.next("call")).id, ...encodeHead({ value: 2, parts: [] }));
  assertEquals(await call, 2);
  assert(!end.closed);
});

Deno.test("a call fails as unavailable when no instance comes before its deadline", async () => {
  const helpers = new Helpers([{ name: "raw", timeoutMs: 30_000 }]);
  const call = helpers.client("raw")["echo"]!(1, { timeoutMs: 50 });
  assertEquals(await failureOf(call), "helper_unavailable");
  assertThrows(() => helpers.client("other"), HelperError);
});

Deno.test("errors that pass are answered with 503 and Retry-After, others with 500", async () => {
  const codes = ["helper_unavailable", "helper_busy", "helper_lost", "helper_timeout"] as const;
  for (const code of codes) {
    const response = new HelperError(code, "raw", "secret").getResponse();
    assertEquals([response.status, response.headers.get("retry-after")], [503, "1"]);
    assert(!(await response.text()).includes("secret"));
  }
  assertEquals(new HelperError("helper_failed", "raw", "secret").getResponse().status, 500);
});
