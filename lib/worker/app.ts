/** The app contract: what a module must export to be served. */

/** Where a request came from and when its answer is complete, as in `Deno.serve`. */
export type ServeInfo = Deno.ServeHandlerInfo<Deno.NetAddr | Deno.UnixAddr>;

/** The default export of an app's module, as in Hono, Deno and Workers. */
export interface Fetcher {
  fetch(request: Request, info: ServeInfo): Response | Promise<Response>;
}

/** An app's module, checked. */
export interface App {
  readonly fetcher: Fetcher;
  /** Awaited before the worker says ready: warm-up, database. */
  open(): Promise<void>;
  /** Awaited at the end of the drain. */
  close(): Promise<void>;
}

/**
 * Checks a loaded module against the contract.
 *
 * @throws {TypeError} that says which export is missing or of the wrong kind
 */
export function toApp(module: Record<string, unknown>): App {
  const fetcher = module.default as Partial<Fetcher> | null | undefined;
  if (typeof fetcher?.fetch !== "function") {
    throw new TypeError(
      "The app's default export has no fetch(request, info); export a Hono app or " +
        "{ fetch(request, info) { ... } } as default",
    );
  }
  const hook = (name: "open" | "close") => {
    const value = module[name];
    if (value !== undefined && typeof value !== "function") {
      throw new TypeError(`The app's export ${name} is not a function but ${typeof value}`);
    }
    return async () => {
      await (value as (() => unknown) | undefined)?.();
    };
  };
  return { fetcher: fetcher as Fetcher, open: hook("open"), close: hook("close") };
}
