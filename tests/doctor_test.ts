/** What `doctor` makes of facts, without a machine; tests/deep/doctor_test.ts reads real ones. */
import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import { mountOf, parseMounts } from "../lib/cli/doctor/disks.ts";
import { parseListeners } from "../lib/cli/doctor/addresses.ts";
import type { Config } from "../lib/config/config.ts";
import type { State } from "../lib/doctor/check.ts";
import { CHECKS, examine, formatResults } from "../lib/doctor/examine.ts";
import type { Facts } from "../lib/doctor/facts.ts";

const GIB = 2 ** 30;
const NOW_MS = Date.UTC(2026, 10, 29);

const CONFIG = {
  file: "/srv/shop/holdfast.jsonc",
  named: "/srv/shop/holdfast.jsonc",
  app: { module: "/srv/shop/main.ts", project: "/srv/shop" },
  wall: "kernel",
  workers: 2,
  spare: 0,
  helpers: [],
  net: [],
  env: [],
  unveil: [],
  log: {},
  limits: { descriptors: 65_536, processes: 1, fileBytes: 1 },
  http: { maxConnections: 0 },
} as unknown as Config;

const config = (changes: Record<string, unknown>): Partial<Facts> => ({
  config: { ...CONFIG, ...changes } as Config,
});

/** A machine and a config of which nothing is to be said. */
const FINE: Facts = {
  os: "linux",
  arch: "x86_64",
  knowsArch: true,
  kernel: "6.18.0",
  container: undefined,
  landlock: { abi: 7, errno: 0 },
  gaps: [],
  leastAbi: 3,
  notifications: true,
  memoryErrno: 0,
  deno: { version: "2.9.6", wanted: "2.9.6", program: "/usr/local/bin/deno" },
  node: "v22.15.0",
  holdfast: { version: "0.1.0", changedMs: NOW_MS - 2000 },
  uid: 0,
  capabilities: ["CAP_NET_BIND_SERVICE"],
  config: CONFIG,
  refused: [],
  problems: [],
  warnings: [],
  shared: undefined,
  held: [],
  closed: [],
  grants: [],
  runtime: {
    path: "/srv/shop/.holdfast",
    exists: true,
    isFolder: true,
    owner: 0,
    mayWrite: true,
    socketBytes: 33,
  },
  environment: {},
  unset: [],
  addons: [],
  clock: { isSet: true, nowMs: NOW_MS, newest: { path: "/srv/shop/main.ts", ms: NOW_MS } },
  limits: {
    descriptors: 524_288,
    memoryBytes: 8 * GIB,
    watches: 100_000,
    queue: 4096,
    processors: 2,
  },
  firstOpenPort: 1024,
  addresses: [{ text: "0.0.0.0:80", kind: "tcp", port: 80, isOwn: false }],
  certificates: [{ cert: "/c.pem", names: "DNS:a.example", endMs: NOW_MS + 60 * 86_400_000 }],
  names: [{ name: "api.example", why: 'of "net"' }],
  disks: [
    {
      what: "the runtime folder",
      kind: "runtime",
      path: "/srv/shop/.holdfast",
      type: "ext4",
      options: ["rw"],
      freeBytes: 9 * GIB,
      freeFiles: 100_000,
    },
  ],
  temporary: { path: "/tmp", exists: true, mode: 0o1777, mayWrite: true },
  running: undefined,
  unit: undefined,
};

const runtime = (changes: Partial<NonNullable<Facts["runtime"]>>): Partial<Facts> => ({
  runtime: { ...FINE.runtime!, ...changes },
});
const limits = (changes: Partial<Facts["limits"]>): Partial<Facts> => ({
  limits: { ...FINE.limits, ...changes },
});
const disk = (changes: Partial<Facts["disks"][number]>): Partial<Facts> => ({
  disks: [{ ...FINE.disks[0]!, ...changes }],
});
const address = (changes: Partial<Facts["addresses"][number]>): Partial<Facts> => ({
  addresses: [{ ...FINE.addresses[0]!, ...changes }],
});
const said = { message: "it was so", hint: "mend it" };
const RUNNING: NonNullable<Facts["running"]> = {
  pid: 7,
  holdfast: "0.1.0",
  deno: "2.9.6",
  sinceMs: NOW_MS - 1000,
  replaced: false,
  state: "serving",
  runtime: "/srv/shop/.holdfast",
  troubles: [],
};
const running = (changes: Partial<typeof RUNNING>): Partial<Facts> => ({
  running: { ...RUNNING, ...changes },
});
const unit = (changes: Partial<NonNullable<Facts["unit"]>>): Partial<Facts> => ({
  unit: {
    name: "shop",
    path: "/etc/systemd/system/shop.service",
    origin: "ours",
    differs: [],
    missing: [],
    closed: [],
    ...changes,
  },
});
const native = config({ helpers: [{ native: true, instances: 1, net: [], env: [] }] });

