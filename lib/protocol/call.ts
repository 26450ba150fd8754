/**
 * Frames on a lane between a worker and a helper: twelve bytes of header (a 4-byte big-endian length
 * of what follows it, one byte of kind, three that are zero, a 4-byte number of the call), then the
 * payload. Bytes that an app passes go as they are, behind a head of JSON that says where they belong.
 *
 * Neither end trusts the other: a length is checked before anything is allocated for it, a head
 * against a schema, and both ends check which frame is allowed when.
 */
import * as z from "zod/mini";
import { Violation } from "./violation.ts";

const HEADER_BYTES = 12;
const LENGTH_BYTES = 4;
const STREAM_BYTES = 2;

/** A payload up to here is copied: one write of it is cheaper than several. */
const MAX_COPIED_BYTES = 16 * 1024;

const ENCODER = new TextEncoder();
const DECODER = new TextDecoder("utf-8", { fatal: true });

/** The longest payload: a call with its bytes, without streams. */
export const MAX_CALL_BYTES = 32 * 1024 * 1024;

/** The longest head. */
const MAX_HEAD_BYTES = 1024 * 1024;

/** How many byte arrays and streams a value may hold, how many streams of them, and how deep it may be nested. */
const MAX_PARTS = 64;
const MAX_STREAMS = 4;
const MAX_DEPTH = 32;

/** The longest message of a failure, in UTF-16 code units. */
export const MAX_FAILURE_CHARS = 1_000;

/** How much of a stream may be on its way that its reader has not taken yet. */
export const STREAM_WINDOW_BYTES = 256 * 1024;

/** The longest piece of a stream. */
export const MAX_CHUNK_BYTES = 64 * 1024;

/** The least that a piece counts: a queue of many short ones needs more memory than their bytes. */
export const MIN_CHUNK_COST = 1024;

/** What a piece takes of the window. */
export function costOfChunk({ length }: Uint8Array): number {
  return Math.max(length, MIN_CHUNK_COST);
}

/**
 * How many unfinished calls a lane takes, and how many bytes of them. A worker holds further calls back; a
 * helper refuses them and keeps reading: the pieces of streams that calls wait for come the same way.
 */
export const MAX_LANE_CALLS = 64;
export const MAX_LANE_BYTES = 64 * 1024 * 1024;

/** How much output may wait for a worker to read it, before its helper stops working for it. */
export const MAX_WAITING_BYTES = 8 * 1024 * 1024;

const KINDS = {
  /** From the helper, first: which methods it has. */
  hello: 1,
  call: 2,
  result: 3,
  failed: 4,
  /** From the worker: the caller no longer waits. */
  cancel: 5,
  /** A piece of a stream, behind two bytes that number the stream within its call. */
  chunk: 6,
  end: 7,
  /** More of a stream may be sent. */
  credit: 8,
} as const;

/** What a frame is. */
export type CallKind = keyof typeof KINDS;

const KIND_NAMES: ReadonlyMap<number, CallKind> = new Map(
  Object.entries(KINDS).map(([name, kind]) => [kind, name as CallKind]),
);

/** A frame. */
export interface CallFrame {
  readonly kind: CallKind;
  /** Which call; 0 for `hello`. */
  readonly id: number;
  readonly payload: Uint8Array<ArrayBuffer>;
}

/** A frame as the pieces to be written; what is long is not copied. */
export function encodeCallFrame(
  kind: CallKind,
  id: number,
  ...payload: Uint8Array[]
): Uint8Array[] {
  const length = payload.reduce((sum, { length }) => sum + length, 0);
  if (length <= MAX_COPIED_BYTES) {
    const frame = new Uint8Array(HEADER_BYTES + length);
    writeHeader(frame, kind, id, length);
    let at = HEADER_BYTES;
    for (const piece of payload) {
      frame.set(piece, at);
      at += piece.length;
    }
    return [frame];
  }
  const header = new Uint8Array(HEADER_BYTES);
  writeHeader(header, kind, id, length);
  return [header, ...payload];
}

