/**
 * An executable by `deno compile`: one program that narrows itself to each role. Where no base runtime
 * can be had the same entry is run by `deno run` with the flags that would be built in.
 */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { dirname, join } from "node:path";
import { audit } from "../../lib/audit/audit.ts";
import { MODES } from "../../lib/audit/mode.ts";
import { configureLog } from "../../lib/base/log.ts";
import { explainCompile } from "../../lib/compile/native.ts";
import { findLeftovers, narrow, nativeJudge } from "../../lib/native/narrow.ts";
import type { Permissions } from "../../lib/protocol/native.ts";
import { permissionFlags, rolePermissions, unionOf } from "../../lib/sandbox/native_policy.ts";
import { bundle } from "../../lib/planner/bundle.ts";
import { controlSocketPath } from "../../lib/supervisor/runtime_folder.ts";
import { loadConfig } from "../../lib/config/load.ts";
import { copyGuestbook } from "../harness/guestbook.ts";
import { Executable, reloadUnderLoad } from "../harness/executable.ts";
import { failToCompile, how, NativeBuilds } from "../harness/native.ts";
import { freePort } from "../harness/ports.ts";
import { Project, REPOSITORY } from "../harness/project.ts";

const RELOADS = 50;
const GUESTBOOK = join(REPOSITORY, "examples/guestbook/holdfast.jsonc");

function print(line: string): void {
  // deno-lint-ignore no-console
  console.log(line);
}

print(
  await how === "compile"
    ? "run on executables of deno compile"
    : "run on a stand-in: deno run with the flags that deno compile would build in",
);

async function place(
  builds: NativeBuilds,
  configFile: string,
  override: Readonly<Record<string, unknown>> = {},
): Promise<Executable> {
  const executable = (state: string) => builds.make(configFile, state);
  return await Executable.place({ executable, isolation: "none", override });
}

// ---- no base runtime ----

Deno.test("without a base runtime the error names it, DENORT_BIN and --portable", async () => {
  await using project = await Project.create({});
  if (await how === "interpret" && Deno.env.get("DENORT_BIN") === undefined) {
    const { message, hint } = await failToCompile(project.configFile);
    assertMatch(message, /cannot get its base runtime, denort \d+\.\d+\.\d+ for \w+-/);
    assertStringIncludes(hint!, "DENORT_BIN");
    assertStringIncludes(hint!, "--portable");
  }
  // One that is no base runtime at all.
  const before = Deno.env.get("DENORT_BIN");
  Deno.env.set("DENORT_BIN", project.configFile);
  try {
    const { message, hint } = await failToCompile(project.configFile);
    assertStringIncludes(message, `DENORT_BIN names, ${project.configFile}`);
    assertMatch(hint!, /exactly that version, or build with --portable/);
  } finally {
    if (before === undefined) Deno.env.delete("DENORT_BIN");
    else Deno.env.set("DENORT_BIN", before);
  }
  const left = Array.from(Deno.readDirSync(dirname(project.configFile)), ({ name }) => name);
  assertEquals(left.filter((name) => name.startsWith(".holdfast_native")), []);
  assertEquals(explainCompile("error: Type checking failed", undefined).code, "compile_failed");
});

// ---- what each role keeps ----

/** What a process has of what was built in, as it finds itself, and what it can do with it. */
const PROBE = `
const state = (descriptor) => Deno.permissions.querySync(descriptor).state;
const tried = (work) => { try { work(); return "done"; } catch (error) { return error.name; } };
export const probe = ({ union, secret, outside }) => ({
  kept: Object.fromEntries(Object.entries({
    read: "path", write: "path", net: "host", env: "variable", run: "command", sys: "kind",
  }).map(([name, key]) => [
    name,
    union[name].filter((value) => state({ name, [key]: value }) === "granted"),
  ])),
  whole: ["read", "write", "net", "env", "run", "sys", "ffi", "import"]
    .filter((name) => state({ name }) === "granted"),
  read: tried(() => Deno.readTextFileSync(secret)),
  write: tried(() => Deno.writeTextFileSync(outside, "")),
  run: tried(() => new Deno.Command(union.run[0]).outputSync()),
  ffi: tried(() => Deno.dlopen("libc.so.6", {})),
  // The process answers that itself, with what is true of nobody.
  uid: Deno.uid(),
  env: Object.keys(Deno.env.toObject()).sort(),
  role: Deno.env.get("HOLDFAST_ROLE") ?? null,
  asked: Deno.permissions.requestSync({ name: "read", path: "/" }).state,
});
`;

