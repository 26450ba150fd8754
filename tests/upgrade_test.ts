/** The supervisor's own program is replaced while it serves: in its place, and with nothing lost. */
import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { Held, HOLDING_APP, STAYING_APP } from "./harness/held.ts";
import { Wire } from "./harness/http.ts";
import { GATE, GATE_FILES, GATE_UNVEIL, untilWorkers } from "./harness/life.ts";
import { freePort } from "./harness/ports.ts";
import { isAlive, listeningInode, processesIn, readStatus } from "./harness/process.ts";
import { runLongCommand, Server } from "./harness/server.ts";
import { until } from "./harness/wait.ts";

/** Talks all the time, as loudly as it can. */
const TALKING_APP = `setInterval(() => console.log("talk ".repeat(200)), 5);\n${HOLDING_APP}`;

/** How long a command waits that upgrades. */
const LONG_MS = 120_000;

async function upgrades(server: Server): Promise<number> {
  return (await server.status()).upgrades;
}

Deno.test("an upgrade keeps process, listener and what is in flight, is refused where nothing comes up, and ends by TERM", async (t) => {
  await using server = await Server.start({
    files: { "app.ts": TALKING_APP, ...GATE_FILES },
    config: {
      readiness: "/ready",
      unveil: GATE_UNVEIL,
      reload: { drainDeadlineMs: 60_000, idleGraceMs: 30_000 },
    },
  });
  const { project } = server;
  const before = { pid: (await server.status()).pid, inode: listeningInode(project.port) };
  const [old] = await server.workers();

  await t.step(
    "a worker in the middle of a request finishes it, and the old ones serve until the new ones do",
    async () => {
      using held = await Held.begin(project);
      using kept = await Wire.open(project.port);
      assertEquals((await kept.ask("/ready")).text, "ready\n");
      // The rehearsal brings up a whole generation, and so does the new program: both wait at the gate.
      await project.write("app.ts", TALKING_APP.replace('"one"', '"two"') + GATE);
      server.signal("SIGUSR2");
      await untilWorkers(server, 2);
      server.signal("SIGUSR2");
      const { reason } = await server.waitFor("upgrade_refused");
      assertStringIncludes(String(reason), "under way");
      const reload = runLongCommand(LONG_MS, project, "reload");
      await until("the reload to wait", async () => (await server.status()).reload === "waiting");
      await project.write("gate/open", "");
      await server.waitFor("upgrading");
      await until("the exec", async () => {
        return await server.status().then((status) => status.upgrades === 1, () => false);
      });
      await untilWorkers(server, 2);
      assertEquals(await server.text("/m"), "one /m");
      await project.write("gate/open", "");
      await server.waitFor("serving", 2);
      assertEquals(await server.text("/m"), "two /m");
      // The old one, on a connection that it still has: it was replaced, and nobody stops.
      const { status, text } = await kept.ask("/ready");
      assertEquals({ status, text }, { status: 200, text: "ready\n" });
      // What it prints is read still.
      await until(
        "what the old one prints",
        () => server.eventsOf("worker_output").some(({ role }) => role === "former"),
      );
      assertEquals(await held.release(), "one whole");
      // Reaped, too: a zombie has a status file still.
      await until("the old worker to leave", () => !readStatus(old!));
      const after = await server.status();
      assertEquals({ pid: after.pid, inode: listeningInode(project.port) }, before);
      assertEquals(after.generations.map(({ generation }) => generation), [2]);
      // What was asked for meanwhile is part of it.
      const { code, stdout, stderr } = await reload;
      assertEquals(code, 0, stderr);
      assertStringIncludes(stdout, "Generation 2 serves");
      assertEquals(server.eventsOf("reload_merged").map(({ into }) => into), ["upgrade"]);
    },
  );

  await t.step("what it is now can all that it could before", async () => {
    await project.write("app.ts", TALKING_APP.replace('"one"', '"three"'));
    assertEquals((await server.reload()).outcome, "done");
    assertEquals(await server.text("/"), "three /");
    assertEquals(await upgrades(server), 1);
  });

  await t.step(
    "a command upgrades and waits; a new version that does not come up is refused",
    async () => {
      const done = await runLongCommand(LONG_MS, project, "upgrade");
      assertEquals(done.code, 0, done.stderr);
      assertMatch(done.stdout, /serves generation 4, pid /);
      const cases: [string, () => Promise<void>][] = [
        ["app.ts", () => project.write("app.ts", "export default {")],
        ["lisen", () => project.configure({ lisen: [] })],
      ];
      for (const [found, spoil] of cases) {
        await spoil();
        const refused = await runLongCommand(LONG_MS, project, "upgrade");
        assertEquals(refused.code, 1, refused.stderr);
        assertStringIncludes(refused.stderr, found);
        assertEquals(await server.text("/a"), "three /a");
        assertEquals(await upgrades(server), 2);
        await project.write("app.ts", HOLDING_APP + GATE);
      }
      assertStringIncludes((await server.status()).upgradeRefused ?? "", "lisen");
      await project.configure({ lisen: undefined });
    },
  );

  await t.step("TERM while an upgrade rehearses ends it all", async () => {
    await untilWorkers(server, 1);
    server.signal("SIGUSR2");
    await untilWorkers(server, 2);
    assertEquals((await server.stop()).code, 0, server.log);
    assert(!isAlive(server.pid));
    await until("nothing to be left", () => processesIn(project.folder).length === 0);
  });
});

