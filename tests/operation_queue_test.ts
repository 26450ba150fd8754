/** What is asked of the supervisor at the same time: every pair, with operations of the test's own. */
import { assert, assertEquals, assertRejects } from "@std/assert";
import { join } from "node:path";
import {
  AT_THE_SAME_TIME,
  type OperationName,
  OperationQueue,
  type QueueClock,
  RELOAD_SPACING_MS,
} from "../lib/supervisor/operation_queue.ts";
import { REPOSITORY } from "./harness/project.ts";

const NAMES = Object.keys(AT_THE_SAME_TIME) as OperationName[];

/** A clock that stands still but for those who sleep. */
class FakeClock implements QueueClock {
  #nowMs = 0;
  #sleepers: { untilMs: number; wake(): void }[] = [];

  nowMs(): number {
    return this.#nowMs;
  }

  sleep(ms: number, signal: AbortSignal): Promise<void> {
    return new Promise((wake) => {
      this.#sleepers.push({ untilMs: this.#nowMs + ms, wake });
      signal.addEventListener("abort", () => wake(), { once: true });
    });
  }

  get sleepers(): number {
    return this.#sleepers.length;
  }

  async pass(ms: number): Promise<void> {
    this.#nowMs += ms;
    const due = this.#sleepers.filter(({ untilMs }) => untilMs <= this.#nowMs);
    this.#sleepers = this.#sleepers.filter(({ untilMs }) => untilMs > this.#nowMs);
    for (const { wake } of due) wake();
    await settle();
  }
}

/** Lets everything that waits for nothing but promises go on. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 30; turn++) await Promise.resolve();
}

type Results = Record<OperationName, string>;

/** A queue whose runs end when the test says so. */
class Asked {
  readonly clock = new FakeClock();
  /** In the order in which they began. */
  readonly runs: { name: OperationName; beganMs: number; run: PromiseWithResolvers<void> }[] = [];
  readonly releases: (number | undefined)[] = [];
  readonly outcomes: string[] = [];
  readonly merged: string[] = [];
  health: "starting" | "serving" | "failing" | "upgrading" = "serving";
  readonly queue: OperationQueue<Results>;

  constructor(mayRun?: (signal: AbortSignal) => Promise<void>) {
    const operation = (name: OperationName) => ({
      run: (release?: number) => {
        if (name === "rollback") this.releases.push(release);
        const run = Promise.withResolvers<void>();
        this.runs.push({ name, beganMs: this.clock.nowMs(), run });
        return run.promise;
      },
      outcome: (error: Error | undefined) => {
        const outcome = error ? `${name} refused: ${error.message}` : `${name} done`;
        this.outcomes.push(outcome);
        if (name === "start" && error) throw error;
        return outcome;
      },
      merged: (into: OperationName) => this.merged.push(`${name} into ${into}`),
    });
    this.queue = new OperationQueue<Results>(
      {
        start: operation("start"),
        reload: { ...operation("reload"), ...mayRun && { mayRun } },
        rollback: operation("rollback"),
        upgrade: operation("upgrade"),
        stop: operation("stop"),
      },
      () => this.health,
      this.clock,
    );
    // What ends by the signal ends.
    this.queue.signal.addEventListener("abort", () => {
      const { name, run } = this.runs.at(-1) ?? {};
      if (name !== "stop") run?.reject(this.queue.signal.reason);
    });
  }

  get names(): OperationName[] {
    return this.runs.map(({ name }) => name);
  }

  /** Ends the newest run. */
  async end(error?: Error): Promise<void> {
    const { run } = this.runs.at(-1)!;
    if (error) run.reject(error);
    else run.resolve();
    await settle();
    await this.clock.pass(RELOAD_SPACING_MS);
  }
}

