/**
 * The app that load tests are served with. It imports nothing but `hono` and `./version.ts`, so that
 * a test can copy the two files into a project of its own. The client says in the query what it
 * wants, so the sizes are named once, in `shape.ts`; the defaults here are for a person with curl.
 */
import { type Context, Hono } from "hono";
import { upgradeWebSocket } from "hono/deno";
import { stream, streamSSE } from "hono/streaming";
import { GENERATION } from "./version.ts";

const FILLING = "x".repeat(1000);

const app = new Hono();

app.use(async (c, next) => {
  // Set beforehand: Hono rebuilds an answer whose headers are changed afterwards around a stream.
  c.header("x-generation", GENERATION);
  await next();
});

app.get("/", (c) => c.text(`generation ${GENERATION}\n`));

app.get("/slow", async (c) => {
  await sleep(boundedQuery(c, "ms", 200, 60_000));
  return c.text(`generation ${GENERATION}\n`);
});

app.get("/stream", (c) => {
  const chunks = boundedQuery(c, "chunks", 30, 10_000);
  const everyMs = boundedQuery(c, "everyMs", 100, 60_000);
  return stream(c, async (out) => {
    for (let index = 0; index < chunks && !out.aborted; index++) {
      if (index > 0) await out.sleep(everyMs);
      await out.write(`chunk ${index} ${FILLING}\n`);
    }
  });
});

app.post("/upload", async (c) => {
  let bytes = 0;
  for await (const piece of c.req.raw.body ?? []) bytes += piece.byteLength;
  return c.text(String(bytes));
});

app.get("/events", (c) => {
  const everyMs = boundedQuery(c, "everyMs", 100, 60_000);
  const last = Number(c.req.header("last-event-id") ?? -1);
  if (!Number.isSafeInteger(last)) return c.text("Last-Event-ID is not a number\n", 400);
  return streamSSE(c, async (out) => {
    for (let id = last + 1; !out.aborted; id++) {
      await out.writeSSE({ id: String(id), data: `event ${id} of generation ${GENERATION}` });
      await out.sleep(everyMs);
    }
  });
});

app.get(
  "/ws",
  upgradeWebSocket(() => ({ onMessage: (event, socket) => socket.send(event.data as string) })),
);

function boundedQuery(c: Context, name: string, usual: number, most: number): number {
  const number = Number(c.req.query(name) ?? usual);
  return Number.isSafeInteger(number) && number >= 0 && number <= most ? number : usual;
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

export default app;
