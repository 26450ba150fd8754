/** `holdfast learn` and `holdfast unused` on real apps, behind the real wall. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { parse } from "jsonc-parser";
import { APPS } from "../apps/table.ts";
import { SHAPES } from "../apps/shapes.ts";
import { type AppCase, BUILD_PATIENCE_MS, makeProject } from "../harness/apps.ts";
import { Authority } from "../harness/certificates.ts";
import { copyGuestbook } from "../harness/guestbook.ts";
import { learnCommand, learned } from "../harness/learn.ts";
import { HOLDFAST, Project } from "../harness/project.ts";
import { runCommand, Server } from "../harness/server.ts";
import { createTlsProject } from "../harness/tls.ts";
import { until } from "../harness/wait.ts";

const PIXEL =
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==";

/** What a config grants, as a set. */
function grantsOf(config: Record<string, unknown>, process = "worker"): string[] {
  const { unveil = {}, net = [], env = [], helpers = {} } = config;
  const own = [
    ...Object.entries(unveil as Record<string, string>).map(([path, rights]) =>
      `unveil ${path.replace(/\/$/, "")} ${rights}`
    ),
    ...(net as string[]).map((host) => `net ${host}`),
    ...(env as string[]).map((name) => `env ${name}`),
  ].map((each) => `${process}: ${each}`);
  const others = Object.entries(helpers as Record<string, Record<string, unknown>>)
    .flatMap(([name, helper]) => grantsOf(helper, `helper ${name}`));
  return [...own, ...others].sort();
}

Deno.test("of the guestbook with nothing granted, learn proposes what its config has", async () => {
  await using guestbook = await copyGuestbook();
  const written = parse(await Deno.readTextFile(guestbook.configFile));
  const { unveil: _, ...config } = structuredClone(written);
  for (const helper of Object.values<Record<string, unknown>>(config.helpers)) {
    for (const key of ["unveil", "net", "env"]) delete helper[key];
  }
  await Deno.writeTextFile(guestbook.configFile, JSON.stringify(config));
  assertEquals(grantsOf(config), []);
  await Deno.writeFile(guestbook.path("pixel.png"), Uint8Array.fromBase64(PIXEL));
  const form = { name: "Ada", message: "Hello", photo: "@pixel.png" };
  const { proposed, replayed, applied } = await learned(
    guestbook.configFile,
    ["GET /", "GET /public/style.css", JSON.stringify({ method: "POST", path: "/entries", form })],
    { env: { GUESTBOOK_WEBHOOK: "http://127.0.0.1:9999/" }, args: ["--apply"] },
  );
  assertEquals(replayed, { sent: 3, failed: [] });
  assertEquals(applied, true);
  const now = parse(await Deno.readTextFile(guestbook.configFile));
  assertEquals(grantsOf(now), grantsOf(written));
  // Each says where in the app's code, and how often.
  for (const { because } of proposed) {
    assertMatch(because, /\.tsx?:\d+:\d+.*; used (once|\d+ times)/);
  }
});

/** Those whose config grants something, and some that need nothing. */
const TAUGHT = {
  ...Object.fromEntries(
    Object.entries({ ...APPS, ...SHAPES }).filter(([, { config = {}, build = [] }]) =>
      build.length === 0 && ["unveil", "env", "net", "tmp"].some((key) => key in config)
    ),
  ),
  ...Object.fromEntries(
    ["Hono, exported", "Express", "Fastify with its logger", "jsdom, which ships files"]
      .map((name) => [name, APPS[name]!]),
  ),
} satisfies Record<string, AppCase>;

