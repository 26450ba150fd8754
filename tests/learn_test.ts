/** What `holdfast learn` makes of what it saw, and `holdfast unused` of a log: decisions alone. */
import { assertEquals, assertMatch, assertStringIncludes, assertThrows } from "@std/assert";
import { HoldfastError } from "../lib/base/error.ts";
import { statesOf, UsedGrants } from "../lib/cli/grant_log.ts";
import type { Config } from "../lib/config/config.ts";
import { Accesses } from "../lib/learn/access.ts";
import { diffText, editText } from "../lib/learn/edit_config.ts";
import { type Line, type Place, placesOf, propose } from "../lib/learn/propose.ts";
import { parseRequests } from "../lib/learn/requests.ts";

const FOLDER = "/srv/app";
const THERE: Record<string, "file" | "folder"> = {
  ...{
    "/srv": "folder",
    [FOLDER]: "folder",
    "/srv/app/src": "folder",
    "/srv/app/public": "folder",
  },
  ...{ "/srv/app/data": "folder", "/srv/app/data/kept.txt": "file", "/srv/app/one.json": "file" },
  ...{ "/srv/app/two.json": "file", "/srv/app/public/a.css": "file", "/var/lib/x": "folder" },
  ...{ "/srv/app/public/b.css": "file", "/srv/app/public/img": "folder", "/etc": "folder" },
  ...{ "/srv/app/public/img/a.png": "file", "/srv/app/public/img/b.png": "file", "/": "folder" },
  ...{ "/etc/hosts": "file", "/etc/mime.types": "file", "/home/ada": "folder", "/tmp": "folder" },
  ...{ "/var": "folder", "/var/lib": "folder", "/srv/app/src/a.ts": "file" },
};

const place: Place = {
  folder: FOLDER,
  projects: [FOLDER],
  modules: [`${FOLDER}/src/main.ts`],
  home: "/home/ada",
  kindOf: (path) => THERE[path] ?? "missing",
  isSet: (name) => name !== "UNSET",
  refusedBy: ({ item }) => item === "/var/lib/refused/" ? "the check says no" : undefined,
};

type Seen = readonly [kind: string, what: string, more?: Record<string, unknown>];

function proposed(...seen: readonly Seen[]) {
  const accesses = new Accesses();
  for (const [kind, what, more = {}] of seen) {
    const from = `${FOLDER}/src/main.ts:1:1`;
    accesses.take("refused", { role: "worker", level: "warn", kind, what, from, ...more });
  }
  const { lines, apart } = propose(accesses.all, place);
  return [
    ...lines.map(({ process, key, item, rights = "" }) =>
      `${process === "worker" ? "" : `${process}: `}${key} ${item} ${rights}`.trim()
    ),
    ...apart.map(({ what }) => `not ${what}`),
  ];
}

const read = (path: string, more = {}): Seen => ["read", path, more];
const write = (path: string, op = "writeFile"): Seen => ["write", path, { op }];
const app = (path: string) => `${FOLDER}/${path}`;