Deno.test("of several workers too, an old one says after an upgrade that somebody serves here", async () => {
  await using server = await Server.start({
    files: { "app.ts": HOLDING_APP },
    config: {
      workers: 2,
      readiness: "/ready",
      reload: { drainDeadlineMs: 60_000, idleGraceMs: 30_000 },
    },
  });
  // Enough for each of the two to have some.
  const kept = await Promise.all(Array.from({ length: 12 }, () => Wire.open(server.project.port)));
  try {
    for (const wire of kept) assertEquals((await wire.ask("/ready")).status, 200);
    const done = await runLongCommand(LONG_MS, server.project, "upgrade");
    assertEquals(done.code, 0, done.stderr);
    const statuses = await Promise.all(kept.map(async (wire) => (await wire.ask("/ready")).status));
    assertEquals(statuses, kept.map(() => 200));
  } finally {
    for (const wire of kept) wire[Symbol.dispose]();
  }
});

Deno.test("an upgrade whose start fails leaves the old processes serving on every listener, and HUP tries again", async () => {
  const [metrics, more] = [freePort(), freePort()];
  await using server = await Server.start({
    files: { "app.ts": HOLDING_APP },
    config: { metrics: { listen: `127.0.0.1:${metrics}` } },
  });
  const { project } = server;
  const look = async () => ({
    inodes: [project.port, metrics].map(listeningInode),
    app: await server.text("/a"),
    // A connection of its own: one that is kept open may end with the process that it leads to.
    figures: (await (await fetch(`http://127.0.0.1:${metrics}/metrics`, {
      headers: { connection: "close" },
    })).text()).length > 0,
  });
  const before = await look();
  // The rehearsal does not see it, since it binds nothing that is in use.
  const taken = Deno.listen({ hostname: "127.0.0.1", port: more });
  await project.configure({ listen: [`127.0.0.1:${project.port}`, `127.0.0.1:${more}`] });
  server.signal("SIGUSR2");
  const { reason } = await server.waitFor("upgrade_unfinished");
  assertStringIncludes(String(reason), `127.0.0.1:${more}`);
  const { state, upgrades, upgradeRefused } = await server.status();
  assertEquals({ state, upgrades, upgradeRefused }, {
    state: "upgrading",
    upgrades: 1,
    upgradeRefused: String(reason),
  });
  assertEquals(await look(), before);
  taken.close();
  assertEquals((await server.reload()).outcome, "done");
  assertEquals(await look(), before);
  const after = await server.status();
  assertEquals([after.state, after.listeners.length], ["serving", 2]);
  assert(after.metrics?.process, server.log);
});

Deno.test("an old process that does not leave after an upgrade is shown, and killed at the deadline", async () => {
  await using server = await Server.start({
    files: { "app.ts": STAYING_APP },
    config: {
      workers: 2,
      reload: { drainDeadlineMs: 1_500, idleGraceMs: 0 },
    },
  });
  const { project } = server;
  const old = await server.workers();
  await project.write("app.ts", HOLDING_APP);
  server.signal("SIGUSR2");
  await server.waitFor("serving", 2);
  const { former = [], generations } = await server.status();
  const shown = former.map(({ pid, role }) => `${role} ${pid}`).sort();
  assertEquals(shown, old.map((pid, index) => `worker.${index} ${pid}`));
  for (const { endsInMs, memoryBytes, descriptors } of former) {
    assert(endsInMs !== null && endsInMs > 0 && memoryBytes > 0 && descriptors > 0);
  }
  assertEquals(generations.map(({ generation }) => generation), [2]);
  const { stdout } = await runLongCommand(LONG_MS, project, "status");
  assertMatch(stdout, new RegExp(`worker.0 \\(former\\) +draining +${old[0]}\\b`));
  await server.waitFor("former_process_killed", 2);
  await until("their ends", () => old.every((pid) => !readStatus(pid)));
  assertEquals((await server.status()).former, []);
  // What is logged comes another way than what is asked.
  await server.waitFor("old_process_exited", 2);
  assertEquals(server.eventsOf("old_process_exited").length, 2);
});

Deno.test("a stop does not wait beyond the deadline for what an upgrade has left", async () => {
  await using server = await Server.start({
    files: { "app.ts": HOLDING_APP.replace('"/die") Deno.exit(9);', '"/loop") while (true);') },
    config: { reload: { drainDeadlineMs: 1_500, idleGraceMs: 0 } },
  });
  const { project } = server;
  const [old] = await server.workers();
  // Its event loop stands still from here on: it hears nothing.
  server.get("/loop").catch(() => {});
  server.signal("SIGUSR2");
  await server.waitFor("serving", 2);
  assert(isAlive(old!));
  server.signal("SIGTERM");
  assertEquals((await server.exited()).code, 0);
  assertEquals(server.eventsOf("former_process_killed").map(({ pid }) => pid), [old]);
  assertEquals(processesIn(project.folder), []);
});
