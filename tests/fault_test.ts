/**
 * Every effect of the supervisor fails in turn, with processes of the test's own; and some of them on
 * real ones. All of them on real ones: deep/fault_test.ts.
 */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import type { Config } from "../lib/config/config.ts";
import { FakeWorld } from "./doubles/fake_world.ts";
import type { FaultName } from "./doubles/fault_name.ts";
import { faultsThat } from "./doubles/fault_outcomes.ts";
import { settle } from "./harness/fake_time.ts";
import { freePort } from "./harness/ports.ts";
import { processesIn } from "./harness/process.ts";
import { PLAIN_APP, REPOSITORY } from "./harness/project.ts";
import { Server } from "./harness/server.ts";
import { until } from "./harness/wait.ts";
import "./harness/libraries.ts";

const QUICK = { drainDeadlineMs: 300, idleGraceMs: 100 };

/** One more place to listen on. */
const MORE = { kind: "tcp", host: "127.0.0.1", port: 1, text: "127.0.0.1:1" } as const;

/** What a config must have for an effect to be used. */
function configFor(fault: FaultName): Partial<Config> {
  switch (fault) {
    case "landlockAbi":
      return { wall: "kernel" };
    default:
      return {};
  }
}

/** Fails once, when it is armed. */
class Fuse {
  armed: FaultName | undefined;

  readonly strike = (name: FaultName): void => {
    if (name !== this.armed) return;
    this.armed = undefined;
    throw new Error(`Fault: ${name}`);
  };
}

for (const fault of faultsThat("start", "fails")) {
  Deno.test(`decision: a start in which ${fault} fails says so, and leaves nothing`, async () => {
    const fuse = new Fuse();
    const world = await FakeWorld.create({ strike: fuse.strike });
    using _ = world.time;
    world.configure(configFor(fault));
    fuse.armed = fault;
    let failure: Error | undefined;
    void world.supervisor.start().catch((error) => failure = error);
    const { message } = await world.time.passUntil("the failure", () => failure);
    assertStringIncludes(message, `Fault: ${fault}`);
    await world.supervisor.stopped;
    await settle();
    assertEquals([fuse.armed, world.eventsOf("serving"), world.left()], [undefined, [], []]);
  });
}

for (const fault of faultsThat("reload", "refused")) {
  Deno.test(`decision: a reload in which ${fault} fails is refused, and the next one succeeds`, async () => {
    const fuse = new Fuse();
    await using world = await FakeWorld.start({ strike: fuse.strike });
    const before = world.config;
    const [old] = world.living();
    const more = configFor(fault);
    world.configure({ listen: [...before.listen, MORE], ...more });
    fuse.armed = fault;
    const refused = await world.reload();
    assertEquals([refused.outcome, refused.generation], ["refused", 1]);
    assertStringIncludes(refused.reason!, `Fault: ${fault}`);
    assertEquals(fuse.armed, undefined);
    await settle();
    // All of the candidate is gone, and nothing of the incumbent.
    assertEquals(world.processes.filter(({ alive }) => alive), [old!]);
    assertEquals([old!.accepting, old!.drainReason], [true, undefined]);
    assertEquals(world.spawners.filter(({ closed }) => !closed).length, 1);
    assertEquals(world.listeners.filter(({ closed }) => !closed).map(({ text }) => text), [
      before.listen[0]!.text,
    ]);
    world.configure({ wall: "deno" });
    assertEquals((await world.reload()).outcome, "done");
    assertEquals(world.supervisor.status().listeners.length, 2);
  });
}

for (const fault of faultsThat("reload", "done")) {
  Deno.test(`decision: a reload after whose switch ${fault} fails is done, and the old generation ends`, async () => {
    const fuse = new Fuse();
    await using world = await FakeWorld.start({ strike: fuse.strike });
    const { listen } = world.config;
    world.configure({ listen: [...listen, MORE] });
    assertEquals((await world.reload()).outcome, "done");
    await world.waitFor("generation_ended");
    world.configure({ listen });
    fuse.armed = fault;
    const done = await world.reload();
    assertEquals([done.outcome, done.generation], ["done", 3]);
    await world.waitFor("generation_ended", 2);
    assertEquals(fuse.armed, undefined);
    assertStringIncludes(
      world.eventsOf("best_effort_failed").map(({ reason }) => reason).join(),
      `Fault: ${fault}`,
    );
    const { generations, listeners } = world.supervisor.status();
    assertEquals(generations.map(({ generation }) => generation), [3]);
    assertEquals([listeners, world.living().length], [[listen[0]!.text], 1]);
    assertEquals((await world.reload()).outcome, "done");
  });
}

for (const fault of faultsThat("stop", "ends")) {
  Deno.test(`decision: a supervisor ends though ${fault} fails while it stops, and leaves nothing`, async () => {
    const fuse = new Fuse();
    await using world = await FakeWorld.start({ strike: fuse.strike });
    // The answer never comes, so that the stop goes as far as the signal.
    if (fault === "child signal") world.living()[0]!.hang();
    fuse.armed = fault;
    await world.stop();
    assertEquals([fuse.armed, world.left()], [undefined, []]);
    assertEquals(world.eventsOf("best_effort_failed").length, 1);
  });
}

const ENTRY = [join(REPOSITORY, "tests/doubles/faulty_supervisor.ts")];

Deno.test("a start in which the worker cannot be told to load says so, exits, and leaves nothing", async () => {
  const files = { fault: "child load" };
  await using server = await Server.start({ entry: ENTRY, files, wait: "exit" });
  const { code, signal } = await server.exited();
  assert(code !== 0 && signal === null, `${code} ${signal}`);
  assertStringIncludes(server.log, "Fault: child load");
  assertEquals(server.eventsOf("serving"), []);
  assertEquals(processesIn(server.project.folder), []);
});

Deno.test("effects that fail on real processes, one after the other: reloads are refused or done, and the stop ends", async () => {
  await using server = await Server.start({ entry: ENTRY, config: { reload: QUICK } });
  const { project } = server;
  const [old] = await server.workers();
  const listen = [`127.0.0.1:${project.port}`];
  await project.write("app.ts", PLAIN_APP.replace("one", "two"));
  await project.configure({ listen: [...listen, `127.0.0.1:${freePort()}`] });
  for (const fault of ["bindListener", "spawner spawn", "child handOver"] as const) {
    await project.write("fault", fault);
    const refused = await server.reload();
    assertEquals(refused.outcome, "refused", server.log);
    assertStringIncludes(refused.reason!, `Fault: ${fault}`);
    assertEquals([await server.text("/"), await server.workers()], ["one /", [old!]]);
    await until("the candidate to be gone", () => processesIn(project.folder).length === 1);
  }
  await project.write("fault", "child drain");
  assertEquals((await server.reload()).outcome, "done");
  assertEquals(await server.text("/"), "two /");
  // It could not be told, and is killed.
  await server.waitFor("generation_ended");
  await until("the new worker alone", () => processesIn(project.folder).length === 1);
  assertEquals((await server.status()).listeners.length, 2);
  await project.write("fault", "runtime close");
  server.signal("SIGTERM");
  assertEquals((await server.exited()).code, 0);
  assertStringIncludes(server.log, "Fault: runtime close");
});
