import { DatabaseSync } from "node:sqlite";
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import {
  createGuestbook,
  type Guestbook,
  type GuestbookOptions,
} from "../examples/guestbook/guestbook.tsx";
import { MAX_BODY_BYTES, MAX_PHOTO_BYTES } from "../examples/guestbook/form.ts";
import notify from "../examples/guestbook/helpers/notify.ts";
import thumbnails from "../examples/guestbook/helpers/thumbnails.ts";
import { isStorageTrouble } from "../examples/guestbook/store.ts";
import { HelperError } from "../lib/helper/mod.ts";
import { ALL_KINDS, drawPicture, forgePng, joined, lookAt } from "./doubles/pictures.ts";
import { until } from "./harness/wait.ts";

const ORIGIN = "http://guestbook.test";
const PUBLIC_FOLDER = new URL("../examples/guestbook/public", import.meta.url).pathname;
const SAME_ORIGIN = { "Origin": ORIGIN };

const PNG = forgePng({ width: 4, height: 4 }, 20);

/** The real helper, in this process. */
const PICTURES: GuestbookOptions["pictures"] = {
  make: async (photo) => {
    return await thumbnails.make.handle({ photo }, { signal: new AbortController().signal });
  },
};

interface Book extends AsyncDisposable {
  guestbook: Guestbook;
  dataFolder: string;
  errors: unknown[];
  get(path: string, init?: RequestInit): Promise<Response>;
  sign(fields: Record<string, string | File>, headers?: HeadersInit): Promise<Response>;
  photoNames(): string[];
  /** A second worker over the same data, as during a reload. Its owner closes it. */
  other(): Promise<Book>;
}

async function openBook(
  options: Partial<GuestbookOptions> = {},
  dataFolder?: string,
): Promise<Book> {
  const ownFolder = dataFolder === undefined ? await Deno.makeTempDir() : undefined;
  const folder = dataFolder ?? `${ownFolder}/data`;
  const errors: unknown[] = [];
  const guestbook = createGuestbook({
    dataFolder: folder,
    publicFolder: PUBLIC_FOLDER,
    pictures: PICTURES,
    report: (error) => errors.push(error),
    live: { pollMs: 10 },
    ...options,
  });
  await guestbook.open();
  return {
    guestbook,
    dataFolder: folder,
    errors,
    get: async (path, init) => await guestbook.app.request(`${ORIGIN}${path}`, init),
    sign: async (fields, headers = SAME_ORIGIN) => {
      const body = new FormData();
      for (const [name, value] of Object.entries(fields)) body.set(name, value);
      return await guestbook.app.request(`${ORIGIN}/entries`, { method: "POST", body, headers });
    },
    photoNames: () => [...Deno.readDirSync(`${folder}/photos`)].map(({ name }) => name),
    other: () => openBook(options, folder),
    [Symbol.asyncDispose]: async () => {
      await guestbook.close();
      if (ownFolder !== undefined) await Deno.remove(ownFolder, { recursive: true });
    },
  };
}

/** Reads an event stream until `count` entries came, then cancels it. */
async function readEntries(response: Response, count: number): Promise<string> {
  assertEquals(response.status, 200);
  let text = "";
  for await (const chunk of response.body!.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    if (text.split("event: entry\n").length > count) break;
  }
  return text;
}

const idsIn = (events: string) => [...events.matchAll(/^id: (\d+)$/gm)].map(([, id]) => Number(id));

Deno.test("a signed entry is on the page, newest first, and the form redirects to it", async () => {
  await using book = await openBook();
  assertStringIncludes(await (await book.get("/")).text(), "The first page is still blank");
  const signed = await book.sign({ name: "Ada", message: "First words" });
  assertEquals([signed.status, signed.headers.get("location")], [303, "/#entry-1"]);
  await book.sign({ name: "Grace", message: "Second words" });
  const page = await (await book.get("/")).text();
  assert(page.indexOf("Second words") < page.indexOf("First words"));
  assert(!page.includes("still blank"));
  assertMatch(page, /<time datetime="\d{4}-\d\d-\d\dT[\d:.]+Z">\d+ \w+ \d{4}, \d\d:\d\d UTC</);
});