for (const underWay of NAMES) {
  for (const asked of NAMES) {
    const rule = AT_THE_SAME_TIME[underWay][asked];
    Deno.test(`while a ${underWay} is under way, a ${asked} that is asked for ${rule.replace("refused", "is refused")}, and both leave an outcome`, async () => {
      const world = new Asked();
      const first = world.queue.ask(underWay);
      await settle();
      const second = world.queue.ask(asked);
      // The start is one that fails where it is given up.
      const outcomes = Promise.allSettled([first, second]);
      await settle();
      const { aborted } = world.queue.signal;
      switch (rule) {
        case "waits":
          assertEquals([world.names, aborted], [[underWay], false]);
          await world.end();
          assertEquals(world.names, [underWay, asked]);
          await world.end();
          assertEquals(world.outcomes, [`${underWay} done`, `${asked} done`]);
          break;
        case "refused": {
          assertEquals([world.names, aborted], [[underWay], underWay === "stop"]);
          await world.end();
          assertEquals(world.names, [underWay]);
          const [refused, done] = world.outcomes;
          assertEquals([refused!.startsWith(`${asked} refused: `), done], [
            true,
            `${underWay} done`,
          ]);
          break;
        }
        case "ends it":
          assertEquals([world.names, aborted], [[underWay, asked], true]);
          await world.end();
          assertEquals(world.outcomes, [
            `${underWay} refused: The supervisor is stopping`,
            `${asked} done`,
          ]);
          break;
        case "joins it":
          await world.end();
          assertEquals([world.names, world.outcomes], [[asked], [`${asked} done`]]);
      }
      const settled = (await outcomes).map((each) =>
        each.status === "fulfilled" ? each.value : `start refused: ${each.reason.message}`
      );
      assertEquals(new Set(settled), new Set(world.outcomes));
    });
  }
}

Deno.test("the table of the manual is the table of the code", async () => {
  const manual = await Deno.readTextFile(join(REPOSITORY, "docs/upgrade.md"));
  const cells = manual.split("\n").filter((line) => line.startsWith("| "))
    .map((line) => line.split("|").slice(1, -1).map((cell) => cell.trim().replaceAll("`", "")));
  const header = cells.findIndex(([first]) => first === "under way");
  const [, ...columns] = cells[header]!;
  const rows = cells.slice(header + 2, header + 2 + NAMES.length);
  const table = Object.fromEntries(rows.map(([name, ...rules]) => [
    name,
    Object.fromEntries(rules.map((rule, index) => [columns[index], rule])),
  ]));
  assertEquals(table, AT_THE_SAME_TIME as unknown);
});

Deno.test("of those that wait the upgrade goes first, and the reload is part of it unless it fails", async () => {
  const world = new Asked();
  void world.queue.ask("reload");
  await settle();
  const reload = world.queue.ask("reload");
  const upgrade = world.queue.ask("upgrade");
  const another = await world.queue.ask("upgrade");
  assertEquals(another, "upgrade refused: an upgrade is under way");
  await world.end();
  assertEquals(world.names, ["reload", "upgrade"]);
  world.queue.mergeWaiting();
  assertEquals(world.merged, ["reload into upgrade"]);
  await world.end(new Error("not replaced"));
  assertEquals([await upgrade, world.names.at(-1)], ["upgrade refused: not replaced", "reload"]);
  await world.end();
  assertEquals(await reload, "reload done");
});

Deno.test("an upgrade does not wait for the spacing or the drains that a reload waits for", async () => {
  const room = Promise.withResolvers<void>();
  const world = new Asked((signal) =>
    Promise.race([
      room.promise,
      new Promise<void>((resolve) => signal.addEventListener("abort", () => resolve())),
    ])
  );
  void world.queue.ask("reload");
  await settle();
  assertEquals([world.names, world.queue.reload], [[], "waiting"]);
  void world.queue.ask("upgrade");
  await settle();
  assertEquals(world.names, ["upgrade"]);
  await world.end(new Error("not replaced"));
  room.resolve();
  await settle();
  assertEquals(world.names, ["upgrade", "reload"]);
  void world.queue.ask("reload");
  world.runs.at(-1)!.run.resolve();
  await settle();
  assertEquals([world.clock.sleepers, world.queue.reload], [1, "waiting"]);
  void world.queue.ask("upgrade");
  await settle();
  assertEquals(world.names, ["upgrade", "reload", "upgrade"]);
  await world.end(new Error("not replaced"));
  assertEquals(world.names.at(-1), "reload");
  await world.end();
});

Deno.test("a stop refuses what waits at once, and waits for what is under way", async () => {
  const world = new Asked();
  const rest = Promise.withResolvers<void>();
  void world.queue.ask("start").catch(() => {});
  const waiting = [world.queue.ask("reload"), world.queue.ask("upgrade")];
  world.runs[0]!.run.reject = () => void rest.promise.then(() => world.runs[0]!.run.resolve());
  const stop = world.queue.ask("stop");
  assertEquals(await Promise.all(waiting), [
    "reload refused: The supervisor is stopping",
    "upgrade refused: The supervisor is stopping",
  ]);
  assertEquals(world.names, ["start"]);
  rest.resolve();
  await settle();
  assertEquals(world.names, ["start", "stop"]);
  await world.end();
  assertEquals(await stop, "stop done");
});

