import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { sumUp } from "../lib/supervisor/drain.ts";
import { Held, HOLDING_APP } from "./harness/held.ts";
import { plainHelper, TELLING_APP } from "./harness/helpers.ts";
import { servingWorkers } from "./harness/life.ts";
import { tell } from "./harness/obeying_app.ts";
import { isAlive } from "./harness/process.ts";
import { PLAIN_APP } from "./harness/project.ts";
import { runCommand, Server } from "./harness/server.ts";
import { until } from "./harness/wait.ts";

const PID_APP = "export default { fetch: () => new Response(String(Deno.pid)) };";

/** The numbers of poll(2) and ppoll(2) on the architectures that there are. */
const POLLS = Deno.build.arch === "aarch64" ? [73] : [7, 271];

/** The system calls in which the threads of a process are (proc_pid_syscall(5)). */
function callsOf(pid: number): number[] {
  return [...Deno.readDirSync(`/proc/${pid}/task`)].flatMap(({ name }) => {
    try {
      return Number(Deno.readTextFileSync(`/proc/${pid}/task/${name}/syscall`).split(" ")[0]);
    } catch {
      return []; // It ended while we looked.
    }
  });
}

/** The living workers of the generation that serves. */
async function incumbents(server: Server) {
  const { generations } = await server.status();
  const { workers } = generations.find(({ state }) => state === "serving")!;
  return workers.flatMap(({ index, replacements, process }) =>
    process ? [{ index, replacements, ...process }] : []
  );
}

