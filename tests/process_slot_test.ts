/**
 * A slot by itself, with processes and a time of the test's own: what takes place at the moments that no
 * order from outside can hit. What it decides is in the tests of its states.
 */
import { assertEquals, assertRejects } from "@std/assert";
import { HoldfastError } from "../lib/base/error.ts";
import { bringUp } from "../lib/supervisor/bring_up.ts";
import type { SpawnRequest } from "../lib/supervisor/spawner_message.ts";
import { ProcessSlot, type SlotOptions } from "../lib/supervisor/process_slot.ts";
import { type FakeProcess, FakeSpawner, FakeWorld } from "./doubles/fake_world.ts";

/** A slot, and the world in which its processes live. */
class SlotWorld implements AsyncDisposable {
  readonly slot: ProcessSlot;
  /** Keeps a process that accepts from being taken for one that serves. */
  taking: Promise<void> = Promise.resolve();
  /** Keeps the next spawner from being confined. */
  confining: Promise<void> = Promise.resolve();

  private constructor(readonly world: FakeWorld, options: Partial<SlotOptions>) {
    const spawner = () => {
      const spawner = new FakeSpawner(world);
      world.spawners.push(spawner);
      return { spawner, request: {} as SpawnRequest };
    };
    let workers = 0;
    this.slot = new ProcessSlot({
      role: { kind: "worker" },
      generation: 1,
      config: world.config,
      first: spawner(),
      next: async () => {
        const next = spawner();
        await this.confining;
        return next;
      },
      nextWorker: () => ++workers,
      restart: "always",
      bringUp: async (process, signal) => {
        const grants = { read: [], write: [], net: [], env: [], sys: [] };
        const listener = { text: "127.0.0.1:1", duplicate: () => -1 };
        const { config } = world;
        await bringUp(process, { config, listeners: [listener], grants, signal });
        await this.taking;
      },
      ...options,
    });
  }

  static async create(options: Partial<SlotOptions> = {}): Promise<SlotWorld> {
    return new SlotWorld(await FakeWorld.create(), options);
  }

  /** One whose first process serves. */
  static async start(options: Partial<SlotOptions> = {}): Promise<SlotWorld> {
    const found = await SlotWorld.create(options);
    await found.passUntil(found.slot.start(new AbortController().signal));
    return found;
  }

  get processes(): FakeProcess[] {
    return this.world.processes;
  }

  /** Lets time pass until `promise` settles. */
  async passUntil<T>(promise: Promise<T>): Promise<T> {
    let settled = false;
    const done = () => settled = true;
    promise.then(done, done);
    await this.world.time.passUntil("the outcome", () => settled);
    return await promise;
  }

