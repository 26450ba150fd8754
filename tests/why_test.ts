/** `holdfast why`: what a log tells of refusals, and what a policy allows, by which line. */
import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { answerQuestion, type AskedProcess, parseQuestion } from "../lib/cli/policy_question.ts";
import { countRefusals } from "../lib/cli/refusal_log.ts";
import { COMMANDS, helpOf, helpText, OPTIONS } from "../lib/cli/manual.ts";
import { README } from "./harness/node_only.ts";
import { Project } from "./harness/project.ts";
import { runCommand, Server } from "./harness/server.ts";
import { until } from "./harness/wait.ts";

const asked = {
  compartment: {
    unveil: [
      { path: "/srv/data", rights: "rwc", exists: true, folder: true },
      { path: "/etc/hosts", rights: "r", exists: true, folder: false },
    ],
    net: ["api.example.com:443", "db.internal", "[::1]:5432"],
    env: ["TOKEN", "LEVEL"],
    envValues: { LEVEL: "info" },
    sys: ["hostname"],
  } as unknown as AskedProcess["compartment"],
  packages: ["/srv/.holdfast/images/packages/x"],
  wall: "kernel",
} as const;

function ask(question: string, more: Partial<AskedProcess> = {}, real?: string) {
  const parsed = parseQuestion(question, (path) => path, (path) => real ?? path);
  return answerQuestion(parsed, { ...asked, ...more });
}

/** What each question is answered; of paths, to read, write and create. */
const ANSWERS: Record<string, boolean[]> = {
  "path:/srv/data": [true, true, true],
  "path:/srv/data/a/b": [true, true, true],
  "path:/srv/database": [false, false, false],
  "path:/etc/hosts": [true, false, false],
  "path:/srv/.holdfast/images/packages/x/sql.wasm": [true, false, false],
  "net:api.example.com:443": [true],
  "net:API.example.com:443": [true],
  "net:api.example.com:80": [false],
  "net:api.example.com": [false],
  "net:db.internal:5432": [true],
  "net:[::1]:5432": [true],
  "net:[0:0:0:0:0:0:0:1]:5432": [true],
  "net:127.0.0.1:5432": [false],
  "env:TOKEN": [true],
  "env:LEVEL": [true],
  "env:NODE_ENV": [true],
  "env:PATH": [false],
  "env:LD_PRELOAD": [false],
  "sys:hostname": [true],
  "sys:uid": [false],
  "sys:cpus": [false],
};

Deno.test("a question is answered by the line that counts, and a refusal names the line to add", () => {
  for (const [question, allowed] of Object.entries(ANSWERS)) {
    const answers = ask(question);
    assertEquals(answers.map((each) => each.allowed), allowed, question);
    for (const each of answers) {
      const never = /no line (can )?allow/.test(each.because) ||
        each.because.includes("cannot be granted");
      assertEquals(
        each.allow !== undefined,
        !each.allowed && !never,
        `${question}: ${each.because}`,
      );
      assertEquals(each.risk !== undefined, each.allow !== undefined, question);
    }
  }
  assertEquals(ask("net:x.example:1")[0]!.allow, `"net": ["x.example:1"]`);
  assertEquals(
    ask("net:x.example:1", { helper: "mail" })[0]!.allow,
    `"helpers": { "mail": { "net": ["x.example:1"] } }`,
  );
  // The kernel judges where a link leads to; Deno's layer alone judges the name.
  const led = ask("path:/srv/data/link", {}, "/etc/shadow");
  assertEquals(led.map((each) => each.allowed), [false, false, false]);
  assertStringIncludes(led[0]!.because, "/etc/shadow");
  const byName = ask("path:/srv/data/link", { wall: "deno" }, "/etc/shadow");
  assertEquals(byName.map((each) => each.allowed), [true, true, true]);
});