/** What is changed, which check finds that, what it says, and what mends it. */
const CASES: readonly (readonly [Partial<Facts>, string, State, RegExp, RegExp])[] = [
  [{ os: "darwin" }, "kernel", "fault", /no kernel wall/, /"wall": "deno"/],
  [{ landlock: { abi: 0, errno: 38 } }, "landlock", "fault", /has none/, /6\.2/],
  [{ landlock: { abi: 0, errno: 95 } }, "landlock", "fault", /not enabled at boot/, /lsm=landlock/],
  [
    { landlock: { abi: 0, errno: 1 }, container: "docker" },
    ...["landlock", "fault", /seccomp profile of docker/, /--security-opt/] as const,
  ],
  [{ landlock: { abi: 2, errno: 0 } }, "landlock", "fault", /ABI 2/, /6\.2/],
  [
    { landlock: { abi: 0, errno: 38 }, ...config({ wall: "deno", account: { user: "shop" } }) },
    ...["landlock", "note", /has none/, /6\.2/] as const,
  ],
  [{ landlock: { abi: 4, errno: 0 }, gaps: ["signals"] }, "landlock", "note", /signals/, /6\.12/],
  [{ notifications: false }, "seccomp", "fault", /does not ask/, /CONFIG_SECCOMP_FILTER/],
  [{ memoryErrno: 1 }, "seccomp", "note", /cannot be read/, /SYS_PTRACE/],
  [
    { memoryErrno: 1, ...config({ net: ["unix:/s"] }) },
    "seccomp",
    "fault",
    /errno 1/,
    /SYS_PTRACE/,
  ],
  [{ deno: { ...FINE.deno, version: "2.9.5" } }, "deno", "fault", /older/, /deno upgrade 2\.9\.6/],
  [{ deno: { ...FINE.deno, version: "2.10.0" } }, "deno", "note", /newer/, /2\.9\.6/],
  [
    { deno: { ...FINE.deno, program: "/root/.npm/_npx/1/deno" } },
    ...["deno", "note", /npx's cache/, /npm install -g/] as const,
  ],
  [{ node: "v18.0.0" }, "node", "fault", /needs 20/, /22\.15/],
  [{ node: "v20.11.0" }, "node", "note", /stays beside/, /22\.15/],
  [{ clock: { ...FINE.clock, isSet: false } }, "clock", "warning", /NTP/, /timedatectl/],
  [
    { clock: { ...FINE.clock, isSet: false }, container: "docker" },
    ...["clock", "note", /NTP/, /host of this container/] as const,
  ],
  [
    { clock: { ...FINE.clock, newest: { path: "/a b", ms: NOW_MS + 60_000 } } },
    ...["clock", "warning", /60 s in the future/, /touch '\/a b'/] as const,
  ],
  [limits({ descriptors: 64 }), "descriptors", "fault", /too few/, /LimitNOFILE/],
  [limits({ descriptors: 1024 }), "descriptors", "warning", /does not pause/, /ulimit -n/],
  [config({ http: { maxConnections: 70_000 } }), "descriptors", "warning", /64768/, /"limits"/],
  [
    { ...limits({ descriptors: 8192 }), ...config({ http: { maxConnections: 9000 } }) },
    ...["descriptors", "warning", /leave 3328/, /ulimit -n/] as const,
  ],
  [limits({ memoryBytes: GIB / 8 }), "memory", "warning", /128 MiB for 2/, /"workers"/],
  [
    config({ limits: { ...CONFIG.limits, memoryBytes: 8 * GIB } }),
    ...["memory", "note", /16 GiB/, /"memoryBytes"/] as const,
  ],
  [limits({ queue: 128 }), "kernel_limits", "note", /somaxconn is 128/, /sysctl -w/],
  [limits({ watches: 1000 }), "kernel_limits", "warning", /max_user_watches/, /sysctl -w/],
  [disk({ freeBytes: 100 * 2 ** 20 }), "disk", "warning", /100 MiB left/, /"runtime"/],
  [disk({ freeBytes: 2 ** 20 }), "disk", "fault", /1 MiB left/, /"runtime"/],
  [disk({ kind: "denoDir", freeBytes: 2 ** 20 }), "disk", "fault", /left/, /DENO_DIR/],
  [disk({ freeFiles: 10 }), "disk", "warning", /10 more files/, /"runtime"/],
  [disk({ type: "9p" }), "file_systems", "fault", /no Unix sockets/, /"runtime"/],
  [disk({ type: "nfs4" }), "file_systems", "warning", /several machines/, /"runtime"/],
  [disk({ options: ["ro"] }), "file_systems", "fault", /only be read/, /remount,rw/],
  [
    disk({ kind: "program", options: ["noexec"] }),
    "file_systems",
    "fault",
    /noexec/,
    /remount,exec/,
  ],
  [{ ...disk({ options: ["noexec"] }), ...native }, "file_systems", "fault", /addons/, /"runtime"/],
  [
    { ...disk({ kind: "data", type: "overlay" }), container: "docker" },
    ...["file_systems", "warning", /goes with the container/, /volume/] as const,
  ],
  [disk({ kind: "data", type: "nfs" }), "file_systems", "note", /SQLite/, /local disk/],
  [
    { temporary: { path: "/x", exists: false, mode: undefined, mayWrite: false } },
    ...["temporary", "fault", /not there/, /install -d -m 1777 \/x/] as const,
  ],
  [
    { temporary: { ...FINE.temporary, mode: 0o777 } },
    ...["temporary", "warning", /not sticky/, /chmod 1777/] as const,
  ],
  [{ config: undefined, refused: [said] }, "config", "fault", /it was so/, /mend it/],
  [{ problems: [{ ...said, code: "module" }] }, "config", "fault", /it was so/, /mend it/],
  [{ problems: [{ ...said, code: "open_to_others" }] }, "owners", "fault", /it was so/, /mend it/],
  [
    { warnings: [{ ...said, event: "path_open_to_others" }] },
    ...["owners", "warning", /it was so/, /mend it/] as const,
  ],
  [
    { warnings: [{ ...said, event: "secret_unveiled" }] },
    ...["secrets", "warning", /it was so/, /mend it/] as const,
  ],
  [{ uid: 7, ...runtime({ owner: 7 }) }, "account", "note", /this user's/, /service install/],
  [config({ wall: "deno" }), "account", "fault", /no "user"/, /useradd/],
  [{ shared: said }, "account", "warning", /it was so/, /mend it/],
  [
    { held: [{ process: "worker", path: "/d", hint: "chown it" }] },
    ...["account", "warning", /\/d is closed/, /chown it/] as const,
  ],
  [{ closed: [{ path: "/d", hint: "chown it" }] }, "folders", "warning", /\/d is/, /chown it/],
  [
    {
      uid: 7,
      ...runtime({ owner: 7 }),
      grants: [
        { process: "w", path: "/d", rights: "rw", exists: true, owner: "root", mayUse: false },
      ],
    },
    ...["folders", "warning", /is root's/, /chown -R/] as const,
  ],
  [runtime({ socketBytes: 120 }), "runtime", "fault", /120 bytes/, /shorter/],
  [runtime({ isFolder: false }), "runtime", "fault", /no folder/, /"runtime"/],
  [runtime({ owner: 7 }), "runtime", "fault", /belongs to uid 7/, /rm -r/],
  [runtime({ mayWrite: false }), "runtime", "fault", /cannot be made/, /"runtime"/],
  [runtime({ stalePid: 8 }), "runtime", "note", /names pid 8/, /rm .*\/lock/],
  [
    { unset: [{ process: "worker", name: "TOKEN", hint: "set it" }] },
    ...["variables", "warning", /TOKEN/, /set it/] as const,
  ],
  [
    { environment: { NODE_ENV: "development" }, ...config({ env: ["NODE_ENV"] }) },
    ...["variables", "warning", /"development"/, /NODE_ENV=production/] as const,
  ],
  [{ environment: { TZ: "UTC" } }, "variables", "note", /TZ is UTC/, /"TZ" to "env"/],
  [
    { addons: [{ name: "sqlite3", file: "a.node" }] },
    "addons",
    "warning",
    /a\.node/,
    /node:sqlite/,
  ],
  [{ addons: [{ name: "other", file: "a.node" }] }, "addons", "warning", /other/, /"native": true/],
  [{ addons: [{ name: "sqlite3", file: "a" }], ...native }, "addons", "note", /native/, /node:sql/],
  [
    address({ user: { pid: 9, name: "nginx" } }),
    ...["addresses", "fault", /taken by nginx, pid 9/, /kill 9/] as const,
  ],
  [address({ user: {} }), "addresses", "fault", /another process/, /ss -ltnp/],
  [address({ user: { pid: 9 }, isLeft: true }), "addresses", "note", /killed/, /kill -9 9/],
  [address({ isLocal: false }), "addresses", "fault", /no such address/, /ip -brief/],
  [{ capabilities: [] }, "addresses", "fault", /below 1024/, /service install/],
  [
    address({ text: "unix:/a b/s", kind: "unix", folder: "missing" }),
    ...["addresses", "fault", /not there/, /mkdir -p '\/a b'/] as const,
  ],
  [
    address({ text: "unix:/a/s", kind: "unix", folder: "closed" }),
    ...["addresses", "fault", /may not make/, /chown/] as const,
  ],
  [
    address({ text: "unix:/a/s", kind: "unix", inTheWay: true }),
    ...["addresses", "fault", /no socket/, /rm \/a\/s/] as const,
  ],
  [
    address({ text: "unix:/a/s", kind: "unix", isLost: true }),
    ...["addresses", "warning", /was removed/, /reload/] as const,
  ],
  [{ problems: [{ ...said, code: "tls_key" }] }, "certificates", "fault", /it was so/, /mend/],
  [
    { certificates: [{ cert: "/c", names: "", endMs: NOW_MS + 86_400_000 }] },
    ...["certificates", "warning", /in 1 days/, /reload/] as const,
  ],
  [
    { certificates: [{ cert: "/c", names: "", endMs: NOW_MS - 1 }] },
    ...["certificates", "fault", /has ended/, /Renew/] as const,
  ],
  [
    { names: [{ name: "a.example", why: 'of "net"', error: "ENOTFOUND" }] },
    ...["names", "warning", /ENOTFOUND/, /getent hosts a\.example/] as const,
  ],
  [running({ holdfast: "0.0.9" }), "supervisor", "warning", /Holdfast 0\.0\.9/, /upgrade/],
  [running({ deno: "2.9.5" }), "supervisor", "warning", /Deno 2\.9\.5/, /upgrade/],
  [running({ replaced: true }), "supervisor", "warning", /replaced/, /upgrade/],
  [running({ sinceMs: NOW_MS - 9000 }), "supervisor", "warning", /have changed/, /upgrade/],
  [running({ runtime: "/run/x" }), "supervisor", "warning", /uses \/run\/x/, /stop/],
  [running({ troubles: [said] }), "supervisor", "warning", /it was so/, /mend it/],
  [running({ state: "failing" }), "supervisor", "fault", /keep exiting/, /status/],
  [unit({ origin: "edited" }), "unit", "warning", /was changed/, /systemctl edit shop/],
  [unit({ differs: ["/etc/x"] }), "unit", "warning", /\/etc\/x/, /service install --name shop/],
  [unit({ closed: [said] }), "unit", "warning", /it was so/, /mend it/],
  [unit({ missing: ["/srv/shop/data"] }), "unit", "fault", /not there/, /service install/],
  [unit({ trouble: said }), "unit", "warning", /it was so/, /mend it/],
];

Deno.test("of a machine and a config that are fine, doctor finds nothing", () => {
  const results = examine({ ...FINE, ...running({}), ...unit({}) });
  assertEquals(results.filter(({ state }) => state !== "ok"), []);
  assertEquals(
    CHECKS.map(({ id }) => id).filter((id) => !results.some((each) => each.id === id)),
    [],
  );
});

for (const { id, title } of CHECKS) {
  Deno.test(`doctor tells each trouble of its check "${title}", with what mends it`, () => {
    for (const [changes, , state, found, mend] of CASES.filter((each) => each[1] === id)) {
      const results = examine({ ...FINE, ...changes }).filter((each) => each.state !== "ok");
      const own = results.find((each) => each.id === id && found.test(each.found));
      assert(own !== undefined, `${found}: ${JSON.stringify(results)}`);
      assertEquals(own.state, state, String(found));
      assert(mend.test(own.mend ?? ""), `${found}: ${own.mend}`);
    }
  });
}

Deno.test("a trouble of one thing is found by one check alone", () => {
  const several = CASES.filter(([changes]) =>
    new Set(
      examine({ ...FINE, ...changes }).filter(({ state }) => ["warning", "fault"].includes(state))
        .map(({ id }) => id),
    ).size > 1
  );
  assertEquals(several.map(([, id, , found]) => `${id} ${found.source}`), []);
});

Deno.test("every check has a case, and without a config the machine's are left", () => {
  const ids = CHECKS.map(({ id }) => id);
  assertEquals(new Set(CASES.map((each) => each[1])), new Set(ids));
  assertEquals(ids.length, new Set(ids).size);
  const results = examine({ ...FINE, config: undefined, refused: [said] });
  assertEquals(results.find(({ state }) => state === "fault")?.id, "config");
});

Deno.test("doctor's screen is what it was: faults, warnings and notes of a machine and a config", async () => {
  const results = examine({
    ...FINE,
    ...address({ user: { pid: 812, name: "nginx" } }),
    ...disk({ freeBytes: 100 * 2 ** 20 }),
    ...runtime({ stalePid: 4711 }),
    node: "v20.11.0",
    unset: [{ process: "worker", name: "TOKEN", hint: 'Set it in "envFile"' }],
    addons: [{ name: "better-sqlite3", file: "build/Release/better_sqlite3.node" }],
    ...running({ holdfast: "0.0.9" }),
  });
  const screen = join(import.meta.dirname!, "screens/doctor.80.txt");
  assertEquals(`${formatResults(results, false)}\n`, await Deno.readTextFile(screen));
});

Deno.test("what doctor prints fits 80 columns, but for words that are to be copied", () => {
  const long = `/srv/${"long/".repeat(30)}end`;
  const results = examine({
    ...FINE,
    ...disk({ path: long, type: "9p" }),
    addons: [{ name: "sharp", file: "lib/sharp.node" }],
    closed: [{ path: "/srv/data", hint: `Try: chmod o+x ${long}` }],
  });
  const lines = formatResults(results, false).split("\n");
  const wide = lines.filter((line) => [...line].length > 80);
  assertEquals(wide.map((line) => line.trim().replace("-> ", "")), [long]);
  assertEquals(lines.at(-1), "1 fault, 2 warnings.");
  assert(formatResults(results, true).includes("\x1b[31mfault\x1b[0m"));
});

Deno.test("listeners of the kernel's lists are read, of IPv4 and of IPv6", () => {
  const head = "  sl  local_address rem_address   st tx_queue";
  const row = (address: string, state: string) =>
    `   0: ${address} 00000000:0000 ${state} 00000000:00000000 00:00000000 00000000  0  0 4242 1`;
  const text = [
    head,
    row("0100007F:1F90", "0A"),
    row("0100007F:1F91", "01"),
    row("B80D0120000000000000000001000000:0050", "0A"),
    row("0000000000000000FFFF00000100007F:0051", "0A"),
  ].join("\n");
  assertEquals(parseListeners(text).map(({ host, port, inode }) => [host, port, inode]), [
    ["127.0.0.1", 8080, "4242"],
    ["2001:db8::1", 80, "4242"],
    ["127.0.0.1", 81, "4242"],
  ]);
});

Deno.test("a path is on the innermost mount, whatever its name", () => {
  const mounts = parseMounts(
    [
      "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/sda rw",
      "23 22 0:5 / /srv/my\\040disk ro,noexec - tmpfs tmpfs rw,size=1m",
    ].join("\n"),
  );
  assertEquals(mountOf("/srv/my disk/a", mounts)?.type, "tmpfs");
  assertEquals(mountOf("/srv/my disk/a", mounts)?.options.slice(0, 2), ["ro", "noexec"]);
  assertEquals(mountOf("/srv/my", mounts)?.type, "ext4");
});
