import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { formatRequest, Wire } from "./harness/http.ts";
import { Project } from "./harness/project.ts";
import { runCommand, Server } from "./harness/server.ts";
import { sleep, until } from "./harness/wait.ts";

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

const BY_DENO_JSON = {
  "deno.json": JSON.stringify({ imports: { "hono": `npm:${HONO}` } }),
};

async function run(folder: string, program: string, ...args: string[]): Promise<void> {
  const command = new Deno.Command(program, { args, cwd: folder, stdin: "null" });
  const { success, stderr } = await command.output();
  assert(success, `${program} ${args.join(" ")}: ${new TextDecoder().decode(stderr)}`);
}

/** The lines that the worker wrote so far, once there are as many as `count`. */
async function linesOf(server: Server, count: number): Promise<string[]> {
  await server.waitFor("worker_output", count);
  return server.eventsOf("worker_output").map(({ text }) => String(text));
}

Deno.test("an app's fetch is given the request and where it came from", async () => {
  await using server = await Server.start({
    files: {
      "app.ts": `
let completed = 0;
export default {
  fetch(request, info) {
    info.completed.then(() => completed++);
    const { method, url } = request;
    return Response.json({ method, url, from: info.remoteAddr, completed });
  },
};
`,
    },
  });
  using client = await Deno.connect({ hostname: "127.0.0.1", port: server.project.port });
  await client.write(formatRequest("/a?b=c", { headers: { connection: "close" } }));
  const text = await new Response(client.readable).text();
  assertEquals(JSON.parse(text.slice(text.indexOf("{"))), {
    method: "GET",
    url: "http://holdfast.test/a?b=c",
    from: {
      transport: "tcp",
      hostname: "127.0.0.1",
      port: (client.localAddr as Deno.NetAddr).port,
    },
    completed: 0,
  });
  await until("the completion", async () => (await (await server.get()).json()).completed > 0);
});

Deno.test("an app may be an object whose fetch uses this", async () => {
  await using server = await Server.start({
    files: {
      "app.ts": `
class Counter {
  #count = 0;
  fetch() {
    return new Response(String(++this.#count));
  }
}
export default new Counter();
`,
    },
  });
  assertEquals([await server.text(), await server.text()], ["1", "2"]);
});

/** An app that takes its time to open, and says whether it was asked before that was over. */
const SLOW_OPENING_APP = `
let state = "cold";
export async function open() {
  await new Promise((resolve) => setTimeout(resolve, 700));
  state = "open";
}
export default { fetch: () => new Response("one " + state) };
`;

Deno.test("no request is answered before open() is done, at a start and at a reload", async () => {
  await using server = await Server.start({
    files: { "app.ts": SLOW_OPENING_APP },
    wait: "nothing",
  });
  // The listener is there before the app, so that whoever is early waits.
  const early = await until("the listener", async () => {
    return await Wire.open(server.project.port).catch(() => undefined);
  });
  using wire = early;
  assertEquals((await wire.ask("/")).text, "one open");
  await server.waitFor("serving");

  const answers = new Map<string, number>();
  let reloading = true;
  const asking = (async () => {
    while (reloading || !answers.has("two open")) {
      const text = await server.text();
      answers.set(text, (answers.get(text) ?? 0) + 1);
    }
  })();
  await server.project.write("app.ts", SLOW_OPENING_APP.replace('"one "', '"two "'));
  const { event } = await server.hangUp();
  reloading = false;
  assertEquals(event, "reload_done");
  await asking;
  assertEquals([...answers.keys()].sort(), ["one open", "two open"]);
});

/** An app whose `close` leaves a note of how many answers came before it. */
const CLOSING_APP = `
let answers = 0;
export default {
  async fetch(request) {
    const slow = new URL(request.url).pathname === "/slow";
    await new Promise((resolve) => setTimeout(resolve, slow ? 1000 : 0));
    return new Response(String(++answers));
  },
};
export async function close() {
  await new Promise((resolve) => setTimeout(resolve, 300));
  await Deno.writeTextFile("./data/closed.txt", "after " + answers);
}
`;

