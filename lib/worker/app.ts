/** The app contract: what a module must export, or start, to be served. */
import http from "node:http";

/** Where a request came from and when its answer is complete, as in `Deno.serve`. */
export type ServeInfo = Deno.ServeHandlerInfo<Deno.NetAddr | Deno.UnixAddr>;

/** The default export of an app's module, as in Hono, Deno and Workers. */
export interface Fetcher {
  fetch(request: Request, info: ServeInfo): Response | Promise<Response>;
}

/** What answers requests: a `fetch`, or a server of `node:http` that has not listened. */
export type Handler =
  | { readonly kind: "fetch"; readonly fetcher: Fetcher }
  | { readonly kind: "node"; readonly server: http.Server };

/** An app's module, checked. */
export interface App {
  readonly handler: Handler;
  /** Awaited before the worker says ready: warm-up, database. */
  open(): Promise<void>;
  /** Awaited at the end of the drain. */
  close(): Promise<void>;
}

type Listener = http.RequestListener;

/**
 * What a module's default export answers requests with: an object with `fetch`, as Hono, Bun and Workers
 * have it; a function of a request; a function of node:http's request and response, as Express is; what
 * makes one, as Koa and Fastify do; or a server that has not listened.
 *
 * @returns nothing if it is none of these
 */
export function handlerOf(exported: unknown): Handler | undefined {
  const value = withoutInterop(exported) as
    | (Partial<Fetcher> & { callback?: unknown; use?: unknown; routing?: unknown; ready?: unknown })
    | null
    | undefined;
  if (value === null || value === undefined) return undefined;
  if (typeof value.fetch === "function") return { kind: "fetch", fetcher: value as Fetcher };
  if (value instanceof http.Server) return { kind: "node", server: value };
  const listener = listenerOf(value);
  if (listener !== undefined) return { kind: "node", server: http.createServer(listener) };
  if (typeof value !== "function" || isClass(value)) return undefined;
  return { kind: "fetch", fetcher: { fetch: value as Fetcher["fetch"] } };
}

/** A function for node:http takes a request and a response, and one for the web only a request. */
function listenerOf(
  value: { callback?: unknown; use?: unknown; routing?: unknown; ready?: unknown },
): Listener | undefined {
  if (typeof value === "function") {
    return (value as CallableFunction).length >= 2 && !isClass(value)
      ? value as Listener
      : undefined;
  }
  if (typeof value.callback === "function" && typeof value.use === "function") {
    return value.callback() as Listener;
  }
  if (typeof value.routing === "function" && typeof value.ready === "function") {
    return value.routing as Listener;
  }
  return undefined;
}

function isClass(value: CallableFunction): boolean {
  return /^class\b/.test(Function.prototype.toString.call(value));
}

/** CommonJS that was compiled from an ES module has its default export one step further down. */
function withoutInterop(exported: unknown): unknown {
  const { __esModule, default: inner } = (exported ?? {}) as Record<string, unknown>;
  return __esModule === true && inner !== undefined ? inner : exported;
}

/**
 * Whether a module's default export is said by it to be what is served. What CommonJS exports is its default
 * whatever it is, and has each of its names besides.
 */
export function hasDefault(module: Record<string, unknown>): boolean {
  const { default: value } = module;
  if (value === undefined) return false;
  if (typeof value !== "object" || value === null) return true;
  return Object.keys(value).some((name) => !Object.hasOwn(module, name));
}

/** What a module without a handler is told. */
export function noHandler(module: Record<string, unknown>): TypeError {
  return new TypeError(
    !hasDefault(module)
      ? "The app's module exports no handler and has started no server; export a Hono app or " +
        "{ fetch(request, info) { ... } } as default, or start one with Deno.serve or node:http"
      : "The app's default export has no fetch(request, info); export a Hono app or " +
        "{ fetch(request, info) { ... } } as default",
  );
}

/**
 * A loaded module with what answers its requests.
 *
 * @throws {TypeError} that says which export is of the wrong kind
 */
export function toApp(module: Record<string, unknown>, handler: Handler): App {
  const hook = (name: "open" | "close") => {
    const value = module[name];
    if (value !== undefined && typeof value !== "function") {
      throw new TypeError(`The app's export ${name} is not a function but ${typeof value}`);
    }
    return async () => {
      await (value as (() => unknown) | undefined)?.();
    };
  };
  return { handler, open: hook("open"), close: hook("close") };
}