const APP = `
import { helper } from "./holdfast.ts";
import { probe } from "./probe.js";
const keeper = helper("keeper");
export default {
  async fetch(request) {
    const question = await request.json();
    return Response.json({ worker: probe(question), helper: await keeper.probe(question) });
  },
};
`;

const HELPER = `
import { probe } from "./probe.js";
const any = { "~standard": { version: 1, vendor: "test", validate: (value) => ({ value }) } };
export default { probe: { input: any, output: any, handle: (value) => probe(value) } };
`;

for (const wall of ["deno", "kernel"] as const) {
  Deno.test(`each process keeps its own and nothing else, with the wall of ${wall}`, async () => {
    await using builds = new NativeBuilds();
    await using project = await Project.create({
      files: {
        "app.ts": APP,
        "keeper.ts": HELPER,
        "probe.js": PROBE,
        "holdfast.ts": await Deno.readTextFile(join(REPOSITORY, "lib/helper/mod.ts")),
      },
      config: {
        ...{ app: "./app.ts", wall, onViolation: "log", log: { folder: "./log" } },
        ...{ unveil: { "./notes/": "rwc" }, net: ["127.0.0.1:9"], env: ["LANG"] },
        helpers: { keeper: { module: "./keeper.ts", unveil: { "./kept/": "rwc" }, env: ["TZ"] } },
      },
    });
    await using executable = await place(builds, project.configFile);
    await using running = await executable.start();
    const { facts, union } = await describe(executable);
    const secret = join(executable.folder, "secret");
    await Deno.writeTextFile(secret, "secret");
    const response = await fetch(`http://127.0.0.1:${executable.port}/`, {
      method: "POST",
      body: JSON.stringify({ union, secret, outside: join(executable.folder, "outside") }),
    });
    const answer = await response.json();
    assertEquals(response.status, 200);
    for (const [who, role] of [["worker", "worker"], ["helper", "helper keeper"]] as const) {
      const { kept, whole, read, write, run, ffi, uid, env, role: told, asked } = answer[who];
      const { ffi: _, ...own } = facts.roles[role];
      assertEquals(kept, own, who);
      assertEquals(whole, [], who);
      for (const tried of [read, write, run, ffi]) assertEquals(tried, "NotCapable", who);
      assertEquals(uid, 65_534, who);
      assertEquals(asked, "denied");
      assertEquals(told, null);
      // The one that a process says itself.
      assert(env.every((name: string) => [...own.env, "NODE_ENV"].includes(name)), String(env));
    }
    const { generations, logger } = await running.status();
    assert(generations.length === 1 && logger?.process, "the logger runs as well");
  });
}

async function describe(executable: Executable) {
  const { code, stdout } = await executable.run(["--describe"]);
  assertEquals(code, 0);
  const facts = JSON.parse(stdout);
  return { facts, union: unionOf(facts.roles) };
}

Deno.test("a process that is told to keep more than its policy gives does not start", async () => {
  if (await how === "compile") return print("not run: what was compiled cannot be altered");
  await using builds = new NativeBuilds();
  await using project = await Project.create({ config: { unveil: { "./notes/": "rwc" } } });
  await using executable = await place(builds, project.configFile);
  const entry = join(builds.last, "entry.js");
  const text = await Deno.readTextFile(entry);
  const altered = text.replace('"worker":{"read":[', '"worker":{"read":["/",');
  assert(altered !== text);
  await Deno.writeTextFile(entry, altered);
  const { code, stderr } = await executable.run(["start"]);
  assertEquals(code, 75);
  assertStringIncludes(stderr, "The permissions differ from the policy: read of / is kept");
  await Deno.writeTextFile(entry, text.replace('"worker":{', '"nobody":{'));
  const stranger = await executable.run(["start"]);
  assertEquals(stranger.code, 75);
  assertStringIncludes(stranger.stderr, 'HOLDFAST_ROLE says \\"worker\\", and there is no such');
});

const NOTHING: Permissions = {
  ...{ read: [], write: [], net: [], env: [], run: [], sys: [], ffi: false },
};

