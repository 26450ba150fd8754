/**
 * Serves by a server of `node:http` that is the app's own: it is handed each connection, and sees the
 * client's sockets as if it had listened itself. Holdfast counts what is in flight, and drains.
 */
import { Buffer } from "node:buffer";
import http from "node:http";
import net from "node:net";
import type { AccessLog } from "./access_log.ts";
import type { ClientAddress } from "./client_address.ts";
import type { Acceptor, ServeOptions } from "./engine.ts";
import type { LatencyHistogram } from "./latency.ts";
import type { ConnectionWatch, Limits } from "./limits.ts";
import { acceptSockets } from "./node_accept.ts";
import { limitIncoming, SocketMeter } from "./node_limits.ts";
import { openRecord, senderOf } from "./node_request.ts";
import type { Readiness } from "./readiness.ts";
import type { Connection, Traffic } from "./traffic.ts";

/** RFC 6455, 5.5.1 and 7.4.1: a close frame that says that the server is going away (1001). */
const GOING_AWAY = new Uint8Array([0x88, 2, 0x03, 0xe9]);

/** The same, that it restarts (1012). */
const SERVICE_RESTART = new Uint8Array([0x88, 2, 0x03, 0xf4]);

type Listening = Omit<ServeOptions, "fetcher">;

export interface NodeAppOptions {
  readonly server: http.Server;
  readonly traffic: Traffic;
  readonly limits: Limits;
  readonly access?: AccessLog | undefined;
  readonly readiness?: Readiness | undefined;
  readonly latency?: LatencyHistogram | undefined;
  readonly proxies?: ClientAddress | undefined;
}

class AppConnection implements Connection {
  inFlight = 0;
  idleSinceMs = performance.now();
  /** node:http itself closes the connection after an answer that announces it. */
  readonly closeAnnounced = false;
  readonly uploading = false;
  /** Answers that are not out yet, in the order of their requests. */
  readonly open = new Set<http.ServerResponse>();
  /** Whether an answer says that it is the last one: what comes after it is not given to the app. */
  ending = false;
  webSocket = false;
  readonly address: string;
  readonly meter: SocketMeter;
  readonly #socket: net.Socket;
  /** Whether nothing has been asked since the drain began, when nothing was in flight. */
  #resting = false;

  constructor(socket: net.Socket, address: string, limits: Limits) {
    this.#socket = socket;
    this.meter = new SocketMeter(socket, limits);
    this.address = address;
    this.#defer("destroy");
    this.#defer("end");
  }

  /**
   * Many apps end the connections that are idle when they are told to stop. A client may be about to ask
   * on one, and would get no answer: it has the grace of the drain, which ends the connection then.
   */
  #defer(name: "destroy" | "end"): void {
    const socket = this.#socket as unknown as Record<string, (...all: unknown[]) => unknown>;
    const original = socket[name]!;
    socket[name] = (...all) =>
      this.#resting && all.every((each) => each === undefined) && !this.#socket.readableEnded
        ? socket
        : Reflect.apply(original, socket, all);
  }

  get watch(): ConnectionWatch {
    return this.meter.watch;
  }

  get idleLimit(): "webSocketIdleTimeoutMs" | undefined {
    return this.meter.upgraded ? "webSocketIdleTimeoutMs" : undefined;
  }

  measure(): void {
    this.meter.measure();
  }

  close(): void {
    this.#resting = false;
    this.#socket.destroySoon();
  }

  cut(): void {
    this.#resting = false;
    this.#socket.destroy();
  }

  /** A request has come. */
  begin(): void {
    this.#resting = false;
    this.inFlight++;
  }

  /** Lets the last answer say that the connection ends with it, and event streams end. */
  drain(traffic: Traffic): void {
    this.#resting = this.inFlight === 0;
    const [last] = [...this.open].reverse();
    if (last !== undefined && !last.headersSent) this.announce(last);
    for (const response of this.open) traffic.endAtDrain(() => endEvents(response));
  }

  announce(response: http.ServerResponse): void {
    this.ending = true;
    response.setHeader("connection", "close");
  }
}

/** Hands connections to one server. */
export class NodeApp {
  readonly #options: NodeAppOptions;
  readonly #connections = new WeakMap<net.Socket, AppConnection>();
  readonly #begun = new WeakSet<http.ServerResponse>();

  constructor(options: NodeAppOptions) {
    this.#options = options;
    const { server, traffic } = options;
    const { emit } = server;
    server.emit = (name: string, ...all: unknown[]) => {
      if (!this.#hear(name, all)) return true;
      return Reflect.apply(emit, server, [name, ...all]) as boolean;
    };
    traffic.drainSignal.addEventListener("abort", () => {
      for (const connection of traffic.connections) {
        if (connection instanceof AppConnection) connection.drain(traffic);
      }
    });
  }

  /** Accepts on one listener. */
  serve(listener: Pick<Listening, "handle" | "address" | "proxyProtocol">): Acceptor {
    const { server, traffic, limits, proxies } = this.#options;
    return acceptSockets({ ...listener, traffic, limits, proxies }, (socket, client) => {
      const connection = new AppConnection(socket, listener.address, limits);
      connection.watch.client = client;
      this.#connections.set(socket, connection);
      traffic.connections.add(connection);
      socket.on("close", () => traffic.remove(connection));
      server.emit("connection", socket);
    });
  }

  /** @returns whether the app is to hear of an event of its server */
  #hear(name: string, [incoming, second]: unknown[]): boolean {
    switch (name) {
      case "request":
      case "checkContinue":
      case "checkExpectation":
        return this.#begin(incoming as http.IncomingMessage, second as http.ServerResponse);
      case "upgrade":
      case "connect":
        this.#upgrade(incoming as http.IncomingMessage, second as net.Socket);
    }
    return true;
  }

