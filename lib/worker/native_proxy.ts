/** The PROXY header of a connection, read off its stream before HTTP sees it. */
import { ConnectionWatch } from "./limits.ts";
import { parseProxyHeader, type ProxyHeader } from "./proxy_header.ts";
import type { Connection } from "./traffic.ts";

/** The part of the runtime's core that is used. */
interface Core {
  read(rid: number, into: Uint8Array): Promise<number>;
  tryClose(rid: number): void;
}

/** A connection of which the header is not there yet. */
export class ProxiedConnection implements Connection {
  readonly inFlight = 0;
  readonly idleSinceMs = performance.now();
  readonly closeAnnounced = false;
  readonly uploading = false;
  readonly watch = new ConnectionWatch();
  readonly #core: Core;
  readonly #stream: number;

  constructor(core: Core, stream: number) {
    this.#core = core;
    this.#stream = stream;
  }

  /**
   * Reads the header, and not a byte of what follows it.
   *
   * @returns nothing if the connection has ended without a word
   */
  async readHeader(): Promise<ProxyHeader | undefined> {
    let bytes = new Uint8Array(0);
    for (;;) {
      const header = parseProxyHeader(bytes);
      if (header.kind !== "partial") return header;
      const more = new Uint8Array(header.least);
      more.set(bytes);
      const got = await this.#core.read(this.#stream, more.subarray(bytes.length));
      if (got === 0) {
        return bytes.length === 0 ? undefined : { kind: "invalid", reason: "it is cut off" };
      }
      bytes = more.subarray(0, bytes.length + got) as Uint8Array<ArrayBuffer>;
    }
  }

  close(): void {
    this.#core.tryClose(this.#stream);
  }

  cut(): void {
    this.close();
  }
}
