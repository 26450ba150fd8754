import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import type { ProcessStatus } from "../lib/protocol/control.ts";
import { ratesOf } from "../lib/cli/top.ts";
import { findMissing, recordSkip } from "./harness/needs.ts";
import { HOLDFAST, REPOSITORY } from "./harness/project.ts";
import { runCommand, Server } from "./harness/server.ts";
import { statusWith } from "./harness/status.ts";
import { PATIENCE_MS } from "./harness/wait.ts";

const LEAVE_SCREEN = "\x1b[?1049l";
const SHOW_CURSOR = "\x1b[?25h";

async function topInTerminal(server: Server, keys: string) {
  const main = join(HOLDFAST, "main.ts");
  const { code, stdout, stderr } = await new Deno.Command("python3", {
    args: [
      join(REPOSITORY, "tests/doubles/in_pty.py"),
      ...[keys, "3", Deno.execPath(), "run", "-A", main, "top"],
      ...["--config", server.project.configFile],
    ],
    signal: AbortSignal.timeout(PATIENCE_MS),
  }).output();
  const decoder = new TextDecoder();
  return { code, text: decoder.decode(stdout), stderr: decoder.decode(stderr) };
}

Deno.test("top draws anew every second until q or Ctrl-C, and leaves the terminal as it was", async (t) => {
  await using server = await Server.start();

  await t.step("without a terminal it is an error that names status --json", async () => {
    const { code, stderr } = await runCommand(server.project, "top");
    assertEquals(code, 64);
    assertStringIncludes(stderr, "status --json");
  });

  for (const [name, keys] of [["q", "q"], ["Ctrl-C", "\x03"]] as const) {
    const why = findMissing({ programs: ["python3"] });
    if (why !== undefined) recordSkip({ name: `top until ${name}`, why });
    else {
      await t.step(`until ${name}`, async () => {
        const { code, text, stderr } = await topInTerminal(server, keys);
        assertEquals({ code, stderr }, { code: 0, stderr: "" });
        assert(text.split("supervisor").length > 3);
        assertStringIncludes(text, "requests/s");
        assertStringIncludes(text, String(server.pid));
        assert(text.lastIndexOf(LEAVE_SCREEN) > text.lastIndexOf("supervisor"));
        assert(text.lastIndexOf(SHOW_CURSOR) > text.lastIndexOf("supervisor"));
      });
    }
  }
});

Deno.test("rates are those of the processes that are there, also of one that has just come", () => {
  const sample = (atMs: number, ...workers: Partial<ProcessStatus>[]) => ({
    atMs,
    status: statusWith(...workers),
  });
  const before = sample(1_000, { worker: 1, answered: 100, accepted: 10 });
  const now = sample(
    3_000,
    { worker: 1, answered: 150, accepted: 12 },
    { worker: 2, answered: 30, accepted: 4 },
  );
  assertEquals(ratesOf(now, before), { answered: 40, accepted: 3 });
  assertEquals(ratesOf(before, before), { answered: 0, accepted: 0 });
});
