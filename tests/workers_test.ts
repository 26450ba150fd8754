import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import type { Status } from "../lib/protocol/control.ts";
import { sumUp } from "../lib/supervisor/generation.ts";
import { assertNothingLost, loadDuring, startLoadApp, versionFile } from "./harness/load_app.ts";
import { plainHelper, TELLING_APP } from "./harness/helpers.ts";
import { tell } from "./harness/obeying_app.ts";
import { PLAIN_APP } from "./harness/project.ts";
import { runCommand, Server } from "./harness/server.ts";
import { sleep, until } from "./harness/wait.ts";

/** The grace is longer than any client of the load thinks. */
const QUICK = { idleGraceMs: 2_000, drainDeadlineMs: 20_000 };

/** Tells which process answers; `/slow` takes its time. */
const APP = `
export default {
  async fetch(request) {
    const { pathname, search } = new URL(request.url);
    const ms = search === "?long" ? 10_000 : 3_000;
    if (pathname === "/slow") await new Promise((resolve) => setTimeout(resolve, ms));
    return new Response("one");
  },
};
`;

/** The living workers of the generation that serves. */
async function incumbents(server: Server) {
  const { generations } = await server.status();
  const { workers } = generations.find(({ state }) => state === "serving")!;
  return workers.flatMap(({ index, replacements, process }) =>
    process ? [{ index, replacements, ...process }] : []
  );
}

/** The one worker that has a request in flight. */
async function busyWorker(server: Server) {
  return await until("a request in flight", async () => {
    const busy = (await incumbents(server)).filter(({ inFlight }) => inFlight > 0);
    return busy.length === 1 && busy[0];
  });
}

Deno.test("a generation has as many workers as the config says, each a row in status", async () => {
  await using server = await Server.start({ config: { workers: 3 } });
  const workers = await incumbents(server);
  assertEquals(workers.map(({ index, replacements }) => [index, replacements]), [
    [0, 0],
    [1, 0],
    [2, 0],
  ]);
  assertEquals(new Set(workers.map(({ pid }) => pid)).size, 3);
  const { stdout } = await runCommand(server.project, "status");
  for (const role of ["worker.0", "worker.1", "worker.2"]) assertStringIncludes(stdout, role);
  assertEquals(
    server.eventsOf("worker_ready").map(({ role }) => role).toSorted(),
    ["worker.0", "worker.1", "worker.2"],
  );
});

Deno.test('"auto" is a worker for each processor that the supervisor may use', async () => {
  await using server = await Server.start({ config: { workers: "auto" } });
  assertEquals((await incumbents(server)).length, Math.min(64, navigator.hardwareConcurrency));
});

Deno.test("a reload changes how many workers there are", async () => {
  await using server = await Server.start({ config: { reload: QUICK } });
  for (const workers of [3, 2]) {
    await server.project.configure({ workers });
    assertEquals((await server.hangUp()).event, "reload_done");
    assertEquals((await incumbents(server)).length, workers);
  }
  await until("the last two", async () => (await server.workers()).length === 2);
});

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

Deno.test("of four workers one is killed: its requests are reset, all others are answered, it is replaced alone", async () => {
  await using server = await Server.start({ files: { "app.ts": APP }, config: { workers: 4 } });
  const before = await incumbents(server);
  const unlucky = server.text("/slow").then(() => "answered", () => "reset");
  const { pid, index } = await busyWorker(server);
  const others = Array.from({ length: 12 }, () => server.text("/slow").catch(() => "reset"));
  Deno.kill(pid, "SIGKILL");
  assertEquals(await unlucky, "reset");
  const answers = await Promise.all(Array.from({ length: 40 }, () => server.text("/")));
  assertEquals(new Set(answers), new Set(["one"]));
  const replaced = await until("the next one", async () => {
    const now = await incumbents(server);
    return now.length === 4 && now.every((each) => each.pid !== pid) && now;
  });
  for (const now of replaced) {
    const then = before.find((each) => each.index === now.index)!;
    assertEquals(now.pid === then.pid, now.index !== index, `worker.${now.index}`);
    assertEquals(now.replacements, now.index === index ? 1 : 0);
  }
  // What the kernel had given to the one that was killed went with it, and nothing else.
  const reset = (await Promise.all(others)).filter((answer) => answer === "reset").length;
  assert(reset < others.length, `${reset} of ${others.length} were reset`);
  assertEquals(server.eventsOf("worker_lost").length, 1);
});

