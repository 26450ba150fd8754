/** What `service install` writes, decided without a machine; tests/deep/service_test.ts runs it. */
import {
  assert,
  assertEquals,
  assertRejects,
  assertStringIncludes,
  assertThrows,
} from "@std/assert";
import { join } from "node:path";
import { HoldfastError } from "../lib/base/error.ts";
import type { BoundAddress } from "../lib/config/config.ts";
import { findClosed } from "../lib/service/closed.ts";
import { serviceFiles } from "../lib/service/files.ts";
import { marked, originOf } from "../lib/service/mark.ts";
import { placeFiles, removeFiles } from "../lib/service/place.ts";
import type { ServicePlan } from "../lib/service/plan.ts";
import { execLine, unitWord } from "../lib/service/quote.ts";
import { supervisorFlags } from "../lib/service/start_command.ts";
import { serviceUnit } from "../lib/service/unit.ts";
import { REPOSITORY } from "./harness/project.ts";

const RUNTIME = "/var/lib/guestbook/.holdfast";
const DENO = "/usr/local/bin/deno";
const CONFIG = "/opt/guestbook/holdfast.jsonc";

const tcp = (host: string, port: number): BoundAddress => {
  return { kind: "tcp", text: `${host.includes(":") ? `[${host}]` : host}:${port}`, host, port };
};

const PLAN: ServicePlan = {
  name: "guestbook",
  config: CONFIG,
  start: [
    ...[
      DENO,
      "run",
      "--no-prompt",
      ...supervisorFlags([RUNTIME], DENO),
      "/opt/holdfast/main.ts",
      "start",
    ],
    ...["--config", CONFIG],
  ],
  reopen: [DENO, "run", "/opt/holdfast/main.ts", "logs", "reopen"],
  denoDir: "/var/cache/guestbook/deno",
  user: undefined,
  group: undefined,
  createsUser: false,
  systemd: 253,
  addresses: [tcp("127.0.0.1", 8000)],
  socket: false,
  firstOpenPort: 1024,
  dialsSockets: false,
  closedToRoot: undefined,
  reads: [CONFIG],
  folders: [{ path: RUNTIME, mode: 0o710, owner: "root", group: "7", safe: true }],
  writes: [RUNTIME],
  stopMs: 30_000,
  descriptors: 1024,
  variables: [],
  logFolder: undefined,
  rotates: true,
};

/** Keys and values of a unit, without what each config has of its own. */
function settingsOf(text: string): string[] {
  const OWN =
    /^(Description|ReadWritePaths|Environment|State\w+|WorkingDirectory|Group|ExecStart)=/;
  return text.split("\n").filter((line) => /^\w+=/.test(line) && !OWN.test(line)).sort();
}

async function textOf(plan: Partial<ServicePlan>, end: string): Promise<string | undefined> {
  const files = await serviceFiles({ ...PLAN, ...plan });
  return files.find(({ path }) => path.endsWith(end))?.text;
}

Deno.test("the units are those that deploy/systemd shows, setting by setting", async () => {
  const sample = (name: string) => Deno.readTextFile(join(REPOSITORY, "deploy/systemd", name));
  const accounts = await sample("guestbook-accounts.service");
  assertEquals(settingsOf(serviceUnit(PLAN)), settingsOf(accounts));
  const start = /^ExecStart=.*$/m;
  assertEquals(start.exec(serviceUnit(PLAN))?.[0], start.exec(accounts)?.[0]);
  const own = { ...PLAN, user: "guestbook", group: "guestbook" };
  assertEquals(settingsOf(serviceUnit(own)), settingsOf(await sample("guestbook.service")));
});

