/**
 * An app in one file: it is built, moved alone into an empty folder, and run there with no deno, no
 * node and no network within reach. What else is printed are figures.
 */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import type { Summary } from "../../lib/audit/summary.ts";
import { PROTOCOL_VERSION } from "../../lib/protocol/version.ts";
import { IDS } from "../../lib/sandbox/accounts.ts";
import { FACTS_FILE } from "../../lib/supervisor/unpacked.ts";
import { ENTRIES } from "../../lib/planner/programs.ts";
import { build, canIsolate, Executable, reloadUnderLoad } from "../harness/executable.ts";
import { copyGuestbook } from "../harness/guestbook.ts";
import { freePort } from "../harness/ports.ts";
import { Project, REPOSITORY } from "../harness/project.ts";
import { testWith } from "../harness/needs.ts";
import { mountSmall, whyNoSmallDisk } from "../harness/small_disk.ts";
import { SAMPLE } from "../harness/audit_sample.ts";
import { until } from "../harness/wait.ts";

/** Only a hang makes it matter. */
const AUDIT_MS = 1_200_000;
const RELOADS = 50;

const CONFIG = join(REPOSITORY, "examples/guestbook/holdfast.jsonc");
/** The app's modules in what is unpacked. */
const MODULES = "image/image/worker/image.json";
/** A sample: deep/audit_test.ts makes all attempts, in processes that run from source. */
const AUDIT = ["audit", "--json", "--only", SAMPLE.join(",")];
/** Under root, accounts of its processes pass through. */
const MODE = Deno.uid() === 0 ? "711" : "700";
const isolation = canIsolate() ? "isolated" : "none";

function print(line: string): void {
  // deno-lint-ignore no-console
  console.log(line);
}

/** Built once, for all tests of this file. */
class Builds {
  readonly folder = Deno.makeTempDirSync({ prefix: "holdfast_test_builds_" });
  readonly #made = new Map<string, Promise<string>>();

  constructor() {
    globalThis.addEventListener("unload", () => {
      Deno.removeSync(this.folder, { recursive: true });
    });
  }

  async make(name: string, how: (folder: string) => Promise<unknown>): Promise<string> {
    const making = this.#made.get(name) ?? (async () => {
      const folder = join(this.folder, name);
      await Deno.mkdir(folder);
      await how(folder);
      return join(folder, "guestbook");
    })();
    this.#made.set(name, making);
    return await making;
  }

  /** The guestbook as it is. */
  first(): Promise<string> {
    return this.make("first", async (folder) => {
      const { bytes, programBytes, codeBytes, ms } = await build(CONFIG, folder);
      print(
        `size ${mib(bytes)}: Deno ${mib(programBytes)}, the app ${
          mib(codeBytes)
        }; built in ${ms} ms`,
      );
    });
  }

  /** The next release: another heading, and another version. */
  second(): Promise<string> {
    return this.make("second", async (folder) => {
      await using project = await copyGuestbook();
      await project.change("views.tsx", "You were here.", "You were here again.");
      await project.change("deno.json", /"version": "[^"]*"/, '"version": "2.0.0"');
      await build(project.configFile, folder);
    });
  }

  /** The guestbook, with something about it changed. */
  altered(name: string, alter: (stage: string) => Promise<void>): Promise<string> {
    return this.make(name, (folder) => build(CONFIG, folder, alter));
  }
}

const builds = new Builds();

function mib(bytes: number): string {
  return `${(bytes / 2 ** 20).toFixed(1)} MiB`;
}

async function alterText(path: string, from: string | RegExp, to: string): Promise<void> {
  const text = await Deno.readTextFile(path);
  assert(text.search(from) >= 0, `${path} has no ${from}`);
  await Deno.writeTextFile(path, text.replace(from, to));
}

async function place(executable: string, override = {}): Promise<Executable> {
  return await Executable.place({ executable, isolation: "none", override });
}