Deno.test("a candidate of which one worker fails is refused, and no other one of it has served", async () => {
  await using server = await Server.start({
    config: { workers: 3, unveil: { "./data/": "rwc" }, reload: { readyDeadlineMs: 4_000 } },
  });
  // The first that makes the folder fails; the others are ready by then.
  const failing = (how: string) => `
    const VERSION = "two";
    export async function open() {
      try {
        Deno.mkdirSync("./data/first");
      } catch {
        return;
      }
      await new Promise((resolve) => setTimeout(resolve, 1_000));
      ${how}
    }
    ${PLAIN_APP.replace(/const VERSION.*/, "")}`;
  for (
    const [how, reason] of [
      ["throw new Error('no database');", "no database"],
      ["await new Promise(() => {});", "did not load and open the app within 4000 ms"],
    ] as const
  ) {
    await server.project.write("app.ts", failing(how));
    const answers = new Set<string>();
    let over = false;
    const asking = (async () => {
      while (!over) {
        answers.add(await server.text("/"));
        await sleep(5);
      }
    })();
    const refused = await server.hangUp();
    over = true;
    await asking;
    assertEquals(refused.event, "reload_refused");
    assertStringIncludes(String(refused.reason), reason);
    assertEquals([...answers], ["one /"]);
    assertEquals((await server.workers()).length, 3);
    await Deno.remove(server.project.path("data/first"));
  }
  await server.project.write("app.ts", PLAIN_APP.replace("one", "three"));
  assertEquals((await server.hangUp()).event, "reload_done");
  assertEquals(await server.text("/"), "three /");
});

Deno.test("never more generations drain than the config allows: a reload waits, and the last config wins", async () => {
  await using server = await Server.start({
    files: { "app.ts": APP },
    config: { reload: { idleGraceMs: 0, maxDraining: 2 } },
  });
  let most = 0;
  const look = async () => {
    const status = await server.status();
    const draining = status.generations.filter(({ state }) => state === "draining").length;
    most = Math.max(most, draining);
    return { draining, reload: status.reload };
  };
  const slow: Promise<string>[] = [];
  for (let round = 0; round < 2; round++) {
    slow.push(server.text("/slow?long"));
    await busyWorker(server);
    assertEquals((await server.hangUp()).event, "reload_done");
  }
  slow.push(server.text("/slow?long"));
  await busyWorker(server);
  assertEquals(await look(), { draining: 2, reload: "idle" });
  // These count as one, and what is read is what is there when it may begin.
  for (let round = 0; round < 3; round++) server.signal("SIGHUP");
  assertEquals((await server.waitFor("reload_waits")).draining, 2);
  assertEquals(await look(), { draining: 2, reload: "waiting" });
  assertStringIncludes((await runCommand(server.project, "status")).stdout, "another one waits");
  await server.project.write("app.ts", APP.replace('"one"', '"two"'));
  while (server.eventsOf("reload_done").length < 3) await look();
  assertEquals(await server.text("/"), "two");
  await until("the end of the drains", async () => (await look()).draining === 0);
  assertEquals(await Promise.all(slow), ["one", "one", "one"]);
  assertEquals(most, 2);
  assertEquals(server.eventsOf("reload_done").length, 3);
});

Deno.test("TERM while a reload waits for a drain ends all with exit 0, and what is in flight is answered", async () => {
  await using server = await Server.start({
    files: { "app.ts": APP },
    config: { reload: { idleGraceMs: 0, maxDraining: 1 } },
  });
  const slow = server.text("/slow");
  await busyWorker(server);
  await server.hangUp();
  server.signal("SIGHUP");
  await server.waitFor("reload_waits");
  server.signal("SIGTERM");
  assertEquals((await server.exited()).code, 0);
  assertEquals(await slow, "one");
});

Deno.test("every worker has a lane to every instance of a helper", async () => {
  await using server = await Server.start({
    files: { "app.ts": TELLING_APP, "job.ts": plainHelper() },
    config: { workers: 2, helpers: { job: { module: "./job.ts", instances: 2 } } },
  });
  const pairs = new Set<string>();
  await until("all four pairs", async () => {
    const code = `
      const pids = await Promise.all([1, 2].map(() => helper("job").sleep(100)));
      return [Deno.pid, pids];`;
    const answers = await Promise.all(Array.from({ length: 6 }, () => tell(server, code)));
    for (const { ok } of answers) {
      const [worker, instances] = ok as [number, number[]];
      for (const instance of instances) pairs.add(`${worker} ${instance}`);
    }
    return pairs.size === 4;
  });
});

Deno.test("the drains of several workers are one record: sums, and the worst of the outcomes", () => {
  const drained = (answered: number, cut: number) => ({
    end: "ended" as const,
    drained: { type: "drained" as const, answered, cut },
  });
  const killed = { ...drained(1, 0), end: "killed" as const };
  const died = { end: "ended" as const, drained: undefined };
  assertEquals(sumUp([drained(2, 0), drained(3, 0)]), { answered: 5, cut: 0, outcome: "drained" });
  assertEquals(sumUp([drained(2, 0), drained(3, 4)]), { answered: 5, cut: 4, outcome: "cut" });
  assertEquals(sumUp([drained(2, 1), died]), { answered: 2, cut: null, outcome: "died" });
  assertEquals(sumUp([killed, died, drained(0, 1)]), { answered: 1, cut: null, outcome: "killed" });
});
