/**
 * The fast engine: Deno's own HTTP server, one instance a connection, over connections that were
 * accepted from a handed-over listener. Everything in here that is internal to Deno is looked up by
 * `detectNative`; where it is missing, the node engine serves.
 */
import type { Fetcher, ServeInfo } from "./app.ts";
import {
  answerForError,
  ask,
  endEventsAtDrain,
  requireResponse,
  withConnectionClose,
} from "./answer.ts";
import type { Acceptor, Engine, ServeOptions } from "./engine.ts";
import type { Connection, Traffic } from "./traffic.ts";

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

/** What the kernel keeps for us while no worker accepts; `net.core.somaxconn` caps it. */
const BACKLOG = 511;

/** Methods whose requests have no body that a close could break. */
const BODILESS: ReadonlySet<string> = new Set(["GET", "HEAD"]);

const CONNECTION = Symbol("connection");
type TrackedRequest = Request & { [CONNECTION]?: NativeConnection };

/**
 * Looks for the internal API, on this runtime.
 *
 * @returns nothing where it is missing or has changed
 */
export function detectNative(): Internals | undefined {
  const runtime = Deno as unknown as Record<PropertyKey, unknown>;
  const internals = runtime[runtime.internal as symbol] as Partial<Internals> | undefined;
  const complete = typeof internals?.serveHttpOnConnection === "function" &&
    typeof internals.core?.internalRidSymbol === "symbol" &&
    typeof internals.core.tryClose === "function" &&
    typeof internals.core.resources === "function";
  return complete ? internals as Internals : undefined;
}

/** Whether a handle can be served natively: a Unix socket's cannot. */
export function isNativeHandle(handle: unknown): handle is TcpHandle {
  const candidate = handle as Partial<TcpHandle> | null;
  return typeof candidate?.takeStream === "function" && typeof candidate.accept === "function";
}

/** A response's own slots by their names; what is in them tells of its body without unfolding it. */
function findSlot(name: string): symbol {
  const slots = Object.getOwnPropertySymbols(new Response("x"));
  return slots.find((slot) => slot.description === name) ?? Symbol(name);
}

const TEXT_SLOT = findSlot("serve fast body");
const BYTES_SLOT = findSlot("serve native response");

/** Whether the runtime has the whole answer at hand and sends it in one go. */
function isWhole(response: Response): boolean {
  const slots = response as unknown as Record<symbol, unknown>;
  return (slots[TEXT_SLOT] ?? slots[BYTES_SLOT] ?? null) !== null;
}

class NativeConnection implements Connection {
  inFlight = 0;
  idleSinceMs = 0;
  server: HttpServer | undefined;
  readonly #fetcher: Fetcher;
  readonly #traffic: Traffic;
  /** Requests in flight that may have a body. */
  #uploads = 0;
  told = false;
  /** The resource of this connection's HTTP server. */
  readonly rid: number;

  constructor(fetcher: Fetcher, traffic: Traffic, rid: number) {
    this.#fetcher = fetcher;
    this.#traffic = traffic;
    this.rid = rid;
  }

  readonly handle: Handler = (request, info) => {
    (request as TrackedRequest)[CONNECTION] = this;
    const traffic = this.#traffic;
    const answer = ask(this.#fetcher, request, info);
    // The common answer comes at once and leaves whole: nobody can see it in flight, and there is
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
      (error) => this.#send(answerForError(error), info, done),
    );
  };

  get uploading(): boolean {
    return this.#uploads > 0;
  }

  readonly end = () => {
    this.#traffic.connections.delete(this);
  };

  close(): void {
    // `finished` tells when it is over; a failure here means that it already is.
    this.server?.shutdown().catch(() => {});
  }

  #send(response: Response, info: ServeInfo, done: () => void): Response {
    if (!this.#traffic.draining && isWhole(response)) {
      done();
      return response;
    }
    info.completed.then(done, done);
    const answer = endEventsAtDrain(response, this.#traffic);
    if (!this.#traffic.draining) return answer;
    this.told = true;
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
  const localAddr = { transport: "tcp", hostname: "", port: 0 };
  const onListen = () => {};

  // The end of an HTTP connection closes what was upgraded on it, and on a one-connection server
  // that end comes with the upgrade. Closing the server's resource first leaves nothing to close.
  const onOpen = (request: Request) => {
    const rid = (request as TrackedRequest)[CONNECTION]?.rid;
    if (rid !== undefined && core.resources()[rid] === "http") core.tryClose(rid);
  };

  return {
    name: "native",
    upgrade: { options: () => ({}), onOpen },
    serve({ handle, fetcher, traffic }: ServeOptions): Acceptor {
      const listener = handle as TcpHandle;
      const TcpWrap = (listener as { constructor: unknown }).constructor as {
        new (type: 0): TcpHandle;
      };
      // One wrap serves all: it is empty again when its stream has been taken.
      const client = new TcpWrap(0);
      listener.onconnection = () => {
        if (listener.accept(client) !== 0) return;
        const stream = client.takeStream();
        // The server takes the stream's resource, so that its own is the next number.
        const connection = new NativeConnection(fetcher, traffic, stream + 1);
        connection.server = serveHttpOnConnection(
          { [core.internalRidSymbol]: stream, localAddr },
          undefined,
          connection.handle,
          answerForError,
          onListen,
        );
        traffic.accepted++;
        traffic.connections.add(connection);
        connection.server.finished.then(connection.end, connection.end);
      };
      const status = listener.listen(BACKLOG);
      if (status !== 0) throw new Error(`Cannot accept: listen returned ${status}`);
      return { stop: () => listener.close() };
    },
  };
}
