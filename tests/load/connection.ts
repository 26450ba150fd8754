import type { Target } from "./target.ts";

/** No connection came about, so nothing was sent. */
export class ConnectFailed extends Error {}

/** The connection ended, or was ended by our deadline, before the whole answer was there. */
export class ConnectionEnded extends Error {}

/** What came is no HTTP/1.1 answer. */
export class MalformedAnswer extends Error {}

const READ_BYTES = 16_384;
const MAX_LINE_BYTES = 16_384;
const CR = 13;
const LF = 10;

/**
 * A connection of a virtual client, with reading by line and by byte. Every error of the socket
 * becomes `ConnectionEnded`, whatever it was: for the account only matters that no more will come.
 */
export class Connection implements Disposable {
  /** How many requests were answered whole on this connection. */
  answers = 0;
  #conn: Deno.Conn;
  #buffer = new Uint8Array(READ_BYTES);
  #start = 0;
  #end = 0;
  #answerBytes = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #endReason: string | undefined;

  constructor(conn: Deno.Conn) {
    this.#conn = conn;
  }

  /** Connects, or throws `ConnectFailed` when refused or when the deadline passes. */
  static async open(target: Target, deadlineMs: number): Promise<Connection> {
    const connecting = target.kind === "unix"
      ? Deno.connect({ transport: "unix", path: target.path })
      : target.ca === undefined
      ? Deno.connect({ hostname: target.hostname, port: target.port })
      : connectTls(target.hostname, target.port, target.ca);
    const late = Promise.withResolvers<"late">();
    const timer = setTimeout(() => late.resolve("late"), deadlineMs);
    try {
      const conn = await Promise.race([connecting, late.promise]);
      if (conn !== "late") return new Connection(conn);
      connecting.then((tooLate) => tooLate.close(), () => {});
    } catch (error) {
      throw new ConnectFailed(textOf(error), { cause: error });
    } finally {
      clearTimeout(timer);
    }
    throw new ConnectFailed(`no connection within ${deadlineMs} ms`);
  }

  /** How many bytes of the answer to the present request have come. */
  get answerBytes(): number {
    return this.#answerBytes;
  }

  /** Who ended the connection: our deadline, or else the peer. */
  get endedBy(): "deadline" | "peer" {
    return this.#endReason === undefined ? "peer" : "deadline";
  }

  /** Bytes that were read and that nobody has asked for yet. */
  get bufferedBytes(): number {
    return this.#end - this.#start;
  }

  /** Starts the account of a new request. */
  beginRequest(deadlineMs: number): void {
    this.#answerBytes = this.bufferedBytes;
    this.expectWithin(deadlineMs);
  }

  /** From now on the connection is cut after so many milliseconds, unless this is called again. */
  expectWithin(deadlineMs: number): void {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#close(`no whole answer within ${deadlineMs} ms`);
    }, deadlineMs);
  }

  /** The request was answered whole. */
  endRequest(): void {
    clearTimeout(this.#timer);
    this.answers += 1;
  }

  async write(bytes: Uint8Array): Promise<void> {
    try {
      for (let sent = 0; sent < bytes.byteLength;) {
        sent += await this.#conn.write(bytes.subarray(sent));
      }
    } catch (error) {
      throw this.#ended(textOf(error), error);
    }
  }

  /** Reads a line that ends in CRLF, and returns it without. */
  async readLine(): Promise<string> {
    for (let from = 0;;) {
      const at = this.#buffer.subarray(this.#start, this.#end).indexOf(LF, from);
      if (at > 0 && this.#buffer[this.#start + at - 1] === CR) {
        const line = this.#take(at + 1).subarray(0, -2);
        return LATIN1.decode(line);
      }
      if (at >= 0) throw new MalformedAnswer("a line ends in a bare LF");
      from = this.bufferedBytes;
      if (from > MAX_LINE_BYTES) throw new MalformedAnswer("a line is too long");
      if (!await this.#fill()) {
        throw this.#ended(
          from > 0 ? "closed in the middle of a line" : "closed where a line was due",
        );
      }
    }
  }

  /** Reads at least one and at most `most` bytes. */
  async readSome(most: number): Promise<Uint8Array> {
    const bytes = await this.readSomeOrEnd(most);
    if (bytes === undefined) throw this.#ended(`closed, ${most} bytes short`);
    return bytes;
  }

  /** Reads at least one and at most `most` bytes; `undefined` when the peer has closed in order. */
  async readSomeOrEnd(most: number): Promise<Uint8Array | undefined> {
    if (this.bufferedBytes === 0 && !await this.#fill()) return undefined;
    return this.#take(Math.min(most, this.bufferedBytes));
  }

  [Symbol.dispose](): void {
    this.#close("closed by the client");
  }

  #take(bytes: number): Uint8Array {
    const taken = this.#buffer.slice(this.#start, this.#start + bytes);
    this.#start += bytes;
    return taken;
  }

  async #fill(): Promise<boolean> {
    if (this.#start > 0) {
      this.#buffer.copyWithin(0, this.#start, this.#end);
      this.#end -= this.#start;
      this.#start = 0;
    }
    if (this.#end === this.#buffer.byteLength) {
      const larger = new Uint8Array(this.#buffer.byteLength * 2);
      larger.set(this.#buffer);
      this.#buffer = larger;
    }
    let count: number | null;
    try {
      count = await this.#conn.read(this.#buffer.subarray(this.#end));
    } catch (error) {
      throw this.#ended(textOf(error), error);
    }
    if (count === null) {
      if (this.#endReason !== undefined) throw this.#ended(this.#endReason);
      return false;
    }
    this.#end += count;
    this.#answerBytes += count;
    return true;
  }

  #ended(reason: string, cause?: unknown): ConnectionEnded {
    return new ConnectionEnded(this.#endReason ?? reason, { cause });
  }

  #close(reason: string): void {
    clearTimeout(this.#timer);
    if (this.#endReason !== undefined) return;
    this.#endReason = reason;
    this.#conn.close();
  }
}

/** There is a connection when there is one to send requests on. */
async function connectTls(hostname: string, port: number, ca: string): Promise<Deno.Conn> {
  const options = { hostname, port, caCerts: [ca], alpnProtocols: ["http/1.1"] };
  const connection = await Deno.connectTls(options);
  await connection.handshake();
  return connection;
}

const LATIN1 = new TextDecoder("latin1");

function textOf(error: unknown): string {
  return error instanceof Error ? `${error.name}: ${error.message}` : String(error);
}
