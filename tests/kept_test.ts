/** Old generations that live on for their WebSockets: what the supervisor decides, in no time. */
import { assert, assertEquals } from "@std/assert";
import type { Config } from "../lib/config/config.ts";
import { type FakeProcess, FakeWorld } from "./doubles/fake_world.ts";
import "./harness/libraries.ts";

/** How long they are kept; a real one has hours. */
const KEEP_MS = 600_000;
const RELOAD: Config["reload"] = {
  ...{ readyDeadlineMs: 10_000, idleGraceMs: 0, drainDeadlineMs: 30_000, shutdownDelayMs: 0 },
  ...{ maxDraining: 2, keep: 5, spreadMs: 0 },
  ...{ webSockets: "keep", keepDeadlineMs: KEEP_MS, maxKept: 2 },
};

function serving(world: FakeWorld): FakeProcess {
  return world.living().find(({ accepting }) => accepting)!;
}

/** Gives the worker that serves a WebSocket, and reloads. */
async function reloadWithSocket(world: FakeWorld): Promise<FakeProcess> {
  const worker = serving(world);
  worker.webSockets = 1;
  worker.pulse();
  assertEquals((await world.reload()).outcome, "done");
  await world.time.pass(1_000);
  return worker;
}

function states(world: FakeWorld): string[] {
  return world.supervisor.status().generations.map(({ generation, state }) =>
    `${generation} ${state}`
  );
}

Deno.test("decision: an old generation lives on for its WebSockets, and ends with the last of them", async () => {
  await using world = await FakeWorld.start({ config: { reload: RELOAD } });
  const old = await reloadWithSocket(world);
  await world.time.pass(KEEP_MS / 2);
  assertEquals(old.drains, ["replaced, keep"]);
  assertEquals(states(world), ["1 kept", "2 serving"]);
  const [{ endsInMs, workers }] = world.supervisor.status().generations as [never];
  assert(endsInMs! < KEEP_MS / 2 && endsInMs! > KEEP_MS / 2 - 5_000, `${endsInMs}`);
  assertEquals((workers as { process: { webSockets: number } }[])[0]!.process.webSockets, 1);
  old.endWebSockets();
  await world.time.pass(1_000);
  assertEquals(states(world), ["2 serving"]);
  const [{ outcome, cut, drainMs, keptMs }] = world.eventsOf("generation_ended") as never as [
    { outcome: string; cut: number; drainMs: number; keptMs: number },
  ];
  assertEquals([outcome, cut], ["drained", 0]);
  assert(drainMs < 2_000 && keptMs >= KEEP_MS / 2, `${drainMs} ${keptMs}`);
});

Deno.test("decision: what is kept is closed at its deadline, and killed if it does not obey", async () => {
  await using world = await FakeWorld.start({ config: { reload: RELOAD } });
  const [obeys, defies] = [await reloadWithSocket(world), await reloadWithSocket(world)];
  defies.defiant = true;
  await world.time.pass(KEEP_MS);
  assertEquals(obeys.drains, ["replaced, keep", "replaced"]);
  assertEquals(obeys.alive, false);
  assertEquals(defies.drains.at(-1), "replaced");
  assertEquals([defies.alive, defies.killedAtMs], [true, undefined]);
  await world.time.pass(33_000);
  assert(defies.killedAtMs !== undefined, "lives on");
  assertEquals(states(world), ["3 serving"]);
});

Deno.test("decision: of more generations than are kept the oldest ends, and none of them counts as draining", async () => {
  await using world = await FakeWorld.start({ config: { reload: RELOAD } });
  const olds: FakeProcess[] = [];
  for (let round = 0; round < 5; round++) olds.push(await reloadWithSocket(world));
  assertEquals(world.eventsOf("reload_waits"), []);
  assertEquals(states(world), ["4 kept", "5 kept", "6 serving"]);
  assertEquals(olds.map(({ drains }) => drains.length), [2, 2, 2, 1, 1]);
  assertEquals(
    world.eventsOf("kept_generation_ends").map(({ generation }) => generation),
    [1, 2, 3],
  );
});

Deno.test("decision: a request that does not end holds a reload up, until its deadline and no longer", async () => {
  await using world = await FakeWorld.start({
    config: { reload: { ...RELOAD, maxDraining: 1 } },
  });
  const old = serving(world);
  old.defiant = true;
  assertEquals((await world.reload()).outcome, "done");
  const waiting = world.supervisor.reload();
  await world.time.pass(31_000);
  assertEquals(world.supervisor.status().reload, "waiting");
  await world.time.pass(3_000);
  assertEquals((await waiting).outcome, "done");
  assertEquals(states(world), ["1 kept", "3 serving"]);
  await world.time.pass(KEEP_MS + 35_000);
  assert(old.killedAtMs !== undefined, "lives on");
});

Deno.test("decision: a stop closes what is kept, and waits for no deadline of hours", async () => {
  const world = await FakeWorld.start({ config: { reload: RELOAD } });
  const old = await reloadWithSocket(world);
  await world.stop(1_000);
  assertEquals(old.drains, ["replaced, keep", "stopping"]);
  assertEquals(old.killedAtMs, undefined);
  await world[Symbol.asyncDispose]();
});

Deno.test("decision: a kept worker that hangs is killed, and nobody takes its place", async () => {
  await using world = await FakeWorld.start({ config: { reload: RELOAD } });
  const old = await reloadWithSocket(world);
  await world.time.pass(5_000);
  old.hang();
  await world.time.pass(15_000);
  assert(old.killedAtMs !== undefined, "lives on");
  assertEquals(world.eventsOf("worker_stuck").length, 1);
  assertEquals(states(world), ["2 serving"]);
  assertEquals(world.processes.length, 2);
});

Deno.test("decision: a worker that is recycled keeps nothing, and neither does one that is told to by no config", async () => {
  await using world = await FakeWorld.start({
    config: { reload: RELOAD, recycle: { maxRequests: 10 } },
  });
  const recycled = serving(world);
  recycled.webSockets = 1;
  recycled.answered = 20;
  recycled.pulse();
  await world.time.pass(15_000);
  assertEquals(recycled.drains, ["replaced"]);
  world.configure({ reload: { ...RELOAD, webSockets: "close" }, recycle: {} });
  assertEquals((await reloadWithSocket(world)).drains, ["replaced"]);
});

Deno.test("decision: the config in force says whether WebSockets are kept, and ends those that were", async () => {
  await using world = await FakeWorld.start({
    config: { reload: { ...RELOAD, webSockets: "close" } },
  });
  world.configure({ reload: RELOAD });
  const kept = await reloadWithSocket(world);
  assertEquals(states(world), ["1 kept", "2 serving"]);
  world.configure({ reload: { ...RELOAD, webSockets: "close" } });
  const closed = await reloadWithSocket(world);
  assertEquals([kept, closed].map(({ drains }) => drains), [
    ["replaced, keep", "replaced"],
    ["replaced"],
  ]);
  assertEquals(states(world), ["3 serving"]);
  assertEquals(world.eventsOf("kept_generation_ends").map(({ reason }) => reason), ["webSockets"]);
});
