/**
 * The engine over `node:http`: nearly only public API, about a third as fast as the native one. It serves
 * what that cannot: listeners on Unix sockets, and runtimes without the internal API.
 */
import http from "node:http";
import net from "node:net";
import {
  answerForError,
  ask,
  endEventsAtDrain,
  refuseRequest,
  refuseUpgrade,
  requireResponse,
  withConnectionClose,
} from "./answer.ts";
import type { ServeInfo } from "./app.ts";
import { withScheme } from "./client_address.ts";
import type { Acceptor, Engine, ServeOptions } from "./engine.ts";
import { limitedBody } from "./limited_body.ts";
import { type ConnectionWatch, Limits } from "./limits.ts";
import { acceptSockets } from "./node_accept.ts";
import { SocketMeter } from "./node_limits.ts";
import { openRecord, senderOf } from "./node_request.ts";
import { headersOf, lengthOfBody } from "./response_body.ts";
import type { Connection, Traffic } from "./traffic.ts";
import { upgradable } from "./upgradable.ts";

/** The realm's own: an app may put other classes in their place. */
const { Headers, Request } = globalThis;

/** The native engine's limits for a request's line and headers, and for the number of header lines. */
const MAX_HEAD_BYTES = 65_536;
const MAX_HEADER_LINES = 128;

/** How many requests of a connection may wait for their turn; real clients send far fewer. */
const MAX_WAITING = 10_000;

/** The native engine's answer to an invalid request. */
const BAD_REQUEST = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

/** Answers that never have a body. */
const NO_LENGTH: ReadonlySet<number> = new Set([101, 204, 304]);

class NodeConnection implements Connection {
  inFlight = 0;
  idleSinceMs = performance.now();
  /** node:http itself closes the connection after an answer that announces it. */
  readonly closeAnnounced = false;
  /** Whether the current answer is the last one. */
  ending = false;
  readonly uploading = false;
  /** The latest request. */
  last: http.IncomingMessage | undefined;
  /** How many have had their turn. */
  turns = 0;
  readonly #meter: SocketMeter;
  readonly #socket: net.Socket;
  readonly #traffic: Traffic;
  #turn: Promise<void> = Promise.resolve();
  /** Requests that arrived before an earlier one was answered. */
  #waiting = 0;

  constructor(socket: net.Socket, traffic: Traffic, limits: Limits) {
    this.#socket = socket;
    this.#meter = new SocketMeter(socket, limits);
    this.#traffic = traffic;
  }

  /**
   * Answers one request after the other, like the native engine: node:http emits all that a client sends,
   * but sends nothing after an answer with `Connection: close`. A request without an answer must not have
   * been carried out.
   */
  inTurn(answer: () => Promise<void>): void {
    // Deno's node:http keeps reading; it cannot be stopped.
    if (this.#waiting === MAX_WAITING) return void this.#socket.destroy();
    this.#waiting++;
    this.#turn = this.#turn.then(async () => {
      this.#waiting--;
      if (!this.ending && !this.#socket.destroyed) await answer();
    });
  }

  /** Removes the connection: it has ended, or was upgraded. */
  release(): void {
    this.#traffic.remove(this);
  }

  get watch(): ConnectionWatch {
    return this.#meter.watch;
  }

  measure(): void {
    this.#meter.measure();
  }

  cut(): void {
    this.#socket.destroy();
  }

  close(): void {
    this.#socket.destroySoon();
  }
}

/** The upgrade that a request asks for, until the app has answered. */
interface Upgrade {
  readonly socket: net.Socket;
  readonly head: Uint8Array;
  /** The socket as the runtime takes it; nothing where it does not. */
  readonly taken: ReturnType<typeof upgradable>;
}

/** The engine over `node:http`. */
export function createNodeEngine(): Engine {
  const upgrades = new WeakMap<Request, Upgrade>();
  const connections = new WeakMap<net.Socket, NodeConnection>();
  return {
    name: "node",
    upgrade: {
      // Deno.upgradeWebSocket takes the socket of node:http's "upgrade" event by these options.
      options: (request) => {
        const { taken: socket, head } = upgrades.get(request) ?? {};
        return { socket, head };
      },
      // The runtime has taken the socket's stream, so no event will report its end.
      onOpen: (request) => {
        const socket = upgrades.get(request)?.socket;
        if (socket) connections.get(socket)?.release();
        return undefined;
      },
    },
    serve: (options) => serve(options, upgrades, connections),
  };
}

