/** @jsxImportSource hono/jsx */
import { Hono } from "hono";
import { serveStatic } from "hono/deno";
import { addNote, listNotes, readFileOf } from "./notes.ts";

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
        <form method="post" action="/" enctype="multipart/form-data">
          <label for="text">A note</label>
          <input id="text" name="text" required maxLength={200} />
          <label for="file">A file, if you like</label>
          <input id="file" name="file" type="file" />
          <button type="submit">Add</button>
        </form>
        <ul>
          {listNotes().map(({ id, text, fileName }) => (
            <li key={id}>
              {text} {fileName && <a href={`/files/${id}`}>{fileName}</a>}
            </li>
          ))}
        </ul>
      </body>
    </html>,
  ));

app.post("/", async (c) => {
  const { text, file } = await c.req.parseBody();
  if (typeof text === "string" && text.trim() !== "") {
    const upload = file instanceof File && file.size > 0 ? file : undefined;
    await addNote(text.trim().slice(0, 200), upload);
  }
  return c.redirect("/", 303);
});

app.get("/files/:id{[0-9]+}", async (c) => {
  const file = await readFileOf(Number(c.req.param("id")));
  if (!file) return c.notFound();
  // A browser saves it, whatever it is: a page in it would act in the name of this site.
  const name = encodeURIComponent(file.name);
  return c.body(file.bytes, 200, {
    "content-type": "application/octet-stream",
    "content-disposition": `attachment; filename*=UTF-8''${name}`,
    "x-content-type-options": "nosniff",
  });
});

export default app;
