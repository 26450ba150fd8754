import { assertEquals, assertStringIncludes } from "@std/assert";
import { checkConfig, type CheckFacts } from "../lib/config/check.ts";
import type { CheckSystem } from "../lib/config/check_system.ts";
import type { Config } from "../lib/config/config.ts";
import { loadConfig } from "../lib/config/load.ts";
import { covers } from "../lib/base/covers.ts";
import { foldersAbove, followPath } from "../lib/config/paths.ts";
import {
  homesOf,
  librariesOf,
  machinePlaces,
  unveiledSecrets,
} from "../lib/config/system_paths.ts";
import { makeConfig } from "./harness/config.ts";

const FACTS: CheckFacts = {
  denoDir: "/var/cache/deno",
  denoProgram: "/opt/deno/bin/deno",
  modules: ["/srv/app/src/main.ts", "/srv/app/src/lib/page.ts", "/srv/shared/util.ts"],
  settings: ["/srv/maps/imports.json"],
  holdfast: "/opt/holdfast",
};

const CONFIG = makeConfig({
  file: "/srv/conf/holdfast.jsonc",
  named: "/srv/conf/holdfast.jsonc",
  folder: "/srv/conf",
  app: { module: "/srv/app/src/main.ts", project: "/srv/app" },
  listen: [
    { kind: "tcp", text: "127.0.0.1:8000", host: "127.0.0.1", port: 8000 },
    { kind: "unix", text: "unix:/run/web/http.sock", path: "/run/web/http.sock", mode: 0o600 },
  ],
  runtime: "/run/holdfast",
});

const PLACES = { homes: ["/root", "/home/user"], libraries: ["/opt/glibc/lib"] };

/** The codes that these unveils of {@link CONFIG} get, on a machine with these symbolic links. */
function check(
  unveil: Record<string, string>,
  { links = {}, missing = [], ...change }:
    & { links?: Record<string, string>; missing?: string[] }
    & Partial<Config & CheckFacts> = {},
): string[] {
  const system: CheckSystem = {
    uid: 0,
    readLink: (path) => links[path],
    exists: (path) => !missing.includes(path),
    places: PLACES,
  };
  const unveils = Object.entries(unveil).map(([path, rights]) => ({
    path: path.replace(/(.)\/$/, "$1"),
    rights,
    folder: path.endsWith("/"),
    exists: !missing.includes(path.replace(/(.)\/$/, "$1")),
  }));
  const config = { ...CONFIG, ...change, unveil: unveils };
  return checkConfig(config, { ...FACTS, ...change }, system).map(({ code }) => code);
}

Deno.test("data beside the code may be read, written and created in", () => {
  assertEquals(
    check({
      "/srv/app/data": "rwc",
      "/srv/app/public": "r",
      "/srv/app/src/assets": "r",
      "/srv/app/src/uploads": "rwc",
      "/srv/conf/state": "rw",
      "/srv/data": "rwc",
      "/usr/share/zoneinfo": "r",
      "/dev/null": "rw",
      "/sys/fs/cgroup": "r",
    }),
    [],
  );
});

