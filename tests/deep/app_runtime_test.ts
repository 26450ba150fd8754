/** What an app finds of its machine, its environment and its files; and what a refusal says. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { Project } from "../harness/project.ts";
import { runCommand, Server } from "../harness/server.ts";
import { until } from "../harness/wait.ts";

/** Answers a path with what the function of that name gives, or with what it throws. */
const app = (functions: Record<string, string>, head = "") => `
${head}
const functions = { ${
  Object.entries(functions).map(([name, body]) =>
    `${JSON.stringify(name)}: async () => { ${body} }`
  )
    .join(",\n")
} };
export default {
  async fetch(request) {
    try {
      return Response.json(await functions[new URL(request.url).pathname.slice(1)]() ?? null);
    } catch (error) {
      return Response.json({ name: error.name, code: error.code, message: error.message });
    }
  },
};
`;

async function ask<Answer>(server: Server, name: string): Promise<Answer> {
  return JSON.parse(await server.text(`/${name}`));
}

interface Thrown {
  readonly name: string;
  readonly code?: string;
  readonly message: string;
}

const FACTS = `
  return [
    Deno.hostname(), Deno.osRelease(), Deno.osUptime(), Deno.loadavg(), Deno.networkInterfaces(),
    Deno.systemMemoryInfo(), Deno.uid(), Deno.gid(),
    os.hostname(), os.release(), os.version(), os.uptime(), os.loadavg(), os.networkInterfaces(),
    os.totalmem(), os.freemem(), os.cpus(), os.homedir(), os.userInfo(), os.getPriority(),
    hostname(), cpus(), homedir(), userInfo(), required.cpus(), required.hostname(),
    process.getuid(), process.geteuid(), process.getgid(), process.getegid(), process.getgroups(),
    process.umask(), getegid(), umask(), process.availableMemory(), process.constrainedMemory(),
    process.report.getReport(),
  ];`;

const FACTS_HEAD = `
import os, { cpus, homedir, hostname, userInfo } from "node:os";
import process, { getegid, umask } from "node:process";
import { createRequire } from "node:module";
const required = createRequire(import.meta.url)("os");
`;

Deno.test("facts of the machine are the same harmless ones in every worker, and sys grants true ones", async () => {
  await using server = await Server.start({
    files: {
      "app.ts": app({
        facts: FACTS,
        kind: "return Deno.permissions.querySync({ name: 'sys' }).state",
      }, FACTS_HEAD),
    },
  });
  const first = await ask<unknown[]>(server, "facts");
  assert(Array.isArray(first), JSON.stringify(first));
  assertEquals(first.slice(0, 3), ["localhost", "6.2.0", 1]);
  assert(!JSON.stringify(first).includes(Deno.hostname()));
  assertEquals(await ask(server, "kind"), "denied");
  await server.reload();
  assertEquals(await ask(server, "facts"), first);
  const sys = ["hostname", "osUptime", "loadavg", "systemMemoryInfo", "uid", "gid"];
  await server.project.configure({ sys });
  const { outcome, reason } = await server.reload();
  assertEquals([outcome, reason], ["done", undefined]);
  const granted = await ask<unknown[]>(server, "facts");
  assert(Array.isArray(granted), JSON.stringify(granted));
  assertEquals(granted.slice(0, 2), [Deno.hostname(), "6.2.0"]);
  assertEquals([granted[6], granted[26], granted[27]], new Array(3).fill(Deno.uid()));
  assertEquals([granted[8], granted[20], granted[25]], new Array(3).fill(Deno.hostname()));
  await server.project.configure({ sys: ["hostname"] });
  await server.reload();
  const some = await ask<unknown[]>(server, "facts");
  assertEquals(some.slice(0, 2), [Deno.hostname(), "6.2.0"]);
});

