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
import { keepAccepting } from "../base/keep_accepting.ts";
import type { Connection, Traffic } from "./traffic.ts";
import { acceptTls, isTlsListener } from "./accept_tls.ts";
import { UpgradeGate } from "./upgrade_gate.ts";
import { copyResponse, findSlot, innerOf, isWhole, lengthOfBody } from "./response_body.ts";
import { watchBody } from "./watched_body.ts";

/** The realm's own: an app may put another class in its place. */
const { Response } = globalThis;

/** The part of `TCPWrap` (the handle behind `net.Socket`) that is used. */
interface TcpHandle {
  onconnection: (status: number) => void;
  accept(client: TcpHandle): number;
  takeStream(): number;
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

/** The kernel's queue of connections to be accepted; `net.core.somaxconn` caps it. */
const BACKLOG = 511;

/** Methods whose requests have no body that a close could break. */
const BODILESS: ReadonlySet<string> = new Set(["GET", "HEAD"]);

/**
 * How long what was answered over TLS may be on its way still when its connection has ended: the runtime
 * sends the rest by itself, and says nothing of it.
 */
const LAST_BYTES_MS = 1_000;

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
    typeof internals.core.createCancelHandle === "function" &&
    typeof internals.core.resources === "function";
  return complete ? internals as Internals : undefined;
}

/** Whether a handle can be served natively: a Unix socket's cannot. */
export function isNativeHandle(handle: unknown): handle is TcpHandle {
  const candidate = handle as Partial<TcpHandle> | null;
  return typeof candidate?.takeStream === "function" && typeof candidate.accept === "function";
}

const BACKING_SLOT = findSlot("[[resourceBacking]]", new ReadableStream());

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

