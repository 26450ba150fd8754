/** What is served at the app's address while no version of it runs. */
import type { DevelopmentPage } from "../protocol/development.ts";
import type { ShownFailure } from "./page_server.ts";

/** Serves it until it is told to end. */
export class WaitingPage {
  readonly #server: Deno.HttpServer;
  readonly #abort = new AbortController();

  /** @param failure why no version runs */
  constructor(port: number, page: DevelopmentPage, failure: () => ShownFailure | undefined) {
    this.#server = Deno.serve(
      { hostname: "127.0.0.1", port, onListen: () => {}, signal: this.#abort.signal },
      () =>
        new Response(textOf(page, failure()), {
          status: 503,
          headers: {
            ...{ "content-type": "text/html; charset=utf-8", "cache-control": "no-store" },
            ...{ connection: "close", "retry-after": "1" },
          },
        }),
    );
  }

  async close(): Promise<void> {
    this.#abort.abort();
    await this.#server.finished;
  }
}

function textOf({ script }: DevelopmentPage, failure: ShownFailure | undefined): string {
  const { title = "The app is being started", message = "", frame = "" } = failure ?? {};
  return `<!doctype html>
<html lang="en">
<head><meta charset="utf-8"><title>${escape(title)}</title></head>
<body>
<h1>${escape(title)}</h1>
<pre>${escape([message, frame].filter((each) => each !== "").join("\n\n"))}</pre>
<script async src="${script}" data-born="${Number.MAX_SAFE_INTEGER}"></script>
</body>
</html>
`;
}

function escape(text: string): string {
  return text.replace(/[&<>"']/g, (mark) => `&#${mark.charCodeAt(0)};`);
}
