/** A logger that is stopped, until the supervisor gives it up by the clock. */
import { assertEquals, assertMatch } from "@std/assert";
import { OBEYING_APP, tell } from "../harness/obeying_app.ts";
import { Server } from "../harness/server.ts";
import { until } from "../harness/wait.ts";

Deno.test("a logger that does not run holds nobody up, and is replaced", async () => {
  await using server = await Server.start({
    config: { log: { folder: "./log", compress: false } },
    files: { "app.ts": OBEYING_APP },
  });
  const loggerPid = async () => (await server.status()).logger!.process!.pid;
  const stuck = await loggerPid();
  Deno.kill(stuck, "SIGSTOP");
  const line = "y".repeat(3_000);
  for (let round = 0; round < 20; round++) {
    const print = `for (let n = 0; n < 100; n++) {
      Deno.stderr.writeSync(new TextEncoder().encode("${line}\\n"));
    }`;
    assertEquals((await tell(server, print)).ok, null);
  }
  assertEquals((await server.hangUp()).event, "reload_done");
  assertEquals((await tell(server, "return 1")).ok, 1);
  await until("another logger", async () => {
    const { logger } = await server.status();
    return logger?.process ? logger.process.pid !== stuck : false;
  });
  assertMatch(
    String(server.eventsOf("worker_lost")[0]!.how),
    /^said nothing for \d+ ms \(killed by SIGKILL\)$/,
  );
  await until(
    "the reload in the log",
    () =>
      Deno.readTextFileSync(server.project.path("log/holdfast.log")).includes(
        '"event":"reload_done"',
      ),
  );
});