/** What was seen, and what is proposed for it. */
const PROPOSALS: [string, Seen[], string[]][] = [
  ["one file", [read(app("public/a.css"))], ["unveil ./public/a.css r"]],
  ["files of a folder", [read(app("public/a.css")), read(app("public/b.css"))], [
    "unveil ./public r",
  ]],
  ["files of a folder and of one in it", [
    ...["a.css", "b.css", "img/a.png", "img/b.png"].map((name) => read(app(`public/${name}`))),
  ], ["unveil ./public r"]],
  ["files of the project, which is never opened as a whole", [
    ...["one.json", "two.json"].map((name) => read(app(name))),
  ], ["unveil ./one.json r", "unveil ./two.json r"]],
  ["the project's folder itself", [read(FOLDER)], [`not read ${FOLDER}`]],
  ["the home folder", [read("/home/ada"), write("/home/ada/x")], [
    ...["not read /home/ada", "not write /home/ada/x"],
  ]],
  ["files of /etc", [read("/etc/hosts"), read("/etc/mime.types")], [
    ...["unveil /etc/hosts r", "unveil /etc/mime.types r"],
  ]],
  ["a file that is written where it lies", [write(app("data/kept.txt"))], [
    "unveil ./data/kept.txt rw",
  ]],
  ["a file that is removed", [write(app("data/kept.txt"), "unlinkSync")], ["unveil ./data/ rwc"]],
  ["a file that is new", [write(app("data/new.txt"))], ["unveil ./data/ rwc"]],
  ["a folder that is not there yet", [write(app("up/loads"), "mkdirSync")], ["unveil ./up/ rwc"]],
  ["a new file in the project's folder", [write(app("new.txt"))], [`not write ${app("new.txt")}`]],
  ["a file of the project that is written", [write(app("one.json"))], ["unveil ./one.json rw"]],
  ["a database", [["database", app("data/db.sqlite")]], ["unveil ./data/ rwc"]],
  ["a database in the project's folder", [["database", app("db.sqlite")]], [
    `not database ${app("db.sqlite")}`,
  ]],
  ["what a folder has already", [read(app("data/kept.txt")), write(app("data/new.txt"))], [
    "unveil ./data/ rwc",
  ]],
  ["temporary files", [["write", "<TMP>"], write("/tmp/x"), write("/tmp")], ["tmp"]],
  ["what the check refuses", [write("/var/lib/refused", "mkdir")], [
    "not unveil /var/lib/refused/ rwc",
  ]],
  ["what was only looked for and is not there", [read(app("no.txt"), { level: "info" })], []],
  ["what was only looked for and is there", [read(app("one.json"), { level: "info" })], [
    "unveil ./one.json r",
  ]],
  ["what packages ship", [read(app("node_modules/x/y.json"))], [
    `not read ${app("node_modules/x/y.json")}`,
  ]],
  ["modes, which nobody may change", [["kernel", app("data/kept.txt"), { op: "chmod" }]], [
    `not kernel ${app("data/kept.txt")}`,
  ]],
  ["a rename that the kernel refused", [["kernel", app("data/kept.txt"), { op: "rename" }]], [
    "unveil ./data/ rwc",
  ]],
  ["variables", [["env", "TOKEN, UNSET, PORT"]], ["env TOKEN", "not env UNSET"]],
  ["a variable of a session that a package looks at", [["env", "TERM", { package: "chalk" }]], [
    "not env TERM",
  ]],
  ["a variable of a session that the app wants", [["env", "HOME"]], ["env HOME"]],
  ["hosts", [["net", "db.internal:5432"], ["net", `unix:${app("run/x.sock")}`]], [
    ...["net db.internal:5432", "net unix:./run/x.sock"],
  ]],
  ["facts", [["sys", "hostname"], ["sys", "cpus"]], ["sys hostname", "not sys cpus"]],
  ["programs, native code, code from the network", [
    ...["run", "ffi", "import"].map((kind): Seen => [kind, "x", { instead: "no" }]),
  ], ["not run x", "not ffi x", "not import x"]],
  ["a helper", [["net", "a.example:25", { role: "helper mail.0" }]], [
    "helper mail: net a.example:25",
  ]],
];

for (const [what, seen, expected] of PROPOSALS) {
  Deno.test(`learn proposes for ${what} the narrowest lines`, () => {
    assertEquals(proposed(...seen), expected);
  });
}

Deno.test("a proposal says the places in the app's code, and how often it was used", () => {
  const accesses = new Accesses();
  const event = { role: "worker", kind: "env", what: "TOKEN" };
  accesses.take("refused", { ...event, from: "/srv/app/src/main.ts:3:1", package: "pg" });
  accesses.take("refused_again", { role: "worker", refusals: "4 × env TOKEN; 2 × env OTHER" });
  accesses.take("grants_used", { role: "worker", grants: "2 × env TOKEN; 1 × net a:1" });
  accesses.take("grants_used", { role: "worker", grants: "3 × env TOKEN" });
  const [access] = accesses.all;
  assertEquals(access!.times, 5);
  assertEquals(placesOf([access!], place), "src/main.ts:3:1 (pg)");
  assertEquals(accesses.timesOf("worker", ["env TOKEN"]), 5);
  accesses.restart();
  assertEquals([access!.times, accesses.timesOf("worker", ["env TOKEN"])], [0, 0]);
});

Deno.test("requests are read from lines, from JSON and from access logs", () => {
  const bytes = new Uint8Array([1, 2]);
  const parsed = parseRequests(
    [
      "# a comment",
      "",
      "GET /a?b=c",
      "POST /form name=x",
      '{"method":"put","path":"/p","headers":{"x":"y"},"body":{"a":1}}',
      '{"time":"2026-01-01T00:00:00.000Z","method":"GET","path":"/log","status":200}',
      '127.0.0.1 - - [10/Oct/2000:13:55:36 +0000] "GET /common HTTP/1.1" 200 5',
      '{"method":"POST","path":"/up","form":{"name":"x","photo":"@pic/a.png"}}',
    ].join("\n"),
    "requests.txt",
    () => bytes,
  );
  assertEquals(parsed.map(({ method, path }) => `${method} ${path}`), [
    ...["GET /a?b=c", "POST /form", "PUT /p", "GET /log", "GET /common", "POST /up"],
  ]);
  assertEquals(parsed[2]!.body, '{"a":1}');
  const photo = (parsed[5]!.body as FormData).get("photo") as File;
  assertEquals([photo.name, photo.type, photo.size], ["a.png", "image/png", 2]);
  const error = assertThrows(
    () => parseRequests("GET /\nnonsense", "r.txt", () => bytes),
    HoldfastError,
  );
  assertMatch(error.message, /^r\.txt:2 is no request/);
});

