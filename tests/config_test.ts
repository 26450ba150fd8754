import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { findAccount, resolveAccount } from "../lib/config/account.ts";
import { EXAMPLES } from "../lib/config/examples.ts";
import { configJsonSchema } from "../lib/config/json_schema.ts";
import { loadConfig, parseConfig } from "../lib/config/load.ts";
import { configManual } from "../lib/config/manual.ts";
import { readProject } from "../lib/config/project.ts";
import { ConfigError, type Problem, Refusal } from "../lib/config/problem.ts";
import { ConfigSchema } from "../lib/config/schema.ts";
import { DEFAULTS } from "./harness/config.ts";

const MINIMAL = { app: "./main.ts", listen: ["127.0.0.1:8000"] };

/** A temporary project: `main.ts`, `deno.json`, and the config. */
class Project implements AsyncDisposable {
  readonly folder = Deno.realPathSync(Deno.makeTempDirSync({ prefix: "holdfast_config_" }));
  readonly config = `${this.folder}/holdfast.jsonc`;

  constructor(config: unknown = MINIMAL) {
    this.write("main.ts", "export default {};");
    this.write("deno.json", "{}");
    this.write("holdfast.jsonc", typeof config === "string" ? config : JSON.stringify(config));
  }

  write(name: string, text: string): void {
    Deno.writeTextFileSync(`${this.folder}/${name}`, text);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.folder, { recursive: true });
  }
}

function problemsOf(config: unknown): readonly Problem[] {
  const text = typeof config === "string" ? config : JSON.stringify(config);
  try {
    parseConfig(text, "holdfast.jsonc");
    return [];
  } catch (error) {
    if (error instanceof ConfigError) return error.problems;
    throw error;
  }
}

function codesOf(config: unknown): string[] {
  return problemsOf(config).map(({ code }) => code);
}

async function loadCodes(file: string): Promise<string[]> {
  const { problems } = await assertRejects(() => loadConfig(file), ConfigError);
  return problems.map(({ code }) => code);
}

Deno.test("a config of two keys gets every default", () => {
  const { onViolation: _, log: { folder: _none, ...log }, env, envValues, ...schemaDefaults } =
    DEFAULTS;
  assertEquals(parseConfig(JSON.stringify(MINIMAL), "f").values, {
    app: "./main.ts",
    listen: [{ kind: "tcp", text: "127.0.0.1:8000", host: "127.0.0.1", port: 8000 }],
    unveil: {},
    helpers: {},
    ...schemaDefaults,
    env: { names: env, values: envValues },
    log,
    onViolation: "replace",
    runtime: "./.holdfast",
  });
});

Deno.test("only what is unveiled can be dropped, and not from a folder that stays", async () => {
  await using project = new Project();
  Deno.mkdirSync(`${project.folder}/keys/in`, { recursive: true });
  const load = async (config: object) => {
    project.write("holdfast.jsonc", JSON.stringify({ ...MINIMAL, ...config }));
    try {
      const { dropAfterOpen } = await loadConfig(project.config);
      return dropAfterOpen!.map((path) => path.replace(`${project.folder}/`, ""));
    } catch {
      return await loadCodes(project.config);
    }
  };
  const unveil = { "./keys": "r", "./keys/in": "r", "./data/": "rwc" };
  assertEquals(await load({ unveil, dropAfterOpen: ["keys/in/", "./keys"] }), ["keys", "keys/in"]);
  assertEquals(await load({ unveil, dropAfterOpen: ["./keys"] }), ["keys"]);
  assertEquals(await load({ unveil, dropAfterOpen: ["./keys/in"] }), ["drop_inside"]);
  assertEquals(await load({ unveil, dropAfterOpen: ["./other"] }), ["drop_not_unveiled"]);
  assertEquals(await load({ dropAfterOpen: ["./data"] }), ["drop_not_unveiled"]);
});

Deno.test("a key by its old name is accepted, with a warning that names the new one", () => {
  const text = JSON.stringify({
    ...MINIMAL,
    readiness: "/ready",
    on_violation: "log",
    reload: { announceMs: 7 },
  });
  const { values, warnings } = parseConfig(text, "f");
  assertEquals([values.onViolation, values.reload.shutdownDelayMs], ["log", 7]);
  assertEquals(warnings.map((warning) => [warning.old, warning.new, warning.file]), [
    ["reload.announceMs", "reload.shutdownDelayMs", "f"],
    ["on_violation", "onViolation", "f"],
  ]);
  const at = warnings.map(({ at: { line, column } }) => [line, text.slice(column - 1, column + 5)]);
  assertEquals(at, [[1, '"annou'], [1, '"on_vi']]);
  assertEquals(parseConfig(JSON.stringify({ ...MINIMAL, onViolation: "log" }), "f").warnings, []);
  // What is wrong with the value is said of the new name, and one of the two is enough.
  const wrong = { ...MINIMAL, on_violation: "maybe", reload: { announceMs: -1 } };
  assertEquals(problemsOf(wrong).map(({ key }) => key).toSorted(), [
    "onViolation",
    "reload.shutdownDelayMs",
  ]);
  assertEquals(codesOf({ ...MINIMAL, on_violation: "log", onViolation: "log" }), ["key_repeated"]);
});

Deno.test("comments, trailing commas and a byte order mark are fine in a config file", async () => {
  await using project = new Project(
    '\ufeff// why\n{ "$schema": "x", "app": "main.ts", /* where */ "listen": ["[::1]:1",], }\n',
  );
  assertEquals((await loadConfig(project.config)).listen.map(({ text }) => text), ["[::1]:1"]);
});