Deno.test("no path that the next reload would run can be written, and each can be read", () => {
  const cases: [string, string][] = [
    ["/srv/app/src/main.ts", "unveil_over_module"],
    ["/srv/app/src", "unveil_over_module"],
    ["/srv/app/src/lib", "unveil_over_module"],
    ["/srv/shared", "unveil_over_module"],
    ["/srv/shared/util.ts", "unveil_over_module"],
    ["/srv/app", "unveil_over_module"],
    ["/srv/app/deno.json", "unveil_over_settings"],
    ["/srv/app/deno.jsonc", "unveil_over_settings"],
    ["/srv/app/package.json", "unveil_over_settings"],
    ["/srv/app/deno.lock", "unveil_over_settings"],
    ["/srv/app/.npmrc", "unveil_over_settings"],
    ["/srv/app/.env", "unveil_over_settings"],
    ["/srv/app/src/package.json", "unveil_over_settings"],
    ["/srv/maps", "unveil_over_settings"],
    ["/srv/app/src/lib/deno.json", "unveil_over_settings"],
    ["/srv/deno.json", "unveil_over_settings"],
    ["/package.json", "unveil_over_settings"],
    ["/srv/app/node_modules", "unveil_over_node_modules"],
    ["/srv/app/node_modules/hono", "unveil_over_node_modules"],
    ["/srv/node_modules", "unveil_over_node_modules"],
    ["/elsewhere/node_modules/x", "unveil_over_node_modules"],
    ["/srv/conf/holdfast.jsonc", "unveil_over_config"],
    ["/srv/conf", "unveil_over_config"],
    ["/srv", "unveil_over_config"],
    ["/var/cache/deno", "unveil_over_cache"],
    ["/var/cache/deno/npm/x", "unveil_over_cache"],
    ["/var/cache", "unveil_over_cache"],
    ["/opt/deno/bin/deno", "unveil_over_program"],
    ["/opt/deno/bin", "unveil_over_program"],
    ["/opt/deno", "unveil_over_program"],
    ["/opt/holdfast", "unveil_over_holdfast"],
    ["/opt/deno.json", "unveil_over_holdfast"],
    ["/opt/holdfast/lib", "unveil_over_holdfast"],
    ["/opt/holdfast/worker.ts", "unveil_over_holdfast"],
    ["/run/web", "unveil_over_listener"],
    ["/run/web/http.sock", "unveil_over_listener"],
  ];
  for (const [path, code] of cases) {
    for (const rights of ["w", "c", "rw", "rwc"]) {
      assertEquals(check({ [path]: rights }), [code], `${path} ${rights}`);
    }
    assertEquals(check({ [path]: "r" }), [], `${path} r`);
  }
});

Deno.test("the project folder stays out of reach even when the module lies elsewhere", () => {
  const app = { module: "/m/main.ts", project: "/srv/project", lockfile: undefined };
  const change = { app, modules: [] };
  assertEquals(check({ "/srv/project": "rwc" }, change), ["unveil_over_project"]);
  assertEquals(check({ "/srv/project/data": "rwc" }, change), []);
});

Deno.test("nothing of the control socket's folder can even be read", () => {
  for (const rights of ["r", "w", "c", "rwc"]) {
    for (const path of ["/run/holdfast", "/run/holdfast/control.sock", "/run"]) {
      assertEquals(check({ [path]: rights }), ["unveil_over_runtime"], `${path} ${rights}`);
    }
    assertEquals(check({ "/run/holdfast-data": rights }), []);
  }
});

const LOG = { ...CONFIG.log, folder: "/srv/log/web" };

Deno.test("nothing of the log folder can even be read, from above, from within or by a link", () => {
  for (const rights of ["r", "w", "c", "rw", "rwc"]) {
    for (
      const path of ["/srv/log/web", "/srv/log/web/access.log", "/srv/log/web/deeper", "/srv/log"]
    ) {
      assertEquals(check({ [path]: rights }, { log: LOG }), ["unveil_over_log"], path + rights);
      // Without a log there is nothing to guard.
      assertEquals(check({ [path]: rights }), []);
    }
    assertEquals(check({ "/srv/log/web-data": rights }, { log: LOG }), []);
    const links = { "/srv/data/link": "/srv/log/web" };
    assertEquals(check({ "/srv/data/link": rights }, { log: LOG, links }), ["unveil_over_log"]);
  }
  // The log's own path leads over a link that the app could replace.
  const links = { "/srv/data/log": "/srv/log/web" };
  const log = { ...LOG, folder: "/srv/data/log" };
  assertEquals(check({ "/srv/data": "rwc" }, { log, links }), ["unveil_over_log"]);
  assertEquals(check({ "/srv/log": "r" }, { log, links }), ["unveil_over_log"]);
});

