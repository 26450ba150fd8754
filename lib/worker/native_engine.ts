/**
 * The fast engine: Deno's own HTTP server, one instance per connection, over connections accepted from a
 * listener of the supervisor. `detectNative` looks up the internal API of Deno that it uses; without that,
 * the node engine serves.
 */
import { type AccessLog, type OpenRecord, remoteName } from "./access_log.ts";
import type { Fetcher, ServeInfo } from "./app.ts";
import {
  answerForError,
  ask,
  endEventsAtDrain,
  requireResponse,
  withConnectionClose,
} from "./answer.ts";
import { type ClientAddress, ProxiedInfo, withScheme } from "./client_address.ts";
import type { Acceptor, Engine, ServeOptions } from "./engine.ts";
import { BACKLOG, keepAccepting } from "../base/keep_accepting.ts";
import { Gate } from "./gate.ts";
import { ConnectionWatch, Limits } from "./limits.ts";
import { scriptStream, watchAnswer, watchUpload } from "./native_limits.ts";
import { ProxiedConnection } from "./native_proxy.ts";
import type { Connection, Traffic } from "./traffic.ts";
import { acceptTls, isTlsListener } from "./accept_tls.ts";
import { UpgradeGate } from "./upgrade_gate.ts";
import { copyResponse, isWhole, lengthOfBody, wholeLength } from "./response_body.ts";
import { watchBody } from "./watched_body.ts";

/** The realm's own: an app may put another class in its place. */
const { Response } = globalThis;

/** The part of `TCPWrap` (the handle behind `net.Socket`) that is used. */
interface TcpHandle {
  onconnection: (status: number) => void;
  accept(client: TcpHandle): number;
  takeStream(): number;
  getpeername(out: { address?: string; port?: number }): number;
  listen(backlog: number): number;
  close(): void;
}

interface HttpServer {
  readonly finished: Promise<void>;
  shutdown(): Promise<void>;
}

type Handler = (request: Request, info: ServeInfo) => Response | Promise<Response>;

interface Internals {
  core: {
    internalRidSymbol: symbol;
    tryClose(rid: number): void;
    read(rid: number, into: Uint8Array): Promise<number>;
    createCancelHandle(): number;
    resources(): Record<string, string>;
  };
  serveHttpOnConnection(
    connection: Record<PropertyKey, unknown>,
    signal: AbortSignal | undefined,
    handler: Handler,
    onError: (error: unknown) => Response,
    onListen: () => void,
  ): HttpServer;
}

/** Methods whose requests have no body that a close could break. */
const BODILESS: ReadonlySet<string> = new Set(["GET", "HEAD"]);

/** An answer that is not longer is in the system's buffers at once, or soon. */
const AT_ONCE = 65_536;

/**
 * How long what was answered over TLS may be on its way still when its connection has ended: the runtime
 * sends the rest by itself, and says nothing of it.
 */
const LAST_BYTES_MS = 1_000;

/** The same, after a long answer: of what a slow client has not taken the kernel lets in the rest late. */
const LAST_BYTES_OF_LONG_MS = 5_000;

/** Returned for a request that gets no answer: its connection ends. */
const NEVER = new Promise<Response>(() => {});

const CONNECTION = Symbol("connection");
type TrackedRequest = Request & { [CONNECTION]?: NativeConnection };

/**
 * Looks up the internal API of this runtime.
 *
 * @returns nothing if it is missing or has changed
 */
export function detectNative(): Internals | undefined {
  const runtime = Deno as unknown as Record<PropertyKey, unknown>;
  const internals = runtime[runtime.internal as symbol] as Partial<Internals> | undefined;
  const complete = typeof internals?.serveHttpOnConnection === "function" &&
    typeof internals.core?.internalRidSymbol === "symbol" &&
    typeof internals.core.tryClose === "function" &&
    typeof internals.core.read === "function" &&
    typeof internals.core.createCancelHandle === "function" &&
    typeof internals.core.resources === "function";
  return complete ? internals as Internals : undefined;
}

