/** What `holdfast init` writes. */
import { DENO_VERSION } from "../base/runtime.ts";
import { VERSION } from "../base/version.ts";
import type { Found } from "./inspect.ts";

/** The version of Hono that a new app begins with. */
const HONO = "4.13.19";

/** What Deno checks the types of a test against. */
const NODE_TYPES = "22.19.0";

/** What a config is written from. */
export interface Choice extends Omit<Found, "app" | "why"> {
  readonly app: string;
}

const SCHEMA = "./node_modules/holdfast/holdfast.schema.json";

/** The text of `holdfast.jsonc`. */
export function configText(choice: Choice, hasPackage: boolean): string {
  const { app, port, unveil, env, envFile } = choice;
  const text = (value: unknown) =>
    JSON.stringify(value).replace(/":/g, '": ').replace(/,"/g, ', "').replace(
      /^\{(.+)\}$/,
      "{ $1 }",
    );
  const lines = [
    ...hasPackage ? [`"$schema": ${text(SCHEMA)},`] : [],
    "// The module that exports the app, or starts its server.",
    `"app": ${text(`./${app}`)},`,
    `"listen": [${text(`127.0.0.1:${port}`)}],`,
    "// Files and folders, besides the app's own code: r reads, w writes, c creates and removes.",
    `"unveil": ${text(unveil)},`,
    ...envFile === undefined ? [] : [
      "// Read at every start and reload; the app sees the names that env lists.",
      `"envFile": ${text(`./${envFile}`)},`,
    ],
    ...env.length === 0
      ? []
      : ["// The variables that the app sees, and no others.", `"env": ${text(env)},`],
    '// Hosts that the app may connect to, such as "db.internal:5432".',
    '"net": []',
  ];
  return `{\n${lines.map((line) => `  ${line}\n`).join("")}}\n`;
}

const MAIN = `/** @jsxImportSource hono/jsx */
import { Hono } from "hono";
import { serveStatic } from "hono/deno";
import { addNote, listNotes } from "./notes.ts";

const app = new Hono();

app.use("/public/*", serveStatic({ root: "./" }));

app.get("/", (c) =>
  c.html(
    <html lang="en">
      <head>
        <meta charset="utf-8" />
        <meta name="viewport" content="width=device-width, initial-scale=1" />
        <title>Notes</title>
        <link rel="stylesheet" href="/public/style.css" />
      </head>
      <body>
        <h1>Notes</h1>
        <form method="post" action="/">
          <label for="text">A note</label>
          <input id="text" name="text" required maxLength={200} />
          <button type="submit">Add</button>
        </form>
        <ul>{listNotes().map(({ text }) => <li>{text}</li>)}</ul>
      </body>
    </html>,
  ));

app.post("/", async (c) => {
  const { text } = await c.req.parseBody();
  if (typeof text === "string" && text.trim() !== "") addNote(text.trim().slice(0, 200));
  return c.redirect("/", 303);
});

export default app;
`;

const NOTES = `/** Notes, in an SQLite file. */
import { DatabaseSync } from "node:sqlite";

let database: DatabaseSync | undefined;

/** Opened when it is used first: a version that does not load has touched nothing. */
function open(): DatabaseSync {
  if (database === undefined) {
    database = new DatabaseSync("data/notes.db");
    // The old version and the new one have it open during a reload.
    database.exec("PRAGMA journal_mode = WAL; PRAGMA busy_timeout = 5000");
    database.exec("CREATE TABLE IF NOT EXISTS notes (id INTEGER PRIMARY KEY, text TEXT NOT NULL)");
  }
  return database;
}

export function addNote(text: string): void {
  open().prepare("INSERT INTO notes (text) VALUES (?)").run(text);
}

export function listNotes(): { text: string }[] {
  return open().prepare("SELECT text FROM notes ORDER BY id DESC LIMIT 50").all() as {
    text: string;
  }[];
}
`;

const STYLE = `body {
  font-family: system-ui, sans-serif;
  max-width: 40rem;
  margin: 2rem auto;
  padding: 0 1rem;
}
label {
  display: block;
}
`;

const TEST = `import assert from "node:assert/strict";
import { mkdirSync } from "node:fs";
import { test } from "node:test";

test("a note that is added is listed, as text", async () => {
  mkdirSync("data", { recursive: true });
  const { default: app } = await import("./main.tsx");
  const text = \`<b>\${crypto.randomUUID()}</b>\`;
  const answer = await app.request("/", { method: "POST", body: new URLSearchParams({ text }) });
  assert.equal(answer.status, 303);
  const page = await (await app.request("/")).text();
  assert.ok(page.includes(text.replaceAll("<", "&lt;").replaceAll(">", "&gt;")));
});
`;

const IGNORED = "node_modules/\n.holdfast/\ndata/\n";

/** A new app: files by name. */
export function newApp(name: string, hasPackage: boolean): Record<string, string> {
  const json = (value: unknown) => `${JSON.stringify(value, null, 2)}\n`;
  const settings: Record<string, string> = hasPackage
    ? {
      "package.json": json({
        name,
        private: true,
        type: "module",
        scripts: { start: "holdfast start", test: "deno test --allow-read --allow-write=data" },
        dependencies: { holdfast: `^${VERSION}`, hono: `^${HONO}` },
        devDependencies: { "@types/node": `^${NODE_TYPES}`, deno: DENO_VERSION },
      }),
    }
    : {
      "deno.json": json({
        tasks: { test: "deno test --allow-read --allow-write=data" },
        imports: { hono: `npm:hono@^${HONO}`, "hono/": `npm:/hono@^${HONO}/` },
      }),
    };
  return {
    ...settings,
    "main.tsx": MAIN,
    "notes.ts": NOTES,
    "main.test.ts": TEST,
    "public/style.css": STYLE,
    ".gitignore": IGNORED,
    "holdfast.jsonc": configText({
      ...{ app: "main.tsx", port: 8000, env: [], envFile: undefined },
      unveil: { "./public/": "r", "./data/": "rwc" },
    }, hasPackage),
  };
}