Deno.test("the log folder lies over nothing that runs, decides or commands, and inside of none", () => {
  const cases: [string, string[]][] = [
    ["/srv/log/web", []],
    ["/srv/app/log", []],
    ["/var/log/holdfast", []],
    ["/srv/app", ["log_misplaced"]],
    ["/srv/app/src", ["log_misplaced"]],
    ["/srv/app/src/lib", ["log_misplaced"]],
    ["/srv/app/node_modules", ["log_misplaced"]],
    ["/srv/app/node_modules/log", ["log_misplaced"]],
    ["/srv/conf", ["log_misplaced"]],
    ["/srv", ["log_misplaced"]],
    ["/run/holdfast", ["log_misplaced"]],
    ["/run/holdfast/log", ["log_misplaced"]],
    ["/run", ["log_misplaced"]],
    ["/run/web", ["log_misplaced"]],
    ["/var/cache/deno", ["log_misplaced"]],
    ["/var/cache/deno/log", ["log_misplaced"]],
    ["/var/cache", ["log_misplaced"]],
    ["/opt/deno/bin", ["log_misplaced"]],
    ["/opt/holdfast", ["log_misplaced"]],
    ["/opt/holdfast/log", ["log_misplaced"]],
    ["/", ["log_system"]],
    ["/proc/1", ["log_system"]],
    ["/sys", ["log_system"]],
    ["/dev/shm/log", ["log_system"]],
  ];
  for (const [folder, codes] of cases) {
    assertEquals(check({}, { log: { ...LOG, folder } }), codes, folder);
    const links = { "/elsewhere": folder };
    assertEquals(check({}, { log: { ...LOG, folder: "/elsewhere" }, links }), codes, folder);
  }
});

Deno.test("a log folder that is not there is made, unless its own folder is missing too", () => {
  assertEquals(check({}, { log: LOG, missing: ["/srv/log/web"] }), []);
  assertEquals(check({}, { log: LOG, missing: ["/srv/log/web", "/srv/log"] }), ["log_missing"]);
});

Deno.test("the root folder, other processes and devices cannot be unveiled", () => {
  const cases: [string, string, string][] = [
    ["/", "r", "unveil_root"],
    ["/", "rwc", "unveil_root"],
    ["/proc", "r", "unveil_system"],
    ["/proc/self/environ", "r", "unveil_system"],
    ["/sys", "r", "unveil_system"],
    ["/sys/kernel", "w", "unveil_system"],
    ["/dev", "r", "unveil_system"],
    ["/dev/sda", "rw", "unveil_system"],
    ["/dev/mem", "r", "unveil_system"],
    ["/dev/shm", "rwc", "unveil_system"],
  ];
  for (const [path, rights, code] of cases) {
    assertEquals(check({ [path]: rights }), [code], `${path} ${rights}`);
  }
  assertEquals(check({ "/processes": "rwc", "/development": "rwc", "/dev/urandom": "r" }), []);
});

const WRITING = ["w", "c", "rwc"];

Deno.test("nothing that the system, a login or every program runs can be written, and a folder of the app's own beside it can", () => {
  const refused = [
    ...[
      "/usr/lib",
      "/usr/lib/x86_64-linux-gnu",
      "/lib",
      "/lib64",
      "/usr/lib/x86_64-linux-gnu/libc.so.6",
    ],
    ...["/usr/local/lib", "/usr/local/lib/libx.so", "/opt/glibc/lib", "/opt/glibc/lib/libc.so.6"],
    ...["/etc", "/etc/passwd", "/etc/shadow", "/etc/group", "/etc/nsswitch.conf", "/etc/hosts"],
    ...["/etc/resolv.conf", "/etc/ld.so.preload", "/etc/ld.so.cache", "/etc/ld.so.conf.d"],
    ...["/etc/cron.d", "/etc/cron.d/x", "/etc/cron.daily", "/etc/crontab", "/var/spool/cron"],
    ...["/var/spool/cron/crontabs", "/etc/systemd/system", "/usr/lib/systemd/system"],
    ...["/run/systemd/system", "/etc/init.d", "/etc/rc.local", "/etc/profile.d", "/etc/profile"],
    ...["/etc/pam.d", "/etc/sudoers.d", "/etc/ssh", "/etc/ssl/certs", "/etc/ld.so.conf.d/x.conf"],
    ...["/boot", "/bin", "/sbin", "/usr/bin", "/usr/sbin", "/usr/bin/env", "/usr", "/var", "/run"],
    ...["/usr/local", "/usr/local/bin", "/usr/local/bin/deno", "/home", "/opt", "/var/lib"],
    ...["/root", "/root/.ssh", "/root/.ssh/authorized_keys", "/root/.bashrc", "/root/bin"],
    ...["/home/user", "/home/user/.ssh", "/home/user/.profile", "/home/user/.config/systemd/user"],
    ...["/home/user/.config", "/var/lib/dpkg/info", "/run/docker.sock"],
  ];
  for (const path of refused) {
    const spelled =
      /\.(so|conf)|[a-z]\.sock|\/(passwd|shadow|group|hosts|profile|x|env|deno|crontab|\.\w+rc|rc\.local)/
          .test(path)
        ? path
        : `${path}/`;
    for (const rights of WRITING) {
      assertEquals(check({ [spelled]: rights }).length, 1, `${spelled} ${rights}`);
    }
  }
  const allowed = [
    ...["/etc/app/data/", "/etc/app/", "/usr/local/app/data/", "/usr/local/lib/app/data/"],
    ...["/usr/local/share/app/", "/srv/", "/opt/app/data/", "/home/user/app/data/"],
    ...["/home/user/uploads/", "/root/app/data/", "/var/www/", "/var/lib/app/", "/var/log/app/"],
    ...["/var/cache/app/", "/var/spool/app/", "/run/app/", "/run/user/1000/app/", "/tmp/", "/mnt/"],
    ...["/var/tmp/", "/data/", "/libs/", "/etcetera/", "/home/other/.data/"],
  ];
  const elsewhere = {
    ...{ file: "/conf/h.jsonc", named: "/conf/h.jsonc", listen: [], denoDir: "/c", runtime: "/r" },
    ...{ app: { module: "/code/main.ts", project: "/code" }, modules: [], settings: [] },
    denoProgram: "/deno/deno",
  };
  for (const path of allowed) {
    for (const rights of WRITING) {
      assertEquals(check({ [path]: rights }, elsewhere), [], `${path} ${rights}`);
    }
  }
  // A link to such a place is one.
  const links = { "/srv/data": "/etc/cron.d" };
  assertEquals(check({ "/srv/data/": "rwc" }, { ...elsewhere, links }), ["unveil_over_system"]);
  // Reading is the operator's to decide.
  for (const path of refused.filter((path) => !path.startsWith("/run"))) {
    assertEquals(check({ [path]: "r" }, elsewhere), [], path);
  }
});

