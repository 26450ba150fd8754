import { assert, assertEquals, assertRejects, assertThrows } from "@std/assert";
import { join } from "node:path";
import { parse } from "jsonc-parser";
import { HoldfastError } from "../lib/base/error.ts";
import { Bursts } from "../lib/dev/bursts.ts";
import { developmentText } from "../lib/dev/config_text.ts";
import { openFolder } from "../lib/dev/folder.ts";
import { inspectorAddress } from "../lib/dev/inspector.ts";
import { opensByItself } from "../lib/dev/open_page.ts";
import { PageServer } from "../lib/dev/page_server.ts";
import { freePortFrom, wantedPort } from "../lib/dev/port.ts";
import { filesNamedIn, frameLines, frameOf } from "../lib/dev/source_frame.ts";
import { refusalOf } from "../lib/dev/terminal.ts";
import { effectOf, effectOfAll, foldersOf, staticPaths, type Watched } from "../lib/dev/watched.ts";
import { foldersIn, Watcher } from "../lib/dev/watcher.ts";
import { allowPage } from "../lib/injector/content_security.ts";
import { withScript } from "../lib/injector/inject.ts";
import { isPage, wantsPage } from "../lib/injector/page.ts";
import { FakeTime } from "./harness/fake_time.ts";
import { freePort } from "./harness/ports.ts";
import { until } from "./harness/wait.ts";
import { REPOSITORY } from "./harness/project.ts";

Deno.test("a page of the app hears of reloads, and nobody else does", async () => {
  const appPort = freePort();
  const opened: string[] = [];
  const server = new PageServer({
    ...{ appPort, port: 0, token: "0123", opened: () => opened.push("page") },
  });
  try {
    const { script, events } = server.page;
    const ask = async (url: string, origin?: string) => {
      const response = await fetch(url, { headers: origin === undefined ? {} : { origin } });
      await response.body?.cancel();
      return [response.status, response.headers.get("access-control-allow-origin")];
    };
    assertEquals(await ask(script), [200, null]);
    const own = `http://localhost:${appPort}`;
    assertEquals(await ask(events, own), [200, own]);
    for (const origin of ["http://evil.example", `https://localhost:${appPort}`, "null"]) {
      assertEquals(await ask(events, origin), [404, null]);
    }
    assertEquals(await ask(events, "http://localhost:1"), [404, null]);
    assertEquals(await ask(events.replace("0123", "0124"), own), [404, null]);
    assertEquals(await ask(script.replace("/0123", "")), [404, null]);
    assertEquals(opened, ["page"]);
  } finally {
    await server.close();
  }
});

