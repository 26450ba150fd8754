/** A client of RFC 6455 by hand: it decides on every bit of a frame, and tells all that comes back. */
import { deflateRawSync, inflateRawSync } from "node:zlib";
import { readHead } from "../load/answer.ts";
import { Connection } from "../load/connection.ts";
import type { Target } from "../load/target.ts";
import { concat, formatRequest } from "./http.ts";

export const OPCODE = { more: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 } as const;

/** How long a handshake, and how long a case may take. */
const SLOW_MS = 60_000;

/** What is longer is told by its length and a checksum. */
const MAX_TOLD = 150;

/** The codes with which a server ends what it could go on with (RFC 6455, 7.4.1, and IANA's registry). */
export const AWAY = [1001, 1012];

const ENCODER = new TextEncoder();

export interface FrameOptions {
  readonly more?: true;
  /** The three reserved bits, as a number. */
  readonly reserved?: number;
}

/** A frame of a client; it is masked. */
export function frame(
  opcode: number,
  payload: string | Uint8Array = "",
  { more, reserved = 0 }: FrameOptions = {},
): Uint8Array<ArrayBuffer> {
  const data = typeof payload === "string" ? ENCODER.encode(payload) : payload;
  const mask = Uint8Array.of(0x37, 0xfa, 0x21, 0x3d);
  const first = (more ? 0 : 0x80) | reserved << 4 | opcode;
  return concat([
    Uint8Array.of(first),
    lengthOf(data.length),
    mask,
    data.map((byte, index) => byte ^ mask[index % 4]!),
  ]);
}

function lengthOf(length: number): Uint8Array {
  const field = new DataView(new ArrayBuffer(length < 126 ? 1 : length < 65_536 ? 3 : 9));
  field.setUint8(0, 0x80 | (length < 126 ? length : length < 65_536 ? 126 : 127));
  if (field.byteLength === 3) field.setUint16(1, length);
  if (field.byteLength === 9) field.setBigUint64(1, BigInt(length));
  return new Uint8Array(field.buffer);
}

/** The payload of a close: a code, and the bytes of a reason. */
export function closing(code: number, reason: string | Uint8Array = ""): Uint8Array<ArrayBuffer> {
  const data = typeof reason === "string" ? ENCODER.encode(reason) : reason;
  return concat([Uint8Array.of(code >> 8, code & 0xff), data]);
}

/** A message as it is told: `text hello`, `binary 00ff`, or its length and a checksum. */
export function told(kind: string, payload: string | Uint8Array): string {
  const data = typeof payload === "string" ? ENCODER.encode(payload) : payload;
  if (data.length > MAX_TOLD) {
    // FNV-1a
    const sum = data.reduce((hash, byte) => Math.imul(hash ^ byte, 0x01000193), 0x811c9dc5);
    return `${kind} of ${data.length} bytes, ${(sum >>> 0).toString(16)}`;
  }
  const text = kind === "binary" ? data.toHex() : new TextDecoder("latin1").decode(data);
  return `${kind} ${text}`.trimEnd();
}

/** A payload as permessage-deflate has it (RFC 7692, 7.2.1). */
export function deflated(data: Uint8Array): Uint8Array<ArrayBuffer> {
  // A flush that ends in an empty block, of which the last four bytes are not sent.
  return new Uint8Array(deflateRawSync(data, { finishFlush: 2 }).subarray(0, -4));
}

export class WebSocketWire implements Disposable {
  /** What the server has agreed to of the extensions that were offered. */
  readonly extensions: string | undefined;
  /** What came until the server has ended it; each message and control frame is one line. */
  readonly trace: Promise<string[]>;
  readonly #connection: Connection;
  #sending: Promise<void> = Promise.resolve();

  private constructor(connection: Connection, extensions: string | undefined) {
    this.#connection = connection;
    this.extensions = extensions;
    connection.endRequest();
    this.trace = this.#read();
  }

