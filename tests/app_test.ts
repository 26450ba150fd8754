import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { formatRequest, Wire } from "./harness/http.ts";
import { runCommand, Server } from "./harness/server.ts";
import { until, untilTold } from "./harness/wait.ts";

const ENGINES = ["native", "node"] as const;

/** The version of Hono that this repository has in its own lock file, so that it is cached. */
const HONO = "hono@4.13.19";

const HONO_APP = `
import { Hono } from "hono";
import { getConnInfo } from "hono/deno";

const app = new Hono();
app.get("/", (c) => c.text("from Hono"));
app.get("/hello/:name", (c) => c.json({ hello: c.req.param("name") }, 201));
app.post("/form", async (c) => c.json(await c.req.parseBody()));
app.get("/address", (c) => c.json(getConnInfo(c).remote));
app.get("/throw", () => {
  throw new Error("a route broke");
});
app.onError((error, c) => c.text("handled: " + error.message, 503));
export default app;
`;

async function run(folder: string, program: string, ...args: string[]): Promise<void> {
  const command = new Deno.Command(program, { args, cwd: folder, stdin: "null" });
  const { success, stderr } = await command.output();
  assert(success, `${program} ${args.join(" ")}: ${new TextDecoder().decode(stderr)}`);
}

/** Brings in what the project's files have become. */
async function reload(server: Server): Promise<void> {
  const { outcome, reason } = await server.reload();
  assertEquals([outcome, reason], ["done", undefined]);
}

/** The serving worker's figures, once they are as `settled` wants them. */
async function figuresWhen(
  server: Server,
  settled: (figures: { answered: number; inFlight: number; connections: number }) => boolean,
): Promise<void> {
  await untilTold("the figures to settle", async () => {
    const figures = (await server.status()).generations.at(-1)?.workers[0]?.process;
    return figures && settled(figures);
  });
}

/** The JSON of an answer on a connection of its own, and the port that this had on our side. */
async function askFrom(server: Server, path: string): Promise<{ answer: unknown; port: number }> {
  using client = await Deno.connect({ hostname: "127.0.0.1", port: server.project.port });
  await client.write(formatRequest(path, { headers: { connection: "close" } }));
  const text = await new Response(client.readable).text();
  const answer = JSON.parse(text.slice(text.indexOf("{")).split("\r\n")[0]!);
  return { answer, port: (client.localAddr as Deno.NetAddr).port };
}

