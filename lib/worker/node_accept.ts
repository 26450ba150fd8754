/** Accepts sockets for `node:http`, within the limits, and reads their PROXY headers. */
import { Buffer } from "node:buffer";
import net from "node:net";
import { keepServing } from "../base/keep_accepting.ts";
import type { Acceptor, ServeOptions } from "./engine.ts";
import { Gate } from "./gate.ts";
import { ConnectionWatch, type Limits } from "./limits.ts";
import { parseProxyHeader, type ProxyHeader } from "./proxy_header.ts";
import type { Connection } from "./traffic.ts";

export interface AcceptOptions
  extends Pick<ServeOptions, "handle" | "address" | "traffic" | "proxies" | "proxyProtocol"> {
  readonly limits: Limits;
}

/** What a Unix socket's clients are told beyond the limit: their connections cannot wait in the kernel. */
const BUSY = "HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\n" +
  "connection: close\r\n\r\n";

/** Who a connection is from, by its PROXY header. */
const NAMED = new WeakMap<net.Socket, Deno.NetAddr>();

/** Who a proxy has said that the client is, before the connection's first request. */
export function namedClient(socket: net.Socket): Deno.NetAddr | undefined {
  return NAMED.get(socket);
}

/** Connections whose clients have come over TLS to the proxy, by its header. */
const OVER_TLS = new WeakSet<net.Socket>();

/** Whether a proxy has said, before the connection's first request, that the client came over TLS. */
export function cameOverTls(socket: net.Socket): boolean {
  return OVER_TLS.has(socket);
}

/** A connection of which the PROXY header is not there yet. */
class ProxiedSocket implements Connection {
  readonly inFlight = 0;
  readonly idleSinceMs = performance.now();
  readonly closeAnnounced = false;
  readonly uploading = false;
  readonly watch = new ConnectionWatch();
  readonly #socket: net.Socket;

  constructor(socket: net.Socket) {
    this.#socket = socket;
  }

  close(): void {
    this.#socket.destroy();
  }

  cut(): void {
    this.close();
  }
}

/**
 * Accepts on one listener.
 *
 * @param serve called with each socket, before any of its data is read, and with its client's address where
 *   that is known before a request comes
 */
export function acceptSockets(
  options: AcceptOptions,
  serve: (socket: net.Socket, client: string | undefined) => void,
): Acceptor {
  const { handle, address, traffic, limits, proxies, proxyProtocol } = options;
  const isUnix = address.startsWith("unix:");

  const enter = (socket: net.Socket) => {
    const hostname = namedClient(socket)?.hostname ?? socket.remoteAddress;
    if (hostname === undefined || !limits.byAddress) return serve(socket, undefined);
    const direct = namedClient(socket) === undefined;
    const trusted = direct && proxies?.trusts({ transport: "tcp", hostname, port: 0 });
    if (trusted) return serve(socket, undefined);
    const leave = limits.enter(hostname);
    if (leave === undefined) return void socket.destroy();
    socket.once("close", leave);
    serve(socket, hostname);
  };

  const serveProxied = async (socket: net.Socket) => {
    const pending = new ProxiedSocket(socket);
    traffic.connections.add(pending);
    const { header, rest } = await readHeader(socket);
    if (header?.kind === "whole") {
      if (header.client !== undefined) nameClient(socket, header.client);
      if (header.secure) {
        OVER_TLS.add(socket);
        // By this apps of node:http know TLS.
        Object.defineProperty(socket, "encrypted", { value: true, configurable: true });
      }
      enter(socket);
      // The server listens by now; what is put back into a socket, its parser does not see.
      if (rest.length > 0) socket.emit("data", rest);
    } else {
      if (header !== undefined && !socket.destroyed) limits.count("proxyProtocol");
      socket.destroy();
    }
    traffic.remove(pending);
  };

  const makeAcceptor = () =>
    net.createServer({ allowHalfOpen: true }, (socket) => {
      // Header and body are two writes: Nagle's algorithm would hold the second one back.
      socket.setNoDelay(true);
      socket.on("error", (error) => {
        // The kernel cuts who takes nothing.
        if ("code" in error && error.code === "ETIMEDOUT") limits.count("sendTimeoutMs");
      });
      traffic.accepted++;
      if (isUnix && limits.full) {
        limits.count("maxConnections");
        socket.end(BUSY, () => socket.destroy());
      } else if (proxyProtocol) void serveProxied(socket);
      else enter(socket);
    });

  const acceptor = makeAcceptor();
  acceptor.listen(handle as net.Server);
  const gate = isUnix ? undefined : gateOf(acceptor, options);
  const rest = keepServing(acceptor, makeAcceptor);
  return {
    stop: () => {
      rest();
      gate?.close();
      acceptor.close();
    },
  };
}

/** A gate before what `node:net` does with each connection that comes. */
function gateOf(acceptor: net.Server, { limits, traffic }: AcceptOptions): Gate {
  const { _handle: handle } = acceptor as unknown as {
    _handle: { onconnection(status: number): void; listen(backlog: number): number };
  };
  const { onconnection } = handle;
  const take = () => {
    let taken = true;
    const none = () => taken = false;
    acceptor.on("error", none);
    onconnection.call(handle, 0);
    acceptor.off("error", none);
    return taken;
  };
  const gate = new Gate(limits, traffic, handle, take);
  handle.onconnection = gate.come;
  return gate;
}

/** The app sees the client's address as if that had connected by itself. */
function nameClient(socket: net.Socket, client: Deno.NetAddr): void {
  NAMED.set(socket, client);
  const { hostname, port } = client;
  const values = {
    remoteAddress: hostname,
    remotePort: port,
    remoteFamily: hostname.includes(":") ? "IPv6" : "IPv4",
  };
  for (const [name, value] of Object.entries(values)) {
    Object.defineProperty(socket, name, { value, configurable: true });
  }
}

/** The header, none if the connection ended without a word, and what has come after it. */
interface Beginning {
  readonly header: ProxyHeader | undefined;
  readonly rest: Uint8Array;
}

function readHeader(socket: net.Socket): Promise<Beginning> {
  const { promise, resolve } = Promise.withResolvers<Beginning>();
  let bytes = Buffer.alloc(0);
  const settle = (header: ProxyHeader | undefined) => {
    socket.off("data", take);
    socket.off("end", end);
    socket.off("close", end);
    socket.pause();
    const length = header?.kind === "whole" ? header.length : 0;
    resolve({ header, rest: bytes.subarray(length) });
  };
  const take = (chunk: Uint8Array) => {
    bytes = Buffer.concat([bytes, chunk]);
    const header = parseProxyHeader(bytes);
    if (header.kind !== "partial") settle(header);
  };
  const end = () =>
    settle(bytes.length === 0 ? undefined : { kind: "invalid", reason: "it is cut off" });
  socket.on("data", take);
  socket.on("end", end);
  socket.on("close", end);
  return promise;
}
