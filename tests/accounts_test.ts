/** Which account each process has, and which paths hold it back. */
import { assert, assertEquals, assertThrows } from "@std/assert";
import { HoldfastError } from "../lib/base/error.ts";
import type { Config, HelperConfig, Unveil } from "../lib/config/config.ts";
import { type Files, judgePaths } from "../lib/planner/judge_paths.ts";
import { IDS, type OwnAccount, ownAccounts } from "../lib/sandbox/accounts.ts";
import { makeConfig } from "./harness/config.ts";

const ACCOUNT = { user: "www", uid: 33, gid: 33 };

function grant(path: string, rights: string): Unveil {
  return { path, rights, exists: true, folder: true };
}

function helper(name: string, unveil: Unveil[] = []): HelperConfig {
  const { app, env, net, limits } = makeConfig();
  return {
    ...{ app, env, net, limits, name, unveil, account: undefined },
    ...{ instances: 1, concurrency: 1, timeoutMs: 1, restart: "always" },
  };
}

function everything(changes: Partial<Config> = {}): Config {
  const { log } = makeConfig();
  return makeConfig({
    unveil: [grant("/srv/app/data", "rwc")],
    helpers: [helper("one"), helper("two")],
    log: { ...log, folder: "/srv/app/log" },
    metrics: { listen: { kind: "tcp", text: "127.0.0.1:1", host: "127.0.0.1", port: 1 } },
    ...changes,
  });
}

Deno.test("each process has an account of its own, the same at each start, and of Holdfast's range", () => {
  const acme = { names: ["a.test"], directory: "https://10.0.0.1/dir", listen: [] };
  const accounts = ownAccounts(everything({ acme }));
  assertEquals(Object.keys(accounts).sort(), [
    ...["acme", "helper one", "helper two", "logger", "metrics", "worker"],
  ]);
  assertEquals(ownAccounts(everything({ acme })), accounts);
  const ids = Object.values(accounts).map(({ uid }) => uid);
  assertEquals(new Set(ids).size, 6);
  for (const id of ids) assert(id >= IDS.first && id < IDS.end);
  // systemd's containers and foreign ids, directory services, and what is no id.
  assert(IDS.first > 2_000_200_000 && IDS.end <= 0x7ffe_0000);
  const other = Object.values(ownAccounts(everything({ named: "/srv/other/holdfast.jsonc" })));
  assertEquals(other.filter(({ uid }) => ids.includes(uid)), []);
  // By their group workers and helpers come to their code; nobody else has it.
  const group = accounts["worker"]!.gid;
  assertEquals(accounts["helper one"]!.gid, group);
  // And the acme process to its folder, which is in the runtime folder too.
  assertEquals(accounts["acme"]!.gid, group);
  for (const who of ["logger", "metrics"] as const) {
    assertEquals(accounts[who]!.gid, accounts[who]!.uid);
  }
});

Deno.test("a user in the config is the worker's, and its group the helpers'", () => {
  const accounts = ownAccounts(everything({ account: ACCOUNT }));
  assertEquals([accounts["worker"]!.uid, accounts["worker"]!.gid], [33, 33]);
  assertEquals(accounts["helper one"]!.gid, 33);
  assert(accounts["helper one"]!.uid !== 33);
  assert(accounts["metrics"]!.uid !== 33 && accounts["metrics"]!.gid !== 33);
});

Deno.test("those that share a folder, and change it, let their group write", () => {
  const data = grant("/srv/app/data", "rwc");
  const shares = (...helpers: HelperConfig[]) => {
    const accounts = ownAccounts(everything({ helpers }));
    return Object.entries(accounts).filter(([, { shares }]) => shares).map(([who]) => who);
  };
  assertEquals(shares(helper("one")), []);
  assertEquals(shares(helper("one", [data]), helper("two")), ["worker", "helper one"]);
  assertEquals(shares(helper("one", [grant("/srv/app/data/in", "r")])), ["worker", "helper one"]);
  assertEquals(shares(helper("one", [grant("/srv/app/data2", "rwc")])), []);
});

type Modes = Record<string, [uid: number, gid: number, mode: number]>;

function filesOf(modes: Modes, texts: Record<string, string>): Files {
  return {
    read: (path) => texts[path] ?? "",
    look: (path) => {
      const [uid, gid, mode] = modes[path] ?? [null, null, null];
      return { uid, gid, mode };
    },
    real: (path) => path,
    list: (path) =>
      Object.keys(modes).flatMap((each) =>
        each.startsWith(`${path}/`) ? [each.slice(path.length + 1)] : []
      ),
  };
}

/** Who is held back by which path, and what is closed to who runs. */
function judge(config: Config, modes: Modes, place = {}, texts = {}) {
  const accounts = ownAccounts(config);
  const { held, closed } = judgePaths(config, accounts, {
    ...{ isRoot: true, code: "/srv/app/.holdfast/images", program: "/root/bin/deno", ...place },
  }, filesOf({ "/root": [0, 0, 0o700], "/srv": [0, 0, 0o755], ...modes }, texts));
  return {
    held: Object.fromEntries(held.map(({ process, path }) => [process, path])),
    hints: held.map(({ hint }) => hint),
    closed: closed.map(({ path }) => path),
  };
}

