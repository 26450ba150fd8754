import { assert, assertEquals, assertMatch, assertStringIncludes } from "@std/assert";
import { Project, REPOSITORY } from "./harness/project.ts";
import {
  HELPER_MODULE,
  outcomeOf,
  plainHelper,
  tellHelper,
  TELLING_APP,
} from "./harness/helpers.ts";
import { tell } from "./harness/obeying_app.ts";
import { isAlive, readArguments, readStatus } from "./harness/process.ts";
import { runCommand, Server, type ServerOptions } from "./harness/server.ts";
import { until, untilTold } from "./harness/wait.ts";

const QUICK = { drainDeadlineMs: 5_000, idleGraceMs: 100 };

type HelperKeys = Readonly<Record<string, unknown>>;

/** A server whose app tells a helper called `job`. */
function startJob(
  keys: HelperKeys = {},
  { files = {}, config = {}, ...options }: ServerOptions = {},
): Promise<Server> {
  return Server.start({
    files: { "app.ts": TELLING_APP, "job.ts": plainHelper(), ...files },
    config: { reload: QUICK, helpers: { job: { module: "./job.ts", ...keys } }, ...config },
    ...options,
  });
}

/** Gives the helper other keys and another module by a reload; when it returns, no old one is left. */
async function renewJob(server: Server, keys: HelperKeys = {}, module = plainHelper()) {
  await server.project.write("job.ts", module);
  await server.project.configure({ helpers: { job: { module: "./job.ts", ...keys } } });
  await reload(server);
  await onlyNewest(server);
}

async function reload(server: Server): Promise<void> {
  const { outcome, reason } = await server.reload();
  assertEquals([outcome, reason], ["done", undefined]);
}

async function onlyNewest(server: Server): Promise<void> {
  await untilTold("the old generation to end", async () => {
    return (await server.status()).generations.length === 1;
  });
}

/** Waits until both instances are there, after so many replacements. */
async function replaced(server: Server, count: number): Promise<void> {
  await untilTold(`both, after ${count} replacements`, async () => {
    const instances = await instancesOf(server);
    return instances.length === 2 &&
      instances.reduce((sum, { replacements }) => sum + replacements, 0) === count;
  });
}

