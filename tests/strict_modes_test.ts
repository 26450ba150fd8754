/** Who may change what decides what runs: a start and a reload are refused where somebody else may. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { Config } from "../lib/config/config.ts";
import { checkModes, type Look, type ModesSystem } from "../lib/planner/strict_modes.ts";
import { parseUsers } from "../lib/planner/users.ts";
import { makeConfig } from "./harness/config.ts";
import { testWith } from "./harness/needs.ts";
import { Project } from "./harness/project.ts";
import { runCommand, Server } from "./harness/server.ts";

const USERS = parseUsers(
  [
    "root:x:0:0::/root:/bin/bash",
    "www:x:33:33::/var/www:/usr/sbin/nologin",
    "ada:x:1000:1000::/home/ada:/bin/bash",
    "bob:x:1001:1001::/home/bob:/bin/bash",
  ].join("\n"),
  ["root:x:0:", "www:x:33:", "staff:x:50:", "ada:x:1000:", "bob:x:1001:", "team:x:2000:ada,bob"]
    .join("\n"),
);
const WWW = { user: "www", uid: 33, gid: 33 };

/** Owner, group and mode of what is not root's with 0755. */
type Modes = Record<string, readonly [uid: number, gid: number, mode: number, dev?: number]>;

interface Case {
  /** Who starts Holdfast; root if nobody is named. */
  readonly uid?: number;
  readonly account?: Config["account"];
  readonly modes?: Modes;
  readonly links?: Record<string, string>;
  readonly settings?: readonly string[];
  readonly change?: Partial<Config>;
}

/** What is refused and what is warned of, by paths: `- PATH` and `? PATH`. */
function judge(
  { uid = 0, account, modes = {}, links = {}, settings = [], change }: Case,
): string[] {
  const system: ModesSystem = {
    uid,
    users: USERS,
    // Of what is looked for in folders above, only what is named.
    exists: (path) => path in modes,
    look(path): Look {
      const [owner, gid, mode, dev = 1] = modes[path] ?? [0, 0, 0o755];
      return {
        uid: owner,
        gid,
        mode,
        dev,
        isDirectory: !/\.\w+$/.test(path),
        isSymlink: path in links,
      };
    },
    readLink: (path) => links[path]!,
    ownFiles: ["/opt/holdfast/lib/a.ts"],
  };
  const { problems, warnings } = checkModes(
    makeConfig({
      ...{ file: "/srv/conf/h.jsonc", named: "/srv/conf/h.jsonc", folder: "/srv/conf" },
      ...{ app: { module: "/srv/app/src/main.ts", project: "/srv/app" }, account },
      ...{ runtime: "/run/h", ...change },
    }),
    {
      ...{ denoDir: "/cache/deno", denoProgram: "/opt/deno/deno", holdfast: "/opt/holdfast" },
      ...{ modules: ["/srv/app/src/main.ts"], settings },
    },
    system,
  );
  return [
    ...problems.map(({ message }) => `- ${/"(.*?)"/.exec(message)![1]}`),
    ...warnings.map(({ path }) => `? ${path}`),
  ];
}

/** What the process that starts Holdfast runs or trusts itself. */
const STRICT = [
  ...["/srv/conf/h.jsonc", "/srv/conf", "/opt/deno/deno", "/opt/deno", "/opt/holdfast"],
  ...["/opt/holdfast/lib", "/opt/holdfast/lib/a.ts", "/run/h", "/cache/deno", "/cache/deno/npm"],
];

/** The app's own. */
const APP = ["/srv/app", "/srv/app/src", "/srv/app/src/main.ts"];

Deno.test("what everybody may write is refused, on every way and for whoever starts", () => {
  for (const uid of [0, 1000]) {
    assertEquals(judge({ uid }), []); // control
    for (const path of [...STRICT, ...APP, "/srv", "/opt", "/"]) {
      assertEquals(judge({ uid, modes: { [path]: [0, 0, 0o777] } }), [`- ${path}`], path);
    }
  }
});

