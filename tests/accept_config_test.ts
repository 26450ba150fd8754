/** A planner that was taken over answers a config that grants more than its text says. */
import {
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import type { Config } from "../lib/config/config.ts";
import { resolveText } from "../lib/config/resolve.ts";
import { type ConfigText, readConfigText } from "../lib/config/runtime_place.ts";
import { acceptConfig } from "../lib/supervisor/accept_config.ts";
import { requireOutOfReach } from "../lib/supervisor/out_of_reach.ts";
import { Project } from "./harness/project.ts";

/** A config in which nothing is as by default, with the spellings that have another, canonical one. */
const RICH = {
  app: "src/../app.ts",
  listen: [
    "[0:0:0:0:0:0:0:1]:8001",
    "LOCALHOST:8002",
    { unix: "./web.sock", mode: "660" },
    "unix:./other.sock",
    "systemd:web",
    "systemd",
  ],
  unveil: { "./data/": "cwr", "./public": "r" },
  env: { TZ: true, LEVEL: "info", DATABASE_URL: true },
  sys: ["hostname"],
  jitless: true,
  dropAfterOpen: ["public", "./data", "data/"],
  envFile: "./values.env",
  net: ["API.Example.com:443", "[::0001]", "10.0.0.5:5432", "UNIX:db/./db.sock"],
  workers: 2,
  helpers: {
    mail: {
      module: "./mail.ts",
      net: ["smtp.example.com", "unix:/run/a"],
      ...{ unveil: { "./spool": "rw" }, tmp: true },
    },
    thumbnails: {
      module: "./thumbnails.ts",
      jitless: true,
      env: ["LANG"],
      memoryBytes: 2 ** 30,
      instances: 2,
    },
  },
  engine: "node",
  on_violation: "log",
  limits: { memoryBytes: 2 ** 31 },
  reload: { shutdownDelayMs: 10, keep: 0 },
  recycle: { maxRequests: 1 },
  watchdog: { pulseDeadlineMs: 0 },
  readiness: "/ready",
  log: { folder: "./log", access: "off" },
  metrics: { listen: "unix:./metrics.sock" },
  traces: { collector: "[0::1]:4318", service: "app" },
  user: "nobody",
  runtime: "./run",
};

/** One that serves HTTPS, which takes the native engine. */
const SECURE = {
  app: "app.ts",
  listen: [
    { https: "[0::]:8443", cert: "./tls/../cert.pem", key: "/srv/tls/key.pem" },
    {
      https: "systemd:https",
      certs: [{ cert: "cert.pem", key: "key.pem" }, { cert: "b.pem", key: "/srv/tls/b.pem" }],
    },
    { http: "0.0.0.0:8080", redirect: "https" },
    "127.0.0.1:8000",
  ],
};

/** One that gets its certificate by itself. */
const ACME = {
  app: "app.ts",
  listen: [
    { http: "[::]:8080", redirect: "https" },
    { https: "127.0.0.1:8443" },
    { https: "systemd:https", cert: "cert.pem", key: "key.pem" },
    { http: "systemd:web", redirect: "https" },
  ],
  acme: {
    names: ["Example.com", "www.example.com"],
    directory: "https://CA.internal:443/acme/../directory",
    trust: "./mail.ts",
  },
  runtime: "./run",
};

const FILES = { "mail.ts": "", "thumbnails.ts": "" };

/** The config of a text, as an honest planner sends it. */
async function planned(read: ConfigText): Promise<Config> {
  return JSON.parse(JSON.stringify(await resolveText({ ...read, warn: () => {} })));
}

/** Without positions, which are for messages. */
function withoutPositions(config: Config): unknown {
  return JSON.parse(JSON.stringify(config, (key, value) => key === "at" ? undefined : value));
}

async function richProject(): Promise<Project> {
  const project = await Project.create({ files: FILES, config: RICH });
  for (const folder of ["data", "public", "spool"]) await Deno.mkdir(project.path(folder));
  return project;
}

Deno.test("what an honest planner answers is accepted, whatever the config's spellings", async () => {
  const configs = [
    RICH,
    { ...RICH, user: undefined, wall: "deno", onViolation: "log", on_violation: undefined },
    { ...RICH, user: "65534", group: "1", log: {}, metrics: { listen: "127.0.0.1:9464" } },
    SECURE,
    ACME,
    { ...ACME, acme: { names: ["example.com"], email: "a@example.com" } },
    { app: "./app.ts", listen: ["[::]:8000", "0.0.0.0:8000"] },
    { app: "app.ts", listen: ["localhost:80"], runtime: "/run/x/../holdfast/", workers: "auto" },
  ];
  await using project = await richProject();
  for (const config of configs) {
    const text = `// a comment\n${JSON.stringify(config).replace(/}$/, ",}")}`;
    await project.write("holdfast.jsonc", text);
    const read = await readConfigText(project.configFile);
    const answer = await planned(read);
    const accepted = await acceptConfig(answer, read);
    assertEquals(JSON.parse(JSON.stringify(accepted)), withoutPositions(answer), text);
    assertEquals(Object.isFrozen(accepted.helpers), true);
  }
});

/** What a planner may not add, take away or change: each of these is made of an honest answer. */
// deno-lint-ignore no-explicit-any
const LIES: Record<string, (config: any) => void> = {
  "another path": ({ unveil }) => unveil.push({ ...unveil[0], path: "/etc" }),
  "a path of another kind": ({ unveil }) => unveil[1].path = "/srv/../etc",
  "a path with a comma": ({ unveil }) => unveil[1].path = "/srv/a,/",
  "more rights": ({ unveil }) => unveil[1].rights = "rw",
  "a right that nobody has": ({ unveil }) => unveil[1].rights = "rx",
  "a path of a helper": ({ helpers }) =>
    helpers[0].unveil = [{ ...helpers[0].unveil[0], path: "/" }],
  "another host": ({ net }) => net.push("evil.example.com"),
  "another host in the place of one": ({ net }) => net[0] = "evil.example.com:443",
  "every port of a host": ({ net }) => net[0] = "api.example.com",
  "a host of a helper": ({ helpers }) => helpers[1].net = ["evil.example.com"],
  "a Unix socket to dial": ({ net }) => net[0] = "unix:/run/docker.sock",
  "another Unix socket than that to dial": ({ helpers }) => helpers[1].net = ["unix:/run/a.sock"],
  "a variable": ({ env }) => env.push("LD_PRELOAD"),
  "a variable of a helper": ({ helpers }) => helpers[1].env = ["LD_PRELOAD"],
  "another value of a variable": ({ envValues }) => envValues.LEVEL = "debug",
  "a value where there is none": ({ envValues }) => envValues.TZ = "UTC",
  "a value of a helper's variable": ({ helpers }) => helpers[1].envValues = { LANG: "C" },
  "another file of values": (config) => config.envFile = "/etc/environment",
  "a fact of the machine": ({ sys }) => sys.push("uid"),
  "a fact that is none": ({ sys }) => sys[0] = "all",
  "a fact for a helper": ({ helpers }) => helpers[0].sys = ["hostname"],
  "another helper": ({ helpers }) => helpers.push({ ...helpers[0], name: "more" }),
  "a helper less": ({ helpers }) => helpers.pop(),
  "another module": ({ app }) => app.module = "/etc/app.ts",
  "another module of a helper": ({ helpers }) => helpers[0].app.module = "/etc/app.ts",
  "a project that is elsewhere": ({ app }) => app.project = "/etc",
  "another address": ({ listen }) =>
    listen.push({ kind: "unix", text: "unix:/x", path: "/x", mode: 0 }),
  "another port": ({ listen }) => (listen[0].port = 22, listen[0].text = "[::1]:22"),
  "a text that is not the address's": ({ listen }) => listen[1].port = 22,
  "a socket for everybody": ({ listen }) => listen[2].mode = 0o666,
  "another socket": ({ listen }) => (listen[2].path = "/run/x", listen[2].text = "unix:/run/x"),
  "metrics for everybody": ({ metrics }) => metrics.listen.mode = 0o666,
  "metrics where there are none": (config) => delete config.metrics,
  "another collector": ({ traces }) => traces.collector = "192.0.2.1:4318",
  "no wall": (config) => config.wall = "deno",
  "compiled code": (config) => config.jitless = false,
  "compiled code of a helper": (config) => config.helpers[1].jitless = false,
  "what is dropped": (config) => config.dropAfterOpen = [],
  "a temporary folder": (config) => config.tmp = true,
  "native code": ({ helpers }) => helpers[0].native = true,
  "no temporary folder of a helper": ({ helpers }) => helpers[0].tmp = false,
  "a violation that is followed by another thing": (config) => config.onViolation = "replace",
  "another account": ({ account }) => account.uid = 1,
  "root": ({ account }) => account.uid = 0,
  "root's group": ({ account }) => account.gid = 0,
  "the account that -1 leaves": ({ account }) => account.uid = 2 ** 32 - 1,
  "no account": (config) => delete config.account,
  "no account of a helper": ({ helpers }) => delete helpers[0].account,
  "another log folder": ({ log }) => log.folder = "/etc",
  "another runtime folder": (config) => config.runtime = "/run/holdfast",
  "another config's place": (config) => config.file = "/etc/holdfast.jsonc",
  "another name of it": (config) => config.named = "/etc/holdfast.jsonc",
  "too many workers": (config) => config.workers = 1e6,
  "too many instances": ({ helpers }) => helpers[0].instances = 1e6,
  "too many paths": ({ unveil }) => unveil.push(...Array(100).fill(unveil[0])),
  "a deadline without end": ({ reload }) => reload.readyDeadlineMs = 1e15,
  "a number that is none": ({ reload }) => reload.keep = "5",
  "a limit less": ({ limits }) => delete limits.memoryBytes,
  "more processes": ({ limits }) => limits.processes++,
  "more memory for a helper": ({ helpers }) => helpers[1].limits.memoryBytes *= 2,
  "a number below nothing": ({ limits }) => limits.descriptors = -1,
  "an engine of its own": (config) => config.engine = "/bin/sh",
  "a key less": (config) => delete config.limits,
};

/** The same of a config with acme. */
// deno-lint-ignore no-explicit-any
const ACME_LIES: Record<string, (config: any) => void> = {
  "another authority": ({ acme }) => acme.directory = "https://evil.example.com/dir",
  "one without TLS": ({ acme }) => acme.directory = "http://ca.internal/directory",
  "another name": ({ acme }) => acme.names.push("evil.example.com"),
  "whom to trust": ({ acme }) => acme.trust = "/etc/passwd",
  "whom to trust where nobody is named": ({ acme }) => delete acme.trust,
  "where it is asked": ({ acme }) => (acme.listen[0].port = 22, acme.listen[0].text = "[::]:22"),
  "a listener that is the workers'": ({ acme, listen }) => listen.push(acme.listen.pop()),
  "a listener of the workers": ({ acme, listen }) => acme.listen.push(listen.pop()),
  "another certificate": ({ listen }) => listen[0].tls[0].key = "/etc/ssl/key.pem",
  "none of it": (config) => delete config.acme,
};

Deno.test("a planner can change nothing of who gets certificates, and for what", async (t) => {
  await using project = await Project.create({ files: FILES, config: ACME });
  const read = await readConfigText(project.configFile);
  const honest = await planned(read);
  assertEquals((await acceptConfig(honest, read)).acme?.listen.length, 2); // control
  for (const [what, lie] of Object.entries(ACME_LIES)) {
    await t.step(what, async () => {
      const answer = structuredClone(honest);
      lie(answer);
      const { message } = await assertRejects(() => acceptConfig(answer, read), Error);
      assertStringIncludes(message, "The planner's answer is refused: its ");
    });
  }
});

Deno.test("a planner can add, take away and change nothing that a config grants", async (t) => {
  await using project = await richProject();
  const read = await readConfigText(project.configFile);
  const honest = await planned(read);
  assertEquals((await acceptConfig(honest, read)).file, project.configFile); // control
  for (const [what, lie] of Object.entries(LIES)) {
    await t.step(what, async () => {
      const answer = structuredClone(honest);
      lie(answer);
      const { message } = await assertRejects(() => acceptConfig(answer, read), Error);
      assertStringIncludes(message, "The planner's answer is refused: its ");
    });
  }
  for (const value of [undefined, null, 5, "config", [], {}]) {
    await assertRejects(() => acceptConfig(value, read), Error, "its config has a fault");
  }
});

/** The supervisor itself reads what these name, and gives it to a worker. */
// deno-lint-ignore no-explicit-any
const LIES_OF_TLS: Record<string, (config: any) => void> = {
  "another key": ({ listen }) => listen[0].tls[0].key = "/etc/shadow",
  "another certificate": ({ listen }) => listen[0].tls[0].cert = "/etc/shadow",
  "another of several keys": ({ listen }) => listen[1].tls[1].key = "/etc/shadow",
  "one certificate more": ({ listen }) => listen[1].tls.push({ cert: "/etc/a", key: "/etc/b" }),
  "one certificate less": ({ listen }) => listen[1].tls.pop(),
  "another one first": ({ listen }) => listen[1].tls.reverse(),
  "no certificate": ({ listen }) => listen[1].tls = [],
  "plain HTTP where HTTPS is to be": ({ listen }) => delete listen[0].tls,
  "HTTPS where none is to be": ({ listen }) => listen[3].tls = [{ cert: "/etc/a", key: "/etc/b" }],
  "the app where clients are to be sent on": ({ listen }) => delete listen[2].redirect,
  "a redirect where the app is to be": ({ listen }) => listen[3].redirect = true,
};

Deno.test("a planner cannot choose certificates, keys, or what is served at an address", async (t) => {
  await using project = await Project.create({ config: SECURE });
  const read = await readConfigText(project.configFile);
  const honest = await planned(read);
  await acceptConfig(honest, read); // control
  for (const [what, lie] of Object.entries(LIES_OF_TLS)) {
    await t.step(what, async () => {
      const answer = structuredClone(honest);
      lie(answer);
      const { message } = await assertRejects(() => acceptConfig(answer, read), Error);
      assertMatch(message, /its listen is not what|its config has a fault/);
    });
  }
});

Deno.test("a config with a fault is never accepted, whatever a planner answers", async () => {
  await using project = await Project.create();
  const honest = await planned(await readConfigText(project.configFile));
  const text = await Deno.readTextFile(project.configFile);
  const nested = `${"[".repeat(400_000)}${"]".repeat(400_000)}`;
  for (
    const broken of [
      "",
      `${text} x`,
      text.replace("}", ""),
      text.replace("{", '{"runtime": 5,'),
      text.replace("{", '{"runtime": null,'),
      text.replace("{", '{"runtime": "./a,b",'),
      `[${text}]`,
      text.replace("{", `{"deep": ${nested},`),
    ]
  ) {
    await project.write("holdfast.jsonc", broken);
    const read = await readConfigText(project.configFile);
    assertEquals(read.certain, false, broken.slice(0, 100));
    await assertRejects(
      () => acceptConfig(honest, read),
      Error,
      "accepts a config that has a fault",
    );
  }
});

Deno.test("an unveil over what decides what runs is refused, whatever has checked the config", async () => {
  await using project = await Project.create({
    config: { unveil: { "./data": "rw", "./public": "r" } },
  });
  await Deno.mkdir(project.path("data"));
  await Deno.mkdir(project.path(".holdfast/images"), { recursive: true });
  const read = await readConfigText(project.configFile);
  const config = await acceptConfig(await planned(read), read);
  const look = () => requireOutOfReach(config, [config.runtime]);
  look(); // control
  const places = [config.runtime, `${config.runtime}/images`, project.folder, Deno.execPath(), "/"];
  for (const target of places) {
    await Deno.remove(project.path("data"), { recursive: true });
    await Deno.symlink(target, project.path("data"));
    assertThrows(look, Error, "reaches");
  }
  await Deno.remove(project.path("data"));
  await Deno.symlink(config.runtime, project.path("public"));
  assertThrows(look, Error, "reaches");
});
