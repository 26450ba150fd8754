/** What `service install` writes, run by a real systemd that has booted, and nothing of it edited. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import type { Result } from "../../lib/doctor/examine.ts";
import { putApp, putHoldfast } from "../harness/booted_sources.ts";
import { BootedSystemd, bootNeeds } from "../harness/booted_systemd.ts";
import { testWith } from "../harness/needs.ts";
import { until } from "../harness/wait.ts";

/** A folder whose name a unit, a shell and a URL would each read in another way. */
const FOLDER = '/srv/my $HOME 50% "größer"; app';
const LOG = "/var/log/shop 50% größer";
const CONFIG = join(FOLDER, "holdfast.jsonc");
const CACHE = "/var/cache/shop/deno";

const HOME = "/home/ada/shop";
const inHome = (...more: string[]) => [
  ...["--config", join(HOME, "holdfast.jsonc"), "--name", "shop"],
  ...more,
];

const unixPage = (systemd: BootedSystemd) =>
  systemd.must("curl", "-sS", "--unix-socket", join(HOME, "app.sock"), "http://x/");

const needs = { ...bootNeeds(), programs: ["curl", ...bootNeeds().programs ?? []] as const };

const holdfast = (...args: string[]) => [
  ...["env", `DENO_DIR=${CACHE}`, "/usr/local/bin/deno", "run", "-A", "/opt/holdfast/main.ts"],
  ...args,
];

const page = (systemd: BootedSystemd, port: number) =>
  systemd.must("curl", "-sS", "-m", "20", `http://127.0.0.1:${port}/`);

/** Sees it serve, reloads it by systemctl, and stops it. */
async function live(systemd: BootedSystemd, port: number): Promise<void> {
  const service = "shop.service";
  assertEquals(await page(systemd, port), "one /");
  await systemd.must("systemctl", "reload", service);
  await until("the next generation", async () => {
    const { StatusText } = await systemd.show(service, "StatusText");
    assert(!StatusText?.includes("refused"), StatusText);
    return /^Generation 2 serves/.test(StatusText ?? "");
  });
  assertEquals(await page(systemd, port), "one /");
  await systemd.must("systemctl", "stop", service);
  const found = await systemd.show(service, "ActiveState", "Result");
  assertEquals(found, { ActiveState: "inactive", Result: "success" });
}

