/**
 * The guestbook without Holdfast, for a look at it: `deno run --allow-all alone.ts`. The helpers run
 * in this process, so nothing here is kept apart from anything. A separate entry, since `main.tsx`
 * must not bring decoders into a worker.
 */
import { createGuestbook } from "./guestbook.tsx";
import notify from "./helpers/notify.ts";
import thumbnails from "./helpers/thumbnails.ts";
import { writeReport } from "./report.ts";

const guestbook = createGuestbook({
  dataFolder: "./data",
  publicFolder: "./public",
  pictures: {
    make: async (photo) => {
      return await thumbnails.make.handle({ photo }, { signal: new AbortController().signal });
    },
  },
  notify: async (entry, signal) => await notify.entry.handle(entry, { signal }),
  report: writeReport,
});

await guestbook.open();
Deno.serve({ hostname: "127.0.0.1", port: 8000 }, (request) => guestbook.app.fetch(request));
