/** The readiness path: tells load balancers whether to send requests here. */
import type { ServerResponse } from "node:http";
import type { Fetcher } from "./app.ts";
import type { DrainReason } from "../child/life.ts";
import type { RoleConfig } from "../protocol/to_worker.ts";

/** The realm's own: an app may put another class in its place. */
const { Response } = globalThis;

type Settings = NonNullable<Extract<RoleConfig, { role: "worker" }>["readiness"]>;

/** `https://` and at least one character of a host. */
const BEFORE_PATH = "https://".length;

const HEADERS = { "content-type": "text/plain", "cache-control": "no-store" };

export class Readiness {
  readonly #settings: Settings;
  #ready = true;

  constructor(settings: Settings) {
    this.#settings = settings;
  }

  /** Answers the readiness path, with any query, and passes the rest to the app. */
  wrap(fetcher: Fetcher): Fetcher {
    const { path } = this.#settings;
    return {
      fetch: (request, info) =>
        isAt(path, request.url) ? this.#answer() : fetcher.fetch(request, info),
    };
  }

  /** Whether a target of `node:http`, a path with its query, is the readiness path. */
  isFor(target: string): boolean {
    const { path } = this.#settings;
    return target.startsWith(path) &&
      (target.length === path.length || target[path.length] === "?");
  }

  /** Answers it there. */
  answerNode(outgoing: ServerResponse): void {
    outgoing.writeHead(this.#ready ? 200 : 503, HEADERS).end(
      this.#ready ? "ready\n" : "draining\n",
    );
  }

  /**
   * Answers 503 from now on, and waits until load balancers have had time to see it. A worker that is
   * replaced stays ready: another accepts on its listeners already, and 503 would take away a host that
   * serves. One whose supervisor is gone does not wait: the next supervisor cannot bind the addresses
   * before the listeners are closed.
   */
  async announce(reason: DrainReason): Promise<void> {
    if (reason === "replaced") return;
    this.#ready = false;
    if (reason === "orphaned") return;
    await new Promise((resolve) => setTimeout(resolve, this.#settings.shutdownDelayMs));
  }

  #answer(): Response {
    return this.#ready
      ? new Response("ready\n", { headers: HEADERS })
      : new Response("draining\n", { status: 503, headers: HEADERS });
  }
}

function isAt(path: string, url: string): boolean {
  const start = url.indexOf("/", BEFORE_PATH);
  const end = start + path.length;
  return url.startsWith(path, start) && (url.length === end || url[end] === "?");
}