Deno.test("a variable that is not granted is not there, one that the app sets stays, and the config gives values", async () => {
  const functions = {
    names: `return Object.keys(process.env).filter((name) => !name.startsWith("DENO_")).sort()`,
    set: `process.env.MINE = "mine"; Deno.env.set("OTHER", "other"); env.NAMED = "named";
      return [process.env.MINE, process.env.OTHER, process.env.NAMED, Deno.env.get("MINE"), env.OTHER,
        "MINE" in process.env, { ...process.env }.MINE, Deno.env.toObject().NAMED]`,
    still:
      `return [process.env.MINE, process.env.GRANTED, process.env.SECRET, Deno.env.has("SECRET")]`,
    unset: `delete process.env.MINE; Deno.env.delete("OTHER"); process.env.NODE_ENV = "test";
      return [process.env.MINE ?? "none", Deno.env.get("OTHER") ?? "none", process.env.NODE_ENV]`,
    values:
      `return ["GRANTED", "LEVEL", "TOKEN", "QUOTED"].map((name) => process.env[name] ?? null)`,
  };
  await using server = await Server.start({
    files: { "app.ts": app(functions, `import { env } from "node:process";`) },
    config: { env: ["GRANTED"] },
    env: { GRANTED: "from outside", SECRET: "secret" },
  });
  assertEquals(await ask(server, "names"), ["GRANTED", "NODE_ENV"]);
  assertEquals(await ask(server, "set"), [
    ...["mine", "other", "named", "mine", "other", true, "mine", "named"],
  ]);
  assertEquals(await ask(server, "still"), ["mine", "from outside", null, false]);
  assertEquals(await ask(server, "unset"), ["none", "none", "test"]);

  const { project } = server;
  const env = { GRANTED: true, LEVEL: "debug", TOKEN: true, QUOTED: true };
  await project.configure({ env, envFile: "./secrets.env" });
  const file = (token: string) => `# tokens\nTOKEN=${token}\nexport QUOTED="a # b"\nSECRET=never\n`;
  await project.write("secrets.env", file("first-token"));
  assertEquals((await server.reload()).outcome, "done");
  assertEquals(await ask(server, "values"), ["from outside", "debug", "first-token", "a # b"]);
  assertEquals(await ask(server, "still"), [null, "from outside", null, false]);
  // A secret that was changed takes a reload, and a worker that is replaced does not take it.
  await project.write("secrets.env", file("second-token"));
  Deno.kill((await server.workers()).at(-1)!, "SIGKILL");
  await server.waitFor("worker_ready", 3);
  assertEquals((await ask<string[]>(server, "values"))[2], "first-token");
  assertEquals((await server.reload()).outcome, "done");
  assertEquals((await ask<string[]>(server, "values"))[2], "second-token");
  const images = new Deno.Command("grep", {
    args: ["-rl", "-token", project.path(".holdfast")],
  });
  assertEquals(new TextDecoder().decode((await images.output()).stdout), "");

  await project.write("secrets.env", "TOKEN\n");
  const { outcome, reason } = await server.reload();
  assertEquals(outcome, "refused");
  assertMatch(reason!, /secrets\.env:1: not a line of NAME=value/);
  await Deno.remove(project.path("secrets.env"));
  assertMatch((await server.reload()).reason!, /secrets\.env/);
});

Deno.test("check names the variables that are granted and not set, and refuses an unveil of their file", async () => {
  await using project = await Project.create({
    files: { "values.env": "SET=1\n", "data/.keep": "" },
    config: { env: { SET: true, GIVEN: "x", MISSING: true }, envFile: "./values.env" },
  });
  const { code, stderr } = await runCommand(project, "check");
  assertEquals(code, 0, stderr);
  assertStringIncludes(stderr, `"name":"MISSING"`);
  assert(!stderr.includes(`"SET"`) && !stderr.includes(`"GIVEN"`), stderr);
  await project.configure({ unveil: { "./values.env": "r" } });
  const refused = await runCommand(project, "check");
  assertEquals(refused.code, 78);
  assertStringIncludes(refused.stderr, "values.env");
});

/** Ways to look for what is not there, and what they say. */
const LOOKS: Record<string, string> = {
  existsSync: `return fs.existsSync(path)`,
  namedExistsSync: `return existsSync(path)`,
  exists: `return await new Promise((resolve) => fs.exists(path, resolve))`,
  statSync: `return fs.statSync(path, { throwIfNoEntry: false }) ?? false`,
};