/** Whether a handle can be served natively: a Unix socket's cannot. */
export function isNativeHandle(handle: unknown): handle is TcpHandle {
  const candidate = handle as Partial<TcpHandle> | null;
  return typeof candidate?.takeStream === "function" && typeof candidate.accept === "function";
}

/**
 * Serves like `handle` and records each answer. For an answer that is sent whole at once, it reads nothing
 * that would leave the runtime's fast path, and awaits nothing.
 */
function recording(handle: Handler, access: AccessLog, proxied: boolean): Handler {
  const headersKept = access.headers === "kept";
  let remote: string | null | undefined;
  // Behind a proxy the clients of a connection are many.
  const remoteOf = proxied
    ? (info: ServeInfo) => remoteName(info.remoteAddr)
    : (info: ServeInfo) => remote ??= remoteName(info.remoteAddr);
  return (request, info) => {
    // Read before the app gets the request: after the answer, the runtime has dropped it.
    const { method } = request;
    const record = access.begin({
      method,
      target: request.url,
      remote: remoteOf(info),
      protocol: null,
      referer: headersKept ? request.headers.get("referer") : null,
      userAgent: headersKept ? request.headers.get("user-agent") : null,
    });
    const answer = handle(request, info);
    if (answer instanceof Response) return recordAnswer(answer, record, method, info, access);
    if (answer === NEVER) return answer;
    access.keep(record);
    return answer.then((response) => recordAnswer(response, record, method, info, access));
  };
}

/**
 * Serves like `handle`, which is told who the client is, where a proxy says it.
 *
 * @param named by the header at the connection's beginning
 * @param secure whether that says that the client came over TLS
 */
function proxied(
  handle: Handler,
  proxies: ClientAddress | undefined,
  named: Deno.NetAddr | undefined,
  secure: boolean,
  watch: ConnectionWatch,
): Handler {
  const said = secure ? "https" : undefined;
  let peer: Deno.Addr | undefined = named;
  let trusted: boolean | undefined;
  return (request, info) => {
    peer ??= info.remoteAddr;
    trusted ??= proxies?.trusts(peer) ?? false;
    if (!trusted) {
      const known = named === undefined ? info : new ProxiedInfo(info, named);
      return handle(withScheme(request, said), known);
    }
    const { client, scheme = said } = proxies!.factsOf(peer, (name) => request.headers.get(name));
    if ("hostname" in client) watch.client = client.hostname;
    return handle(withScheme(request, scheme), new ProxiedInfo(info, client));
  };
}

function recordAnswer(
  response: Response,
  record: OpenRecord,
  method: string,
  info: ServeInfo,
  access: AccessLog,
): Response {
  const bytes = method === "HEAD" ? 0 : lengthOfBody(response);
  if (isWhole(response) || response.status === 101) {
    record.answer(response.status);
    record.end("whole", bytes);
    return response;
  }
  access.keep(record);
  // A body that the app has read already is answered by answerForError in its place.
  record.answer(response.bodyUsed ? 500 : response.status);
  const stream = method === "HEAD" ? undefined : scriptStream(response);
  if (stream === undefined) {
    // It also resolves when the client went away.
    info.completed.then(() => record.end("whole", bytes), () => record.end("cut", null));
    return response;
  }
  return copyResponse(response, watchBody(stream, (how, taken) => record.end(how, taken)));
}

/** What all connections of an engine have in common. */
interface Common {
  readonly fetcher: Fetcher;
  readonly traffic: Traffic;
  readonly limits: Limits;
  readonly core: Internals["core"];
  readonly upgrades: UpgradeGate;
  /** Whether there are proxies that say who the client is. */
  readonly proxied: boolean;
}

/** What a connection is served by, besides its stream. */
interface Origin {
  /** The number that the server's resource is to have. */
  readonly rid: number;
  /** Called when its client has one connection less. */
  readonly leave: () => void;
  /** Who the client is by a PROXY header. */
  readonly named?: Deno.NetAddr | undefined;
  /** Whether that header says that the client came over TLS. */
  readonly overTls?: boolean | undefined;
  /** Of a connection with TLS. */
  readonly localAddr?: Deno.Addr | undefined;
  /** Who has connected, where that is known before a request comes. */
  readonly peer?: Deno.NetAddr | undefined;
}

