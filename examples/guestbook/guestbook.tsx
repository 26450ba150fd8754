/** @jsxImportSource hono/jsx */
/** The routes, and the lifetime of what they need. */
import { type Context, Hono } from "hono";
import { csrf } from "hono/csrf";
import { HTTPException } from "hono/http-exception";
import { secureHeaders } from "hono/secure-headers";
import { HelperError } from "holdfast/helper";
import * as z from "zod";
import { type Assets, loadAssets, serveAsset } from "./assets.ts";
import { PHOTO_REFUSALS, readForm, type Signing } from "./form.ts";
import type { Made } from "./helpers/thumbnails_contract.ts";
import { LiveFeed, type LiveOptions } from "./live.ts";
import { type MadePhoto, openPhoto, removePhoto, savePhoto, sweepParts } from "./photo.ts";
import { isStorageTrouble, Store } from "./store.ts";
import { type Tell, Teller } from "./teller.ts";
import { BookPage, type BookProps, EntryCard, NoticePage } from "./views.tsx";
import { NOTICES, type NoticeStatus } from "./notices.ts";

/** Decodes uploaded photos, which the app itself never does. */
export interface Pictures {
  make(photo: Uint8Array<ArrayBuffer>): Promise<Made>;
}

export interface GuestbookOptions {
  dataFolder: string;
  publicFolder: string;
  pictures: Pictures;
  /** Tells somebody else of new entries. Signing does not wait for it. */
  notify?: Tell;
  /** Hears of errors that a visitor only sees as an error page. */
  report?: (error: unknown) => void;
  /** A book that anybody may sign must not be able to fill the disk with text. */
  maxDatabaseBytes?: number;
  live?: LiveOptions;
}

export interface Guestbook {
  app: Hono;
  open(): Promise<void>;
  close(): Promise<void>;
  liveClientCount(): number;
}

interface Opened {
  assets: Assets;
  store: Store;
  feed: LiveFeed;
  teller: Teller | undefined;
}

const PAGE_ENTRIES = 18;
const DEFAULT_MAX_DATABASE_BYTES = 512 * 1024 * 1024;

/** An id from an address or a header. Nonsense counts as absent. */
const EntryId = z.coerce.number().int().nonnegative().optional().catch(undefined);

const SELF = ["'self'"];
const NONE = ["'none'"];

