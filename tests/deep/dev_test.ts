/** `holdfast dev`: real supervisors, workers, watchers and pages. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { DevelopmentServer, eventsIn, ListeningPage } from "../harness/development.ts";
import { HELPER_MODULE, plainHelper } from "../harness/helpers.ts";
import { resultOf, Server } from "../harness/server.ts";
import { isAlive, processesIn } from "../harness/process.ts";
import { killQuietly } from "../harness/process_log.ts";
import { Project, type ProjectOptions } from "../harness/project.ts";
import { until } from "../harness/wait.ts";

/** An app of two modules that answers with a page. */
const APP = `
import { title } from "./title.ts";
export default {
  fetch(request) {
    const { pathname } = new URL(request.url);
    if (pathname === "/throw") throw new Error("thrown " + title);
    if (pathname === "/env") return Response.json([Deno.env.get("NODE_ENV"), Deno.env.get("A")]);
    if (pathname === "/secret") {
      try {
        Deno.readTextFileSync("./secret.txt");
      } catch {
        return new Response("refused");
      }
    }
    return new Response("<!doctype html><h1>" + title + "</h1>", {
      headers: { "content-type": "text/html", "content-security-policy": "default-src 'self'" },
    });
  },
};
`;
const titled = (title: string) => `export const title = ${JSON.stringify(title)};\n`;

async function createProject({ files = {}, config = {} }: ProjectOptions = {}): Promise<Project> {
  return await Project.create({
    files: { "app.ts": APP, "title.ts": titled("one"), "secret.txt": "x", ...files },
    config,
  });
}

Deno.test("a saved file is brought in, a broken one is told and changes nothing, and a mended one clears it", async () => {
  await using project = await createProject();
  await using server = await DevelopmentServer.start(project);
  assertEquals(server.origin, project.origin);
  assertStringIncludes(server.text, "wall: kernel");
  const first = await server.page();
  const html = await first.text();
  assertStringIncludes(html, "<h1>one</h1>");
  assertEquals(first.headers.get("cache-control"), "no-store");
  const policy = first.headers.get("content-security-policy")!;
  assertStringIncludes(policy, `connect-src 'self' ${eventsIn(html)}`);
  using page = await ListeningPage.open(html, server.origin);

  await project.write("title.ts", titled("two"));
  await page.next("reload");
  assertStringIncludes(await server.load(), "<h1>two</h1>");
  await server.says(/reloaded: title\.ts: serves \d+ ms after the save/);

  await project.write("title.ts", "const before = 1;\nexport const title = ;\n");
  const { failure } = await page.next("failure") as unknown as { failure: Record<string, string> };
  assertEquals(failure["place"], "title.ts:2:22");
  assertStringIncludes(
    failure["frame"]!,
    "  1 | const before = 1;\n> 2 | export const title = ;\n",
  );
  await server.says(/not reloaded: title\.ts/);
  await server.says(/title\.ts:2:22\n.*\n\s+> 2 \| export const title = ;\n\s+\|\s+\^/);
  assertStringIncludes(await server.load(), "<h1>two</h1>");
  // A page that is opened now sees it too.
  using late = await ListeningPage.open(await server.load(), server.origin);
  assertEquals(late.messages[0]!["failure"], failure);

  await project.write("title.ts", titled("three"));
  await page.next("reload", 2);
  assertStringIncludes(await server.load(), "<h1>three</h1>");
  await server.says(/mended/);
  using mended = await ListeningPage.open(await server.load(), server.origin);
  assertEquals(mended.messages[0]!["failure"], null);
  assertEquals((await server.stop()).code, 0);
  assertEquals(server.left(), []);
});

