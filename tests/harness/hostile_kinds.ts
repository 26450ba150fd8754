/** Hostile clients in tables: what each sends at first, and then again and again. */
import { concat, formatRequest } from "./http.ts";
import { frame, PREFACE, TYPE } from "./http2.ts";

export interface Hostile {
  readonly first: Uint8Array;
  /** Sent again and again; the n-th time. */
  readonly then?: (count: number) => Uint8Array;
  /** How often: twice a second, if nothing is said. */
  readonly everyMs?: number;
  /** It never reads. */
  readonly deaf?: true;
  /** Connections that each of these clients has. */
  readonly connections?: number;
  /** More than one answer to it is a request that was smuggled. */
  readonly smuggles?: true;
}

export type Kinds = Readonly<Record<string, Hostile>>;

/** Asks for what an app of {@link HOSTILE_APP} gives: `/large` is 32 MB, `/stream` has no end. */
export const HOSTILE_APP = `
const large = new Uint8Array(32_000_000);
export default {
  async fetch(request) {
    const { pathname } = new URL(request.url);
    if (pathname === "/large") return new Response(large);
    if (pathname === "/stream") {
      return new Response(new ReadableStream({ pull: (c) => c.enqueue(new Uint8Array(100_000)) }));
    }
    if (request.method !== "POST") return new Response("here");
    try {
      return new Response(String((await request.arrayBuffer()).byteLength));
    } catch ({ status }) {
      return new Response("broken", { status: status ?? 400 });
    }
  },
};
`;

const bytes = (text: string) => Uint8Array.from(text, (letter) => letter.charCodeAt(0));
const repeated = (data: Uint8Array) => () => data;
const always = (text: string) => repeated(bytes(text));
const upload = (headers: Record<string, string>) => formatRequest("/", { method: "POST", headers });
const head = (lines: string) => bytes(`GET / HTTP/1.1\r\nhost: a\r\n${lines}\r\n`);

/** Each is slow in its way; a limit in time has to end it. */
export const SLOW: Kinds = {
  "silence": { first: bytes("") },
  "half a request line": { first: bytes("GET / HT") },
  "half a head": { first: bytes("GET / HTTP/1.1\r\nhost: a\r\nx-a: ") },
  "a head in drips": {
    first: bytes("GET / HTTP/1.1\r\nhost: a\r\n"),
    then: always("x-b: y\r\n"),
  },
  "a request line in drips": { first: bytes("GET /"), then: always("a") },
  "empty lines in drips": { first: bytes("\r\n"), then: always("\r\n") },
  "half a preface of HTTP/2": { first: bytes("PRI * HTTP/2.0\r\n") },
  "a body that never comes": { first: upload({ "content-length": "100000" }) },
  "a body in drips": { first: upload({ "content-length": "100000" }), then: always("x") },
  "chunks in drips": {
    first: upload({ "transfer-encoding": "chunked" }),
    then: always("1\r\nx\r\n"),
  },
  "a chunk's extension in drips": {
    first: concat([upload({ "transfer-encoding": "chunked" }), bytes("1;a=")]),
    then: always("x"),
  },
  "trailers in drips": {
    first: concat([upload({ "transfer-encoding": "chunked" }), bytes("0\r\n")]),
    then: always("x-t: y\r\n"),
  },
  "idle after an answer": { first: formatRequest("/") },
  "takes nothing of 32 MB": { first: formatRequest("/large"), deaf: true, then: always("G") },
  "takes nothing of a stream": { first: formatRequest("/stream"), deaf: true, then: always("G") },
};