  /** How all leave that are left. */
  async drain(): Promise<string[]> {
    const outcomes = await this.passUntil(this.slot.drain("stopping"));
    return outcomes.map(({ end, drained }) => drained ? end : `${end} without a word`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.slot.cut();
    await this.world.time.pass(0);
    this.slot.close();
    await this.world[Symbol.asyncDispose]();
  }
}

Deno.test("slot: one that came up as a drain began is drained too, and is counted", async () => {
  await using it = await SlotWorld.start();
  const taking = Promise.withResolvers<void>();
  it.taking = taking.promise;
  void it.slot.recycle().catch(() => {});
  await it.world.time.pass(0);
  assertEquals(it.processes.map(({ accepting }) => accepting), [true, true]);
  const outcomes = it.drain();
  await it.world.time.pass(0);
  // The one that serves is told at once, whatever the other one waits for.
  assertEquals(it.processes.map(({ drainReason }) => drainReason), ["stopping", undefined]);
  taking.resolve();
  assertEquals(await outcomes, ["ended", "ended"]);
  assertEquals(it.processes.map(({ killedAtMs }) => killedAtMs), [undefined, undefined]);
});

Deno.test("slot: one that came up as all was cut is killed", async () => {
  await using it = await SlotWorld.start();
  const taking = Promise.withResolvers<void>();
  it.taking = taking.promise;
  void it.slot.recycle().catch(() => {});
  await it.world.time.pass(0);
  it.slot.cut();
  taking.resolve();
  await it.world.time.pass(0);
  assertEquals(it.processes.map(({ killedAtMs }) => killedAtMs), [0, 0]);
  assertEquals(it.world.eventsOf("worker_lost"), []);
});

Deno.test("slot: a drain does not wait with the one that serves until the next one's wall is built, and none is spawned behind it", async () => {
  await using it = await SlotWorld.start();
  const confining = Promise.withResolvers<void>();
  it.confining = confining.promise;
  void it.slot.recycle().catch(() => {});
  let outcomes: string[] | undefined;
  void it.drain().then((found) => outcomes = found);
  await it.world.time.pass(1_000);
  assertEquals([it.processes[0]!.alive, outcomes], [false, undefined]);
  confining.resolve();
  await it.world.time.pass(0);
  assertEquals([outcomes, it.processes.length], [["ended"], 1]);
  assertEquals(it.world.spawners.map(({ closed }) => closed), [true, true]);
});

Deno.test("slot: a kill is over when nothing is left, also of one that was to take the place", async () => {
  await using it = await SlotWorld.start();
  const confining = Promise.withResolvers<void>();
  it.confining = confining.promise;
  it.processes[0]!.exit();
  await it.world.time.pass(200);
  let killed = false;
  void it.slot.kill().then(() => killed = true);
  await it.world.time.pass(1_000);
  assertEquals(killed, false);
  confining.resolve();
  await it.world.time.pass(0);
  assertEquals([killed, it.world.spawners.every(({ closed }) => closed)], [true, true]);
});

Deno.test("slot: a start that fails says why, and is not tried again", async () => {
  await using it = await SlotWorld.create();
  it.world.behave = () => ({ before: "ready", does: { fails: "no database" } });
  const start = it.slot.start(new AbortController().signal);
  await assertRejects(() => it.passUntil(start), HoldfastError, "no database");
  await it.world.time.pass(60_000);
  assertEquals([it.processes.length, it.world.eventsOf("worker_start_failed")], [1, []]);
});

Deno.test("slot: what gives up a start gives up nothing when it is over", async () => {
  const starting = new AbortController();
  await using it = await SlotWorld.create();
  await it.passUntil(it.slot.start(starting.signal));
  starting.abort(new Error("the reload is over"));
  it.processes[0]!.exit();
  await it.world.waitFor("worker_ready", 2);
  assertEquals(it.processes[1]!.accepting, true);
});

Deno.test("slot: one that is not to be restarted is not, and drains without a word", async () => {
  await using it = await SlotWorld.start({ restart: "never" });
  it.processes[0]!.exit();
  await it.world.time.pass(60_000);
  assertEquals([it.processes.length, it.world.eventsOf("worker_lost").length], [1, 1]);
  assertEquals(await it.drain(), ["ended without a word"]);
});

Deno.test("slot: an order to take another one says so when that does not start", async () => {
  await using it = await SlotWorld.start();
  it.world.behave = () => ({ before: "ready", does: { exits: 3 } });
  const told = "Another worker did not start";
  await assertRejects(() => it.passUntil(it.slot.recycle()), Error, told);
  assertEquals(it.processes.map(({ accepting }) => accepting), [true, false]);
  it.world.behave = () => ({});
  await it.passUntil(it.slot.recycle());
  assertEquals(it.processes.map(({ drainReason }) => drainReason), [
    "replaced",
    undefined,
    undefined,
  ]);
});

Deno.test("slot: what is in the way is killed in a drain too", async () => {
  await using it = await SlotWorld.start({
    health: ({ figures: { inFlight } }) =>
      inFlight > 1 ? { act: "kill", reason: "held on to a call" } : undefined,
  });
  it.processes[0]!.hold();
  const outcomes = it.drain();
  await it.world.time.pass(1_000);
  assertEquals(it.processes[0]!.alive, true);
  it.processes[0]!.hold();
  assertEquals(await outcomes, ["ended without a word"]);
  assertEquals(it.world.time.nowMs < it.world.config.reload.drainDeadlineMs, true);
});