Deno.test("lines are put into a config's text, which keeps its comments", () => {
  const line = (process: string, key: Line["key"], item: string, rights?: string): Line => ({
    ...{ process, key, item, seen: [] },
    ...rights !== undefined && { rights },
  });
  const text = `{
  // What is served.
  "app": "./main.ts", // here
  "unveil": { "./data": "r" }, /* and this */
  "env": ["A"],
  "helpers": { "mail": { "module": "./mail.ts" } }
}
`;
  const edited = editText(text, [
    line("worker", "unveil", "./data/", "rwc"),
    line("worker", "env", "A"),
    line("worker", "env", "B"),
    line("worker", "tmp", ""),
    line("helper mail", "net", "smtp.example:25"),
  ], FOLDER);
  for (const kept of ["// What is served.", "// here", "/* and this */"]) {
    assertStringIncludes(edited, kept);
  }
  const values = JSON.parse(edited.replace(/\/\/.*|\/\*.*?\*\//g, ""));
  assertEquals(values, {
    ...{ app: "./main.ts", unveil: { "./data": "rwc" }, env: ["A", "B"], tmp: true },
    helpers: { mail: { module: "./mail.ts", net: ["smtp.example:25"] } },
  });
  assertEquals(editText(edited, [line("worker", "unveil", "./data", "r")], FOLDER), edited);
  assertEquals(diffText("a\nb\nc\nd\ne", "a\nb\nx\nd\ne"), "  a\n  b\n- c\n+ x\n  d\n  e");
});

Deno.test("what a log does not tell of is unused, and what the runtime reads cannot be told", () => {
  const config = {
    ...{ runtime: "/srv/app/.holdfast", net: ["db:5432"], sys: ["uid"], tmp: true },
    env: ["TOKEN", "OLD", "TZ"],
    unveil: [
      { path: "/srv/app/data", rights: "rwc" },
      { path: "/srv/app/public", rights: "r" },
    ],
    helpers: [{ name: "mail", unveil: [], env: [], net: ["smtp:25"], sys: [], tmp: false }],
  } as unknown as Config;
  const event = (time: string, role: string, grants: string) =>
    JSON.stringify({ time, level: "info", event: "grants_used", role, grants });
  const lines = [
    '{"time":"2026-01-01T00:00:00.000Z","level":"info","event":"serving"}',
    event("2026-01-02T00:00:00.000Z", "worker", "1 × env OLD; 2 × unveil /srv/app/public r"),
    "no event",
    event("2026-01-05T00:00:00.000Z", "worker.1", "9 × env TOKEN; 1 × unveil /srv/app/data r"),
    event("2026-01-05T00:00:00.000Z", "worker", "1 × unveil /srv/app/.holdfast/tmp/x w"),
    // An app prints what it likes: a line of its own is no event.
    '{"time":"2026-01-05T00:00:00.000Z","event":"worker_output","role":"worker","grants":"1 × env OLD"}',
  ];
  const states = (since?: string) => {
    const used = new UsedGrants(since);
    for (const each of lines) used.take(each);
    return {
      begin: used.begin,
      mail: used.hasTold("helper mail"),
      found: statesOf(config, used).map(({ process, grant, state }) =>
        `${process}: ${grant}: ${state}`
      ),
    };
  };
  const all = [
    "worker: unveil /srv/app/data rwc: only read",
    "worker: unveil /srv/app/public r: used",
    "worker: env TOKEN: used",
    "worker: env OLD: used",
    "worker: env TZ: unseen",
    "worker: net db:5432: unused",
    "worker: sys uid: unused",
    "worker: tmp: used",
    "helper mail: net smtp:25: unused",
  ];
  assertEquals(states(), { begin: "2026-01-01T00:00:00.000Z", mail: false, found: all });
  const later = states("2026-01-04T00:00:00.000Z");
  assertEquals(later.begin, "2026-01-04T00:00:00.000Z");
  assertEquals(
    later.found.filter((each, index) => each !== all[index]),
    ["worker: unveil /srv/app/public r: unused", "worker: env OLD: unused"],
  );
});
