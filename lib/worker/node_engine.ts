/**
 * The portable engine, over `node:http`: public API only, about half as fast. It serves what the
 * native engine cannot: listeners on Unix sockets, and runtimes without the internal API.
 */
import http from "node:http";
import net from "node:net";
import { type AccessLog, type OpenRecord, remoteName } from "./access_log.ts";
import {
  answerForError,
  ask,
  endEventsAtDrain,
  refuseUpgrade,
  requireResponse,
  withConnectionClose,
} from "./answer.ts";
import type { ServeInfo } from "./app.ts";
import type { Acceptor, Engine, ServeOptions } from "./engine.ts";
import { keepAccepting, type ListeningHandle } from "./keep_accepting.ts";
import { headersOf, lengthOfBody } from "./response_body.ts";
import type { Connection, Traffic } from "./traffic.ts";

/** What the kernel keeps for us while no worker accepts; `net.core.somaxconn` caps it. */
const BACKLOG = 511;

/** Answers that never have a body. */
const NO_LENGTH: ReadonlySet<number> = new Set([101, 204, 304]);

/** How long an idle connection is kept, as nginx has it; browsers give up earlier. */
const KEEP_ALIVE_MS = 75_000;

class NodeConnection implements Connection {
  inFlight = 0;
  idleSinceMs = performance.now();
  /** node:http itself closes a connection that was told. */
  readonly told = false;
  readonly uploading = false;
  readonly #socket: net.Socket;
  readonly #traffic: Traffic;

  constructor(socket: net.Socket, traffic: Traffic) {
    this.#socket = socket;
    this.#traffic = traffic;
  }

  /** Forgets the connection: it has ended, or become something else. */
  release(): void {
    this.#traffic.connections.delete(this);
  }

  close(): void {
    this.#socket.destroySoon();
  }
}

/** The upgrade that a request asks for, until the app has answered. */
interface Upgrade {
  readonly socket: net.Socket;
  readonly head: Uint8Array;
}