for (const [name, each] of Object.entries(TAUGHT)) {
  Deno.test(`${name}: passes its own checks under what learn proposes`, async () => {
    const { path = "/", answer = /^hello/, also = {}, config: granted = {} } = each;
    const project = await makeProject(each);
    try {
      const asked = { [path]: answer, ...also };
      const kept = ["app", "envFile", "helpers", "trustedProxies"];
      const nothing = Object.keys(granted).filter((key) => !kept.includes(key));
      await project.configure(Object.fromEntries(nothing.map((key) => [key, undefined])));
      // A value may stand in the config alone.
      const env = Object.fromEntries(
        Object.entries(granted.env ?? {}).filter(([, value]) => typeof value === "string"),
      );
      const requests = Object.keys(asked).map((one) => `GET ${one}`);
      const said = await learned(project.configFile, requests, {
        env: Array.isArray(granted.env) ? {} : env,
        args: ["--apply"],
      });
      assertEquals(said.failure, undefined);
      await using server = await Server.startOn(project, {
        ...Array.isArray(granted.env) ? {} : { env },
        wait: "nothing",
      });
      const ended = server.ended.then(() => {
        throw new Error(`It did not start:\n${server.log.slice(-4000)}`);
      });
      const serves = () => server.eventsOf("serving").length > 0;
      await Promise.race([until("it to serve", serves, BUILD_PATIENCE_MS), ended]);
      ended.catch(() => {}); // It ends when the test does.
      for (const [one, answered] of Object.entries(asked)) {
        const found = await server.get(one);
        const text = await found.text();
        assertEquals(found.status, 200, `${one}: ${text}\n${JSON.stringify(said)}`);
        assertMatch(text, answered, JSON.stringify(said));
      }
      const denied = ["call_denied", "exec_denied", "worker_lost"];
      assertEquals(server.events.filter(({ event }) => denied.includes(event)), []);
    } catch (error) {
      await project[Symbol.asyncDispose]().catch(() => {});
      throw error;
    }
  });
}

Deno.test("what the check of a config refuses is not proposed, and neither is what nothing allows", async () => {
  await using authority = await Authority.create();
  const { project: made } = await createTlsProject(await authority.issue(), {
    files: {
      "src/note.txt": "x",
      "app.ts": `import { spawn } from "node:child_process";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
const acts = {
  // Beside code, which the next reload runs.
  "/code": () => writeFileSync(new URL("./src/new.txt", import.meta.url), "x"),
  "/root": () => writeFileSync("./new.txt", "x"),
  "/proc": () => readFileSync("/proc/meminfo"),
  "/etc": () => writeFileSync("/etc/cron.d/mine", "x"),
  "/home": () => mkdirSync(process.env.HOME + "/.ssh"),
  // What the config protects besides code, and the trial has not.
  "/log": () => writeFileSync("./log/app.txt", "x"),
  "/key": () => readFileSync("./tls/key.pem"),
  "/run": () => spawn("ls"),
  "/note": () => writeFileSync("./notes/log.txt", "x"),
};
export default { fetch(request) {
  const { pathname } = new URL(request.url);
  try { acts[pathname](); return new Response("done"); } catch (error) { return new Response(String(error)); }
} };`,
      "src/other.ts": "export const a = 1;",
      ...{ "notes/log.txt": "", "log/app.txt": "" },
      "main.ts": `import "./src/other.ts"; export { default } from "./app.ts";`,
    },
    config: { app: "./main.ts", log: { folder: "./log" } },
  });
  await using project = made;
  const paths = ["/log", "/key", "/code", "/root", "/proc", "/etc", "/home", "/run", "/note"];
  const { proposed, apart, failure } = await learned(
    project.configFile,
    paths.map((path) => `GET ${path}`),
    { env: { HOME: "/root" } },
  );
  assertEquals(failure, undefined);
  assertEquals(
    proposed.map(({ key, item, rights }) => [key, item, rights]),
    [["unveil", "./notes/log.txt", "rw"], ["env", "HOME", undefined]],
  );
  const what = apart.map((each) => each.what).join("\n");
  for (
    const said of [
      "log/app.txt",
      "tls/key.pem",
      "src",
      "new.txt",
      "/proc/meminfo",
      "cron.d",
      "/root/.ssh",
      "run ls",
    ]
  ) {
    assertStringIncludes(what, said);
  }
  for (const { why } of apart) assert(why !== "");
});

Deno.test("learn goes on while somebody uses the app, keeps comments and ends at Ctrl-C", async () => {
  await using project = await Project.create({
    files: {
      "public/a.txt": "a",
      "app.ts":
        `export default { fetch: () => new Response(Deno.readTextFileSync("./public/a.txt")) };`,
    },
  });
  const text = `{
  // What is served.
  "app": "./app.ts",
  "listen": ["127.0.0.1:${project.port}"], // here
  "reload": { "widen": "ask" }
}
`;
  await Deno.writeTextFile(project.configFile, text);
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      ...["run", "-A", join(HOLDFAST, "main.ts"), "learn", "--config", project.configFile],
      "--apply",
    ],
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  let said = "";
  const reading = (async () => {
    for await (const part of child.stderr.pipeThrough(new TextDecoderStream())) said += part;
  })();
  const origin = await until(
    "it to serve",
    () => /Serves on (http:\S+)/.exec(said)?.[1],
    60_000,
  );
  const ask = async () => {
    const found = await fetch(origin, { headers: { connection: "close" } });
    return { status: found.status, text: await found.text() };
  };
  assertEquals((await ask()).status, 500);
  await until("it to be granted", async () => (await ask()).text === "a", 60_000);
  child.kill("SIGINT");
  const [{ code }] = await Promise.all([child.status, child.stdout.cancel(), reading]);
  assertEquals(code, 0, said);
  const now = await Deno.readTextFile(project.configFile);
  for (const comment of ["// What is served.", "// here"]) assertStringIncludes(now, comment);
  assertEquals(parse(now).unveil, { "./public/a.txt": "r" });
});

