/**
 * Servers that the app starts by itself, as most apps do: the first one is what Holdfast serves, on
 * its own listeners. Holdfast decides when it listens and when it ends; the app is told as if it did.
 */
import http from "node:http";
import net from "node:net";
import process from "node:process";
import { report } from "../child/report.ts";
import type { Fetcher, Handler } from "./app.ts";
import { explainListening } from "./listening.ts";

/** Why a server with its own certificate is not taken. */
const NO_TLS = "Holdfast serves plain HTTP: leave TLS to a proxy in front, and start the server " +
  "without a certificate";

type ServeArguments = readonly [
  first: ServeSettings | Deno.ServeHandler,
  second?: Deno.ServeHandler | ServeSettings,
];

interface ServeSettings {
  readonly handler?: Deno.ServeHandler;
  readonly port?: number;
  readonly hostname?: string;
  readonly path?: string;
  readonly cert?: string;
  readonly key?: string;
  onListen?(address: Deno.Addr): void;
  onError?(error: unknown): Response | Promise<Response>;
}

/** What a server of `node:http` is given to hold. */
type OwnServer = http.Server & { listening: boolean };

export class AppServers {
  /** The addresses of Holdfast's listeners, by which the app is told where it listens. */
  readonly #addresses: readonly string[];
  readonly #first = Promise.withResolvers<Handler>();
  readonly #ended = Promise.withResolvers<void>();
  readonly #servers = new Set<OwnServer>();
  #taken: Handler | undefined;

  constructor(addresses: readonly string[]) {
    this.#addresses = addresses;
  }

  /** The app's first server, if it has started one. */
  get taken(): Handler | undefined {
    return this.#taken;
  }

  /** The app's first server, when it starts one. */
  get first(): Promise<Handler> {
    return this.#first.promise;
  }

  /** Takes the place of what listens. To be called once, before the app is loaded. */
  install(): void {
    explainListening();
    // deno-lint-ignore no-this-alias -- for the method of a server, which has a `this` of its own
    const servers = this;
    const { serve } = Deno;
    // Two functions in one: it has several forms, of which only what it does counts here.
    Deno.serve = ((...all: ServeArguments) => {
      const { handler, settings } = readServe(all);
      if (handler === undefined) return Reflect.apply(serve, Deno, all);
      return servers.#serve(handler, settings);
    }) as unknown as typeof Deno.serve;
    const { prototype } = http.Server as unknown as { prototype: { listen: unknown } };
    prototype.listen = function (this: OwnServer, ...all: unknown[]) {
      return servers.#listen(this, all);
    };
  }

  /** Makes the handler of a `(request, response)` of node:http, or of a server of it. */
  hold(server: http.Server): Handler {
    this.#own(server as OwnServer);
    return { kind: "node", server };
  }

  /** Says to the app that its servers have ended. */
  end(): void {
    this.#ended.resolve();
    for (const server of this.#servers) server.emit("close");
  }

  /** Says what becomes of the app's servers where its module exports what is served. */
  leave(): void {
    if (this.#taken === undefined) return;
    report("The app exports what answers requests, and that is served; its own server is not");
  }

  #serve(handler: Deno.ServeHandler, settings: ServeSettings): Deno.HttpServer {
    if (settings.cert !== undefined || settings.key !== undefined) throw new TypeError(NO_TLS);
    this.#take({ kind: "fetch", fetcher: toFetcher(handler, settings) }, "Deno.serve", settings);
    const addr = addressOf(this.#addresses[0]);
    settings.onListen?.(addr);
    const finished = this.#ended.promise;
    const shutdown = () => finished;
    return {
      addr: addr as Deno.NetAddr,
      finished,
      ref() {},
      unref() {},
      shutdown,
      [Symbol.asyncDispose]: shutdown,
    };
  }

  #listen(server: OwnServer, all: readonly unknown[]): OwnServer {
    if (this.#servers.has(server)) return server;
    this.#own(server);
    const [settings] = all;
    const asked = typeof settings === "object" && settings !== null
      ? settings as ServeSettings
      : { port: settings as number };
    this.#take({ kind: "node", server }, "listen", asked);
    const onListening = all.findLast((each) => typeof each === "function");
    if (onListening) server.once("listening", onListening as () => void);
    process.nextTick(() => server.emit("listening"));
    return server;
  }

  #own(server: OwnServer): void {
    this.#servers.add(server);
    // Deno destroys a connection after the answer when its server does not listen (denoland/deno#35609).
    Object.defineProperty(server, "listening", { value: true, configurable: true });
    const [address] = this.#addresses;
    Object.assign(server, {
      address: () => nodeAddressOf(address),
      // When connections end is Holdfast's to say: at a drain, after what is in flight.
      close: (done?: () => void) => {
        if (typeof done === "function") server.once("close", done);
        return server;
      },
      closeAllConnections() {},
      closeIdleConnections() {},
      [Symbol.asyncDispose]: () => this.#ended.promise,
    });
  }

  #take(handler: Handler, call: string, { port, path }: ServeSettings): void {
    const asked = typeof port === "number" || typeof port === "string"
      ? `port ${port}`
      : path ?? "its own address";
    if (this.#taken !== undefined) {
      report(
        `The app starts a second server (${call}, ${asked}): it gets no requests. Holdfast serves ` +
          `the first one`,
      );
      return;
    }
    this.#taken = handler;
    report(
      `The app's server (${call}) is served on ${
        this.#addresses.join(", ")
      }, as \`listen\` of the ` +
        `config has it; ${asked} is not used`,
    );
    this.#first.resolve(handler);
  }
}

function readServe(
  [first, second]: ServeArguments,
): { handler: Deno.ServeHandler | undefined; settings: ServeSettings } {
  if (typeof first === "function") {
    return { handler: first, settings: typeof second === "object" ? second ?? {} : {} };
  }
  const settings = first ?? {};
  const handler = typeof second === "function" ? second : settings.handler;
  return { handler: typeof handler === "function" ? handler : undefined, settings };
}

/** The handler as `fetch`, with its own answer to an error. */
function toFetcher(handler: Deno.ServeHandler, { onError }: ServeSettings): Fetcher {
  const fetch = handler as Fetcher["fetch"];
  if (onError === undefined) return { fetch };
  return {
    fetch: (request, info) => {
      try {
        const answer = fetch(request, info);
        return answer instanceof Promise ? answer.catch(onError) : answer;
      } catch (error) {
        return onError(error);
      }
    },
  };
}

/** An address of a listener, as Deno has it. */
export function addressOf(text = ""): Deno.NetAddr | Deno.UnixAddr {
  if (text.startsWith("unix:")) return { transport: "unix", path: text.slice("unix:".length) };
  const at = text.lastIndexOf(":");
  const hostname = text.slice(0, Math.max(0, at)).replace(/^\[|\]$/g, "");
  return { transport: "tcp", hostname, port: Number(text.slice(at + 1)) };
}

function nodeAddressOf(text: string | undefined): net.AddressInfo | string {
  const address = addressOf(text);
  if (address.transport === "unix") return address.path;
  const { hostname, port } = address as Deno.NetAddr;
  return { address: hostname, family: net.isIPv6(hostname) ? "IPv6" : "IPv4", port };
}
