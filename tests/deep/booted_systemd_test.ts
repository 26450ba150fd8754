/** The units of deploy/systemd as they are shipped, under a real systemd that has booted. */
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { put, putApp, putHoldfast } from "../harness/booted_sources.ts";
import { BootedSystemd, bootNeeds } from "../harness/booted_systemd.ts";
import { build } from "../harness/executable.ts";
import { testWith } from "../harness/needs.ts";
import { REPOSITORY } from "../harness/project.ts";
import { until } from "../harness/wait.ts";

const DEPLOY = join(REPOSITORY, "deploy/systemd");

/** What the unit's second line says for systemd before 253. */
const DROP_IN = "[Service]\nType=notify\nExecReload=kill -HUP $MAINPID\n";

async function isOld(): Promise<boolean> {
  const { stdout } = await new Deno.Command("systemctl", { args: ["--version"] }).output();
  return Number(/^systemd (\d+)/.exec(new TextDecoder().decode(stdout))![1]) < 253;
}

/** Installs what deploy/systemd has, where its comments say. */
async function installUnits(files: string): Promise<void> {
  for (const unit of ["guestbook.service", "guestbook.socket"]) {
    await put(files, `etc/systemd/system/${unit}`, { from: join(DEPLOY, unit) });
  }
  for (const folder of ["sysusers.d", "tmpfiles.d"]) {
    await put(files, `usr/lib/${folder}/guestbook.conf`, {
      from: join(DEPLOY, folder, "guestbook.conf"),
    });
  }
  if (await isOld()) {
    await put(files, "etc/systemd/system/guestbook.service.d/old.conf", DROP_IN);
  }
}

const SERVICE = "guestbook.service";
const RULE_FILE = `etc/systemd/system/${SERVICE}.d/rule.conf`;

/** What a hardened host asks for besides: the document on systemd says that they work. */
const MORE_RULES = [
  "ProcSubset=pid",
  "PrivateUsers=yes",
  "DynamicUser=yes",
];

const LOGROTATE = join(REPOSITORY, "deploy/logrotate/holdfast");

/** What the sample's comment says that the config needs. */
async function logKeys(): Promise<string> {
  return /^# +("log": \{.*\})$/m.exec(await Deno.readTextFile(LOGROTATE))![1]!;
}

/** Puts Holdfast's sources, a deno, and an app into their places. */
async function putSources(systemd: BootedSystemd, more: Record<string, unknown> = {}) {
  await putHoldfast(systemd, "/var/cache/guestbook/deno");
  await putApp(systemd, "/opt/guestbook", {
    listen: ["127.0.0.1:8000"],
    runtime: "/var/lib/guestbook/.holdfast",
    ...more,
  });
}

const page = (systemd: BootedSystemd, port: number) =>
  systemd.must("curl", "-sS", "-m", "20", `http://127.0.0.1:${port}/`);