async function timed<T>(work: Promise<T>): Promise<{ ms: number; value: T }> {
  const startMs = performance.now();
  const value = await work;
  return { ms: Math.round(performance.now() - startMs), value };
}

// ---- the whole ----

Deno.test("alone in an empty folder, without deno, node and network, it serves, reloads and takes new code", async () => {
  const [one, two] = [await builds.first(), await builds.second()];
  await using executable = await Executable.place({ executable: one, isolation });
  const firstStart = await timed(executable.start());
  await (await firstStart.value).stop();
  const secondStart = await timed(executable.start());
  await using running = secondStart.value;
  print(
    `first start, unpacking included: ${firstStart.ms} ms; second start: ${secondStart.ms} ms` +
      ` (${isolation === "isolated" ? "making the namespaces included" : "not isolated"})`,
  );
  assertStringIncludes(await running.page(), "You were here.");

  await reloadUnderLoad(running, { one, two, reloads: RELOADS });
  // Data is outside, beside the executable; nothing but that, the config and the runtime folder is.
  const beside = Array.from(Deno.readDirSync(join(executable.folder, "alone")), ({ name }) => name);
  assertEquals(beside.sort(), [".holdfast", "data", "guestbook", "guestbook.jsonc", "log"]);
  assertEquals(await running.stop(), 0);
});

Deno.test({
  name: "nothing gets out of a worker of the executable",
  // A guard looks twice a second whether it is still wanted.
  fn: async () => {
    await using executable = await Executable.place({
      executable: await builds.first(),
      isolation,
    });
    const { code, stdout, stderr } = await executable.run(AUDIT, {
      patienceMs: AUDIT_MS,
    });
    assertEquals(stderr, "");
    const { lines, counts, passed }: Summary = JSON.parse(stdout);
    const wrong = lines.filter(({ verdict }) => verdict === "failed" || verdict === "unproven");
    assertEquals(wrong, []);
    assertEquals([passed, code], [true, 0]);
    assert(counts.held >= 60, JSON.stringify(counts));
    print(`audit: ${JSON.stringify(counts)}`);
    // It left the image as it was.
    assertEquals((await executable.run(["check"])).code, 0);
  },
});

Deno.test("two builds of the same app are the same file", async () => {
  const again = await builds.altered("again", () => Promise.resolve());
  const hash = async (path: string) =>
    new Uint8Array(await crypto.subtle.digest("SHA-256", await Deno.readFile(path))).toHex();
  assertEquals(await hash(again), await hash(await builds.first()));
});

Deno.test("--version tells the versions of the app, of Holdfast and of Deno", async () => {
  await using executable = await place(await builds.second());
  const { code, stdout } = await executable.run(["--version"]);
  assertEquals(code, 0);
  assertMatch(stdout, /^guestbook 2\.0\.0 \(holdfast \d+\.\d+\.\d+, deno \d+\.\d+\.\d+\)\n$/);
});

// ---- new code that cannot be taken ----

Deno.test("a new file whose workers speak another protocol is refused, with both numbers", async () => {
  const stranger = await builds.altered(
    "stranger",
    (stage) =>
      alterText(join(stage, FACTS_FILE), `"protocol":${PROTOCOL_VERSION},`, '"protocol":91,'),
  );
  // One that does not even say so: then its worker's first message does.
  const liar = await builds.altered(
    "liar",
    (stage) =>
      alterText(
        join(stage, "holdfast", ENTRIES.worker.replace(".ts", ".js")),
        /PROTOCOL_VERSION = \d+;/,
        "PROTOCOL_VERSION = 93;",
      ),
  );
  await using executable = await place(await builds.first());
  await using running = await executable.start();
  await executable.put(stranger);
  const first = await running.hangUp();
  assertEquals(first.event, "reload_refused");
  assertStringIncludes(
    String(first.reason),
    `its workers speak protocol 91, this supervisor ${PROTOCOL_VERSION}`,
  );
  await executable.put(liar);
  const second = await running.hangUp();
  assertEquals(second.event, "reload_refused");
  assertStringIncludes(
    String(second.reason),
    `the worker speaks protocol 93, the supervisor ${PROTOCOL_VERSION}`,
  );
  assertStringIncludes(await running.page(), "You were here.");
  await executable.put(await builds.second());
  assertEquals((await running.hangUp()).event, "reload_done");
  assertStringIncludes(await running.page(), "You were here again.");
});

