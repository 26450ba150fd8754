/** Upgrades under load, in the midst of which something is killed, and of all kinds of processes. */
import { assert, assertEquals } from "@std/assert";
import { join } from "node:path";
import {
  countDescriptors,
  isAlive,
  listeningInode,
  processesIn,
  readStatus,
} from "../harness/process.ts";
import { HOLDING_APP, STAYING_APP } from "../harness/held.ts";
import { Wire } from "../harness/http.ts";
import { Project, REPOSITORY } from "../harness/project.ts";
import { Server } from "../harness/server.ts";
import { until } from "../harness/wait.ts";
import { isAllOk, runLoad } from "../load/client.ts";
import { freePort } from "../harness/ports.ts";

/** A slow start makes room for what happens meanwhile; it talks all the time, as loudly as it can. */
const APP = `
const VERSION = "one";
setInterval(() => console.log("talk ".repeat(200)), 5);
export default {
  async fetch(request) {
    const path = new URL(request.url).pathname;
    if (path === "/slow") await new Promise((resolve) => setTimeout(resolve, 4000));
    return new Response(VERSION + " " + path);
  },
};
`;

/** Takes a while to load. */
const SLOW_START = `await new Promise((resolve) => setTimeout(resolve, 1500));\n${APP}`;

/** A helper without any dependency. */
const HELPER = `
const any = { "~standard": { version: 1, vendor: "test", validate: (value) => ({ value }) } };
export default { echo: { input: any, output: any, handle: (value) => value } };
`;

/** Sends USR2 and waits until another supervisor serves, and the workers of the old one are gone. */
async function upgrade(server: Server, number: number): Promise<void> {
  const old = await server.workers();
  Deno.kill(server.pid, "SIGUSR2");
  await until(`upgrade ${number}`, async () => {
    const status = await server.status().catch(() => undefined);
    return status?.upgrades === number &&
      status.generations.some(({ state }) => state === "serving");
  }, 120_000);
  // Reaped, too: a zombie has a status file still.
  await until("the old workers to leave", () => old.every((pid) => !readStatus(pid)), 120_000);
}

Deno.test("ten upgrades under load lose nothing, keep process and listener, and grow nothing", async () => {
  await using server = await Server.start({
    config: {
      app: join(REPOSITORY, "tests/load/app.ts"),
      reload: { drainDeadlineMs: 10_000, idleGraceMs: 1_000 },
    },
  });
  const before = { pid: (await server.status()).pid, inode: listeningInode(server.project.port) };
  let done = false;
  const loads: boolean[] = [];
  const load = (async () => {
    while (!done) {
      const report = await runLoad({
        target: `127.0.0.1:${server.project.port}`,
        durationMs: 5_000,
        modes: ["close", "keep_alive_20"],
        clients: 2,
      });
      loads.push(isAllOk(report));
    }
  })();
  const counts: number[] = [];
  for (let number = 1; number <= 10; number++) {
    await upgrade(server, number);
    counts.push(countDescriptors(server.pid));
  }
  done = true;
  await load;
  assert(loads.length > 0 && loads.every(Boolean), "a request was lost");
  const after = await server.status();
  assertEquals({ pid: after.pid, inode: listeningInode(server.project.port) }, before);
  assertEquals(after.generations.at(-1)!.generation, 11);
  // Two for each upgrade would be more by 18; what is about to be closed is not.
  assert(counts.at(-1)! <= counts[0]! + 8, `descriptors: ${counts}`);
});

Deno.test("a kill in the midst of an upgrade leaves no process behind", async () => {
  const project = await Project.create({ files: { "app.ts": SLOW_START } });
  const first = await Server.startOn(project);
  first.signal("SIGUSR2");
  await until("the rehearsal", () => processesIn(project.folder).length === 2);
  await first.waitFor("upgrading");
  await until("the candidate", () => processesIn(project.folder).length === 2);
  const old = processesIn(project.folder);
  first.signal("SIGKILL");
  await first.exited();
  await until("old and new to leave", () => !old.some(isAlive));
  await using second = await Server.startOn(project);
  assertEquals(await second.text("/a"), "one /a");
});

Deno.test("with a helper, a logger and metrics an old worker stays ready for balancers, and all is handed on", async () => {
  const metrics = freePort();
  await using server = await Server.start({
    config: {
      readiness: "/ready",
      log: { folder: "./log" },
      metrics: { listen: `127.0.0.1:${metrics}` },
      helpers: { bare: { module: "./bare.ts" } },
      reload: { idleGraceMs: 30_000 },
    },
    files: { "app.ts": APP, "bare.ts": HELPER },
  });
  using kept = await Wire.open(server.project.port);
  assertEquals((await kept.ask("/ready")).text, "ready\n");
  Deno.kill(server.pid, "SIGUSR2");
  await server.waitFor("serving", 2);
  // The old worker, on the connection that it still has.
  const { status, text } = await kept.ask("/ready");
  assertEquals({ status, text }, { status: 200, text: "ready\n" });
  const roles = ["worker", "helper bare.0", "logger", "metrics"];
  await until(
    "the old ones to end",
    () =>
      roles.every((role) =>
        server.events.some((each) => each.event === "old_process_exited" && each.role === role)
      ),
  );
  await until("the metrics", async () => {
    const answer = await fetch(`http://127.0.0.1:${metrics}/metrics`).catch(() => undefined);
    return (await answer?.text() ?? "").includes("holdfast_");
  });
  assertEquals((await server.hangUp()).event, "reload_done");
});

Deno.test("a deadline that runs goes on over an upgrade", async () => {
  await using server = await Server.start({
    files: { "app.ts": STAYING_APP },
    config: { reload: { drainDeadlineMs: 30_000, idleGraceMs: 0 } },
  });
  const { project } = server;
  const [old] = await server.workers();
  await project.write("app.ts", HOLDING_APP);
  await project.configure({ reload: { drainDeadlineMs: 60_000, idleGraceMs: 0 } });
  assertEquals((await server.hangUp()).event, "reload_done");
  server.signal("SIGUSR2");
  await server.waitFor("serving", 2);
  const { former = [] } = await server.status();
  const left = former.find(({ pid }) => pid === old);
  assert(left && left.endsInMs !== null && left.endsInMs <= 32_000, JSON.stringify(former));
  await server.waitFor("former_process_killed");
  await until("its end", () => !readStatus(old!));
});