const EVERYBODY = ["worker", "helper one", "helper two", "logger"];

function all(path: string, ...names: string[]): Record<string, string> {
  return Object.fromEntries(names.map((name) => [name, path]));
}

Deno.test("a process is held back by a path that its account lacks, and the hint mends it", () => {
  const config = everything();
  const { worker, logger } = ownAccounts(config) as Record<string, OwnAccount>;
  assertEquals(judge(config, {}), { held: {}, hints: [], closed: [] });
  // The runtime folder is opened to the group; the deno program may lie below a home.
  const { uid, gid } = worker!;
  assertEquals(
    judge(config, {
      "/srv/app/.holdfast": [0, 0, 0o700],
      "/srv/app/data": [uid, gid, 0o700],
      "/srv/app/log": [logger!.uid, logger!.gid, 0o700],
    }).held,
    {},
  );
  const data = judge(config, { "/srv/app/data": [0, 0, 0o755] });
  assertEquals(data.held, { worker: "/srv/app/data" });
  assertEquals(data.hints, [`Try: chown -R ${uid}:${gid} '/srv/app/data'`]);
  const log = judge(config, { "/srv/app/log": [0, 0, 0o700] });
  assertEquals(log.held, { logger: "/srv/app/log" });
  assertEquals(log.hints, [`Try: chown -R ${logger!.uid}:${logger!.gid} '/srv/app/log'`]);
  const home = judge(config, { "/srv/app": [0, 0, 0o700] });
  assertEquals(home.held, {
    ...all("/srv/app/.holdfast/images", "worker", "helper one", "helper two"),
    logger: "/srv/app/log",
  });
  const program = judge(config, { "/root/bin/deno": [0, 0, 0o700] });
  assertEquals(program.held, all("/root/bin/deno", ...EVERYBODY, "metrics"));
});

Deno.test("what an earlier version made in a folder that is open holds back, others' files do not", () => {
  const open: Modes = { "/srv/app/data": [0, 0, 0o777] };
  const held = (file: string, facts: Modes[string]) =>
    judge(everything(), { ...open, [`/srv/app/data/${file}`]: facts }).held;
  assertEquals(held("guests.db", [0, 0, 0o644]), { worker: "/srv/app/data" });
  assertEquals(held("guests.db", [0, 0, 0o666]), {});
  assertEquals(held("theirs", [1000, 1000, 0o600]), {});
  assertEquals(held("lost+found", [0, 0, 0o700]), {});
});

Deno.test("what is closed to root without capabilities too holds nobody back, and is told", () => {
  const config = everything();
  assertEquals(judge(config, { "/srv/app/data": [33, 33, 0o700] }), {
    ...{ held: {}, hints: [], closed: ["/srv/app/data"] },
  });
  const error = assertThrows(
    () => judge(config, { "/srv/app": [33, 33, 0o700] }),
    HoldfastError,
    "cannot enter /srv/app,",
  );
  assertEquals([error.kind, error.code], ["config", "code_unreadable"]);
});

Deno.test("those that share a folder are held back together; with a user nobody is for it", () => {
  const config = everything({
    helpers: [
      helper("one", [grant("/srv/app/data", "rwc"), grant("/srv/photos", "r")]),
      helper("two"),
    ],
  });
  const modes: Modes = { "/srv/photos": [0, 0, 0o700] };
  assertEquals(judge(config, modes).held, all("/srv/photos", "worker", "helper one"));
  const { account: _, ...ofRoot } = config;
  const ofUser = { ...ofRoot, account: ACCOUNT };
  assertEquals(judge(ofUser, { "/srv/photos": [33, 33, 0o700] }).held, {
    "helper one": "/srv/photos",
  });
});

Deno.test("who is not root, or leaves all to Deno's layer, has nothing judged", () => {
  const modes: Modes = { "/srv/app": [0, 0, 0o700] };
  const nothing = { held: {}, hints: [], closed: [] };
  assertEquals(judge(everything(), modes, { isRoot: false }), nothing);
  assertEquals(judge(everything({ wall: "deno" }), modes), nothing);
});

Deno.test("an id that this machine gives to somebody else is not used", () => {
  const config = everything();
  const { logger, worker } = ownAccounts(config) as Record<string, OwnAccount>;
  const held = (path: string, text: string) => judge(config, {}, {}, { [path]: text }).held;
  const root = "root:x:0:0:root:/root:/bin/sh\n";
  assertEquals(held("/etc/passwd", root), {});
  assertEquals(held("/etc/passwd", `${root}log:x:${logger!.uid}:1::/:/bin/sh\n`), {
    logger: "/etc/passwd",
  });
  assertEquals(held("/etc/subuid", `alice:${IDS.first}:${IDS.end - IDS.first}\n`), {
    ...all("/etc/subuid", ...EVERYBODY, "metrics"),
  });
  const ofGroup = all("/etc/group", "worker", "helper one", "helper two");
  assertEquals(held("/etc/group", `app:x:${worker!.gid}:\n`), ofGroup);
});
