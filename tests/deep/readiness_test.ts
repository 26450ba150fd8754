import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { loadConfig } from "../../lib/config/load.ts";
import { HOLDING_APP } from "../harness/held.ts";
import { Wire } from "../harness/http.ts";
import { isAlive } from "../harness/process.ts";
import { Project } from "../harness/project.ts";
import { Server } from "../harness/server.ts";
import { until } from "../harness/wait.ts";

/** Asks on a connection of its own. */
async function ask(server: Server, path: string): Promise<string> {
  const answer = await server.get(path);
  return `${answer.status} ${(await answer.text()).trim()}`;
}

for (const engine of ["native", "node"] as const) {
  Deno.test(`${engine}: the worker answers the readiness path alone, 200 through a reload, and 503 when a stop is announced`, async () => {
    const shutdownDelayMs = 4_000;
    await using server = await Server.start({
      files: { "app.ts": HOLDING_APP },
      config: { engine },
    });
    // Without a readiness path the app answers every path.
    assertEquals(await ask(server, "/ready"), "200 one /ready");
    await server.project.configure({
      readiness: "/ready",
      reload: { shutdownDelayMs, idleGraceMs: 30_000, drainDeadlineMs: 60_000 },
    });
    assertEquals((await server.reload()).outcome, "done");
    using kept = await Wire.open(server.project.port);
    assertEquals((await kept.ask("/ready")).text, "ready\n");
    assertEquals(await ask(server, "/ready?from=balancer"), "200 ready");
    for (const path of ["/", "/ready/", "/readyness", "/at/ready"]) {
      assertEquals(await ask(server, path), `200 one ${path}`);
    }
    await server.project.configure({
      reload: { shutdownDelayMs, idleGraceMs: 0, drainDeadlineMs: 20_000 },
    });
    assertEquals((await server.reload()).outcome, "done");
    // The one that is replaced, on the connection that it still has.
    const { status, text, headers } = await kept.ask("/ready");
    assertEquals({ status, text }, { status: 200, text: "ready\n" });
    assertEquals(headers.get("connection"), "close");
    assertEquals(await ask(server, "/ready"), "200 ready");
    await server.waitFor("generation_ended", 2);

    server.signal("SIGTERM");
    await until("the announcement", async () => await ask(server, "/ready") === "503 draining");
    // All else is accepted and answered meanwhile.
    assertEquals(await ask(server, "/"), "200 one /");
    const body = "whole";
    const answer = await server.get("/hold", { method: "POST", body });
    assertEquals(await answer.text(), "one whole");
    const { outcome, drainMs } = await server.waitFor("generation_ended", 3);
    assertEquals(outcome, "drained");
    assert(Number(drainMs) >= shutdownDelayMs, `${drainMs}`);
    assertEquals((await server.exited()).code, 0);
  });
}

const LONG = { readiness: "/ready", reload: { shutdownDelayMs: 600_000 } };

Deno.test("a second TERM cuts the announcement short", async () => {
  await using server = await Server.start({ config: LONG });
  server.signal("SIGTERM");
  await until("the announcement", async () => await ask(server, "/ready") === "503 draining");
  await server.cut();
  assertEquals((await server.exited()).code, 0);
  assertEquals(server.eventsOf("generation_ended")[0]?.outcome, "killed");
});

Deno.test("a worker whose supervisor is gone leaves without an announcement", async () => {
  await using server = await Server.start({ config: LONG });
  const [worker] = await server.workers();
  server.signal("SIGKILL");
  await until("the end of the worker", () => !isAlive(worker!));
  await Deno.remove(server.project.path(".holdfast"), { recursive: true });
});

Deno.test("an announcement that nobody would hear, or a path that none could ask, is refused", async () => {
  await using project = await Project.create();
  const refusal = async (settings: Readonly<Record<string, unknown>>) => {
    await project.configure(settings);
    return (await assertRejects(() => loadConfig(project.configFile), Error)).message;
  };
  assertStringIncludes(
    await refusal({ reload: { shutdownDelayMs: 1 } }),
    "no load balancer could see the delay",
  );
  for (const readiness of ["ready", "/", "/a/../b", "/a?b", "/ä"]) {
    assertStringIncludes(await refusal({ readiness }), "expected a path such as");
  }
  await project.configure({ readiness: "/.well-known/ready" });
  assertEquals((await loadConfig(project.configFile)).readiness, "/.well-known/ready");
});
