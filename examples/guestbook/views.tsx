/** @jsxImportSource hono/jsx */
/** The pages. All text from visitors goes through JSX, which escapes it. */
import type { Child } from "hono/jsx";
import { raw } from "hono/html";
import { assetPath, type Assets } from "./assets.ts";
import { type Draft, MAX_MESSAGE_CHARS, MAX_NAME_CHARS, type Problems } from "./form.ts";
import { PHOTO_ACCEPT } from "./photo_kind.ts";
import type { Entry } from "./store.ts";

const TONE_COUNT = 6;

const utcFormat = new Intl.DateTimeFormat("en-GB", {
  dateStyle: "medium",
  timeStyle: "short",
  timeZone: "UTC",
});

function Layout({ assets, title, children }: { assets: Assets; title: string; children: Child }) {
  return (
    <>
      {raw("<!doctype html>")}
      <html lang="en">
        <head>
          <meta charset="utf-8" />
          <meta name="viewport" content="width=device-width, initial-scale=1" />
          <meta name="color-scheme" content="light dark" />
          <meta name="description" content="A small guestbook for kind words and photos." />
          <title>{title}</title>
          <link rel="icon" type="image/svg+xml" href={assetPath(assets, "favicon.svg")} />
          <link rel="stylesheet" href={assetPath(assets, "style.css")} />
          <script type="module" src={assetPath(assets, "app.js")}></script>
        </head>
        <body>
          {children}
          <footer class="colophon">Served by Holdfast</footer>
        </body>
      </html>
    </>
  );
}

export interface BookProps {
  assets: Assets;
  entries: Entry[];
  /** Only the first page is live: on an older page a new entry would stand in the wrong place. */
  position: "newest" | "older";
  olderBeforeId?: number | undefined;
  draft?: Draft | undefined;
  problems?: Problems | undefined;
}

export function BookPage({ assets, entries, position, olderBeforeId, draft, problems }: BookProps) {
  const liveAfter = position === "newest" ? String(entries[0]?.id ?? 0) : undefined;
  const hasProblems = Object.keys(problems ?? {}).length > 0;
  return (
    <Layout assets={assets} title={hasProblems ? "Please check · Guestbook" : "Guestbook"}>
      <header class="masthead">
        <p class="ornament" aria-hidden="true">❦</p>
        <h1>
          <a href="/">Guestbook</a>
        </h1>
        <p class="tagline">You were here. Leave a few kind words, and a photo if you like.</p>
        {/* Below the entries on a small screen, the form is a long way down. */}
        <a class="button to-form" href="#sign-title">Sign the book</a>
      </header>
      <main class="book">
        <section class="wall" aria-labelledby="wall-title">
          <h2 id="wall-title" class="visually-hidden">Entries, newest first</h2>
          <p id="announcer" class="visually-hidden" role="status" aria-live="polite"></p>
          {entries.length === 0 && <EmptyNote position={position} />}
          <ol id="entries" class="entries" role="list" data-live-after={liveAfter}>
            {entries.map((entry) => <EntryCard key={entry.id} entry={entry} />)}
          </ol>
          <Pager position={position} olderBeforeId={olderBeforeId} />
        </section>
        <SignForm draft={draft} problems={problems} />
      </main>
    </Layout>
  );
}

function EmptyNote({ position }: Pick<BookProps, "position">) {
  return (
    <div id="empty" class="empty">
      <p class="empty-mark" aria-hidden="true">✎</p>
      <h3>{position === "newest" ? "The first page is still blank" : "Nothing further back"}</h3>
      <p>
        {position === "newest"
          ? "Be the one who starts this book. It only takes a name and a thought."
          : "You have reached the very beginning of this book."}
      </p>
    </div>
  );
}

function Pager({ position, olderBeforeId }: Pick<BookProps, "position" | "olderBeforeId">) {
  if (position === "newest" && olderBeforeId === undefined) return null;
  return (
    <nav class="pager" aria-label="Pages">
      {position === "older" && <a href="/" rel="prev">← Back to the newest</a>}
      {olderBeforeId !== undefined && (
        <a href={`/?before=${olderBeforeId}`} rel="next" class="older">Older entries →</a>
      )}
    </nav>
  );
}