/** Each wants more than its share. */
export const GREEDY: Kinds = {
  "a hundred connections": { first: formatRequest("/"), connections: 100 },
  "a header of 1 MB": { first: head(`x-a: ${"a".repeat(1_000_000)}\r\n`) },
  "20,000 headers": { first: head("x-a: b\r\n".repeat(20_000)) },
  "headers without end": {
    first: bytes("GET / HTTP/1.1\r\nhost: a\r\n"),
    then: always("x-a: b\r\n".repeat(1_000)),
    everyMs: 1,
  },
  "a path of 1 MB": { first: bytes(`GET /${"a".repeat(1_000_000)} HTTP/1.1\r\nhost: a\r\n\r\n`) },
  "a body of 10 TB by its length": {
    first: upload({ "content-length": "10000000000000" }),
    then: always("x".repeat(65_536)),
    everyMs: 1,
  },
  "chunks without end": {
    first: upload({ "transfer-encoding": "chunked" }),
    then: always(`10000\r\n${"x".repeat(65_536)}\r\n`),
    everyMs: 1,
  },
  "chunks of a byte without end": {
    first: upload({ "transfer-encoding": "chunked" }),
    then: always("1\r\nx\r\n".repeat(1_000)),
    everyMs: 1,
  },
  "a chunk's extension without end": {
    first: concat([upload({ "transfer-encoding": "chunked" }), bytes("1;a=")]),
    then: always("x".repeat(65_536)),
    everyMs: 1,
  },
  "trailers without end": {
    first: concat([upload({ "transfer-encoding": "chunked" }), bytes("0\r\n")]),
    then: always(`x-t: ${"y".repeat(1_000)}\r\n`),
    everyMs: 5,
  },
  "5,000 requests at once": { first: bytes("GET / HTTP/1.1\r\nhost: a\r\n\r\n".repeat(5_000)) },
  "requests without end, no answer read": {
    first: bytes(""),
    then: always("GET / HTTP/1.1\r\nhost: a\r\n\r\n".repeat(500)),
    everyMs: 1,
    deaf: true,
  },
  "large answers, asked for at once": {
    first: bytes("GET /large HTTP/1.1\r\nhost: a\r\n\r\n".repeat(5)),
    deaf: true,
  },
};

const SMUGGLED = "GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n";
const chunked = "transfer-encoding: chunked\r\n";
const post = (lines: string, body: string) =>
  bytes(`POST / HTTP/1.1\r\nhost: a\r\n${lines}\r\n${body}`);
const smuggling = (lines: string, body: string): Hostile => ({
  first: post(lines, body),
  smuggles: true,
});

/** Each breaks the framing of HTTP/1.1, or the syntax of a head. */
export const MALFORMED: Kinds = {
  "CL.TE": smuggling(
    `content-length: ${5 + SMUGGLED.length}\r\n${chunked}`,
    `0\r\n\r\n${SMUGGLED}`,
  ),
  "TE.CL": smuggling(`${chunked}content-length: 3\r\n`, `0\r\n\r\n${SMUGGLED}`),
  "two lengths": smuggling(
    `content-length: 0\r\ncontent-length: ${SMUGGLED.length}\r\n`,
    SMUGGLED,
  ),
  "a list of lengths": smuggling(`content-length: 0, ${SMUGGLED.length}\r\n`, SMUGGLED),
  "TE: xchunked": smuggling(`transfer-encoding: xchunked\r\n`, `0\r\n\r\n${SMUGGLED}`),
  "TE: chunked, identity": smuggling(
    "transfer-encoding: chunked, identity\r\n",
    `0\r\n\r\n${SMUGGLED}`,
  ),
  "TE after a space": smuggling(
    `content-length: 0\r\ntransfer-encoding : chunked\r\n`,
    `0\r\n\r\n${SMUGGLED}`,
  ),
  "TE in HTTP/1.0": {
    first: bytes(`POST / HTTP/1.0\r\nhost: a\r\n${chunked}\r\n0\r\n\r\n${SMUGGLED}`),
    smuggles: true,
  },
  "TE folded": smuggling(
    `transfer-encoding:\r\n chunked\r\ncontent-length: 5\r\n`,
    `0\r\n\r\n${SMUGGLED}`,
  ),
  "TE after a bare CR": smuggling(
    `content-length: ${5 + SMUGGLED.length}\r\nx: y\r${chunked}`,
    `0\r\n\r\n${SMUGGLED}`,
  ),
  "length +0": smuggling("content-length: +0\r\n", SMUGGLED),
  "length -1": smuggling("content-length: -1\r\n", SMUGGLED),
  "length 0x0": smuggling("content-length: 0x0\r\n", SMUGGLED),
  "length of 30 digits": smuggling(`content-length: ${"9".repeat(30)}\r\n`, SMUGGLED),
  "chunk size 0x0": smuggling(chunked, `0x0\r\n\r\n${SMUGGLED}`),
  "chunk size -1": smuggling(chunked, `-1\r\n\r\n${SMUGGLED}`),
  "chunk size of 17 digits": smuggling(chunked, `10000000000000000\r\n\r\n${SMUGGLED}`),
  "chunk without its end": smuggling(chunked, `1\r\nxx0\r\n\r\n${SMUGGLED}`),
  "bare LF": { first: bytes("GET / HTTP/1.1\nhost: a\n\n") },
  "bare LF in chunks": smuggling(chunked, `1\nx\n0\n\n${SMUGGLED}`),
  "NUL in a header": { first: head("x-a: b\0c\r\n") },
  "NUL in the path": { first: bytes("GET /\0 HTTP/1.1\r\nhost: a\r\n\r\n") },
  "a folded header": { first: head("x-a: b\r\n c\r\n") },
  "a space before the colon": { first: head("x-a : b\r\n") },
  "a header without a colon": { first: head("x-a\r\n") },
  "a header without a name": { first: head(": b\r\n") },
  "no host": { first: bytes("GET / HTTP/1.1\r\n\r\n") },
  "two hosts": { first: head("host: b\r\n") },
  "another version": { first: bytes("GET / HTTP/9.9\r\nhost: a\r\n\r\n") },
  "HTTP/0.9": { first: bytes("GET /\r\n") },
  "no method": { first: bytes(" / HTTP/1.1\r\nhost: a\r\n\r\n") },
  "TLS on a plain port": {
    first: Uint8Array.of(0x16, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3, ...new Uint8Array(194)),
  },
  "random bytes": {
    first: Uint8Array.from({ length: 4_096 }, (_, index) => (index * 7_919 + 13) % 251),
  },
};