  static async open(target: Target, path = "/", offered?: string): Promise<WebSocketWire> {
    const connection = await Connection.open(target, SLOW_MS);
    try {
      connection.expectWithin(SLOW_MS);
      await connection.write(formatRequest(path, {
        headers: {
          upgrade: "websocket",
          connection: "Upgrade",
          "sec-websocket-version": "13",
          "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ==",
          ...offered !== undefined && { "sec-websocket-extensions": offered },
        },
      }));
      const { status, headers } = await readHead(connection);
      // The answer to that key is the example of RFC 6455, 1.3.
      const accepted = headers.get("sec-websocket-accept");
      if (status !== 101 || accepted !== "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=") {
        throw new Error(`No handshake: ${status} ${accepted}`);
      }
      return new WebSocketWire(connection, headers.get("sec-websocket-extensions"));
    } catch (error) {
      connection[Symbol.dispose]();
      throw error;
    }
  }

  /** Sends whole frames, in pieces of a size if one is given; who has gone hears nothing. */
  send(bytes: Uint8Array, chop = Infinity): Promise<void> {
    return this.#sending = this.#sending.then(async () => {
      for (let start = 0; start < bytes.length; start += chop) {
        await this.#connection.write(bytes.subarray(start, start + chop));
      }
    }).catch(() => {}); // The trace says how it ended.
  }

  /** From now on it has to come to an end. */
  expectEnd(): void {
    this.#connection.expectWithin(SLOW_MS);
  }

  /** A server that hears nothing for a while asks whether somebody is there, in the middle of a case too. */
  async #read(): Promise<string[]> {
    const lines: string[] = [];
    let message: { kind: string; zipped: boolean; pieces: Uint8Array[] } | undefined;
    try {
      for (;;) {
        const { first, payload } = await this.#frame();
        const opcode = first & 0x0f;
        if (opcode === OPCODE.ping) await this.send(frame(OPCODE.pong, payload));
        else if (opcode === OPCODE.close) {
          const [high, low] = payload;
          const code = high === undefined ? 0 : high << 8 | low!;
          lines.push(`close ${code}`);
          // A server that goes away waits for an answer; all others have had a close before.
          if (AWAY.includes(code)) await this.send(frame(OPCODE.close, payload.subarray(0, 2)));
        } else if (opcode === OPCODE.pong) lines.push(told("pong", payload));
        else {
          const zipped = (first & 0x40) !== 0;
          const kind = opcode === OPCODE.text ? "text" : "binary";
          if (opcode !== OPCODE.more) message = { kind, zipped, pieces: [] };
          if (message === undefined) throw new Error("A fragment of nothing");
          message.pieces.push(payload);
          if ((first & 0x80) === 0) continue;
          const whole = concat(message.pieces);
          lines.push(told(message.kind, message.zipped ? inflated(whole) : whole));
        }
      }
    } catch (error) {
      const { endedBy } = this.#connection;
      lines.push(endedBy === "peer" ? "end" : `silence: ${error}`);
    }
    return lines;
  }

  async #frame(): Promise<{ first: number; payload: Uint8Array<ArrayBuffer> }> {
    const [first, length] = await this.#bytes(2);
    if (length! > 127) throw new Error("A server must not mask");
    const field = length === 126 ? 2 : length === 127 ? 8 : 0;
    const size = (await this.#bytes(field)).reduce((sum, byte) => sum * 256 + byte, 0);
    return { first: first!, payload: await this.#bytes(field === 0 ? length! : size) };
  }

  async #bytes(count: number): Promise<Uint8Array<ArrayBuffer>> {
    const pieces: Uint8Array[] = [];
    for (let left = count; left > 0; left -= pieces.at(-1)!.length) {
      pieces.push(await this.#connection.readSome(left));
    }
    return concat(pieces);
  }

  [Symbol.dispose](): void {
    this.#connection[Symbol.dispose]();
  }
}

function inflated(data: Uint8Array): Uint8Array {
  return inflateRawSync(concat([data, Uint8Array.of(0, 0, 0xff, 0xff)]), { finishFlush: 2 });
}