Deno.test("a new file that brings another deno program, or is none, is refused", async () => {
  const other = await builds.altered(
    "other_deno",
    (stage) =>
      alterText(join(stage, FACTS_FILE), /"program":"[0-9a-f]{12}/, '"program":"000000000000'),
  );
  await using executable = await place(await builds.first());
  await using running = await executable.start();
  await executable.put(other);
  const first = await running.hangUp();
  assertEquals(first.event, "reload_refused");
  assertMatch(String(first.reason), /it brings Deno [\d.]+ \(000000000000\), this supervisor may/);
  await Deno.writeTextFile(executable.path, "#!/bin/sh\necho half of it\n");
  const second = await running.hangUp();
  assertEquals(second.event, "reload_refused");
  assertStringIncludes(String(second.reason), "half of it");
  assertStringIncludes(await running.page(), "You were here.");
});

Deno.test("the deploy script puts the old file back if the new one's workers do not come up", async () => {
  const broken = await builds.altered(
    "broken",
    (stage) => {
      // Not the first default export: that may be in a comment of another module.
      const last = "export default guestbook.app";
      return alterText(join(stage, MODULES), last, `throw 1; ${last}`);
    },
  );
  await using executable = await place(await builds.first());
  await using running = await executable.start();
  const deploy = async (file: string) =>
    (await new Deno.Command(join(REPOSITORY, "deploy/deploy.sh"), {
      args: [file, executable.path],
      env: { HOLDFAST_CACHE: executable.cache },
    }).output()).code;
  const served = async () => await Deno.readTextFile(join(executable.folder, "image"));
  const note = async () => {
    const { stdout } = await executable.run(["--unpack"]);
    await Deno.writeTextFile(join(executable.folder, "image"), stdout);
  };
  await note();
  const before = await served();
  assertEquals(await deploy(broken), 1);
  await note();
  assertEquals(await served(), before);
  assertStringIncludes(await running.page(), "You were here.");
  assertEquals(await deploy(await builds.second()), 0);
  assertStringIncludes(await running.page(), "You were here again.");
});

// ---- what may change ----

Deno.test("a config beside it may change how it listens and logs, and nothing that it may touch", async () => {
  await using executable = await place(await builds.first(), {
    log: { folder: "./log" },
    reload: { idleGraceMs: 100 },
  });
  await using running = await executable.start();
  await running.page();
  const access = join(executable.folder, "alone/log/access.log");
  await until(
    "the visit in the access log",
    async () => (await Deno.readTextFile(access).catch(() => "")).includes('"GET / '),
  );
  const moved = freePort();
  await executable.override({ listen: [`127.0.0.1:${moved}`, "unix:.holdfast/web.sock"] });
  assertEquals((await running.hangUp()).event, "reload_done");
  assertEquals((await running.status()).listeners, [
    `127.0.0.1:${moved}`,
    `unix:${executable.folder}/alone/.holdfast/web.sock`,
  ]);
  for (
    const [keys, why] of [
      [{ unveil: { "/etc": "r" } }, '"unveil" is built into this program'],
      [{ net: ["example.com"] }, '"net" is built into this program'],
      [{ env: ["SECRET"] }, '"env" is built into this program'],
      [{ wall: "deno" }, '"wall" is built into this program'],
      [{ app: "/tmp/other.ts" }, '"app" is built into this program'],
      [{ helpers: {} }, '"helpers" is built into this program'],
      [{ runtime: "/tmp" }, '"runtime" is built into this program'],
      [{ user: "nobody" }, 'needs a program that was built with a "user"'],
      [{ limits: { descriptors: 1 } }, "limits.descriptors"],
      [{ listen: ["unix:/tmp/holdfast_test.sock"] }, "may make no socket at"],
    ] as const
  ) {
    await executable.override(keys);
    const refused = await running.hangUp();
    assertEquals(refused.event, "reload_refused", JSON.stringify(keys));
    assertStringIncludes(String(refused.reason), why);
    assertStringIncludes(String(refused.reason), "guestbook.jsonc");
    const { code, stderr } = await executable.run(["check"]);
    assertEquals(code, 78);
    assertStringIncludes(stderr, why);
  }
});

Deno.test("no argument and no variable widens what it may do", async () => {
  await using executable = await place(await builds.first());
  for (const args of [["start", "--allow-all"], ["check", "-A"], ["check", "--allow-run"]]) {
    const { code, stderr } = await executable.run(args);
    assertEquals(code, 64, args.join(" "));
    assertStringIncludes(stderr, "Unknown option");
  }
  const elsewhere = await executable.run(["check", "--config", "/etc/passwd"]);
  assertEquals(elsewhere.code, 78);
  const flags = "--allow-all --unstable-kv";
  const env = { DENO_DIR: executable.folder, NODE_OPTIONS: flags, DENO_V8_FLAGS: "--expose-gc" };
  assertEquals((await executable.run(["check"], { env })).code, 0);
  // Nothing was cached there.
  const found = Array.from(Deno.readDirSync(executable.folder), ({ name }) => name).sort();
  assertEquals(found, ["alone", "cache"]);
});

Deno.test("data lies in the folder that --state names", async () => {
  await using executable = await place(await builds.first());
  const state = join(executable.folder, "the app's state");
  const { code, stderr } = await executable.run(["check", "--state", state]);
  assertEquals(code, 71);
  assertStringIncludes(stderr, `cannot enter the state folder ${state}`);
  await Deno.mkdir(state);
  await using running = await executable.start(["--state", state]);
  assertStringIncludes(await running.page(), "You were here.");
  assertEquals(Array.from(Deno.readDirSync(state), ({ name }) => name).sort(), [
    ".holdfast",
    "data",
    "log",
  ]);
});

const HELPER = `
const text = { "~standard": { version: 1, vendor: "test", validate: (value) => ({ value }) } };
export default { shout: { input: text, output: text, handle: (value) => value.toUpperCase() } };
`;

const APP = `
import { readFileSync } from "node:fs";
import { helper } from "./holdfast.ts";
const loud = helper("loud");
export default {
  async fetch(request) {
    const { pathname } = new URL(request.url);
    if (pathname !== "/") return new Response(null, { status: 404 });
    Deno.writeTextFileSync("./notes/note.txt", "written ");
    const text = Deno.readTextFileSync("./notes/note.txt") + readFileSync("./assets/a.txt");
    return new Response(await loud.shout(text));
  },
};
`;

for (const wall of ["kernel", "deno"] as const) {
  Deno.test(`an app with assets, a helper and no lock file serves from one file, with the wall of ${wall}`, async () => {
    await using project = await Project.create({
      files: {
        "main.ts": APP,
        "loud.ts": HELPER,
        "holdfast.ts": await Deno.readTextFile(join(REPOSITORY, "lib/helper/mod.ts")),
        "assets/a.txt": "packed",
        "notes/old.txt": "old",
        ".env": "SECRET=1",
      },
      config: {
        app: "./main.ts",
        helpers: { loud: { module: "./loud.ts" } },
        unveil: { "./assets": "r", "./notes/": "rwc" },
        wall,
        ...Deno.uid() === 0 && { user: "nobody" },
      },
    });
    const built = await builds.make(`plain_${wall}`, (folder) => build(project.configFile, folder));
    await using executable = await place(built);
    if (Deno.uid() === 0) {
      // Its workers run as somebody else, who must get there, and has the folder of its data alone.
      await Deno.chmod(executable.folder, 0o755);
      const notes = join(executable.folder, "alone/notes");
      await Deno.mkdir(notes);
      await Deno.chown(notes, 65534, 65534);
    }
    // A second start finds what the workers of the first may have cached.
    for (let start = 0; start < 2; start++) {
      await using running = await executable.start();
      assertEquals(await running.page(), "WRITTEN PACKED");
    }
    const state = Array.from(
      Deno.readDirSync(join(executable.folder, "alone/notes")),
      ({ name }) => name,
    );
    assertEquals(state, ["note.txt"]);
    const image = (await executable.run(["--unpack"])).stdout.trim();
    const packed = Array.from(Deno.readDirSync(join(image, "app")), ({ name }) => name).sort();
    assertEquals(packed, [
      ".holdfast",
      "assets",
      "deno.json",
      "holdfast.jsonc",
      "loud.ts",
      "main.ts",
      "notes",
    ]);
  });
}

testWith(
  { root: true, builds: true },
  "as root each process of an executable without a user has an account of its own",
  async () => {
    await using project = await Project.create({
      files: {
        "main.ts": 'export default { fetch: () => new Response("served") };',
      },
      config: {
        app: "./main.ts",
        log: { folder: "./log" },
        reload: { readyDeadlineMs: 60_000 },
      },
    });
    const built = await builds.make("accounts", (folder) => build(project.configFile, folder));
    await using executable = await place(built);
    await Deno.chmod(executable.folder, 0o755);
    // As an earlier version left it.
    await Deno.mkdir(executable.cache, { mode: 0o700 });
    assertEquals((await executable.run(["--unpack"])).code, 0);
    await using running = await executable.start();
    assertEquals(await running.page(), "served");
    const { stdout } = await executable.run(["status", "--json"]);
    const { generations: [generation], logger } = JSON.parse(stdout);
    const uids: number[] = [generation.workers[0], logger].map(({ process }) => process.uid);
    assert(uids.every((uid) => uid >= IDS.first && uid < IDS.end), uids.join());
    assertEquals((await Deno.stat(executable.cache)).mode! & 0o777, 0o711);
  },
);

Deno.test("an executable that others may write, or its folder, is not started", async () => {
  await using executable = await place(await builds.first());
  assertEquals((await executable.run(["check"])).code, 0);
  for (const path of [executable.path, join(executable.folder, "alone")]) {
    const { mode } = await Deno.stat(path);
    await Deno.chmod(path, 0o777);
    const { code, stderr } = await executable.run(["check"]);
    assertEquals(code, 78, stderr);
    assertStringIncludes(stderr, "may be written by everybody");
    await Deno.chmod(path, mode! & 0o777);
  }
  assertEquals((await executable.run(["check"])).code, 0);
});

// ---- the cache ----

Deno.test("what was unpacked is looked at on every start", async () => {
  await using executable = await place(await builds.first());
  const { stdout } = await executable.run(["--unpack"]);
  const image = stdout.trim();
  const program = join(
    executable.cache,
    [...Deno.readDirSync(executable.cache)].find(({ name }) => name.startsWith("deno-"))!.name,
  );
  const refused = async (what: string, change: () => Promise<unknown>, why: string) => {
    await change();
    const { code, stderr } = await executable.run(["check"]);
    assertEquals(code, 71, `${what}: ${stderr}`);
    assertStringIncludes(stderr, why);
    await Deno.remove(executable.cache, { recursive: true });
    assertEquals((await executable.run(["check"])).code, 0, what);
  };
  const module = join(image, MODULES);
  const { mtime } = await Deno.stat(module);
  await refused("a changed module, its size and time as before", async () => {
    const bytes = await Deno.readFile(module);
    bytes[0] = 0x20;
    await Deno.writeFile(module, bytes);
    await Deno.utime(module, mtime!, mtime!);
  }, "is not as it was unpacked");
  await refused(
    "one more file",
    () => Deno.writeTextFile(join(image, "app/examples/guestbook/deno.jsonc"), "{}"),
    "is not as it was unpacked",
  );
  await refused("another program", async () => {
    await Deno.rename(join(program, "deno"), join(program, "deno.old"));
    await Deno.copyFile(join(program, "deno.old"), join(program, "deno"));
    await Deno.remove(join(program, "deno.old"));
  }, "is not as it was unpacked");
  await refused("a folder open to others", () => Deno.chmod(image, 0o755), `with the mode ${MODE}`);
  await refused(
    "a cache open to others",
    () => Deno.chmod(executable.cache, 0o777),
    "no cache folder",
  );
  await refused("a link in its place", async () => {
    await Deno.rename(image, `${image}.moved`);
    await Deno.symlink(`${image}.moved`, image);
  }, "is a link");
  if (Deno.uid() === 0) {
    await refused("a folder of somebody else", () => Deno.chown(image, 65534, 65534), "of uid 0");
  }
});

Deno.test("of two first starts one unpacks, and both run", async () => {
  await using executable = await place(await builds.first());
  const both = await Promise.all([1, 2].map(() => executable.run(["check"])));
  assertEquals(both.map(({ code, stderr }) => [code, stderr]), [[0, ""], [0, ""]]);
  const names = Array.from(Deno.readDirSync(executable.cache), ({ name }) => name.split("-")[0]);
  assertEquals(names.sort(), ["deno", "guestbook", "lock"]);
});

Deno.test("a first start that was killed half-way is made good by the next one", async () => {
  await using executable = await place(await builds.first());
  const { program, options } = executable.command(["check"]);
  const { signal: _, ...rest } = options;
  const child = new Deno.Command(program, { ...rest, stdout: "null", stderr: "null" }).spawn();
  await until("the beginning of the program", () => {
    try {
      return [...Deno.readDirSync(executable.cache)].some(({ name }) =>
        name.startsWith("deno-") && Deno.statSync(join(executable.cache, name, "deno")).size > 0
      );
    } catch {
      return false;
    }
  });
  child.kill("SIGKILL");
  await child.status;
  assertEquals((await executable.run(["check"])).code, 0);
});

testWith(
  { missing: whyNoSmallDisk() },
  "a full disk is said, and leaves nothing behind",
  async () => {
    await using executable = await place(await builds.first());
    await Deno.mkdir(executable.cache, { mode: 0o700 });
    await using _small = await mountSmall(executable.cache);
    await Deno.chmod(executable.cache, 0o700);
    const { code, stderr } = await executable.run(["check"]);
    assertEquals(code, 71);
    assertStringIncludes(stderr, "nothing is left there");
    assertStringIncludes(stderr, "No space left on device");
    const left = Array.from(Deno.readDirSync(executable.cache), ({ name }) => name);
    assertEquals(left, ["lock"]);
  },
);

Deno.test("a cache folder that cannot be used is an error that says which were tried", async () => {
  await using executable = await place(await builds.first());
  const none = await executable.run(["check"], { env: { HOLDFAST_CACHE: "" } });
  assertEquals(none.code, 71);
  assertStringIncludes(none.stderr, "no cache folder can be used; tried: none");
  const wrong = await executable.run(["check"], {
    env: { HOLDFAST_CACHE: "/dev/null/x", HOME: executable.folder },
  });
  assertEquals(wrong.code, 71);
  assertStringIncludes(wrong.stderr, "no cache folder can be used; tried: /dev/null/x");
  const relative = await executable.run(["check"], { env: { HOLDFAST_CACHE: "cache" } });
  assertStringIncludes(relative.stderr, "is no absolute path");
  const home = await executable.run(["check"], {
    env: { HOLDFAST_CACHE: "", HOME: executable.folder },
  });
  assertEquals([home.code, home.stderr], [0, ""]);
  assert((await Deno.stat(join(executable.folder, ".cache/holdfast"))).isDirectory);
});