/** The instances that were lost since `before` was taken by `server.eventsOf("worker_lost").length`. */
function lostSince(server: Server, before: number) {
  return server.eventsOf("worker_lost").slice(before);
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

const TYPED_HELPER = `
import * as z from "zod";
import { defineHelper } from ${JSON.stringify(HELPER_MODULE)};
export default defineHelper({
  sum: {
    input: z.object({ numbers: z.array(z.number()), note: z.string().default("none") }),
    output: z.object({ sum: z.number().max(100), note: z.string() }),
    retry: "safe",
    handle: ({ numbers, note }) => ({ sum: numbers.reduce((a, b) => a + b, 0), note }),
  },
  never: { input: z.void(), output: z.void(), handle: () => new Promise<void>(() => {}) },
});
`;

const TYPED_APP = `
import { Hono } from "hono";
import { helper, HelperError } from ${JSON.stringify(HELPER_MODULE)};
import * as z from "zod";
import type adder from "./adder.ts";

const sums = helper<typeof adder>("adder");
const strict = helper<typeof adder>("adder", {
  sum: { output: z.object({ sum: z.number().max(10), note: z.string() }) },
});
let opened: number;
export async function open() {
  const answer: { sum: number; note: string } = await sums.sum({ numbers: [1, 2] });
  opened = answer.sum;
  // @ts-expect-error: an input that its schema refuses does not compile
  await sums.sum({ numbers: "three" }).catch(() => {});
  // @ts-expect-error: nor does a method that there is not
  await sums.multiply({ numbers: [1] }).catch(() => {});
}
const app = new Hono();
app.get("/opened", (c) => c.json(opened));
app.get("/sum/:limit/:number", async (c) => {
  const client = c.req.param("limit") === "strict" ? strict : sums;
  try {
    return c.json(await client.sum({ numbers: [Number(c.req.param("number"))] }));
  } catch (error) {
    return c.json([(error as HelperError).code, (error as Error).message]);
  }
});
app.get("/bad", async (c) => c.json(await sums.sum({ numbers: ["x"] } as never)));
app.get("/late", async (c) => c.json(await sums.never(undefined, { timeoutMs: 20 })));
export default app;
`;

Deno.test("a helper's types hold in the app, and its schemas at every border", async () => {
  const { imports } = JSON.parse(await Deno.readTextFile(`${REPOSITORY}/deno.json`));
  const project = await Project.create({
    files: {
      "deno.json": JSON.stringify({ imports: { hono: imports.hono, zod: imports.zod } }),
      "app.ts": TYPED_APP,
      "adder.ts": TYPED_HELPER,
    },
    config: { reload: QUICK, helpers: { adder: { module: "./adder.ts" } } },
  });
  const check = await new Deno.Command(Deno.execPath(), {
    args: ["check", "app.ts", "adder.ts"],
    cwd: project.folder,
    stdin: "null",
    env: { NO_COLOR: "1" },
  }).output();
  assert(check.success, new TextDecoder().decode(check.stderr));
  await using server = await Server.startOn(project);
  assertEquals(await server.text("/opened"), "3");
  assertEquals(await (await server.get("/sum/loose/20")).json(), { sum: 20, note: "none" });
  const [output, why] = await (await server.get("/sum/loose/200")).json();
  assertEquals(output, "helper_bad_output");
  assertStringIncludes(why, "<=100");
  const [contract] = await (await server.get("/sum/strict/20")).json();
  assertEquals(contract, "helper_bad_output");
  assertEquals(await (await server.get("/sum/strict/2")).json(), { sum: 2, note: "none" });
  // Hono's own error handler knows what to say.
  const bad = await server.get("/bad");
  assertEquals([bad.status, await bad.text()], [500, "Internal Server Error\n"]);
  const late = await server.get("/late");
  assertEquals([late.status, late.headers.get("retry-after")], [503, "1"]);
  await late.body?.cancel();
});

Deno.test("a helper has what its entry grants and the worker has not, behind either wall", async (t) => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const accepted = accept(listener);
  const { port } = listener.addr;
  await using server = await startJob(
    { net: [`127.0.0.1:${port}`], env: ["HELPERS_OWN"], unveil: { "./kept/": "rwc" } },
    {
      files: { "shown/a.txt": "a" },
      env: { HELPERS_OWN: "secret", APPS_OWN: "open" },
      config: { wall: "kernel", unveil: { "./shown": "r" }, env: ["APPS_OWN"] },
    },
  );
  for (const wall of ["kernel", "deno"] as const) {
    await t.step(wall, async () => {
      await server.project.configure({ wall });
      await reload(server);
      await onlyNewest(server);
      await assertOwnGrants(server, wall, port);
    });
  }
  listener.close();
  await accepted;
});

async function assertOwnGrants(server: Server, wall: "kernel" | "deno", port: number) {
  const { folder } = server.project;
  const attempts: [code: string, worker: unknown, helper: unknown][] = [
    [
      `(await Deno.connect({ hostname: "127.0.0.1", port: ${port} })).close(); return 1`,
      false,
      1,
    ],
    [`return await Deno.readTextFile("${folder}/shown/a.txt")`, "a", false],
    [`await Deno.writeTextFile("${folder}/kept/b.txt", "b"); return "written"`, false, "written"],
    [`return await Deno.readTextFile("${folder}/kept/b.txt")`, false, "b"],
    [`return Deno.env.get("HELPERS_OWN")`, false, "secret"],
    [`return Deno.env.get("APPS_OWN")`, "open", false],
    [`return new Deno.Command("true").outputSync().code`, false, false],
    [`return await Deno.readTextFile("${folder}/holdfast.jsonc")`, false, false],
    [`return Deno.listen({ port: 0 }).addr.port`, false, false],
    [`Deno.kill(${server.pid}, "SIGHUP"); return 1`, false, false],
  ];
  for (const [code, worker, helper] of attempts) {
    const outcomes = [await tell(server, code), await tellHelper(server, code)];
    for (const [index, expected] of [worker, helper].entries()) {
      const { ok, ...denied } = outcomes[index]!;
      if (expected === false) assertEquals(ok ?? null, null, `${index}: ${code}`);
      else assertEquals(ok, expected, `${index}: ${code} ${JSON.stringify(denied)}`);
    }
  }
  const [instance] = await instancesOf(server);
  const [worker] = await server.workers();
  const flagsOf = (pid: number) =>
    readArguments(pid).filter((each) => /^--(allow|deny)-/.test(each));
  assertEquals(flagsOf(worker!).some((flag) => flag.startsWith("--allow-net")), false);
  assertMatch(flagsOf(instance!.pid).join(" "), new RegExp(`--allow-net=127.0.0.1:${port}( |$)`));
  for (const pid of [worker!, instance!.pid]) {
    const denied = flagsOf(pid).join(" ");
    for (const kind of ["run", "sys"]) assertStringIncludes(denied, `--deny-${kind}`);
    if (wall === "kernel") assertEquals(readStatus(pid)?.["Seccomp"], "2");
  }
}

