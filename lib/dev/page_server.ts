/** Tells pages of reloads, from an address of its own: the app's is its worker's. */
import { timingSafeEqual } from "node:crypto";
import type { DevelopmentPage } from "../protocol/development.ts";
import { PAGE_SCRIPT } from "./page_script.ts";

/** Why the newest version does not serve, as pages show it. */
export interface ShownFailure {
  readonly title: string;
  readonly message: string;
  readonly place?: string;
  readonly frame?: string;
  readonly hint?: string;
  /** What serves meanwhile, and what mends it. */
  readonly outlook: string;
}

/** What pages are told. */
export type PageEvent =
  | { readonly type: "reload" }
  | { readonly type: "failure"; readonly failure: ShownFailure }
  | { readonly type: "style"; readonly names: readonly string[] }
  | { readonly type: "refused"; readonly text: string };

export interface PageServerOptions {
  /** Of the app. */
  readonly appPort: number;
  /** The port that is wanted: pages of an earlier run find this one there. */
  readonly port: number;
  /** What only pages know: another site's must not read sources out of errors. */
  readonly token: string;
  /** Called when a page has begun to listen. */
  readonly opened: () => void;
}

type Client = ReadableStreamDefaultController<Uint8Array<ArrayBuffer>>;

/** How far from the app's port that of this server is. */
const DISTANCE = 20_000;

/** The port that goes with an app's. */
export function pagePort(appPort: number): number {
  return appPort + DISTANCE <= 65_535 ? appPort + DISTANCE : appPort - DISTANCE;
}

export class PageServer {
  readonly #options: PageServerOptions;
  readonly #instance = crypto.randomUUID();
  readonly #clients = new Set<Client>();
  readonly #server: Deno.HttpServer<Deno.NetAddr>;
  #failure: ShownFailure | undefined;
  #sinceMs = 0;

  constructor(options: PageServerOptions) {
    this.#options = options;
    const serve = (port: number) =>
      Deno.serve(
        { hostname: "127.0.0.1", port, onListen: () => {} },
        (request) => this.#answer(request),
      );
    try {
      this.#server = serve(options.port);
    } catch (error) {
      if (!(error instanceof Deno.errors.AddrInUse)) throw error;
      this.#server = serve(0);
    }
  }

  /** What pages need to know of it. */
  get page(): DevelopmentPage {
    const base = `http://127.0.0.1:${this.#server.addr.port}/${this.#options.token}`;
    return { script: `${base}/page.js`, events: `${base}/events` };
  }

  /** How many pages listen. */
  get pages(): number {
    return this.#clients.size;
  }

  get failure(): ShownFailure | undefined {
    return this.#failure;
  }

  /** A version serves since `sinceMs`, in milliseconds since 1970: what is older is to be loaded again. */
  serves(sinceMs: number): void {
    this.#sinceMs = sinceMs;
    this.#failure = undefined;
    this.tell({ type: "reload" });
  }

  fails(failure: ShownFailure): void {
    this.#failure = failure;
    this.tell({ type: "failure", failure });
  }

  tell(event: PageEvent): void {
    for (const client of this.#clients) this.#send(client, event);
  }

  async close(): Promise<void> {
    for (const client of this.#clients) {
      try {
        client.close();
      } catch {
        // The page is gone.
      }
    }
    this.#clients.clear();
    await this.#server.shutdown();
  }

  #send(client: Client, event: object): void {
    try {
      client.enqueue(new TextEncoder().encode(`data: ${JSON.stringify(event)}\n\n`));
    } catch {
      this.#clients.delete(client);
    }
  }

  #answer(request: Request): Response {
    const [, token = "", name = "", ...more] = new URL(request.url).pathname.split("/");
    if (!isSame(token, this.#options.token) || more.length > 0 || request.method !== "GET") {
      return new Response("Not found\n", { status: 404 });
    }
    const headers = {
      ...{ "cache-control": "no-store", "x-content-type-options": "nosniff" },
      // Pages that load nothing of others' load this.
      "cross-origin-resource-policy": "cross-origin",
    };
    if (name === "page.js") {
      return new Response(PAGE_SCRIPT, {
        headers: { ...headers, "content-type": "text/javascript; charset=utf-8" },
      });
    }
    const origin = request.headers.get("origin");
    if (name !== "events" || origin !== null && !this.#isApp(origin)) {
      return new Response("Not found\n", { status: 404 });
    }
    let own: Client | undefined;
    const body = new ReadableStream<Uint8Array<ArrayBuffer>>({
      start: (client) => {
        own = client;
        this.#clients.add(client);
        const hello = { instance: this.#instance, sinceMs: this.#sinceMs };
        client.enqueue(new TextEncoder().encode("retry: 500\n\n"));
        this.#send(client, { type: "hello", ...hello, failure: this.#failure ?? null });
      },
      cancel: () => void this.#clients.delete(own!),
    });
    this.#options.opened();
    return new Response(body, {
      headers: {
        ...{ ...headers, "content-type": "text/event-stream" },
        ...origin !== null && { "access-control-allow-origin": origin, vary: "origin" },
      },
    });
  }

  /** Whether a page of the app asks, by one of the names of this machine. */
  #isApp(origin: string): boolean {
    if (!URL.canParse(origin)) return false;
    const { protocol, hostname, port } = new URL(origin);
    return protocol === "http:" && Number(port || 80) === this.#options.appPort &&
      /^(localhost|127\.0\.0\.1|\[::1\]|[\w-]+\.localhost)$/.test(hostname);
  }
}

function isSame(one: string, other: string): boolean {
  const [first, second] = [one, other].map((each) => new TextEncoder().encode(each));
  return first!.length === second!.length && timingSafeEqual(first!, second!);
}