const STATS: Record<string, string> = {
  denoStat: `return await Deno.stat(path)`,
  denoLstatSync: `return Deno.lstatSync(path)`,
  nodeStat: `return await fs.promises.stat(path)`,
  access: `return fs.accessSync(path)`,
  namedStat: `return statSync(path)`,
};

const READS: Record<string, string> = {
  readTextFile: `return await Deno.readTextFile(path)`,
  openSync: `return Deno.openSync(path)`,
  readFileSync: `return fs.readFileSync(path, "utf8")`,
  named: `return readFileSync(path, "utf8")`,
  promises: `return await readFile(path)`,
  callback: `return await new Promise((resolve, reject) =>
    fs.readFile(path, (error, text) => error ? reject(error) : resolve(text)))`,
  stream:
    `return await new Promise((resolve, reject) => fs.createReadStream(path).on("error", reject))`,
  database: `return new DatabaseSync(path)`,
};

Deno.test("what is not unveiled is not there, and a read of it names the line of the config", async () => {
  const functions = {
    ...LOOKS,
    ...STATS,
    ...READS,
    own: `return fs.readFileSync("./app.ts", "utf8")`,
  };
  const head = `import fs, { existsSync, readFileSync, statSync } from "node:fs";
    import { readFile } from "node:fs/promises";
    import { DatabaseSync } from "node:sqlite";
    const path = ${JSON.stringify("/etc/hosts")};`;
  await using server = await Server.start({ files: { "app.ts": app(functions, head) } });
  for (const name of Object.keys(LOOKS)) assertEquals(await ask(server, name), false, name);
  for (const name of Object.keys(STATS)) {
    const { code } = await ask<Thrown>(server, name);
    assertEquals(code, "ENOENT", name);
  }
  for (const name of Object.keys(READS)) {
    const { code, message } = await ask<Thrown>(server, name);
    assertEquals(code, "ENOENT", name);
    assertMatch(message, /Holdfast: .*not unveiled.*"unveil"/, name);
    if (name !== "database") assertStringIncludes(message, `{ "/etc/hosts": "r" }`, name);
  }
  const { message } = await ask<Thrown>(server, "own");
  assertStringIncludes(message, server.project.path("app.ts"));
  const toldOfReads = () =>
    server.eventsOf("refused")
      .filter(({ kind, what }) => kind === "read" && what === "/etc/hosts");
  await until("the line of the log", () => toldOfReads().length > 0);
  const told = toldOfReads();
  assertEquals(told.length, 1);
  assertMatch(String(told[0]!.from), /^\/.*app\.ts:\d+:\d+$/);
  await server.project.configure({ unveil: { "/etc/hosts": "r" } });
  assertEquals((await server.reload()).outcome, "done");
  assertEquals(await ask(server, "namedExistsSync"), true);
  assertEquals(await ask(server, "named"), await Deno.readTextFile("/etc/hosts"));
});

/** Ways to look for a file when nothing of the app is left in the stack, or by another thread. */
const LATE_LOOKS: Record<string, string> = {
  callback: `return await new Promise((go) => fs.stat("callback/x.txt", () => go("asked")))`,
  promise: `await fs.promises.stat("promise/x.txt").catch(() => {}); return "asked"`,
  deno: `await Deno.lstat("deno/x.txt").catch(() => {}); return "asked"`,
  exists: `return await new Promise((go) => fs.exists("exists/x.txt", () => go("asked")))`,
  timer: `return await new Promise((go) =>
    setTimeout(fs.access.bind(fs, "timer/x.txt"), 1, () => go("asked")))`,
  message: `const worker = new Thread("postMessage", { eval: true });
    worker.on("error", () => {});
    worker.postMessage({ filename: new URL("message/x.txt", import.meta.url).href });
    await worker.terminate(); return "asked"`,
};