async function accept(listener: Deno.Listener): Promise<void> {
  try {
    for await (const conn of listener) conn.close();
  } catch {
    // The test is over.
  }
}

/** What one server's helper does in turn, each with keys and a module of its own. */
const CALLS: Record<string, (server: Server) => Promise<void>> = {
  async "calls end as they should, and the instance lives through each of them"(server) {
    const methods = `
      throws: method(() => { throw new Error("no such photo"); }),
      odd: method(() => { throw Object.create(null); }),
      refuses: method((value) => value, {
        input: { "~standard": { version: 1, vendor: "test", validate: () => ({ issues: [{ message: "not this" }] }) } },
      }),
      wait: method((_, { signal }) => new Promise((resolve) =>
        signal.addEventListener("abort", () => resolve(globalThis.aborted = signal.reason.message)))),
    `;
    await renewJob(server, { concurrency: 3, timeoutMs: 2_000 }, plainHelper(methods));
    const losses = server.eventsOf("worker_lost").length;
    const pid = await jobPid(server);
    const outcome = (call: string) => outcomeOf(server, call);
    assertEquals(await outcome("helper('job').refuses(1)"), "helper_bad_input");
    assertEquals(await outcome("helper('job').nothing(1)"), "helper_unknown");
    assertEquals(await outcome("(async () => helper('nobody').a(1))()"), "helper_unknown");
    assertEquals(await outcome("helper('job').odd()"), "helper_failed");
    assertEquals(await outcome("helper('job').echo(1n)"), "helper_bad_input");
    // The message crosses; where it was thrown does not.
    const thrown = await tell(
      server,
      "try { await helper('job').throws() } catch (e) { return [e.code, e.message, e.stack] }",
    );
    const [code, message, stack] = thrown.ok as string[];
    assertEquals([code, message], ["helper_failed", "no such photo"]);
    assert(!stack!.includes("job.ts"), stack);
    assert(!JSON.stringify(thrown).includes(server.project.path("job.ts")));
    // Given up by its caller, by the call's deadline, and by the config's.
    const gaveUp =
      "const stop = new AbortController(); setTimeout(() => stop.abort(new Error('bored')), 50);" +
      "return await outcome(helper('job').wait(1, { signal: stop.signal }))";
    assertEquals((await tell(server, gaveUp)).ok, "Error: bored");
    const abortedIn = () => outcome("helper('job').run('return globalThis.aborted')");
    await until("the abort", async () => await abortedIn() === "It was given up");
    assertEquals(await outcome("helper('job').wait(1, { timeoutMs: 50 })"), "helper_timeout");
    assertEquals(await outcome("helper('job').wait(1)"), "helper_timeout");
    assertEquals(await jobPid(server), pid);
    assertEquals(lostSince(server, losses), []);
  },

  async "no more calls run at once than may, and no more wait"(server) {
    const module = plainHelper(`
      peak: method(async () => {
        globalThis.running = (globalThis.running ?? 0) + 1;
        globalThis.peak = Math.max(globalThis.peak ?? 0, running);
        await new Promise((resolve) => setTimeout(resolve, 20));
        running--;
        return peak;
      }),
    `);
    await renewJob(server, { concurrency: 3, timeoutMs: 60_000 }, module);
    const peaks =
      "return Math.max(...await Promise.all(Array.from({ length: 30 }, () => helper('job').peak())))";
    assertEquals((await tell(server, peaks)).ok, 3);
    const many =
      "const all = await Promise.all(Array.from({ length: 258 }, () => outcome(helper('job').sleep(5))));" +
      "return [all.filter((each) => each === 'helper_busy').length, all.filter(Number).length]";
    assertEquals((await tell(server, many)).ok, [2, 256]);
  },

  async "a photo of 20 MB and streams of 40 MB go through whole"(server) {
    await renewJob(
      server,
      {},
      plainHelper(`
        hash: method(async ({ photo }) => new Uint8Array(await crypto.subtle.digest("SHA-256", photo))),
      `),
    );
    const photo = `
      const photo = new Uint8Array(20_000_000);
      for (let at = 0; at < photo.length; at += 65536) crypto.getRandomValues(photo.subarray(at, at + 65536));
      const hex = (bytes) => new Uint8Array(bytes).toHex();
      const own = hex(await crypto.subtle.digest("SHA-256", photo));
      const there = hex(await helper("job").hash({ photo }));
      const back = hex(await crypto.subtle.digest("SHA-256", await helper("job").echo(photo)));
      return [own === there, own === back];
    `;
    assertEquals((await tell(server, photo)).ok, [true, true]);
    const streamed = `
      let made = 0;
      const source = new ReadableStream({
        pull(controller) {
          if (made === 40_000_000) return controller.close();
          controller.enqueue(new Uint8Array(100_000).fill(made / 100_000));
          made += 100_000;
        },
      }, { highWaterMark: 0 });
      const back = await helper("job").echo(source);
      // Whoever does not read keeps the source from making more than the windows hold.
      await new Promise((resolve) => setTimeout(resolve, 500));
      const early = made;
      let seen = 0;
      for await (const chunk of back) {
        for (const byte of chunk) if (byte !== (Math.floor(seen++ / 100_000) & 255)) throw new Error("wrong byte");
      }
      return [early < 2_000_000, seen];
    `;
    assertEquals((await tell(server, streamed)).ok, [true, 40_000_000]);
    // The app's own request may be a stream, and so may its answer.
    const body =
      "return new Response(await helper('job').echo(new Blob([request.url.repeat(1)]).stream()))";
    assertEquals(
      await (await server.get("/", { method: "POST", body })).text(),
      `${server.project.origin}/`,
    );
  },

  async "a client that goes away in the middle of a stream leaves nothing behind in the helper"(
    server,
  ) {
    await renewJob(
      server,
      { concurrency: 2 },
      plainHelper(`
        pour: method(() => new ReadableStream({
          pull: (controller) => controller.enqueue(new Uint8Array(100_000)),
        })),
      `),
    );
    const losses = server.eventsOf("worker_lost").length;
    const pid = await jobPid(server);
    for (let round = 0; round < 5; round++) {
      const stop = new AbortController();
      const body = "return new Response(await helper('job').pour())";
      const answer = await server.get("/", { method: "POST", body, signal: stop.signal });
      await answer.body!.getReader().read();
      stop.abort();
    }
    await untilTold(
      "the end of every call",
      async () => (await instancesOf(server))[0]?.inFlight === 0,
    );
    assertEquals(await jobPid(server), pid);
    assertEquals(lostSince(server, losses), []);
  },

  async "a call that is lost with its instance is made again if that does no harm"(server) {
    const module = plainHelper(`
      safe: method(async (name) => await dieOnce(name), { retry: "safe" }),
      unsafe: method(async (name) => await dieOnce(name)),
    `) + `
      async function dieOnce(name) {
        const path = import.meta.dirname + "/once/" + name;
        try {
          Deno.writeTextFileSync(path, "", { createNew: true });
        } catch {
          return "answered";
        }
        Deno.exit(7);
      }
    `;
    await renewJob(server, { instances: 2, unveil: { "./once/": "rwc" } }, module);
    const losses = server.eventsOf("worker_lost").length;
    assertEquals(await outcomeOf(server, "helper('job').safe('a')"), "answered");
    await server.waitFor("worker_lost", losses + 1);
    await replaced(server, 1);
    assertEquals(await outcomeOf(server, "helper('job').unsafe('b')"), "helper_lost");
    await server.waitFor("worker_lost", losses + 2);
    await replaced(server, 2);
    // A plain app says what a client is to do.
    const answer = await server.get("/sleep?nonsense");
    await answer.body?.cancel();
    const killed = server.get("/sleep?5000");
    const busy = await untilTold(
      "the call",
      async () => (await instancesOf(server)).find(({ inFlight }) => inFlight === 1),
    );
    Deno.kill(busy.pid, "SIGKILL");
    const lost = await killed;
    assertEquals([lost.status, lost.headers.get("retry-after")], [503, "1"]);
    await lost.body?.cancel();
    // The other one serves on.
    const [other] = (await instancesOf(server)).filter(({ pid }) => pid !== busy.pid);
    assert(other);
    assertEquals(await jobPid(server) > 0, true);
    await server.waitFor("worker_lost", losses + 3);
    await replaced(server, 3);
  },

  async "an instance that is not to be replaced stays gone, and its calls are unavailable"(server) {
    await renewJob(server, { restart: "never", timeoutMs: 500 });
    const losses = server.eventsOf("worker_lost").length;
    Deno.kill(await jobPid(server), "SIGKILL");
    await server.waitFor("worker_lost", losses + 1);
    assertEquals(await outcomeOf(server, "helper('job').echo(1)"), "helper_unavailable");
    const answer = await server.get("/pid");
    assertEquals([answer.status, answer.headers.get("retry-after")], [503, "1"]);
    await answer.body?.cancel();
    assertEquals(await server.text("/plain"), "plain");
    assertEquals(await instancesOf(server), []);
    // A reload brings it back.
    await reload(server);
    assert(await jobPid(server) > 0);
  },

  async "an instance that hangs is replaced after its deadline, and its caller is told at it"(
    server,
  ) {
    await renewJob(server, { timeoutMs: 500, instances: 2 });
    const losses = server.eventsOf("worker_lost").length;
    const before = (await instancesOf(server)).map(({ pid }) => pid);
    assertEquals(await outcomeOf(server, "helper('job').stall()"), "helper_timeout");
    // Calls go to the one that has less to do.
    for (let round = 0; round < 5; round++) assert(await jobPid(server) > 0);
    const lost = await server.waitFor("worker_lost", losses + 1);
    assertStringIncludes(String(lost.how), "said nothing for");
    await untilTold("another", async () => {
      const pids = (await instancesOf(server)).map(({ pid }) => pid);
      return pids.length === 2 && pids.some((pid) => !before.includes(pid));
    });
    assertEquals(lostSince(server, losses).length, 1);
  },

  async "an instance that holds on to a call without hanging is replaced, too"(server) {
    await renewJob(server, { timeoutMs: 300, concurrency: 1 });
    const losses = server.eventsOf("worker_lost").length;
    const before = await jobPid(server);
    const held = "helper('job').run('return await new Promise(() => {})')";
    assertEquals(await outcomeOf(server, held), "helper_timeout");
    assertStringIncludes(
      String((await server.waitFor("worker_lost", losses + 1)).how),
      "held on to a call",
    );
    await until("another", async () => {
      const answer = await server.get("/pid");
      return answer.ok ? await answer.json() !== before : await answer.body?.cancel();
    });
  },

  async "a call that waits its turn until its deadline does not get its instance replaced"(server) {
    await renewJob(server, { timeoutMs: 8_000, concurrency: 1 });
    const losses = server.eventsOf("worker_lost").length;
    const pid = await jobPid(server);
    const slow = jobAnswer(server, "/sleep?5000");
    await untilTold("it", async () => (await instancesOf(server))[0]?.inFlight === 1);
    assertEquals(
      await outcomeOf(server, "helper('job').echo(1, { timeoutMs: 100 })"),
      "helper_timeout",
    );
    assertEquals(await slow, pid);
    assertEquals(lostSince(server, losses), []);
  },

  async "an old generation keeps its helpers until it has drained, and a new one has its own"(
    server,
  ) {
    const versioned = (version: string) =>
      plainHelper(`
        version: method(async (gate) => {
          const path = import.meta.dirname + "/gates/" + gate;
          while (gate && !await Deno.stat(path).then(() => true, () => false)) {
            await new Promise((resolve) => setTimeout(resolve, 20));
          }
          return ${JSON.stringify(version)};
        }),
      `);
    const { project } = server;
    await project.write("gates/.keep", "");
    // What the drain waits for ends when the test says so.
    await project.configure({ reload: { ...QUICK, drainDeadlineMs: 120_000 } });
    await renewJob(server, { unveil: { "./gates": "r" } }, versioned("one"));
    const losses = server.eventsOf("worker_lost").length;
    const first = (await instancesOf(server))[0]!.generation;
    const old = outcomeOf(server, "helper('job').version('open')");
    const twice = outcomeOf(
      server,
      "helper('job').version('open').then(() => helper('job').version(''))",
    );
    await untilTold("both calls", async () => (await instancesOf(server))[0]?.inFlight === 2);
    await server.project.write("job.ts", versioned("two"));
    await reload(server);
    assertEquals(await outcomeOf(server, "helper('job').version('')"), "two");
    assertEquals((await instancesOf(server)).map(({ generation }) => generation).sort(), [
      first,
      first + 1,
    ]);
    await project.write("gates/open", "");
    assertEquals(await old, "one");
    assertEquals(await twice, "one");
    await onlyNewest(server);
    await server.project.configure({ reload: QUICK });
    assertEquals((await instancesOf(server)).map(({ generation }) => generation), [first + 1]);
    // Another grant, another number, and none at all.
    await server.project.configure({
      helpers: { job: { module: "./job.ts", instances: 3, unveil: { "./made/": "rwc" } } },
    });
    await reload(server);
    assertEquals(
      (await instancesOf(server)).filter(({ generation }) => generation === first + 2).length,
      3,
    );
    assert((await Deno.stat(server.project.path("made"))).isDirectory);
    await server.project.configure({ helpers: {} });
    await reload(server);
    assertEquals(
      await outcomeOf(server, "(async () => helper('job').echo(1))()"),
      "helper_unknown",
    );
    await onlyNewest(server);
    assertEquals(await instancesOf(server), []);
    assertEquals(lostSince(server, losses), []);
  },

  async "the status shows every instance, what waits in it, and what it takes of memory"(server) {
    const gate = server.project.path("gates/status");
    await server.project.write("gates/.keep", "");
    await renewJob(server, { instances: 2, concurrency: 1, unveil: { "./gates": "r" } });
    const wait = `
      while (!await Deno.stat(${JSON.stringify(gate)}).then(() => true, () => false)) {
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
      return Deno.pid;
    `;
    const calls = Array.from({ length: 6 }, () => tellHelper(server, wait));
    await untilTold(
      "the calls",
      async () =>
        (await instancesOf(server)).reduce((sum, { inFlight }) => sum + inFlight, 0) === 6,
    );
    const { stdout } = await runCommand(server.project, "status");
    for (const instance of [0, 1]) assertMatch(stdout, new RegExp(`job[. ]${instance}`));
    await server.project.write("gates/status", "");
    const pids = await Promise.all(calls);
    assertEquals(new Set(pids.map(({ ok }) => ok)).size, 2);
    const instances = await untilTold("the figures", async () => {
      const all = await instancesOf(server);
      return all.every(({ inFlight, answered }) => inFlight === 0 && answered === 3) && all;
    });
    for (const { helper, memoryBytes, connections } of instances) {
      assertEquals([helper, connections], ["job", 1]);
      assert(memoryBytes > 10_000_000, `${memoryBytes}`);
    }
  },

  async "a worker that was killed is replaced by one that has the same helpers"(server) {
    await renewJob(server, { instances: 2 });
    const losses = server.eventsOf("worker_lost").length;
    const before = (await instancesOf(server)).map(({ pid }) => pid);
    for (let round = 1; round <= 3; round++) {
      const [worker] = await server.workers();
      Deno.kill(worker!, "SIGKILL");
      await server.waitFor("worker_lost", losses + round);
      await untilTold("another", async () => (await server.workers())[0] !== worker);
      assert(before.includes(await jobPid(server)));
    }
    await untilTold(
      "the lanes of the dead to be gone",
      async () => (await instancesOf(server)).every(({ connections }) => connections === 1),
    );
    assertEquals((await instancesOf(server)).map(({ pid }) => pid), before);
  },
};