const END_STREAM = 1;
const END_HEADERS = 4;
const POST = Uint8Array.of(0x83, 0x87, 0x84, 0x41, 1, 0x61);
const GET = Uint8Array.of(0x82, 0x87, 0x84, 0x41, 1, 0x61);
/** `:path: /stream` as a literal. */
const GET_STREAM = Uint8Array.of(0x82, 0x87, 0x04, 7, ...bytes("/stream"), 0x41, 1, 0x61);

const times = (count: number, make: (index: number) => Uint8Array) =>
  concat(Array.from({ length: count }, (_, index) => make(index)));
const settings = (id: number, value: number) => {
  const payload = new DataView(new ArrayBuffer(6));
  payload.setUint16(0, id);
  payload.setUint32(2, value);
  return frame(TYPE.settings, 0, 0, new Uint8Array(payload.buffer));
};
const number = (value: number) =>
  Uint8Array.of(value >>> 24, value >>> 16 & 0xff, value >>> 8 & 0xff, value & 0xff);
const begun = (...frames: Uint8Array[]) => concat([PREFACE, frame(TYPE.settings, 0, 0), ...frames]);
const open = (stream: number, what: Uint8Array, flags = END_HEADERS) =>
  frame(TYPE.headers, flags, stream, what);
const whole = END_HEADERS | END_STREAM;

/** How often a flood sends; many frames each time. */
const FLOOD_MS = 10;
const FRAMES = 200;
const flood = (first: Uint8Array, then: (count: number) => Uint8Array): Hostile => ({
  first,
  then,
  everyMs: FLOOD_MS,
});