class NativeConnection implements Connection {
  inFlight = 0;
  idleSinceMs = 0;
  server: HttpServer | undefined;
  readonly watch = new ConnectionWatch();
  readonly #common: Common;
  readonly #traffic: Traffic;
  /** Requests in flight that may have a body. */
  #uploads = 0;
  closeAnnounced = false;
  /** Whether the latest request is to be the last one, and of HTTP/2, where others may be in flight. */
  #last = false;
  #lastOfHttp2 = false;
  #ended = false;
  /** Whether it was told to shut down, which takes its resource away. */
  #closing = false;
  /** The resource of this connection's HTTP server. */
  readonly #rid: number;
  /** Whether an answer may be on its way still when it is said to be out: it is encrypted after that. */
  readonly #secure: boolean;
  /** Who has connected, where that is known. */
  readonly #peer: Deno.NetAddr | undefined;
  /** Called when the client has one connection less. */
  #leave: () => void;

  constructor(common: Common, { rid, leave, localAddr, peer }: Origin) {
    this.#common = common;
    this.#traffic = common.traffic;
    this.#rid = rid;
    this.#leave = leave;
    this.#secure = localAddr !== undefined;
    this.#peer = peer;
  }

  readonly handle: Handler = (request, info) => {
    if (this.closeAnnounced && this.#mustEnd(request)) return NEVER;
    (request as TrackedRequest)[CONNECTION] = this;
    const traffic = this.#traffic;
    const { limits, fetcher, upgrades, core, proxied } = this.#common;
    this.watch.asked++;
    this.#last = limits.isLast(this.watch.asked);
    if (this.#last) this.#lastOfHttp2 = !request.headers.has("host");
    const bodiless = BODILESS.has(request.method);
    const length = bodiless ? null : request.headers.get("content-length");
    const refusal = limits.refuse(length) ??
      (proxied ? limits.refuseClient(this.watch) : undefined);
    if (!bodiless && refusal === undefined && limits.actsOn(length)) {
      const { watch } = this;
      watchUpload(request, {
        ...{ core, limits, watch },
        length: length === null ? undefined : Number(length),
        // Only chunks of HTTP/1.1 are as small as their sender wants.
        cut: length === null && request.headers.has("host") ? () => this.cut() : undefined,
      });
    }
    const answer = refusal ??
      (upgrades.used && request.headers.has("upgrade")
        ? upgrades.answer(request, async () => requireResponse(await ask(fetcher, request, info)))
        : ask(fetcher, request, info));
    // The common answer comes at once and leaves whole: it is never in flight, and there is
    // nothing to wait for and nothing to change.
    if (answer instanceof Response && !traffic.draining && !this.#last && isWhole(answer)) {
      this.#expectLong(answer);
      traffic.answered++;
      return answer;
    }
    this.inFlight++;
    traffic.inFlight++;
    const done = bodiless ? this.#done : this.#startUpload();
    return answer instanceof Response ? this.#send(answer, info, done) : answer.then(
      (response) => this.#send(requireResponse(response), info, done),
      (error) => this.#send(answerForError(error, request), info, done),
    );
  };

  get uploading(): boolean {
    return this.#uploads > 0;
  }

  readonly end = () => {
    this.#ended = true;
    if (this.#secure && this.watch.asked > 0) {
      const nowMs = performance.now();
      const long = this.watch.busyUntilMs > nowMs;
      const untilMs = nowMs + (long ? LAST_BYTES_OF_LONG_MS : LAST_BYTES_MS);
      this.#traffic.lastBytesMs = Math.max(this.#traffic.lastBytesMs, untilMs);
    }
    this.#traffic.remove(this);
    this.#leave();
  };

  /**
   * Closes the HTTP server's resource, and only that, even if its number was reused: no more requests come
   * on the connection, and a WebSocket on it stays.
   */
  letGo(): void {
    const { core } = this.#common;
    if (core.resources()[this.#rid] === "http") core.tryClose(this.#rid);
  }

  /** Lets its WebSocket stand for it: what is to be done when that has ended. */
  becomeSocket(): () => void {
    const leave = this.#leave;
    this.#leave = () => {};
    this.letGo();
    return leave;
  }

  cut(): void {
    if (this.#ended) return;
    const stays = this.#closing || this.#secure && this.watch.asked === 0;
    if (this.#peer !== undefined && stays) this.#common.limits.giveUp(this.#peer);
    // Numbers are not used again soon: while it has not ended, this is its own.
    this.#common.core.tryClose(this.#rid);
  }

  /** A shutdown waits for the client of HTTP/2, and only the supervisor can hasten it. */
  retire(): void {
    if (this.#secure) this.close();
    else this.cut();
  }

  close(): void {
    // One whose client has said nothing yet would wait for what it says.
    if (this.#secure && this.watch.asked === 0) return this.letGo();
    this.#closing = true;
    // `finished` resolves when it is over; a failure here means that it already is.
    this.server?.shutdown().catch(() => {});
  }

  /**
   * Ends the connection at a request that its client had sent before it read that this is the end.
   * RFC 9112, 9.6: it treats requests without an answer as not done, and may send them to another worker.
   * HTTP/2, whose requests have no Host, uses another signal and goes on.
   */
  #mustEnd(request: Request): boolean {
    if (this.inFlight > 0 || !request.headers.has("host")) return false;
    if (this.#secure) setTimeout(() => this.letGo(), LAST_BYTES_MS);
    else this.letGo();
    return true;
  }

  #send(response: Response, info: ServeInfo, done: () => void): Response {
    const ending = this.#traffic.draining || this.#last;
    this.#expectLong(response);
    if (!ending && isWhole(response)) {
      done();
      return response;
    }
    info.completed.then(done, done);
    const { limits } = this.#common;
    const answer = watchAnswer(
      endEventsAtDrain(response, this.#traffic),
      info.completed,
      limits,
      this.watch,
    );
    if (!ending) return answer;
    this.closeAnnounced = true;
    // No header ends a connection of HTTP/2.
    if (this.#lastOfHttp2) this.close();
    return withConnectionClose(answer);
  }

  /** The runtime does not tell how much of an answer that it has whole is out. */
  #expectLong(response: Response): void {
    const bytes = wholeLength(response);
    if (bytes > AT_ONCE) this.watch.expect(bytes, this.#common.limits.settings);
  }

  #startUpload(): () => void {
    this.#uploads++;
    return () => {
      this.#uploads--;
      this.#done();
    };
  }

  readonly #done = () => {
    this.inFlight--;
    this.#traffic.inFlight--;
    this.#traffic.answered++;
    if (this.#traffic.draining) this.idleSinceMs = performance.now();
  };
}

/** The native engine over `internals`. */
export function createNativeEngine(internals: Internals): Engine {
  const { core, serveHttpOnConnection } = internals;
  const noAddr = { transport: "tcp", hostname: "", port: 0 };
  const onListen = () => {};
  const upgrades = new UpgradeGate();

  /** Counts the connection of a client; it is closed if that has too many. */
  function enter(
    known: Deno.NetAddr,
    stream: number,
    { limits, proxies }: Serving,
    secure = false,
  ): (() => void) | undefined {
    const leave = proxies?.trusts(known) ? () => {} : limits.enter(known.hostname);
    if (leave !== undefined) return leave;
    if (secure) limits.giveUp(known);
    core.tryClose(stream);
    return undefined;
  }

  function serveStream(stream: number, options: Serving, origin: Origin): void {
    const { fetcher, traffic, limits, access, proxies } = options;
    const { named, overTls = false, localAddr = noAddr } = origin;
    const connection = new NativeConnection(
      { fetcher, traffic, limits, core, upgrades, proxied: proxies !== undefined },
      origin,
    );
    const { watch } = connection;
    const client = named ?? origin.peer;
    if (client !== undefined && !(named === undefined && proxies?.trusts(client))) {
      watch.client = client.hostname;
    }
    const recorded = access === undefined
      ? connection.handle
      : recording(connection.handle, access, proxies !== undefined);
    connection.server = serveHttpOnConnection(
      { [core.internalRidSymbol]: stream, localAddr },
      undefined,
      proxies === undefined && named === undefined && !overTls
        ? recorded
        : proxied(recorded, proxies, named, overTls, watch),
      answerForError,
      onListen,
    );
    traffic.connections.add(connection);
    connection.server.finished.then(connection.end, connection.end);
  }

  /** Others may have made resources meanwhile: after one of ours, the next number is the server's. */
  function nextRid(): number {
    const newest = core.createCancelHandle();
    core.tryClose(newest);
    return newest + 1;
  }

  async function serveProxied(stream: number, options: Serving): Promise<void> {
    const { traffic, limits } = options;
    const pending = new ProxiedConnection(core, stream);
    traffic.connections.add(pending);
    const header = await pending.readHeader().catch(() => undefined);
    if (header?.kind === "whole") {
      const { client: named, secure: overTls } = header;
      const leave = named === undefined ? () => {} : enter(named, stream, options);
      if (leave !== undefined) {
        serveStream(stream, options, { rid: nextRid(), leave, named, overTls });
      }
    } else {
      if (header !== undefined) limits.count("proxyProtocol");
      core.tryClose(stream);
    }
    traffic.remove(pending);
  }

  function serveTcp(listener: TcpHandle, options: Serving): Acceptor {
    const { traffic, limits, proxyProtocol } = options;
    const TcpWrap = (listener as { constructor: unknown }).constructor as {
      new (type: 0): TcpHandle;
    };
    // One wrap serves all: it is empty again when its stream has been taken.
    const client = new TcpWrap(0);
    const take = (): boolean => {
      if (listener.accept(client) !== 0) return false;
      traffic.accepted++;
      const found: { address?: string; port?: number } = {};
      if (limits.byAddress && !proxyProtocol) client.getpeername(found);
      const stream = client.takeStream();
      if (proxyProtocol) {
        void serveProxied(stream, options);
        return true;
      }
      const { address: hostname, port = 0 } = found;
      const peer = hostname === undefined
        ? undefined
        : { transport: "tcp", hostname, port } as const;
      const leave = peer === undefined ? () => {} : enter(peer, stream, options);
      // The server takes the stream's resource, so that its own is the next number.
      if (leave !== undefined) serveStream(stream, options, { rid: stream + 1, leave, peer });
      return true;
    };
    const gate = new Gate(limits, traffic, listener, take);
    listener.onconnection = gate.come;
    const status = listener.listen(BACKLOG);
    if (status !== 0) throw new Error(`Cannot accept: listen returned ${status}`);
    const rest = keepAccepting(listener);
    return {
      stop: () => {
        rest();
        gate.close();
        listener.close();
      },
    };
  }

  function serveTls(listener: Deno.TlsListener, options: Serving): Acceptor {
    const { traffic, limits } = options;
    return acceptTls(listener, options, (connection) => {
      traffic.accepted++;
      const stream = (connection as unknown as Record<symbol, number>)[core.internalRidSymbol]!;
      const { localAddr } = connection;
      const peer = connection.remoteAddr as Deno.NetAddr;
      const leave = limits.byAddress ? enter(peer, stream, options, true) : () => {};
      if (leave !== undefined) {
        serveStream(stream, options, { rid: nextRid(), leave, localAddr, peer });
      }
    });
  }

  return {
    name: "native",
    upgrade: {
      options: (request) => {
        upgrades.begin(request);
        return {};
      },
      // The end of an HTTP connection closes what was upgraded on it, and on a one-connection server
      // that end comes with the upgrade. Closing the server's resource first leaves nothing to close.
      onOpen: (request) => {
        upgrades.opened(request);
        return (request as TrackedRequest)[CONNECTION]?.becomeSocket();
      },
    },
    serve: (given) => {
      const { handle, traffic } = given;
      const options = { ...given, limits: given.limits ?? new Limits(traffic) };
      return isTlsListener(handle)
        ? serveTls(handle, options)
        : serveTcp(handle as TcpHandle, options);
    },
  };
}

/** With limits, whatever was given. */
type Serving = ServeOptions & { readonly limits: Limits };