Deno.test("what is read of the machine: homes to which somebody logs in, and where the loader looks", () => {
  assertEquals(
    homesOf([
      "root:x:0:0:root:/root:/bin/bash",
      "daemon:x:1:1:daemon:/usr/sbin:/usr/sbin/nologin",
      "sync:x:4:65534:sync:/bin:/bin/sync",
      "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin",
      "ada:x:1000:1000:Ada,,,:/home/ada:/usr/bin/fish",
      "broken",
      "",
    ].join("\n")),
    ["/root", "/home/ada"],
  );
  assertEquals(
    librariesOf("# libc\n/usr/local/lib\ninclude /etc/ld.so.conf.d/*.conf\n/opt/x/lib # x\n"),
    ["/usr/local/lib", "/opt/x/lib"],
  );
  assertEquals(machinePlaces().homes.includes("/root"), true);
});

Deno.test("the folder of the socket for metrics is out of reach, and another Holdfast's runtime folder", () => {
  const listen = { kind: "unix", text: "unix:/srv/m/m.sock", path: "/srv/m/m.sock", mode: 0o600 };
  const metrics = { listen } as NonNullable<Config["metrics"]>;
  for (const path of ["/srv/m", "/srv/m/m.sock"]) {
    assertEquals(check({ [path]: "rwc" }, { metrics }), ["unveil_over_listener"]);
    assertEquals(check({ [path]: "rwc" }), []); // control
  }
  for (const rights of ["r", ...WRITING]) {
    assertEquals(check({ "/srv/other/.holdfast/images": rights }), ["unveil_over_runtime"]);
  }
});

Deno.test("a package that a link has led to is out of reach with all that is in it", () => {
  const packages = ["/srv/word"];
  assertEquals(check({ "/srv/word/data": "rwc" }, { packages }), ["unveil_over_node_modules"]);
  assertEquals(check({ "/srv/word/data": "rwc" }), []); // control
  assertEquals(check({ "/srv/app/data": "rwc" }, { packages: ["/srv/app"] }), []);
});

