import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { PLAIN_APP } from "./harness/project.ts";
import { countDescriptors } from "./harness/process.ts";
import { runCommand, Server } from "./harness/server.ts";
import { until } from "./harness/wait.ts";

function version(text: string): string {
  return PLAIN_APP.replace('"one"', JSON.stringify(text));
}

Deno.test("HUP brings in new code", async () => {
  await using server = await Server.start();
  assertEquals(await server.text("/a"), "one /a");
  await server.project.write("app.ts", version("two"));
  assertEquals((await server.hangUp()).event, "reload_done");
  assertEquals(await server.text("/b"), "two /b");
});

const BROKEN = {
  "throws while it is loaded": "throw new Error('no good');",
  "exits while it is loaded": "Deno.exit(3);",
  "has a syntax error": "export default {",
  "imports what is not there": "import './missing.ts'; export default { fetch() {} };",
  "has no fetch": "export default { serve() {} };",
  "throws in open()": PLAIN_APP + "export function open() { throw new Error('no database'); }",
  "never gets ready": PLAIN_APP + "export function open() { return new Promise(() => {}); }",
  "hangs for ever": PLAIN_APP + "while (true);",
};

for (const [what, text] of Object.entries(BROKEN)) {
  Deno.test(`a new version that ${what} leaves the old one serving`, async () => {
    await using server = await Server.start({ config: { reload: { readyDeadlineMs: 2000 } } });
    await server.project.write("app.ts", text);
    const refused = await server.hangUp();
    assertEquals(refused.event, "reload_refused");
    assert(String(refused.reason).length > 10, server.log);
    assertEquals(await server.text("/"), "one /");
    const { code, stderr } = await runCommand(server.project, "reload");
    assertEquals(code, 1);
    assertStringIncludes(stderr, "The new version was refused, generation 1 goes on");
    assertEquals((await server.workers()).length, 1);
    await server.project.write("app.ts", version("three"));
    assertEquals((await runCommand(server.project, "reload")).code, 0);
    assertEquals(await server.text("/"), "three /");
  });
}

Deno.test("a storm of 100 HUPs ends in the latest code, with a handful of spawns", async () => {
  await using server = await Server.start();
  for (let index = 1; index <= 100; index++) {
    await server.project.write("app.ts", version(`v${index}`));
    server.signal("SIGHUP");
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  await until("the latest code", async () => await server.text("/") === "v100 /");
  await until("one generation alone", async () => (await server.workers()).length === 1);
  const spawns = server.eventsOf("worker_ready").length;
  // A candidate whose file is replaced while it loads is refused, and a later HUP brings the next.
  const refused = server.eventsOf("reload_refused").length;
  assert(spawns + refused <= 8, `${spawns} spawns, ${refused} refused`);
});

Deno.test("reloads leave no descriptor behind in the supervisor", async () => {
  await using server = await Server.start();
  for (let round = 0; round < 3; round++) await runCommand(server.project, "reload");
  await until("one generation alone", async () => (await server.workers()).length === 1);
  const before = countDescriptors(server.pid);
  for (let round = 0; round < 6; round++) await runCommand(server.project, "reload");
  await until("one generation alone", async () => (await server.workers()).length === 1);
  await until("as many descriptors as before", () => countDescriptors(server.pid) <= before);
});
