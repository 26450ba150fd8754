/**
 * The guestbook as Holdfast runs it: a default export with `fetch`, and `open` and `close` around it.
 * Its two helpers do what is dangerous: decoding uploaded photos and connecting out.
 */
import { helper } from "holdfast/helper";
import { createGuestbook } from "./guestbook.tsx";
import type notify from "./helpers/notify.ts";
import { notifyContract } from "./helpers/notify_contract.ts";
import type thumbnails from "./helpers/thumbnails.ts";
import { thumbnailsContract } from "./helpers/thumbnails_contract.ts";
import { writeReport } from "./report.ts";

const guestbook = createGuestbook({
  dataFolder: "./data",
  publicFolder: `${import.meta.dirname}/public`,
  pictures: {
    // A helper may have been taken over by a photo: this process judges what it says by itself.
    make: (photo) => helper<typeof thumbnails>("thumbnails", thumbnailsContract).make({ photo }),
  },
  notify: (entry, signal) =>
    helper<typeof notify>("notify", notifyContract).entry(entry, { signal }),
  report: writeReport,
});

export const open = guestbook.open;
export const close = guestbook.close;
export default guestbook.app;
