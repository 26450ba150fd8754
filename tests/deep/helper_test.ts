/** What of helpers takes its time: real waits, many rounds, every way in which a start can fail. */
import { assert, assertEquals, assertStringIncludes } from "@std/assert";
import { plainHelper, TELLING_APP } from "../harness/helpers.ts";
import { tell } from "../harness/obeying_app.ts";
import { countDescriptors, readStatus } from "../harness/process.ts";
import { Server, type ServerOptions } from "../harness/server.ts";
import { sleep, until } from "../harness/wait.ts";

const QUICK = { drainDeadlineMs: 5_000, idleGraceMs: 100 };

/** A server whose app tells a helper called `job`. */
function startJob(
  keys: Readonly<Record<string, unknown>> = {},
  { files = {}, config = {}, ...options }: ServerOptions = {},
): Promise<Server> {
  return Server.start({
    files: { "app.ts": TELLING_APP, "job.ts": plainHelper(), ...files },
    config: { reload: QUICK, helpers: { job: { module: "./job.ts", ...keys } }, ...config },
    ...options,
  });
}

/** The processes of the helpers that serve, with their pids. */
async function instancesOf(server: Server) {
  const { generations } = await server.status();
  return generations.flatMap(({ generation, helpers }) =>
    helpers.flatMap(({ helper, instance, replacements, process }) =>
      process ? { generation, helper, instance, replacements, ...process } : []
    )
  );
}

async function jobPid(server: Server): Promise<number> {
  return await (await server.get("/pid")).json();
}

Deno.test("a client that goes away in the middle of a stream leaves nothing behind in the helper", async () => {
  await using server = await startJob({ timeoutMs: 1_500, concurrency: 2 }, {
    files: {
      "job.ts": plainHelper(`
        pour: method(() => new ReadableStream({
          pull: (controller) => controller.enqueue(new Uint8Array(100_000)),
        })),
      `),
    },
  });
  const pid = await jobPid(server);
  for (let round = 0; round < 5; round++) {
    const stop = new AbortController();
    const body = "return new Response(await helper('job').pour())";
    const answer = await server.get("/", { method: "POST", body, signal: stop.signal });
    await answer.body!.getReader().read();
    stop.abort();
  }
  await until("the end of every call", async () => (await instancesOf(server))[0]?.inFlight === 0);
  // Longer than a call may be held on to.
  await sleep(4_000);
  assertEquals(await jobPid(server), pid);
  assertEquals(server.eventsOf("worker_lost"), []);
});

Deno.test("a helper stays as small as it was, however much streams through it", async () => {
  await using server = await startJob();
  const stream = `
    let made = 0;
    const source = new ReadableStream({
      pull(controller) {
        if (made === 40_000_000) return controller.close();
        controller.enqueue(new Uint8Array(100_000));
        made += 100_000;
      },
    }, { highWaterMark: 0 });
    let seen = 0;
    for await (const chunk of await helper("job").echo(source)) seen += chunk.length;
    return seen;
  `;
  const sizes: number[] = [];
  const [{ pid } = { pid: 0 }] = await instancesOf(server);
  for (let round = 0; round < 12; round++) {
    assertEquals((await tell(server, stream)).ok, 40_000_000);
    sizes.push(residentKib(pid));
  }
  // What it keeps of 240 MB, once it has had as many.
  assert(Math.min(...sizes.slice(6)) < sizes[5]! + 100_000, `${sizes} KiB`);
});

Deno.test("killed helpers and reloads leave the supervisor as it was", async () => {
  await using server = await startJob({ instances: 3 });
  const kill = async () => {
    const [first] = await instancesOf(server);
    const lost = server.eventsOf("worker_lost").length;
    Deno.kill(first!.pid, "SIGKILL");
    await server.waitFor("worker_lost", lost + 1);
  };
  const reload = async () => {
    const ended = server.eventsOf("generation_ended").length;
    assertEquals((await server.hangUp()).event, "reload_done");
    await server.waitFor("generation_ended", ended + 1);
  };
  const settle = () => until("all instances", async () => (await instancesOf(server)).length === 3);
  await kill();
  for (let round = 0; round < 3; round++) await reload();
  await settle();
  const before = { fds: countDescriptors(server.pid), kib: residentKib(server.pid) };
  for (let round = 0; round < 30; round++) {
    await reload();
    await kill();
    if (round < 20) await kill();
  }
  await settle();
  await reload();
  await settle();
  await until("no more descriptors", () => countDescriptors(server.pid) <= before.fds);
  // Threads come and go: what they had comes back to the kernel late, but it comes back.
  const kib = residentKib(server.pid);
  assert(kib < before.kib + 150_000, `${before.kib} KiB before, ${kib} after`);
  assert(await jobPid(server) > 0);
});

function residentKib(pid: number): number {
  return parseInt(readStatus(pid)!["VmRSS"]!);
}

const BROKEN: Record<string, [text: string | undefined, why: string]> = {
  "is missing": [undefined, "is not a file, or does not exist"],
  "has a syntax error": ["export default {", "Expected"],
  "has no methods": ["export const a = 1;", "has no methods"],
  "has a method without a schema": ["export default { a: { handle() {} } };", "is not a schema"],
  "throws while it loads": ["throw new Error('no licence');", "no licence"],
  "ends while it loads": ["Deno.exit(3);", "exited with status 3"],
};

for (const [name, [text, why]] of Object.entries(BROKEN)) {
  Deno.test(`a helper whose module ${name} keeps the start from succeeding`, async () => {
    await using failing = await Server.start({
      files: text === undefined ? {} : { "job.ts": text },
      config: { helpers: { job: { module: "./job.ts" } } },
      wait: "exit",
    });
    const { code } = await failing.exited();
    assert([75, 78].includes(code), `${code}`);
    assertStringIncludes(failing.log, why);
    assertEquals(failing.eventsOf("serving"), []);
  });
}