Deno.test("calls of a helper", async (t) => {
  await using server = await startJob();
  for (const [promise, keep] of Object.entries(CALLS)) {
    await t.step(promise, () => keep(server));
  }
});

async function jobAnswer(server: Server, path: string): Promise<unknown> {
  return await (await server.get(path)).json();
}

const BROKEN: Record<string, [text: string | undefined, why: string]> = {
  "is missing": [undefined, "is not a file, or does not exist"],
  "has a syntax error": ["export default {", "Expected"],
  "has no methods": ["export const a = 1;", "has no methods"],
  "has a method without a schema": ["export default { a: { handle() {} } };", "is not a schema"],
  "throws while it loads": ["throw new Error('no licence');", "no licence"],
  "ends while it loads": ["Deno.exit(3);", "exited with status 3"],
};

Deno.test("a helper whose module is not fit keeps the reload from succeeding", async (t) => {
  await using server = await startJob();
  const { project } = server;
  const pid = await jobPid(server);
  for (const [name, [text, why]] of Object.entries(BROKEN)) {
    await t.step(`it ${name}`, async () => {
      if (text === undefined) await Deno.remove(project.path("job.ts"));
      else await project.write("job.ts", text);
      const before = server.log.length;
      assertEquals((await server.reload()).outcome, "refused");
      await until("its reason in the log", () => server.log.slice(before).includes(why));
      assertEquals(await jobPid(server), pid);
      await untilTold(
        "the candidate to be gone",
        async () => (await instancesOf(server)).length === 1,
      );
    });
  }
  await project.write("job.ts", plainHelper());
  await reload(server);
});

