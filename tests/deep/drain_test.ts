import { assert, assertEquals } from "@std/assert";
import { APP } from "../harness/drain_app.ts";
import { isWorker, processesIn, readStatus } from "../harness/process.ts";
import { Server } from "../harness/server.ts";
import { sleep, until } from "../harness/wait.ts";

Deno.test("a reload whose new worker is killed at any moment of its start is refused, and never stuck", async () => {
  await using server = await Server.start({ files: { "app.ts": APP } });
  const moments = Array.from({ length: 12 }, (_, index) => index * 8);
  let refused = 0;
  for (const delayMs of moments) {
    const known = processesIn(server.project.folder);
    const reloading = server.reload();
    const pid = await until("the new worker", () => {
      return processesIn(server.project.folder).find((each) =>
        !known.includes(each) && isWorker(each)
      );
    });
    await sleep(delayMs);
    // Stopped first, so that what the supervisor sends it at that moment stays unread.
    Deno.kill(pid, "SIGSTOP");
    await until("it to stop", () => readStatus(pid)?.["State"]?.startsWith("T"));
    await sleep(150);
    Deno.kill(pid, "SIGKILL");
    // One that is ready by then is in charge, and is replaced.
    const { outcome } = await reloading;
    if (outcome === "refused") refused++;
    await until(
      `an answer after a death ${delayMs} ms from its start`,
      () => server.text().then((text) => text === "one", () => false),
    );
  }
  assert(refused > 0, "none was killed early enough");
  assertEquals((await server.reload()).outcome, "done");
});
