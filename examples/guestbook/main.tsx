/** @jsxImportSource hono/jsx */
/**
 * The guestbook as Holdfast runs it: a default export with `fetch`, and `open` and `close` around it.
 */
import { createGuestbook } from "./guestbook.tsx";

const guestbook = createGuestbook({
  dataFolder: "./data",
  publicFolder: "./public",
  report: (error) => {
    const text = error instanceof Error ? error.stack ?? error.message : String(error);
    const line = JSON.stringify({ event: "request_failed", error: text }) + "\n";
    Deno.stderr.writeSync(new TextEncoder().encode(line));
  },
});

export const open = guestbook.open;
export const close = guestbook.close;
export default guestbook.app;

if (import.meta.main) {
  await open();
  Deno.serve({ hostname: "127.0.0.1", port: 8000 }, (request) => guestbook.app.fetch(request));
}