function serve(
  options: ServeOptions,
  upgrades: WeakMap<Request, Upgrade>,
  connections: WeakMap<net.Socket, NodeConnection>,
): Acceptor {
  const { fetcher, traffic, limits = new Limits(traffic), access, proxies } = options;

  const answer = async (
    incoming: http.IncomingMessage,
    outgoing: http.ServerResponse,
    upgrade?: Upgrade,
  ) => {
    const connection = connections.get(incoming.socket)!;
    const length = mayHaveBody(incoming) ? incoming.headers["content-length"] : undefined;
    const { client: remoteAddr, scheme } = senderOf(incoming, options.address, proxies);
    const { watch } = connection;
    if (proxies && "hostname" in remoteAddr) watch.client = remoteAddr.hostname;
    const refusal = limits.refuse(length) ?? (proxies && limits.refuseClient(watch));
    const last = limits.isLast(++connection.turns);
    const completed = begin(traffic, connection);
    const record = access && openRecord(access, incoming, remoteAddr);
    const sent = { bytes: 0 };
    let upgraded = false;
    const askApp = async () => {
      if (refusal !== undefined) return refusal;
      if (upgrade && upgrade.taken === undefined) {
        return refuseUpgrade(
          "this Deno cannot upgrade a Unix socket; use host:port for WebSockets",
        );
      }
      const request = toRequest(incoming, outgoing, limits, connection.watch);
      if (request === undefined) return refuseRequest();
      if (upgrade) upgrades.set(request, upgrade);
      withScheme(request, scheme);
      const info = { remoteAddr, completed };
      return await Promise.resolve(ask(fetcher, request, info as ServeInfo))
        .then(requireResponse, answerForError);
    };
    try {
      let response = await askApp();
      record?.answer(response.status);
      if (response.status === 101 && upgrade) {
        upgraded = true;
        return;
      }
      response = endEventsAtDrain(response, traffic);
      if (traffic.draining || upgrade || last || refusal?.status === 413) {
        response = withConnectionClose(response);
      }
      if (!outgoing.shouldKeepAlive || response.headers.get("connection") === "close") {
        connection.ending = true;
      }
      await send(response, incoming, outgoing, sent);
    } catch (error) {
      if (outgoing.headersSent) outgoing.destroy();
      else {
        const response = answerForError(error);
        record?.answer(response.status);
        await send(response, incoming, outgoing, sent).catch(() => {});
      }
    } finally {
      completed.done();
      record?.end(upgraded || outgoing.writableFinished ? "whole" : "cut", sent.bytes);
      // A body that the app did not read is in front of the next request.
      if (!incoming.complete) incoming.resume();
    }
  };

  const inTurn = (
    incoming: http.IncomingMessage,
    outgoing: http.ServerResponse,
    upgrade?: Upgrade,
  ) => {
    const connection = connections.get(incoming.socket)!;
    connection.last = incoming;
    connection.watch.asked++;
    connection.inTurn(() => answer(incoming, outgoing, upgrade));
  };

  const server = http.createServer(
    {
      // The limits see to it.
      keepAliveTimeout: 0,
      requestTimeout: 0,
      maxHeaderSize: MAX_HEAD_BYTES,
      requireHostHeader: false,
      // An upgrade to anything else is ignored, and the request answered.
      shouldUpgradeCallback: ({ headers }: http.IncomingMessage) =>
        headers.upgrade?.toLowerCase() === "websocket",
    } as http.ServerOptions,
    (incoming, outgoing) => inTurn(incoming, outgoing),
  );
  // One more than the limit, to detect too many; node:http would drop the others silently.
  server.maxHeadersCount = MAX_HEADER_LINES + 1;
  server.on("checkContinue", (incoming: http.IncomingMessage, outgoing: http.ServerResponse) => {
    const length = Number(incoming.headers["content-length"] ?? 0);
    if (mayHaveBody(incoming) && !limits.isTooLarge(length)) outgoing.writeContinue();
    inTurn(incoming, outgoing);
  });
  server.on("checkExpectation", inTurn);
  server.on("clientError", (_error: Error, socket: net.Socket) => {
    const connection = connections.get(socket)!;
    // Requests that arrived whole are answered; one that broke in its body cannot be.
    if (!socket.writable || connection.last?.complete === false) socket.destroy();
    else connection.inTurn(() => Promise.resolve(void socket.end(BAD_REQUEST)));
  });
  // It never listens itself, and Deno destroys a connection after the answer when the server does not
  // (denoland/deno#35609).
  Object.defineProperty(server, "listening", { value: true });
  // node:http releases the connection here, whatever the upgrade is to.
  const letGo = (incoming: http.IncomingMessage, socket: net.Socket) => {
    const outgoing = new http.ServerResponse(incoming);
    outgoing.assignSocket(socket);
    outgoing.on("finish", () => socket.destroySoon());
    return outgoing;
  };
  server.on("upgrade", (incoming: http.IncomingMessage, socket: net.Socket, head: Uint8Array) => {
    // Data read from here on is lost: the WebSocket takes only the stream and the head.
    stopReading(socket);
    inTurn(incoming, letGo(incoming, socket), { socket, head, taken: upgradable(socket) });
  });
  server.on("connect", (incoming: http.IncomingMessage, socket: net.Socket) => {
    const outgoing = letGo(incoming, socket);
    outgoing.shouldKeepAlive = false;
    inTurn(incoming, outgoing);
  });

  // Another server accepts, so that a drain can stop that alone.
  return acceptSockets({ ...options, limits }, (socket, client) => {
    const connection = new NodeConnection(socket, traffic, limits);
    connection.watch.client = client;
    connections.set(socket, connection);
    traffic.connections.add(connection);
    socket.on("close", () => connection.release());
    // Each request that waits for its turn listens too.
    socket.setMaxListeners(0);
    server.emit("connection", socket);
  });
}