Deno.test("a start that fails is followed by a stop, and what waits is refused", async () => {
  const world = new Asked();
  const start = world.queue.ask("start");
  const reload = world.queue.ask("reload");
  world.runs[0]!.run.reject(new RangeError("broken"));
  await assertRejects(() => start, RangeError, "broken");
  await settle();
  assertEquals(await reload, "reload refused: The supervisor is stopping");
  assertEquals(world.names, ["start", "stop"]);
  await world.end();
  assertEquals(await world.queue.ask("stop"), "stop done");
});

Deno.test("the state is what the newest generation makes it, an upgrade, or the stop", async () => {
  const world = new Asked();
  const { queue } = world;
  for (const health of ["starting", "upgrading", "serving", "failing"] as const) {
    world.health = health;
    assertEquals(queue.state, health);
  }
  world.health = "starting";
  void queue.ask("start");
  void queue.ask("upgrade");
  assertEquals(queue.state, "starting");
  world.health = "serving";
  assertEquals(queue.state, "upgrading");
  await world.end();
  assertEquals([world.names.at(-1), queue.state], ["upgrade", "upgrading"]);
  world.health = "failing";
  assertEquals(queue.state, "failing");
  await world.end(new Error("not replaced"));
  world.health = "serving";
  assertEquals(queue.state, "serving");
  void queue.ask("reload");
  await settle();
  assertEquals([queue.state, queue.reload], ["serving", "running"]);
  void queue.ask("stop");
  assertEquals(queue.state, "stopping");
  await settle();
  await world.end();
  assertEquals([queue.state, queue.reload], ["stopping", "idle"]);
});

// ---- reloads ----

Deno.test("reloads that come while one runs count as one more, and all get its result", async () => {
  const world = new Asked();
  const first = world.queue.ask("reload");
  await settle();
  const later = Array.from({ length: 100 }, () => world.queue.ask("reload"));
  await settle();
  assertEquals([world.runs.length, world.queue.reload], [1, "running"]);
  await world.end();
  assertEquals([await first, world.runs.length], ["reload done", 2]);
  await world.end(new Error("broken"));
  assertEquals(new Set(await Promise.all(later)), new Set(["reload refused: broken"]));
  // Told once, however many have asked.
  assertEquals(world.outcomes, ["reload done", "reload refused: broken"]);
  await world.clock.pass(RELOAD_SPACING_MS);
  assertEquals([world.runs.length, world.queue.reload], [2, "idle"]);
});

Deno.test("reloads in a storm begin no closer than the spacing", async () => {
  const world = new Asked();
  for (let ms = 0; ms < 10 * RELOAD_SPACING_MS; ms += 10) {
    void world.queue.ask("reload");
    for (const { run } of world.runs) run.resolve();
    await world.clock.pass(10);
  }
  const gaps = world.runs.slice(1).map(({ beganMs }, index) =>
    beganMs - world.runs[index]!.beganMs
  );
  assertEquals(gaps.filter((gap) => gap < RELOAD_SPACING_MS), []);
  assert(world.runs.length >= 9, `${world.runs.length} runs`);
});

Deno.test("a reload that took long is followed by the next at once", async () => {
  const world = new Asked();
  void world.queue.ask("reload");
  await settle();
  void world.queue.ask("reload");
  await world.clock.pass(RELOAD_SPACING_MS);
  world.runs[0]!.run.resolve();
  await settle();
  assertEquals([world.runs.length, world.clock.sleepers], [2, 0]);
  await world.end();
});

Deno.test("reloads that come while one waits until it may begin count as that one", async () => {
  const room = Promise.withResolvers<void>();
  const world = new Asked(() => room.promise);
  const asked = Array.from({ length: 10 }, () => world.queue.ask("reload"));
  await settle();
  assertEquals([world.runs.length, world.queue.reload], [0, "waiting"]);
  asked.push(world.queue.ask("reload"));
  room.resolve();
  await settle();
  assertEquals([world.runs.length, world.queue.reload], [1, "running"]);
  await world.end();
  assertEquals(new Set(await Promise.all(asked)), new Set(["reload done"]));
});

Deno.test("rollbacks that wait bring back each its own release, and those to the same one are one", async () => {
  const asked = new Asked();
  const all = [1, 2, 3, 2, undefined].map((release) => asked.queue.ask("rollback", release));
  for (let count = 1; count <= 4; count++) {
    await settle();
    assertEquals(asked.runs.length, count);
    asked.runs[count - 1]!.run.resolve();
  }
  await Promise.all(all);
  assertEquals(asked.releases, [1, 2, 3, undefined]);
});
