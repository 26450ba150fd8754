/** The npm package, installed into an empty home with nothing but Node and npm's registry. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { dirname, join } from "node:path";
import { VERSION } from "../../lib/base/version.ts";
import { packNpm } from "../../tools/pack_npm.ts";
import { testWith } from "../harness/needs.ts";
import { freePort } from "../harness/ports.ts";
import { processesIn } from "../harness/process.ts";
import { killQuietly, ProcessLog, waitForEvent } from "../harness/process_log.ts";
import { PATIENCE_MS } from "../harness/wait.ts";

/** A person's machine: an empty home, and a PATH with Node and without Deno. */
class Machine implements AsyncDisposable {
  readonly folder: string;
  /** How long its commands took, in ms. */
  readonly waited: { readonly command: string; readonly ms: number }[] = [];

  private constructor(folder: string) {
    this.folder = folder;
  }

  static async make(): Promise<Machine> {
    const folder = await Deno.realPath(await Deno.makeTempDir({ prefix: "holdfast_test_" }));
    // Root's processes have accounts of their own, which have to get in.
    await Deno.chmod(folder, 0o755);
    await Deno.mkdir(join(folder, "home"));
    return new Machine(folder);
  }

  #environment(): Record<string, string> {
    const home = join(this.folder, "home");
    return { HOME: home, DENO_DIR: join(home, ".cache/deno"), CI: "1" };
  }

  start(command: string, cwd: string): ProcessLog {
    return ProcessLog.spawn(["sh", "-c", `exec ${command}`], { cwd, env: this.#environment() });
  }

  /** Runs a command and gives what it printed. */
  async run(command: string, cwd: string, code = 0): Promise<string> {
    const startMs = performance.now();
    const output = await new Deno.Command("sh", {
      args: ["-c", `exec ${command} 2>&1`],
      ...{ cwd, env: this.#environment(), stdin: "null" },
      signal: AbortSignal.timeout(3 * PATIENCE_MS),
    }).output();
    const text = new TextDecoder().decode(output.stdout);
    assert(output.code === code, `${command}: ${output.code}\n${text}`);
    this.waited.push({ command, ms: Math.round(performance.now() - startMs) });
    return text;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    processesIn(this.folder).forEach((pid) => killQuietly(pid));
    await Deno.remove(this.folder, { recursive: true });
  }
}

function print(line: string): void {
  // deno-lint-ignore no-console
  console.log(line);
}

/** As it will come from the registry. */
async function packed(machine: Machine): Promise<string> {
  const folder = join(machine.folder, "package");
  await packNpm(folder);
  await machine.run("npm pack --silent", folder);
  return join(folder, `holdfast-${VERSION}.tgz`);
}

async function edit(path: string, change: (text: string) => string): Promise<void> {
  const text = await Deno.readTextFile(path);
  const changed = change(text);
  assert(changed !== text, path);
  await Deno.writeTextFile(path, changed);
}

testWith(
  { programs: ["npm"], builds: true },
  "from nothing to an app with a form and a database that is reloaded, by npm alone",
  async () => {
    await using machine = await Machine.make();
    const tarball = await packed(machine);
    const folder = join(machine.folder, "notes");
    await Deno.mkdir(folder);
    await machine.run(`npm exec --yes --package=${tarball} -- holdfast init`, folder);
    const config = join(folder, "holdfast.jsonc");
    const port = freePort();
    await edit(config, (text) => text.replace("8000", String(port)));
    // It is not in the registry before it is published.
    await edit(
      join(folder, "package.json"),
      (text) => text.replace(/("holdfast": )"[^"]+"/, `$1${JSON.stringify(`file:${tarball}`)}`),
    );
    await machine.run("npm install --silent --no-audit --no-fund", folder);
    assertStringIncludes(await machine.run("npx holdfast check", folder), "ok");
    await machine.run("npm test", folder);

    const server = machine.start("npx holdfast start", folder);
    await waitForEvent(server, "serving", 1);
    const origin = `http://127.0.0.1:${port}`;
    const body = new URLSearchParams({ text: "<i>first</i>" });
    const page = await fetch(`${origin}/`, { method: "POST", body });
    assertStringIncludes(await page.text(), "&lt;i&gt;first&lt;/i&gt;");
    const style = await fetch(`${origin}/public/style.css`);
    assertEquals([style.status, style.headers.get("content-type")], [
      200,
      "text/css; charset=utf-8",
    ]);
    await style.body?.cancel();

    await edit(join(folder, "main.tsx"), (text) => text.replace("<h1>Notes", "<h1>My notes"));
    await machine.run("npx holdfast reload", folder);
    // A kept connection may be answered once more by the worker before, until the grace is over.
    const fresh = { headers: { connection: "close" } };
    const after = await (await fetch(`${origin}/`, fresh)).text();
    assertStringIncludes(after, "<h1>My notes</h1>");
    assertStringIncludes(after, "&lt;i&gt;first&lt;/i&gt;");
    assertStringIncludes(await machine.run("npx holdfast status", folder), "1 reloads");
    await machine.run("npx holdfast stop", folder);
    await server.ended(PATIENCE_MS);
    for (const { command, ms } of machine.waited) print(`${ms} ms  ${command}`);
  },
);

testWith(
  { programs: ["npm"], builds: true },
  "a config that init proposes for an app that is there passes check and serves it",
  async (t) => {
    await using machine = await Machine.make();
    const tarball = await packed(machine);
    const tool = join(machine.folder, "tool");
    await Deno.mkdir(tool);
    await machine.run(
      `npm install --silent --no-audit --no-fund ${tarball} hono@4.13.19 @hono/node-server@1 express@5`,
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
        const server = machine.start(`${holdfast} start`, folder);
        await waitForEvent(server, "serving", 1);
        assertEquals(await (await fetch(`http://127.0.0.1:${port}/`)).text(), "Hello");
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