Deno.test("no Unix socket is dialled that leads to more than itself", () => {
  const net = (
    path: string,
    more: Partial<Config & CheckFacts> & Parameters<typeof check>[1] = {},
  ) => check(more.unveil ? { "/srv/data": "rwc" } : {}, { ...more, net: [`unix:${path}`] });
  // Controls: what an operator means.
  for (
    const path of [
      "/run/postgresql/.s.PGSQL.5432",
      "/var/run/postgresql/.s.PGSQL.5432",
      "/run/mysqld/mysqld.sock",
      "/run/redis/redis-server.sock",
      "/srv/app/db.sock",
      "/run/user/1000/app/db.sock",
    ]
  ) assertEquals(net(path), [], path);
  const refused: [path: string, code: string][] = [
    ["/run/holdfast/control.sock", "net_unix_runtime"],
    ["/run/holdfast", "net_unix_runtime"],
    ["/srv/other/.holdfast/control.sock", "net_unix_runtime"],
    ["/run/web/http.sock", "net_unix_own"],
    ["/proc/1/root/run/a.sock", "net_unix_system"],
    ["/run/docker.sock", "net_unix_system"],
    ["/home/user/.docker/run/docker.sock", "net_unix_system"],
    ["/run/user/1000/podman/podman.sock", "net_unix_system"],
    ["/run/user/1000/bus", "net_unix_system"],
    ["/run/dbus/system_bus_socket", "net_unix_system"],
    ["/run/systemd/private", "net_unix_system"],
    ["/run/containerd/containerd.sock", "net_unix_system"],
    ["/run/libvirt/libvirt-sock", "net_unix_system"],
    ["/run/snapd.socket", "net_unix_system"],
    ["/home/user/.gnupg/S.gpg-agent", "net_unix_system"],
    ["/tmp/ssh-Xq3kfa/agent.1234", "net_unix_system"],
  ];
  for (const [path, code] of refused) {
    assertEquals(net(path), [code], path);
    assertEquals(net("/srv/link", { links: { "/srv/link": path } }), [code], `a link to ${path}`);
  }
  assertEquals(net("/var/run/docker.sock", { links: { "/var/run": "/run" } }), ["net_unix_system"]);
  assertEquals(net("/run/a.sock", { wall: "deno" }), ["net_unix_unguarded"]);
});

Deno.test("no Unix socket is dialled whose place a process could give to another one", () => {
  const data = { "/srv/data": "rwc" };
  const net = ["unix:/srv/data/db.sock"];
  assertEquals(check(data, { net }), ["net_unix_replaceable"]);
  assertEquals(check({ "/srv/data": "rw" }, { net }), []); // control
  assertEquals(check(data, { net: ["unix:/run/db.sock"] }), []); // control
  const links = { "/srv/data/db.sock": "/run/db.sock" };
  assertEquals(check(data, { net, links }), ["net_unix_replaceable"]);
  const [folder, helpers] = [[{ path: "/srv/data", rights: "c", folder: true, exists: true }], []];
  const helper = { ...CONFIG, name: "job", unveil: folder } as unknown as Config["helpers"][number];
  assertEquals(check({}, { net, helpers: [{ ...helper, net: helpers }] }), [
    "net_unix_replaceable",
  ]);
});

Deno.test("unveiled secrets are known by their paths and by links", () => {
  const secrets = (path: string, rights: string, links: Record<string, string> = {}) =>
    unveiledSecrets({ unveil: [{ path, rights, folder: false, exists: true }], helpers: [] }, {
      readLink: (link) => links[link],
      places: PLACES,
    });
  assertEquals(secrets("/etc/shadow", "r"), ["/etc/shadow"]);
  assertEquals(secrets("/etc", "r"), ["/etc"]);
  assertEquals(secrets("/root/.ssh/id_ed25519", "r"), ["/root/.ssh/id_ed25519"]);
  assertEquals(secrets("/srv/x", "r", { "/srv/x": "/root" }), ["/srv/x"]);
  assertEquals(secrets("/etc/app", "r"), []);
  assertEquals(secrets("/srv/x", "rwc"), []);
});

