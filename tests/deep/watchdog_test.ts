import { assert, assertEquals } from "@std/assert";
import { settlesWithin } from "../../lib/supervisor/timeouts.ts";
import { isAlive } from "../harness/process.ts";
import { Server } from "../harness/server.ts";
import { sleep } from "../harness/wait.ts";

const WATCHDOG = { pulseDeadlineMs: 4_000 };
const QUICK = { idleGraceMs: 100 };

/** An app whose event loop a request can stop for ever. */
const APP = `
export default {
  fetch(request) {
    const { pathname } = new URL(request.url);
    if (pathname === "/hang") for (;;);
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
      const answer = server.text("/x").then(() => asked++, () => {});
      await settlesWithin(answer, 100);
    }
  })();
  const stuck = await server.waitFor("worker_stuck");
  assert(Number(stuck.silentMs) > WATCHDOG.pulseDeadlineMs);
  assertEquals(String(stuck.state), "R (running)");
  assert(before.includes(Number(stuck.pid)));
  const askedBefore = asked;
  await server.waitFor("worker_replaced");
  const { pid, end, cut } = await server.waitFor("worker_drained");
  assertEquals([pid, end, cut], [stuck.pid, "killed", null]);
  over = true;
  await asking;
  assert(askedBefore > 0, "nobody answered while it hung");
  assertEquals(await hanging, "reset");
  assertEquals(isAlive(Number(stuck.pid)), false);
  const order = server.events.filter(({ event }) =>
    ["worker_stuck", "worker_ready", "worker_replaced", "worker_drained"].includes(event)
  ).map(({ event }) => event).slice(2);
  assertEquals(order, ["worker_stuck", "worker_ready", "worker_replaced", "worker_drained"]);
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
  await server.waitFor("worker_drained");
  assertEquals(await server.text("/"), "one /");
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