/** Apps that break in their handlers, and what the log must say of it. */
const BROKEN: Record<string, { handler: string; says: RegExp }> = {
  "throws": {
    handler: `() => { throw new TypeError("thrown"); }`,
    says: /TypeError: thrown \(at .*app\.ts:\d+/,
  },
  "throws what is no error": { handler: `() => { throw "a text"; }`, says: /a text/ },
  "rejects": {
    handler: `async () => { await null; throw new Error("rejected"); }`,
    says: /Error: rejected/,
  },
  "rejects with nothing": { handler: `() => Promise.reject()`, says: /undefined/ },
  "returns nothing": { handler: `() => {}`, says: /no Response but undefined/ },
  "resolves to nothing": { handler: `async () => {}`, says: /no Response but undefined/ },
  "returns a text": { handler: `() => "text"`, says: /no Response but string/ },
  "returns what looks like a Response": {
    handler: `() => ({ status: 200, headers: new Headers(), body: null })`,
    says: /no Response but object/,
  },
  "returns a Response whose body was read": {
    handler:
      `async () => { const answer = new Response("x"); await answer.text(); return answer; }`,
    says: /TypeError/,
  },
};

/** Breaks in the way that the path says, by its place in {@link BROKEN}; and answers that are rare. */
const BREAKING_APP = `
const BROKEN = [${Object.values(BROKEN).map(({ handler }) => handler).join(",\n")}];
async function* breaking() {
  yield new TextEncoder().encode("the beginning");
  while (!globalThis.broken) await new Promise((resolve) => setTimeout(resolve, 10));
  throw new Error("the disk is gone");
}
export default {
  fetch(request) {
    const path = new URL(request.url).pathname.slice(1);
    if (path === "fine") return new Response("fine");
    if (path === "midway") return new Response(ReadableStream.from(breaking()));
    if (path === "break") return new Response(String(globalThis.broken = true));
    if (path === "redirect") return Response.redirect("http://example.com/", 303);
    if (path === "fetched") return fetch("data:text/plain,fetched");
    return BROKEN[Number(path)](request);
  },
};
`;

/** An app whose `close` leaves a note of how many answers came before it. */
const CLOSING_APP = `
let answers = 0;
export default {
  async fetch(request) {
    const { pathname, search } = new URL(request.url);
    while (pathname === "/slow") {
      if (await Deno.stat("./data/" + search.slice(1)).then(() => true, () => false)) break;
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
    return new Response(String(++answers));
  },
};
export async function close() {
  await new Promise((resolve) => setTimeout(resolve, 300));
  await Deno.writeTextFile("./data/closed.txt", "after " + answers);
}
`;

/** Sees that `close` comes after the last answer, in whatever way the worker is asked to go. */
async function assertClosesLast(server: Server, ask: () => void, generation: number) {
  const { project } = server;
  await Deno.remove(project.path("data/closed.txt")).catch(() => {});
  assertEquals(await server.text("/"), "1");
  using wire = await Wire.open(project.port);
  await wire.write(formatRequest(`/slow?${generation}`));
  await figuresWhen(server, ({ inFlight }) => inFlight === 1);
  ask();
  await untilTold("the drain", async () => {
    return server.eventsOf("stopping").length > 0 ||
      (await server.status()).generations.some(({ state }) => state === "draining");
  });
  await project.write(`data/${generation}`, "");
  assertEquals((await wire.answer()).text, "2");
  assertEquals((await server.waitFor("generation_ended", generation)).outcome, "drained");
  assertEquals(await Deno.readTextFile(project.path("data/closed.txt")), "after 2");
}

for (const engine of ENGINES) {
  Deno.test(`apps on the ${engine} engine`, async (t) => {
    await using server = await Server.start({
      files: {
        "deno.json": JSON.stringify({ imports: { "hono": `npm:${HONO}` } }),
        "app.ts": HONO_APP,
        "data/.keep": "",
      },
      config: { engine, unveil: { "./data": "rwc" }, reload: { idleGraceMs: 100 } },
    });
    const { project } = server;

    await t.step("a Hono app is served as it is, by its own deno.json", async () => {
      assertEquals(await server.text("/"), "from Hono");
      const hello = await server.get("/hello/you");
      assertEquals([hello.status, await hello.json()], [201, { hello: "you" }]);
      const form = await server.get("/form", {
        method: "POST",
        body: new URLSearchParams({ a: "1" }),
      });
      assertEquals(await form.json(), { a: "1" });
      const missing = await server.get("/missing");
      assertEquals([missing.status, await missing.text()], [404, "404 Not Found"]);
      const broken = await server.get("/throw");
      assertEquals([broken.status, await broken.text()], [503, "handled: a route broke"]);
      assertEquals(server.eventsOf("worker_output"), []);
    });

    await t.step("Hono's getConnInfo tells the client's address and port", async () => {
      const { answer, port } = await askFrom(server, "/address");
      const { address, port: told, transport } = answer as Record<string, unknown>;
      assertEquals([address, told, transport], ["127.0.0.1", port, "tcp"]);
    });

    await project.write("app.ts", BREAKING_APP);
    await project.configure({ reload: { idleGraceMs: 60_000, drainDeadlineMs: 60_000 } });
    await reload(server);
    await server.waitFor("generation_ended");

    let answered = 0;
    for (const [index, [how, { says }]] of Object.entries(BROKEN).entries()) {
      await t.step(
        `an app that ${how} is answered for with 500 and a line in the log`,
        async () => {
          using wire = await Wire.open(project.port);
          const before = server.eventsOf("worker_output").length;
          const { status, text } = await wire.ask(`/${index}`);
          assertEquals([status, text], [500, "Internal Server Error"]);
          const { text: line } = await server.waitFor("worker_output", before + 1);
          assertMatch(String(line), says);
          assertEquals((await wire.ask("/fine")).text, "fine");
          answered += 2;
        },
      );
    }
    const lines = server.eventsOf("worker_output").length;
    await figuresWhen(server, (now) => now.answered === answered && now.inFlight === 0);
    assertEquals(lines, Object.keys(BROKEN).length, "one line each");

    await t.step("an answer whose body breaks midway is cut, never ended as if whole", async () => {
      using wire = await Wire.open(project.port);
      await wire.write(formatRequest("/midway"));
      const pieces = wire.body(await wire.head());
      assertEquals(new TextDecoder().decode((await pieces.next()).value!), "the beginning");
      assertEquals(await server.text("/break"), "true");
      assertEquals(await pieces.next().then(() => "ended", () => "cut"), "cut");
      await figuresWhen(
        server,
        (now) => now.answered === answered + 2 && now.inFlight + now.connections === 0,
      );
    });

    await t.step(
      "a Response with headers that cannot be changed is sent, during a drain too",
      async () => {
        const before = server.eventsOf("worker_output").length;
        using first = await Wire.open(project.port);
        using second = await Wire.open(project.port);
        for (const wire of [first, second]) {
          assertEquals((await wire.ask("/fetched")).text, "fetched");
        }
        await project.write("app.ts", CLOSING_APP);
        await project.configure({ reload: { idleGraceMs: 100 } });
        await reload(server);
        const fetched = await first.ask("/fetched");
        assertEquals([fetched.text, fetched.headers.get("connection")], ["fetched", "close"]);
        const redirect = await second.ask("/redirect");
        assertEquals([redirect.status, redirect.headers.get("connection")], [303, "close"]);
        assertEquals(redirect.headers.get("location"), "http://example.com/");
        assertEquals(server.eventsOf("worker_output").length, before);
        await server.waitFor("generation_ended", 2);
      },
    );

    await t.step("close() is awaited after the last answer, at a reload", async () => {
      await assertClosesLast(server, () => server.signal("SIGHUP"), 3);
      await server.waitFor("reload_done", 3);
    });

    await t.step("close() is awaited after the last answer, at TERM", async () => {
      await assertClosesLast(server, () => server.signal("SIGTERM"), 4);
      assertEquals((await server.exited()).code, 0);
    });
    assertEquals(server.eventsOf("worker_lost"), []);
  });
}

/** An app that takes its time to open, and says whether it was asked before that was over. */
const SLOW_OPENING_APP = `
let state = "cold";
export async function open() {
  await new Promise((resolve) => setTimeout(resolve, 700));
  state = "open";
}
export default { fetch: () => new Response("one " + state) };
`;

/** What one server serves in turn; the files of one step are there in the next. */
const KINDS: Record<string, (server: Server) => Promise<void>> = {
  async "an app's fetch is given the request and where it came from"(server) {
    await server.project.write(
      "app.ts",
      `
let completed = 0;
export default {
  fetch(request, info) {
    info.completed.then(() => completed++);
    const { method, url } = request;
    return Response.json({ method, url, from: info.remoteAddr, completed });
  },
};
`,
    );
    await reload(server);
    const { answer, port } = await askFrom(server, "/a?b=c");
    assertEquals(answer, {
      method: "GET",
      url: "http://holdfast.test/a?b=c",
      from: { transport: "tcp", hostname: "127.0.0.1", port },
      completed: 0,
    });
    await until("the completion", async () => (await (await server.get()).json()).completed > 0);
  },

  async "an app may be an object whose fetch uses this"(server) {
    await server.project.write(
      "app.ts",
      `
class Counter {
  #count = 0;
  fetch() {
    return new Response(String(++this.#count));
  }
}
export default new Counter();
`,
    );
    await reload(server);
    assertEquals([await server.text(), await server.text()], ["1", "2"]);
  },

  async "an app sees the variables that env lists, and of the others not even the names"(server) {
    await server.project.write(
      "app.ts",
      `
export default {
  fetch() {
    return Response.json({
      all: Deno.env.toObject(),
      secret: [Deno.env.get("SECRET") ?? "undefined", process.env.SECRET ?? "undefined"],
      path: Deno.env.has("PATH"),
    });
  },
};
`,
    );
    await server.project.configure({ env: ["DATABASE_URL", "NOT_SET"] });
    await reload(server);
    assertEquals(await (await server.get()).json(), {
      all: { DATABASE_URL: "sqlite:a", NODE_ENV: "production" },
      secret: ["undefined", "undefined"],
      path: false,
    });
  },

  async "an app without any project file runs in its own folder"(server) {
    await server.project.write(
      "src/main.ts",
      `export default { fetch: () => new Response(Deno.cwd()) };`,
    );
    await server.project.configure({ app: "./src/main.ts" });
    await reload(server);
    assertEquals(await server.text(), server.project.path("src"));
  },

  async "an app's imports resolve by package.json and node_modules alone"(server) {
    const { project } = server;
    const files = {
      "package.json": JSON.stringify({ private: true, type: "module" }),
      "node_modules/greeter/package.json": JSON.stringify({
        name: "greeter",
        version: "1.0.0",
        type: "module",
        exports: { "./polite": "./lib/polite.js" },
      }),
      "node_modules/greeter/lib/polite.js": `export const greeting = "from a package";`,
      "app.ts": `
import { greeting } from "greeter/polite";
export default { fetch: () => new Response(greeting) };
`,
    };
    for (const [path, text] of Object.entries(files)) await project.write(path, text);
    await project.configure({ app: "./app.ts" });
    await reload(server);
    assertEquals(await server.text("/"), "from a package");
    for (const name of ["package.json", "node_modules"]) {
      await Deno.remove(project.path(name), { recursive: true });
    }
  },

  async "an app in a subfolder belongs to the project above it, and runs in its folder"(server) {
    const { project } = server;
    const files = {
      "deno.json": JSON.stringify({ imports: { "hono": `npm:${HONO}` } }),
      "src/main.ts": `
import { Hono } from "hono";
import { greeting } from "./lib/greeting.ts";
const app = new Hono();
app.get("/", (c) => c.text(greeting));
app.get("/cwd", (c) => c.text(Deno.cwd()));
app.get("/file", async (c) => c.text(await Deno.readTextFile("./public/file.txt")));
export default app;
`,
      "src/lib/greeting.ts": `export const greeting: string = "from below";`,
      "public/file.txt": "a file of the project",
    };
    for (const [path, text] of Object.entries(files)) await project.write(path, text);
    await project.configure({ app: "./src/main.ts", unveil: { "./public": "r" } });
    await reload(server);
    assertEquals(await server.text("/"), "from below");
    assertEquals(await server.text("/cwd"), project.folder);
    assertEquals(await server.text("/file"), "a file of the project");
    const { generations } = await server.status();
    const { pid } = generations.at(-1)!.workers[0]!.process!;
    assertEquals(await Deno.readLink(`/proc/${pid}/cwd`), project.folder);
    await project.write(
      "src/lib/greeting.ts",
      `export const greeting: string = "from below, anew";`,
    );
    await reload(server);
    assertEquals(await server.text("/"), "from below, anew");
  },

  async "an app of TypeScript and JSX is compiled by its own settings"(server) {
    const { project } = server;
    await project.write(
      "deno.json",
      JSON.stringify({
        imports: { "hono": `npm:${HONO}`, "hono/jsx/jsx-runtime": `npm:${HONO}/jsx/jsx-runtime` },
        compilerOptions: { jsx: "react-jsx", jsxImportSource: "hono/jsx" },
      }),
    );
    await project.write(
      "app.tsx",
      `
import { Hono } from "hono";
const Page = ({ name }: { name: string }) => <p>{name}</p>;
const app = new Hono();
app.get("/", (c) => c.html(<Page name="<you>" />));
export default app;
`,
    );
    await project.configure({ app: "./app.tsx" });
    await reload(server);
    assertEquals(await server.text(), "<p>&lt;you&gt;</p>");
  },

  async "an app is held to its deno.lock, and check says how to bring it up to date"(server) {
    const { project } = server;
    await project.write("deno.json", JSON.stringify({ imports: { "hono": `npm:${HONO}` } }));
    await project.write("app.ts", HONO_APP);
    await project.configure({ app: "./app.ts" });
    await run(project.folder, Deno.execPath(), "cache", "--frozen=false", "app.ts");
    const lock = await Deno.readTextFile(project.path("deno.lock"));
    assertStringIncludes(lock, HONO);
    await reload(server);
    assertEquals(await server.text("/"), "from Hono");
    assertEquals((await runCommand(project, "check")).code, 0);

    await project.write(
      "deno.json",
      JSON.stringify({ imports: { "hono": `npm:${HONO}`, "zod": "npm:zod@4.6.7" } }),
    );
    await project.write("app.ts", `import "zod";${HONO_APP}`);
    const { code, stderr } = await runCommand(project, "check");
    assertEquals(code, 78);
    assertMatch(stderr, /lockfile is out of date/);
    assertStringIncludes(stderr, `deno cache ${project.path("app.ts")}`);
    assertStringIncludes(stderr, project.path("deno.lock"));
    assertEquals((await server.reload()).outcome, "refused");
    assertEquals(await Deno.readTextFile(project.path("deno.lock")), lock, "nobody rewrote it");
    assertEquals(await server.text("/"), "from Hono");
  },

  async "an app whose close() throws ends all the same, and the log says why"(server) {
    const { project } = server;
    for (const name of ["deno.json", "deno.lock"]) await Deno.remove(project.path(name));
    await project.write(
      "app.ts",
      `export default { fetch: () => new Response("x") };
export function close() {
  throw new Error("the database is gone");
}`,
    );
    await reload(server);
    const ended = server.eventsOf("reload_done").length;
    await server.waitFor("generation_ended", ended);
    const lines = server.eventsOf("worker_output").length;
    assertEquals((await server.stop()).code, 0);
    const { text } = await server.waitFor("worker_output", lines + 1);
    assertStringIncludes(String(text), "close() threw: Error: the database is gone");
    assertEquals(server.eventsOf("generation_ended").at(-1)!.outcome, "drained");
  },
};

Deno.test("apps of every kind", async (t) => {
  await using server = await Server.start({
    files: { "app.ts": SLOW_OPENING_APP },
    config: { reload: { idleGraceMs: 100 } },
    env: { DATABASE_URL: "sqlite:a", SECRET: "b" },
    wait: "nothing",
  });
  await t.step(
    "no request is answered before open() is done, at a start and at a reload",
    async () => {
      // The listener is there before the app, so that whoever is early waits.
      using wire = await until("the listener", async () => {
        return await Wire.open(server.project.port).catch(() => undefined);
      });
      assertEquals((await wire.ask("/")).text, "one open");
      await server.waitFor("serving");

      const answers = new Set<string>();
      let reloading = true;
      const asking = (async () => {
        while (reloading) answers.add(await server.text());
      })();
      await server.project.write("app.ts", SLOW_OPENING_APP.replace('"one "', '"two "'));
      await reload(server);
      reloading = false;
      await asking;
      answers.add(await server.text());
      assertEquals([...answers].sort(), ["one open", "two open"]);
    },
  );
  for (const [promise, keep] of Object.entries(KINDS)) {
    if (!await t.step(promise, () => keep(server))) break;
  }
});