Deno.test("several workers: rows in status, a death of one, refused candidates, lanes, and another number", async (t) => {
  await using server = await Server.start({
    files: { "app.ts": HOLDING_APP, "job.ts": plainHelper() },
    config: { workers: 3, unveil: { "./data/": "rwc" }, reload: { idleGraceMs: 100 } },
  });
  const { project } = server;

  await t.step(
    "a generation has as many workers as the config says, each a row in status",
    async () => {
      const workers = await incumbents(server);
      assertEquals(workers.map(({ index, replacements }) => [index, replacements]), [
        [0, 0],
        [1, 0],
        [2, 0],
      ]);
      assertEquals(new Set(workers.map(({ pid }) => pid)).size, 3);
      const { stdout } = await runCommand(project, "status");
      for (const role of ["worker.0", "worker.1", "worker.2"]) assertStringIncludes(stdout, role);
      assertEquals(
        server.eventsOf("worker_ready").map(({ role }) => role).toSorted(),
        ["worker.0", "worker.1", "worker.2"],
      );
    },
  );

  await t.step("what the kernel asks about all of them is waited for in one place", async () => {
    const waiting = () => callsOf(server.pid).filter((call) => POLLS.includes(call)).length;
    await until("one wait", () => waiting() === 1);
    for (let look = 0; look < 20; look++) assert(waiting() <= 1, `${waiting()} waits`);
  });

  await t.step(
    "one is killed: its requests are reset, all others are answered, it is replaced alone",
    async () => {
      const before = await incumbents(server);
      using stack = new DisposableStack();
      const held: Held[] = [];
      const counts = async () => (await incumbents(server)).map(({ inFlight }) => inFlight);
      // The kernel gives each connection to whom it likes.
      for (let busy = 0; busy < 2;) {
        for (let count = 0; count < 4; count++) held.push(stack.use(await Held.begin(project)));
        const told = await until("all of them in status", async () => {
          const each = await counts();
          return each.reduce((sum, count) => sum + count, 0) === held.length && each;
        });
        busy = told.filter((count) => count > 0).length;
      }
      const { pid, index, inFlight } = (await incumbents(server)).find((each) =>
        each.inFlight > 0
      )!;
      Deno.kill(pid, "SIGKILL");
      await until("its end", () => !isAlive(pid));
      const answers = await Promise.all(Array.from({ length: 40 }, () => server.text("/")));
      assertEquals(new Set(answers), new Set(["one /"]));
      const replaced = await until("the next one", async () => {
        const now = await incumbents(server);
        return now.length === 3 && now.every((each) => each.pid !== pid) && now;
      });
      for (const now of replaced) {
        const then = before.find((each) => each.index === now.index)!;
        assertEquals(now.pid === then.pid, now.index !== index, `worker.${now.index}`);
        assertEquals(now.replacements, now.index === index ? 1 : 0);
      }
      // What the kernel had given to the one that was killed went with it, and nothing else.
      const ends = await Promise.all(held.map((each) => each.release().catch(() => "reset")));
      assertEquals(ends.filter((end) => end === "reset").length, inFlight);
      assertEquals(ends.filter((end) => end === "one whole").length, held.length - inFlight);
      assertEquals(server.eventsOf("worker_lost").length, 1);
    },
  );

  await t.step(
    "a candidate of which one worker fails is refused, and no other one of it has served",
    async () => {
      const before = await servingWorkers(server);
      // The first that makes the folder fails; the others are ready by then.
      await project.write(
        "app.ts",
        `
      export async function open() {
        try {
          Deno.mkdirSync("./data/first");
        } catch {
          return;
        }
        await new Promise((resolve) => setTimeout(resolve, 1_000));
        throw new Error("no database");
      }
      ${PLAIN_APP.replace("one", "two")}`,
      );
      const answers = new Set<string>();
      let over = false;
      const asking = (async () => {
        while (!over) answers.add(await server.text("/"));
      })();
      const refused = await server.hangUp();
      over = true;
      await asking;
      assertEquals(refused.event, "reload_refused");
      assertStringIncludes(String(refused.reason), "no database");
      assertEquals([...answers], ["one /"]);
      assertEquals(await servingWorkers(server), before);
    },
  );

  await t.step(
    'a reload changes how many: "auto" is one for each processor that the supervisor may use',
    async () => {
      await project.write("app.ts", PLAIN_APP.replace("one", "three"));
      await project.configure({ workers: "auto" });
      assertEquals((await server.reload()).outcome, "done");
      assertEquals((await incumbents(server)).length, Math.min(64, navigator.hardwareConcurrency));
      assertEquals(await server.text("/"), "three /");
      await until("those alone", async () => (await server.status()).generations.length === 1);
    },
  );

  await t.step("every worker has a lane to every instance of a helper", async () => {
    await project.write("app.ts", TELLING_APP);
    await project.configure({
      workers: 2,
      helpers: { job: { module: "./job.ts", instances: 2 } },
    });
    assertEquals((await server.reload()).outcome, "done");
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
});

Deno.test("a reload waits until one more generation may drain, and TERM meanwhile ends all with exit 0", async () => {
  await using server = await Server.start({
    files: { "app.ts": HOLDING_APP },
    config: { reload: { idleGraceMs: 0, maxDraining: 1 } },
  });
  const { project } = server;
  const draining = async () => {
    const { generations, reload } = await server.status();
    return [generations.filter(({ state }) => state === "draining").length, reload];
  };
  using first = await Held.begin(project);
  assertEquals((await server.reload()).outcome, "done");
  using second = await Held.begin(project);
  // These count as one, and what is read is what is there when it may begin.
  for (let round = 0; round < 3; round++) server.signal("SIGHUP");
  assertEquals((await server.waitFor("reload_waits")).draining, 1);
  assertEquals(await draining(), [1, "waiting"]);
  assertMatch((await runCommand(project, "status")).stdout, /another\s+one waits/);
  await project.write("app.ts", HOLDING_APP.replace('"one"', '"two"'));
  assertEquals(await first.release(), "one whole");
  await server.waitFor("reload_done", 2);
  assertEquals(await server.text("/"), "two /");
  assertEquals(server.eventsOf("generation_ended").map(({ generation }) => generation), [1]);
  server.signal("SIGHUP");
  await server.waitFor("reload_waits", 2);
  server.signal("SIGTERM");
  await server.waitFor("stopping");
  assertEquals(await second.release(), "one whole");
  assertEquals((await server.exited()).code, 0);
  assertEquals(server.eventsOf("reload_done").length, 2);
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

Deno.test("a spare worker serves in place of the only one, is there again, and leaves with a reload and an upgrade", async (t) => {
  await using server = await Server.start({ files: { "app.ts": PID_APP }, config: { spare: 1 } });
  const spareOf = async () => {
    const { generations } = await server.status();
    return generations.find(({ state }) => state === "serving")!.spares![0]?.pid;
  };
  const untilSpare = (not?: number) =>
    until("a spare worker", async () => {
      const pid = await spareOf();
      return pid !== not && pid;
    });

  await t.step("killed by hand, the worker is followed by the one that waited", async () => {
    for (let kills = 0; kills < 3; kills++) {
      const [worker, spare] = [Number(await server.text("/")), await untilSpare()];
      Deno.kill(worker, "SIGKILL");
      await until("its end", () => !isAlive(worker));
      // It waits in the queue of the listener until then.
      assertEquals(Number(await server.text("/")), spare);
      await untilSpare(spare);
    }
    assertEquals(server.eventsOf("spare_lost"), []);
    const { stdout } = await runCommand(server.project, "status");
    assertStringIncludes(stdout, "worker (spare)");
  });

  await t.step("of a reload and of an upgrade none of before is left", async () => {
    for (const again of [() => server.reload(), () => runCommand(server.project, "upgrade")]) {
      const old = [Number(await server.text("/")), await untilSpare()];
      await again();
      await until("their end", () => !old.some(isAlive));
      await untilSpare();
    }
    assertEquals(server.eventsOf("former_process_killed"), []);
  });
});