Deno.test("every problem of a file is reported at once with line, column, key and remedy", () => {
  const text = `{
  "listn": 1,
  "listen": ["127.0.0.1:8000", "*:8080"],
  "unveil": { "./data": "rz" },
  "reload": { "idleGraceMs": -1 }
}`;
  const error = assertThrows(() => parseConfig(text, "/srv/holdfast.jsonc"), ConfigError);
  assertEquals([error.kind, error.code], ["config", "config_invalid"]);
  assertEquals(error.message.split("\n").toSorted(), [
    '/srv/holdfast.jsonc:1:1: app: this key is missing; add it: "app": "./main.ts"',
    '/srv/holdfast.jsonc:2:3: listn: unknown key "listn"; did you mean "listen"?',
    '/srv/holdfast.jsonc:3:32: listen[1]: "*:8080" does not say which addresses; ' +
    'write "127.0.0.1:8080" for this machine alone, "0.0.0.0:8080" for every IPv4 address or ' +
    '"[::]:8080" for IPv6',
    '/srv/holdfast.jsonc:4:25: unveil["./data"]: rights "rz"; ' +
    "write any of r (read), w (write), c (create and remove), each at most once",
    "/srv/holdfast.jsonc:5:30: reload.idleGraceMs: found -1; at least 0",
  ]);
});