Deno.test("a helper whose module throws while it loads keeps the start from succeeding", async () => {
  const [text, why] = BROKEN["throws while it loads"]!;
  const helpers = { job: { module: "./job.ts" } };
  await using server = await Server.start({
    files: { "job.ts": text! },
    config: { helpers },
    wait: "exit",
  });
  assertEquals((await server.exited()).code, 75);
  assertStringIncludes(server.log, why);
  assertEquals(server.eventsOf("serving"), []);
});

const JOB = (unveil: Record<string, string>, module = "./job.ts") => ({ job: { module, unveil } });

/** What a config may not give, with what the refusal says of it. */
const REFUSED: Record<string, [config: Record<string, unknown>, key: string, why: string]> = {
  "may write the project": [
    { helpers: JOB({ ".": "rw" }) },
    "helpers.job.unveil",
    "makes writable the control socket's folder",
  ],
  "may write the config": [
    { helpers: JOB({ "./holdfast.jsonc": "rw" }) },
    "helpers.job.unveil",
    "makes writable the config",
  ],
  "may write the app's code": [
    { app: "./src/app.ts", helpers: JOB({ "./src": "rw" }) },
    "helpers.job.unveil",
    "makes writable the app's code",
  ],
  "may write its own code": [
    { helpers: JOB({ "./jobs": "rwc" }, "./jobs/job.ts") },
    "helpers.job.unveil",
    "makes writable the app's code",
  ],
  "is in reach of the app's writes": [
    { unveil: { "./jobs": "rw" }, helpers: JOB({}, "./jobs/job.ts") },
    "unveil",
    "makes writable the app's code",
  ],
  "may put a link where the app reads": [
    { unveil: { "./data/shown": "r" }, helpers: JOB({ "./data": "rwc" }) },
    "unveil",
    "by a link",
  ],
  "reads where the app may put a link": [
    { unveil: { "./data": "rwc" }, helpers: JOB({ "./data/shown": "r" }) },
    "helpers.job.unveil",
    "by a link",
  ],
  "may reach the control socket": [
    { helpers: JOB({ "./.holdfast": "r" }) },
    "helpers.job.unveil",
    "reaches the control socket's folder",
  ],
};