Deno.test("an app that has no config gets one", async () => {
  await using project = await Project.create({
    files: {
      "texts/a.txt": "a",
      "app.ts": `Deno.serve(() => new Response(Deno.readTextFileSync("./texts/a.txt")));`,
    },
  });
  await Deno.remove(project.configFile);
  const { applied } = await learned(project.configFile, ["GET /"], {
    args: ["--apply", project.path("app.ts")],
  });
  assertEquals(applied, true);
  const { app, unveil } = parse(await Deno.readTextFile(project.configFile));
  assertEquals({ app, unveil }, { app: "./app.ts", unveil: { "./texts/a.txt": "r" } });
  assertEquals((await runCommand(project, "check")).code, 0);
});

Deno.test("unused lists what no process used, and nothing of what one did", async () => {
  await using server = await Server.start({
    files: {
      ...{ "read/a.txt": "a", "kept/b.txt": "b", "plugins/p.js": "export default 1;" },
      "app.ts": `import { readFile, writeFile } from "node:fs/promises";
import http from "node:http";
import os from "node:os";
await readFile("./read/a.txt");
await writeFile("./data/c.txt", "c");
await import(["./plugins", "p.js"].join("/"));
const failed = (error) => error;
export default { async fetch() {
  await fetch("http://127.0.0.1:7991/").catch(failed);
  await new Promise((resolve) => http.get("http://127.0.0.1:7992/").on("error", resolve).on("close", resolve));
  await Deno.connect({ port: 7993 }).catch(failed);
  Deno.makeTempFileSync();
  return new Response(process.env.USED + os.hostname());
} };`,
    },
    config: {
      unveil: { "./read": "r", "./kept": "r", "./data/": "rwc", "./plugins": "r" },
      net: [7991, 7992, 7993, 7994].map((port) => `127.0.0.1:${port}`),
      env: { USED: "1", UNUSED: "2", TZ: "UTC" },
      sys: ["hostname", "uid"],
      tmp: true,
      log: { folder: "./log" },
    },
  });
  const { project } = server;
  await server.text();
  await server.reload();
  const told = () => {
    const text = Deno.readTextFileSync(project.path("log/holdfast.log"));
    return text.includes('"grants_used"');
  };
  await until("it to be told", told);
  const { code, stdout, stderr } = await runCommand(project, "unused", "--json");
  assertEquals(code, 0, stderr);
  const { unused, silent } = JSON.parse(stdout);
  assertEquals(silent, []);
  assertEquals(
    unused.map(({ grant, state }: Record<string, string>) =>
      `${grant!.replace(project.folder, ".")}: ${state}`
    ),
    [
      "unveil ./kept r: unused",
      "unveil ./data rwc: only written",
      "env UNUSED: unused",
      "env TZ: unseen",
      "net 127.0.0.1:7994: unused",
      "sys uid: unused",
    ],
  );
  const later = await runCommand(project, "unused", "--since", "1d");
  assertStringIncludes(later.stdout, "not used");
  assertEquals((await runCommand(project, "unused", "--since", "soon")).code, 64);
});

Deno.test("requests that cannot be read, and an app that does not start, are said so", async () => {
  await using project = await Project.create({
    files: { "app.ts": `throw new Error("broken for good");` },
  });
  const wrong = await learnCommand(project.configFile, ["FETCH me"]);
  assertEquals(wrong.code, 64);
  assertStringIncludes(wrong.stderr, ":1 is no request");
  const { code, stdout } = await learnCommand(project.configFile, ["GET /"], { args: ["--apply"] });
  assertEquals(code, 75);
  assertStringIncludes(stdout, "broken for good");
});