function SignForm({ draft, problems = {} }: Pick<BookProps, "draft" | "problems">) {
  const firstWrong = Object.keys(problems)[0];
  return (
    <form
      class="sign"
      method="post"
      action="/entries"
      enctype="multipart/form-data"
      aria-labelledby="sign-title"
    >
      <h2 id="sign-title">Sign the book</h2>
      <div class="field">
        <label for="name">Your name</label>
        <input
          id="name"
          name="name"
          autocomplete="name"
          required
          maxlength={MAX_NAME_CHARS}
          dir="auto"
          value={draft?.name ?? ""}
          autofocus={firstWrong === "name"}
          {...describe("name", problems)}
        />
        <Problem field="name" problems={problems} />
      </div>
      <div class="field">
        <label for="message">Your message</label>
        <textarea
          id="message"
          name="message"
          rows={5}
          required
          maxlength={MAX_MESSAGE_CHARS}
          dir="auto"
          autofocus={firstWrong === "message"}
          {...describe("message", problems)}
        >
          {/* A browser drops one line break here, so the typed text keeps its own. */}
          {"\n" + (draft?.message ?? "")}
        </textarea>
        <Problem field="message" problems={problems} />
      </div>
      <div class="field">
        <label for="photo">
          A photo <span class="optional">optional</span>
        </label>
        <div class="photo-picker">
          <input
            id="photo"
            name="photo"
            type="file"
            accept={PHOTO_ACCEPT}
            autofocus={firstWrong === "photo"}
            {...describe("photo", problems, "photo-hint")}
          />
          <p id="photo-hint" class="hint">
            JPEG, PNG, WebP, GIF or AVIF, up to 5&nbsp;MiB; moving pictures will stand still
          </p>
        </div>
        <Problem field="photo" problems={problems} />
      </div>
      <button type="submit">Sign the guestbook</button>
    </form>
  );
}

function describe(field: keyof Problems, problems: Problems, hintId?: string) {
  if (problems[field] === undefined) return hintId ? { "aria-describedby": hintId } : {};
  const ids = hintId ? `${field}-problem ${hintId}` : `${field}-problem`;
  return { "aria-describedby": ids, "aria-invalid": "true" as const };
}

function Problem({ field, problems }: { field: keyof Problems; problems: Problems }) {
  return <p id={`${field}-problem`} class="problem" role="alert">{problems[field]}</p>;
}

/** One entry. Also sent to live pages, so it must make sense on its own. */
export function EntryCard({ entry }: { entry: Entry }) {
  const { id, name, message, photo, thumbnail, createdMs } = entry;
  // Known before it is loaded, so that the page stays still and shows all of it.
  const size = entry.width === null || entry.height === null
    ? {}
    : { width: entry.width, height: entry.height };
  const created = new Date(createdMs);
  return (
    <li id={`entry-${id}`} class={`card tone-${toneOf(name)}`} data-name={name}>
      <article>
        {photo !== null && (
          <a class="photo" href={`/photos/${photo}`}>
            <img
              src={`/photos/${thumbnail ?? photo}`}
              alt={`Photo from ${name}`}
              loading="lazy"
              {...size}
            />
          </a>
        )}
        <p class="message" dir="auto">{message}</p>
        <footer class="byline">
          <span class="monogram" aria-hidden="true">{monogramOf(name)}</span>
          <span class="signature">
            <bdi class="name">{name}</bdi>
            <time datetime={created.toISOString()}>{`${utcFormat.format(created)} UTC`}</time>
          </span>
        </footer>
      </article>
    </li>
  );
}

/** A page that only says something: not found, too large, out of order. */
export function NoticePage(
  { assets, title, children }: { assets: Assets; title: string; children: Child },
) {
  return (
    <Layout assets={assets} title={`${title} · Guestbook`}>
      <main class="notice">
        <p class="ornament" aria-hidden="true">❦</p>
        <h1>{title}</h1>
        <p>{children}</p>
        <p>
          <a class="button" href="/">Back to the guestbook</a>
        </p>
      </main>
    </Layout>
  );
}

/** The same name always gets the same colour. */
function toneOf(name: string): number {
  let sum = 0;
  for (const character of name) sum += character.codePointAt(0) ?? 0;
  return sum % TONE_COUNT;
}

function monogramOf(name: string): string {
  return ([...name][0] ?? "").toLocaleUpperCase("en");
}