Deno.test("a file that a version is missing is waited for, and a module that comes with it", async () => {
  await using project = await createProject();
  await using server = await DevelopmentServer.start(project);
  using page = await ListeningPage.open(await server.load(), server.origin);
  await project.write("title.ts", 'export { title } from "./deep/inner/title.js";\n');
  await page.next("failure");
  await project.write("deep/inner/title.js", titled("found"));
  await page.next("reload");
  assertStringIncludes(await server.load(), "<h1>found</h1>");
  // By now that is watched for its own sake.
  await project.write("deep/inner/title.js", titled("again"));
  await page.next("reload", 2);
  assertStringIncludes(await server.load(), "<h1>again</h1>");
});

Deno.test("what a link leads to, what is removed, and what a branch brings back, is seen", async () => {
  await using project = await createProject({ files: { "shared/title.ts": titled("shared") } });
  await Deno.remove(project.path("title.ts"));
  await Deno.symlink("shared/title.ts", project.path("title.ts"));
  await using server = await DevelopmentServer.start(project);
  using page = await ListeningPage.open(await server.load(), server.origin);
  await project.write("shared/title.ts", titled("changed"));
  await page.next("reload");
  assertStringIncludes(await server.load(), "<h1>changed</h1>");
  await Deno.rename(project.path("shared"), project.path("moved"));
  await page.next("failure");
  assertStringIncludes(await server.load(), "<h1>changed</h1>");
  await Deno.rename(project.path("moved"), project.path("shared"));
  await page.next("reload", 2);
  // Written in place, in two steps, as some editors do.
  const file = await Deno.open(project.path("shared/title.ts"), { write: true, truncate: true });
  await file.write(new TextEncoder().encode("export const title = "));
  await file.write(new TextEncoder().encode('"in place";\n'));
  file.close();
  await page.next("reload", 3);
  assertStringIncludes(await server.load(), "<h1>in place</h1>");
});

Deno.test("the config, the variables and static files count, data and foreign files do not", async () => {
  await using project = await createProject({
    files: { "public/a.css": "h1 {}", "data/x.txt": "", ".env": "A=one\n" },
    config: { unveil: { "./public": "r", "./data": "rwc" }, envFile: "./.env", env: ["A"] },
  });
  await using server = await DevelopmentServer.start(project);
  const env = async () => await (await server.page("/env")).json();
  assertEquals(await env(), ["development", "one"]);
  using page = await ListeningPage.open(await server.load(), server.origin);
  await project.write("data/x.txt", "written by the app");
  await project.write("notes.md", "nothing");
  await project.write("public/a.css", "h1 { color: red }");
  assertEquals((await page.next("style"))["names"], ["a.css"]);
  await project.write(".env", "A=two\n");
  await page.next("reload");
  assertEquals(await env(), ["development", "two"]);
  await project.configure({ env: ["A", "B"], unveil: { "./public": "r", "./more": "r" } });
  await page.next("failure");
  await server.says(/holdfast\.jsonc:1:\d+/);
  await project.write("more/a.txt", "");
  await page.next("reload", 2);
  assertEquals(page.messages.map(({ type }) => type), [
    ...["hello", "style", "reload", "failure", "reload"],
  ]);
});

Deno.test("a first version that fails is waited for, on the app's own address", async () => {
  await using project = await createProject({
    files: { "title.ts": "export const title = no();\n" },
  });
  await using server = await DevelopmentServer.start(project, { until: /not started/ });
  await server.says(/> 1 \| export const title = no\(\);/);
  const waiting = await until("the page that waits", () => server.page().catch(() => undefined));
  assertEquals(waiting.status, 503);
  const html = await waiting.text();
  assertStringIncludes(html, "no is not defined");
  using page = await ListeningPage.open(html, server.origin);
  await project.write("title.ts", titled("begun"));
  await page.next("reload");
  assertStringIncludes(await server.load(), "<h1>begun</h1>");
  await server.says(/started: title\.ts/);
});

