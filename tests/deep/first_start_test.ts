import { assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { blocksOf, NodeOnly, stop } from "../harness/node_only.ts";
import { freePort } from "../harness/ports.ts";
import { waitForEvent } from "../harness/process_log.ts";
import { copyRepository } from "../harness/repository_copy.ts";
import { PATIENCE_MS } from "../harness/wait.ts";

Deno.test("README's guestbook starts and reloads by the commands that README prints", async () => {
  await using machine = await NodeOnly.make();
  // A copy of what it takes, on a port that is free.
  const copy = join(machine.folder, "holdfast");
  await Deno.mkdir(copy);
  await copyRepository(copy);
  const config = join(copy, "examples/guestbook/holdfast.jsonc");
  const port = freePort();
  const text = await Deno.readTextFile(config);
  assertStringIncludes(text, ":8000");
  await Deno.writeTextFile(config, text.replaceAll(":8000", `:${port}`));

  const [first, second, ...more] = blocksOf("Try it");
  assertEquals(more, []);
  const [start, test] = first!.text.trim().split("\n");
  // It runs this test: that there is such a task is what can be seen here.
  assertMatch(test!, /^npx -y deno@\S+ task test\b/);
  const server = machine.run(start!, copy);
  await waitForEvent(server, "serving", 1);
  const response = await fetch(`http://127.0.0.1:${port}/`);
  await response.body?.cancel();
  assertEquals(response.status, 200);
  const reload = machine.run(second!.text, copy);
  assertEquals((await reload.ended(PATIENCE_MS)).status.code, 0);
  await waitForEvent(server, "reload_done", 1);
  await stop(server, join(copy, "examples/guestbook/.holdfast"));
});
