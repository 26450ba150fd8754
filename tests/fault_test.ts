import { assert, assertEquals, assertNotEquals, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import type { FaultName } from "./doubles/fault_name.ts";
import { isAlive, processesIn } from "./harness/process.ts";
import { PLAIN_APP, REPOSITORY } from "./harness/project.ts";
import { Server } from "./harness/server.ts";
import { PATIENCE_MS, until } from "./harness/wait.ts";
import { freePort } from "./harness/ports.ts";

const ENTRY = [join(REPOSITORY, "tests/doubles/faulty_supervisor.ts")];
const QUICK = { drainDeadlineMs: 300, idleGraceMs: 100 };

/** What an effect that fails leads to, in each part of a supervisor's life. */
interface Outcome {
  /** The start fails with the fault's own message, or does not use the effect. */
  readonly start: "fails" | "unused";
  /** The reload is refused, or is done since the switch is behind it, or does not use the effect. */
  readonly reload: "refused" | "done" | "unused";
  /** Stopping uses the effect, and ends all the same. */
  readonly stop: "ends" | "unused";
}

const BRINGS_UP: Outcome = { start: "fails", reload: "refused", stop: "unused" };
const ONCE: Outcome = { start: "fails", reload: "unused", stop: "unused" };

/** Every effect; a new one does not compile until it is here. */
const OUTCOMES: Record<FaultName, Outcome> = {
  closeIn: ONCE,
  openServiceManager: ONCE,
  giveUpPermissions: ONCE,
  loadConfig: BRINGS_UP,
  // Commands ask for it, the supervisor has the config.
  locateRuntime: { start: "unused", reload: "unused", stop: "unused" },
  commandOf: BRINGS_UP,
  holdfastOf: BRINGS_UP,
  findDenoDir: ONCE,
  openRuntimeFolder: ONCE,
  bundleWorker: ONCE,
  bundleHelper: BRINGS_UP,
  bundleLogger: BRINGS_UP,
  bundleMetrics: BRINGS_UP,
  openControl: ONCE,
  prepareApp: BRINGS_UP,
  makeFolders: BRINGS_UP,
  landlockAbi: BRINGS_UP,
  findCaches: BRINGS_UP,
  bindListener: BRINGS_UP,
  startSpawner: BRINGS_UP,
  "post spawn": BRINGS_UP,
  "post hand_over": BRINGS_UP,
  "post configure": BRINGS_UP,
  "post load": BRINGS_UP,
  "post accept": BRINGS_UP,
  "post drain": { start: "unused", reload: "done", stop: "ends" },
  "post signal": { start: "unused", reload: "unused", stop: "ends" },
  "spawner confine": BRINGS_UP,
  "spawner subscribe": BRINGS_UP,
  "spawner close": { start: "unused", reload: "done", stop: "ends" },
  "listener duplicate": BRINGS_UP,
  "listener listenAgain": { start: "unused", reload: "unused", stop: "unused" },
  "listener update": { start: "fails", reload: "done", stop: "unused" },
  "listener close": { start: "unused", reload: "done", stop: "ends" },
  ownProgram: { start: "unused", reload: "unused", stop: "unused" },
  "control duplicate": { start: "unused", reload: "unused", stop: "unused" },
  "control close": { start: "unused", reload: "unused", stop: "ends" },
  "runtime close": { start: "unused", reload: "unused", stop: "ends" },
};

/** A helper without any dependency. */
const HELPER = `
const anything = { "~standard": { version: 1, vendor: "test", validate: (value) => ({ value }) } };
export default { echo: { input: anything, output: anything, handle: (value) => value } };
`;

/** What a config must have for an effect to be used. */
const CONFIGS: Partial<Record<FaultName, Readonly<Record<string, unknown>>>> = {
  bundleHelper: { helpers: { echo: { module: "./helper.ts" } } },
  bundleLogger: { log: { folder: "./log" } },
  bundleMetrics: { metrics: { listen: "unix:./metrics.sock" } },
};

const ENTRIES = Object.entries(OUTCOMES) as [FaultName, Outcome][];

/** The text of the answer to one question; a worker that does not answer must not stop the test. */
async function ask(server: Server, path: string): Promise<string> {
  return await (await server.get(path, { signal: AbortSignal.timeout(PATIENCE_MS) })).text();
}

/**
 * Waits until a new generation answers. Until the old one hears that it drains it accepts beside it; and
 * one that could not be told is killed, with what it takes in that moment.
 */
async function untilAnswer(server: Server, text: string): Promise<void> {
  await until(text, async () => await ask(server, "/").catch(() => undefined) === text);
}

/** Arms a fault of a running server. */
async function arm(server: Server, fault: FaultName): Promise<void> {
  await server.project.write("fault", fault);
}

async function isArmed(server: Server): Promise<boolean> {
  return await Deno.stat(server.project.path("fault")).then(() => true, () => false);
}

for (const [fault, { start }] of ENTRIES.filter(([, { start }]) => start === "fails")) {
  // At start there is nothing to update: what was just bound is as it should be.
  if (fault === "listener update") continue;
  Deno.test(`a start in which ${fault} fails says so, exits ${start}, and leaves nothing`, async () => {
    const files = { fault, "helper.ts": HELPER };
    const config = CONFIGS[fault] ?? {};
    const server = await Server.start({ entry: ENTRY, files, config, wait: "exit" });
    try {
      const { code, signal } = await server.exited();
      assertNotEquals(code, 0);
      assertEquals(signal, null);
      assertStringIncludes(server.log, `Fault: ${fault}`);
      assertEquals(server.eventsOf("serving"), []);
      assertEquals(await isArmed(server), false);
      assertEquals(processesIn(server.project.folder), []);
    } finally {
      // Here the harness looks for what is left behind.
      await server[Symbol.asyncDispose]();
    }
  });
}

/** A reload that uses every effect: new code, one listener more, one less. */
async function prepareReload(server: Server, version: string, ports: number[]): Promise<void> {
  await server.project.write("app.ts", PLAIN_APP.replace("one", version));
  await server.project.configure({ listen: ports.map((port) => `127.0.0.1:${port}`) });
}

for (const [fault] of ENTRIES.filter(([, { reload }]) => reload === "refused")) {
  Deno.test(`a reload in which ${fault} fails is refused, and the next one succeeds`, async () => {
    await using server = await Server.start({ entry: ENTRY, config: { reload: QUICK } });
    const [old] = await server.workers();
    const { port } = server.project;
    await prepareReload(server, "two", [port, freePort()]);
    await server.project.write("helper.ts", HELPER);
    await server.project.configure(CONFIGS[fault] ?? {});
    await arm(server, fault);
    const refused = await server.hangUp();
    assertEquals(refused.event, "reload_refused", server.log);
    assertStringIncludes(String(refused.reason), `Fault: ${fault}`);
    assertEquals(refused.generation, 1);
    assertEquals(await isArmed(server), false);
    assertEquals(await ask(server, "/"), "one /");
    assertEquals(await server.workers(), [old!]);
    await until("the candidate to be gone", () => processesIn(server.project.folder).length === 1);
    assertEquals((await server.hangUp()).event, "reload_done");
    await untilAnswer(server, "two /");
    assertEquals((await server.status()).listeners.length, 2);
  });
}

for (const [fault] of ENTRIES.filter(([, { reload }]) => reload === "done")) {
  Deno.test(`a reload after whose switch ${fault} fails is done, and the old generation ends`, async () => {
    const gone = freePort();
    await using server = await Server.start({ entry: ENTRY, config: { reload: QUICK } });
    const { port } = server.project;
    await prepareReload(server, "two", [port, gone]);
    assertEquals((await server.hangUp()).event, "reload_done");
    await server.waitFor("generation_ended");
    await prepareReload(server, "three", [port]);
    await arm(server, fault);
    const done = await server.hangUp();
    assertEquals([done.event, done.generation], ["reload_done", 3], server.log);
    await untilAnswer(server, "three /");
    await until("the fault to strike", async () => !await isArmed(server));
    await until("the new generation alone", async () => {
      const { generations } = await server.status();
      return generations.length === 1 && generations[0]!.generation === 3;
    });
    assertEquals((await server.status()).listeners, [`127.0.0.1:${port}`]);
    await until("its worker alone", () => processesIn(server.project.folder).length === 1);
    await prepareReload(server, "four", [port]);
    assertEquals((await server.hangUp()).event, "reload_done");
    await untilAnswer(server, "four /");
  });
}

for (const [fault] of ENTRIES.filter(([, { stop }]) => stop === "ends")) {
  Deno.test(`a supervisor ends though ${fault} fails while it stops, and leaves nothing`, async () => {
    // The answer never comes, so that the stop goes as far as the signal.
    const app = "export default { fetch() { for (;;); } };";
    const server = await Server.start({
      entry: ENTRY,
      config: { reload: QUICK },
      ...fault === "post signal" && { files: { "app.ts": app } },
    });
    try {
      const [worker] = await server.workers();
      const asked = fault === "post signal"
        ? server.get("/", { signal: AbortSignal.timeout(PATIENCE_MS) }).then((answer) =>
          answer.body?.cancel()
        ).catch(() => {})
        : undefined;
      await arm(server, fault);
      server.signal("SIGTERM");
      await until("the fault to strike", async () => !await isArmed(server));
      // Whoever waits too long says it again.
      if (fault === "post signal" && isAlive(server.pid)) server.signal("SIGTERM");
      await until("the end", () => !isAlive(server.pid));
      await asked;
      await until("the worker's end", () => !isAlive(worker!));
      assert(server.log.includes(`Fault: ${fault}`) || server.eventsOf("stopped").length === 1);
    } finally {
      await server[Symbol.asyncDispose]();
    }
  });
}
