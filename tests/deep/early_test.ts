/** Workers that are started while their version is planned: what they become, and that none is left. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { servingWorkers, version, workersOf } from "../harness/life.ts";
import { holdsListener, isAlive, plannersOf, readStatus } from "../harness/process.ts";
import { Server } from "../harness/server.ts";
import { until } from "../harness/wait.ts";

/** Says its version, a variable, and what is in a file. */
const READER = version("one").replace(
  "new URL(request.url).pathname",
  "Deno.env.get('COLOUR') + ' ' + Deno.readTextFileSync(new URL(request.url).pathname)",
);

/** Begins a reload, and holds it while it is planned. */
async function beginReload(server: Server) {
  const serving = await servingWorkers(server);
  server.signal("SIGHUP");
  const planner = await until("a planner", () => plannersOf(server.project.folder)[0]);
  Deno.kill(planner, "SIGSTOP");
  const early = await until(
    "a worker that is early",
    () => workersOf(server.project).find((pid) => !serving.includes(pid)),
  );
  return { early, goOn: () => Deno.kill(planner, "SIGCONT") };
}

/** The same, to its end. */
async function reload(
  server: Server,
  meanwhile: (early: number) => Promise<void> = async () => {},
) {
  const events = ["reload_done", "reload_refused"].map((name) =>
    [name, server.eventsOf(name).length] as const
  );
  const { early, goOn } = await beginReload(server);
  try {
    await meanwhile(early);
  } finally {
    goOn();
  }
  const outcome = await Promise.race(
    events.map(([name, count]) => server.waitFor(name, count + 1)),
  );
  return { early, outcome };
}

Deno.test("a worker that was started early serves only what asks for the very same", async (t) => {
  await using server = await Server.start({
    files: { "app.ts": READER, "data/a.txt": "a", "other/a.txt": "b" },
    config: {
      ...{ reload: { idleGraceMs: 100 }, env: { COLOUR: "red" } },
      unveil: { "./data": "r" },
    },
  });
  const { project } = server;
  const [data, other] = ["data/a.txt", "other/a.txt"].map((path) => project.path(path));

  await t.step("new modules: it is shown nowhere until it serves them", async () => {
    await project.write("app.ts", READER.replace("one", "two"));
    const { early, outcome } = await reload(server, async (early) => {
      const { generations } = await server.status();
      const pids = generations.flatMap(({ workers }) => workers.map(({ process }) => process?.pid));
      assertEquals([generations.length, pids.includes(early)], [1, false]);
      // It is behind its wall, and was given nothing: a worker that serves has a listener.
      const [serving] = await servingWorkers(server);
      const held = await until("both programs", () => {
        const status = readStatus(early);
        const filters = Number(status?.Seccomp_filters);
        return filters === Number(readStatus(serving!)?.Seccomp_filters) && status;
      });
      assertEquals([held.NoNewPrivs, held.CapEff, held.CapPrm], [
        "1",
        ...Array(2).fill("0".repeat(16)),
      ]);
      assertEquals(
        [serving!, early].map((pid) => holdsListener(pid, project.port)),
        [true, false],
      );
    });
    assertEquals([outcome.event, await servingWorkers(server)], ["reload_done", [early]]);
    assertEquals(await server.text(data), "two red a");
  });

  const changes: Record<string, [change: () => Promise<void>, path: string, answer: string]> = {
    "another variable": [() => project.configure({ env: { COLOUR: "blue" } }), data!, "two blue a"],
    "another unveil": [
      () => project.configure({ unveil: { "./other": "r" } }),
      other!,
      "two blue b",
    ],
    "other limits": [
      () => project.configure({ limits: { descriptors: 500 } }),
      other!,
      "two blue b",
    ],
  };
  for (const [what, [change, path, answer]] of Object.entries(changes)) {
    await t.step(`${what}: it is ended, and another one serves`, async () => {
      await change();
      const { early, outcome } = await reload(server);
      assertEquals([outcome.event, isAlive(early)], ["reload_done", false]);
      assertEquals(await server.text(path), answer);
    });
  }

  await t.step(
    "another folder by the same name: it is behind the wall of the old one",
    async () => {
      const { early, outcome } = await reload(server, async () => {
        await Deno.rename(project.path("other"), project.path("gone"));
        await project.write("other/a.txt", "c");
      });
      assertEquals([outcome.event, isAlive(early)], ["reload_done", false]);
      assertEquals(await server.text(other), "two blue c");
    },
  );

  await t.step("a refused reload leaves none", async () => {
    const before = await servingWorkers(server);
    await project.write("app.ts", "import './missing.ts'; export default {};");
    const { early, outcome } = await reload(server);
    assertEquals([outcome.event, isAlive(early)], ["reload_refused", false]);
    assertEquals(await servingWorkers(server), before);
    assertEquals(workersOf(project), before);
  });

  await t.step("an order to stop leaves none", async () => {
    const { early } = await beginReload(server);
    assertEquals((await server.stop()).code, 0);
    assertEquals(isAlive(early), false);
  });

  // It is nobody's: what has become of it is not told.
  assertEquals(["worker_lost", "worker_start_failed"].flatMap((name) => server.eventsOf(name)), []);
  const ready = server.eventsOf("worker_ready").map(({ worker }) => worker);
  assertEquals(ready, ready.map((_, index) => index + 1));
  assert(!server.log.includes("worker_violation"), server.log);
  assertStringIncludes(server.log, "stopped");
});
