import { assert, assertEquals, assertThrows } from "@std/assert";
import { readProgramData, takeProgramData } from "../lib/child/program_data.ts";
import type { Config } from "../lib/config/config.ts";
import { PACKAGES_KEY } from "../lib/protocol/module_image.ts";
import { programData } from "../lib/protocol/program_data.ts";
import {
  imageInput,
  workerArguments,
  workerEnvironment,
  workerGrants,
} from "../lib/sandbox/worker_command.ts";
import { makeConfig } from "./harness/config.ts";

const CONFIG = makeConfig();

function unveiled(paths: Record<string, string>): Config {
  const unveil = Object.entries(paths).map(([path, rights]) => ({
    path,
    rights,
    exists: true,
    folder: true,
  }));
  return { ...CONFIG, unveil };
}

// ---- the command line ----

Deno.test("a worker that is granted nothing is denied every kind of permission by name", () => {
  assertEquals(workerArguments(CONFIG, { flags: ["--no-lock"] }), [
    "run",
    "--quiet",
    "--ext=js",
    "--no-prompt",
    "--cached-only",
    "--no-lock",
    "--ignore-read",
    "--deny-write",
    "--deny-net",
    "--ignore-env",
    "--deny-run",
    "--deny-ffi",
    "--deny-sys",
    "--deny-import",
    "-",
  ]);
});

Deno.test("behind the kernel's wall native code is granted, for the first lines to give it up", () => {
  const [walled, open] = (["kernel", "deno"] as const)
    .map((wall) => workerArguments(CONFIG, { flags: [] }, wall));
  assertEquals(open, walled!.map((flag) => flag === "--allow-ffi" ? "--deny-ffi" : flag));
  assert(walled!.includes("--allow-ffi"));
});

Deno.test("native code is loaded from packages alone, by a helper that may", () => {
  const ffi = (native: boolean, packages: string[]) =>
    workerArguments({ ...CONFIG, native }, { flags: [], packages })
      .filter((each) => each.includes("-ffi"));
  const packages = ["/srv/packages/1"];
  assertEquals(ffi(false, packages), ["--deny-ffi"]);
  assertEquals(ffi(true, packages), ["--allow-ffi=/srv/packages/1"]);
  assertEquals(ffi(true, []), ["--deny-ffi"]);
});

Deno.test("a worker that is granted all there is still has no run, ffi, sys and import", () => {
  const config: Config = {
    ...unveiled({ "/srv/data": "rwc", "/srv/public": "r", "/srv/inbox": "c", "/srv/log": "w" }),
    net: ["api.example.com:443", "[::1]:5432"],
    env: ["DATABASE_URL", "TZ"],
  };
  assertEquals(workerArguments(config, { flags: ["--frozen"] }), [
    "run",
    "--quiet",
    "--ext=js",
    "--no-prompt",
    "--cached-only",
    "--frozen",
    "--allow-read=/srv/data,/srv/public",
    "--ignore-read",
    "--allow-write=/srv/data,/srv/inbox,/srv/log",
    "--allow-net=api.example.com:443,[::1]:5432",
    "--allow-env=DATABASE_URL,TZ",
    "--ignore-env",
    "--deny-run",
    "--deny-ffi",
    "--deny-sys",
    "--deny-import",
    "-",
  ]);
});

/** Rights of one unveiled path, and which of Deno's lists it gets into. */
const RIGHTS: Record<string, readonly ("read" | "write")[]> = {
  r: ["read"],
  w: ["write"],
  c: ["write"],
  rw: ["read", "write"],
  rc: ["read", "write"],
  wc: ["write"],
  rwc: ["read", "write"],
};

for (const [rights, kinds] of Object.entries(RIGHTS)) {
  Deno.test(`an unveil with ${rights} grants ${kinds.join(" and ")}, and nothing else`, () => {
    const config = unveiled({ "/srv/data": rights });
    const grants = workerGrants(config);
    const list = (kind: "read" | "write") => kinds.includes(kind) ? ["/srv/data"] : [];
    assertEquals(grants, { read: list("read"), write: list("write"), net: [], env: [], sys: [] });
    const flags = workerArguments(config, { flags: [] });
    for (const kind of ["read", "write"] as const) {
      const granted = kinds.includes(kind);
      assertEquals(flags.includes(`--allow-${kind}=/srv/data`), granted);
      const refused = kind === "read" || !granted;
      assertEquals(flags.includes(kind === "read" ? "--ignore-read" : `--deny-${kind}`), refused);
    }
  });
}

Deno.test("no list grants a whole kind, whatever is in the config", () => {
  for (const config of [CONFIG, unveiled({ "/srv/data": "rwc" }), { ...CONFIG, env: ["A"] }]) {
    for (const flag of workerArguments(config, { flags: [] })) {
      assert(!/^(-A|--allow-all|--allow-\w+=?|-[RWNES])$/.test(flag), flag);
    }
  }
});

Deno.test("the grants are copies: who changes them does not change the config", () => {
  const config = { ...CONFIG, net: ["a.example"], env: ["A"] };
  const grants = workerGrants(config);
  grants.net.push("b.example");
  grants.env.push("B");
  assertEquals([config.net, config.env], [["a.example"], ["A"]]);
});