/** Counts a request as in flight until `done`. */
function begin(traffic: Traffic, connection: NodeConnection) {
  const { promise, resolve } = Promise.withResolvers<void>();
  traffic.inFlight++;
  connection.inFlight++;
  return Object.assign(promise, {
    done() {
      traffic.inFlight--;
      traffic.answered++;
      connection.inFlight--;
      connection.idleSinceMs = performance.now();
      resolve();
    },
  });
}

function stopReading(socket: net.Socket): void {
  const { _handle } = socket as unknown as { _handle?: { readStop?(): void } | null };
  _handle?.readStop?.();
}

function mayHaveBody({ method, headers }: http.IncomingMessage): boolean {
  return method !== "GET" && method !== "HEAD" && headers["content-length"] !== "0";
}

/**
 * The web Request of what node:http parsed; its signal aborts when the client goes away.
 *
 * @returns nothing if the native engine would refuse it too, or if Host and target do not form a URL
 */
function toRequest(
  incoming: http.IncomingMessage,
  outgoing: http.ServerResponse,
  limits: Limits,
  watch: ConnectionWatch,
): Request | undefined {
  const { rawHeaders: raw, httpVersionMajor, httpVersionMinor, method = "GET" } = incoming;
  if (raw.length > 2 * MAX_HEADER_LINES) return undefined;
  if (httpVersionMajor !== 1 || httpVersionMinor > 1) return undefined;
  if (httpVersionMinor === 0 && incoming.headers["transfer-encoding"]) return undefined;
  const headers = toHeaders(raw);
  if (headers === undefined) return undefined;
  const host = incoming.headers.host || `localhost${portOf(incoming.socket)}`;
  const url = toUrl(incoming.url ?? "/", method, host);
  if (url === null) return undefined;
  const controller = new AbortController();
  outgoing.on("close", () => {
    if (!outgoing.writableFinished) controller.abort();
  });
  const { signal } = controller;
  const known = !FORBIDDEN_METHODS.has(method);
  const body = method === "GET" || method === "HEAD" ? null : toBody(incoming, limits, watch);
  const request = new Request(url, { method: known ? method : "POST", headers, body, signal });
  // The app sees what the client sent, as on the native engine; the standard's class changes both.
  if (request.url !== url) Object.defineProperty(request, "url", { value: url });
  if (!known) Object.defineProperty(request, "method", { value: method });
  return request;
}

/** Methods that `new Request()` refuses. */
const FORBIDDEN_METHODS: ReadonlySet<string> = new Set(["CONNECT", "TRACE"]);

