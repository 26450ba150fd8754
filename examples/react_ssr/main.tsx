/** Pages that React makes on the server, streamed: the browser shows the first part at once. */
import { Hono } from "hono";
import { Suspense, use } from "react";
// @ts-types="npm:@types/react-dom@19.3.0/server"
import { renderToReadableStream } from "react-dom/server";

const WAIT_MS = 100;

/** Something that takes its time, such as a database. */
function lookUpGreeting(name: string): Promise<string> {
  return new Promise((resolve) => setTimeout(() => resolve(`Hello, ${name}`), WAIT_MS));
}

function Greeting({ greeting }: { greeting: Promise<string> }) {
  return <p id="greeting">{use(greeting)}</p>;
}

function Page({ name }: { name: string }) {
  return (
    <html lang="en">
      <head>
        <meta charSet="utf-8" />
        <title>React on the server</title>
      </head>
      <body>
        <h1>React on the server</h1>
        <form>
          <label htmlFor="name">Your name</label>
          <input id="name" name="name" defaultValue={name} />
          <button type="submit">Greet</button>
        </form>
        <Suspense fallback={<p>One moment</p>}>
          <Greeting greeting={lookUpGreeting(name)} />
        </Suspense>
      </body>
    </html>
  );
}

const app = new Hono();

app.get("/", async (c) => {
  const name = (c.req.query("name") ?? "").trim().slice(0, 60) || "stranger";
  const stream = await renderToReadableStream(<Page name={name} />, {
    signal: c.req.raw.signal,
    onError: (error: unknown) => console.error("Cannot render:", error),
  });
  return c.body(stream, 200, { "Content-Type": "text/html; charset=utf-8" });
});

export default app;
