/** Signals: what one order is, what a start inherits, and what an app has of them. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { SAME_ORDER_MS, StopOrders } from "../lib/supervisor/stop_orders.ts";
import { Held, HOLDING_APP } from "./harness/held.ts";
import { workersOf } from "./harness/life.ts";
import { testWith } from "./harness/needs.ts";
import { processesIn, readStatus } from "./harness/process.ts";
import { eventsOf, ProcessLog, waitForEvent } from "./harness/process_log.ts";
import { HOLDFAST, Project, REPOSITORY } from "./harness/project.ts";
import { Server, supervisorPermissions } from "./harness/server.ts";
import { PATIENCE_MS, until } from "./harness/wait.ts";

const NUMBERS = { SIGHUP: 1, SIGUSR1: 10, SIGCHLD: 17 };

/** Whether a set of signals, as proc_pid_status(5) has it, has one of them. */
function has(set: string | undefined, signal: keyof typeof NUMBERS): boolean {
  return (BigInt(`0x${set}`) >> BigInt(NUMBERS[signal] - 1) & 1n) === 1n;
}

Deno.test("an order to stop that comes twice at once is one, and a later one cuts", () => {
  let nowMs = 1_000;
  const orders = new StopOrders(() => nowMs);
  assertEquals(orders.take(), "stop");
  assertEquals(orders.take(), "same");
  nowMs += SAME_ORDER_MS - 1;
  // However often it comes, what counts is the time since the first.
  assertEquals([orders.take(), orders.take()], ["same", "same"]);
  nowMs += 1;
  assertEquals([orders.take(), orders.take()], ["cut", "cut"]);
});

Deno.test("one Ctrl-C under deno task, which passes it on once more, drains", async () => {
  await using project = await Project.create({ files: { "app.ts": HOLDING_APP } });
  const start = [
    ...["deno", "run", ...supervisorPermissions(project)],
    ...[join(HOLDFAST, "main.ts"), "start", "--config", project.configFile],
  ];
  await project.write("deno.json", JSON.stringify({ tasks: { start: start.join(" ") } }));
  const task = ProcessLog.spawn([Deno.execPath(), "task", "start"], {
    cwd: project.folder,
    detached: true,
  });
  try {
    await waitForEvent(task, "serving", 1);
    using held = await Held.begin(project);
    // What a terminal does; the two may come as one, where they come at the same moment.
    Deno.kill(-task.pid, "SIGINT");
    await waitForEvent(task, "stopping", 1);
    assertEquals(await held.release(), "one whole");
    await waitForEvent(task, "stopped", 1);
    assertEquals(eventsOf(task.events, "cutting"), []);
    await task.ended(PATIENCE_MS);
  } finally {
    task.kill();
    for (const pid of processesIn(project.folder)) Deno.kill(pid, "SIGKILL");
  }
});

Deno.test("two orders to stop at once, by two signals, drain", async () => {
  await using server = await Server.start({ files: { "app.ts": HOLDING_APP } });
  using held = await Held.begin(server.project);
  server.signal("SIGINT");
  server.signal("SIGTERM");
  const { again } = await server.waitFor("stop_asked", 2);
  assertEquals(again, true);
  assertEquals(await held.release(), "one whole");
  assertEquals((await server.exited()).code, 0);
  assertEquals(server.eventsOf("cutting"), []);
});

testWith(
  { programs: ["python3"] },
  "a start whose starter has blocked signals and ignores SIGCHLD reloads, stops and passes none of it on",
  async () => {
    const program = `
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 32))
for number in (signal.SIGCHLD, signal.SIGHUP, signal.SIGTERM):
    signal.signal(number, signal.SIG_IGN)
os.execvp(sys.argv[1], sys.argv[1:])`;
    await using server = await Server.start({
      prefix: ["python3", "-c", program],
      files: { "app.ts": HOLDING_APP },
      config: { log: { folder: "./log" } },
    });
    const processes = [server.pid, ...workersOf(server.project)];
    const { logger } = await server.status();
    processes.push(logger!.process!.pid);
    for (const pid of processes) {
      const { SigBlk: blocked, SigIgn: ignored } = readStatus(pid)!;
      assertEquals(blocked, "0000000000000000", `of ${pid}`);
      assert(!has(ignored, "SIGCHLD"), `${ignored} of ${pid}`);
      assert(!has(ignored, "SIGHUP"), `${ignored} of ${pid}`);
    }
    // Its end is noticed, though SIGCHLD was ignored.
    Deno.kill(workersOf(server.project)[0]!, "SIGKILL");
    assertEquals((await server.waitFor("worker_lost")).how, "killed by SIGKILL");
    assertEquals((await server.hangUp()).event, "reload_done");
    assertEquals((await server.stop()).code, 0);
  },
);

Deno.test("USR1 does nothing to a supervisor, at which Deno would open its inspector", async () => {
  await using server = await Server.start({ files: { "app.ts": HOLDING_APP } });
  // Deno takes the signal half a second after its start, but not from who has it ignored.
  assert(has(readStatus(server.pid)!.SigIgn, "SIGUSR1"));
  server.signal("SIGUSR1");
  assertEquals(await server.text("/"), "one /");
  assertEquals((await server.hangUp()).event, "reload_done");
  assert(!server.log.includes("Debugger"), server.log);
});