Deno.test("a message with markup is shown as text, on the page and in live events", async () => {
  await using book = await openBook();
  const name = `"><script>alert(1)</script>`;
  await book.sign({ name, message: "<img src=x onerror=alert(1)> & more" });
  const page = await (await book.get("/")).text();
  const events = await readEntries(await book.get("/events?after=0"), 1);
  for (const html of [page, events]) {
    assertStringIncludes(html, "&lt;img src=x onerror=alert(1)&gt; &amp; more");
    assertStringIncludes(html, "&lt;script&gt;");
    assert(!html.includes("<img") && !html.includes("<script>alert"));
  }
});

Deno.test("a message with line breaks stays one live event", async () => {
  await using book = await openBook();
  await book.sign({ name: "Ada", message: "one\r\n\r\nevent: entry\r\nid: 99" });
  const events = await readEntries(await book.get("/events?after=0"), 1);
  assertEquals(idsIn(events), [1]);
  assertStringIncludes(events, "\ndata: \ndata: event: entry\ndata: id: 99<");
});

Deno.test("a refused form keeps the typed words and says what is wrong beside the field", async () => {
  await using book = await openBook();
  const photo = new File([PNG], "a.png");
  const refused = await book.sign({ name: "  ", message: "<b>kept</b>", photo });
  assertEquals(refused.status, 422);
  const page = await refused.text();
  assertStringIncludes(page, `<p id="name-problem" class="problem" role="alert">Please tell us`);
  assertStringIncludes(page, "&lt;b&gt;kept&lt;/b&gt;</textarea>");
  assertStringIncludes(page, "Please choose your photo again.");
  assertEquals((await book.sign({ name: "x".repeat(61), message: "m" })).status, 422);
  assertEquals((await book.sign({ name: "x", message: "m".repeat(1001) })).status, 422);
  assertEquals((await book.sign({ name: "x", message: "" })).status, 422);
  assertEquals(book.photoNames(), []);
  // A line break that a browser posts as two characters counts as one, as it did in the form.
  const longest = "m\r\n".repeat(499) + "mm";
  assertEquals((await book.sign({ name: "x".repeat(60), message: longest })).status, 303);
});

Deno.test("a photo is judged by its bytes, not by its name", async () => {
  await using book = await openBook();
  const words = { name: "Ada", message: "Look" };
  const disguised = new File(["<svg onload=alert(1)>"], "a.jpg", { type: "image/jpeg" });
  const refused = await book.sign({ ...words, photo: disguised });
  assertEquals(refused.status, 415);
  assertStringIncludes(await refused.text(), "This is not a JPEG, PNG, WebP, GIF or AVIF photo.");
  assertEquals(book.photoNames(), []);

  for (const kind of ALL_KINDS) {
    const bytes = await drawPicture(kind, { width: 600, height: 300 });
    const photo = new File([bytes], "../../evil.html", { type: "text/html" });
    assertEquals((await book.sign({ ...words, photo })).status, 303);
    const page = await (await book.get("/")).text();
    const shown = /<a class="photo[^"]*" href="([^"]+)"><img src="([^"]+)"/.exec(page)!;
    // So that the page leaves room of its shape.
    assertMatch(page, /<img [^>]*width="480" height="240"/);
    for (const [path, width] of [[shown[1]!, 600], [shown[2]!, 480]] as const) {
      assertMatch(path, /^\/photos\//);
      const stored = await book.get(path);
      assertEquals(stored.status, 200);
      assertEquals(stored.headers.get("content-type"), "image/jpeg");
      assertEquals(stored.headers.get("content-disposition"), "inline");
      assertEquals(stored.headers.get("x-content-type-options"), "nosniff");
      assertStringIncludes(stored.headers.get("cache-control") ?? "", "immutable");
      const seen = await lookAt(await stored.bytes());
      assertEquals([seen.format, seen.width, seen.height], ["JPEG", width, width / 2]);
      assertEquals((await book.get(path, { method: "HEAD" })).status, 200);
    }
  }
  assertEquals(book.photoNames().length, 2 * ALL_KINDS.length);
  for (const name of book.photoNames()) assertMatch(name, /^[0-9a-f-]{36}\.jpg$/);
});

