/** The npm package, installed into an empty home with nothing but Node and npm's registry. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { dirname, join } from "node:path";
import { VERSION } from "../../lib/base/version.ts";
import { testWith } from "../harness/needs.ts";
import { NpmMachine } from "../harness/npm_machine.ts";
import { freePort } from "../harness/ports.ts";
import { waitForEvent } from "../harness/process_log.ts";
import { PATIENCE_MS } from "../harness/wait.ts";

function print(line: string): void {
  // deno-lint-ignore no-console
  console.log(line);
}

async function edit(path: string, change: (text: string) => string): Promise<void> {
  const text = await Deno.readTextFile(path);
  const changed = change(text);
  assert(changed !== text, path);
  await Deno.writeTextFile(path, changed);
}

/** Asks on a connection of its own: a kept one may be answered by the worker before, until the grace is over. */
async function ask(url: string, init: RequestInit = {}) {
  using client = Deno.createHttpClient({ poolMaxIdlePerHost: 0 });
  const response = await fetch(url, { ...init, client });
  const bytes = await response.bytes();
  const type = response.headers.get("content-type");
  return { status: response.status, type, bytes, text: new TextDecoder().decode(bytes) };
}

/** Sends the form of the app's page, with a file, and gives the page that it leads to. */
async function addNote(origin: string, text: string, file: File): Promise<string> {
  const body = new FormData();
  body.set("text", text);
  body.set("file", file);
  return (await ask(`${origin}/`, { method: "POST", body })).text;
}

testWith(
  { programs: ["npm"], builds: true },
  "from nothing to an own walled app with an upload and a database, by Node and npm alone",
  async () => {
    await using machine = await NpmMachine.make();
    const made = await machine.run("npm create holdfast notes -- --yes", machine.folder);
    const folder = join(machine.folder, "notes");
    assertStringIncludes(made, "  cd notes\n  npm install\n  npx holdfast start\n");
    const port = freePort();
    const config = join(folder, "holdfast.jsonc");
    await edit(config, (text) => text.replace("8000", String(port)));
    await machine.run("npm install", folder);
    await machine.run("npm test", folder);
    assertStringIncludes(await machine.run("npx holdfast check", folder), "ok");

    const startMs = performance.now();
    const server = machine.start("npx holdfast start", folder);
    await waitForEvent(server, "serving", 1);
    machine.noteWait("npx holdfast start", startMs);
    const origin = `http://127.0.0.1:${port}`;
    const bytes = crypto.getRandomValues(new Uint8Array(65_536));
    const page = await addNote(origin, "<i>first</i>", new File([bytes], "a photo.jpg"));
    assertStringIncludes(page, "&lt;i&gt;first&lt;/i&gt;");
    const [, link] = page.match(/<a href="([^"]+)">a photo.jpg<\/a>/) ?? [];
    const photo = async () => (await ask(`${origin}${link}`)).bytes;
    assertEquals(await photo(), bytes);
    const style = await ask(`${origin}/public/style.css`);
    assertEquals([style.status, style.type], [200, "text/css; charset=utf-8"]);

    await edit(join(folder, "main.tsx"), (text) => text.replace("<h1>Notes", "<h1>My notes"));
    const hupMs = performance.now();
    Deno.kill(Number(await Deno.readTextFile(join(folder, ".holdfast/lock"))), "SIGHUP");
    await waitForEvent(server, "reload_done", 1);
    machine.noteWait("kill -HUP $(cat .holdfast/lock)", hupMs);
    const after = (await ask(`${origin}/`)).text;
    assertStringIncludes(after, "<h1>My notes</h1>");
    assertStringIncludes(after, "&lt;i&gt;first&lt;/i&gt;");
    assertEquals(await photo(), bytes);
    assertStringIncludes(await machine.run("npx holdfast status", folder), "1 reloads");
    const { generations } = JSON.parse(await machine.run("npx holdfast status --json", folder));
    assertEquals(generations.map(({ wall }: { wall: string }) => wall), ["kernel"]);
    assertStringIncludes(await machine.run("npx holdfast stop", folder), `on 127.0.0.1:${port}`);
    await server.ended(PATIENCE_MS);
    print(machine.transcript());
  },
);

