/** Commands on a terminal of 80 columns: what they show there, and what they do not show in a pipe. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { withoutColours } from "../../lib/cli/log_formats.ts";
import { textWidth } from "../../lib/cli/text.ts";
import { findMissing, recordSkip } from "../harness/needs.ts";
import { HOLDFAST, Project } from "../harness/project.ts";
import { runCommand, Server } from "../harness/server.ts";
import { PATIENCE_MS } from "../harness/wait.ts";

const NEEDS = { programs: ["script"] } as const;

/** Runs a command of the CLI on a terminal; what it wrote, whichever descriptor it wrote to. */
async function onTerminal(
  project: Project,
  words: readonly string[],
  { columns = 80, env = {} }: { columns?: number; env?: Record<string, string> } = {},
) {
  const command = [
    ...[Deno.execPath(), "run", "-A", join(HOLDFAST, "main.ts")],
    ...[...words, "--config", project.configFile],
  ].map((word) => `'${word}'`).join(" ");
  const { code, stdout } = await new Deno.Command("script", {
    // Whoever tests may want no colours.
    args: [
      ...["--quiet", "--return", "--command"],
      ...[`${env.NO_COLOR ? "" : "unset NO_COLOR; "}stty cols ${columns}; ${command}`, "/dev/null"],
    ],
    env,
    stdin: "null",
    signal: AbortSignal.timeout(PATIENCE_MS),
  }).output();
  return { code, text: new TextDecoder().decode(stdout).replaceAll("\r\n", "\n") };
}

/** What is left on the screen: a line that was taken away is not. */
function left(text: string): string {
  // deno-lint-ignore no-control-regex
  return withoutColours(text.replaceAll(/[^\n]*\r\x1b\[K/g, ""));
}

function terminalTest(name: string, fn: (t: Deno.TestContext) => Promise<void>): void {
  const why = findMissing({ programs: [...NEEDS.programs] });
  if (why !== undefined) recordSkip({ name, why });
  Deno.test({ name, ignore: why !== undefined, fn });
}

terminalTest("commands fit the terminal, with colours unless NO_COLOR asks for none", async (t) => {
  await using server = await Server.start({
    files: { "data/x": "1" },
    config: { unveil: { "./data/": "rwc" }, log: { folder: "./logs" } },
  });
  const { project } = server;

  await t.step("status and explain, at 80 and at 120 columns", async () => {
    for (const words of [["status"], ["explain"]]) {
      for (const columns of [80, 120]) {
        const { code, text } = await onTerminal(project, words, { columns });
        assertEquals(code, 0, text);
        assertStringIncludes(text, "\x1b[1m");
        assertEquals(text.split("\n").filter((line) => textWidth(line) > columns), []);
        if (words[0] === "status") assertEquals(text.includes("DENIED"), columns === 120, text);
      }
      const { text } = await onTerminal(project, words, { env: { NO_COLOR: "1" } });
      assertEquals(text.includes("\x1b"), false, text);
    }
  });

  await t.step("check shows what it is at, and takes that away", async () => {
    const { code, text } = await onTerminal(project, ["check"]);
    assertEquals(code, 0, text);
    // A quick one is over before anything is drawn.
    assertStringIncludes(text, "\r\x1b[K");
    const shown = left(text);
    assert(shown.endsWith(`${project.configFile}: ok\n`), shown);
    assert(!shown.includes("looking"), shown);
    const piped = await runCommand(project, "check");
    assertEquals(piped.stdout, `${project.configFile}: ok\n`);
    assert(!piped.stderr.includes("looking"), piped.stderr);
  });

  await t.step("a refused reload has its message on lines that fit", async () => {
    await project.write(
      "app.ts",
      'throw new TypeError("no such table: entries of the guestbook");\n',
    );
    const { code, text } = await onTerminal(project, ["reload"]);
    assertEquals(code, 1, text);
    const shown = left(text);
    assertMatch(shown, /^holdfast: The new version was refused, generation 1 keeps serving: /);
    assertMatch(
      shown.replaceAll(/\s+/g, " "),
      /TypeError: no such table: entries of the guestbook/,
    );
    assert(
      shown.split("\n").filter((line) => line.length > 80).every((line) =>
        !/\S\s+\S/.test(line.trim())
      ),
    );
    const { text: status } = await onTerminal(project, ["status"]);
    assertMatch(withoutColours(status), /^1 reloads, the last one refused at /);
  });
});
