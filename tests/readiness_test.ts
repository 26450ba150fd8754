import { assert, assertEquals } from "@std/assert";
import { Wire } from "./harness/http.ts";
import { isAlive } from "./harness/process.ts";
import { runCommand, Server } from "./harness/server.ts";
import { until } from "./harness/wait.ts";

const ENGINES = ["native", "node"] as const;

const APP = `
export default {
  async fetch(request) {
    const { pathname } = new URL(request.url);
    if (pathname === "/slow") await new Promise((resolve) => setTimeout(resolve, 500));
    return new Response("app " + pathname);
  },
};
`;

interface Settings {
  readonly readiness?: string;
  readonly reload?: Record<string, number>;
}

async function start(engine: typeof ENGINES[number], settings: Settings): Promise<Server> {
  const config = { engine, ...settings };
  return await Server.start({ files: { "app.ts": APP }, config });
}

/** Asks on a connection of its own. */
async function ask(server: Server, path: string): Promise<string> {
  const answer = await server.get(path);
  return `${answer.status} ${(await answer.text()).trim()}`;
}

for (const engine of ENGINES) {
  Deno.test(`${engine}: the worker answers the readiness path alone, and 200 through a reload`, async () => {
    await using server = await start(engine, { readiness: "/ready" });
    using kept = await Wire.open(server.project.port);
    assertEquals((await kept.ask("/ready")).text, "ready\n");
    assertEquals(await ask(server, "/ready?from=balancer"), "200 ready");
    for (const path of ["/", "/ready/", "/readyness", "/at/ready"]) {
      assertEquals(await ask(server, path), `200 app ${path}`);
    }
    assertEquals((await server.hangUp()).event, "reload_done");
    // The one that is replaced, on the connection that it still has.
    const { status, text } = await kept.ask("/ready");
    assertEquals({ status, text }, { status: 200, text: "ready\n" });
    assertEquals(await ask(server, "/ready"), "200 ready");
  });

  Deno.test(`${engine}: a stop is announced by 503 while all else is accepted and answered`, async () => {
    await using server = await start(engine, {
      readiness: "/ready",
      reload: { announceMs: 4_000, idleGraceMs: 0, drainDeadlineMs: 1_000 },
    });
    server.signal("SIGTERM");
    await until("the announcement", async () => await ask(server, "/ready") === "503 draining");
    assertEquals(await ask(server, "/"), "200 app /");
    assertEquals(await ask(server, "/slow"), "200 app /slow");
    const { outcome, drainMs } = await server.waitFor("generation_ended");
    assertEquals(outcome, "drained");
    assert(Number(drainMs) >= 4_000, `${drainMs}`);
    assertEquals((await server.exited()).code, 0);
  });

  Deno.test(`${engine}: without a readiness path the app answers every path`, async () => {
    await using server = await start(engine, {});
    assertEquals(await ask(server, "/ready"), "200 app /ready");
  });
}

Deno.test("a second TERM cuts the announcement short", async () => {
  await using server = await start("native", {
    readiness: "/ready",
    reload: { announceMs: 600_000 },
  });
  server.signal("SIGTERM");
  await until("the announcement", async () => await ask(server, "/ready") === "503 draining");
  server.signal("SIGTERM");
  assertEquals((await server.exited()).code, 0);
  assertEquals(server.eventsOf("generation_ended")[0]?.outcome, "killed");
});

Deno.test("a worker whose supervisor is gone leaves without an announcement", async () => {
  await using server = await start("native", {
    readiness: "/ready",
    reload: { announceMs: 600_000 },
  });
  const [worker] = await server.workers();
  server.signal("SIGKILL");
  await until("the end of the worker", () => !isAlive(worker!));
  await Deno.remove(server.project.path(".holdfast"), { recursive: true });
});

Deno.test("an announcement that nobody would hear, or a path that none could ask, is refused", async () => {
  await using server = await start("native", {});
  const check = async (settings: Settings) => {
    await server.project.configure({ ...settings });
    return (await runCommand(server.project, "check")).stderr;
  };
  const unheard = await check({ reload: { announceMs: 1 } });
  assert(unheard.includes("nobody would hear of it"), unheard);
  for (const readiness of ["ready", "/", "/a/../b", "/a?b", "/ä"]) {
    const stderr = await check({ readiness });
    assert(stderr.includes("expected a path such as"), stderr);
  }
  assertEquals(await check({ readiness: "/.well-known/ready" }), "");
});