/** What Deno itself makes of the flags of a worker: the state of some permissions. */
async function query(config: Config, asked: Deno.PermissionDescriptor[]): Promise<string[]> {
  const program = `
    const states = ${JSON.stringify(asked)}.map((each) => Deno.permissions.querySync(each).state);
    Deno.stdout.writeSync(new TextEncoder().encode(states.join(" ")));
  `;
  const process = new Deno.Command(Deno.execPath(), {
    args: workerArguments(config, { flags: [] }),
    clearEnv: true,
    env: { NO_COLOR: "1" },
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const writer = process.stdin.getWriter();
  await writer.write(new TextEncoder().encode(program));
  await writer.close();
  return new TextDecoder().decode((await process.output()).stdout).split(" ");
}

Deno.test("Deno understands the flags of a worker as they are meant", async () => {
  const config = {
    ...unveiled({ "/srv/data": "r", "/srv/with space": "w" }),
    net: ["127.0.0.1:5432"],
    env: ["TZ"],
  };
  assertEquals(
    await query(config, [
      { name: "read", path: "/srv/data/x" },
      { name: "read", path: "/srv/data-secret" },
      { name: "write", path: "/srv/with space/x" },
      { name: "write", path: "/srv/data" },
      { name: "net", host: "127.0.0.1:5432" },
      { name: "net", host: "127.0.0.1:5433" },
      { name: "env", variable: "TZ" },
      { name: "run" },
      { name: "ffi" },
      { name: "sys" },
    ]),
    [
      ...["granted", "denied", "granted", "prompt", "granted", "prompt", "granted"],
      ...["denied", "denied", "denied"],
    ],
  );
});

Deno.test("a path with a comma is refused: Deno would make two grants of it", async () => {
  // The config refuses a comma in what it says itself, but its own folder may have one, and Deno
  // has no way to spell it.
  const halves = { ...unveiled({ "/srv/a": "r" }), net: [] };
  assertEquals(await query(halves, [{ name: "read", path: "/srv/a,/etc/data" }]), ["denied"]);
  const config = unveiled({ "/srv/a,/etc/data": "r" });
  assertThrows(() => workerArguments(config, { flags: [] }), Error, "comma");
});

// ---- the environment ----

Deno.test("a worker's environment is built from nothing", () => {
  const secrets = {
    PATH: "/bin",
    HOME: "/root",
    AWS_SECRET: "s",
    DENO_AUTH_TOKENS: "t",
    LD_X: "x",
  };
  assertEquals(workerEnvironment(CONFIG, secrets, "/var/deno"), {
    DENO_DIR: "/var/deno",
    DENO_NO_UPDATE_CHECK: "1",
    NO_COLOR: "1",
  });
});

Deno.test("a worker's environment has what is listed and set, and no more", () => {
  const config = { ...CONFIG, env: ["DATABASE_URL", "EMPTY", "UNSET"] };
  const own = { DATABASE_URL: "postgres://x", EMPTY: "", OTHER: "o" };
  assertEquals(workerEnvironment(config, own, "/var/deno"), {
    DATABASE_URL: "postgres://x",
    EMPTY: "",
    DENO_DIR: "/var/deno",
    DENO_NO_UPDATE_CHECK: "1",
    NO_COLOR: "1",
  });
});

Deno.test("what Deno needs cannot be changed by what is listed", () => {
  const config = { ...CONFIG, env: ["DENO_DIR", "NO_COLOR"] };
  assertEquals(workerEnvironment(config, { DENO_DIR: "/tmp/evil", NO_COLOR: "" }, "/var/deno"), {
    DENO_DIR: "/var/deno",
    NO_COLOR: "1",
    DENO_NO_UPDATE_CHECK: "1",
  });
});

Deno.test("a listed name that every object has stays unset", () => {
  const config = { ...CONFIG, env: ["toString", "constructor", "__proto__"] };
  assertEquals(workerEnvironment(config, {}, "/var/deno"), {
    DENO_DIR: "/var/deno",
    DENO_NO_UPDATE_CHECK: "1",
    NO_COLOR: "1",
  });
});

// ---- the program ----

const HOSTILE_PATHS = {
  "double quotes": '/srv/a");Deno.exit(66);("/main.ts',
  "single quotes": "/srv/a');Deno.exit(66);('/main.ts",
  "a backquote and a template": "/srv/`${Deno.exit(66)}`/main.ts",
  "a newline": "/srv/a\n;Deno.exit(66);\n/main.ts",
  "a carriage return": "/srv/a\r;Deno.exit(66)/main.ts",
  "a backslash": "/srv/a\\",
  "a backslash before a quote": '/srv/a\\");Deno.exit(66);/main.ts',
  "a line separator": "/srv/a\u2028;Deno.exit(66);\u2029/main.ts",
  "a replacement pattern": "/srv/$&$'$`$1/main.ts",
  "the app's own name": '/srv/"holdfast:app"/main.ts',
  "a question mark and a hash": "/srv/a?x=1#y/main.ts",
  "a percent sign": "/srv/a%22);Deno.exit(66);/main.ts",
  "an end of a script": "/srv/</script>/main.ts",
};

for (const [what, path] of Object.entries(HOSTILE_PATHS)) {
  Deno.test(`a path with ${what} stays one string in a program`, async () => {
    const text = imageInput(programData("image", { [path]: path }), path);
    assertEquals(text.trim().split("\n").length, 2);
    // The proof of the pudding: run it, and see what it says.
    await import(`data:text/javascript,${encodeURIComponent(text)}`);
    const ran = [takeProgramData(PACKAGES_KEY), takeProgramData("image")];
    readProgramData(text);
    const read = [takeProgramData(PACKAGES_KEY), takeProgramData("image")];
    assertEquals([ran, read], [[path, { [path]: path }], [path, { [path]: path }]]);
  });
}

Deno.test("of what a program is told nothing is taken that is no statement", () => {
  readProgramData("globalThis.hostile = 1;\nalert(1);\n");
  assertEquals((globalThis as { hostile?: number }).hostile, undefined);
});