Deno.test("a unit grants what its config takes, and nothing else", () => {
  const unit = (plan: Partial<ServicePlan>) => serviceUnit({ ...PLAN, ...plan });
  const capabilities = (plan: Partial<ServicePlan>) =>
    /^CapabilityBoundingSet=(.*)$/m.exec(unit(plan))![1]!.split(" ").filter((each) => each).slice(
      4,
    );
  const low = { addresses: [tcp("0.0.0.0", 443)] };
  assertEquals(capabilities(low), ["CAP_NET_BIND_SERVICE"]);
  assertEquals(capabilities({ ...low, socket: true }), []);
  assertEquals(capabilities({ ...low, firstOpenPort: 80 }), []);
  assertEquals(capabilities({ dialsSockets: true }), ["CAP_SYS_PTRACE"]);
  assertEquals(capabilities({ closedToRoot: "/home/ada" }), ["CAP_DAC_READ_SEARCH"]);
  assertStringIncludes(
    unit({ ...low, user: "shop" }),
    "\nCapabilityBoundingSet=CAP_NET_BIND_SERVICE\nAmbientCapabilities=CAP_NET_BIND_SERVICE\n",
  );
  assertStringIncludes(unit({}), "\nProtectHome=yes\nPrivateTmp=yes\n");
  assertStringIncludes(unit({ reads: ["/home/ada/shop"] }), "\nProtectHome=read-only\n");
  assertStringIncludes(unit({ writes: ["/tmp/x"] }), "\nPrivateTmp=no\n");
  assertStringIncludes(
    unit({ systemd: 252 }),
    "\nType=notify\nExecReload=/bin/kill -HUP $MAINPID\n",
  );
  assertStringIncludes(unit({ stopMs: 3_600_000 }), "\nTimeoutStopSec=3615\n");
  assertStringIncludes(unit({ variables: ["TOKEN"] }), "=-/etc/holdfast/guestbook.env\n");
});

Deno.test("a path that a unit or a flag would read as more than a path is refused", async () => {
  const refuse = (plan: Partial<ServicePlan>) =>
    assertRejects(() => serviceFiles({ ...PLAN, ...plan }), HoldfastError, "control character");
  await refuse({ config: "/srv/a\nExecStartPre=/bin/sh" });
  await refuse({ writes: ["/srv/\u0007"] });
  await refuse({ reads: ["/srv/\r"] });
  await refuse({ start: [DENO, "/opt/a\nb/main.ts"] });
  await refuse({ logFolder: "/var/log/\n" });
  assertThrows(() => supervisorFlags(["/srv/a,b"], DENO), HoldfastError, "comma");
});

Deno.test("a path of any characters is one word of a unit", () => {
  assertEquals(unitWord("/a b"), '"/a b"');
  assertEquals(unitWord("/100%/ü"), "/100%%/ü");
  assertEquals(unitWord(`/a"b\\c'd`), `"/a\\"b\\\\c'd"`);
  assertEquals(execLine(["/$a/b;c", "--x=$HOME", "%h"]), '"/$a/b;c" --x=$$HOME %%h');
});

Deno.test("a socket unit has the addresses of the config, or says which it cannot have", async () => {
  const socket = (...addresses: BoundAddress[]) => textOf({ addresses, socket: true }, ".socket");
  const unix = (path: string, mode: number): BoundAddress => {
    return { kind: "unix", text: `unix:${path}`, path, mode };
  };
  const text = await socket(tcp("::", 80), tcp("0.0.0.0", 80), unix("/run/a 5%/s", 0o660));
  for (
    const line of ["ListenStream=[::]:80", "ListenStream=/run/a 5%%/s", "SocketMode=0660"]
  ) assertStringIncludes(text!, `\n${line}\n`);
  for (
    const addresses of [[], [tcp("localhost", 80)], [unix("/a", 0o600), unix("/b", 0o660)]]
  ) await assertRejects(() => socket(...addresses), HoldfastError);
});