Deno.test("no byte of a stranger's photo is stored, only pictures made of it", async () => {
  await using book = await openBook();
  const secret = "somebody lives here";
  const drawn = await drawPicture("jpg", { width: 30, height: 30, secret });
  const bytes = joined([drawn, new TextEncoder().encode(`<script>${secret}</script>`)]);
  const signed = await book.sign({ name: "Ada", message: "m", photo: new File([bytes], "a.jpg") });
  assertEquals(signed.status, 303);
  assertEquals(book.photoNames().length, 2);
  for (const name of book.photoNames()) {
    const stored = await Deno.readFile(`${book.dataFolder}/photos/${name}`);
    assert(!new TextDecoder("latin1").decode(stored).includes(secret));
  }
});

Deno.test("a photo that no picture can be made of is refused with the words kept", async () => {
  await using book = await openBook();
  const jpeg = await drawPicture("jpg", { width: 30, height: 30 });
  const photos: [Uint8Array<ArrayBuffer>, number, string][] = [
    [forgePng({ width: 30_000, height: 30_000 }, 100), 413, "more than 40 megapixels"],
    [jpeg.slice(0, 20), 422, "This photo is damaged"],
    [
      new TextEncoder().encode("%PDF-1.7"),
      415,
      "This is not a JPEG, PNG, WebP, GIF or AVIF photo.",
    ],
  ];
  for (const [bytes, status, text] of photos) {
    const photo = new File([bytes], "a.jpg");
    const refused = await book.sign({ name: "Ada", message: "Typed <once>", photo });
    assertEquals(refused.status, status);
    const page = await refused.text();
    assertStringIncludes(page, `<p id="photo-problem" class="problem" role="alert">`);
    assertStringIncludes(page, text);
    assertStringIncludes(page, "Typed &lt;once&gt;</textarea>");
    assertStringIncludes(page, `value="Ada"`);
  }
  assertEquals([book.photoNames(), book.errors], [[], []]);
  const photo = new File([jpeg], "a.jpg");
  assertEquals((await book.sign({ name: "Ada", message: "m", photo })).status, 303); // control
});

Deno.test("trouble of the helper that passes is a 503, and its nonsense is stored nowhere", async () => {
  const photo = new File([PNG], "a.png");
  const words = { name: "Ada", message: "m" };
  const troubles = [
    [new HelperError("helper_busy", "thumbnails", "too many wait"), 503, "10"],
    [new HelperError("helper_timeout", "thumbnails", "too slow"), 503, "10"],
    [new HelperError("helper_bad_output", "thumbnails", "nonsense"), 500, null],
  ] as const;
  for (const [error, status, retryAfter] of troubles) {
    await using book = await openBook({ pictures: { make: () => Promise.reject(error) } });
    const response = await book.sign({ ...words, photo });
    assertEquals([response.status, response.headers.get("retry-after")], [status, retryAfter]);
    assertStringIncludes(await response.text(), "Served by Holdfast");
    assertEquals(book.errors, [error]);
    assertEquals((await book.sign(words)).status, 303); // Words alone need no helper.
  }

  // A helper that was taken over says that its page with a script is a picture.
  const evil = { bytes: new TextEncoder().encode("<script>"), width: 1, height: 1 };
  const fine = (await PICTURES.make(PNG)) as { picture: typeof evil };
  for (
    const parts of [
      { picture: evil, thumbnail: fine.picture },
      { picture: fine.picture, thumbnail: evil },
    ]
  ) {
    await using book = await openBook({
      pictures: { make: () => Promise.resolve({ outcome: "picture", ...parts }) },
    });
    assertEquals((await book.sign({ ...words, photo })).status, 500);
    assertEquals(book.photoNames(), []);
    assertMatch(String(book.errors), /expected a JPEG/);
  }
});