Deno.test("text of the file that ends up in a message is escaped and capped at 80 characters", () => {
  const [evil, long] = ["\u001b[31m\n\u202e", "n".repeat(200)];
  for (const config of [{ ...MINIMAL, [evil]: 1 }, { ...MINIMAL, [long]: 1 }]) {
    const { message } = assertThrows(() => parseConfig(JSON.stringify(config), "f"), ConfigError);
    // deno-lint-ignore no-control-regex
    assert(!/[\u0000-\u001f\u202e]/.test(message));
    assert(!message.includes("n".repeat(81)));
    assertMatch(message, /\\x1b\[31m\\x0a\\u202e|n{80}…/);
  }
});

Deno.test("a message stays short when a file has hundreds of problems, and all are kept", () => {
  const listen = Array.from({ length: 16 }, () => "x");
  const net = Array.from({ length: 100 }, () => "*");
  const error = assertThrows(
    () => parseConfig(JSON.stringify({ app: "a", listen, net }), "f"),
    ConfigError,
  );
  assertEquals([error.problems.length, error.message.split("\n").length], [116, 51]);
  assertMatch(error.message, /and 66 more$/);
});

Deno.test("positions count lines of every kind of line end", () => {
  for (const end of ["\n", "\r\n", "\r"]) {
    const [problem] = problemsOf(`{${end}"app": "a",${end}  "listen": 4}`);
    assertEquals([problem?.code, problem?.at], ["value_type", { line: 3, column: 13 }]);
  }
});

Deno.test("what is no single object with each key once is refused", () => {
  const start = '"app": "a", "listen": ["127.0.0.1:1"]';
  const cases: [string, string[]][] = [
    [`{${start}}`, []], // control
    ["", ["syntax"]],
    ["{", ["syntax"]],
    [`{${start}} {}`, ["syntax"]],
    [`{${start.replace(",", "")}}`, ["syntax"]],
    ["[]", ["value_type"]],
    ["null", ["value_type"]],
    [`{${start}, "app": "b"}`, ["key_repeated"]],
    [`{${start}, "unveil": {"x": "r", "x": "rw"}}`, ["key_repeated"]],
    [`{${start}, "unveil": {"__proto__": "r"}}`, ["key_repeated"]],
    [`{${start}, "app": ${"[".repeat(40)}${"]".repeat(40)}}`, ["syntax"]],
    ["[".repeat(500_000), ["syntax"]],
  ];
  for (const [text, codes] of cases) assertEquals(codesOf(text), codes, text.slice(0, 80));
});

Deno.test("brackets inside a string do not count as nesting", () => {
  assertEquals(codesOf({ ...MINIMAL, app: "[".repeat(50) }), []);
});

Deno.test("an unknown key names the nearest known key of its own object, or all of them", () => {
  const cases: [object, string, string][] = [
    [{ appp: "x" }, "appp", 'did you mean "app"?'],
    [{ reload: { idleGraceMS: 1 } }, "reload.idleGraceMS", 'did you mean "idleGraceMs"?'],
    [
      { listen: [{ unix: "/a", modus: "0600" }] },
      "listen[0].modus",
      'did you mean "mode"?',
    ],
  ];
  for (const [change, key, hint] of cases) {
    const [problem] = problemsOf({ ...MINIMAL, ...change });
    assertEquals([problem?.code, problem?.key, problem?.hint], ["key_unknown", key, hint]);
  }
  assertMatch(
    problemsOf({ ...MINIMAL, somethingElse: 1 })[0]!.hint,
    /^the keys are \$schema, app,/,
  );
});

Deno.test("what is wrong in a config says how it is written", () => {
  const cases: [object, string][] = [
    [{ port: 8080 }, 'unknown key "port"; write "listen": ["127.0.0.1:8080"]'],
    [{ host: "x" }, 'unknown key "host"; write "listen": ["127.0.0.1:8080"]'],
    [{ tls: {} }, 'unknown key "tls"; write "listen": [{ "https": "0.0.0.0:443"'],
    [{ entrypoint: "x" }, 'unknown key "entrypoint"; write "app": "./main.ts"'],
    [{ static: "x" }, 'unknown key "static"; write "unveil": { "./public": "r" }'],
    [{ evn: [] }, 'unknown key "evn"; did you mean "env"?'],
    [{ watchdog: { pulse: 1 } }, 'unknown key "pulse"; did you mean "pulseDeadlineMs"?'],
    [{ env: { A: 1 } }, 'env.A: found 1; write true, or a text, in " "'],
    [{ env: "A" }, 'env: found "A"; write a list, in [ ], or an object, in { }'],
    [{ workers: "two" }, 'workers: found "two"; write a number, or "auto"'],
    [{ wall: false }, 'wall: found false; write "kernel" or "deno"'],
  ];
  for (const [change, says] of cases) {
    const text = JSON.stringify({ ...MINIMAL, ...change });
    const { message } = assertThrows(() => parseConfig(text, "f"), ConfigError);
    assert(message.includes(says), message);
  }
  const texts: [string, string[]][] = [
    [`{\n "app": "a",\n "app": "b" }`, [
      '3:2: app: the key "app" is there twice: line 2 has it too; remove one of them',
      '1:1: listen: this key is missing; add it: "listen": ["127.0.0.1:8080"]',
    ]],
    [`{ "__proto__": 1, "app": "a", "listen": ["127.0.0.1:1"] }`, [
      '1:3: __proto__: the key "__proto__" is reserved; remove this one',
    ]],
    // One fault makes others behind it.
    [`{\n app: './a.ts',\n listen: [] }`, [
      '2:2: "app" is not JSON; write JSON, with keys and texts',
    ]],
    [`app: ./a.ts\nlisten: 1`, ['1:1: "app" is not JSON; write JSON, with keys and texts in " "']],
  ];
  for (const [text, says] of texts) {
    const { message } = assertThrows(() => parseConfig(text, "f"), ConfigError);
    for (const each of says) assert(message.includes(each), message);
    const lines = message.split("\n").map((line) => line.split(":")[1]);
    if (!text.includes('"')) assertEquals(new Set(lines).size, lines.length, message);
  }
});

Deno.test("listen takes IP literals, localhost and Unix sockets, and gives each one spelling", () => {
  const cases: [unknown, unknown][] = [
    ["127.0.0.1:8000", { kind: "tcp", text: "127.0.0.1:8000", host: "127.0.0.1", port: 8000 }],
    ["0.0.0.0:65535", { kind: "tcp", text: "0.0.0.0:65535", host: "0.0.0.0", port: 65535 }],
    ["[::1]:1", { kind: "tcp", text: "[::1]:1", host: "::1", port: 1 }],
    ["[0:0::0:1]:80", { kind: "tcp", text: "[::1]:80", host: "::1", port: 80 }],
    ["[FE80::ABCD]:80", { kind: "tcp", text: "[fe80::abcd]:80", host: "fe80::abcd", port: 80 }],
    ["LOCALHOST:80", { kind: "tcp", text: "localhost:80", host: "localhost", port: 80 }],
    ["unix:/run/a.sock", { kind: "unix", path: "/run/a.sock", mode: 0o600 }],
    [{ unix: "a.sock", mode: "0660" }, { kind: "unix", path: "a.sock", mode: 0o660 }],
    [{ unix: "a.sock", mode: "666" }, { kind: "unix", path: "a.sock", mode: 0o666 }],
    [{ unix: "a.sock" }, { kind: "unix", path: "a.sock", mode: 0o600 }],
    [
      { https: "[0::]:443", cert: "c.pem", key: "k.pem" },
      {
        kind: "tcp",
        text: "[::]:443",
        host: "::",
        port: 443,
        tls: [{ cert: "c.pem", key: "k.pem" }],
      },
    ],
    [
      { https: "systemd:web", cert: "c.pem", key: "k.pem" },
      {
        ...{ kind: "systemd", text: "systemd:web", name: "web" },
        tls: [{ cert: "c.pem", key: "k.pem" }],
      },
    ],
    [
      { https: "systemd:web", certs: [{ cert: "c", key: "k" }, { cert: "d", key: "l" }] },
      {
        ...{ kind: "systemd", text: "systemd:web", name: "web" },
        tls: [{ cert: "c", key: "k" }, { cert: "d", key: "l" }],
      },
    ],
    [
      { http: "0.0.0.0:80", redirect: "https" },
      { kind: "tcp", text: "0.0.0.0:80", host: "0.0.0.0", port: 80, redirect: true },
    ],
  ];
  for (const [spelled, meant] of cases) {
    const { values } = parseConfig(JSON.stringify({ ...MINIMAL, listen: [spelled] }), "f");
    assertEquals(values.listen as unknown[], [meant]);
  }
});

Deno.test("listen refuses what does not say exactly where to bind", () => {
  const cases: [unknown, string][] = [
    ["*:8080", "listen_host_any"],
    [":8080", "listen_host_any"],
    ["example.com:80", "listen_host_name"],
    ["127.1:80", "listen_host_name"],
    ["0x7f000001:80", "listen_host_name"],
    ["127.0.0.256:80", "listen_host_name"],
    ["[::g]:80", "listen_host_name"],
    ["[fe80::1%eth0]:80", "listen_host_name"],
    ["::1:80", "address_unclear"],
    ["127.0.0.1:80:90", "address_unclear"],
    ["127.0.0.1", "port_invalid"],
    ["127.0.0.1:", "port_invalid"],
    ["127.0.0.1:65536", "port_invalid"],
    ["127.0.0.1:080", "port_invalid"],
    ["127.0.0.1:8e1", "port_invalid"],
    ["127.0.0.1:-1", "port_invalid"],
    ["127.0.0.1:0", "port_zero"],
    ["unix:", "path_empty"],
    ["unix:/a,b", "path_unfit"],
    ["unix:~/a", "path_tilde"],
    [{ unix: "/a\u0000b" }, "path_unfit"],
    [{ unix: "/a", mode: "0888" }, "value_form"],
    [{ unix: "/a", mode: "4755" }, "value_form"],
    [{ unix: "/a", mode: 600 }, "value_type"],
    [{}, "key_missing"],
    [8080, "value_type"],
    [{ https: "0.0.0.0:443", cert: "c.pem" }, "key_missing"],
    [{ https: "0.0.0.0:443", key: "k.pem" }, "key_missing"],
    [{ https: "443", cert: "c.pem", key: "k.pem" }, "listen_host_any"],
    [{ https: "unix:/a", cert: "c.pem", key: "k.pem" }, "listen_https_unix"],
    [{ https: "0.0.0.0:443", cert: "c.pem", key: "k,.pem" }, "path_unfit"],
    [{ https: "0.0.0.0:443", cert: "c.pem", key: "k.pem", redirect: "https" }, "key_unknown"],
    [{ https: "0.0.0.0:443", certs: [] }, "value_small"],
    [{ https: "0.0.0.0:443", certs: {} }, "value_type"],
    [{ https: "0.0.0.0:443", certs: [{ cert: "c.pem" }] }, "key_missing"],
    [{ https: "0.0.0.0:443", cert: "c", certs: [{ cert: "c", key: "k" }] }, "certs_twice"],
    [{ https: "0.0.0.0:443", cert: ["c.pem"], key: "k.pem" }, "value_type"],
    [{ http: "0.0.0.0:80" }, "value_unknown"],
    [{ http: "0.0.0.0:80", redirect: "http" }, "value_unknown"],
    [{ http: "unix:/a", redirect: "https" }, "listen_https_unix"],
  ];
  for (const [spelled, code] of cases) {
    assertEquals(codesOf({ ...MINIMAL, listen: [spelled] }), [code], JSON.stringify(spelled));
  }
  assertEquals(codesOf({ ...MINIMAL, listen: [] }), ["value_small"]);
  assertEquals(codesOf({ ...MINIMAL, listen: Array(17).fill("[::1]:1") }), ["value_big"]);
});

Deno.test("HTTPS needs the kernel's wall and the native engine, and a redirect needs HTTPS", async () => {
  const https = { https: "127.0.0.1:8443", cert: "c.pem", key: "k.pem" };
  const redirect = { http: "127.0.0.1:8080", redirect: "https" };
  const cases: [object, string[]][] = [
    [{ listen: [https, redirect] }, []],
    [{ listen: [https], wall: "deno" }, ["https_without_wall"]],
    [{ listen: [https], engine: "node" }, ["https_on_node"]],
    [{ listen: [redirect] }, ["redirect_nowhere"]],
    [{ listen: [https, "127.0.0.1:8443"] }, ["listen_repeated"]],
    [{ listen: [https], metrics: { listen: https } }, [
      "key_missing",
      ...Array(3).fill("key_unknown"),
    ]],
  ];
  for (const [change, codes] of cases) {
    await using project = new Project({ ...MINIMAL, app: "main.ts", ...change });
    const found = await loadConfig(project.config).then(
      () => [],
      ({ problems }) => problems.map(({ code }: { code: string }) => code),
    );
    assertEquals(found, codes, JSON.stringify(change));
  }
});

Deno.test("net takes single hosts and gives each one spelling", () => {
  const cases = [
    ["api.example.com", "api.example.com"],
    ["API.example.com:443", "api.example.com:443"],
    ["_sip.example.com", "_sip.example.com"],
    ["10.0.0.5:5432", "10.0.0.5:5432"],
    ["[0::1]:22", "[::1]:22"],
    ["[::1]", "[::1]"],
    ["localhost:6379", "localhost:6379"],
    ["unix:/run/a.sock", "unix:/run/a.sock"],
    ["UNIX:./a.sock", "unix:./a.sock"],
  ] as const;
  for (const [spelled, meant] of cases) {
    const { values } = parseConfig(JSON.stringify({ ...MINIMAL, net: [spelled] }), "f");
    assertEquals(values.net, [meant]);
  }
});

Deno.test("net refuses wildcards, ranges, paths that are none and every spelling of all hosts", () => {
  const cases = [
    ["*", "net_wildcard"],
    ["*.example.com", "net_wildcard"],
    ["*:443", "net_wildcard"],
    ["10.0.0.0/8", "net_wildcard"],
    ["https://example.com", "net_wildcard"],
    ["0.0.0.0", "net_host"],
    ["0.0.0.0:443", "net_host"],
    ["[::]:443", "net_host"],
    ["[0:0:0:0:0:0:0:0]:443", "net_host"],
    ["0:80", "net_host"],
    ["127.1", "net_host"],
    ["2130706433", "net_host"],
    ["0x7f000001:80", "net_host"],
    ["", "net_host"],
    [":443", "net_host"],
    ["a b", "net_host"],
    ["a,b", "net_host"],
    ["user@example.com", "net_host"],
    ["exämple.com", "net_host"],
    ["example.com.", "net_host"],
    ["unix:", "path_empty"],
    ["unix:/run/a,b", "path_unfit"],
    ["unix:/run/\u0000a", "path_unfit"],
    ["unix:~/a", "path_tilde"],
    ["::1", "address_unclear"],
    ["example.com:0", "port_zero"],
    ["example.com:https", "port_invalid"],
  ] as const;
  for (const [spelled, code] of cases) {
    assertEquals(codesOf({ ...MINIMAL, net: [spelled] }), [code], spelled);
  }
  assertEquals(codesOf({ ...MINIMAL, net: ["[::1]:1", "[0::1]:1"] }), ["entry_repeated"]);
});

Deno.test("env passes the app's own names and refuses those that steer the runtime", () => {
  const fine = ["DATABASE_URL", "PORT", "TZ", "HOME", "NODE_ENV", "_X1", "PROXY_COUNT", "DENOTE"];
  assertEquals(codesOf({ ...MINIMAL, env: fine }), []);
  const refused = [
    "LD_PRELOAD",
    "LD_LIBRARY_PATH",
    "DYLD_INSERT_LIBRARIES",
    "GLIBC_TUNABLES",
    "DENO_DIR",
    "DENO_V8_FLAGS",
    "deno_dir",
    "NODE_OPTIONS",
    "NODE_CHANNEL_FD",
    "NODE_EXTRA_CA_CERTS",
    "NODE_TLS_REJECT_UNAUTHORIZED",
    "NODE_ENVY",
    "NPM_CONFIG_REGISTRY",
    "npm_config_registry",
    "HTTP_PROXY",
    "https_proxy",
    "ALL_PROXY",
    "NO_PROXY",
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "SSLKEYLOGFILE",
    "SSL_CERT_FILE",
    "HOSTALIASES",
    "NOTIFY_SOCKET",
    "LISTEN_FDS",
    "HOLDFAST_X",
  ];
  for (const name of refused) {
    assertEquals(codesOf({ ...MINIMAL, env: [name] }), ["env_name_refused"], name);
  }
  for (const name of ["", "A=B", "A,B", "1A", "A*", "*", "A B", "Ä", "A\n"]) {
    assertEquals(codesOf({ ...MINIMAL, env: [name] }), ["env_name_invalid"], name);
  }
  assertEquals(codesOf({ ...MINIMAL, env: ["A", "A"] }), ["entry_repeated"]);
});

Deno.test("unveil takes r, w and c once each in any order, and refuses x", () => {
  for (const [spelled, meant] of [["r", "r"], ["cwr", "rwc"], ["wc", "wc"]] as const) {
    const { values } = parseConfig(JSON.stringify({ ...MINIMAL, unveil: { d: spelled } }), "f");
    assertEquals(values.unveil, { d: meant });
  }
  const cases: [string, string, string][] = [
    ["d", "", "unveil_rights"],
    ["d", "rr", "unveil_rights"],
    ["d", "R", "unveil_rights"],
    ["d", "rwcrw", "value_big"],
    ["d", "x", "unveil_x"],
    ["d", "rwxc", "unveil_x"],
    ["", "r", "path_empty"],
    ["a,b", "r", "path_unfit"],
    ["a\u0000b", "r", "path_unfit"],
    ["a\nb", "r", "path_unfit"],
    ["a\ud800b", "r", "path_unfit"],
    ["~/data", "r", "path_tilde"],
    ["n".repeat(1025), "r", "value_big"],
  ];
  for (const [path, rights, code] of cases) {
    assertEquals(codesOf({ ...MINIMAL, unveil: { [path]: rights } }), [code], path + rights);
  }
  const many = Object.fromEntries(Array.from({ length: 65 }, (_, index) => [`d${index}`, "r"]));
  assertEquals(codesOf({ ...MINIMAL, unveil: many }), ["unveil_many"]);
});

Deno.test("reload keeps each time within its bounds and the drain no shorter than the grace", () => {
  const cases: [object, string[]][] = [
    [{ readyDeadlineMs: 100, idleGraceMs: 0, drainDeadlineMs: 0 }, []],
    [{ readyDeadlineMs: 600_000, idleGraceMs: 120_000, drainDeadlineMs: 3_600_000 }, []],
    [{ idleGraceMs: 7, drainDeadlineMs: 7 }, []],
    [{ readyDeadlineMs: 99 }, ["value_small"]],
    [{ readyDeadlineMs: 600_001 }, ["value_big"]],
    [{ idleGraceMs: -1 }, ["value_small"]],
    [{ idleGraceMs: 120_001, drainDeadlineMs: 130_000 }, ["value_big"]],
    [{ drainDeadlineMs: 3_600_001 }, ["value_big"]],
    [{ readyDeadlineMs: 100.5 }, ["value_type"]],
    [{ readyDeadlineMs: "5s" }, ["value_type"]],
    [{ idleGraceMs: 8, drainDeadlineMs: 7 }, ["drain_before_grace"]],
    [{ drainDeadlineMs: 4_999 }, ["drain_before_grace"]],
  ];
  for (const [reload, codes] of cases) {
    assertEquals(codesOf({ ...MINIMAL, reload }), codes, JSON.stringify(reload));
  }
});

Deno.test("log takes a folder and keeps each number within its bounds", () => {
  const cases: [object, string[]][] = [
    [{}, []],
    [{ folder: "/var/log/holdfast", access: "off", compress: false }, []],
    [{ rotateBytes: 65_536, rotateHours: 0, keep: 0 }, []],
    [{ rotateBytes: 65_535 }, ["value_small"]],
    [{ rotateHours: -1 }, ["value_small"]],
    [{ rotateHours: 0.5 }, ["value_type"]],
    [{ keep: 10_001 }, ["value_big"]],
    [{ keep: -1 }, ["value_small"]],
    [{ outputLineBytes: 256, outputBytesPerSecond: 1_024, outputBurstBytes: 1_024 }, []],
    [{ outputLineBytes: 131_073 }, ["value_big"]],
    [{ outputBytesPerSecond: 1_023 }, ["value_small"]],
    [{ outputLineBytes: 1_000, outputBurstBytes: 1_127 }, ["burst_below_line"]],
    [{ outputLineBytes: 1_000, outputBurstBytes: 1_128 }, []],
    [{ compress: "yes" }, ["value_type"]],
    [{ access: "apache" }, ["value_unknown"]],
    [{ folder: "" }, ["path_empty"]],
    [{ folder: "/a,b" }, ["path_unfit"]],
    [{ folder: "~/log" }, ["path_tilde"]],
    [{ file: "x" }, ["key_unknown"]],
  ];
  for (const [log, codes] of cases) {
    assertEquals(codesOf({ ...MINIMAL, log }), codes, JSON.stringify(log));
  }
});

Deno.test("engine, user and group take only what they know", () => {
  const cases: [object, string[]][] = [
    [{ engine: "node", user: "www-data", group: "1000" }, []],
    [{ engine: "deno" }, ["value_unknown"]],
    [{ user: "../x" }, ["value_form"]],
    [{ user: "010" }, ["value_form"]],
    [{ user: "a:b" }, ["value_form"]],
    [{ group: "www-data" }, ["group_without_user"]],
  ];
  for (const [change, codes] of cases) assertEquals(codesOf({ ...MINIMAL, ...change }), codes);
});

Deno.test("loadConfig makes every path absolute from the folder of the real config file", async () => {
  await using project = new Project({
    ...MINIMAL,
    listen: ["unix:./web.sock", "[::1]:8000"],
    unveil: { "./data/../data/": "wr", "/usr/": "r", "later": "c" },
    net: ["EXAMPLE.com"],
    log: { folder: "./logs/", access: "json" },
    runtime: "run/",
  });
  await using elsewhere = new Project();
  const { folder } = project;
  await Deno.mkdir(`${folder}/data`);
  await Deno.symlink(project.config, `${elsewhere.folder}/link.jsonc`);
  const config = await loadConfig(`${elsewhere.folder}/link.jsonc`);
  const text = Deno.readTextFileSync(project.config);
  const placeOf = (part: string) => ({ line: 1, column: text.indexOf(part) + 1 });
  assertEquals(config, {
    file: project.config,
    named: `${elsewhere.folder}/link.jsonc`,
    folder,
    app: { module: `${folder}/main.ts`, project: folder },
    listen: [
      { kind: "unix", text: `unix:${folder}/web.sock`, path: `${folder}/web.sock`, mode: 0o600 },
      { kind: "tcp", text: "[::1]:8000", host: "::1", port: 8000 },
    ],
    unveil: [
      { path: `${folder}/data`, rights: "rw", exists: true, folder: true, at: placeOf('"wr"') },
      { path: "/usr", rights: "r", exists: true, folder: true, at: placeOf('"r"') },
      { path: `${folder}/later`, rights: "c", exists: false, folder: false, at: placeOf('"c"') },
    ],
    ...DEFAULTS,
    helpers: [],
    log: { ...DEFAULTS.log, folder: `${folder}/logs`, access: "json" },
    net: ["example.com"],
    account: undefined,
    runtime: `${folder}/run`,
    at: {
      app: placeOf('"./'),
      listen: placeOf("["),
      log: placeOf('"./logs/"'),
      runtime: placeOf('"run/"'),
      user: { line: 1, column: 1 },
    },
  });
  assertThrows(() => (config.listen as unknown[]).push(1), TypeError);
  assertThrows(() => Object.assign(config.reload, { idleGraceMs: 1 }), TypeError);
});

Deno.test("the project is the nearest folder with settings, else the module's own folder", async () => {
  await using project = new Project({ ...MINIMAL, app: "src/deep/main.ts" });
  const { folder } = project;
  await Deno.mkdir(`${folder}/src/deep`, { recursive: true });
  project.write("src/deep/main.ts", "");
  project.write("deno.lock", "{}");
  const outer = (await loadConfig(project.config)).app;
  assertEquals([outer.project, readProject(outer).lockfile], [folder, `${folder}/deno.lock`]);

  for (const name of ["package.json", "deno.jsonc", "deno.json"]) {
    project.write(`src/${name}`, "{}");
    const inner = (await loadConfig(project.config)).app;
    assertEquals([inner.project, readProject(inner).lockfile], [`${folder}/src`, undefined], name);
    await Deno.remove(`${folder}/src/${name}`);
  }
  await Deno.remove(`${folder}/deno.json`);
  assertEquals((await loadConfig(project.config)).app.project, `${folder}/src/deep`);
});

Deno.test("loadConfig reports what is missing or double on this machine at once", async () => {
  await using project = new Project({
    app: "./gone.ts",
    listen: ["[::1]:80", "[0::1]:80", "unix:./a", { unix: "b/../a" }, `unix:/${"a".repeat(107)}`],
    user: "nobody_of_that_name",
  });
  const { problems } = await assertRejects(() => loadConfig(project.config), ConfigError);
  assertEquals(problems.map(({ code, key }) => `${key} ${code}`), [
    "app app_missing",
    "listen[1] listen_repeated",
    "listen[3] listen_repeated",
    "listen[4] listen_path_long",
    "user user_unknown",
  ]);
  assert(problems.every(({ at }) => at?.line === 1 && at.column > 1));
});

Deno.test("what the schema refuses and what is not there are told at once, in the file's order", async () => {
  await using project = new Project({
    app: "./gone.ts",
    wurkers: 2,
    listen: [8080, "127.0.0.1:1"],
    unveil: { "./data": "rz" },
    helpers: {
      one: { module: "./none.ts", timeoutMs: "soon" },
      two: { modul: "./two.ts" },
    },
    reload: { keep: -1, spare: 1 },
    user: "nobody_of_that_name",
  });
  const { problems } = await assertRejects(() => loadConfig(project.config), ConfigError);
  assertEquals(problems.map(({ code, key }) => `${key} ${code}`), [
    "app app_missing",
    "wurkers key_unknown",
    "listen[0] value_type",
    'unveil["./data"] unveil_rights',
    "helpers.one.module app_missing",
    "helpers.one.timeoutMs value_type",
    "helpers.two.module key_missing",
    "helpers.two.modul key_unknown",
    "reload.keep value_small",
    "reload.spare key_unknown",
    "user user_unknown",
  ]);
  // Nothing is said of what only stands for a wrong value.
  for (const wrong of [{}, { listen: true }, { app: 1 }, { app: [], listen: {} }, []]) {
    await using broken = new Project(wrong as Record<string, unknown>);
    const error = await assertRejects(() => loadConfig(broken.config), ConfigError);
    assert(!/127\.0\.0\.1:1\b|is a folder/.test(error.message), error.message);
  }
});

Deno.test("an app that is a folder, or that is called otherwise, is answered with what was meant", async () => {
  await using project = new Project({ app: ".", listen: ["[::1]:80"] });
  await project.write("server.js", "");
  await project.write("main.ts", "");
  const folder = project.config.replace(/\/[^/]*$/, "");
  const [found] = (await assertRejects(() => loadConfig(project.config), ConfigError)).problems;
  assertEquals([found!.code, found!.key], ["app_folder", "app"]);
  assertEquals(found!.hint, `write the module in it, such as "${folder}/main.ts"`);
  for (const app of ["./server", "./server.ts", "./servr.js"]) {
    await Deno.writeTextFile(project.config, JSON.stringify({ app, listen: ["[::1]:80"] }));
    const [missing] = (await assertRejects(() => loadConfig(project.config), ConfigError)).problems;
    assertEquals([missing!.code, missing!.hint], [
      "app_missing",
      `did you mean "${folder}/server.js"?`,
    ]);
  }
});

/** Wrong values of `listen`, and the form that is answered. */
const LISTEN_FORMS: [unknown, string][] = [
  [8080, `["127.0.0.1:8080"]`],
  ["8080", `["127.0.0.1:8080"]`],
  [":8080", `["127.0.0.1:8080"]`],
  ["*:8080", `["127.0.0.1:8080"]`],
  ["0.0.0.0:80", `["0.0.0.0:80"]`],
  ["localhost", `["localhost:8080"]`],
  ["http://127.0.0.1:3000/", `["127.0.0.1:3000"]`],
  ["/run/app.sock", `["unix:/run/app.sock"]`],
  [{ port: 3000 }, `["127.0.0.1:3000"]`],
  [{ hostname: "0.0.0.0", port: 3000 }, `["0.0.0.0:3000"]`],
  [true, `["127.0.0.1:8080"]`],
  [[8080], `"127.0.0.1:8080"`],
  [["8080"], `"127.0.0.1:8080"`],
  [[":8080"], `"127.0.0.1:8080"`],
  [["http://127.0.0.1:3000"], `"127.0.0.1:3000"`],
  [["/run/app.sock"], `"unix:/run/app.sock"`],
  [[{ port: 3000 }], `"127.0.0.1:3000"`],
];

const [HTTPS, REDIRECT] = [
  '{ "https": "0.0.0.0:443", "cert": "./fullchain.pem", "key": "./privkey.pem" }',
  '{ "http": "0.0.0.0:80", "redirect": "https" }',
];

/** Objects that are no entry of `listen`, and the form that is answered. */
const LISTEN_OBJECTS: [object, string][] = [
  [{}, '"127.0.0.1:8080"'],
  [
    { https: "0.0.0.0:443", cert: "a" },
    '{ "https": "0.0.0.0:443", "cert": "a", "key": "./privkey.pem" }',
  ],
  [
    { https: "0.0.0.0:443", key: "b" },
    '{ "https": "0.0.0.0:443", "cert": "./fullchain.pem", "key": "b" }',
  ],
  [
    { https: "0.0.0.0:443", certs: [] },
    '"certs": [{ "cert": "./fullchain.pem", "key": "./privkey.pem" }]',
  ],
  [{ https: "0.0.0.0:443", certs: [{ cert: "a" }] }, '"certs": [{ "cert": '],
  [{ https: 443 }, HTTPS],
  [{ https: true }, HTTPS],
  [{ https: { port: 443 } }, HTTPS],
  [{ https: "0.0.0.0:443", cert: 1, key: 2 }, HTTPS],
  [{ https: "0.0.0.0:443", certificate: "a", privateKey: "b" }, HTTPS],
  [{ https: "0.0.0.0:443", mode: "0600" }, HTTPS],
  [{ https: "0.0.0.0:443", proxyProtocol: true }, HTTPS],
  [{ https: "0.0.0.0:443", redirect: "https" }, HTTPS],
  [{ ssl: "0.0.0.0:443" }, HTTPS],
  [{ tls: {} }, HTTPS],
  [{ port: 443, cert: "a", key: "b" }, '{ "https": "0.0.0.0:443", "cert": "a", "key": "b" }'],
  [{ cert: "a", key: "b" }, '{ "https": "0.0.0.0:443", "cert": "a", "key": "b" }'],
  [{ http: "0.0.0.0:80", https: "0.0.0.0:443" }, `two entries: ${HTTPS} and ${REDIRECT}`],
  [{ http: "0.0.0.0:80" }, `"0.0.0.0:80", or ${REDIRECT}`],
  [{ http: 80, redirect: "https" }, REDIRECT],
  [{ http: "0.0.0.0:80", redirect: true }, REDIRECT],
  [{ redirect: "https" }, REDIRECT],
  [
    { tcp: "127.0.0.1:80", proxyProtocol: true },
    '{ "http": "127.0.0.1:80", "proxyProtocol": true }',
  ],
  [
    { http: "127.0.0.1:80", proxyProtocol: "v2" },
    '{ "http": "127.0.0.1:80", "proxyProtocol": true }',
  ],
  [{ tcp: "127.0.0.1:80" }, '"127.0.0.1:80"'],
  [{ address: "0.0.0.0:80" }, '"0.0.0.0:80"'],
  [{ bind: 80 }, '"127.0.0.1:80"'],
  [{ unix: 4 }, '{ "unix": "./app.sock", "mode": "0660" }'],
  [{ unix: "/run/a.sock", mode: 600 }, '{ "unix": "/run/a.sock", "mode": "0660" }'],
  [{ socket: "/run/a.sock" }, '{ "unix": "/run/a.sock", "mode": "0660" }'],
  [{ mode: "0600" }, '{ "unix": "./app.sock", "mode": "0660" }'],
];

Deno.test("an object that is no entry of listen is answered with what it was meant to be", () => {
  for (const [entry, form] of LISTEN_OBJECTS) {
    const problems = problemsOf({ ...MINIMAL, listen: [entry] });
    assert(problems.length > 0, JSON.stringify(entry));
    for (const { hint } of problems) {
      assert(hint.includes(form), `${JSON.stringify(entry)}: ${hint}`);
      const written = hint.replace(/^write (two entries: )?/, "").replace("} and {", "}, {");
      const listen = JSON.parse(`[${written.replace(", or {", ", {")}]`);
      const wrong = problemsOf({
        ...MINIMAL,
        listen: listen.slice(0, form.includes(", or") ? 1 : 2),
      });
      assertEquals(wrong.map(({ code }) => code), [], hint);
    }
  }
});

Deno.test("HTTPS without a certificate is told of both ways to one", async () => {
  await using project = new Project({ app: "./app.ts", listen: [{ https: "0.0.0.0:443" }] });
  await project.write("app.ts", "");
  const { problems } = await assertRejects(() => loadConfig(project.config), ConfigError);
  assertEquals(problems.map(({ code }) => code), ["https_no_certificate"]);
  assertMatch(problems[0]!.hint, /"cert" and "key" beside it, or "acme"/);
});

Deno.test("a listen in another form is answered with the right one", () => {
  for (const [listen, form] of LISTEN_FORMS) {
    const problems = problemsOf({ ...MINIMAL, listen });
    assertEquals(problems.length, 1, JSON.stringify(listen));
    const { hint } = problems[0]!;
    assert(hint.includes(form), `${JSON.stringify(listen)}: ${hint}`);
    if (Array.isArray(listen)) continue;
    assertEquals(problemsOf({ ...MINIMAL, listen: JSON.parse(form) }), [], form);
  }
});

Deno.test("the path of a Unix socket in net starts at the config's folder, and has an end", async () => {
  const job = { module: "./app.ts", net: ["unix:b/../c.sock"] };
  await using project = new Project({ ...MINIMAL, net: ["unix:./a.sock"], helpers: { job } });
  await project.write("app.ts", "");
  const { folder, net, helpers } = await loadConfig(project.config);
  assertEquals(net, [`unix:${folder}/a.sock`]);
  assertEquals(helpers[0]!.net, [`unix:${folder}/c.sock`]);
  await using long = new Project({ ...MINIMAL, net: ["a.test", `unix:/${"a".repeat(107)}`] });
  await long.write("app.ts", "");
  const { problems } = await assertRejects(() => loadConfig(long.config), ConfigError);
  assertEquals(problems.map(({ code, key }) => `${key} ${code}`), ["net[1] net_path_long"]);
});

Deno.test("what a wildcard covers is refused, and [::] beside IPv4 takes IPv6 alone", async () => {
  const load = async (...listen: string[]) => {
    await using project = new Project({ app: "./app.ts", listen });
    await project.write("app.ts", "");
    return (await loadConfig(project.config)).listen;
  };
  for (
    const listen of [
      ["0.0.0.0:8000", "127.0.0.1:8000"],
      ["localhost:8000", "0.0.0.0:8000"],
      ["[::]:8000", "[::1]:8000"],
    ]
  ) {
    const { problems } = await assertRejects(() => load(...listen), ConfigError);
    assertEquals(problems.map(({ code }) => code), ["listen_covered"], String(listen));
  }
  const alone = { kind: "tcp", text: "[::]:8000", host: "::", port: 8000 } as const;
  assertEquals((await load("[::]:8000", "0.0.0.0:8001"))[0], alone);
  for (const beside of ["0.0.0.0:8000", "127.0.0.1:8000", "localhost:8000"]) {
    assertEquals((await load("[::]:8000", beside))[0], { ...alone, ipv6Only: true });
  }
});

Deno.test("the config must be a regular UTF-8 file of at most 1 MiB that exists", async () => {
  await using project = new Project();
  const { folder, config } = project;
  assertEquals(await loadCodes(`${folder}/none.jsonc`), ["config_unreadable"]);
  assertEquals(await loadCodes(folder), ["config_unreadable"]);
  assertEquals(await loadCodes("/dev/null"), ["config_unreadable"]);
  await Deno.writeFile(config, new Uint8Array([0x7b, 0xff, 0x7d]));
  assertEquals(await loadCodes(config), ["config_unreadable"]);
  const limit = 1024 * 1024;
  project.write("holdfast.jsonc", JSON.stringify(MINIMAL).padEnd(limit));
  assertEquals((await loadConfig(config)).file, config); // control
  project.write("holdfast.jsonc", JSON.stringify(MINIMAL).padEnd(limit + 1));
  assertEquals(await loadCodes(config), ["config_unreadable"]);
});

Deno.test("an account is a name or an id of the system's files, and never root", () => {
  const passwd = [
    "root:x:0:0:root:/root:/bin/sh",
    "toor:x:0:5:alias:/:/bin/sh",
    "web:x:33:34::/:/",
    "web:x:44:44:a second line does not count:/:/",
    "wheel:x:50:0::/:/",
    "minus:x:4294967295:60::/:/",
    "broken:x",
    "",
  ].join("\n");
  const groups = "root:x:0:\nweb:x:34:\ndata:x:70:web\n";
  const cases: [string, string | undefined, unknown][] = [
    ["web", undefined, { user: "web", uid: 33, gid: 34 }],
    ["33", undefined, { user: "web", uid: 33, gid: 34 }],
    ["web", "data", { user: "web", uid: 33, gid: 70 }],
    ["web", "70", { user: "web", uid: 33, gid: 70 }],
    ["9000", "9001", { user: "9000", uid: 9000, gid: 9001 }],
    ["wheel", "data", { user: "wheel", uid: 50, gid: 70 }],
    ["9000", undefined, "group_missing"],
    ["nobody", undefined, "user_unknown"],
    ["broken", undefined, "user_unknown"],
    ["web", "nogroup", "group_unknown"],
    ["root", undefined, "account_root"],
    ["0", "34", "account_root"],
    ["toor", undefined, "account_root"],
    ["wheel", undefined, "account_root"],
    ["web", "root", "account_root"],
    ["minus", undefined, "user_unknown"],
    ["4294967295", "34", "user_unknown"],
    ["4294967296", "34", "user_unknown"],
    ["9000", "4294967295", "group_unknown"],
  ];
  for (const [user, group, meant] of cases) {
    const found = findAccount({ passwd, groups }, user, group);
    assertEquals(found instanceof Refusal ? found.code : found, meant, `${user} ${group}`);
  }
});

Deno.test("resolveAccount reads the accounts of this machine", async () => {
  const found = await resolveAccount("root");
  assertEquals(found instanceof Refusal && found.code, "account_root");
});

Deno.test("every key of the schema has a description", () => {
  const undescribed: string[] = [];
  function visit(key: string, schema: { properties?: Record<string, unknown> }): void {
    for (const [name, value] of Object.entries(schema.properties ?? {})) {
      const inner = value as { description?: string; items?: { anyOf?: object[] } };
      if ((inner.description ?? "").length < 20) undescribed.push(`${key}${name}`);
      visit(`${key}${name}.`, inner as object);
      for (const branch of inner.items?.anyOf ?? []) visit(`${key}${name}[].`, branch);
    }
  }
  visit("", configJsonSchema() as object);
  assertEquals(undescribed, []);
  assertEquals(
    Object.keys(configJsonSchema().properties ?? {}),
    Object.keys(ConfigSchema.shape),
  );
});

Deno.test("every key has an example in the manual, and each is a config that is accepted", () => {
  const keys = [...configManual().matchAll(/^## `(.+)`$/gm)].map(([, key]) => key!);
  assertEquals(keys.toSorted(), Object.keys(EXAMPLES).toSorted());
  for (const key of keys) {
    const example: object = JSON.parse(`{${EXAMPLES[key]}}`);
    assertEquals(problemsOf({ ...MINIMAL, ...example }), [], key);
    assertStringIncludes(EXAMPLES[key]!, `"${key.split(".").at(-1)!}"`);
  }
});

Deno.test("the written JSON Schema and manual are those of the schema in the code", async () => {
  const docs = new URL("../docs/", import.meta.url);
  assertEquals(
    JSON.parse(await Deno.readTextFile(new URL("holdfast.schema.json", docs))),
    JSON.parse(JSON.stringify(configJsonSchema())),
  );
  assertEquals(await Deno.readTextFile(new URL("config.md", docs)), configManual());
});
