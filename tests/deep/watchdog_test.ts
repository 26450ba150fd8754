import { assert, assertEquals } from "@std/assert";
import { isAlive } from "../harness/process.ts";
import { PLAIN_APP } from "../harness/project.ts";
import { Server } from "../harness/server.ts";
import { sleep, until } from "../harness/wait.ts";

const WATCHDOG = { pulseDeadlineMs: 4_000 };
const QUICK = { idleGraceMs: 100 };

/** An app whose event loop a request can stop, for a time or for ever. */
const APP = `
export default {
  async fetch(request) {
    const { pathname, search } = new URL(request.url);
    if (pathname === "/busy") {
      const endMs = performance.now() + Number(search.slice(1));
      while (performance.now() < endMs);
    }
    if (pathname === "/hang") for (;;);
    if (pathname === "/slow") await new Promise((resolve) => setTimeout(resolve, 14_000));
    return new Response("one " + pathname);
  },
};
`;

Deno.test("a worker in an endless loop is replaced, another one first, and the others answer meanwhile", async () => {
  await using server = await Server.start({
    files: { "app.ts": APP },
    config: { workers: 2, watchdog: WATCHDOG, reload: QUICK },
  });
  const before = await server.workers();
  const hanging = server.text("/hang").then(() => "answered", () => "reset");
  let asked = 0;
  let over = false;
  const asking = (async () => {
    // One that the kernel gives to the worker that hangs is not answered.
    while (!over) {
      const answer = server.text("/x").catch(() => "reset");
      await Promise.race([answer.then(() => asked++), sleep(100)]);
    }
  })();
  const stuck = await server.waitFor("worker_stuck");
  assert(Number(stuck.silentMs) > WATCHDOG.pulseDeadlineMs);
  assertEquals(String(stuck.state), "R (running)");
  assert(before.includes(Number(stuck.pid)));
  const askedBefore = asked;
  await server.waitFor("worker_replaced");
  const { pid, end, cut } = await server.waitFor("worker_left");
  assertEquals([pid, end, cut], [stuck.pid, "killed", null]);
  over = true;
  await asking;
  assert(askedBefore > 0, "nobody answered while it hung");
  assertEquals(await hanging, "reset");
  assertEquals(isAlive(Number(stuck.pid)), false);
  const order = server.events.filter(({ event }) =>
    ["worker_stuck", "worker_ready", "worker_replaced", "worker_left"].includes(event)
  ).map(({ event }) => event).slice(2);
  assertEquals(order, ["worker_stuck", "worker_ready", "worker_replaced", "worker_left"]);
  const after = await server.workers();
  assertEquals(after.filter((each) => before.includes(each)).length, 1);
  assertEquals(await server.text("/y"), "one /y");
  assertEquals(server.eventsOf("worker_lost"), []);
});

Deno.test("a worker that was stopped is stuck, too, and the log says in which state it is", async () => {
  await using server = await Server.start({ config: { watchdog: WATCHDOG, reload: QUICK } });
  const [pid] = await server.workers();
  Deno.kill(pid!, "SIGSTOP");
  const stuck = await server.waitFor("worker_stuck");
  assertEquals([stuck.pid, stuck.state], [pid, "T (stopped)"]);
  await server.waitFor("worker_left");
  assertEquals(await server.text("/"), "one /");
});

Deno.test("a worker that comes to itself while it is replaced drains, and its request is answered", async () => {
  await using server = await Server.start({
    files: { "app.ts": APP },
    config: { watchdog: WATCHDOG, reload: QUICK },
  });
  const [pid] = await server.workers();
  const slow = server.text("/slow").catch(() => "reset");
  await until("the request in flight", async () => {
    const { generations } = await server.status();
    return generations[0]!.workers[0]!.process?.inFlight === 1;
  });
  Deno.kill(pid!, "SIGSTOP");
  // The next one takes so long that this one has told of itself by then.
  await server.project.write(
    "app.ts",
    APP + "export const open = () => new Promise((resolve) => setTimeout(resolve, 3_000));",
  );
  await server.waitFor("worker_stuck");
  Deno.kill(pid!, "SIGCONT");
  const { end, answered } = await server.waitFor("worker_left");
  assertEquals([end, answered, await slow], ["ended", 1, "one /slow"]);
});

Deno.test("a worker that is busy for less than the deadline is let be, and 0 lets all be", async () => {
  await using server = await Server.start({
    files: { "app.ts": APP },
    config: { watchdog: { pulseDeadlineMs: 4_000 }, reload: QUICK },
  });
  const before = await server.workers();
  assertEquals(await server.text("/busy?1500"), "one /busy");
  assertEquals(await server.workers(), before);
  await server.project.configure({ watchdog: { pulseDeadlineMs: 0 } });
  await server.hangUp();
  await until("one generation", async () => (await server.workers()).length === 1);
  assertEquals(await server.text("/busy?6000"), "one /busy");
  assertEquals(server.eventsOf("worker_stuck"), []);
});

Deno.test("nobody is condemned where the supervisor stood still, alone or with the whole machine", async () => {
  await using server = await Server.start({
    config: { workers: 2, watchdog: WATCHDOG, reload: QUICK },
  });
  const workers = await server.workers();
  for (const stopped of [[server.pid], [server.pid, ...workers]]) {
    for (const pid of stopped) Deno.kill(pid, "SIGSTOP");
    await sleep(2 * WATCHDOG.pulseDeadlineMs);
    for (const pid of stopped) Deno.kill(pid, "SIGCONT");
    await sleep(2 * WATCHDOG.pulseDeadlineMs);
    assertEquals(server.eventsOf("worker_stuck"), []);
    assertEquals(await server.workers(), workers);
  }
  assertEquals(await server.text("/"), "one /");
});

Deno.test("a stuck worker whose successor does not start is replaced when one does", async () => {
  await using server = await Server.start({
    files: { "app.ts": APP },
    config: { watchdog: WATCHDOG, reload: QUICK },
  });
  await server.project.write("app.ts", "throw new Error('no good');");
  void server.text("/hang").catch(() => {});
  await server.waitFor("worker_start_failed", 2);
  await server.project.write("app.ts", PLAIN_APP.replace("one", "two"));
  const waiting = server.text("/waits");
  await server.waitFor("worker_left");
  assertEquals(await waiting, "two /waits");
});
