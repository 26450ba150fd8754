/** Every effect of the supervisor fails in turn, on real processes. */
import { assert, assertEquals, assertNotEquals, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import type { FaultName } from "../doubles/fault_name.ts";
import { faultsThat } from "../doubles/fault_outcomes.ts";
import { freePort } from "../harness/ports.ts";
import { isAlive, processesIn } from "../harness/process.ts";
import { PLAIN_APP, REPOSITORY } from "../harness/project.ts";
import { Server } from "../harness/server.ts";
import { PATIENCE_MS, until } from "../harness/wait.ts";

const ENTRY = [join(REPOSITORY, "tests/doubles/faulty_supervisor.ts")];
const QUICK = { drainDeadlineMs: 300, idleGraceMs: 100 };

/** Arms a fault of a running server. */
async function arm(server: Server, fault: FaultName): Promise<void> {
  await server.project.write("fault", fault);
}

async function isArmed(server: Server): Promise<boolean> {
  return await Deno.stat(server.project.path("fault")).then(() => true, () => false);
}

for (const fault of faultsThat("start", "fails")) {
  Deno.test(`a start in which ${fault} fails says so, exits, and leaves nothing`, async () => {
    // The harness looks for what is left behind.
    await using server = await Server.start({ entry: ENTRY, files: { fault }, wait: "exit" });
    const { code, signal } = await server.exited();
    assertNotEquals(code, 0);
    assertEquals(signal, null);
    assertStringIncludes(server.log, `Fault: ${fault}`);
    assertEquals(server.eventsOf("serving"), []);
    assertEquals(await isArmed(server), false);
    assertEquals(processesIn(server.project.folder), []);
  });
}

/** The text of {@link PLAIN_APP} by its version. */
function version(text: string): string {
  return PLAIN_APP.replace("one", text);
}

Deno.test("a reload in which any effect fails is refused, and the next one succeeds", async (t) => {
  await using server = await Server.start({ entry: ENTRY, config: { reload: QUICK } });
  const { project } = server;
  const [port, more] = [project.port, freePort()];
  let serving = "one";
  for (const fault of faultsThat("reload", "refused")) {
    await t.step(fault, async () => {
      const { generations } = await server.status();
      const { generation } = generations.find(({ state }) => state === "serving")!;
      const old = processesIn(project.folder);
      const next = `v${generation + 1}`;
      // Everything is used: new code, and one listener more.
      await project.write("app.ts", version(next));
      await project.configure({ listen: [port, more].map((each) => `127.0.0.1:${each}`) });
      await arm(server, fault);
      const refused = await server.reload();
      assertEquals(refused.outcome, "refused", server.log);
      assertStringIncludes(refused.reason!, `Fault: ${fault}`);
      assertEquals(refused.generation, generation);
      assertEquals(await isArmed(server), false);
      assertEquals(await server.text("/"), `${serving} /`);
      await until("the candidate to be gone", () => {
        return processesIn(project.folder).toSorted().join() === old.toSorted().join();
      });
      assertEquals((await server.reload()).outcome, "done");
      serving = next;
      assertEquals(await server.text("/"), `${serving} /`);
      assertEquals((await server.status()).listeners.length, 2);
      // As it was, for the next fault.
      await project.configure({ listen: [`127.0.0.1:${port}`] });
      assertEquals((await server.reload()).outcome, "done");
      await until("its worker alone", () => processesIn(project.folder).length === 1);
      assertEquals((await server.status()).listeners, [`127.0.0.1:${port}`]);
    });
  }
});

Deno.test("a reload after whose switch any effect fails is done, and the old generation ends", async (t) => {
  await using server = await Server.start({ entry: ENTRY, config: { reload: QUICK } });
  const { project } = server;
  const [port, gone] = [project.port, freePort()];
  const bring = async (name: string, ...ports: number[]) => {
    await project.write("app.ts", version(name));
    await project.configure({ listen: ports.map((each) => `127.0.0.1:${each}`) });
  };
  let number = 1;
  for (const fault of faultsThat("reload", "done")) {
    await t.step(fault, async () => {
      await bring(`before ${fault}`, port, gone);
      assertEquals((await server.reload()).generation, ++number);
      await until("its worker alone", () => processesIn(project.folder).length === 1);
      await bring(fault, port);
      await arm(server, fault);
      const done = await server.reload();
      assertEquals([done.outcome, done.generation], ["done", ++number], server.log);
      assertEquals(await server.text("/"), `${fault} /`);
      await until("the fault to strike", async () => !await isArmed(server));
      await until("the new generation alone", async () => {
        const { generations } = await server.status();
        return generations.length === 1 && generations[0]!.generation === number;
      });
      assertEquals((await server.status()).listeners, [`127.0.0.1:${port}`]);
      await until("its worker alone", () => processesIn(project.folder).length === 1);
    });
  }
});

for (const fault of faultsThat("stop", "ends")) {
  Deno.test(`a supervisor ends though ${fault} fails while it stops, and leaves nothing`, async () => {
    // The answer never comes, so that the stop goes as far as the signal.
    const app = "export default { fetch() { for (;;); } };";
    await using server = await Server.start({
      entry: ENTRY,
      config: { reload: QUICK },
      ...fault === "child signal" && { files: { "app.ts": app } },
    });
    const [worker] = await server.workers();
    const asked = fault === "child signal"
      ? server.get("/", { signal: AbortSignal.timeout(PATIENCE_MS) }).then((answer) =>
        answer.body?.cancel()
      ).catch(() => {})
      : undefined;
    await arm(server, fault);
    server.signal("SIGTERM");
    await until("the fault to strike", async () => !await isArmed(server));
    // Whoever waits too long says it again.
    if (fault === "child signal" && isAlive(server.pid)) await server.cut();
    await until("the end", () => !isAlive(server.pid));
    await asked;
    await until("the worker's end", () => !isAlive(worker!));
    assert(server.log.includes(`Fault: ${fault}`) || server.eventsOf("stopped").length === 1);
  });
}