testWith(
  { programs: ["npm"], builds: true },
  "npx holdfast init proposes a config for an app, and npx holdfast start serves one without",
  async () => {
    await using machine = await NpmMachine.make();
    const folder = join(machine.folder, "app");
    await Deno.mkdir(folder);
    await Deno.writeTextFile(
      join(folder, "main.ts"),
      'export default { fetch: () => new Response("Hello") };\n',
    );
    const port = freePort();
    // What npx downloads is there from here on.
    await machine.run("npx --yes holdfast --version", folder);
    const startMs = performance.now();
    const start = "npx holdfast start main.ts";
    const server = machine.start(start, folder, { PORT: String(port) });
    await waitForEvent(server, "serving", 1);
    machine.noteWait(start, startMs);
    assertEquals((await ask(`http://127.0.0.1:${port}/`)).text, "Hello");
    await machine.run("npx holdfast stop", folder);
    await server.ended(PATIENCE_MS);
    const text = await machine.run("npx holdfast init --yes", folder);
    assertStringIncludes(text, `  npm install holdfast@${VERSION}\n  npx holdfast check\n`);
    assertStringIncludes(await machine.run("npx holdfast check", folder), "ok");
    print(machine.transcript());
  },
);

testWith(
  { programs: ["npm"], builds: true },
  "a config that init proposes for an app that is there passes check and serves it",
  async (t) => {
    await using machine = await NpmMachine.make();
    const tool = join(machine.folder, "tool");
    await Deno.mkdir(tool);
    await machine.run(
      `npm install --silent --no-audit --no-fund holdfast hono@4.13.19 @hono/node-server@1 express@5`,
      tool,
    );
    const kinds: Record<string, Record<string, string>> = {
      "a Hono app on Node": {
        "package.json":
          '{"type":"module","scripts":{"dev":"tsx watch src/index.ts","start":"node dist/x.js"},' +
          '"dependencies":{"hono":"4.13.19","@hono/node-server":"1"}}',
        "src/index.ts": `import { serve } from "@hono/node-server";
          import { Hono } from "hono";
          const app = new Hono();
          app.get("/", (c) => c.text(process.env.GREETING ?? "Hello"));
          serve({ fetch: app.fetch, port: 3000 });`,
      },
      "an Express app": {
        "package.json": '{"type":"module","main":"server.js","dependencies":{"express":"5"}}',
        "server.js": `import express from "express";
          const app = express();
          app.get("/", (request, response) => response.send("Hello"));
          app.use(express.static("public"));
          app.listen(process.env.PORT || 3000);`,
        "public/robots.txt": "",
      },
      "an app for Deno": {
        "deno.json":
          '{"tasks":{"start":"deno run --allow-net server.ts"},"imports":{"hono":"npm:hono@4.13.19"}}',
        "server.ts": `import { Hono } from "hono";
          Deno.serve({ port: 3000 }, new Hono().get("/", (c) => c.text("Hello")).fetch);`,
      },
    };
    for (const [kind, files] of Object.entries(kinds)) {
      await t.step(kind, async () => {
        const folder = join(machine.folder, kind.replaceAll(" ", "_"));
        for (const [name, text] of Object.entries(files)) {
          await Deno.mkdir(dirname(join(folder, name)), { recursive: true });
          await Deno.writeTextFile(join(folder, name), text);
        }
        if (files["package.json"] !== undefined) {
          await Deno.symlink(join(tool, "node_modules"), join(folder, "node_modules"));
        }
        const holdfast = join(tool, "node_modules/.bin/holdfast");
        await machine.run(`${holdfast} init --yes`, folder);
        const port = freePort();
        await edit(
          join(folder, "holdfast.jsonc"),
          (text) => text.replace("127.0.0.1:3000", `127.0.0.1:${port}`),
        );
        await machine.run(`${holdfast} check`, folder);
        const audit = await machine.run(`${holdfast} audit --only FR1,EX4.shell,NW1`, folder);
        assertStringIncludes(audit, "nothing got through");
        const server = machine.start(`${holdfast} start`, folder);
        await waitForEvent(server, "serving", 1);
        assertEquals((await ask(`http://127.0.0.1:${port}/`)).text, "Hello");
        await machine.run(`${holdfast} stop`, folder);
        await server.ended(PATIENCE_MS);
      });
    }
    await t.step("a folder in which no module looks like an app", async () => {
      const folder = join(machine.folder, "none");
      await Deno.mkdir(folder);
      await Deno.writeTextFile(join(folder, "notes.txt"), "");
      const text = await machine.run(
        `${join(tool, "node_modules/.bin/holdfast")} init`,
        folder,
        64,
      );
      assertStringIncludes(text, "looks like an app");
    });
  },
);