Deno.test("protection follows the symbolic links of an unveiled path", () => {
  const cases: [Record<string, string>, string, string[]][] = [
    [{ "/srv/data": "/mnt/disk/data" }, "rwc", []], // control
    [{ "/srv/data": "/srv/app" }, "rw", ["unveil_over_module"]],
    [{ "/srv/data": "app/src/../src" }, "rw", ["unveil_over_module"]],
    [{ "/srv/data": "/a", "/a": "/b", "/b": "/var/cache/deno/gen" }, "w", ["unveil_over_cache"]],
    [{ "/srv/data": "/proc/self/fd" }, "r", ["unveil_system"]],
    [{ "/srv/data": "../../.." }, "r", ["unveil_root"]],
    [{ "/srv": "/run", "/run/data": "holdfast" }, "r", ["unveil_over_runtime"]],
    [{ "/srv/data": "/x/node_modules" }, "c", ["unveil_over_node_modules"]],
    [{ "/srv/data": "/mnt/a,b" }, "r", ["path_unfit"]],
  ];
  for (const [links, rights, codes] of cases) {
    const config = { module: "/srv/app/src/main.ts", project: "/srv/app", lockfile: undefined };
    assertEquals(
      check({ "/srv/data": rights }, { links, app: config }),
      codes,
      JSON.stringify(links),
    );
  }
});

Deno.test("who may replace a link by which the config is found chooses it, and is refused", () => {
  const named = "/srv/www/current/holdfast.jsonc";
  const links = { "/srv/www/current": "/srv/conf" };
  assertEquals(check({ "/srv/www/shared": "rwc" }, { named, links }), []); // control
  assertEquals(check({ "/srv/www": "rwc" }, { named, links }), ["unveil_over_config"]);
  assertEquals(check({ "/srv/www": "r" }, { named, links }), []);
});

Deno.test("the runtime folder in use is out of reach while the config's own lies elsewhere", () => {
  const judge = (path: string, inUse: string) =>
    checkConfig(
      { ...CONFIG, unveil: [{ path, rights: "r", folder: true, exists: true }] },
      { ...FACTS, runtime: inUse },
      { uid: 0, readLink: () => undefined, exists: () => true, places: PLACES },
    ).map(({ code }) => code);
  assertEquals(judge("/srv/old", "/run/other"), []); // control
  assertEquals(judge("/srv/old", "/srv/old/.holdfast"), ["unveil_over_runtime"]);
});

Deno.test("protection follows the symbolic links that lead to what is protected", () => {
  // The module is reached over two links; whoever may replace one of them chooses the code.
  const links = { "/srv/app/src": "/srv/links/live", "/srv/links/live": "/releases/5" };
  assertEquals(check({ "/releases/6": "rwc" }, { links }), []); // control
  assertEquals(check({ "/releases/5": "rw" }, { links }), ["unveil_over_module"]);
  assertEquals(check({ "/releases": "rwc" }, { links }), ["unveil_over_module"]);
  assertEquals(check({ "/srv/links": "rwc" }, { links }), ["unveil_over_module"]);
  assertEquals(check({ "/releases/package.json": "rwc" }, { links }), ["unveil_over_settings"]);
  assertEquals(
    check({ "/usr/lib/deno": "rwc" }, { links: { "/opt/deno/bin/deno": "/usr/lib/deno/deno" } }),
    ["unveil_over_program"],
  );
  assertEquals(
    check({ "/mnt/packages/hono": "rw" }, { links: { "/srv/app/node_modules": "/mnt/packages" } }),
    ["unveil_over_node_modules"],
  );
  assertEquals(
    check({ "/mnt/control": "r" }, { links: { "/run/holdfast": "/mnt/control" } }),
    ["unveil_over_runtime"],
  );
});

Deno.test("an example inside Holdfast's own repository may have a data folder, and no more", () => {
  const change = {
    app: { module: "/opt/holdfast/examples/a/main.ts", project: "/opt/holdfast/examples/a" },
    modules: [],
  } as unknown as Partial<Config & CheckFacts>;
  assertEquals(check({ "/opt/holdfast/examples/a/data": "rwc" }, change), []);
  assertEquals(check({ "/opt/holdfast/lib": "rwc" }, change), ["unveil_over_holdfast"]);
  assertEquals(check({ "/opt/holdfast/examples/b": "rwc" }, change), ["unveil_over_holdfast"]);
  const same = { app: { module: "/opt/holdfast/app.ts", project: "/opt/holdfast" }, modules: [] };
  assertEquals(
    check({ "/opt/holdfast/data": "rwc" }, same as unknown as Partial<Config & CheckFacts>),
    ["unveil_over_holdfast"],
  );
});

