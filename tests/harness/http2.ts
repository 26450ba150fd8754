/**
 * A busy client of HTTP/2 by hand (RFC 9113), for what no ready-made one leaves to a test: it asks on
 * until it is told to go, says nothing itself when it is, and accounts for every request.
 */
import { concat } from "./http.ts";
import { PATIENCE_MS } from "./wait.ts";

export const PREFACE = new TextEncoder().encode("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n");
export const TYPE = {
  data: 0,
  headers: 1,
  priority: 2,
  reset: 3,
  settings: 4,
  push: 5,
  ping: 6,
  goAway: 7,
  window: 8,
  continuation: 9,
} as const;
const ACK = 1;
export const END_STREAM = 1;
const END_STREAM_AND_HEADERS = 5;

/** RFC 7541: a literal of an indexed name, such as 4 for `:path`. */
export function literal(name: number, value: string): Uint8Array {
  return concat([Uint8Array.of(0x40 | name, value.length), new TextEncoder().encode(value)]);
}

/** RFC 7541: `:method: GET`, `:scheme: http`, `:path: /`, and `:authority: h` as a literal. */
export const GET = Uint8Array.of(0x82, 0x86, 0x84, 0x41, 1, 0x68);
/** And `:status: 200`, as the first byte of an answer's headers. */
const STATUS_200 = 0x88;

/** RFC 9113, 4.1. */
export function frame(
  type: number,
  flags: number,
  stream: number,
  payload: Uint8Array = new Uint8Array(),
): Uint8Array {
  const header = new Uint8Array(9);
  const view = new DataView(header.buffer);
  view.setUint32(0, payload.length << 8 | type);
  view.setUint8(4, flags);
  view.setUint32(5, stream);
  return concat([header, payload]);
}

export class BusyHttp2Client {
  /** Requests that were answered whole. */
  answered = 0;
  /** Whether the server asked it to go. */
  told = false;
  /** Requests that the server took and did not answer whole; complete when it has ended. */
  readonly lost: string[] = [];
  /** When the server has ended the connection. */
  readonly ended: Promise<void>;
  readonly #connection: Deno.TcpConn | Deno.TlsConn;
  readonly #text: string;
  /** What came of each answer so far, by its stream. */
  readonly #open = new Map<number, string>();
  #nextStream = 1;
  #lastTaken = Infinity;
  #writing: Promise<unknown> = Promise.resolve();

  private constructor(connection: Deno.TcpConn | Deno.TlsConn, text: string, streams: number) {
    this.#connection = connection;
    this.#text = text;
    this.#send(PREFACE, frame(TYPE.settings, 0, 0, new Uint8Array()));
    for (let index = 0; index < streams; index++) this.#ask();
    this.ended = this.#run();
  }

  /**
   * Asks for `/`, so many times at once, over and over; each answer is to be 200 and this text.
   *
   * @param ca trusted, in PEM, where it is to be asked over TLS
   */
  static async open(
    port: number,
    text: string,
    streams: number,
    ca?: string,
  ): Promise<BusyHttp2Client> {
    const place = { hostname: "127.0.0.1", port };
    const connection = ca === undefined
      ? await Deno.connect(place)
      : await Deno.connectTls({ ...place, caCerts: [ca], alpnProtocols: ["h2"] });
    return new BusyHttp2Client(connection, text, streams);
  }

  #send(...pieces: Uint8Array[]): void {
    const { writable } = this.#connection;
    this.#writing = this.#writing.then(async () => {
      const writer = writable.getWriter();
      await writer.write(concat(pieces)).finally(() => writer.releaseLock());
    }).catch(() => {}); // What was not sent was not taken; the reader hears of the end.
  }

  #ask(): void {
    const stream = this.#nextStream;
    this.#nextStream += 2;
    this.#open.set(stream, "");
    this.#send(frame(TYPE.headers, END_STREAM_AND_HEADERS, stream, GET));
  }

  async #run(): Promise<void> {
    const late = setTimeout(() => this.#connection.close(), 2 * PATIENCE_MS);
    let bytes = new Uint8Array();
    try {
      for await (const piece of this.#connection.readable) {
        bytes = this.#take(concat([bytes, piece]));
      }
    } catch (error) {
      this.lost.push(`the connection: ${error}`);
    }
    clearTimeout(late);
    await this.#writing;
    await this.#connection.writable.close().catch(() => {});
    // RFC 9113, 6.8: what has a higher number was not taken, and may be asked elsewhere.
    for (const [stream, text] of this.#open) {
      if (stream <= this.#lastTaken) this.lost.push(`stream ${stream}, after ${text || "nothing"}`);
    }
  }

  /** Takes whole frames, and gives what is left. */
  #take(bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
    while (bytes.length >= 9) {
      const view = new DataView(bytes.buffer, bytes.byteOffset);
      const end = 9 + (view.getUint32(0) >>> 8);
      if (bytes.length < end) break;
      this.#hear(view.getUint8(3), view.getUint8(4), view.getUint32(5), bytes.slice(9, end));
      bytes = bytes.slice(end);
    }
    return bytes;
  }

  #hear(type: number, flags: number, stream: number, payload: Uint8Array<ArrayBuffer>): void {
    if (type === TYPE.settings && flags !== ACK) {
      this.#send(frame(TYPE.settings, ACK, 0, new Uint8Array()));
    }
    if (type === TYPE.ping && flags !== ACK) this.#send(frame(TYPE.ping, ACK, 0, payload));
    if (type === TYPE.goAway) {
      this.told = true;
      this.#lastTaken = new DataView(payload.buffer).getUint32(0);
    }
    if (type === TYPE.reset) this.#add(stream, " reset");
    if (type === TYPE.headers) this.#add(stream, payload[0] === STATUS_200 ? "200 " : "other ");
    if (type === TYPE.data) this.#add(stream, new TextDecoder().decode(payload));
    const ends = type === TYPE.headers || type === TYPE.data;
    if (!ends || (flags & END_STREAM) === 0) return;
    if (this.#open.get(stream) !== `200 ${this.#text}`) return;
    this.#open.delete(stream);
    this.answered++;
    if (!this.told) this.#ask();
  }

  #add(stream: number, text: string): void {
    this.#open.set(stream, (this.#open.get(stream) ?? "") + text);
  }
}