Deno.test("narrowing revokes all that is not kept, and the look afterwards finds what is left", () => {
  const union = {
    ...NOTHING,
    read: ["/", "/srv", "/srv/data", "/srv-twin"],
    net: ["127.0.0.1", "127.0.0.1:5432", "unix:/run/control.sock"],
    env: ["TZ", "SECRET"],
    run: ["/srv/app"],
    sys: ["uid"],
    ffi: true,
  };
  const kept = { ...NOTHING, read: ["/srv"], net: ["127.0.0.1:5432"], env: ["TZ"] };
  const revoked: string[] = [];
  narrow(union, kept, (descriptor) => revoked.push(Object.values(descriptor).join(" ")));
  assertEquals(revoked, [
    ...["read /", "read /srv-twin", "net 127.0.0.1", "net unix:/run/control.sock", "env SECRET"],
    ...["run /srv/app", "sys uid", "ffi", "run", "sys"],
  ]);
  const left = (...granted: string[]) =>
    findLeftovers(
      union,
      kept,
      (descriptor) => granted.includes(Object.values(descriptor).join(" ")) ? "granted" : "prompt",
    );
  assertEquals(left("read /srv", "read /srv/data", "net 127.0.0.1:5432", "env TZ"), []);
  for (
    const [granted, fault] of [
      ["read /", "read of / is granted"],
      ["read /srv-twin", "read of /srv-twin is granted"],
      ["net 127.0.0.1", "net of 127.0.0.1 is granted"],
      ["env SECRET", "env of SECRET is granted"],
      ["run /srv/app", "run of /srv/app is granted"],
      ["sys uid", "sys of uid is granted"],
      ["ffi", "ffi is granted"],
      ["import", "import is granted"],
      ["net", "net is granted for everything"],
    ] as const
  ) assertEquals(left(granted), [fault]);
  const judge = nativeJudge(union, { ...kept, ffi: true, run: ["/srv/app"] }, () => "prompt");
  const faults = judge({ read: ["/srv"], write: [], net: [], env: ["TZ"] });
  assertEquals(faults.slice(0, 3), [
    "/srv/app is kept",
    "ffi is kept",
    "net of 127.0.0.1:5432 is kept",
  ]);
  assert(faults.includes("read of /srv is not granted"));
});

Deno.test("the flags name everything, and grant nothing as a whole but the foreign functions", async () => {
  const config = await loadConfig(GUESTBOOK);
  const roles = rolePermissions(config, {
    controlSocket: controlSocketPath(config.runtime),
    programs: ["/srv/guestbook"],
  });
  const flags = permissionFlags(unionOf(roles));
  assertEquals(flags.filter((flag) => /^--allow-\w+$/.test(flag)), ["--allow-ffi"]);
  for (const flag of ["--no-prompt", "--deny-import", "--ignore-env", "--allow-sys=uid"]) {
    assert(flags.includes(flag), flag);
  }
  assertEquals(roles["helper thumbnails"], NOTHING);
  assertEquals(roles.worker?.run, []);
  assertEquals(roles.worker?.ffi, false);
});

/** The flags of a process that is audited, as an executable would have them, and what it keeps. */
function builtIn(args: readonly string[]): { union: Permissions; kept: Permissions } {
  const list = (kind: string) =>
    args.find((arg) => arg.startsWith(`--allow-${kind}=`))?.slice(`--allow-${kind}=`.length)
      .split(",") ?? [];
  const kept = {
    ...NOTHING,
    ...{ read: list("read"), write: list("write"), net: list("net"), env: list("env") },
  };
  const supervisor = {
    ...{ read: ["/"], write: ["/", "/tmp"], net: ["127.0.0.1", "0.0.0.0", "[::1]", "localhost"] },
    ...{ env: ["HOME", "PATH"], run: [Deno.execPath(), "sh"], sys: ["uid", "hostname"], ffi: true },
  };
  return { union: unionOf({ supervisor, worker: kept }), kept };
}

Deno.test({
  name: "nothing gets out of a worker that narrowed itself, by Deno's permissions alone",
  // A guard looks twice a second whether it is still wanted.
  fn: async () => {
    configureLog("none");
    await using project = await Project.create({});
    const narrowing = await bundle(dirname(project.configFile), "lib/native/narrow.ts");
    let count = 0;
    const results = await audit({
      configFile: project.configFile,
      targets: ["worker"],
      modes: MODES.filter(({ name }) => name === "deno"),
      alterArguments: (args) => {
        const { union, kept } = builtIn(args);
        const file = join(dirname(project.configFile), `narrowed_${++count}.js`);
        const call = `narrow(${JSON.stringify(union)}, ${JSON.stringify(kept)});`;
        Deno.writeTextFileSync(file, `${narrowing}\n${call}\n`);
        const own = ["run", "--quiet", "--ext=js", "--cached-only", "--no-lock"];
        return [...own, ...permissionFlags(union), `--preload=${file}`, "-", "wide"];
      },
    });
    assert(count > 0 && results.length > 400, `${results.length} attempts`);
    const wrong = results.filter(({ asExpected }) => !asExpected);
    assertEquals(wrong.map(({ attempt, detail }) => `${attempt.id}: ${detail}`), []);
    print(`${results.length} attempts in the place of a worker that narrowed itself`);
  },
  sanitizeOps: false,
  sanitizeResources: false,
});