Deno.test("a second command leaves the folder of the first as it is, and says whose it is", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const config = join(folder, "holdfast.jsonc");
    const first = await openFolder(config);
    first.tell("http://127.0.0.1:4000/");
    // Where workers have another group they may pass through.
    await Deno.chmod(first.path, 0o710);
    const error = await assertRejects(() => openFolder(config), HoldfastError);
    assert(error.message.includes(`pid ${Deno.pid}`), error.message);
    assert(error.hint?.includes("http://127.0.0.1:4000/"), error.hint);
    assertEquals((await Deno.stat(first.path)).mode! & 0o777, 0o710);
    assertEquals(await Deno.readTextFile(first.file(".gitignore")), "*\n");
    first.close();
    (await openFolder(config)).close();
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

const CHANGES = { port: 4000, wall: undefined, inspected: false, isRoot: false } as const;

Deno.test("the config of development has no part that only production needs, line by line the same", () => {
  const text = `{
  // What is served
  "app": "./main.ts", "user": "www",
  "listen": [
    { "https": "0.0.0.0:443" },
    { "http": "0.0.0.0:80", "redirect": "https" }
  ],
  "acme": {
    "names": ["example.com"]
  },
  "env": ["TZ"], // one
  "log": { "folder": "./logs", "outputLineBytes": 300 },
  "helpers": { "a": { "module": "./a.ts" }, "b": { "module": "./b.ts", "env": { "X": true } } },
  "mistake": 1,
}
`;
  const changed = developmentText(text, CHANGES);
  const lineOf = (where: string) => where.slice(0, where.indexOf('"mistake"')).split("\n").length;
  assertEquals(lineOf(changed), lineOf(text));
  const raw = parse(changed, [], { allowTrailingComma: true });
  assertEquals(raw.listen, ["127.0.0.1:4000"]);
  assertEquals(raw.runtime, "./.holdfast-dev");
  assertEquals([raw.acme, raw.user, raw.workers], [undefined, undefined, 1]);
  assertEquals(raw.log, { outputLineBytes: 300 });
  assertEquals(raw.env, ["TZ", "NODE_ENV"]);
  assertEquals(raw.helpers.a.env, ["NODE_ENV"]);
  assertEquals(raw.helpers.b.env, { X: true, NODE_ENV: "development" });
  assertEquals([raw.wall, raw.watchdog, raw.mistake], [undefined, undefined, 1]);
  assertEquals([raw.reload.keep, raw.reload.widen], [0, "allow"]);
});

Deno.test("the config of development keeps what it cannot change, to be refused", () => {
  assertEquals(developmentText("{ broken", CHANGES), "{ broken");
  assertEquals(developmentText("[]", CHANGES), "[]");
  const raw = parse(
    developmentText('{"app":"./a.ts","reload":5,"env":"TZ","helpers":{"a":7},"log":[]}', CHANGES),
  );
  assertEquals([raw.reload, raw.env, raw.helpers, raw.log], [5, "TZ", { a: 7 }, []]);
});

Deno.test("a debugger may stop a worker of development for long, and root keeps the user", () => {
  const raw = parse(developmentText('{"app":"./a.ts","user":"www"}', {
    ...{ port: 4000, wall: "deno", inspected: true, isRoot: true },
  }));
  assertEquals([raw.wall, raw.user], ["deno", "www"]);
  assertEquals(raw.watchdog, { pulseDeadlineMs: 0 });
  assertEquals(raw.reload.readyDeadlineMs, 600_000);
});

const WATCHED: Watched = {
  roots: ["/app"],
  files: new Set(["/app/main.tsx", "/app/holdfast.jsonc", "/app/.env", "/lib/shared.ts"]),
  statics: ["/app/public", "/app/terms.html"],
};

Deno.test("a change counts by what the file is to the app", () => {
  const effects = Object.fromEntries([
    ...["/app/main.tsx", "/app/holdfast.jsonc", "/app/.env", "/lib/shared.ts"],
    ...["/app/public/a.css", "/app/public/logo.png", "/app/public/x.html", "/app/terms.html"],
    ...["/app/other.ts", "/app/data/app.db", "/app/public/.a.css.swp", "/app/public/4913"],
    ...["/lib", "/app/public"],
    ...["/app/public/node_modules/a.css", "/app/.git/HEAD", "/elsewhere/a.css"],
  ].map((path) => [path, effectOf(path, WATCHED, false)]));
  assertEquals(effects, {
    "/app/main.tsx": "restart",
    "/app/holdfast.jsonc": "restart",
    "/app/.env": "restart",
    "/lib/shared.ts": "restart",
    "/app/public/a.css": "style",
    "/app/public/logo.png": "page",
    "/app/public/x.html": "restart",
    "/app/terms.html": "restart",
    "/app/other.ts": undefined,
    "/app/data/app.db": undefined,
    "/app/public/.a.css.swp": undefined,
    "/app/public/4913": undefined,
    "/lib": "restart",
    "/app/public": "restart",
    "/app/public/node_modules/a.css": undefined,
    "/app/.git/HEAD": undefined,
    "/elsewhere/a.css": undefined,
  });
});

Deno.test("while the newest version is broken, a source that is no part of it yet counts too", () => {
  for (const path of ["/app/new/price.ts", "/app/x.json"]) {
    assertEquals([effectOf(path, WATCHED, false), effectOf(path, WATCHED, true)], [
      undefined,
      "restart",
    ]);
  }
  for (const path of ["/app/node_modules/a/x.ts", "/app/.holdfast-dev/worker.js", "/app/a.log"]) {
    assertEquals(effectOf(path, WATCHED, true), undefined);
  }
});

Deno.test("a burst comes to the most that one of its files asks for", () => {
  const of = (...paths: string[]) => effectOfAll(paths, WATCHED, false);
  assertEquals(of("/app/public/b.css", "/app/public/a.css").paths, [
    "/app/public/a.css",
    "/app/public/b.css",
  ]);
  assertEquals(of("/app/public/b.css", "/app/public/a.png").effect, "page");
  assertEquals(of("/app/public/b.css", "/app/main.tsx"), {
    effect: "restart",
    paths: ["/app/main.tsx"],
  });
  assertEquals(of("/app/notes.md"), { effect: undefined, paths: [] });
});

Deno.test("what an app may only read inside its project is watched, and nothing that others write", () => {
  const unveil = { "./public": "r", "./data": "rwc", "/etc/ssl": "r", ".": "r" };
  assertEquals(staticPaths(unveil, "/app", ["/app"]), ["/app/public"]);
  const tree: Record<string, string[]> = {
    "/app": ["public", "node_modules", ".git", ".holdfast", "src"],
    "/app/src": ["deep"],
  };
  const list = (folder: string) => tree[folder] ?? [];
  assertEquals(foldersOf(WATCHED, list, 100).sort(), [
    ...["/app", "/app/public", "/app/src", "/app/src/deep", "/app/terms.html", "/lib"],
  ]);
});

Deno.test("saves that come at once are one change, and a stream of them is taken in parts", async () => {
  using time = new FakeTime();
  const taken: string[][] = [];
  const bursts = new Bursts({ quietMs: 40, mostMs: 100, take: (all) => taken.push([...all]) });
  bursts.add("a");
  await time.pass(30);
  bursts.add("b");
  bursts.add("a");
  await time.pass(39);
  assertEquals(taken, []);
  await time.pass(1);
  assertEquals(taken, [["a", "b"]]);
  for (let step = 0; step < 4; step++) {
    bursts.add("c");
    await time.pass(30);
  }
  assertEquals(taken[1], ["c"]);
  bursts.close();
});

Deno.test("what changes while other folders come to be watched is seen", async () => {
  const folder = await Deno.makeTempDir();
  const taken = new Set<string>();
  const watcher = new Watcher({
    folders: () => [folder, ...foldersIn(folder).map((name) => join(folder, name))],
    take: (paths) => paths.forEach((path) => taken.add(path)),
  });
  try {
    const made = join(folder, "made", "a.txt");
    Deno.mkdirSync(join(folder, "made"));
    Deno.writeTextFileSync(made, "one");
    watcher.refresh();
    await until("the new file", () => taken.has(made));
    taken.clear();
    // Nothing of it has changed.
    Deno.chmodSync(made, 0o600);
    Deno.writeTextFileSync(join(folder, "made", "b.txt"), "two");
    await until("the next file", () => taken.has(join(folder, "made", "b.txt")));
    assertEquals(taken.has(made), false);
  } finally {
    watcher.close();
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("an error is told with three lines of its source, and a mark below the column", async () => {
  const folder = await Deno.makeTempDir();
  try {
    const file = join(folder, "a b.ts");
    await Deno.writeTextFile(file, "const one = 1;\n\toops();\nconst two = 2;\n");
    const url = `file://${folder}/a%20b.ts`;
    const found = frameOf(`ReferenceError: oops is not defined (at ${url}:2:2)`, [folder]);
    assertEquals(frameLines(found!), [
      "  1 | const one = 1;",
      "> 2 |  oops();",
      "    |  ^",
      "  3 | const two = 2;",
    ]);
    assertEquals(found!.file, file);
    // A place that is not the project's, or not there, is not shown.
    assertEquals(frameOf(`(at ${url}:2:2)`, [`${folder}x`]), undefined);
    assertEquals(frameOf(`(at ${url}:9:2)`, [folder]), undefined);
    assertEquals(frameOf("at /etc/passwd.txt:1:1", [folder]), undefined);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
  assertEquals(filesNamedIn('Module not found "file:///app/new%20one.ts".'), ["/app/new one.ts"]);
});

Deno.test("a refusal is told as people read it, with the line that would allow it", () => {
  assertEquals(
    refusalOf({
      ...{ event: "refused", role: "worker", kind: "env", what: "TOKEN" },
      ...{ from: "file:///app/a.ts:1:2", allow: '"env": ["TOKEN"]' },
    }),
    {
      what: "refused to the worker: env TOKEN, asked at /app/a.ts:1:2",
      advice: 'allow it in the config: "env": ["TOKEN"]',
    },
  );
  assertEquals(
    refusalOf({ event: "exec_denied", role: "helper mail.0", call: "execve", path: "/bin/\x1bsh" })
      ?.what,
    "refused to the helper mail: execve /bin/\\x1bsh",
  );
  assertEquals(refusalOf({ event: "worker_lost" }), undefined);
});

Deno.test("development listens on the config's port if that is free to it", () => {
  assertEquals(wantedPort(["127.0.0.1:3000"], undefined), 3000);
  assertEquals(wantedPort(["127.0.0.1:3000"], "5000"), 5000);
  assertEquals(wantedPort([{ https: "0.0.0.0:443" }, { http: "[::]:8080" }], ""), 8080);
  for (const listen of [["unix:/run/a:80"], ["systemd"], "x", undefined, ["0.0.0.0:80"]]) {
    assertEquals(wantedPort(listen, undefined), 8000);
  }
  assertEquals(freePortFrom(3000, (port) => port === 3002), 3002);
  assertThrows(() => freePortFrom(3000, () => false), Error, "No port from 3000 to 3019 is free");
});

Deno.test("an inspector listens on this machine's own addresses alone", () => {
  assertEquals(inspectorAddress("9230"), { hostname: "127.0.0.1", port: 9230 });
  assertEquals(inspectorAddress("[::1]:9230"), { hostname: "::1", port: 9230 });
  for (const text of ["0.0.0.0:9229", "example.com:1", "127.0.0.1", "127.0.0.1:0", "1:99999"]) {
    assertThrows(() => inspectorAddress(text), Error, "no address of this machine's own");
  }
});

Deno.test("a browser is opened where somebody sits, or where that is asked", () => {
  const of = (isTerminal: boolean, variables: Record<string, string>, os = "linux") =>
    opensByItself(undefined, { isTerminal, os, get: (name) => variables[name] });
  assertEquals(of(true, { DISPLAY: ":0" }), true);
  assertEquals(of(true, {}, "darwin"), true);
  assertEquals(of(true, {}), false);
  assertEquals(of(true, { DISPLAY: ":0", SSH_CONNECTION: "x" }), false);
  assertEquals(of(false, { DISPLAY: ":0" }), false);
  const none = { isTerminal: true, os: "darwin", get: () => undefined };
  assertEquals([opensByItself("no", none), opensByItself("yes", none)], [false, true]);
});

const PAGE = { script: "http://127.0.0.1:1/t/page.js", events: "http://127.0.0.1:1/t/events" };

Deno.test("a page's policy takes the script and its events, and nothing else", () => {
  const of = (policy: string) => allowPage(policy, PAGE, () => "fresh");
  const { script, events } = PAGE;
  for (
    const [policy, expected, nonce] of [
      ["img-src 'self'", "img-src 'self'"],
      [
        "default-src 'self'",
        `default-src 'self'; script-src 'self' ${script}; connect-src 'self' ${events}`,
      ],
      ["default-src 'none'", `default-src 'none'; script-src ${script}; connect-src ${events}`],
      ["script-src 'self' 'nonce-A'; script-src x", "script-src 'self' 'nonce-A'", "A"],
      [
        "script-src 'strict-dynamic' 'sha256-x'",
        "script-src 'strict-dynamic' 'sha256-x' 'nonce-fresh'",
        "fresh",
      ],
      ["Script-Src-Elem a; script-src b", `script-src-elem a ${script}; script-src b`],
      [
        "script-src 'nonce-A', script-src 'self'",
        `script-src 'nonce-A', script-src 'self' ${script}`,
        "A",
      ],
    ] as const
  ) assertEquals(of(policy), { policy: expected, nonce });
});

Deno.test("only pages get the script, and only where a page was asked for", () => {
  assertEquals(wantsPage("GET", "document"), true);
  assertEquals(wantsPage("POST", undefined), true);
  assertEquals(wantsPage("GET", "empty"), false);
  assertEquals(wantsPage("HEAD", "document"), false);
  assertEquals(isPage(200, "text/html; charset=utf-8"), true);
  assertEquals(isPage(404, "TEXT/HTML"), true);
  for (
    const type of [
      "application/xhtml+xml",
      "text/html-not",
      "text/plain",
      undefined,
      "text/html; charset=utf-16",
    ]
  ) {
    assertEquals(isPage(200, type), false);
  }
  for (const status of [101, 204, 206, 304]) assertEquals(isPage(status, "text/html"), false);
});

async function inject(body: BodyInit, headers: HeadersInit): Promise<[string, Headers]> {
  const response = withScript(new Response(body, { headers }), "GET", PAGE);
  return [await response.text(), response.headers];
}

Deno.test("a page has the script behind its end, whatever it was compressed with, and is kept by no cache", async () => {
  const [text, headers] = await inject("<p>é</p>", {
    ...{ "content-type": "text/html", "content-length": "9", etag: '"x"' },
    "content-security-policy": "script-src 'nonce-N'",
  });
  assert(text.startsWith("<p>é</p>\n<script async "), text);
  assert(text.includes(PAGE.script) && text.includes('nonce="N"'), text);
  assertEquals(["content-length", "etag", "cache-control"].map((name) => headers.get(name)), [
    ...[null, null, "no-store"],
  ]);
  const packed = new Blob(["<p>packed</p>"]).stream().pipeThrough(new CompressionStream("gzip"));
  const [unpacked, plain] = await inject(packed, {
    ...{ "content-type": "text/html", "content-encoding": "gzip" },
  });
  assert(unpacked.startsWith("<p>packed</p>\n<script"), unpacked);
  assertEquals(plain.get("content-encoding"), null);
  // What cannot be read stays as it is.
  const unknown = { "content-type": "text/html", "content-encoding": "x-own" };
  assertEquals((await inject("<p>", unknown))[0], "<p>");
  assertEquals((await inject("plain", { "content-type": "text/plain" }))[0], "plain");
});

Deno.test("what adds the script is no part of any program but that of holdfast dev", () => {
  const entries = ["worker.ts", "supervisor.ts", "packed.ts", "lib/native/worker.ts"];
  const code = [...entries, ...filesIn("lib/worker"), ...filesIn("lib/child")];
  const naming = code.filter((path) =>
    /\/injector\/|protocol\/development/.test(Deno.readTextFileSync(join(REPOSITORY, path)))
  );
  assertEquals(naming, []);
});

function filesIn(folder: string): string[] {
  return [...Deno.readDirSync(join(REPOSITORY, folder))].map(({ name }) => `${folder}/${name}`);
}