Deno.test("an inner path has the outer one's rights or more, and is compared by whole names", () => {
  const cases: [Record<string, string>, string[]][] = [
    [{ "/d": "r", "/d/in": "rw" }, []],
    [{ "/d": "r", "/d/in": "rwc" }, []],
    [{ "/d/in": "rwc", "/d": "r" }, []],
    [{ "/d": "rwc", "/d-secret": "r" }, []],
    [{ "/d": "rwc", "/d/keys": "r" }, ["unveil_fewer_inside"]],
    [{ "/d/keys": "r", "/d": "rwc" }, ["unveil_fewer_inside"]],
    [{ "/d": "rw", "/d/deep/in": "r" }, ["unveil_fewer_inside"]],
    [{ "/d": "r", "/d/in": "w" }, ["unveil_fewer_inside"]],
    [{ "/d": "rw", "/d/a": "r", "/d/b": "r" }, ["unveil_fewer_inside", "unveil_fewer_inside"]],
  ];
  for (const [unveil, codes] of cases) assertEquals(check(unveil), codes, JSON.stringify(unveil));
  // Two names far apart, of which one really lies in the other.
  assertEquals(check({ "/d": "rw", "/k": "r" }, { links: { "/k": "/d/keys" } }), [
    "unveil_fewer_inside",
  ]);
  assertEquals(check({ "/d": "rw", "/k": "r" }, { links: { "/k": "/e/keys" } }), []);
});

Deno.test("no unveiled path can be replaced by a link that the next reload would follow", () => {
  const cases: [Record<string, string>, Record<string, string>, string[]][] = [
    [{ "/d": "rw", "/d/in": "rwc" }, {}, []], // control: without c nothing is replaced
    [{ "/d": "rwc", "/d/in": "rwc" }, {}, ["unveil_replaceable"]],
    [{ "/d": "rc", "/d/in": "rwc" }, {}, ["unveil_replaceable"]],
    [{ "/d": "rwc", "/d/in": "r" }, { "/d/in": "/mnt/x" }, ["unveil_replaceable"]],
    [{ "/d": "rw", "/d/in": "r" }, { "/d/in": "/mnt/x" }, []],
    [{ "/d": "rwc", "/k": "r" }, { "/k": "/d/hop", "/d/hop": "/mnt/x" }, ["unveil_replaceable"]],
    [{ "/d/self": "rwc" }, { "/d/self": "." }, ["unveil_replaceable"]],
  ];
  for (const [unveil, links, codes] of cases) {
    assertEquals(check(unveil, { links }), codes, JSON.stringify([unveil, links]));
  }
});

Deno.test("two spellings of one path are an error", () => {
  assertEquals(check({ "/d": "r", "/e": "rw" }, { links: { "/e": "/d" } }), ["unveil_repeated"]);
  assertEquals(check({ "/d": "r", "/e": "rw" }), []);
});

Deno.test("a missing path is an error unless the app may create it in a folder that exists", () => {
  const missing = ["/d/new", "/gone", "/gone/new"];
  assertEquals(check({ "/d/new/": "rwc" }, { missing }), []);
  assertEquals(check({ "/d/new/": "c" }, { missing }), []);
  // The kernel's wall grants what is there, and a name alone does not say what it is to be.
  assertEquals(check({ "/d/new": "rwc" }, { missing }), ["unveil_not_there"]);
  assertEquals(check({ "/d/new": "rwc" }, { missing, wall: "deno" }), []);
  assertEquals(check({ "/d/new": "rw" }, { missing }), ["unveil_missing"]);
  assertEquals(check({ "/gone/new": "rwc" }, { missing }), ["unveil_parent_missing"]);
  // A dangling link: what counts is where it leads.
  const links = { "/d/new": "/gone/new" };
  assertEquals(check({ "/d/new": "rwc" }, { missing, links }), ["unveil_parent_missing"]);
});

Deno.test("a comma or NUL in anything that becomes a flag is an error", () => {
  for (const bad of ["/a,b", "/a\u0000b"]) {
    const app = { module: `${bad}/main.ts`, project: bad, lockfile: undefined };
    assertEquals(check({ [`${bad}/data`]: "r" }), ["path_unfit"]);
    assertEquals(check({}, { app }), ["path_unfit"]);
    assertEquals(check({}, { modules: [`${bad}/x.ts`] }), ["path_unfit"]);
    assertEquals(check({}, { runtime: bad }), ["path_unfit"]);
    assertEquals(check({}, { denoDir: bad }), ["path_unfit"]);
    assertEquals(check({}, { denoProgram: bad }), ["path_unfit"]);
    assertEquals(check({}, { holdfast: bad }), ["path_unfit"]);
  }
  assertEquals(check({ "/a;b": "r" }), []);
});