Deno.test("photos of the time before there were thumbnails are shown as before", async () => {
  await using book = await openBook();
  await book.guestbook.close();
  const name = "00000000-0000-4000-8000-000000000000.gif";
  await Deno.writeFile(`${book.dataFolder}/photos/${name}`, PNG);
  // The database as the first version of the example left it.
  for (const suffix of ["", "-wal", "-shm"]) {
    await Deno.remove(`${book.dataFolder}/guestbook.db${suffix}`).catch(() => {});
  }
  {
    using database = new DatabaseSync(`${book.dataFolder}/guestbook.db`);
    database.exec(`
      CREATE TABLE entries (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        name TEXT NOT NULL,
        message TEXT NOT NULL,
        photo TEXT,
        created_ms INTEGER NOT NULL
      ) STRICT;
      PRAGMA user_version=1;
      INSERT INTO entries (name, message, photo, created_ms) VALUES ('Ada', 'Old', '${name}', 1);
    `);
  }
  await book.guestbook.open();
  const page = await (await book.get("/")).text();
  assertStringIncludes(page, `href="/photos/${name}"><img src="/photos/${name}"`);
  const photo = await book.get(`/photos/${name}`);
  assertEquals([photo.headers.get("content-type"), await photo.bytes()], ["image/gif", PNG]);
  assertEquals((await book.sign({ name: "Grace", message: "New" })).status, 303);
  // The generation before this one still writes the same table while it drains.
  using database = new DatabaseSync(`${book.dataFolder}/guestbook.db`);
  database.exec(
    "INSERT INTO entries (name, message, photo, created_ms) VALUES ('Old', 'm', NULL, 2)",
  );
  assertEquals((await book.get("/")).status, 200);
});

/** The notifying helper in this process, told of an address as a config would tell it. */
function notifyAt(url: string): AsyncDisposable & Pick<GuestbookOptions, "notify"> {
  const before = Deno.env.get("GUESTBOOK_WEBHOOK");
  Deno.env.set("GUESTBOOK_WEBHOOK", url);
  return {
    notify: async (entry, signal) => await notify.entry.handle(entry, { signal }),
    [Symbol.asyncDispose]: () => {
      if (before === undefined) Deno.env.delete("GUESTBOOK_WEBHOOK");
      else Deno.env.set("GUESTBOOK_WEBHOOK", before);
      return Promise.resolve();
    },
  };
}

function serve(handler: Deno.ServeHandler): Deno.HttpServer<Deno.NetAddr> {
  return Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, handler);
}

Deno.test("an entry is told of, whole and once, and a refused form is not", async () => {
  const told: [string, string | null, unknown][] = [];
  await using server = serve(async (request) => {
    told.push([request.method, request.headers.get("content-type"), await request.json()]);
    return new Response("thanks");
  });
  await using telling = notifyAt(`http://127.0.0.1:${server.addr.port}/hook`);
  await using book = await openBook({ notify: telling.notify! });
  await book.sign({ name: "", message: "No name" });
  await book.sign({ name: "Ada", message: "Hello <world>" });
  await book.guestbook.close();
  const entry = { id: 1, name: "Ada", message: "Hello <world>" };
  assertEquals(told, [["POST", "application/json", entry]]);
  assertEquals(book.errors, []);
});

Deno.test("nobody waits for a telling that hangs, and only so many of them hang at once", async () => {
  let arrived = 0;
  const release = Promise.withResolvers<void>();
  await using server = serve(async () => {
    arrived++;
    await release.promise;
    return new Response();
  });
  await using telling = notifyAt(`http://127.0.0.1:${server.addr.port}/`);
  await using book = await openBook({ notify: telling.notify! });
  // Whoever waited for the first one would never see sixteen of them under way.
  for (let each = 0; each < 20; each++) {
    assertEquals((await book.sign({ name: "Ada", message: "m" })).status, 303);
  }
  await until("sixteen have arrived", () => Promise.resolve(arrived === 16));
  assertEquals(book.errors.length, 4);
  assertMatch(String(book.errors[0]), /Cannot tell of entry 17: 16 others wait/);
  release.resolve();
  await book.guestbook.close();
  assertEquals([arrived, book.errors.length], [16, 4]);
});

