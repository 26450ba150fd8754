import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { processesIn, readStatus } from "../harness/process.ts";
import { Project, REPOSITORY } from "../harness/project.ts";
import { supervisorPermissions } from "../harness/server.ts";
import { until } from "../harness/wait.ts";
import { testWith } from "../harness/needs.ts";

const UNITS = join(REPOSITORY, "deploy/systemd");

/** The highest exposure that each service may have; 10 is the worst. */
const MAX_EXPOSURE = { "guestbook.service": 2, "guestbook-accounts.service": 3 };

/** Since when there is Type=notify-reload. */
const NOTIFY_RELOAD_SINCE = 253;

/** Runs systemd-analyze(1). */
async function analyze(...args: string[]): Promise<{ code: number; text: string }> {
  const command = new Deno.Command("systemd-analyze", { args: ["--no-pager", ...args] });
  const output = await command.output();
  const [stdout, stderr] = [output.stdout, output.stderr].map((bytes) =>
    new TextDecoder().decode(bytes)
  );
  return { code: output.code, text: `${stdout}${stderr}` };
}

async function systemdVersion(): Promise<number> {
  return Number(/^systemd (\d+)/.exec((await analyze("--version")).text)![1]);
}

/** A copy of the units with programs that are on this machine, and a type that its systemd knows. */
async function copyUnits(folder: string, change = (text: string) => text): Promise<string[]> {
  const type = await systemdVersion() < NOTIFY_RELOAD_SINCE ? "notify" : "notify-reload";
  const paths: string[] = [];
  for (const name of [...Object.keys(MAX_EXPOSURE), "guestbook.socket"]) {
    const text = await Deno.readTextFile(join(UNITS, name));
    const path = join(folder, name);
    await Deno.writeTextFile(
      path,
      change(
        text.replace(/^Type=notify-reload$/m, `Type=${type}`)
          .replace(/^ExecStart=\S+/m, "ExecStart=/bin/true"),
      ),
    );
    paths.push(path);
  }
  return paths;
}

testWith(
  { programs: ["systemd-analyze"] },
  "systemd takes the units without a complaint, and complains of a mistake in one",
  async () => {
    const folder = await Deno.makeTempDir();
    try {
      const good = await analyze("verify", "--man=no", ...await copyUnits(folder));
      assertEquals(good, { code: 0, text: "" });
      const broken = await copyUnits(
        folder,
        (text) => text.replace("LockPersonality", "LockPerson"),
      );
      assertStringIncludes((await analyze("verify", "--man=no", ...broken)).text, "LockPerson");
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
);

testWith(
  { programs: ["systemd-analyze"] },
  "each service's exposure is low, and that of one without its walls is not",
  async () => {
    const folder = await Deno.makeTempDir();
    const exposure = async (service: string, change?: (text: string) => string) => {
      await copyUnits(folder, change);
      const { text } = await analyze("security", "--offline=true", join(folder, service));
      return Number(/exposure level for \S+: ([\d.]+)/.exec(text)?.[1]);
    };
    try {
      for (const [service, most] of Object.entries(MAX_EXPOSURE)) {
        const found = await exposure(service);
        // deno-lint-ignore no-console
        console.log(`exposure of ${service}: ${found}`);
        assert(found <= most, `${service} ${found}`);
        const bare = await exposure(
          service,
          (text) => text.replace(/^(Protect|Restrict|System|Cap).*$/gm, ""),
        );
        assert(bare > most, `${service} ${bare}`);
      }
    } finally {
      await Deno.remove(folder, { recursive: true });
    }
  },
);

Deno.test("the samples name the user of the service", async () => {
  const service = await Deno.readTextFile(join(UNITS, "guestbook.service"));
  const user = /^User=(\S+)$/m.exec(service)![1]!;
  const users = await Deno.readTextFile(join(UNITS, "sysusers.d/guestbook.conf"));
  assertMatch(users, new RegExp(`^u ${user} `, "m"));
});

testWith(
  { programs: ["setpriv"], root: true },
  "without any capability and with no new privileges, workers are behind the kernel's wall",
  async () => {
    await using project = await Project.create();
    const process = new Deno.Command("setpriv", {
      args: [
        ...["--no-new-privs", "--bounding-set=-all", "--inh-caps=-all", Deno.execPath(), "run"],
        ...supervisorPermissions(project),
        ...[join(REPOSITORY, "main.ts"), "start", "--config", project.configFile],
      ],
      cwd: REPOSITORY,
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    try {
      const answer = await until("an answer", async () => {
        const response = await fetch(`${project.origin}/x`).catch(() => undefined);
        return await response?.text();
      });
      assertEquals(answer, "one /x");
      const supervisor = readStatus(process.pid)!;
      assertEquals([supervisor.CapEff, supervisor.NoNewPrivs], ["0000000000000000", "1"]);
      const [worker] = processesIn(project.folder);
      assertEquals(readStatus(worker!)!.Seccomp, "2");
    } finally {
      Deno.kill(process.pid, "SIGTERM");
      await process.status;
    }
  },
);