/** Serves like `handle`, which is told who the client is where the peer is a trusted proxy. */
function proxied(handle: Handler, proxies: ClientAddress): Handler {
  let peer: Deno.Addr | undefined;
  let trusted = false;
  return (request, info) => {
    if (peer === undefined) trusted = proxies.trusts(peer = info.remoteAddr);
    if (!trusted) return handle(request, info);
    const { client, scheme } = proxies.factsOf(peer, (name) => request.headers.get(name));
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

/**
 * The stream that JavaScript makes the body of. Another one, such as a file's, the runtime reads by
 * itself, and faster than code that watched it could be.
 */
function scriptStream(response: Response): ReadableStream<Uint8Array<ArrayBuffer>> | undefined {
  const inner = innerOf(response);
  if (inner?.body === null || (inner?.body?.source ?? null) !== null) return undefined;
  const { body } = response;
  if (body === null || body.locked || response.bodyUsed) return undefined;
  return (body as unknown as Record<symbol, unknown>)[BACKING_SLOT] ? undefined : body;
}

/** What all connections of an engine use. */
interface Runtime {
  readonly core: Internals["core"];
  readonly gate: UpgradeGate;
}

class NativeConnection implements Connection {
  inFlight = 0;
  idleSinceMs = 0;
  server: HttpServer | undefined;
  readonly #fetcher: Fetcher;
  readonly #traffic: Traffic;
  /** Requests in flight that may have a body. */
  #uploads = 0;
  closeAnnounced = false;
  /** Whether any request has come. */
  #asked = false;
  /** Whether an answer may be on its way still when it is said to be out: it is encrypted after that. */
  readonly #secure: boolean;
  /** The resource of this connection's HTTP server. */
  readonly #rid: number;
  readonly #runtime: Runtime;

  constructor(fetcher: Fetcher, traffic: Traffic, runtime: Runtime, rid: number, secure: boolean) {
    this.#fetcher = fetcher;
    this.#traffic = traffic;
    this.#runtime = runtime;
    this.#rid = rid;
    this.#secure = secure;
  }

  readonly handle: Handler = (request, info) => {
    if (this.closeAnnounced && this.#mustEnd(request)) return NEVER;
    (request as TrackedRequest)[CONNECTION] = this;
    this.#asked = true;
    const traffic = this.#traffic;
    const { gate } = this.#runtime;
    const answer = gate.used && request.headers.has("upgrade")
      ? gate.answer(request, async () => requireResponse(await ask(this.#fetcher, request, info)))
      : ask(this.#fetcher, request, info);
    // The common answer comes at once and leaves whole: it is never in flight, and there is
    // nothing to wait for and nothing to change.
    if (answer instanceof Response && !traffic.draining && isWhole(answer)) {
      traffic.answered++;
      return answer;
    }
    this.inFlight++;
    traffic.inFlight++;
    const done = BODILESS.has(request.method) ? this.#done : this.#startUpload();
    return answer instanceof Response ? this.#send(answer, info, done) : answer.then(
      (response) => this.#send(requireResponse(response), info, done),
      (error) => this.#send(answerForError(error, request), info, done),
    );
  };

  get uploading(): boolean {
    return this.#uploads > 0;
  }

  readonly end = () => {
    this.#traffic.connections.delete(this);
    if (this.#secure && this.#asked) this.#traffic.lastBytesMs = performance.now() + LAST_BYTES_MS;
  };

  /**
   * Closes the HTTP server's resource, and only that, even if its number was reused: no more requests come
   * on the connection, and a WebSocket on it stays.
   */
  letGo(): void {
    const { core } = this.#runtime;
    if (core.resources()[this.#rid] === "http") core.tryClose(this.#rid);
  }

  close(): void {
    // One whose client has said nothing yet would wait for what it says.
    if (this.#secure && !this.#asked) return this.letGo();
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
    if (!this.#traffic.draining && isWhole(response)) {
      done();
      return response;
    }
    info.completed.then(done, done);
    const answer = endEventsAtDrain(response, this.#traffic);
    if (!this.#traffic.draining) return answer;
    this.closeAnnounced = true;
    return withConnectionClose(answer);
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
  const runtime = { core, gate: new UpgradeGate() };
  const noAddr = { transport: "tcp", hostname: "", port: 0 };
  const onListen = () => {};

  /** Serves a connection by its stream; `rid` is the number that the server's resource is to have. */
  function serveStream(
    stream: number,
    rid: number,
    { fetcher, traffic, access, proxies }: ServeOptions,
    localAddr?: Deno.Addr,
  ): void {
    const connection = new NativeConnection(
      fetcher,
      traffic,
      runtime,
      rid,
      localAddr !== undefined,
    );
    const recorded = access === undefined
      ? connection.handle
      : recording(connection.handle, access, proxies !== undefined);
    connection.server = serveHttpOnConnection(
      { [core.internalRidSymbol]: stream, localAddr: localAddr ?? noAddr },
      undefined,
      proxies === undefined ? recorded : proxied(recorded, proxies),
      answerForError,
      onListen,
    );
    traffic.accepted++;
    traffic.connections.add(connection);
    connection.server.finished.then(connection.end, connection.end);
  }

  function serveTcp(listener: TcpHandle, options: ServeOptions): Acceptor {
    const TcpWrap = (listener as { constructor: unknown }).constructor as {
      new (type: 0): TcpHandle;
    };
    // One wrap serves all: it is empty again when its stream has been taken.
    const client = new TcpWrap(0);
    listener.onconnection = () => {
      if (listener.accept(client) !== 0) return;
      const stream = client.takeStream();
      // The server takes the stream's resource, so that its own is the next number.
      serveStream(stream, stream + 1, options);
    };
    const status = listener.listen(BACKLOG);
    if (status !== 0) throw new Error(`Cannot accept: listen returned ${status}`);
    const rest = keepAccepting(listener);
    return {
      stop: () => {
        rest();
        listener.close();
      },
    };
  }

  function serveTls(listener: Deno.TlsListener, options: ServeOptions): Acceptor {
    return acceptTls(listener, (connection) => {
      const stream = (connection as unknown as Record<symbol, number>)[core.internalRidSymbol]!;
      // Others have taken numbers since it was accepted: the one after a new one is the next.
      const newest = core.createCancelHandle();
      core.tryClose(newest);
      serveStream(stream, newest + 1, options, connection.localAddr);
    });
  }

  return {
    name: "native",
    upgrade: {
      options: (request) => {
        runtime.gate.begin(request);
        return {};
      },
      // The end of an HTTP connection closes what was upgraded on it, and on a one-connection server
      // that end comes with the upgrade. Closing the server's resource first leaves nothing to close.
      onOpen: (request) => {
        runtime.gate.opened(request);
        (request as TrackedRequest)[CONNECTION]?.letGo();
      },
    },
    serve: (options) => {
      const { handle } = options;
      return isTlsListener(handle)
        ? serveTls(handle, options)
        : serveTcp(handle as TcpHandle, options);
    },
  };
}