/** Handles signals in every way that there is, and would leave at once by each of them. */
const OWN_HANDLERS = `
import process from "node:process";
process.on("SIGTERM", (signal, number) => {
  console.log("heard " + signal + " " + number);
  process.exit(3);
});
process.once("SIGTERM", () => {
  console.log("heard it once");
  process.reallyExit(4);
});
process.addListener("SIGINT", () => console.log("heard INT"));
process.on("SIGHUP", () => console.log("heard HUP"));
Deno.addSignalListener("SIGTERM", () => {
  console.log("heard by Deno");
  Deno.exit(5);
});
process.on("SIGTERM", async () => {
  await Promise.resolve();
  throw new Error("no good handler");
});
process.on("exit", () => console.log("heard exit"));
const never = () => console.log("heard what was taken off");
process.on("SIGTERM", never);
process.off("SIGTERM", never);
process.on("SIGTERM", process.listenerCount("SIGTERM") === 4 ? () => console.log("counted") : never);
`;

Deno.test("an app that handles TERM by itself answers what is in flight when all processes are signalled", async (t) => {
  await using server = await Server.start({ files: { "app.ts": OWN_HANDLERS + HOLDING_APP } });
  const { project } = server;
  const heard = () => server.eventsOf("worker_output").map(({ text }) => String(text));
  const HEARD = ["heard SIGTERM 15", "heard it once", "heard by Deno", "counted"];

  await t.step("a signal to the worker itself calls nothing", async () => {
    using held = await Held.begin(project);
    const [worker] = await server.workers();
    for (const signal of ["SIGHUP", "SIGINT", "SIGTERM"] as const) Deno.kill(worker!, signal);
    assertEquals(await held.release(), "one whole");
    assertEquals(await server.workers(), [worker!]);
    assertEquals(heard(), []);
  });

  await t.step("at a reload they are called in the old one, which drains", async () => {
    using held = await Held.begin(project);
    assertEquals((await server.hangUp()).event, "reload_done");
    await until("what the handlers print", () => heard().includes("counted"));
    assert(!heard().includes("heard exit"), `${heard()}`);
    assertEquals(await held.release(), "one whole");
    assertEquals((await server.waitFor("generation_ended")).outcome, "drained");
    const [threw, ...others] = heard().filter((text) => text.includes("threw"));
    assertStringIncludes(threw!, "The app's handler of SIGTERM threw: Error: no good handler");
    assertEquals(others, []);
    assertEquals(heard().filter((text) => !/threw|heard exit/.test(text)), HEARD);
  });

  await t.step("at a stop that signals every process", async () => {
    using held = await Held.begin(project);
    for (const pid of [server.pid, ...await server.workers()]) Deno.kill(pid, "SIGTERM");
    await until("the handlers", () => heard().filter((text) => text === "counted").length === 2);
    assertEquals(await held.release(), "one whole");
    assertEquals((await server.exited()).code, 0);
    assertEquals((await server.waitFor("generation_ended", 2)).outcome, "drained");
  });
});

/** The files that a file imports when it is loaded, those that they import, and packages. */
function loadedWith(path: string, found = new Set<string>()): Set<string> {
  if (found.has(path)) return found;
  found.add(path);
  const text = Deno.readTextFileSync(path).replace(/^import type [^;]*;/gm, "");
  for (const [, specifier] of text.matchAll(/^(?:import\b|export\b[^;=]*from)[^;(]*?"([^"]+)"/gm)) {
    if (specifier!.startsWith(".")) loadedWith(join(path, "..", specifier!), found);
    else found.add(specifier!);
  }
  return found;
}

// A HUP before a line of Holdfast has run ends the deno program as it ends any other: nothing here can
// listen before. What can be held is that nothing else comes before the listening.
Deno.test("before it listens to signals a start loads no package, and nothing of what it does", () => {
  const found = [...loadedWith(join(REPOSITORY, "main.ts"))].map((path) =>
    path.replace(`${REPOSITORY}/`, "")
  );
  assertEquals(found.sort(), [
    "lib/base/control_signals.ts",
    "lib/base/error.ts",
    "lib/base/exit_code.ts",
    "lib/base/runtime.ts",
    "lib/cli/failure.ts",
    "lib/cli/fill.ts",
    "lib/cli/require_proc.ts",
    "lib/cli/terminal.ts",
    "lib/cli/terminal_width.ts",
    "lib/os/errno.ts",
    "lib/os/file.ts",
    "lib/os/libc.ts",
    "main.ts",
  ]);
});

Deno.test("HUP as soon as it is listened to does not end a start", async () => {
  const double = join(REPOSITORY, "tests/doubles/hung_up_at_once.ts");
  await using server = await Server.start({ entry: [double, "start", "--config"] });
  // It counts as an order that came while the start was under way.
  await server.waitFor("reload_done");
  assertEquals(await server.text("/"), "one /");
});

Deno.test("TERM after the last order was taken does not change the exit status of a stop", async () => {
  const program = `
    import { handleSignals } from ${
    JSON.stringify(join(REPOSITORY, "lib/base/control_signals.ts"))
  };
    const endOrders = handleSignals(() => {});
    endOrders();
    Deno.kill(Deno.pid, "SIGTERM");
    setTimeout(() => Deno.exit(7), 100);
  `;
  const { code } = await new Deno.Command(Deno.execPath(), { args: ["eval", program] }).output();
  assertEquals(code, 7);
});