Deno.test("other files are written where the config asks for them", async () => {
  assertEquals(await textOf({}, "sysusers.d/guestbook.conf"), undefined);
  const user = { user: "shop", group: "www", createsUser: true };
  assertStringIncludes((await textOf(user, "sysusers.d/guestbook.conf"))!, "\nu shop - ");
  assertStringIncludes(
    (await textOf({}, "tmpfiles.d/guestbook.conf"))!,
    `\nd ${RUNTIME} 0710 root 7 -\n`,
  );
  const unsafe = { folders: PLAN.folders.map((each) => ({ ...each, safe: false })) };
  assertEquals(await textOf(unsafe, "tmpfiles.d/guestbook.conf"), undefined);
  const log = { logFolder: "/var/log/my shop", rotates: false };
  assertEquals(await textOf({ ...log, rotates: true }, "logrotate.d/guestbook"), undefined);
  const rotation = (await textOf({ ...log, ...user }, "logrotate.d/guestbook"))!;
  assertStringIncludes(rotation, '\n"/var/log/my shop/*.log" {\n    su shop www\n');
  assertStringIncludes(rotation, "runuser -u shop -- env DENO_DIR=/var/cache/guestbook/deno /usr");
  assertEquals(await textOf({ ...log, logFolder: "/a*b" }, "logrotate.d/guestbook"), undefined);
});

Deno.test("a file is written over or removed only as it was written", async () => {
  const root = await Deno.makeTempDir({ prefix: "holdfast_test_" });
  const unit = join(root, "etc/systemd/system/guestbook.service");
  const did = async (plan: Partial<ServicePlan> = {}) => {
    const placed = await placeFiles("guestbook", await serviceFiles({ ...PLAN, ...plan }), root);
    return placed.map((each) => each.did);
  };
  try {
    assertEquals(await did(), ["written", "written"]);
    assertEquals((await Deno.stat(unit)).mode! & 0o777, 0o644);
    assertEquals(await did(), ["unchanged", "unchanged"]);
    assertEquals(await did({ stopMs: 1 }), ["written", "unchanged"]);
    assertEquals(await did({ folders: [], stopMs: 1 }), ["unchanged", "removed"]);
    for (
      const [text, words] of [
        ["[Unit]\n", "has not written it"],
        [`${await Deno.readTextFile(unit)}# mine\n`, "was changed since"],
      ] as const
    ) {
      await Deno.writeTextFile(unit, text);
      await assertRejects(() => did(), HoldfastError, words);
      assertEquals(await removeFiles("guestbook", root), [
        { path: "/etc/systemd/system/guestbook.service", what: "the service", did: "kept" },
      ]);
      assertEquals(await Deno.readTextFile(unit), text);
    }
    // Nothing is written where one file is in the way.
    assertEquals([...Deno.readDirSync(join(root, "etc/tmpfiles.d"))], []);
    await Deno.remove(unit);
    await Deno.symlink("/dev/null", unit);
    await assertRejects(() => did(), HoldfastError, "has not written it");
    await Deno.remove(unit);
    for (const folder of ["lib/systemd/system", "usr/lib/systemd/system"]) {
      await Deno.mkdir(join(root, folder), { recursive: true });
      const vendor = join(root, folder, "guestbook.service");
      await Deno.writeTextFile(vendor, "[Unit]\n");
      await assertRejects(() => did(), HoldfastError, "would replace");
      await Deno.remove(vendor);
    }
    await Deno.writeTextFile(unit, await marked("[Unit]\n"));
    assertEquals((await removeFiles("guestbook", root)).map((each) => each.did), ["removed"]);
  } finally {
    await Deno.remove(root, { recursive: true });
  }
});

Deno.test("whose text follows its mark, and in whole, is ours", async () => {
  const text = await marked("a\nb\n");
  assertEquals(await originOf(text), "ours");
  assertEquals(await originOf(`${text}c`), "edited");
  assertEquals(await originOf(`\n${text}`), "foreign");
});

Deno.test("what is closed to a user is found at its outermost place", () => {
  const modes: Record<string, number> = { "/home/ada": 0o700, "/srv/key": 0o640 };
  const look = (path: string) => ({
    uid: 7,
    gid: 8,
    mode: modes[path] ?? 0o755,
    isDirectory: true,
  });
  const find = (path: string, uid: number, gids: number[] = []) =>
    findClosed([path], { uid, gids }, look);
  assertEquals(find("/home/ada/shop/holdfast.jsonc", 0, [0]), "/home/ada");
  assertEquals(find("/home/ada/shop/holdfast.jsonc", 7), undefined);
  assertEquals(find("/srv/key", 9), "/srv/key");
  assert(find("/srv/shop", 9) === undefined);
});