function writeHeader(header: Uint8Array, kind: CallKind, id: number, length: number): void {
  const view = new DataView(header.buffer);
  view.setUint32(0, length);
  header[LENGTH_BYTES] = KINDS[kind];
  view.setUint32(8, id);
}

/** Cuts a stream of bytes into frames and holds at most one. */
export class CallFrameReader {
  readonly #header = new Uint8Array(HEADER_BYTES);
  #headerLength = 0;
  #payload: Uint8Array<ArrayBuffer> | undefined;
  #length = 0;

  /** Whether a frame is incomplete. */
  get partial(): boolean {
    return this.#headerLength > 0;
  }

  /**
   * Yields every frame that `chunk` completes.
   *
   * @throws {Violation} for one that is too long, or of no kind
   */
  *push(chunk: Uint8Array): Generator<CallFrame, void> {
    let rest = chunk;
    while (rest.length > 0) {
      if (this.#payload === undefined) {
        const piece = rest.subarray(0, HEADER_BYTES - this.#headerLength);
        this.#header.set(piece, this.#headerLength);
        this.#headerLength += piece.length;
        rest = rest.subarray(piece.length);
        if (this.#headerLength < HEADER_BYTES) return;
        this.#payload = new Uint8Array(this.#checkHeader());
        this.#length = 0;
      }
      const piece = rest.subarray(0, this.#payload.length - this.#length);
      this.#payload.set(piece, this.#length);
      this.#length += piece.length;
      rest = rest.subarray(piece.length);
      if (this.#length < this.#payload.length) return;
      const frame = {
        kind: KIND_NAMES.get(this.#header[LENGTH_BYTES]!)!,
        id: new DataView(this.#header.buffer).getUint32(8),
        payload: this.#payload,
      };
      this.#payload = undefined;
      this.#headerLength = 0;
      yield frame;
    }
  }

  #checkHeader(): number {
    const length = new DataView(this.#header.buffer).getUint32(0);
    // The peer chooses this number, so it is checked before anything is allocated for it.
    if (length > MAX_CALL_BYTES) {
      throw new Violation("frame_too_long", `${length} bytes, allowed are ${MAX_CALL_BYTES}`);
    }
    const [kind, ...zero] = this.#header.subarray(LENGTH_BYTES, 8);
    if (!KIND_NAMES.has(kind!) || zero.some((byte) => byte !== 0)) {
      throw new Violation("bad_message", `a frame of no kind: ${kind}`);
    }
    return length;
  }
}

const Index = z.int().check(z.minimum(0));
const Path = z.array(z.union([z.string(), Index])).check(z.maxLength(MAX_DEPTH));

const WireFields = {
  /** JSON, with `null` in place of each part; absent for `undefined`. */
  value: z.optional(z.unknown()),
  /** Where each part goes: a number of the bytes behind the head, or the stream of a number. */
  parts: z.array(z.union([
    z.strictObject({ path: Path, bytes: Index }),
    z.strictObject({ path: Path, stream: Index.check(z.maximum(MAX_STREAMS - 1)) }),
  ])).check(z.maxLength(MAX_PARTS)),
};

/** The longest name of a method, in UTF-16 code units. */
export const MAX_NAME_CHARS = 64;

const Name = z.string().check(z.minLength(1), z.maxLength(MAX_NAME_CHARS));

/** The head of a `call`. */
export const CallHead = z.strictObject({
  method: Name,
  /** How long the caller waits, in milliseconds. */
  timeoutMs: Index,
  ...WireFields,
});

/** The head of a `result`. */
export const ResultHead = z.strictObject(WireFields);

export const Failure = z.strictObject({
  code: z.enum([
    ...["helper_unknown", "helper_bad_input", "helper_bad_output", "helper_failed"] as const,
    "helper_busy",
  ]),
  message: z.string().check(z.maxLength(MAX_FAILURE_CHARS)),
});
export type Failure = z.infer<typeof Failure>;

export const HelloMethods = z.strictObject({
  methods: z.record(Name, z.strictObject({ retry: z.enum(["safe", "never"]) })),
});
export type HelloMethods = z.infer<typeof HelloMethods>["methods"];

export const StreamEnd = z.strictObject({
  stream: Index,
  /** Why it broke, if it did. */
  error: z.optional(z.string().check(z.maxLength(MAX_FAILURE_CHARS))),
});

export const StreamCredit = z.strictObject({ stream: Index, bytes: Index });

/** Says why a value cannot be sent. */
export class NotSerializable extends Error {}

/** A value as it goes over the wire: JSON, and the bytes and streams beside it. */
export interface WireValue {
  readonly value: unknown;
  readonly parts: readonly ({ path: (string | number)[]; bytes: number } | {
    path: (string | number)[];
    stream: number;
  })[];
  readonly bytes: readonly Uint8Array[];
  readonly streams: readonly ReadableStream<Uint8Array>[];
}

/**
 * Serializes a value: bytes and streams, which JSON cannot hold, go beside it.
 *
 * @throws {NotSerializable} if it is nested too deep, holds too many parts, or one that cannot be sent
 */
export function serialize(value: unknown): WireValue {
  const parts: WireValue["parts"][number][] = [];
  const bytes: Uint8Array[] = [];
  const streams: ReadableStream<Uint8Array>[] = [];
  function walk(value: unknown, path: (string | number)[]): unknown {
    if (typeof value !== "object" || value === null) return value;
    if (path.length > MAX_DEPTH) {
      throw new NotSerializable(`Nested deeper than ${MAX_DEPTH} levels`);
    }
    if (value instanceof Uint8Array) {
      parts.push({ path, bytes: value.length });
      bytes.push(value);
    } else if (value instanceof ReadableStream) {
      if (value.locked || streams.includes(value)) {
        throw new NotSerializable("A stream in it is read elsewhere already");
      }
      if (streams.length === MAX_STREAMS) {
        throw new NotSerializable(`More than ${MAX_STREAMS} streams`);
      }
      parts.push({ path, stream: streams.length });
      streams.push(value);
    } else if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) {
      throw new NotSerializable("Bytes in it are not a Uint8Array");
    } else if (Array.isArray(value)) {
      return value.map((each, index) => walk(each, [...path, index]));
    } else if (typeof (value as { toJSON?: unknown }).toJSON === "function") {
      return value;
    } else {
      return Object.fromEntries(
        Object.entries(value).map(([key, each]) => [key, walk(each, [...path, key])]),
      );
    }
    if (parts.length > MAX_PARTS) throw new NotSerializable(`More than ${MAX_PARTS} parts`);
    return null;
  }
  return { value: walk(value, []), parts, bytes, streams };
}

/**
 * A head and the bytes that follow it, as a payload.
 *
 * @throws {NotSerializable} if it is too long, or JSON cannot hold it
 */
export function encodeHead(head: unknown, bytes: readonly Uint8Array[] = []): Uint8Array[] {
  const text = encodeJson(head);
  if (text.length > MAX_HEAD_BYTES) {
    throw new NotSerializable(`${text.length} bytes of JSON, allowed are ${MAX_HEAD_BYTES}`);
  }
  const total = bytes.reduce((sum, { length }) => sum + length, LENGTH_BYTES + text.length);
  if (total > MAX_CALL_BYTES) {
    throw new NotSerializable(`${total} bytes, allowed are ${MAX_CALL_BYTES}; pass a stream`);
  }
  const length = new Uint8Array(LENGTH_BYTES + text.length);
  new DataView(length.buffer).setUint32(0, text.length);
  length.set(text, LENGTH_BYTES);
  return [length, ...bytes];
}

/**
 * JSON as a payload.
 *
 * @throws {NotSerializable} if the value is none, such as a `bigint`
 */
export function encodeJson(value: unknown): Uint8Array<ArrayBuffer> {
  try {
    return ENCODER.encode(JSON.stringify(value));
  } catch (error) {
    throw new NotSerializable(error instanceof Error ? error.message : "It is not JSON");
  }
}

/**
 * The head of a payload, checked, and what follows it.
 *
 * @throws {Violation} if it does not match the schema
 */
export function decodeHead<Head>(
  schema: z.ZodMiniType<Head>,
  payload: Uint8Array<ArrayBuffer>,
): { head: Head; rest: Uint8Array<ArrayBuffer> } {
  const length = payload.length < LENGTH_BYTES ? Infinity : viewOf(payload).getUint32(0);
  if (length > MAX_HEAD_BYTES || LENGTH_BYTES + length > payload.length) {
    throw new Violation("bad_message", `a head of ${length} bytes in ${payload.length}`);
  }
  const rest = payload.subarray(LENGTH_BYTES + length);
  return { head: decodeJson(schema, payload.subarray(LENGTH_BYTES, LENGTH_BYTES + length)), rest };
}

/**
 * A payload that is JSON alone, checked.
 *
 * @throws {Violation} if it is not, or not of this schema
 */
export function decodeJson<Value>(schema: z.ZodMiniType<Value>, payload: Uint8Array): Value {
  let value: unknown;
  try {
    value = JSON.parse(DECODER.decode(payload));
  } catch {
    throw new Violation("frame_not_json", `${payload.length} bytes`);
  }
  const parsed = schema.safeParse(value);
  if (!parsed.success) throw new Violation("bad_message", z.prettifyError(parsed.error));
  return parsed.data;
}

/**
 * Deserializes a value.
 *
 * @param rest the bytes behind the head; the value's arrays are views into it
 * @param openStream makes the stream of a number
 * @throws {Violation} if the parts do not fit the value or the bytes
 */
export function deserialize(
  { value, parts }: z.infer<typeof ResultHead>,
  rest: Uint8Array<ArrayBuffer>,
  openStream: (stream: number) => ReadableStream<Uint8Array>,
): unknown {
  const root = { value };
  let at = 0;
  const seen = new Set<number>();
  for (const part of parts) {
    if ("stream" in part) {
      if (seen.has(part.stream)) throw new Violation("bad_message", "one stream in two places");
      seen.add(part.stream);
      insertPart(root, ["value", ...part.path], openStream(part.stream));
    } else {
      if (at + part.bytes > rest.length) throw new Violation("bad_message", "too few bytes");
      insertPart(root, ["value", ...part.path], rest.subarray(at, at + part.bytes));
      at += part.bytes;
    }
  }
  if (at !== rest.length) throw new Violation("bad_message", `${rest.length - at} bytes too many`);
  return root.value;
}

/** Inserts a part, only where the value has a `null`. */
function insertPart(root: object, path: readonly (string | number)[], part: unknown): void {
  let holder: unknown = root;
  for (const [index, key] of path.entries()) {
    if (typeof holder !== "object" || holder === null || !Object.hasOwn(holder, key)) break;
    const fields = holder as Record<string | number, unknown>;
    if (index === path.length - 1 && fields[key] === null) {
      // Not by assignment: a key may be `__proto__`.
      Object.defineProperty(fields, key, { value: part });
      return;
    }
    holder = fields[key];
  }
  throw new Violation("bad_message", `a part belongs at ${JSON.stringify(path.slice(1))}`);
}

/** A piece of a stream as a payload. */
export function encodeChunk(stream: number, bytes: Uint8Array): Uint8Array[] {
  const number = new Uint8Array(STREAM_BYTES);
  new DataView(number.buffer).setUint16(0, stream);
  return [number, bytes];
}

/**
 * The stream and the bytes of a `chunk`.
 *
 * @throws {Violation} if it is too short or too long
 */
export function decodeChunk(payload: Uint8Array<ArrayBuffer>) {
  if (payload.length <= STREAM_BYTES || payload.length > STREAM_BYTES + MAX_CHUNK_BYTES) {
    throw new Violation("bad_message", `a piece of ${payload.length} bytes`);
  }
  return { stream: viewOf(payload).getUint16(0), bytes: payload.subarray(STREAM_BYTES) };
}

function viewOf(bytes: Uint8Array<ArrayBuffer>): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
}
