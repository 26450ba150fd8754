import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { RELOAD_SPACING_MS } from "../lib/supervisor/operation_queue.ts";
import { Wire } from "./harness/http.ts";
import { servingWorkers, version } from "./harness/life.ts";
import { countDescriptors, holdsListener, processesIn } from "./harness/process.ts";
import { PLAIN_APP } from "./harness/project.ts";
import { runCommand, Server } from "./harness/server.ts";
import { until } from "./harness/wait.ts";

/** New versions that are no good, and what the log says of each. */
const BROKEN = {
  "throws while it is loaded": ["throw new Error('no good');", "no good"],
  "exits while it is loaded": ["Deno.exit(3);", "exited with status 3"],
  "has a syntax error": ["export default {", "app.ts"],
  "imports what is not there": [
    "import './missing.ts'; export default { fetch() {} };",
    "missing.ts",
  ],
  "has no fetch": ["export default { serve() {} };", "fetch"],
  "throws in open()": [
    PLAIN_APP + "export function open() { throw new Error('no database'); }",
    "no database",
  ],
  "never gets ready": [
    PLAIN_APP + "export function open() { return new Promise(() => {}); }",
    "did not load and open the app within 3000 ms",
  ],
} as const;

Deno.test("a reload brings in new code, and a version that is no good leaves the old one serving", async (t) => {
  await using server = await Server.start({ config: { reload: { idleGraceMs: 100 } } });
  const { project } = server;
  let generation = 1;

  /** Nothing of the candidate is left, and the old one goes on. */
  const assertUnchanged = async (serving: string) => {
    assertEquals(await server.text("/"), `${serving} /`);
    await until("one worker alone", () => processesIn(project.folder).length === 1);
    assertEquals((await server.status()).generations.map((each) => each.generation), [generation]);
  };

  await t.step("HUP brings in new code", async () => {
    assertEquals(await server.text("/a"), "one /a");
    await project.write("app.ts", version("two"));
    const done = await server.hangUp();
    assertEquals([done.event, done.generation], ["reload_done", ++generation]);
    assertEquals(await server.text("/b"), "two /b");
    await until("one generation", async () => (await server.status()).generations.length === 1);
  });

  for (const [what, [text, reason]] of Object.entries(BROKEN)) {
    await t.step(`a version that ${what} is refused`, async () => {
      await project.write("app.ts", text);
      if (what === "never gets ready") {
        await project.configure({ reload: { idleGraceMs: 100, readyDeadlineMs: 3_000 } });
      }
      const refused = await server.hangUp();
      assertEquals([refused.event, refused.generation], ["reload_refused", generation]);
      assertStringIncludes(String(refused.reason), reason);
      await assertUnchanged("two");
      await project.configure({ reload: { idleGraceMs: 100 } });
    });
  }

  await t.step("a config that is wrong is refused", async () => {
    await project.write("app.ts", version("three"));
    await project.configure({ lisen: [] });
    const { outcome, reason } = await server.reload();
    assertEquals(outcome, "refused");
    assertStringIncludes(reason!, "lisen");
    await assertUnchanged("two");
    await project.configure({ lisen: undefined });
  });

  await t.step("the command's exit status is the outcome", async () => {
    await project.write("app.ts", BROKEN["has no fetch"][0]);
    const { code, stderr } = await runCommand(project, "reload");
    assertEquals(code, 1);
    assertStringIncludes(stderr, "The new version was refused, generation 2 keeps serving");
    await assertUnchanged("two");
    await project.write("app.ts", version("three"));
    assertEquals((await runCommand(project, "reload")).code, 0);
    assertEquals(await server.text("/"), "three /");
  });

  await t.step(
    "a storm of 100 HUPs ends in the latest code, with a handful of spawns",
    async () => {
      const before = await server.status();
      const startMs = performance.now();
      for (let index = 1; index <= 100; index++) {
        await project.write("app.ts", version(`v${index}`));
        server.signal("SIGHUP");
      }
      await until("the latest code", async () => await server.text("/") === "v100 /");
      await until("the end of the storm", async () => (await server.status()).reload === "idle");
      const reloads = (await server.status()).reloads - before.reloads;
      // However long it took, they begin no closer than that.
      const most = Math.ceil((performance.now() - startMs) / RELOAD_SPACING_MS) + 1;
      assert(reloads <= most, `${reloads} reloads instead of ${most}`);
    },
  );

  await t.step("reloads leave no descriptor behind in the supervisor", async () => {
    const alone = () => until("one worker alone", () => processesIn(project.folder).length === 1);
    assertEquals((await server.reload()).outcome, "done");
    await alone();
    const before = countDescriptors(server.pid);
    for (let round = 0; round < 4; round++) assertEquals((await server.reload()).outcome, "done");
    await alone();
    await until("as many descriptors as before", () => countDescriptors(server.pid) <= before);
  });
});

for (const engine of ["native", "node"]) {
  Deno.test(`${engine}: a reload loses no connection that waits to be accepted, and is done when the old worker has stopped accepting`, async () => {
    await using server = await Server.start({ config: { engine, reload: { idleGraceMs: 100 } } });
    const { project } = server;
    const [old] = await servingWorkers(server);
    // As an event loop that something keeps busy: it accepts nothing, and hears nothing.
    Deno.kill(old!, "SIGSTOP");
    using stack = new DisposableStack();
    const wires = await Promise.all(Array.from({ length: 30 }, () => Wire.open(project.port)));
    for (const wire of wires) stack.use(wire);
    await project.write("app.ts", version("two"));
    server.signal("SIGHUP");
    let late = false;
    try {
      const answers = await Promise.all(wires.map((wire, index) => wire.ask(`/${index}`)));
      assertEquals(answers.map(({ text }) => text), wires.map((_, index) => `two /${index}`));
      // The new version serves, but the old one could accept as soon as it comes to itself.
      assert(holdsListener(old!, project.port));
      late = server.eventsOf("still_accepting").length > 0;
      assertEquals(server.eventsOf("reload_done").length > 0, late);
    } finally {
      Deno.kill(old!, "SIGCONT");
    }
    await server.waitFor("reload_done");
    // This test may have been too slow; then the supervisor has said that it waits no longer.
    if (late) await until("it to stop", () => !holdsListener(old!, project.port));
    assert(!holdsListener(old!, project.port), "the old worker could accept still");
    const [next] = await servingWorkers(server);
    assert(holdsListener(next!, project.port));
  });
}

Deno.test("an app that keeps its event loop busy delays the outcome of a reload until it accepts no more", async () => {
  const busy = `
    export default {
      fetch(request) {
        if (new URL(request.url).pathname !== "/busy") return new Response("one");
        return new Response(new ReadableStream({
          start(controller) {
            controller.enqueue(new TextEncoder().encode("begun"));
            setTimeout(() => {
              const endMs = performance.now() + 1_500;
              while (performance.now() < endMs);
              controller.close();
            }, 20);
          },
        }));
      },
    };`;
  await using server = await Server.start({ files: { "app.ts": busy } });
  const [old] = await servingWorkers(server);
  const answer = await server.get("/busy");
  await server.project.write("app.ts", version("two"));
  assertEquals((await server.hangUp()).event, "reload_done");
  assert(!holdsListener(old!, server.project.port), "the old worker could accept still");
  assertEquals(await answer.text(), "begun");
  assertEquals(await server.text("/"), "two /");
});
