/** What both engines offer to the worker. */
import type { AccessLog } from "./access_log.ts";
import type { Fetcher } from "./app.ts";
import type { ClientAddress } from "./client_address.ts";
import type { Limits } from "./limits.ts";
import type { Traffic } from "./traffic.ts";
import type { UpgradeHooks } from "./web_socket.ts";

/** Accepts connections of one listener until told to stop. */
export interface Acceptor {
  /**
   * Stops accepting; connections that wait in the kernel's queue stay there for another worker.
   *
   * @returns settles when none can come any more, where that is not at once
   */
  stop(): void | Promise<void>;
}

/** What an engine needs to serve a listener. */
export interface ServeOptions {
  /** The handle that came over the runtime's IPC, or a listener of the runtime's own that ends TLS. */
  readonly handle: unknown;
  /** The listener's address, for `info.remoteAddr` of Unix sockets and for messages. */
  readonly address: string;
  readonly fetcher: Fetcher;
  readonly traffic: Traffic;
  /** Those of the config; the default is to have none that acts. */
  readonly limits?: Limits | undefined;
  /** Whether each connection begins with a PROXY header. */
  readonly proxyProtocol?: boolean | undefined;
  /** Reads who the client is, if there are proxies in front. */
  readonly proxies?: ClientAddress | undefined;
  /** Gets a record of every answer, if there is an access log. */
  readonly access?: AccessLog | undefined;
}

/** Serves HTTP on the listeners that it is given. */
export interface Engine {
  readonly name: "native" | "node";
  readonly upgrade: UpgradeHooks;
  serve(options: ServeOptions): Acceptor;
}