testWith(
  needs,
  "service install makes a service that starts, reloads and stops unedited",
  async (t) => {
    await using systemd = await BootedSystemd.boot(() => Promise.resolve());
    await putHoldfast(systemd, CACHE);
    const config = {
      listen: ["127.0.0.1:80"],
      unveil: { "./data/": "rwc" },
      log: { folder: LOG, rotateHours: 0, rotateBytes: 2 ** 40 },
      reload: { idleGraceMs: 0, drainDeadlineMs: 1000 },
    };
    await putApp(systemd, FOLDER, config);
    const run = (...args: string[]) => systemd.must(...holdfast(...args));
    const command = (...more: string[]) => ["--config", CONFIG, "--name", "shop", ...more];
    const uids = async () => {
      const { MainPID } = await systemd.show("shop.service", "MainPID");
      const rows = await systemd.must("ps", "-o", "uid=", "--ppid", MainPID!);
      return rows.split("\n").map((row) => Number(row)).sort();
    };
    await t.step("with an account for each process, on a port below 1024", async () => {
      const said = await run("service", "install", ...command("--now"));
      assertStringIncludes(said, "written    /etc/systemd/system/shop.service");
      assertMatch(said, /^ {2}ran +systemctl enable --now shop.service$/m);
      const [first] = await uids();
      assert(first! >= 0x7800_0000, `a process runs as ${first}`);
      await live(systemd, 80);
    });
    await t.step("systemd has no complaint of what was written", async () => {
      await systemd.must("systemd-analyze", "verify", "--man=no", "shop.service");
      await systemd.must("systemd-tmpfiles", "--create", "/etc/tmpfiles.d/shop.conf");
    });
    await t.step(
      "doctor finds the service, and tells when the config asks for another",
      async () => {
        const unitOf = async () => {
          const { stdout } = await systemd.run(...holdfast("doctor", "--json", "--config", CONFIG));
          const { checks } = JSON.parse(stdout) as { checks: Result[] };
          return checks.filter(({ id }) => id === "unit").map(({ state, found }) =>
            `${state}: ${found}`
          );
        };
        assertEquals(await unitOf(), ["ok: /etc/systemd/system/shop.service"]);
        await putApp(systemd, FOLDER, { ...config, reload: { drainDeadlineMs: 3_600_000 } });
        assertMatch(
          (await unitOf()).join(),
          /^warning: It is not what .* \/etc\/systemd\/system\/shop\.service$/,
        );
        await putApp(systemd, FOLDER, config);
      },
    );
    await t.step("a second install changes nothing", async () => {
      assertEquals((await run("service", "install", ...command())).match(/ written /g), null);
    });
    await t.step("a file that was edited since is not written over", async () => {
      const unit = systemd.path("/etc/systemd/system/shop.service");
      await Deno.writeTextFile(unit, "# mine\n", { append: true });
      const refused = await systemd.run(...holdfast("service", "install", ...command()));
      assertEquals(refused.code, 71);
      assertStringIncludes(refused.stderr, "shop.service was changed since");
      assertMatch(await Deno.readTextFile(unit), /# mine\n$/);
      await Deno.remove(unit);
    });
    await t.step("as one user who is made for it, on a port below 1024", async () => {
      await systemd.must("rm", "-r", join(FOLDER, ".holdfast"), join(FOLDER, "data"), LOG);
      await run("service", "install", ...command("--user", "shop", "--now"));
      assertEquals(
        new Set(await uids()),
        new Set([Number(await systemd.must("id", "-u", "shop"))]),
      );
      await live(systemd, 80);
      await systemd.must("systemd-sysusers", "/etc/sysusers.d/shop.conf");
    });
    await t.step("with sockets that systemd binds", async () => {
      await run("service", "install", ...command("--user", "shop", "--socket", "--now"));
      await systemd.must("systemctl", "start", "shop.service");
      const { CapabilityBoundingSet } = await systemd.show("shop.service", "CapabilityBoundingSet");
      assertEquals(CapabilityBoundingSet, "");
      await live(systemd, 80);
    });
    await t.step("service remove takes all of it away, once it is stopped", async () => {
      const active = await systemd.run(...holdfast("service", "remove", ...command()));
      assertEquals(active.code, 71);
      assertStringIncludes(active.stderr, "systemctl disable --now");
      await run("service", "remove", ...command("--now"));
      const left = ["systemd/system", "sysusers.d", "tmpfiles.d", "logrotate.d"].flatMap((folder) =>
        [...Deno.readDirSync(systemd.path(`/etc/${folder}`))].map(({ name }) => name)
      ).filter((name) => name.startsWith("shop"));
      assertEquals(left, []);
      assertEquals((await systemd.run("systemctl", "cat", "shop.service")).code, 1);
    });
    await t.step("an app in a closed home, as its owner", async () => {
      await systemd.must("useradd", "--create-home", "ada");
      await putApp(systemd, HOME, { listen: ["127.0.0.1:8080", "unix:./app.sock"] });
      await systemd.must("chown", "-R", "ada:ada", HOME);
      await systemd.must("chmod", "0700", "/home/ada");
      await run("service", "install", ...inHome("--user", "ada", "--now"));
      assertEquals(await unixPage(systemd), "one /");
      await live(systemd, 8080);
      await run("service", "remove", ...inHome("--now"));
    });
    await t.step(
      "the same, by root with accounts, which needs a runtime folder elsewhere",
      async () => {
        await systemd.must("rm", "-r", join(HOME, ".holdfast"));
        await putApp(systemd, HOME, { listen: ["127.0.0.1:8080"] });
        const refused = await systemd.run(...holdfast("service", "install", ...inHome("--now")));
        assertEquals(refused.code, 78);
        assertStringIncludes(refused.stderr, "/run/holdfast");
        await putApp(systemd, HOME, { listen: ["127.0.0.1:8080"], runtime: "/run/shop" });
        await run("service", "install", ...inHome("--now"));
        const { CapabilityBoundingSet } = await systemd.show(
          "shop.service",
          "CapabilityBoundingSet",
        );
        assertStringIncludes(CapabilityBoundingSet!, "cap_dac_read_search");
        await live(systemd, 8080);
      },
    );
  },
);
