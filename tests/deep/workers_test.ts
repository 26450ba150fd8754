/** Several workers under load. */
import { assert, assertEquals } from "@std/assert";
import type { Status } from "../../lib/protocol/control.ts";
import { assertNothingLost, loadDuring, startLoadApp, versionFile } from "../harness/load_app.ts";
import { sleep, until } from "../harness/wait.ts";

/** The grace is longer than any client of the load thinks. */
const QUICK = { idleGraceMs: 2_000, drainDeadlineMs: 20_000 };

Deno.test("10 reloads under every kind of load lose nothing with four workers", async () => {
  await using server = await startLoadApp({ workers: 4, reload: QUICK });
  const seen: Status["generations"] = [];
  const report = await loadDuring(server, async () => {
    for (let round = 2; round <= 11; round++) {
      await sleep(300);
      await server.project.write("version.ts", versionFile(String(round)));
      assertEquals((await server.hangUp()).event, "reload_done");
      if (round % 5 === 0) seen.push(...(await server.status()).generations);
    }
  });
  assertNothingLost(report);
  assert(report.total.ok > 100, `${report.total.ok} answers`);
  assert(seen.every(({ workers }) => workers.length === 4));
  await until("one generation", () => server.eventsOf("generation_ended").length === 10);
  for (const { outcome, cut } of server.eventsOf("generation_ended")) {
    assertEquals([outcome, cut], ["drained", 0]);
  }
  const answered = server.eventsOf("generation_ended").map(({ answered }) => Number(answered));
  assert(answered.reduce((sum, count) => sum + count, 0) > 0);
});