for (const engine of ENGINES) {
  for (const way of ["a reload", "TERM"]) {
    Deno.test(`close() is awaited after the last answer, at ${way} (${engine})`, async () => {
      await using server = await Server.start({
        files: { "app.ts": CLOSING_APP, "data/.keep": "" },
        config: { engine, unveil: { "./data": "rwc" }, reload: { idleGraceMs: 100 } },
      });
      assertEquals(await server.text("/"), "1");
      using wire = await Wire.open(server.project.port);
      await wire.write(formatRequest("/slow"));
      await sleep(100);
      server.signal(way === "TERM" ? "SIGTERM" : "SIGHUP");
      assertEquals((await wire.answer()).text, "2");
      const { outcome } = await server.waitFor("generation_ended");
      assertEquals(outcome, "drained");
      assertEquals(await Deno.readTextFile(server.project.path("data/closed.txt")), "after 2");
      if (way === "TERM") assertEquals((await server.exited()).code, 0);
    });
  }
}

Deno.test("an app whose close() throws ends all the same, and the log says why", async () => {
  await using server = await Server.start({
    files: {
      "app.ts": `export default { fetch: () => new Response("x") };
export function close() {
  throw new Error("the database is gone");
}`,
    },
  });
  assertEquals((await server.stop()).code, 0);
  const [line] = await linesOf(server, 1);
  assertStringIncludes(line!, "close() threw: Error: the database is gone");
  assertEquals(server.eventsOf("generation_ended")[0]!.outcome, "drained");
});