Deno.test("what goes wrong with telling is reported, and the entry stands", async () => {
  const visited: string[] = [];
  await using server = serve((request) => {
    const { pathname } = new URL(request.url);
    visited.push(pathname);
    if (pathname === "/moved") return Response.redirect(new URL("/elsewhere", request.url));
    if (pathname === "/endless") {
      const body = new ReadableStream({ pull: (c) => c.enqueue(new Uint8Array(65_536)) });
      return new Response(body);
    }
    return new Response("no", { status: 500 });
  });
  const origin = `http://127.0.0.1:${server.addr.port}`;
  const closed = serve(() => new Response());
  await closed.shutdown();
  for (
    const [url, reported] of [
      [`${origin}/broken`, /entry 1: the other side answered 500/],
      [`${origin}/moved`, /entry 1: the other side answered 302/],
      [
        `http://127.0.0.1:${closed.addr.port}/`,
        /Cannot reach the address in GUESTBOOK_WEBHOOK: .*refused/,
      ],
      [`${origin}/endless`, undefined],
      ["", undefined], // Nobody wants to be told.
    ] as const
  ) {
    await using telling = notifyAt(url);
    await using book = await openBook({ notify: telling.notify! });
    assertEquals((await book.sign({ name: "Ada", message: "m" })).status, 303);
    await book.guestbook.close();
    if (reported === undefined) assertEquals(book.errors, [], url);
    else assertMatch(String(book.errors), reported);
  }
  assertEquals(visited, ["/broken", "/moved", "/endless"]); // A redirect leads nowhere.
});

Deno.test("a photo address reaches nothing but stored photos", async () => {
  await using book = await openBook();
  await Deno.writeFile(`${book.dataFolder}/photos/notes.png`, PNG);
  const id = "00000000-0000-4000-8000-000000000000";
  await Deno.writeFile(`${book.dataFolder}/photos/${id}.png`, PNG);
  assertEquals((await (await book.get(`/photos/${id}.png`)).bytes()).length, PNG.length); // control
  for (const name of ["notes.png", "..%2fguestbook.db", "%2e%2e%2fguestbook.db", `${id}.gif`]) {
    assertEquals((await book.get(`/photos/${name}`)).status, 404, name);
  }
});

Deno.test("a body above the limit is refused by its Content-Length before it is read", async () => {
  await using book = await openBook();
  let pulled = 0;
  const body = new ReadableStream({ pull: () => void pulled++ }, { highWaterMark: 0 });
  const refused = await book.get("/entries", {
    method: "POST",
    body,
    headers: {
      ...SAME_ORIGIN,
      "Content-Type": "multipart/form-data; boundary=x",
      "Content-Length": String(MAX_BODY_BYTES + 1),
    },
  });
  assertEquals([refused.status, pulled], [413, 0]);
  assertStringIncludes(await refused.text(), "That is too large");
});

Deno.test("a body that lies about its length is cut off at the limit", async () => {
  await using book = await openBook();
  for (const claim of [{ "Content-Length": "100" }, {}]) {
    let sentBytes = 0;
    const chunk = new Uint8Array(64 * 1024);
    const body = new ReadableStream<Uint8Array>({
      pull: (controller) => {
        sentBytes += chunk.byteLength;
        // Twice the limit, so that a missing guard ends this test instead of the machine.
        if (sentBytes > 2 * MAX_BODY_BYTES) controller.close();
        else controller.enqueue(chunk);
      },
    });
    const type = { "Content-Type": "multipart/form-data; boundary=x" };
    const headers = { ...SAME_ORIGIN, ...type, ...claim };
    const refused = await book.get("/entries", { method: "POST", body, headers });
    assertEquals(refused.status, 413);
    assert(sentBytes <= MAX_BODY_BYTES + 3 * chunk.byteLength, `read ${sentBytes} bytes`);
    await refused.body?.cancel();
  }
});

Deno.test("a photo of exactly 5 MiB is stored, and one byte more is refused with the words kept", async () => {
  await using book = await openBook();
  const photoOf = (sizeBytes: number) => {
    const bytes = new Uint8Array(sizeBytes);
    bytes.set(PNG); // What follows the end of a PNG is no part of it.
    return new File([bytes], "a.png");
  };
  const words = { name: "Ada", message: "A big one" };
  assertEquals((await book.sign({ ...words, photo: photoOf(MAX_PHOTO_BYTES) })).status, 303);
  const refused = await book.sign({ ...words, photo: photoOf(MAX_PHOTO_BYTES + 1) });
  assertEquals(refused.status, 413);
  const page = await refused.text();
  assertStringIncludes(page, "This photo is larger than 5 MiB.");
  assertStringIncludes(page, "A big one</textarea>");
  assertEquals(book.photoNames().length, 2);
});

