/** A collector of traces: takes OTLP over HTTP as JSON, and keeps what comes. */
import * as z from "zod";

const Value = z.object({
  stringValue: z.string().optional(),
  intValue: z.union([z.string(), z.number()]).optional(),
});
const Attributes = z.array(z.object({ key: z.string(), value: Value })).transform((list) =>
  Object.fromEntries(
    list.map(({ key, value }) => [key, value.stringValue ?? String(value.intValue)]),
  )
);

/** What of an ExportTraceServiceRequest is looked at (opentelemetry-proto, trace_service.proto). */
const Export = z.object({
  resourceSpans: z.array(z.object({
    resource: z.object({ attributes: Attributes }),
    scopeSpans: z.array(z.object({
      spans: z.array(
        z.object({ name: z.string(), traceId: z.string(), attributes: Attributes.prefault([]) }),
      ),
    })),
  })),
});

/** A span, with what its resource says. */
export interface CollectedSpan {
  readonly name: string;
  readonly traceId: string;
  readonly attributes: Readonly<Record<string, string>>;
  readonly resource: Readonly<Record<string, string>>;
}

export class Collector implements AsyncDisposable {
  readonly spans: CollectedSpan[] = [];
  /** What was posted, as paths. */
  readonly paths: string[] = [];
  readonly #server: Deno.HttpServer<Deno.NetAddr>;

  constructor() {
    this.#server = Deno.serve(
      { hostname: "127.0.0.1", port: 0, onListen: () => {} },
      async (request) => {
        this.paths.push(new URL(request.url).pathname);
        const { resourceSpans } = Export.parse(await request.json());
        for (const { resource, scopeSpans } of resourceSpans) {
          this.spans.push(
            ...scopeSpans.flatMap(({ spans }) =>
              spans.map((span) => ({ ...span, resource: resource.attributes }))
            ),
          );
        }
        return Response.json({});
      },
    );
  }

  /** Where it listens: host and port. */
  get address(): string {
    return `127.0.0.1:${this.#server.addr.port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.shutdown();
  }
}