testWith(
  { ...bootNeeds(), programs: ["curl", ...bootNeeds().programs ?? []], builds: true },
  "the shipped units, under a systemd that has booted:",
  async (t) => {
    const built = await Deno.makeTempDir({ prefix: "holdfast_test_builds_" });
    try {
      await build(join(REPOSITORY, "examples/guestbook/holdfast.jsonc"), built);
      await using systemd = await BootedSystemd.boot(async (files) => {
        await installUnits(files);
        const program = "usr/local/lib/guestbook/guestbook";
        await put(files, program, { from: join(built, "guestbook") });
        await Deno.chmod(join(files, program), 0o755);
      });
      const show = (...names: string[]) => systemd.show(SERVICE, ...names);
      const statusText = async () => (await show("StatusText"))["StatusText"];
      const workers = async () => {
        const { MainPID } = await show("MainPID");
        return (await systemd.must("pgrep", "-P", MainPID!)).split("\n");
      };
      const asRule = (rule: string) => put(systemd.path("/"), RULE_FILE, `[Service]\n${rule}\n`);
      await t.step("the service starts with every option of its own, and serves", async () => {
        await systemd.must("systemctl", "start", SERVICE);
        const found = await show("ActiveState", "StatusText", "ProtectProc");
        assertEquals(found, {
          ActiveState: "active",
          StatusText: "Generation 1 serves on 127.0.0.1:8000",
          ProtectProc: "invisible",
        });
        assertStringIncludes(await page(systemd, 8000), "You were here.");
        const [worker] = await workers();
        const status = await systemd.must("cat", `/proc/${worker}/status`);
        assertMatch(status, /^NoNewPrivs:\s1$/m);
        // The unit's filter, and the wall's.
        assertMatch(status, /^Seccomp:\s2$/m);
        assertEquals(
          /^Uid:\s(\d+)/m.exec(status)?.[1],
          await systemd.must("id", "-u", "guestbook"),
        );
      });
      await t.step("systemctl reload brings a new generation", async () => {
        await systemd.must("systemctl", "reload", SERVICE);
        await until(
          "the next generation",
          async () => /^Generation 2 serves/.test(await statusText() ?? ""),
        );
        assertStringIncludes(await page(systemd, 8000), "You were here.");
      });
      await t.step(
        "after a crash the next supervisor has the listener from the store",
        async () => {
          const { MainPID } = await show("MainPID");
          await systemd.must("kill", "-KILL", MainPID!);
          await until("another supervisor", async () => {
            const found = await show("MainPID", "ActiveState");
            return found["ActiveState"] === "active" && ![MainPID, "0"].includes(found["MainPID"]!);
          });
          assertStringIncludes(await page(systemd, 8000), "You were here.");
          assertEquals((await show("NRestarts"))["NRestarts"], "1");
        },
      );
      await t.step("systemctl stop drains, and is no failure", async () => {
        await systemd.must("systemctl", "stop", SERVICE);
        assertEquals(await show("ActiveState", "Result"), {
          ActiveState: "inactive",
          Result: "success",
        });
      });
      for (const rule of MORE_RULES) {
        await t.step(`it serves and reloads with ${rule}, too`, async () => {
          await asRule(rule);
          await systemd.must("systemctl", "daemon-reload");
          await systemd.must("systemctl", "start", SERVICE);
          assertStringIncludes(await page(systemd, 8000), "You were here.");
          await systemd.must("systemctl", "reload", SERVICE);
          await until(
            "the next generation",
            async () => /^Generation 2/.test(await statusText() ?? ""),
          );
          await systemd.must("systemctl", "stop", SERVICE);
        });
      }
      await t.step("the socket unit binds port 80 for it", async () => {
        await Deno.remove(systemd.path(`/${RULE_FILE}`));
        await put(
          systemd.path("/"),
          "usr/local/lib/guestbook/guestbook.jsonc",
          '{ "listen": ["systemd"] }',
        );
        await systemd.must("systemctl", "daemon-reload");
        await systemd.must("systemctl", "start", "guestbook.socket", SERVICE);
        assertEquals(await statusText(), "Generation 1 serves on 127.0.0.1:80");
        assertStringIncludes(await page(systemd, 80), "You were here.");
        await systemd.must("systemctl", "stop", "guestbook.socket", SERVICE);
      });
      await t.step("logrotate's sample rotates the logs of one in /srv, as its user", async () => {
        const folder = "srv/guestbook";
        await put(systemd.path("/"), `${folder}/guestbook`, { from: join(built, "guestbook") });
        await put(systemd.path("/"), `${folder}/guestbook.jsonc`, `{ ${await logKeys()} }`);
        const sample = "etc/logrotate.d/guestbook";
        await put(systemd.path("/"), sample, { from: LOGROTATE });
        await systemd.must("chmod", "0755", `/${folder}/guestbook`);
        await systemd.must("chown", "-R", "guestbook:", `/${folder}`, "/var/cache/guestbook");
        const unit = [
          "--unit=plain",
          "--uid=guestbook",
          "-E",
          "HOLDFAST_CACHE=/var/cache/guestbook",
        ];
        await systemd.must("systemd-run", ...unit, `/${folder}/guestbook`, "start");
        const serves = () => systemd.run("curl", "-sSf", "http://127.0.0.1:8000/");
        await until("it to serve", async () => (await serves()).code === 0);
        const log = systemd.path(`/${folder}/log/access.log`);
        await until("a record", async () => (await Deno.readTextFile(log)).includes("GET / "));
        await systemd.must("logrotate", "--force", "--state", "/run/rotated", `/${sample}`);
        await serves();
        await until(
          "a record in the new file",
          async () => (await Deno.readTextFile(log).catch(() => "")).includes("GET / "),
        );
        assertStringIncludes(await Deno.readTextFile(`${log}.1`), "GET / ");
        await systemd.must("systemctl", "stop", "plain");
      });
      await t.step("the line for a start from source serves an app in /opt", async () => {
        const text = await Deno.readTextFile(join(DEPLOY, SERVICE));
        const source = text.replace(/^Environment=HOLDFAST_CACHE.*$/m, "")
          .replace(/^ExecStart=.*$/m, "").replace(/^# (Environment=DENO_DIR|ExecStart)/gm, "$1");
        await put(systemd.path("/"), `etc/systemd/system/${SERVICE}`, source);
        await putSources(systemd);
        await systemd.must("chown", "-R", "guestbook:", "/var/cache/guestbook");
        await systemd.must("systemctl", "daemon-reload");
        await systemd.must("systemctl", "start", SERVICE);
        assertEquals(await page(systemd, 8000), "one /");
        await systemd.must("systemctl", "reload", SERVICE);
        await until(
          "the next generation",
          async () => /^Generation 2/.test(await statusText() ?? ""),
        );
        await systemd.must("systemctl", "stop", SERVICE);
      });
      await t.step("no process is left", async () => {
        assertEquals((await systemd.run("pgrep", "-u", "guestbook")).stdout, "");
      });
    } finally {
      await Deno.remove(built, { recursive: true });
    }
  },
);

testWith(
  { ...bootNeeds(), programs: ["curl", ...bootNeeds().programs ?? []] },
  "as root with four capabilities, as it is shipped, each process has an account of its own",
  async () => {
    const unit = "guestbook-accounts.service";
    await using systemd = await BootedSystemd.boot(async (files) => {
      await installUnits(files);
      const text = await Deno.readTextFile(join(DEPLOY, unit));
      const type = await isOld() ? "Type=notify" : "Type=notify-reload";
      const path = `etc/systemd/system/${unit}`;
      await put(files, path, text.replace("Type=notify-reload", type));
    });
    await putSources(systemd, {
      unveil: { "/var/lib/guestbook/data/": "rwc" },
      log: { folder: "/var/lib/guestbook/log" },
      reload: { idleGraceMs: 0, drainDeadlineMs: 1000 },
    });
    await systemd.must("systemctl", "start", unit);
    assertEquals(await page(systemd, 8000), "one /");
    const { MainPID } = await systemd.show(unit, "MainPID");
    const pids = async () => (await systemd.must("pgrep", "-P", MainPID!)).split("\n");
    const uids = async () => {
      const found: string[] = [];
      for (const pid of await pids()) {
        const status = await systemd.must("cat", `/proc/${pid}/status`);
        assertMatch(status, /^CapEff:\s0+$/m);
        found.push(/^Uid:\s(\d+)/m.exec(status)![1]!);
      }
      return found.sort();
    };
    const before = await uids();
    assertEquals([before.length, new Set([...before, "0"]).size], [2, 3]);
    await systemd.must("kill", "-HUP", MainPID!);
    await until("the next generation", async () => {
      const { StatusText } = await systemd.show(unit, "StatusText");
      return /^Generation 2/.test(StatusText ?? "");
    });
    await until("one generation alone", async () => (await pids()).length === 2);
    assertEquals(await uids(), before);
    // One that does not react is ended by a signal to another user's process.
    await systemd.must("pkill", "-STOP", "-P", MainPID!);
    await systemd.must("systemctl", "stop", unit);
    assertEquals(await systemd.show(unit, "ActiveState", "Result"), {
      ...{ ActiveState: "inactive", Result: "success" },
    });
  },
);
