/** A connection of a raw server, as its script sees it. */
export interface RawConnection {
  /** How many connections came before this one. */
  index: number;
  /** Reads until the head of a request is there, and returns it. */
  readHead(): Promise<string>;
  /** Reads until so many bytes have come since the last head. */
  readBytes(count: number): Promise<void>;
  write(text: string): Promise<void>;
  /** Waits until the client closes. */
  waitForEnd(): Promise<void>;
}

/** A TCP server that answers by a script, to misbehave in exactly one way. */
export class RawServer implements AsyncDisposable {
  readonly target: string;
  #listener: Deno.Listener;
  #serving: Promise<void>;
  #conns = new Set<Deno.Conn>();
  #errors: unknown[] = [];

  /** The connection is closed when the script returns; with a reset, if it left bytes unread. */
  constructor(script: (connection: RawConnection) => Promise<void>, unixPath?: string) {
    if (unixPath === undefined) {
      const listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
      this.target = `127.0.0.1:${listener.addr.port}`;
      this.#listener = listener;
    } else {
      this.target = `unix:${unixPath}`;
      this.#listener = Deno.listen({ transport: "unix", path: unixPath });
    }
    this.#serving = this.#serve(script);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    const open = [...this.#conns];
    this.#conns.clear(); // so that a script that now ends does not close its connection again
    for (const conn of open) conn.close();
    await this.#serving;
    if (this.#errors.length > 0) throw this.#errors[0];
  }

  async #serve(script: (connection: RawConnection) => Promise<void>): Promise<void> {
    const running: Promise<void>[] = [];
    for await (const conn of this.#listener) running.push(this.#run(conn, running.length, script));
    await Promise.all(running);
  }

  async #run(
    conn: Deno.Conn,
    index: number,
    script: (connection: RawConnection) => Promise<void>,
  ): Promise<void> {
    this.#conns.add(conn);
    try {
      await script(rawConnection(conn, index));
    } catch (error) {
      const isClientGone = error instanceof ClientGone || !this.#conns.has(conn);
      if (!isClientGone) this.#errors.push(error);
    } finally {
      if (this.#conns.delete(conn)) conn.close();
    }
  }
}

class ClientGone extends Error {}

function rawConnection(conn: Deno.Conn, index: number): RawConnection {
  const decoder = new TextDecoder("latin1");
  let text = "";
  const readMore = async () => {
    const buffer = new Uint8Array(16_384);
    const count = await conn.read(buffer).catch(() => null);
    if (count === null) throw new ClientGone();
    text += decoder.decode(buffer.subarray(0, count));
  };
  return {
    index,
    async readHead() {
      while (!text.includes("\r\n\r\n")) await readMore();
      const end = text.indexOf("\r\n\r\n") + 4;
      const head = text.slice(0, end);
      text = text.slice(end);
      return head;
    },
    async readBytes(count) {
      while (text.length < count) await readMore();
      text = text.slice(count);
    },
    async write(answer) {
      const bytes = new TextEncoder().encode(answer);
      try {
        for (let sent = 0; sent < bytes.byteLength;) sent += await conn.write(bytes.subarray(sent));
      } catch (error) {
        throw new ClientGone("Cannot write: the client is gone", { cause: error });
      }
    },
    async waitForEnd() {
      try {
        while (true) await readMore();
      } catch (error) {
        if (!(error instanceof ClientGone)) throw error;
      }
    },
  };
}