for (const engine of ENGINES) {
  Deno.test(`a Hono app is served as it is, by its own deno.json (${engine})`, async () => {
    await using server = await Server.start({
      files: { ...BY_DENO_JSON, "app.ts": HONO_APP },
      config: { engine },
    });
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

  Deno.test(`Hono's getConnInfo tells the client's address and port (${engine})`, async () => {
    await using server = await Server.start({
      files: { ...BY_DENO_JSON, "app.ts": HONO_APP },
      config: { engine },
    });
    using client = await Deno.connect({ hostname: "127.0.0.1", port: server.project.port });
    await client.write(formatRequest("/address", { headers: { connection: "close" } }));
    const text = await new Response(client.readable).text();
    const { address, port, transport } = JSON.parse(
      text.slice(text.indexOf("{")).split("\r\n")[0]!,
    );
    assertEquals({ address, port, transport }, {
      address: "127.0.0.1",
      port: (client.localAddr as Deno.NetAddr).port,
      transport: "tcp",
    });
  });
}

Deno.test("an app's imports resolve by package.json and node_modules alone", async () => {
  const project = await Project.create({
    files: {
      "app.ts": HONO_APP,
      "package.json": JSON.stringify({ private: true, type: "module", dependencies: {} }),
    },
  });
  await run(project.folder, "npm", "install", "--no-audit", "--no-fund", HONO);
  await using server = await Server.startOn(project);
  assertEquals(await server.text("/"), "from Hono");
  assertEquals((await server.hangUp()).event, "reload_done");
  assertEquals(await server.text("/"), "from Hono");
});

Deno.test("an app in a subfolder belongs to the project above it, and runs in its folder", async () => {
  await using server = await Server.start({
    files: {
      ...BY_DENO_JSON,
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
    },
    config: { app: "./src/main.ts", unveil: { "./public": "r" } },
  });
  const { project } = server;
  assertEquals(await server.text("/"), "from below");
  assertEquals(await server.text("/cwd"), project.folder);
  assertEquals(await server.text("/file"), "a file of the project");
  const [pid] = await server.workers();
  assertEquals(await Deno.readLink(`/proc/${pid}/cwd`), project.folder);
  await project.write("src/lib/greeting.ts", `export const greeting: string = "from below, anew";`);
  assertEquals((await server.hangUp()).event, "reload_done");
  assertEquals(await server.text("/"), "from below, anew");
});

Deno.test("an app without any project file runs in its own folder", async () => {
  await using server = await Server.start({
    files: { "src/main.ts": `export default { fetch: () => new Response(Deno.cwd()) };` },
    config: { app: "./src/main.ts" },
  });
  assertEquals(await server.text(), server.project.path("src"));
});

Deno.test("an app of TypeScript and JSX is compiled by its own settings", async () => {
  await using server = await Server.start({
    files: {
      "deno.json": JSON.stringify({
        imports: { "hono": `npm:${HONO}`, "hono/jsx/jsx-runtime": `npm:${HONO}/jsx/jsx-runtime` },
        compilerOptions: { jsx: "react-jsx", jsxImportSource: "hono/jsx" },
      }),
      "app.tsx": `
import { Hono } from "hono";
const Page = ({ name }: { name: string }) => <p>{name}</p>;
const app = new Hono();
app.get("/", (c) => c.html(<Page name="<you>" />));
export default app;
`,
    },
    config: { app: "./app.tsx" },
  });
  assertEquals(await server.text(), "<p>&lt;you&gt;</p>");
});

Deno.test("an app is held to its deno.lock, and check says how to bring it up to date", async () => {
  const project = await Project.create({
    files: {
      "deno.json": JSON.stringify({ imports: { "hono": `npm:${HONO}` } }),
      "app.ts": HONO_APP,
    },
  });
  await run(project.folder, Deno.execPath(), "cache", "--frozen=false", "app.ts");
  const lock = await Deno.readTextFile(project.path("deno.lock"));
  assertStringIncludes(lock, HONO);
  await using server = await Server.startOn(project);
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
  assertEquals((await server.hangUp()).event, "reload_refused");
  assertEquals(await Deno.readTextFile(project.path("deno.lock")), lock, "nobody rewrote it");
  assertEquals(await server.text("/"), "from Hono");
});

Deno.test("an app sees the variables that env lists, and of the others not even the names", async () => {
  await using server = await Server.start({
    files: {
      "app.ts": `
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
    },
    config: { env: ["DATABASE_URL", "NOT_SET"] },
    env: { DATABASE_URL: "sqlite:a", SECRET: "b" },
  });
  assertEquals(await (await server.get()).json(), {
    all: { DATABASE_URL: "sqlite:a" },
    secret: ["undefined", "undefined"],
    path: false,
  });
});

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

for (const engine of ENGINES) {
  for (const [how, { handler, says }] of Object.entries(BROKEN)) {
    Deno.test(`an app that ${how} is answered for with 500 and a line in the log (${engine})`, async () => {
      await using server = await Server.start({
        files: {
          "app.ts": `const broken = ${handler};
export default {
  fetch: (request) => request.url.endsWith("/fine") ? new Response("fine") : broken(request),
};`,
        },
        config: { engine },
      });
      using wire = await Wire.open(server.project.port);
      const { status, text } = await wire.ask("/");
      assertEquals([status, text], [500, "Internal Server Error"]);
      const [line] = await linesOf(server, 1);
      assertMatch(line!, says);
      assertEquals((await wire.ask("/fine")).text, "fine");
      await until("nothing in flight", async () => {
        const worker = (await server.status()).generations[0]!.workers[0]!.process!;
        return worker.answered === 2 && worker.inFlight === 0;
      });
      assertEquals(server.eventsOf("worker_lost"), []);
    });
  }

  Deno.test(`an answer whose body breaks midway is cut, never ended as if it were whole (${engine})`, async () => {
    await using server = await Server.start({
      files: {
        "app.ts": `
export default {
  fetch: () => new Response(ReadableStream.from((async function* () {
    yield new TextEncoder().encode("the beginning");
    await new Promise((resolve) => setTimeout(resolve, 100));
    throw new Error("the disk is gone");
  })())),
};
`,
      },
      config: { engine },
    });
    using wire = await Wire.open(server.project.port);
    await wire.write(formatRequest("/"));
    const pieces = wire.body(await wire.head());
    assertEquals(new TextDecoder().decode((await pieces.next()).value!), "the beginning");
    assertEquals(await pieces.next().then(() => "ended", () => "cut"), "cut");
    await until("nothing in flight", async () => {
      const worker = (await server.status()).generations[0]!.workers[0]!.process!;
      return worker.answered === 1 && worker.inFlight === 0 && worker.connections === 0;
    });
    assertEquals(server.eventsOf("worker_lost"), []);
  });

  Deno.test(`a Response with headers that cannot be changed is sent, during a drain too (${engine})`, async () => {
    await using server = await Server.start({
      files: {
        "app.ts": `
export default {
  fetch(request) {
    return request.url.endsWith("/redirect")
      ? Response.redirect("http://example.com/", 303)
      : fetch("data:text/plain,fetched");
  },
};
`,
      },
      config: { engine, reload: { idleGraceMs: 10_000 } },
    });
    using first = await Wire.open(server.project.port);
    using second = await Wire.open(server.project.port);
    for (const wire of [first, second]) assertEquals((await wire.ask("/")).text, "fetched");
    assertEquals((await server.hangUp()).event, "reload_done");
    const fetched = await first.ask("/");
    assertEquals([fetched.text, fetched.headers.get("connection")], ["fetched", "close"]);
    const redirect = await second.ask("/redirect");
    assertEquals([redirect.status, redirect.headers.get("connection")], [303, "close"]);
    assertEquals(redirect.headers.get("location"), "http://example.com/");
    assertEquals(server.eventsOf("worker_output"), []);
  });
}