  #begin(incoming: http.IncomingMessage, outgoing: http.ServerResponse): boolean {
    const connection = this.#connections.get(incoming.socket);
    // An app may pass on what it was told already, or what is none of these connections'.
    if (connection === undefined || this.#begun.has(outgoing)) return true;
    if (connection.ending) return false;
    const { traffic, limits, access, latency, readiness, proxies } = this.#options;
    this.#begun.add(outgoing);
    const { watch } = connection;
    const mayHaveBody = incoming.method !== "GET" && incoming.method !== "HEAD";
    const { client } = senderOf(incoming, connection.address, proxies);
    if (proxies && "hostname" in client) watch.client = client.hostname;
    const refusal = limits.refuse(mayHaveBody ? incoming.headers["content-length"] : undefined) ??
      (proxies && limits.refuseClient(watch));
    const last = limits.isLast(++watch.asked);
    connection.meter.current = incoming;
    if (mayHaveBody) limitIncoming(incoming, limits, watch);
    connection.begin();
    traffic.inFlight++;
    connection.open.add(outgoing);
    const record = access &&
      beginRecord(access, incoming, outgoing, client);
    latency?.watch(outgoing);
    let done = false;
    const end = () => {
      if (done) return;
      done = true;
      connection.inFlight--;
      connection.open.delete(outgoing);
      connection.idleSinceMs = performance.now();
      traffic.inFlight--;
      traffic.answered++;
      record?.();
    };
    outgoing.once("finish", end);
    outgoing.once("close", end);
    if (traffic.draining || last || refusal?.status === 413) {
      connection.announce(outgoing);
    }
    if (refusal !== undefined) {
      outgoing.writeHead(refusal.status, [...refusal.headers].flat());
      outgoing.end();
      return false;
    }
    if (readiness === undefined || !readiness.isFor(incoming.url ?? "")) return true;
    readiness.answerNode(outgoing);
    return false;
  }

  /** A connection that is no longer HTTP's is one request in flight until it ends. */
  #upgrade(incoming: http.IncomingMessage, socket: net.Socket): void {
    const { traffic, access, proxies } = this.#options;
    const connection = this.#connections.get(socket);
    if (connection === undefined) return;
    connection.meter.upgraded = true;
    connection.begin();
    traffic.inFlight++;
    const record = access &&
      openRecord(access, incoming, senderOf(incoming, connection.address, proxies).client);
    record?.answer(101);
    connection.webSocket = isWebSocket(incoming);
    const close = () => {
      if (connection.webSocket) socket.write(traffic.restarting ? SERVICE_RESTART : GOING_AWAY);
    };
    const forget = traffic.endAtDrain(close, connection.webSocket);
    socket.once("close", () => {
      forget();
      connection.inFlight--;
      traffic.inFlight--;
      traffic.answered++;
      record?.end("whole", null);
    });
  }
}

function isWebSocket({ headers }: http.IncomingMessage): boolean {
  return headers.upgrade?.toLowerCase() === "websocket";
}

/** @returns a function that ends the record */
function beginRecord(
  access: AccessLog,
  incoming: http.IncomingMessage,
  outgoing: http.ServerResponse,
  remote: Deno.Addr,
): () => void {
  const record = openRecord(access, incoming, remote);
  let bytes = 0;
  const write = outgoing.write;
  const end = outgoing.end;
  const count = (chunk: unknown, encoding: unknown) => {
    if (incoming.method === "HEAD") return;
    if (chunk instanceof Uint8Array) bytes += chunk.byteLength;
    else if (typeof chunk === "string") {
      bytes += Buffer.byteLength(
        chunk,
        (typeof encoding === "string" ? encoding : "utf8") as "utf8",
      );
    }
  };
  outgoing.write = ((...all: unknown[]) => {
    count(all[0], all[1]);
    return Reflect.apply(write, outgoing, all);
  }) as typeof write;
  outgoing.end = ((...all: unknown[]) => {
    // The runtime's own end() writes what it is given.
    outgoing.write = write;
    count(all[0], all[1]);
    return Reflect.apply(end, outgoing, all);
  }) as typeof end;
  return () => {
    record.answer(outgoing.statusCode);
    record.end(outgoing.writableFinished ? "whole" : "cut", bytes);
  };
}

/** Ends an event stream between two chunks: its client reconnects by itself, to a new worker. */
function endEvents(response: http.ServerResponse): void {
  const { _header: head } = response as unknown as { _header?: unknown };
  if (!response.headersSent || !/^content-type: *text\/event-stream/im.test(`${head}`)) return;
  response.end();
  // What the app still writes goes nowhere, and is no error.
  response.write = () => false;
  response.end = () => response;
}