/** Makes the app. Nothing touches the disk before `open`. */
export function createGuestbook(options: GuestbookOptions): Guestbook {
  const { dataFolder, publicFolder, pictures, notify, report = () => {} } = options;
  const photoFolder = `${dataFolder}/photos`;
  let opened: Opened | undefined;

  function use(): Opened {
    if (opened === undefined) throw new Error("Cannot use the guestbook: it is not open");
    return opened;
  }

  async function open(): Promise<void> {
    await Deno.mkdir(photoFolder, { recursive: true });
    await sweepParts(photoFolder, Date.now());
    const assets = await loadAssets(publicFolder);
    const maxBytes = options.maxDatabaseBytes ?? DEFAULT_MAX_DATABASE_BYTES;
    const store = new Store(`${dataFolder}/guestbook.db`, maxBytes);
    const feed = new LiveFeed({
      newestId: () => store.newestId(),
      listAfter: (afterId, limit) =>
        store.listAfter(afterId, limit).map((entry) => ({
          id: entry.id,
          fragment: String(<EntryCard entry={entry} />),
        })),
    }, { report, ...options.live });
    const teller = notify === undefined ? undefined : new Teller(notify, report);
    opened = { assets, store, feed, teller };
  }

  async function close(): Promise<void> {
    // The feed first: its timer reads the database.
    opened?.feed[Symbol.dispose]();
    opened?.store[Symbol.dispose]();
    const teller = opened?.teller;
    opened = undefined;
    await teller?.close();
  }

  function notice(c: Context, status: NoticeStatus): Response | Promise<Response> {
    const { title, text } = NOTICES[status];
    if (status === 503) c.header("Retry-After", "10");
    return c.html(<NoticePage assets={use().assets} title={title}>{text}</NoticePage>, status);
  }

  function book(beforeId?: number, extra: Pick<BookProps, "draft" | "problems"> = {}) {
    const { assets, store } = use();
    // One more than a page holds tells whether an older page exists.
    const found = store.list(PAGE_ENTRIES + 1, beforeId);
    const entries = found.slice(0, PAGE_ENTRIES);
    const olderBeforeId = found.length > PAGE_ENTRIES ? entries.at(-1)?.id : undefined;
    const position = beforeId === undefined ? "newest" : "older";
    return <BookPage {...{ assets, entries, position, olderBeforeId, ...extra }} />;
  }

  /** Stores an entry, and gives its id. */
  async function sign({ name, message }: Signing, made: MadePhoto | undefined): Promise<number> {
    const { store, teller } = use();
    // The files come before the row: a live page may ask for them at once.
    const stored = made === undefined ? undefined : await savePhoto(photoFolder, made);
    let id: number;
    try {
      const { photo, thumbnail } = stored ?? { photo: null, thumbnail: null };
      const { width, height } = made?.thumbnail ?? { width: null, height: null };
      id = store.add({ name, message, photo, thumbnail, width, height }, Date.now());
    } catch (error) {
      if (stored !== undefined) await removePhoto(photoFolder, stored);
      throw error;
    }
    teller?.tell({ id, name, message });
    return id;
  }

  const app = new Hono();

  app.use(secureHeaders({
    contentSecurityPolicy: {
      defaultSrc: NONE,
      scriptSrc: SELF,
      styleSrc: SELF,
      imgSrc: [...SELF, "blob:"],
      connectSrc: SELF,
      formAction: SELF,
      baseUri: NONE,
      frameAncestors: NONE,
    },
    xFrameOptions: "DENY",
    // Only the proxy that terminates TLS knows whether this host is always HTTPS.
    strictTransportSecurity: false,
  }));

  app.get("/healthz", (c) => c.text("ok"));

  app.get("/", (c) => {
    c.header("Cache-Control", "no-cache");
    return c.html(book(EntryId.parse(c.req.query("before"))));
  });

  // Somebody who reloads the page of a refused form comes here.
  app.get("/entries", (c) => c.redirect("/", 303));

  app.post("/entries", csrf(), async (c) => {
    const form = await readForm(c.req.raw);
    if (form.outcome === "unreadable") return notice(c, form.status);
    if (form.outcome === "invalid") {
      const { draft, problems, status } = form;
      return c.html(book(undefined, { draft, problems }), status);
    }
    const { photo, ...draft } = form.signing;
    const made = photo === undefined ? undefined : await pictures.make(photo);
    if (made?.outcome === "refused") {
      const { status, text } = PHOTO_REFUSALS[made.reason];
      return c.html(book(undefined, { draft, problems: { photo: text } }), status);
    }
    const id = await sign(form.signing, made);
    // To the entry itself: on a small screen it is far from the form, and nothing else would be seen.
    return c.redirect(`/#entry-${id}`, 303);
  });

  app.get("/photos/:name", async (c) => {
    const name = c.req.param("name");
    const photo = await openPhoto(photoFolder, name);
    if (photo === undefined) return notice(c, 404);
    c.header("Content-Type", photo.mediaType);
    c.header("Content-Length", String(photo.sizeBytes));
    c.header("Content-Disposition", "inline");
    c.header("Cache-Control", "public, max-age=31536000, immutable");
    // The body of an answer to HEAD is not read, so the file would not be closed.
    if (c.req.raw.method !== "HEAD") return c.body(photo.file.readable);
    photo.file.close();
    return c.body(null);
  });

  app.get("/events", (c) => {
    c.header("Content-Type", "text/event-stream; charset=utf-8");
    c.header("Cache-Control", "no-store");
    // As with photos: the stream of a HEAD would never be cancelled.
    if (c.req.raw.method === "HEAD") return c.body(null);
    // A browser that reconnects knows better than the page it once loaded.
    const after = c.req.header("Last-Event-ID") || c.req.query("after");
    return c.body(use().feed.connect(EntryId.parse(after)));
  });

  app.get("/public/:file", (c) => {
    const asset = use().assets.get(c.req.param("file"));
    return asset === undefined ? notice(c, 404) : serveAsset(asset, c.req.raw);
  });

  app.notFound((c) => notice(c, 404));

  app.onError((error, c) => {
    if (error instanceof HTTPException && error.status === 403) return notice(c, 403);
    report(error);
    const passes = isStorageTrouble(error) || error instanceof HelperError && error.passing;
    return notice(c, passes ? 503 : 500);
  });

  return { app, open, close, liveClientCount: () => opened?.feed.clientCount ?? 0 };
}