Deno.test("a sticky folder such as /tmp is fine on the way, and no place for what is found in it", () => {
  const modes = (more: Modes = {}): Modes => ({ "/srv": [0, 0, 0o1777], ...more });
  assertEquals(judge({ modes: modes() }), []);
  // Anybody could have put it there, and it decides what runs below it.
  assertEquals(judge({ modes: modes({ "/srv/deno.json": [1001, 1001, 0o644] }) }), [
    "- /srv/deno.json",
  ]);
  assertEquals(judge({ modes: modes({ "/srv/node_modules": [33, 33, 0o755] }) }), [
    "- /srv/node_modules",
  ]);
  assertEquals(judge({ modes: modes({ "/srv/deno.json": [0, 0, 0o644] }) }), []);
  assertEquals(judge({ uid: 1000, modes: modes({ "/srv/deno.json": [1000, 1000, 0o644] }) }), []);
  // The way ends in it: whatever is looked for there, anybody can put there.
  assertEquals(judge({ modes: { "/srv/app": [0, 0, 0o1777] } }), ["- /srv/app"]);
});

Deno.test("what root runs itself is refused where a group may write it, and told where somebody owns it", () => {
  for (const path of STRICT) {
    assertEquals(judge({ modes: { [path]: [0, 2000, 0o775] } }), [`- ${path}`], path);
    // As in a container with a folder of the host's, or where somebody else deploys.
    assertEquals(judge({ modes: { [path]: [1000, 1000, 0o755] } }), [`? ${path}`], path);
    assertEquals(judge({ modes: { [path]: [1000, 1000, 0o775] } }), [`? ${path}`], path);
    assertEquals(judge({ modes: { [path]: [1234, 1234, 0o775] } }), [`? ${path}`], path);
    assertEquals(
      judge({ modes: { [path]: [1234, 2345, 0o775] } }).includes(`- ${path}`),
      true,
      path,
    );
    // Nobody is in that group; nobody but root is in root's.
    assertEquals(judge({ modes: { [path]: [0, 50, 0o2775] } }), [], path);
    assertEquals(judge({ modes: { [path]: [0, 0, 0o775] } }), [], path);
  }
});

Deno.test("a deploy user and a team own an app that root starts, and the workers' account does not", () => {
  for (const path of APP) {
    for (const owned of [[1000, 1000, 0o755], [1000, 2000, 0o2775], [0, 2000, 0o775]] as const) {
      assertEquals(judge({ account: WWW, modes: { [path]: owned } }), [], path);
    }
    for (const owned of [[33, 33, 0o755], [0, 33, 0o775], [1000, 33, 0o2775]] as const) {
      assertEquals(judge({ account: WWW, modes: { [path]: owned } }), [`- ${path}`], path);
      assertEquals(judge({ modes: { [path]: owned } }), [], path); // control: others' account
    }
  }
  for (const path of STRICT) {
    assertEquals(judge({ account: WWW, modes: { [path]: [33, 0, 0o755] } }), [`- ${path}`], path);
  }
  const log = { ...makeConfig().log, folder: "/log/app" };
  assertEquals(judge({ account: WWW, change: { log }, modes: { "/log": [101, 102, 0o775] } }), []);
  assertEquals(judge({ account: WWW, change: { log }, modes: { "/log": [33, 0, 0o755] } }), [
    "- /log",
  ]);
});

Deno.test("an ordinary user runs a checkout with umask 002, and nothing that another user may write", () => {
  const uid = 1000;
  const checkout = Object.fromEntries(
    [...STRICT, ...APP].map((path) => [path, [1000, 1000, 0o775] as const]),
  );
  const found = judge({ uid, modes: checkout });
  assert(found.every((each) => each.startsWith("?")) && found.length === 1, found.join());
  for (const path of STRICT) {
    assertEquals(judge({ uid, modes: { [path]: [1000, 1000, 0o755] } }), [], path);
    assertEquals(judge({ uid, modes: { [path]: [1001, 1001, 0o755] } }), [`- ${path}`], path);
    assertEquals(judge({ uid, modes: { [path]: [1000, 2000, 0o775] } }), [`- ${path}`], path);
    assertEquals(judge({ uid, modes: { [path]: [0, 1001, 0o775] } }), [`- ${path}`], path);
  }
  for (const path of APP) {
    assertEquals(judge({ uid, modes: { [path]: [1001, 1001, 0o755] } }), [], path);
    assertEquals(judge({ uid, modes: { [path]: [1000, 2000, 0o2775] } }), [`? ${path}`], path);
  }
});

