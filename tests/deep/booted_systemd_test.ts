/** The units of deploy/systemd as they are shipped, under a real systemd that has booted. */
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { BootedSystemd, bootNeeds } from "../harness/booted_systemd.ts";
import { build } from "../harness/executable.ts";
import { testWith } from "../harness/needs.ts";
import { REPOSITORY } from "../harness/project.ts";
import { until } from "../harness/wait.ts";

const DEPLOY = join(REPOSITORY, "deploy/systemd");

/** What the unit's second line says for systemd before 253. */
const DROP_IN = "[Service]\nType=notify\nExecReload=kill -HUP $MAINPID\n";

async function put(files: string, path: string, content: string | { from: string }): Promise<void> {
  const to = join(files, path);
  await Deno.mkdir(join(to, ".."), { recursive: true });
  if (typeof content === "string") await Deno.writeTextFile(to, content);
  else await Deno.copyFile(content.from, to);
}

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
  "ProtectProc=noaccess",
  "ProtectProc=ptraceable",
  "ProcSubset=pid",
  "PrivateUsers=yes",
  "PrivateIPC=yes",
  "DynamicUser=yes",
];

const page = (systemd: BootedSystemd, port: number) =>
  systemd.must("curl", "-sS", "-m", "20", `http://127.0.0.1:${port}/`);

testWith(
  { ...bootNeeds(), programs: ["curl", ...bootNeeds().programs ?? []] },
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
      await t.step("no process is left", async () => {
        assertEquals((await systemd.run("pgrep", "-u", "guestbook")).stdout, "");
      });
    } finally {
      await Deno.remove(built, { recursive: true });
    }
  },
);
