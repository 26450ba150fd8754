/** @jsxImportSource hono/jsx */
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
        <ul>{listNotes().map(({ id, text }) => <li key={id}>{text}</li>)}</ul>
      </body>
    </html>,
  ));

app.post("/", async (c) => {
  const { text } = await c.req.parseBody();
  if (typeof text === "string" && text.trim() !== "") addNote(text.trim().slice(0, 200));
  return c.redirect("/", 303);
});

export default app;