/** HTTP/2, after a handshake that agreed on it: floods, broken frames, and streams that never end. */
export const HTTP2: Kinds = {
  "rapid reset": flood(begun(), (count) =>
    times(FRAMES, (index) => {
      const stream = 2 * (count * FRAMES + index) + 1;
      return concat([open(stream, GET, whole), frame(TYPE.reset, 0, stream, number(8))]);
    })),
  "rapid reset by a wrong window": flood(begun(), (count) =>
    times(FRAMES, (index) => {
      const stream = 2 * (count * FRAMES + index) + 1;
      return concat([open(stream, POST), frame(TYPE.window, 0, stream, number(0))]);
    })),
  "CONTINUATION without end": flood(
    begun(open(1, GET, END_STREAM)),
    repeated(times(FRAMES, () => frame(TYPE.continuation, 0, 1, bytes("\0\x03x-a\x01b")))),
  ),
  "empty CONTINUATION without end": flood(
    begun(open(1, GET, END_STREAM)),
    repeated(times(FRAMES, () => frame(TYPE.continuation, 0, 1))),
  ),
  "PING, no answer read": {
    ...flood(begun(), repeated(times(FRAMES, () => frame(TYPE.ping, 0, 0, new Uint8Array(8))))),
    deaf: true,
  },
  "SETTINGS, no answer read": {
    ...flood(begun(), repeated(times(FRAMES, () => settings(3, 100)))),
    deaf: true,
  },
  "empty DATA": flood(begun(open(1, POST)), repeated(times(FRAMES, () => frame(TYPE.data, 0, 1)))),
  "WINDOW_UPDATE": flood(
    begun(),
    repeated(times(FRAMES, () => frame(TYPE.window, 0, 0, number(1)))),
  ),
  "PRIORITY": flood(
    begun(),
    (count) =>
      times(
        FRAMES,
        (index) => frame(TYPE.priority, 0, 2 * (count * FRAMES + index) + 1, new Uint8Array(5)),
      ),
  ),
  "unknown frames": flood(begun(), repeated(times(FRAMES, () => frame(0xfa, 0, 0, bytes("x"))))),
  "a header list of 40 MB": {
    first: begun(),
    everyMs: 100,
    then: (count) => {
      const literal = concat([bytes("\x40\x01a\x7f\xa1\x1e"), new Uint8Array(4_000).fill(0x61)]);
      const again = new Uint8Array(10_000).fill(0xbe);
      return open(2 * count + 1, concat([GET, literal, again]), whole);
    },
  },
  "1,000 streams at once": {
    first: begun(times(1_000, (index) => open(2 * index + 1, GET, whole))),
  },
  "200 streams that never end": { first: begun(times(200, (index) => open(2 * index + 1, POST))) },
  "half a head": { first: begun(open(1, GET, END_STREAM)) },
  "window 0": {
    first: concat([
      PREFACE,
      settings(4, 0),
      times(20, (index) => open(2 * index + 1, GET_STREAM, whole)),
    ]),
  },
  "a window of a byte": {
    first: concat([
      PREFACE,
      settings(4, 1),
      times(20, (index) => open(2 * index + 1, GET_STREAM, whole)),
    ]),
    then: () => times(20, (index) => frame(TYPE.window, 0, 2 * index + 1, number(1))),
  },
  "takes nothing of 20 answers": {
    first: concat([
      PREFACE,
      settings(4, 0x7fffffff),
      frame(TYPE.window, 0, 0, number(0x7fff0000)),
      times(20, (index) => open(2 * index + 1, GET_STREAM, whole)),
    ]),
    deaf: true,
    then: () => frame(TYPE.ping, 0, 0, new Uint8Array(8)),
  },
  "a frame of 16 MB": {
    first: begun(),
    then: () => concat([Uint8Array.of(0xff, 0xff, 0xff, 0, 0, 0, 0, 0, 1), new Uint8Array(65_536)]),
  },
  "DATA on stream 0": { first: begun(frame(TYPE.data, 0, 0, bytes("x"))) },
  "an even stream": { first: begun(open(2, GET, whole)) },
  "PUSH_PROMISE of a client": {
    first: begun(frame(TYPE.push, END_HEADERS, 1, concat([number(2), GET]))),
  },
  "a window beyond 2^31": { first: begun(frame(TYPE.window, 0, 0, number(0x7fffffff))) },
  "broken HPACK": { first: begun(open(1, new Uint8Array(100).fill(0xff), whole)) },
  "no preface": { first: bytes("GET / HTTP/1.1\r\nhost: a\r\n\r\n") },
};

/** At a listener of HTTPS before any handshake; `hello` is a real ClientHello. */
export function beforeTls(hello: Uint8Array): Kinds {
  return {
    "half a ClientHello": { first: hello.subarray(0, hello.length >> 1) },
    "a ClientHello in drips": {
      first: hello.subarray(0, 5),
      then: (count) => hello.subarray(5 + count, 6 + count),
    },
    "a ClientHello, then nothing": { first: hello },
    "a ClientHello, again and again": { first: hello, then: () => hello },
    "half a record without end": {
      first: Uint8Array.of(0x16, 3, 1, 0x40, 0),
      then: () => new Uint8Array(1),
    },
    "a record of 64 KiB": {
      first: Uint8Array.of(0x16, 3, 1, 0xff, 0xff, ...new Uint8Array(65_535)),
    },
    "random bytes": MALFORMED["random bytes"]!,
    "HTTP in the clear": { first: formatRequest("/") },
    "alerts without end": {
      first: new Uint8Array(),
      then: repeated(times(FRAMES, () => Uint8Array.of(0x15, 3, 3, 0, 2, 1, 0))),
      everyMs: FLOOD_MS,
    },
  };
}