Deno.test("a form from another site is refused, and the own form is accepted", async () => {
  await using book = await openBook();
  const words = { name: "Ada", message: "Hello" };
  const foreign = [
    { "Origin": "https://evil.test", "Sec-Fetch-Site": "cross-site" },
    { "Origin": "http://sub.guestbook.test", "Sec-Fetch-Site": "same-site" },
    { "Origin": "null" },
    {},
  ];
  for (const headers of foreign) {
    const refused = await book.sign(words, headers);
    assertEquals(refused.status, 403);
    assertStringIncludes(await refused.text(), "The form came from another site");
  }
  assertEquals((await book.sign(words, { "Sec-Fetch-Site": "same-origin" })).status, 303);
  assertEquals((await book.sign(words, SAME_ORIGIN)).status, 303);
});

Deno.test("a body that is not a whole form is refused with a page", async () => {
  await using book = await openBook();
  const post = async (type: string, body: string) => {
    const headers = { ...SAME_ORIGIN, "Content-Type": type };
    const response = await book.get("/entries", { method: "POST", body, headers });
    await response.body?.cancel();
    return response.status;
  };
  assertEquals(await post("application/x-www-form-urlencoded", "name=Ada&message=Hi"), 303);
  assertEquals(await post("application/json", `{"name":"Ada","message":"Hi"}`), 415);
  assertEquals(await post("multipart/form-data; boundary=x", "--y\r\nbroken"), 400);
  assertEquals(await post("multipart/form-data", "no boundary"), 400);
});

Deno.test("a live page hears of an entry that another worker stored", async () => {
  await using book = await openBook();
  await using other = await book.other();
  await book.sign({ name: "Ada", message: "Already on the page" });
  const response = await book.get("/events");
  assertMatch(response.headers.get("content-type") ?? "", /^text\/event-stream/);
  const reading = readEntries(response, 1);
  await other.sign({ name: "Grace", message: "From the new generation" });
  const events = await reading;
  assertStringIncludes(events, "retry: 1000\n\n");
  assertStringIncludes(events, "From the new generation");
  assertEquals(idsIn(events), [2]);
});

Deno.test("a live page that reconnects with Last-Event-ID misses no entry", async () => {
  await using book = await openBook();
  const sign = (name: string) => book.sign({ name, message: "Hello" });
  await sign("one");
  assertEquals(idsIn(await readEntries(await book.get("/events?after=0"), 1)), [1]);
  await book.guestbook.close(); // The old generation ends, and the page is not connected.
  await using next = await book.other();
  // More than one batch, so the stream has to continue where the first batch ended.
  for (let id = 2; id <= 121; id++) await next.sign({ name: `guest ${id}`, message: "Hello" });
  const headers = { "Last-Event-ID": "1" };
  const events = await readEntries(await next.get("/events?after=0", { headers }), 120);
  assertEquals(idsIn(events), Array.from({ length: 120 }, (_, index) => index + 2));
});

Deno.test("a live page gets heartbeats while nobody signs", async () => {
  await using book = await openBook({ live: { heartbeatMs: 10 } });
  const response = await book.get("/events");
  let text = "";
  for await (const chunk of response.body!.pipeThrough(new TextDecoderStream())) {
    text += chunk;
    if (text.includes("\n: still here\n\n")) break;
  }
  assertEquals(idsIn(text), []);
});

Deno.test("a live page that goes away leaves no timer, and close ends the ones that stay", async () => {
  await using book = await openBook();
  const leaving = await book.get("/events");
  const staying = await book.get("/events?after=nonsense");
  await book.get("/events", { method: "HEAD" });
  assertEquals(book.guestbook.liveClientCount(), 2);
  await leaving.body?.cancel();
  assertEquals(book.guestbook.liveClientCount(), 1);
  await book.guestbook.close();
  assertEquals(await staying.text(), "retry: 1000\n\n"); // It ended; the sanitizer sees the timers.
});

Deno.test("a page that never reads its live events costs a bounded amount of memory", async () => {
  await using book = await openBook({ live: { pollMs: 1, heartbeatMs: 1 } });
  const stuck = await book.get("/events");
  await new Promise((resolve) => setTimeout(resolve, 100));
  await book.sign({ name: "Ada", message: "Still delivered" });
  const events = await readEntries(stuck, 1);
  assertStringIncludes(events, "Still delivered"); // It waited for the reader, and was not lost.
  assert(events.split("still here").length < 20, "heartbeats piled up");
});