Deno.test("what is refused, and what is thrown, is told at once as people read it", async () => {
  await using project = await createProject();
  await using server = await DevelopmentServer.start(project);
  using page = await ListeningPage.open(await server.load(), server.origin);
  assertEquals(await server.load("/secret"), "refused");
  await server.says(/refused to the worker: read \S+secret\.txt, asked at \S+app\.ts:10:14/);
  await server.says(/allow it in the config: "unveil": \{ "\S*secret\.txt": "r" \}/);
  assertStringIncludes(String((await page.next("refused"))["text"]), "secret.txt");
  const thrown = await server.page("/throw");
  assertEquals(thrown.status, 500);
  const text = await thrown.text();
  assertStringIncludes(text, "Error: thrown one");
  eventsIn(text);
  await server.says(/the app threw\n.*thrown one/);
  await server.says(/app\.ts:6:\d+\n.*\n\s+> 6 \| .*throw new Error/);
});

Deno.test("a server of production in the same folder is left alone, and gives no page a script", async () => {
  await using production = await Server.startOn(await createProject());
  const { project } = production;
  const before = await production.status();
  {
    await using server = await DevelopmentServer.start(project);
    // Its port is taken.
    assertEquals(server.origin, `http://127.0.0.1:${project.port + 1}`);
    eventsIn(await server.load());
    const [program, ...args] = DevelopmentServer.command(project);
    const second = resultOf(
      await new Deno.Command(program!, { args, stdin: "null" }).output(),
    );
    assertEquals(second.code, 71);
    assertStringIncludes(second.stderr, `pid ${server.process.pid}`);
    assertStringIncludes(second.stderr, server.origin);
    await project.write("title.ts", titled("two"));
    await server.says(/reloaded: title\.ts/);
    assertStringIncludes(await server.load(), "<h1>two</h1>");
    const page = await production.get("/", { headers: { "sec-fetch-dest": "document" } });
    assertEquals(await page.text(), "<!doctype html><h1>one</h1>");
    assertEquals(page.headers.get("content-security-policy"), "default-src 'self'");
    assertEquals(page.headers.get("cache-control"), null);
    assertEquals(await (await production.get("/env")).json(), ["production", null]);
    assertEquals((await server.stop()).code, 0);
  }
  const after = await production.status();
  assertEquals([after.pid, after.reloads, after.state], [before.pid, 0, "serving"]);
  assertEquals(await production.text("/"), "<!doctype html><h1>one</h1>");
});

Deno.test("what it started ends with it, however it ends", async () => {
  await using project = await createProject();
  const server = await DevelopmentServer.start(project);
  assert(server.left().length >= 2, `${server.left()}`);
  server.process.kill();
  await server.process.ended(30_000);
  await until("the end of all of it", () => server.left().filter(isAlive).length === 0);
  await using next = await DevelopmentServer.start(project);
  assertStringIncludes(await next.load(), "<h1>one</h1>");
  // The supervisor alone is killed: that is told, and the next save starts another one.
  const [supervisor] = next.left().filter((pid) => !processesIn(project.folder).includes(pid));
  killQuietly(supervisor!);
  await next.says(/the server has ended/);
  await project.write("title.ts", titled("two"));
  await next.says(/started: title\.ts/);
  assertStringIncludes(await next.load(), "<h1>two</h1>");
});

Deno.test("a helper is started anew with the app, in development too", async () => {
  const helper = (word: string) =>
    plainHelper(`word: method(() => ["${word}", Deno.env.get("NODE_ENV")]),`);
  await using project = await createProject({
    files: {
      "app.ts": `
import { helper } from ${JSON.stringify(HELPER_MODULE)};
export default { fetch: async () => Response.json(await helper("job").word()) };
`,
      "job.ts": helper("one"),
    },
    config: { helpers: { job: { module: "./job.ts" } } },
  });
  await using server = await DevelopmentServer.start(project);
  const word = async () => await (await server.page()).json();
  assertEquals(await word(), ["one", "development"]);
  await project.write("job.ts", helper("two"));
  await server.says(/reloaded: job\.ts/);
  assertEquals(await word(), ["two", "development"]);
});