for (const [name, [config, key, why]] of Object.entries(REFUSED)) {
  Deno.test(`a config whose helper ${name} is refused, with the place`, async () => {
    await using project = await Project.create({
      files: {
        "job.ts": plainHelper(),
        "jobs/job.ts": plainHelper(),
        "src/app.ts": TELLING_APP,
        "data/shown/a.txt": "a",
      },
      config,
    });
    const { code: status, stderr, stdout } = await runCommand(project, "check");
    assertEquals(status, 78, stdout + stderr);
    const line = stderr.split("\n").find((each) => each.includes(`: ${key}[`)) ?? "";
    assertStringIncludes(line, why, stderr);
    assertMatch(line, /holdfast\.jsonc:1:\d+/);
  });
}

Deno.test("a stream of calls while the supervisor is killed ends with the requests in flight answered", async () => {
  const server = await startJob();
  try {
    const [worker] = await server.workers();
    const pid = await jobPid(server);
    const slow = outcomeOf(server, "helper('job').sleep(2500).then(() => helper('job').pid())");
    await untilTold("the call", async () => (await instancesOf(server))[0]?.inFlight === 1);
    server.signal("SIGKILL");
    assertEquals(await slow, pid);
    await until("the end of all", () => !isAlive(worker!) && !isAlive(pid));
  } finally {
    // Nobody was left to take the runtime folder away.
    await Deno.remove(server.project.path(".holdfast"), { recursive: true });
    await server[Symbol.asyncDispose]();
  }
});
