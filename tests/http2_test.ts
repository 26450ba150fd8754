import { assert, assertEquals } from "@std/assert";
import { Server } from "./harness/server.ts";
import { until } from "./harness/wait.ts";

const SLOW_APP = `
export default {
  async fetch() {
    await new Promise((resolve) => setTimeout(resolve, 50));
    return new Response("slow");
  },
};
`;

Deno.test("a busy HTTP/2 connection is asked to go at a reload and loses nothing", async () => {
  await using server = await Server.start({
    files: { "app.ts": SLOW_APP },
    config: { reload: { idleGraceMs: 200, drainDeadlineMs: 20_000 } },
  });
  const load = new Deno.Command("h2load", {
    args: ["-c4", "-m4", "-D4", "-p", "h2c", server.project.origin],
    stdout: "piped",
    stderr: "null",
  }).output();
  await until(
    "load",
    async () => (await server.status()).generations[0]!.workers[0]!.process!.answered > 0,
  );
  assertEquals((await server.hangUp()).event, "reload_done");
  const ending = server.waitFor("generation_ended");
  const first = await Promise.race([ending.then(() => "the drain"), load.then(() => "the load")]);
  assertEquals(first, "the drain");
  const ended = await ending;
  const text = new TextDecoder().decode((await load).stdout);
  const [, done, failed] = /(\d+) done, \d+ succeeded, (\d+) failed/.exec(text) ?? [];
  assert(Number(done) > 100, text);
  assertEquals(failed, "0", text);
  assertEquals([ended.outcome, ended.cut], ["drained", 0]);
});