/** @returns nothing if there are several Host lines: it is unknown which one counts */
function toHeaders(raw: readonly string[]): Headers | undefined {
  const headers = new Headers();
  let hosts = 0;
  let cookie: string | undefined;
  for (let index = 0; index + 1 < raw.length; index += 2) {
    const name = raw[index]!;
    const value = raw[index + 1]!;
    if (name.length === 4 && name.toLowerCase() === "host" && ++hosts > 1) return undefined;
    // RFC 9113, 8.2.3: lines of cookies are one list of pairs.
    if (name.length === 6 && name.toLowerCase() === "cookie") {
      cookie = cookie === undefined ? value : `${cookie}; ${value}`;
    } else headers.append(name, value);
  }
  if (cookie !== undefined) headers.set("cookie", cookie);
  return headers;
}

function portOf({ localPort }: net.Socket): string {
  return localPort === undefined ? "" : `:${localPort}`;
}

/**
 * The URL as the client spells it. RFC 9112, 3.2: a path may begin with two slashes, Host is only a host, and
 * only CONNECT and OPTIONS have targets that are neither a path nor a URL.
 */
function toUrl(target: string, method: string, host: string): string | null {
  if (!isAuthority(host)) return null;
  if (method === "CONNECT") return isAuthority(target) ? `http://${target}` : null;
  if (target.startsWith("/")) return parsable(`http://${host}${target}`);
  if (target === "*" && method === "OPTIONS") return `http://${host}/*`;
  // "http://host" alone is a URL too.
  return URL.parse(target)?.href === `${target}/` ? `${target}/` : parsable(target);
}

/** Whether it is only a host, with or without a port. */
function isAuthority(text: string): boolean {
  const origin = URL.parse(`http://${text}`);
  return !text.startsWith("/") && origin !== null && origin.href === `${origin.origin}/`;
}

function parsable(url: string): string | null {
  return URL.canParse(url) ? url : null;
}

/** The body of a request, read at the app's pace, and not at all if the app does not read it. */
function toBody(
  incoming: http.IncomingMessage,
  limits: Limits,
  watch: ConnectionWatch,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  let pieces: AsyncIterator<Uint8Array<ArrayBuffer>> | undefined;
  const source = {
    read: () => (pieces ??= incoming.iterator({ destroyOnReturn: false })).next(),
    cancel: () => pieces?.return?.() ?? Promise.resolve(),
  };
  return limitedBody(source, limits, watch);
}

/**
 * Sends an answer, at the client's pace, and waits until it is out or the client is gone; `sent`
 * counts the bytes of its body.
 */
async function send(
  response: Response,
  incoming: http.IncomingMessage,
  outgoing: http.ServerResponse,
  sent: { bytes: number },
): Promise<void> {
  const length = lengthOfBody(response);
  // A body that the app has read already throws here, while another answer can still be given.
  const reader = response.body?.getReader();
  for (const [name, value] of headersOf(response)) {
    if (!isOfAnotherConnection(name, value)) outgoing.appendHeader(name, value);
  }
  // The app's own header wins: an answer to HEAD may give the length of a body that it does not send.
  if (length !== null && !NO_LENGTH.has(response.status) && !outgoing.hasHeader("content-length")) {
    outgoing.setHeader("content-length", length);
  }
  outgoing.writeHead(response.status);
  if (reader === undefined || incoming.method === "HEAD") {
    await reader?.cancel();
  } else {
    const gone = () => void reader.cancel().catch(() => {});
    outgoing.once("close", gone);
    while (!outgoing.destroyed) {
      const { done, value } = await reader.read();
      if (done) break;
      sent.bytes += value.byteLength;
      if (!outgoing.write(value)) await eventOf(outgoing, "drain");
    }
    outgoing.off("close", gone);
  }
  if (outgoing.destroyed) return;
  const finished = eventOf(outgoing, "finish");
  outgoing.end();
  await finished;
}

/** Whether a header is about the app's own connection to an upstream, not the client's. */
function isOfAnotherConnection(name: string, value: string): boolean {
  return name === "keep-alive" || name === "connection" && value.toLowerCase() !== "close";
}

/** Waits for an event, or for the end of the connection. */
function eventOf(outgoing: http.ServerResponse, event: "drain" | "finish"): Promise<void> {
  return new Promise((resolve) => {
    const settle = () => {
      outgoing.off(event, settle);
      outgoing.off("close", settle);
      resolve();
    };
    outgoing.once(event, settle);
    outgoing.once("close", settle);
  });
}