/** The engine over `node:http`. */
export function createNodeEngine(): Engine {
  const upgrades = new WeakMap<Request, Upgrade>();
  const connections = new WeakMap<net.Socket, NodeConnection>();
  return {
    name: "node",
    upgrade: {
      // Deno.upgradeWebSocket takes the socket of node:http's "upgrade" event by these options.
      options: (request) => upgrades.get(request) ?? {},
      // The runtime has taken the socket's stream, so that its end will never be heard of here.
      onOpen: (request) => {
        const socket = upgrades.get(request)?.socket;
        if (socket) connections.get(socket)?.release();
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
  const { fetcher, traffic, access } = options;

  const answer = async (
    incoming: http.IncomingMessage,
    outgoing: http.ServerResponse,
    upgrade?: Upgrade,
  ) => {
    const connection = connections.get(incoming.socket);
    const completed = begin(traffic, connection);
    const remoteAddr = toAddress(incoming.socket, options.address);
    const record = access && beginRecord(access, incoming, remoteAddr);
    const sent = { bytes: 0 };
    let upgraded = false;
    const askApp = async () => {
      if (upgrade && !isUpgradable(upgrade.socket)) {
        return refuseUpgrade("a Unix socket cannot be upgraded; use host:port for WebSockets");
      }
      const request = toRequest(incoming, outgoing);
      if (request === undefined) return new Response("Bad Request\n", { status: 400 });
      if (upgrade) upgrades.set(request, upgrade);
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
      if (traffic.draining || upgrade) response = withConnectionClose(response);
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
      // What the app left unread stands before the next request.
      if (!incoming.complete) incoming.resume();
    }
  };

  const server = http.createServer(
    {
      keepAliveTimeout: KEEP_ALIVE_MS,
      requestTimeout: 0,
      // Anything else that a request offers to become is no reason not to answer it.
      shouldUpgradeCallback: ({ headers }: http.IncomingMessage) =>
        headers.upgrade?.toLowerCase() === "websocket",
    } as http.ServerOptions,
    (incoming, outgoing) => void answer(incoming, outgoing),
  );
  // It never listens itself, and Deno destroys a connection after the answer when the server does not
  // (denoland/deno#35609).
  Object.defineProperty(server, "listening", { value: true });
  server.on("upgrade", (incoming: http.IncomingMessage, socket: net.Socket, head: Uint8Array) => {
    // node:http lets go of the connection here, whatever it was asked to become.
    const outgoing = new http.ServerResponse(incoming);
    outgoing.assignSocket(socket);
    outgoing.on("finish", () => socket.destroySoon());
    void answer(incoming, outgoing, { socket, head });
  });

  // This one accepts and the other parses, so that a drain can stop the one without the other.
  const acceptor = net.createServer({ allowHalfOpen: true }, (socket) => {
    // Header and body are two writes: Nagle's algorithm would hold the second one back.
    socket.setNoDelay(true);
    const connection = new NodeConnection(socket, traffic);
    connections.set(socket, connection);
    traffic.accepted++;
    traffic.connections.add(connection);
    socket.on("close", () => connection.release());
    socket.on("error", () => {});
    server.emit("connection", socket);
  });
  acceptor.listen(options.handle as net.Server);
  const { _handle } = acceptor as unknown as { _handle: ListeningHandle };
  const rest = keepAccepting(_handle, BACKLOG);
  return {
    stop: () => {
      rest();
      acceptor.close();
    },
  };
}

/** Counts a request in; the promise is done, and the request counted out, with `done`. */
function begin(traffic: Traffic, connection: NodeConnection | undefined) {
  const { promise, resolve } = Promise.withResolvers<void>();
  traffic.inFlight++;
  if (connection) connection.inFlight++;
  return Object.assign(promise, {
    done() {
      traffic.inFlight--;
      traffic.answered++;
      if (connection) {
        connection.inFlight--;
        connection.idleSinceMs = performance.now();
      }
      resolve();
    },
  });
}

function beginRecord(
  access: AccessLog,
  { method, url, httpVersion, headers }: http.IncomingMessage,
  remote: Deno.Addr,
): OpenRecord {
  const record = access.begin({
    method: method ?? "GET",
    target: url ?? "/",
    remote: remoteName(remote),
    protocol: `HTTP/${httpVersion}`,
    referer: headers.referer ?? null,
    userAgent: headers["user-agent"] ?? null,
  });
  access.keep(record);
  return record;
}

function isUpgradable(socket: net.Socket): boolean {
  const { _handle } = socket as unknown as { _handle?: { takeStream?: unknown } };
  return typeof _handle?.takeStream === "function";
}

function toAddress(socket: net.Socket, address: string): Deno.Addr {
  if (address.startsWith("unix:")) {
    return { transport: "unix", path: address.slice("unix:".length) };
  }
  return {
    transport: "tcp",
    hostname: socket.remoteAddress ?? "",
    port: socket.remotePort ?? 0,
  };
}

/**
 * The web Request of what node:http parsed; its signal aborts when the client goes away.
 *
 * @returns nothing if its Host or its path make no URL
 */
function toRequest(
  incoming: http.IncomingMessage,
  outgoing: http.ServerResponse,
): Request | undefined {
  const url = toUrl(incoming.url ?? "/", incoming.headers.host || "localhost");
  if (url === null) return undefined;
  const controller = new AbortController();
  outgoing.on("close", () => {
    if (!outgoing.writableFinished) controller.abort();
  });
  const headers = new Headers();
  const raw = incoming.rawHeaders;
  for (let index = 0; index + 1 < raw.length; index += 2) {
    headers.append(raw[index]!, raw[index + 1]!);
  }
  const method = incoming.method ?? "GET";
  const body = method === "GET" || method === "HEAD" ? null : toBody(incoming);
  return new Request(url, { method, headers, body, signal: controller.signal });
}

/** RFC 9112, 3.2: a path is a path even if it begins with two slashes, and Host is a host alone. */
function toUrl(target: string, host: string): URL | null {
  const origin = URL.parse(`http://${host}`);
  if (origin === null || origin.href !== `${origin.origin}/`) return null;
  if (target.startsWith("/")) return URL.parse(origin.origin + target);
  return URL.parse(target === "*" ? `${origin.origin}/*` : target);
}

/** The body of a request, read no faster than the app reads it, and not at all if it does not. */
function toBody(incoming: http.IncomingMessage): ReadableStream<Uint8Array<ArrayBuffer>> {
  let pieces: AsyncIterator<Uint8Array<ArrayBuffer>> | undefined;
  return new ReadableStream({
    async pull(controller) {
      pieces ??= incoming.iterator({ destroyOnReturn: false });
      const { done, value } = await pieces!.next();
      if (done) controller.close();
      else controller.enqueue(value);
    },
    async cancel() {
      await pieces?.return?.();
    },
  }, { highWaterMark: 0 });
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
  // What the app tells itself stands: an answer to HEAD may tell the length of a body that it leaves out.
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

/** Whether a header is about a connection of the app's: a client's ends or stays for other reasons. */
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