Deno.test("pages of a node:http server get the script, whatever they are written and compressed with", async () => {
  await using project = await createProject({
    files: {
      "app.ts": `
import http from "node:http";
import { Readable } from "node:stream";
import { constants, createBrotliCompress, gzipSync } from "node:zlib";
const html = { "content-type": "text/html" };
http.createServer((request, response) => {
  switch (request.url) {
    case "/head":
      response.writeHead(200, { ...html, "content-length": "5" });
      return void response.end("<p>a1");
    case "/parts":
      response.setHeader("content-type", "text/html");
      response.write("<p>a1");
      return void setTimeout(() => response.end("<p>b2"), 10);
    case "/gzip":
      response.writeHead(200, { ...html, "content-encoding": "gzip" });
      return void response.end(gzipSync("<p>a1"));
    case "/large":
      response.writeHead(200, { ...html, "content-encoding": "br" });
      return void Readable.from(Array(2_000).fill("<p>" + "abcdefghij".repeat(40)))
        .pipe(createBrotliCompress({ params: { [constants.BROTLI_PARAM_QUALITY]: 1 } }))
        .pipe(response);
    case "/plain":
      response.setHeader("content-length", "5");
      return void response.end("plain");
  }
  response.writeHead(304, html).end();
}).listen(3000);
`,
    },
  });
  await using server = await DevelopmentServer.start(project);
  for (const [path, start] of [["/head", "<p>a1"], ["/parts", "<p>a1<p>b2"], ["/gzip", "<p>a1"]]) {
    const response = await server.page(path);
    const text = await response.text();
    assert(text.startsWith(`${start}\n<script async`), `${path} ${text}`);
    assertEquals(response.headers.get("content-encoding"), null, path);
  }
  assert((await server.load("/large")).length > 2_000 * 403);
  eventsIn(await server.load("/large"));
  assertEquals(await server.load("/plain"), "plain");
  assertEquals((await server.page("/none")).status, 304);
  // What a script of the page asks for is no page.
  const part = await server.page("/head", { "sec-fetch-dest": "empty" });
  assertEquals(await part.text(), "<p>a1");
});

Deno.test("a debugger finds the worker that serves, which has Deno's wall alone", async () => {
  await using project = await createProject();
  const address = `127.0.0.1:${project.port + 7}`;
  await using server = await DevelopmentServer.start(project, { args: [`--inspect=${address}`] });
  assertStringIncludes(server.text, "wall: deno, as --inspect needs it: native code is not held");
  const target = async () => {
    const [found] = await (await fetch(`http://${address}/json/list`)).json();
    return String(found.webSocketDebuggerUrl);
  };
  const first = await target();
  assertStringIncludes(first, `ws://${address}/`);
  const debug = async (url: string) => {
    const socket = new WebSocket(url);
    const { promise, resolve } = Promise.withResolvers<string>();
    socket.onmessage = ({ data }) => resolve(String(data));
    socket.onopen = () =>
      socket.send(JSON.stringify({
        ...{ id: 1, method: "Runtime.evaluate", params: { expression: "6 * 7" } },
      }));
    const answer = await promise;
    const closed = new Promise((done) => socket.onclose = done);
    socket.close();
    await closed;
    return answer;
  };
  assertStringIncludes(await debug(first), "42");
  await project.write("title.ts", titled("two"));
  await server.says(/reloaded: title\.ts/);
  assert(await target() !== first);
  assertStringIncludes(await debug(await target()), "42");
});

Deno.test("an app without a config is developed on defaults", async () => {
  await using project = await createProject();
  await Deno.remove(project.configFile);
  const env = { PORT: String(project.port) };
  await using server = await DevelopmentServer.start(project, {
    ...{ env, args: [project.path("app.ts"), "--wall", "deno"] },
  });
  assertStringIncludes(server.text, "wall: deno, as --wall asked: native code is not held");
  assertEquals(server.origin, project.origin);
  await project.write("title.ts", titled("two"));
  await server.says(/reloaded: title\.ts/);
  assertStringIncludes(await server.load(), "<h1>two</h1>");
});
