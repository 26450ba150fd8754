/** What a load balancer hears of a worker: whether it is to send more here. */
import type { Fetcher } from "./app.ts";
import type { DrainReason } from "../child/life.ts";
import type { Duty } from "../protocol/to_worker.ts";

type Settings = NonNullable<Extract<Duty, { role: "worker" }>["readiness"]>;

/** `https://` and at least one character of a host. */
const BEFORE_PATH = "https://".length;

export class Readiness {
  readonly #settings: Settings;
  #ready = true;

  constructor(settings: Settings) {
    this.#settings = settings;
  }

  /** Answers the readiness path, with whatever query, and leaves the rest to the app. */
  inFrontOf(fetcher: Fetcher): Fetcher {
    const { path } = this.#settings;
    return {
      fetch: (request, info) =>
        isAt(path, request.url) ? this.#answer() : fetcher.fetch(request, info),
    };
  }

  /**
   * Tells that this worker is about to leave, and waits until whoever asks had the time to hear it.
   * One that is replaced stays ready: another accepts on its listeners already, and 503 would take
   * away a host that serves. One whose supervisor is gone does not wait: the next supervisor cannot
   * bind the addresses before the listeners are left.
   */
  async announce(reason: DrainReason): Promise<void> {
    if (reason === "replaced") return;
    this.#ready = false;
    if (reason === "orphaned") return;
    await new Promise((resolve) => setTimeout(resolve, this.#settings.shutdownDelayMs));
  }

  #answer(): Response {
    const headers = { "content-type": "text/plain", "cache-control": "no-store" };
    return this.#ready
      ? new Response("ready\n", { headers })
      : new Response("draining\n", { status: 503, headers });
  }
}

function isAt(path: string, url: string): boolean {
  const start = url.indexOf("/", BEFORE_PATH);
  const end = start + path.length;
  return url.startsWith(path, start) && (url.length === end || url[end] === "?");
}