Deno.test("a full database answers 503 with a page and leaves no photo behind", async () => {
  await using book = await openBook({ maxDatabaseBytes: 48 * 1024 });
  const photo = new File([PNG], "a.png");
  let stored = 0;
  let response: Response;
  do {
    response = await book.sign({ name: "Ada", message: "m".repeat(1000), photo });
  } while (response.status === 303 && ++stored < 100);
  assertEquals([response.status, response.headers.get("retry-after")], [503, "10"]);
  assertStringIncludes(await response.text(), "The book cannot be written in right now");
  assert(stored > 0);
  assertEquals(book.photoNames().length, 2 * stored);
  assertEquals(book.errors.length, 1);
  assertEquals((await book.get("/")).status, 200); // Reading goes on.
});

Deno.test("a read-only database counts as storage trouble, and a bug does not", async () => {
  await using book = await openBook();
  using database = new DatabaseSync(`${book.dataFolder}/guestbook.db`, { readOnly: true });
  const troubleOf = (sql: string) => {
    try {
      database.prepare(sql).run();
    } catch (error) {
      return isStorageTrouble(error) ? "trouble" : "bug";
    }
    return "none";
  };
  assertEquals(troubleOf("SELECT 1"), "none");
  assertEquals(troubleOf("DELETE FROM entries"), "trouble");
  assertEquals(troubleOf("DELETE FROM nowhere"), "bug");
});

Deno.test("older pages show every entry once", async () => {
  await using book = await openBook();
  for (let id = 1; id <= 40; id++) await book.sign({ name: "Ada", message: "Hello" });
  const seen: number[] = [];
  let path: string | undefined = "/";
  while (path !== undefined) {
    const page = await (await book.get(path)).text();
    assertEquals(page.includes("data-live-after"), path === "/"); // Only the first page is live.
    seen.push(...[...page.matchAll(/id="entry-(\d+)"/g)].map(([, id]) => Number(id)));
    path = /href="(\/\?before=\d+)"/.exec(page)?.[1];
  }
  assertEquals(seen, Array.from({ length: 40 }, (_, index) => 40 - index));
});

Deno.test("every page forbids foreign and inline scripts, and an unknown path is a page too", async () => {
  await using book = await openBook();
  for (
    const [path, status] of [["/", 200], ["/nowhere", 404], ["/public/main.tsx", 404]] as const
  ) {
    const response = await book.get(path);
    assertEquals(response.status, status);
    assertEquals(
      response.headers.get("content-security-policy"),
      "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; " +
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    );
    const page = await response.text();
    assertStringIncludes(page, "Served by Holdfast");
    assert(!/<script(?![^>]* src=)| style=| on\w+=/.test(page));
  }
  assertEquals(await (await book.get("/healthz")).text(), "ok");
});

Deno.test("a static file is kept for good only under the address of its own version", async () => {
  await using book = await openBook();
  const path = /\/public\/style\.css\?v=\w+/.exec(await (await book.get("/")).text())?.[0] ?? "";
  const current = await book.get(path);
  assertStringIncludes(current.headers.get("cache-control") ?? "", "immutable");
  assertStringIncludes(await current.text(), "prefers-color-scheme");
  const etag = current.headers.get("etag") ?? "";
  const foreign = await book.get("/public/style.css?v=other", {
    headers: { "If-None-Match": etag },
  });
  assertEquals([foreign.status, foreign.headers.get("cache-control")], [304, "public, no-cache"]);
});

Deno.test("an entry survives close and open, and a killed upload is swept after an hour", async () => {
  await using book = await openBook();
  await book.sign({ name: "Ada", message: "Still here" });
  const [old, young] = ["old.part", "young.part"].map((n) => `${book.dataFolder}/photos/${n}`);
  for (const path of [old!, young!]) await Deno.writeFile(path, PNG);
  await Deno.utime(old!, new Date(0), new Date(0));
  await book.guestbook.close();
  await book.guestbook.open();
  assertStringIncludes(await (await book.get("/")).text(), "Still here");
  assertEquals(book.photoNames(), ["young.part"]); // The other generation may be writing it.
});