Deno.test("a path that is looked for is told, wherever the app is by then", async () => {
  const head = `import fs from "node:fs"; import { Worker as Thread } from "node:worker_threads";`;
  const script = `new Thread(new URL("./job/x.txt", import.meta.url))`;
  const functions = {
    ...LATE_LOOKS,
    script,
    variables: `fs.readFileSync(".env", "utf8")`,
    above: `fs.readFileSync("/package.json", "utf8")`,
  };
  await using server = await Server.start({
    files: { "app.ts": app(functions, head) },
  });
  for (const name of Object.keys(LATE_LOOKS)) {
    assertEquals(await ask(server, name), "asked", name);
    const path = server.project.path(`${name}/x.txt`);
    const told = await until(
      `the line of ${name}`,
      () => server.eventsOf("refused").find(({ what }) => what === path),
    );
    assertEquals(told.allow, `"unveil": { ${JSON.stringify(path)}: "r" }`);
    if (name !== "timer") assertMatch(String(told.from), /app\.ts:\d+:\d+$/, name);
  }
  const path = server.project.path("job/x.txt");
  const line = `"unveil": { ${JSON.stringify(path)}: "r" }`;
  const { message } = await ask<Thrown>(server, "script");
  assertStringIncludes(message, `Holdfast: ${path} is not unveiled; add ${line}`);
  const { message: variables } = await ask<Thrown>(server, "variables");
  const file = `"envFile": ${JSON.stringify(server.project.path(".env"))}`;
  assertStringIncludes(variables, `add ${file} to the config`);
  await until(
    "the line of the file",
    () => server.eventsOf("refused").some(({ level, allow }) => level === "info" && allow === file),
  );
  assertEquals((await ask<Thrown>(server, "above")).code, "ENOENT");
  assertEquals(server.eventsOf("refused").filter(({ what }) => what === "/package.json"), []);
  await until(
    "the line of the script",
    () => server.eventsOf("refused").some(({ what, allow }) => what === path && allow === line),
  );
});

