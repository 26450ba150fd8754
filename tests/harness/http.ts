/** HTTP/1.1 by hand, for what `fetch` does not let a client do. */
import { type AnswerHead, readBody, readHead } from "../load/answer.ts";
import { Connection, ConnectionEnded } from "../load/connection.ts";
import type { Target } from "../load/target.ts";
import { PATIENCE_MS } from "./wait.ts";

const ENCODER = new TextEncoder();

/** An answer, whole. */
export interface WireAnswer extends AnswerHead {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly text: string;
}

/** What a request is made of; `host` and the framing of a body are filled in. */
export interface WireRequest {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly body?: string | Uint8Array;
}

/** The bytes of a request, its body in one piece. */
export function formatRequest(path: string, request: WireRequest = {}): Uint8Array {
  const { method = "GET", headers = {}, body } = request;
  const bytes = typeof body === "string" ? ENCODER.encode(body) : body;
  const fields = {
    host: "holdfast.test",
    ...bytes && { "content-length": String(bytes.length) },
    ...headers,
  };
  const lines = Object.entries(fields).map(([name, value]) => `${name}: ${value}\r\n`);
  return concat([ENCODER.encode(`${method} ${path} HTTP/1.1\r\n${lines.join("")}\r\n`), bytes]);
}

/** One chunk of a chunked body; an empty one ends it. */
export function formatChunk(data: string | Uint8Array): Uint8Array {
  const bytes = typeof data === "string" ? ENCODER.encode(data) : data;
  const size = ENCODER.encode(`${bytes.length.toString(16)}\r\n`);
  return concat([size, bytes, ENCODER.encode("\r\n")]);
}

/** Pieces put together. */
export function concat(pieces: Iterable<Uint8Array | undefined>): Uint8Array<ArrayBuffer> {
  const parts = [...pieces].filter((piece) => piece !== undefined);
  const whole = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let offset = 0;
  for (const part of parts) {
    whole.set(part, offset);
    offset += part.length;
  }
  return whole;
}

/** A connection of a client that decides on every byte; no wait on it is endless. */
export class Wire implements Disposable {
  readonly #connection: Connection;

  constructor(connection: Connection) {
    this.#connection = connection;
    connection.expectWithin(PATIENCE_MS);
  }

  /** Connects to a port of this machine, or to a Unix socket by its path. */
  static async open(place: number | string): Promise<Wire> {
    const target: Target = typeof place === "number"
      ? { kind: "tcp", hostname: "127.0.0.1", port: place }
      : { kind: "unix", path: place };
    return new Wire(await Connection.open(target, PATIENCE_MS));
  }

  async write(data: string | Uint8Array): Promise<void> {
    await this.#connection.write(typeof data === "string" ? ENCODER.encode(data) : data);
  }

  /** Sends a request and waits for its whole answer. */
  async ask(path: string, request: WireRequest = {}): Promise<WireAnswer> {
    await this.write(formatRequest(path, request));
    return await this.answer(request.method);
  }

  /** Reads a whole answer; a HEAD's has no body, whatever its headers say. */
  async answer(method = "GET"): Promise<WireAnswer> {
    const head = await this.head();
    const pieces = method === "HEAD" ? [] : await Array.fromAsync(this.body(head));
    const bytes = concat(pieces);
    return { ...head, bytes, text: new TextDecoder().decode(bytes) };
  }

  /** Reads status and headers. */
  async head(): Promise<AnswerHead> {
    this.#connection.expectWithin(PATIENCE_MS);
    return await readHead(this.#connection);
  }

  /** The pieces of a body; it throws if the body ends before its end. */
  body(head: AnswerHead): AsyncGenerator<Uint8Array, void> {
    return readBody(this.#connection, head.framing);
  }

  /** Reads one line, without its end. */
  async line(): Promise<string> {
    return await this.#connection.readLine();
  }

  /** Reads so many bytes. */
  async bytes(count: number): Promise<Uint8Array> {
    const pieces: Uint8Array[] = [];
    for (let left = count; left > 0; left -= pieces.at(-1)!.length) {
      pieces.push(await this.#connection.readSome(left));
    }
    return concat(pieces);
  }

  /** Waits for the end: `closed` is a FIN with nothing before it, `reset` is the other way. */
  async ended(): Promise<"closed" | "reset" | "more"> {
    this.#connection.expectWithin(PATIENCE_MS);
    try {
      return await this.#connection.readSomeOrEnd(1) === undefined ? "closed" : "more";
    } catch (error) {
      if (error instanceof ConnectionEnded && this.#connection.endedBy === "peer") return "reset";
      throw error;
    }
  }

  [Symbol.dispose](): void {
    this.#connection[Symbol.dispose]();
  }
}