Deno.test("refusals in a log are counted, the newest last, whatever else a log holds", () => {
  const event = (fields: Record<string, unknown>) =>
    JSON.stringify({ role: "worker.1", ...fields });
  const net = {
    event: "refused",
    kind: "net",
    what: "a.example:1",
    from: "/srv/app.ts:1:2",
    allow: "A",
  };
  const found = countRefusals([
    event({ ...net, time: "1" }),
    event({ event: "refused", kind: "read", what: "/x", time: "2", allow: "R" }),
    event({ ...net, role: "helper mail.0", time: "3" }),
    event({ event: "worker_output", text: '"event":"refused"', time: "4" }),
    '{"event":"refused"',
    event({ ...net, role: "worker.0", time: "5" }),
    event({ event: "refused_again", refusals: "7 × net a.example:1; 2 × read /x", time: "6" }),
    event({
      event: "dial_denied",
      address: "10.0.0.1",
      port: 5,
      reason: "it is not in net",
      time: "7",
    }),
    "no event",
  ]);
  assertEquals(found.map(({ process, what, times }) => [process, what, times]), [
    ["worker", "read /x", 3],
    ["helper mail", "net a.example:1", 1],
    ["worker", "net a.example:1", 9],
    ["worker", "net 10.0.0.1:5", 1],
  ]);
  assertEquals([found[2]!.from, found[2]!.allow, found[2]!.last], ["/srv/app.ts:1:2", "A", "6"]);
});

const APP = `
const results = [];
for (const attempt of [
  () => Deno.readTextFile("data/x"), () => Deno.readTextFile("/etc/hosts"), () => fetch("http://127.0.0.1:9/"),
]) results.push(await attempt().then(() => true, (error) => !/Holdfast/.test(error.message)));
export default { fetch: () => Response.json(results) };`;

Deno.test("why lists what the log of a supervisor has, and says of a policy what the worker finds", async () => {
  await using server = await Server.start({
    files: { "app.ts": APP, "data/x": "1" },
    config: { unveil: { "./data/": "rwc" }, log: { folder: "./logs" } },
  });
  const { project } = server;
  assertEquals(JSON.parse(await server.text("/")), [true, false, true]);
  const list = await until("the refusal in the log file", async () => {
    const { code, stdout } = await runCommand(project, "why", "--wide");
    assertEquals(code, 0);
    return stdout.includes("read /etc/hosts") && stdout;
  });
  assertMatch(
    list,
    /worker .*read \/etc\/hosts.*app\.ts:\d+:\d+.*"unveil": \{ "\/etc\/hosts": "r" \}/,
  );
  // What came before the first generation served is in the log file too.
  const log = await Deno.readTextFile(project.path("logs/holdfast.log"));
  assertStringIncludes(log, '"event":"worker_ready"');
  const shown = await runCommand(
    project,
    "logs",
    "--event",
    "worker_*,refused",
    "--process",
    "worker",
  );
  assertEquals([shown.code, shown.stderr], [0, ""]);
  assertMatch(shown.stdout, /^\d\d:\d\d:\d\d INFO {2}worker_ready role=worker /m);
  assertMatch(shown.stdout, /^\d\d:\d\d:\d\d WARN {2}refused .*\/etc\/hosts/m);
  const question = async (text: string, ...more: string[]) => {
    const { code, stdout, stderr } = await runCommand(project, "why", text, "--json", ...more);
    return { code, stderr, answers: code === 0 ? JSON.parse(stdout) : [] };
  };
  const data = await question(`path:${project.path("data/x")}`);
  assertEquals(data.answers.map(({ allowed }: { allowed: boolean }) => allowed), [
    true,
    true,
    true,
  ]);
  const hosts = (await question("path:/etc/hosts")).answers;
  assertEquals(hosts.map(({ allowed }: { allowed: boolean }) => allowed), [false, false, false]);
  assertEquals(hosts[0].allow, `"unveil": { "/etc/hosts": "r" }`);
  // A line that a config may not have is not proposed.
  assertEquals([hosts[1].allow, /no line can allow it/.test(hosts[1].because)], [undefined, true]);
  assertEquals((await question("nothing")).code, 64);
  assertEquals((await question("net:a.example:1", "--helper", "none")).code, 64);
});

Deno.test("help says of each command what it does, how it is called and one example", async () => {
  for (const [name, { does, example, options = [] }] of Object.entries(COMMANDS)) {
    const help = helpOf(name);
    assertStringIncludes(help.replaceAll("\n", " "), does);
    assertStringIncludes(example, `holdfast ${name}`);
    for (const option of options) assertStringIncludes(help, `--${option}`);
    assertStringIncludes(helpText().replaceAll(/\s+/g, " "), does);
    if (name !== "help") assertMatch(README, new RegExp(`^\\| \`${name}[ \`]`, "m"));
  }
  const used = new Set(Object.values(COMMANDS).flatMap(({ options = [] }) => options));
  assertEquals(
    Object.keys(OPTIONS).filter((name) => !used.has(name)),
    ["config", "help", "version"],
  );
  await using project = await Project.create();
  const { code, stdout } = await runCommand(project, "status", "--help");
  assertEquals([code, stdout.trimEnd()], [0, helpOf("status")]);
});
