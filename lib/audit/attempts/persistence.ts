/** Living on past the next reload: whatever is read again when a worker starts must stay as it was. */
import * as fs from "node:fs";
import { dirname } from "node:path";
import process from "node:process";
import type { Attempt, World } from "../attempt.ts";
import { AT_FDCWD, must } from "../native.ts";
import { inWebWorker } from "./web_worker.ts";

type More = Partial<Omit<Attempt, "id" | "area" | "title" | "run">>;

/** What is real is only opened, and never written, so there is nothing to see from outside. */
function claim(id: string, title: string, run: Attempt["run"], more: More = {}): Attempt {
  return {
    ...{ id, area: "persistence", title, deno: "stops", kernel: "stops", proof: "claim" },
    ...more,
    run,
  };
}

const { O_WRONLY, O_RDWR, O_APPEND } = fs.constants;

/** O_TMPFILE of fcntl.h: a file without a name, which shows that one could be made and leaves none. */
const O_TMPFILE = 0x400000 | (Deno.build.arch === "x86_64" ? 0x10000 : 0x4000);

/** Opening a real file for writing, without a byte written, by every interface. */
function opened(
  id: string,
  title: string,
  pathOf: (world: World) => string,
  more: More = {},
): Attempt[] {
  return [
    claim(`${id}.deno`, `Deno.open of ${title} for writing`, (world) => {
      using file = Deno.openSync(pathOf(world), { append: true });
      return file.isTerminal() ? "opened a terminal" : "opened";
    }, more),
    claim(`${id}.node`, `fs.openSync of ${title} for writing`, (world) => {
      fs.closeSync(fs.openSync(pathOf(world), "r+"));
      return "opened";
    }, more),
    claim(`${id}.web_worker`, `Deno.open of ${title} in a Web Worker`, (world) => {
      return inWebWorker((path) => {
        Deno.openSync(path, { append: true }).close();
        return "opened";
      }, pathOf(world));
    }, more),
    claim(`${id}.native`, `open(2) of ${title} for writing`, (world) => {
      must("close", must("openat", AT_FDCWD, pathOf(world), O_WRONLY | O_APPEND, 0));
      return "opened";
    }, more),
  ];
}

/** A new file in a real folder, which never gets a name. */
function nameless(
  id: string,
  title: string,
  folderOf: (world: World) => string,
  more: More = {},
): Attempt[] {
  return [
    claim(`${id}.node`, `fs.openSync of a new file in ${title}`, (world) => {
      fs.closeSync(fs.openSync(folderOf(world), O_TMPFILE | O_WRONLY));
      return "opened";
    }, more),
    claim(`${id}.native`, `open(2) of a new file in ${title}`, (world) => {
      must("close", must("openat", AT_FDCWD, folderOf(world), O_TMPFILE | O_RDWR, 0o600));
      return "opened";
    }, more),
  ];
}

const OWN_FOLDER: More = {
  deno: "contained",
  kernel: "contained",
  note:
    "it may write in this folder; no program looks for settings there, and a config under which one would is refused",
};

export const PERSISTENCE: readonly Attempt[] = [
  ...opened("PE1.module", "the app's module", ({ module }) => module),
  ...opened("PE1.config", "the config", ({ configFile }) => configFile),
  ...nameless("PE1.module_folder", "the folder of the app's module", (world) => {
    return dirname(world.module);
  }),
  ...nameless("PE1.config_folder", "the folder of the config", (world) => {
    return dirname(world.configFile);
  }),
  ...nameless("PE1.project", "the folder of the project", ({ project }) => project),
  ...nameless("PE1.program", "the folder of the Deno program", (world) => {
    return dirname(world.denoProgram);
  }, { needs: "root" }),

  ...([
    ["settings", "deno.json", `{ "imports": { "app": "./evil.ts" }, "permissions": {} }`],
    ["package", "package.json", `{ "type": "module", "scripts": { "postinstall": "false" } }`],
    ["variables", ".env", "LD_PRELOAD=/tmp/evil.so\nDENO_V8_FLAGS=--allow-natives-syntax\n"],
    ["registry", ".npmrc", "registry=http://127.0.0.1:1/\n"],
    ["lockfile", "deno.lock", "{}"],
  ] as const).map(([name, file, text]) =>
    claim(`PE3.${name}`, `planting ${file} in a folder of the app's own`, ({ inside }) => {
      fs.writeFileSync(`${inside}/${file}`, text);
      fs.rmSync(`${inside}/${file}`);
      return "planted";
    }, OWN_FOLDER)
  ),
  claim("PE3.modules", "planting node_modules in a folder of the app's own", ({ inside }) => {
    fs.mkdirSync(`${inside}/node_modules/hono`, { recursive: true });
    fs.rmSync(`${inside}/node_modules`, { recursive: true });
    return "planted";
  }, OWN_FOLDER),

  ...nameless("PE4.cache", "the cache of Deno", ({ denoDir }) => denoDir, {
    // ENOTDIR: a worker of an executable has no such folder, and none can be made.
    optional: true,
    refusal: /failed with errno 20$/,
  }),
  ...opened("PE4.entry", "a file in the cache of Deno", ({ denoDir }) => cacheEntry(denoDir)),
  claim("PE4.local_storage", "localStorage, which lies in the cache of Deno", ({ nonce }) => {
    localStorage.setItem(nonce, "planted");
    const found = localStorage.getItem(nonce);
    localStorage.removeItem(nonce);
    return found;
  }, {
    deno: "open",
    note: "Deno requires no permission for it",
    refusal: /^attempt to write a readonly database|^unable to open database/,
  }),
  claim("PE4.web_cache", "the Cache API, which lies in the cache of Deno", async ({ nonce }) => {
    try {
      const cache = await caches.open(nonce);
      await cache.put("http://planted.example/", new Response("planted"));
      return await (await cache.match("http://planted.example/"))?.text();
    } finally {
      await caches.delete(nonce);
    }
  }, {
    deno: "open",
    note: "Deno requires no permission for it",
    refusal: /^Failed to create cache storage directory/,
  }),

  ...opened("PE11.accounts", "the accounts of the machine", () => "/etc/passwd", { needs: "root" }),
  ...opened("PE11.loader", "what the loader of programs reads", () => "/etc/ld.so.cache", {
    needs: "root",
  }),
  ...nameless("PE11.settings", "the machine's settings", () => "/etc", { needs: "root" }),
  ...nameless("PE11.libraries", "the machine's libraries", () => "/usr/lib", { needs: "root" }),
  ...nameless("PE11.home", "the home of root", () => "/root", { needs: "root" }),

  ...nameless("PE12.shared", "the folder that everybody shares", ({ folder }) => dirname(folder)),
  claim("PE12.predictable", "a named file in the folder that everybody shares", (world) => {
    const path = `${dirname(world.folder)}/holdfast_audit_${process.pid}_${world.nonce}`;
    fs.writeFileSync(path, "");
    fs.rmSync(path);
    return "made";
  }),
];

/** Some file that Deno keeps there, whatever its version calls it. */
function cacheEntry(denoDir: string): string {
  const entry = fs.readdirSync(denoDir).find((name) => /_cache_v\d+$/.test(name));
  if (entry === undefined) throw new Error("Deno keeps no file there");
  return `${denoDir}/${entry}`;
}
