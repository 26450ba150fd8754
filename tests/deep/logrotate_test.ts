/** The sample for logrotate, run by logrotate on the logs of a Holdfast that is asked all the while. */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { Wire } from "../harness/http.ts";
import { testWith } from "../harness/needs.ts";
import { Project, REPOSITORY } from "../harness/project.ts";
import { type CommandResult, Server } from "../harness/server.ts";
import { sleep, until } from "../harness/wait.ts";

const SAMPLE = join(REPOSITORY, "deploy/logrotate/holdfast");
const ROTATIONS = 5;
const CLIENTS = 3;

/** The sample, for a project: its folder, its user and its command are replaced. */
async function place(project: Project): Promise<void> {
  const command = `${Deno.execPath()} run -A ${join(REPOSITORY, "main.ts")} logs reopen ` +
    `--config ${project.configFile}`;
  const edits: [RegExp | string, string][] = [
    ["/srv/guestbook/log/", project.path("log/")],
    ["su guestbook guestbook", "su root root"],
    [/runuser .* logs reopen/, command],
  ];
  const text = edits.reduce((text, [from, to]) => {
    assert(text.search(from) >= 0, `the sample has no ${from}`);
    return text.replace(from, to);
  }, await Deno.readTextFile(SAMPLE));
  await project.write("logrotate.conf", text);
  await Deno.chmod(project.path("logrotate.conf"), 0o644);
}

/** What the sample's own comment says that the config needs. */
async function configOfSample(): Promise<Record<string, unknown>> {
  const line = /^# +("log": \{.*\})$/m.exec(await Deno.readTextFile(SAMPLE));
  assert(line, "the sample does not say what the config needs");
  return JSON.parse(`{ ${line[1]} }`);
}

async function logrotate(project: Project, ...options: string[]): Promise<CommandResult> {
  const args = [...options, "--state", project.path("state"), project.path("logrotate.conf")];
  const output = await new Deno.Command("logrotate", { args }).output();
  const [stdout, stderr] = [output.stdout, output.stderr].map((bytes) =>
    new TextDecoder().decode(bytes)
  );
  return { code: output.code, stdout: stdout!, stderr: stderr! };
}

/** The lines of a log and of all its old files. */
function linesOf(project: Project, log: string): string[] {
  return [...Deno.readDirSync(project.path("log"))].filter(({ name }) => name.startsWith(log))
    .flatMap(({ name }) => {
      const bytes = Deno.readFileSync(project.path(`log/${name}`));
      const text = new TextDecoder().decode(name.endsWith(".gz") ? gunzipSync(bytes) : bytes);
      assert(text === "" || text.endsWith("\n"), `${name} ends in half a line`);
      return text.split("\n").slice(0, -1);
    });
}

/** Asks for one numbered path after another. */
async function ask(client: number, port: number, signal: AbortSignal): Promise<string[]> {
  const asked: string[] = [];
  using wire = await Wire.open(port);
  while (!signal.aborted) {
    const path = `/line/${client}/${asked.length}`;
    assertEquals((await wire.ask(path)).status, 200);
    asked.push(path);
    await sleep(1);
  }
  return asked;
}

testWith(
  { programs: ["logrotate"] },
  "logrotate, on the sample, loses no line while requests go on",
  async () => {
    const project = await Project.create({ config: await configOfSample() });
    await using server = await Server.startOn(project);
    await place(project);
    const dry = await logrotate(project, "--debug");
    assertEquals(dry.code, 0, dry.stderr);
    assert(!/error/i.test(dry.stderr), dry.stderr);
    assertMatch(dry.stderr, /access\.log/);

    const enough = new AbortController();
    const asking = Promise.all(
      Array.from({ length: CLIENTS }, (_, client) => ask(client, project.port, enough.signal)),
    );
    asking.catch(() => {}); // it is awaited below; until then its failure must not end the test
    try {
      for (let rotation = 0; rotation < ROTATIONS; rotation++) {
        await sleep(300);
        const { code, stderr } = await logrotate(project, "--force");
        assertEquals([code, stderr], [0, ""]);
      }
      await sleep(300);
    } finally {
      enough.abort();
      await asking;
    }
    const asked = (await asking).flat().sort();
    await until("the last line", () => linesOf(project, "access.log").length >= asked.length);
    const logged = linesOf(project, "access.log").map((line) => /"GET (\S+) /.exec(line)![1]!);
    assertEquals(logged.sort(), asked);
    const names = [...Deno.readDirSync(project.path("log"))].map(({ name }) => name);
    const old = names.filter((name) => name.startsWith("access.log.")).sort();
    assertEquals(old, ["access.log.1", ...[2, 3, 4, 5].map((number) => `access.log.${number}.gz`)]);
    assertEquals(server.eventsOf("log_trouble"), []);
    // deno-lint-ignore no-console
    console.log(`${asked.length} requests over ${ROTATIONS} rotations, each one line`);
  },
);