// ---- what may not be changed from outside ----

Deno.test("no argument, no variable and no config widens what it may do", async () => {
  await using builds = new NativeBuilds();
  await using project = await Project.create({ config: { unveil: { "./notes/": "rwc" } } });
  await using executable = await place(builds, project.configFile);
  const refused = async (args: string[], said: string, env = {}, status = 64) => {
    const { code, stderr } = await executable.run(args, { env });
    assertStringIncludes(stderr, said);
    assertEquals(code, status, args.join(" "));
  };
  for (const flag of ["--allow-all", "-A", "--allow-run", "--deny-net=x", "--unstable-kv"]) {
    await refused(["start", flag], `${flag} would change this program's permissions`);
  }
  await refused(["start", "--state", "/tmp"], "the folder of this program's data is built in");
  await refused(["start", "--state=/tmp"], "the folder of this program's data is built in");
  await refused(["audit"], "This program cannot audit itself");
  if (await how === "interpret") {
    for (const name of ["DENO_V8_FLAGS", "DENO_INTERNAL_CHILD_ENTRYPOINT"]) {
      await refused(["check"], `${name} is set`, { [name]: "--expose-gc" });
    }
  }
  await refused(["check"], 'HOLDFAST_ROLE says "root"', { HOLDFAST_ROLE: "root" }, 70);
  for (
    const [keys, why] of [
      [{ unveil: { "/etc": "r" } }, '"unveil" is built into this program'],
      [{ wall: "deno" }, '"wall" is built into this program'],
      [{ listen: ["unix:/tmp/holdfast_test.sock"] }, "without the right to listen on unix:/tmp/"],
      [{ listen: ["127.0.0.2:8000"] }, "without the right to listen on 127.0.0.2:8000"],
    ] as const
  ) {
    await executable.override(keys);
    await refused(["check"], why, {}, 78);
  }
  await executable.override({ listen: [`0.0.0.0:${freePort()}`], limits: { descriptors: 512 } });
  assertEquals((await executable.run(["check"])).code, 0);
  const { stdout } = await executable.run(["--version"]);
  assertMatch(stdout, /^holdfast_test_\w+ .*\(holdfast \d+\.\d+\.\d+, deno \d+\.\d+\.\d+\)\n$/);
});

// ---- the whole ----

Deno.test("the guestbook serves, reloads under load, and takes new code and back", async () => {
  await using builds = new NativeBuilds();
  await using second = await copyGuestbook();
  await second.change("views.tsx", "You were here.", "You were here again.");
  await using executable = await place(builds, GUESTBOOK);
  const startMs = performance.now();
  await using running = await executable.start();
  print(`start to serving: ${Math.round(performance.now() - startMs)} ms`);
  assertStringIncludes(await running.page(), "You were here.");
  const [one, two] = [`${executable.path}.one`, await builds.make(second.configFile, state())];
  await Deno.copyFile(executable.path, one);
  function state(): string {
    return dirname(executable.path);
  }
  await reloadUnderLoad(running, { one, two, reloads: RELOADS });
  await Deno.remove(one);
  assertEquals(await running.stop(), 0);
});

Deno.test("an upgrade puts the supervisor of a new file in the old one's place", async () => {
  await using builds = new NativeBuilds();
  await using second = await copyGuestbook();
  await second.change("views.tsx", "You were here.", "You were here again.");
  await using executable = await place(builds, GUESTBOOK);
  await using running = await executable.start();
  const { pid } = await running.status();
  await executable.put(await builds.make(second.configFile, dirname(executable.path)));
  const { code, stdout, stderr } = await executable.run(["upgrade"]);
  assertEquals([code, stderr], [0, ""]);
  assertMatch(stdout, /serves generation 2, pid \d+/);
  assertStringIncludes(await running.page(), "You were here again.");
  const status = await running.status();
  assertEquals([status.pid, status.upgrades], [pid, 1]);
});

Deno.test("a file that is none of this program is refused, and the old one goes on", async () => {
  await using builds = new NativeBuilds();
  await using project = await Project.create({});
  await using executable = await place(builds, project.configFile);
  await using running = await executable.start();
  await Deno.writeTextFile(`${executable.path}.new`, "#!/bin/sh\necho half of it\n");
  await Deno.chmod(`${executable.path}.new`, 0o755);
  await Deno.rename(`${executable.path}.new`, executable.path);
  const refused = await running.hangUp();
  assertEquals(refused.event, "reload_refused");
  assertStringIncludes(String(refused.reason), "cannot be taken by a reload");
  const response = await fetch(`http://127.0.0.1:${executable.port}/`);
  assertEquals(response.status, 200);
  await response.body?.cancel();
});