Deno.test("datagrams that nobody listens for get lost and end no worker; an abort is told as one", async () => {
  const functions = {
    send: `dgram.createSocket("udp4").send("x", 8125, "127.0.0.1"); return "sent"`,
    handled: `dgram.createSocket("udp4").on("error", () => {}).bind(0); return "bound"`,
    bind: `dgram.createSocket("udp6").bind({ port: 8127 }); return "bound"`,
    abort: `abort()`,
  };
  const head = `import dgram from "node:dgram"; import { abort } from "node:process";`;
  await using server = await Server.start({ files: { "app.ts": app(functions, head) } });
  assertEquals(await ask(server, "send"), "sent");
  assertEquals(await ask(server, "handled"), "bound");
  assertEquals(await ask(server, "bind"), "bound");
  const told = () => server.eventsOf("refused").filter(({ kind }) => kind === "datagram").length;
  await until("all of them", () => told() === 3);
  assertEquals(server.eventsOf("worker_lost"), []);
  await server.text("/abort").catch(() => {});
  const { how } = await until("the end of it", () => server.eventsOf("worker_lost")[0]);
  assertMatch(String(how), /^abort: the app called process\.abort\(\) \(at .*app\.ts:\d+:\d+/);
});

/** What is tried, what the error says, and the event: `of` is its kind, what was tried, and the line. */
const REFUSALS: Record<string, { body: string; says: string; of: [string, string, string?] }> = {
  write: {
    body: `Deno.writeTextFileSync("/srv/x", "")`,
    says: `"unveil": { "/srv/x": "rwc" }`,
    of: ["write", "/srv/x", `"unveil": { "/srv/x": "rwc" }`],
  },
  nodeWrite: {
    body: `fs.writeFileSync("/srv/y", "")`,
    says: `"unveil": { "/srv/y": "rwc" }`,
    of: ["write", "/srv/y", `"unveil": { "/srv/y": "rwc" }`],
  },
  read: {
    body: `await fs.promises.readFile("/etc/hosts")`,
    says: `"unveil": { "/etc/hosts": "r" }`,
    of: ["read", "/etc/hosts", `"unveil": { "/etc/hosts": "r" }`],
  },
  fetch: {
    body: `await fetch("http://127.0.0.1:5433/")`,
    says: `"net": ["127.0.0.1:5433"]`,
    of: ["net", "127.0.0.1:5433", `"net": ["127.0.0.1:5433"]`],
  },
  connect: {
    body: `await new Promise((_, reject) => net.connect(5432, "127.0.0.1").on("error", reject))`,
    says: `"net": ["127.0.0.1:5432"]`,
    of: ["net", "127.0.0.1:5432", `"net": ["127.0.0.1:5432"]`],
  },
  listen: {
    body: `Deno.listen({ port: 5434 })`,
    says: "does not listen by itself",
    of: ["listen", "0.0.0.0:5434"],
  },
  run: {
    body: `new Deno.Command("/bin/ls").outputSync()`,
    says: "may start a program",
    of: ["run", "/bin/ls"],
  },
  runByName: {
    body: `await new Deno.Command("cat").output()`,
    says: "may start a program",
    of: ["run", "cat"],
  },
  exec: { body: `execSync("true")`, says: "may start a program", of: ["run", "true"] },
  addon: {
    body: `process.dlopen({ exports: {} }, "/x.node")`,
    says: "node:sqlite",
    of: ["ffi", "/x.node"],
  },
  import: {
    body: `await import(["https:/", "example.com", "x.ts"].join("/"))`,
    says: "import",
    of: ["import", "https://example.com/x.ts"],
  },
  chmod: {
    body: `Deno.chmodSync("data", 0o700)`,
    says: "os error 1): chmod 'data'. Holdfast: the kernel refused chmod",
    of: ["kernel", "data"],
  },
  sys: {
    body: `Deno.permissions.querySync({ name: "sys" }); os.setPriority(1)`,
    says: "it cannot be granted: the facts that can are hostname",
    of: ["sys", "setPriority"],
  },
  relative: {
    body: `Deno.writeTextFileSync("out.txt", "")`,
    says: `"unveil": { "FOLDER/out.txt": "rwc" }`,
    of: ["write", "FOLDER/out.txt", `"unveil": { "FOLDER/out.txt": "rwc" }`],
  },
  temporary: {
    body: `Deno.makeTempDirSync()`,
    says: `"tmp": true`,
    of: ["write", "<TMP>", `"tmp": true`],
  },
  system: {
    body: `fs.writeFileSync("/etc/crontab", "")`,
    says: "no line can allow it",
    of: ["write", "/etc/crontab"],
  },
  kernelFile: {
    body: `fs.readFileSync("/proc/self/maps")`,
    says: "no line can allow it",
    of: ["read", "/proc/self/maps"],
  },
  callback: {
    body:
      `await new Promise((go, fail) => fs.readFile("/srv/c", (error) => error ? fail(error) : go()))`,
    says: `"unveil": { "/srv/c": "r" }`,
    of: ["read", "/srv/c", `"unveil": { "/srv/c": "r" }`],
  },
  readStream: {
    body: `await new Promise((_, fail) => fs.createReadStream("/srv/s").on("error", fail))`,
    says: `"unveil": { "/srv/s": "r" }`,
    of: ["read", "/srv/s", `"unveil": { "/srv/s": "r" }`],
  },
  writeStream: {
    body: `await new Promise((_, fail) => fs.createWriteStream("/srv/w").on("error", fail))`,
    says: `"unveil": { "/srv/w": "rwc" }`,
    of: ["write", "/srv/w", `"unveil": { "/srv/w": "rwc" }`],
  },
  realPath: {
    body: `Deno.realPathSync("/srv/r")`,
    says: "/srv/r is not unveiled",
    of: ["read", "/srv/r", `"unveil": { "/srv/r": "r" }`],
  },
  copied: {
    body: `await fs.promises.copyFile("/srv/from", "data/to")`,
    says: "/srv/from is not unveiled",
    of: ["read", "/srv/from", `"unveil": { "/srv/from": "r" }`],
  },
  database: {
    body: `new DatabaseSync("/srv/db/app.sqlite")`,
    says: `/srv/db/app.sqlite is not unveiled, so it is not there for the app; add "unveil": ` +
      `{ "/srv/db/": "rwc" } to the config`,
    of: ["database", "/srv/db/app.sqlite", `"unveil": { "/srv/db/": "rwc" }`],
  },
  ownDatabase: {
    body: `new DatabaseSync("app.sqlite")`,
    says: `"unveil": { "FOLDER/data/": "rwc" } to the config, and open it there`,
    of: ["database", "FOLDER/app.sqlite", `"unveil": { "FOLDER/data/": "rwc" }`],
  },
  unix: {
    body: `await Deno.connect({ transport: "unix", path: "/run/a.sock" })`,
    says: `"net": ["unix:/run/a.sock"]`,
    of: ["net", "unix:/run/a.sock", `"net": ["unix:/run/a.sock"]`],
  },
  nodeUnix: {
    body: `await new Promise((_, fail) => net.connect("/run/b.sock").on("error", fail))`,
    says: `"net": ["unix:/run/b.sock"]`,
    of: ["net", "unix:/run/b.sock", `"net": ["unix:/run/b.sock"]`],
  },
  byName: {
    body: `await new Promise((_, fail) => net.connect(6379, "redis.internal").on("error", fail))`,
    says: `"net": ["redis.internal:6379"]`,
    of: ["net", "redis.internal:6379", `"net": ["redis.internal:6379"]`],
  },
  lookup: {
    body: `await dns.promises.lookup("name.example")`,
    says: `"net": ["name.example"]`,
    of: ["net", "name.example", `"net": ["name.example"]`],
  },
  resolved: {
    body: `await Deno.resolveDns("other.example", "A")`,
    says: `"net": ["other.example"]`,
    of: ["net", "other.example", `"net": ["other.example"]`],
  },
  spawned: {
    body: `await new Promise((_, fail) => spawn("ffmpeg").on("error", fail))`,
    says: "may start a program",
    of: ["run", "ffmpeg"],
  },
  forked: {
    body: `await new Promise((_, fail) => fork("./child.js").on("error", fail))`,
    says: "may start a program",
    of: ["run", "./child.js"],
  },
  clustered: {
    body: `await new Promise((_, fail) => cluster.fork().on("error", fail))`,
    says: "may start a program",
    of: ["run", "a process of node:cluster"],
  },
  signalled: { body: `process.kill(1, 0)`, says: "may signal another", of: ["signal", ""] },
  linked: {
    body: `Deno.symlinkSync("/etc/hosts", "data/link")`,
    says: "no process makes symbolic links",
    of: ["link", "symlink"],
  },
  datagram: {
    body: `await new Promise((_, fail) =>
      dgram.createSocket("udp4").send("x", 8125, "127.0.0.1", (error) => fail(error)))`,
    says: "no process binds a socket for datagrams",
    of: ["datagram", "127.0.0.1:8125"],
  },
  boundDatagram: {
    body: `await new Promise((_, fail) => dgram.createSocket("udp4").on("error", fail).bind(8126))`,
    says: "no process binds a socket for datagrams",
    of: ["datagram", "0.0.0.0:8126"],
  },
  environment: {
    body: `process.loadEnvFile("data/.env")`,
    says: `"envFile" a file of them`,
    of: ["env", ""],
  },
};

Deno.test("a refusal says which line of the config would allow it, and is one event with its place", async () => {
  const functions = Object.fromEntries(
    Object.entries(REFUSALS).map(([name, { body }]) => [name, body]),
  );
  const head = `import fs from "node:fs"; import net from "node:net"; import os from "node:os";
    import dgram from "node:dgram";
    import { execSync, fork, spawn } from "node:child_process"; import dns from "node:dns";
    import { DatabaseSync } from "node:sqlite"; import cluster from "node:cluster";`;
  await using server = await Server.start({
    files: { "app.ts": app(functions, head), "data/.keep": "" },
    // One of the devices that may be: of /dev itself a planner sees nothing.
    config: { unveil: { "./data/": "rwc", "/dev/urandom": "r" } },
  });
  const { folder } = server.project;
  const placed = (text: string | undefined) => text?.replaceAll("FOLDER", folder);
  for (const [name, { says }] of Object.entries(REFUSALS)) {
    const { message } = await ask<Thrown>(server, name);
    assertStringIncludes(message, placed(says)!, `${name}: ${message}`);
    assert(!message.includes("run again with"), message);
    assertEquals((await ask<Thrown>(server, name)).message, message);
  }
  await until("each to be told", () => {
    const told = server.eventsOf("refused");
    return Object.values(REFUSALS).every(({ of: [kind, what] }) =>
      told.some((each) => each.kind === kind && each.what === placed(what))
    );
  });
  // What an app only looked for is told besides.
  const told = server.eventsOf("refused").filter(({ level }) => level === "warn");
  for (const { level, role, worker, from, text, allow, instead, risk } of told) {
    assertEquals([level, role, worker], ["warn", "worker", 1]);
    assertMatch(`${text}: ${from}`, /^Refused.*: \/.*app\.ts:\d+:\d+$/);
    assert((allow === undefined) === (risk === undefined), `${text}`);
    assert(allow !== undefined || instead !== undefined, `${text}`);
  }
  for (const [name, { of: [kind, what, allow] }] of Object.entries(REFUSALS)) {
    const found = told.filter((each) => each.kind === kind && each.what === placed(what));
    assertEquals(found.length, 1, `${name}: ${JSON.stringify(told)}`);
    assertEquals(found[0]!.allow, placed(allow), name);
  }
  assertEquals((await server.reload()).outcome, "done");
  const again = await server.waitFor("refused_again");
  assertEquals(again.times, told.length);
  assertStringIncludes(String(again.refusals), "1 × ");
});

Deno.test("what a helper is refused names the line of its own entry", async () => {
  await using server = await Server.start({
    files: {
      "app.ts": `import { helper } from "./helper_client.ts";
export default { fetch: async () => new Response(await helper().look({}).catch(String)) };`,
      "helper_client.ts":
        `export const helper = () => (globalThis as any)[Symbol.for("holdfast.helpers")]("h");`,
      "h.ts":
        `const any = { "~standard": { version: 1, vendor: "x", validate: (value) => ({ value }) } };
try { Deno.readTextFileSync("/etc/hosts"); } catch { /* told */ }
export default { look: { input: any, output: any, handle: () => "" } };`,
    },
    config: { helpers: { h: { module: "./h.ts" } } },
  });
  const { role, allow, from } = await server.waitFor("refused");
  assertEquals(role, "helper h.0");
  assertEquals(allow, `"helpers": { "h": { "unveil": { "/etc/hosts": "r" } } }`);
  assertMatch(String(from), /h\.ts:2:\d+$/);
});

Deno.test("an app that fails at its start is told with its error, and where that came from", async () => {
  await using server = await Server.start();
  const database = `export function connect(): never {
  return open("db.internal");
}
function open(host: string): never {
  throw new RangeError("no database at " + host);
}`;
  await server.project.write("database.ts", database);
  await server.project.write("app.ts", `import { connect } from "./database.ts";\nconnect();\n`);
  const { outcome, reason } = await server.reload();
  assertEquals(outcome, "refused");
  assertMatch(
    reason!,
    /RangeError: no database at db\.internal \(at open .*database\.ts:5:9.*at connect .*database\.ts:2:10.*at .*app\.ts:2:1/,
  );
});

const REST = {
  absent: `return [typeof caches, typeof localStorage, typeof sessionStorage]`,
  package: `return greeting`,
};

for (const engine of ["native", "node"] as const) {
  Deno.test(`a request's signal aborts when its client is gone and not after an answer, on the ${engine} engine`, async () => {
    await using server = await Server.start({
      files: {
        "app.ts": `let aborted = 0;
class Foreign {
  status = 201;
  headers = new Headers({ "x-foreign": "yes" });
  body = new Blob(["foreign"]).stream();
  arrayBuffer() {}
}
const Own = globalThis.Response;
globalThis.Response = Foreign;
export default {
  async fetch(request) {
    const { pathname } = new URL(request.url);
    if (pathname === "/aborted") return new Own(String(aborted));
    if (pathname === "/throw") throw new Error("thrown");
    request.signal.addEventListener("abort", () => aborted++);
    if (pathname === "/wait") await new Promise((resolve) => request.signal.addEventListener("abort", resolve));
    return pathname === "/foreign" ? new Foreign() : new Own("answer");
  },
};`,
      },
      config: { engine },
    });
    for (let count = 0; count < 3; count++) assertEquals(await server.text("/"), "answer");
    const foreign = await server.get("/foreign");
    assertEquals([foreign.status, foreign.headers.get("x-foreign")], [201, "yes"]);
    assertEquals(await foreign.text(), "foreign");
    assertEquals(await server.text("/throw"), "Internal Server Error");
    assertEquals(await server.text("/aborted"), "0");
    const client = new AbortController();
    const gone = server.get("/wait", { signal: client.signal }).catch(() => "gone");
    await until("the request to be in flight", async () => {
      const { generations } = await server.status();
      return generations.at(-1)?.workers[0]?.process?.inFlight === 1;
    });
    client.abort();
    assertEquals(await gone, "gone");
    await until("the abort", async () => await server.text("/aborted") === "1");
  });
}

Deno.test("storage that cannot be written is absent, and packages read the files that they ship", async () => {
  await using server = await Server.start({
    files: {
      "app.ts": app(REST, `import { greeting } from "greeter";`),
      "package.json": JSON.stringify({ dependencies: { greeter: "1.0.0" } }),
      "node_modules/greeter/package.json": JSON.stringify({
        ...{ name: "greeter", version: "1.0.0", type: "module", exports: "./index.js" },
      }),
      "node_modules/greeter/index.js": `import { readFileSync } from "node:fs";
        export const greeting = readFileSync(new URL("./greeting.txt", import.meta.url), "utf8");`,
      "node_modules/greeter/greeting.txt": "shipped",
    },
  });
  assertEquals(await ask(server, "absent"), ["undefined", "undefined", "object"]);
  assertEquals(await ask(server, "package"), "shipped");
});

Deno.test("node:fs writes and appends where that is granted, and a file has the mode that it was given", async () => {
  const mode = (name: string) => `(fs.statSync("data/${name}").mode & 0o7777).toString(8)`;
  const waits = (call: string) =>
    `await new Promise((good, bad) => fs.${call}, (error) => error ? bad(error) : good()));`;
  const wrote = (name: string) =>
    `return [fs.readFileSync("data/${name}", "utf8"), ${mode(name)}];`;
  const given = "{ mode: 0o600 }";
  const functions: Record<string, string> = {
    appendFileSync: `appendFileSync("data/a", "1"); fs.appendFileSync("data/a", "2"); ${
      wrote("a")
    }`,
    appendFile: waits(`appendFile("data/b", "1"`) + waits(`appendFile("data/b", "2"`) + wrote("b"),
    appendGiven: `fs.appendFileSync("data/c", "12", ${given}); ${wrote("c")}`,
    writeFileSync: `fs.writeFileSync("data/d", "12", ${given}); ${wrote("d")}`,
    writeFile: waits(`writeFile("data/e", "12", ${given}`) + wrote("e"),
    writeEncoded: `fs.writeFileSync("data/f", "3132", { encoding: "hex", mode: 0o600 }); ${
      wrote("f")
    }`,
    missing: `fs.appendFileSync("data/none/g", "1");`,
    open: `const fd = fs.openSync("data/h", "w", 0o600); fs.appendFileSync(fd, "12");
      fs.closeSync(fd); ${wrote("h")}`,
  };
  const head = `import fs, { appendFileSync } from "node:fs";`;
  await using server = await Server.start({
    files: { "app.ts": app(functions, head) },
    config: { unveil: { "./data/": "rwc" } },
  });
  for (const name of Object.keys(functions).filter((each) => each !== "missing")) {
    const usual = ["appendFileSync", "appendFile"].includes(name);
    assertEquals(await ask(server, name), ["12", usual ? "644" : "600"], name);
  }
  const { code } = await ask<Thrown>(server, "missing");
  assertEquals(code, "ENOENT");
});