Deno.test("a user is an error without root, and root without a user is none", () => {
  const account = { user: "web", uid: 33, gid: 33 };
  const codes = ([uid, who]: [number, typeof account | undefined]) =>
    checkConfig({ ...CONFIG, account: who }, FACTS, {
      uid,
      readLink: () => undefined,
      exists: () => true,
      places: PLACES,
    }).map(({ code, key }) => `${key} ${code}`);
  assertEquals(codes([0, account]), []);
  assertEquals(codes([0, undefined]), []);
  assertEquals(codes([1000, undefined]), []);
  assertEquals(codes([1000, account]), ["user user_without_root"]);
  assertEquals(codes([33, account]), ["user user_without_root"]);
});

Deno.test("an error says which file is writable, why that is refused and how to lay out folders", () => {
  const system = { uid: 0, readLink: () => undefined, exists: () => true, places: PLACES };
  const unveil = [{ path: "/srv/app/src/lib", rights: "rw", exists: true, folder: true }];
  const [problem] = checkConfig({ ...CONFIG, unveil }, FACTS, system);
  assertEquals(problem?.key, 'unveil["/srv/app/src/lib"]');
  assertStringIncludes(problem?.message ?? "", '"/srv/app/src/lib/page.ts"');
  assertStringIncludes(problem?.message ?? "", "the next reload would run");
  assertStringIncludes(problem?.hint ?? "", "a separate folder");
});

Deno.test("checkConfig asks the real machine for links and missing folders", async () => {
  const folder = await Deno.realPath(await Deno.makeTempDir({ prefix: "holdfast_unveil_" }));
  try {
    for (const name of ["src", "data", "cache"]) await Deno.mkdir(`${folder}/${name}`);
    await Deno.writeTextFile(`${folder}/src/main.ts`, "");
    await Deno.writeTextFile(`${folder}/src/deno.json`, "{}");
    await Deno.symlink("src", `${folder}/alias`);
    await Deno.symlink("loop", `${folder}/loop`);
    const facts = { ...FACTS, denoDir: `${folder}/cache`, modules: [`${folder}/src/main.ts`] };
    const cases: [Record<string, string>, string[]][] = [
      [{ data: "rwc" }, []],
      [{ alias: "r" }, []],
      [{ alias: "rwc" }, ["unveil_over_module"]],
      [{ "alias/new/": "rwc" }, []],
      [{ "new/": "rwc", "data/new": "r" }, ["unveil_missing"]],
      [{ "gone/new": "c" }, ["unveil_parent_missing"]],
    ];
    for (const [unveil, codes] of cases) {
      await Deno.writeTextFile(
        `${folder}/holdfast.jsonc`,
        JSON.stringify({ app: "src/main.ts", listen: ["127.0.0.1:1"], unveil }),
      );
      const config = await loadConfig(`${folder}/holdfast.jsonc`);
      const found = checkConfig(config, facts).map(({ code }) => code);
      assertEquals(found, codes, JSON.stringify(unveil));
    }
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
});

Deno.test("paths cover each other by whole names and are followed as the kernel does", () => {
  const cases: [string, string, boolean][] = [
    ["/srv/data", "/srv/data", true],
    ["/srv/data", "/srv/data/x", true],
    ["/", "/srv", true],
    ["/srv/data", "/srv/data-secret", false],
    ["/srv/data/x", "/srv/data", false],
  ];
  for (const [outer, inner, answer] of cases) assertEquals(covers(outer, inner), answer);
  assertEquals(foldersAbove("/a/b/c"), ["/a/b", "/a", "/"]);
  const links: Record<string, string> = { "/a": "b/../c", "/b": "/d/e", "/loop": "loop" };
  const follow = (path: string) => followPath(path, (link) => links[link]);
  // The ".." of a link's text counts from where the link before it led.
  assertEquals(follow("/a/x"), { real: "/d/c/x", links: ["/a", "/b"] });
  assertEquals(follow("/plain"), { real: "/plain", links: [] });
  assertEquals(follow("/loop").links.length, 40);
});