Deno.test("links count on both of their ways, and volumes that a container mounts for everybody are told", () => {
  const links = { "/srv/app/src": "/releases/5" };
  assertEquals(judge({ links, modes: { "/releases": [0, 0, 0o777] } }), ["- /releases"]);
  assertEquals(judge({ links, modes: { "/srv/app/src": [0, 0, 0o777] } }), []);
  assertEquals(
    judge({ links, account: WWW, modes: { "/srv/app/src": [33, 33, 0o777] } }),
    ["- /srv/app/src"],
  );
  const settings = ["/maps/in/imports.json"];
  assertEquals(judge({ settings, modes: { "/maps/in": [0, 0, 0o777] } }), ["- /maps/in"]);
  assertEquals(
    judge({ settings, modes: { "/maps": [0, 0, 0o777, 2] } }),
    ["? /maps"],
  );
  // Without a number for root, as in a namespace of an ordinary user.
  const hidden: Modes = { "/": [65_534, 65_534, 0o755], "/opt": [65_534, 65_534, 0o775] };
  assertEquals(judge({ uid: 1000, modes: hidden }), []);
  assertEquals(judge({ uid: 1000, modes: { "/opt": [65_534, 65_534, 0o755] } }), ["- /opt"]);
});

const CHANGES: Record<string, (project: Project) => Promise<string>> = {
  async "the app's module, open to everybody"(project) {
    await Deno.chmod(project.path("app.ts"), 0o666);
    return project.path("app.ts");
  },
  async "the config, open to everybody"(project) {
    await Deno.chmod(project.configFile, 0o646);
    return project.configFile;
  },
  async "a folder on the way, open to everybody"(project) {
    await Deno.chmod(project.folder, 0o757);
    return project.folder;
  },
  async "an import map, open to everybody"(project) {
    await project.write("maps/map.json", JSON.stringify({ imports: {} }));
    await project.write("deno.json", JSON.stringify({ importMap: "./maps/map.json" }));
    await Deno.chmod(project.path("maps"), 0o777);
    return project.path("maps");
  },
};

Deno.test("a reload is refused with the path, its owner, its mode and what mends it, and the old version goes on", async (t) => {
  await using server = await Server.start({ config: { reload: { idleGraceMs: 100 } } });
  const { project } = server;
  for (const [what, change] of Object.entries(CHANGES)) {
    await t.step(what, async () => {
      const path = await change(project);
      const mode = (Deno.statSync(path).mode! & 0o7777).toString(8).padStart(4, "0");
      const refused = await server.reload();
      assertEquals(refused.outcome, "refused");
      assertStringIncludes(refused.reason!, `"${path}"`);
      assertStringIncludes(refused.reason!, `mode ${mode}`);
      const [mend] = /chmod o-w [^ ;,]+/.exec(refused.reason!)!;
      assertEquals(mend, `chmod o-w ${path}`);
      assertStringIncludes(await server.text(), "one");
      await new Deno.Command("sh", { args: ["-c", mend] }).output();
    });
  }
  assertEquals((await server.reload()).outcome, "done");
});

Deno.test("check is refused in the same words, exit 78, and warns of an unveiled secret", async () => {
  await using project = await Project.create({ config: { unveil: { "/etc/shadow": "r" } } });
  const good = await runCommand(project, "check");
  assertEquals(good.code, 0, good.stderr);
  assertStringIncludes(good.stderr, "secret_unveiled");
  await Deno.chmod(project.path("app.ts"), 0o666);
  const { code, stderr } = await runCommand(project, "check");
  assertEquals(code, 78);
  assertStringIncludes(stderr, `chmod o-w ${project.path("app.ts")}`);
});

testWith(
  { root: true },
  "root is told of a config that is another user's, and refuses one that a group may write",
  async () => {
    await using server = await Server.start({ config: { reload: { idleGraceMs: 100 } } });
    const { project } = server;
    await Deno.chown(project.configFile, 12_345, 12_345);
    assertEquals((await server.reload()).outcome, "done");
    const [warning] = server.eventsOf("path_open_to_others");
    assertEquals(warning?.path, project.configFile);
    assertStringIncludes(String(warning?.hint), "uid 12345");
    await Deno.chown(project.configFile, 0, 12_345);
    await Deno.chmod(project.configFile, 0o664);
    const { outcome, reason } = await server.reload();
    assertEquals(outcome, "refused");
    assertStringIncludes(reason!, `chmod g-w ${project.configFile}`);
  },
);
