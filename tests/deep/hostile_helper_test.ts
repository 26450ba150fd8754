/** A worker or a helper that was taken over speaks to the other in raw bytes. All else is real. */
import { assert, assertEquals } from "@std/assert";
import { outcomeOf, plainHelper, tellHelper, TELLING_APP } from "../harness/helpers.ts";
import { tell } from "../harness/obeying_app.ts";
import { readStatus } from "../harness/process.ts";
import { Server } from "../harness/server.ts";
import { until } from "../harness/wait.ts";

/**
 * Code that gets at the socket of the lane, which `stealing` promises: whatever writes to it passes
 * through a method that anybody in the process may replace.
 *
 * @param kind of the frame that gives the lane away: 2 for a call, 3 for a result
 */
function stealLane(kind: 2 | 3): string {
  return `
    const { Socket } = process.getBuiltinModule("node:net");
    const { write } = Socket.prototype;
    const stealing = new Promise((resolve) => {
      Socket.prototype.write = function (bytes, ...rest) {
        if (bytes[4] === ${kind} && bytes[5] === 0 && bytes[6] === 0) {
          Socket.prototype.write = write;
          resolve(this);
        }
        return write.call(this, bytes, ...rest);
      };
    });
    function frame(kind, id, payload = new Uint8Array()) {
      const bytes = new Uint8Array(12 + payload.length);
      new DataView(bytes.buffer).setUint32(0, payload.length);
      bytes[4] = kind;
      new DataView(bytes.buffer).setUint32(8, id);
      bytes.set(payload, 12);
      return bytes;
    }
    function head(value) {
      const text = new TextEncoder().encode(JSON.stringify(value));
      const bytes = new Uint8Array(4 + text.length);
      new DataView(bytes.buffer).setUint32(0, text.length);
      bytes.set(text, 4);
      return bytes;
    }
    const call = (id, method, value) =>
      frame(2, id, head({ method, timeoutMs: 10_000, value, parts: [] }));
    const result = (id, value, parts = []) => frame(3, id, head({ value, parts }));
  `;
}

function startServer(timeoutMs: number): Promise<Server> {
  return Server.start({
    files: {
      "app.ts": TELLING_APP,
      "job.ts": plainHelper("big: method(() => new Uint8Array(4_000_000)),"),
    },
    config: {
      reload: { drainDeadlineMs: 5_000, idleGraceMs: 100 },
      helpers: { job: { module: "./job.ts", timeoutMs } },
    },
  });
}

async function pidsOf(server: Server): Promise<{ worker: number; helper: number }> {
  return await until("both", async () => {
    const { generations: [generation] } = await server.status();
    const [worker, helper] = [
      generation?.workers[0]?.process?.pid,
      generation?.helpers[0]?.process?.pid,
    ];
    return worker !== undefined && helper !== undefined && { worker, helper };
  });
}

async function answeredBy(server: Server): Promise<number> {
  return (await server.status()).generations[0]!.helpers[0]!.process!.answered;
}

/** What a worker does to its helper, and the rule that it breaks by it, if it breaks one. */
const WORKER_ACTS: Record<string, [code: string, rule: string | undefined]> = {
  "writes garbage": ["lane.write(new Uint8Array(100_000).fill(0x47));", "frame_too_long"],
  "announces more than there may be": [
    "lane.write(Uint8Array.of(0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0, 0, 0, 9));",
    "frame_too_long",
  ],
  "says what a helper says": ["lane.write(result(1, 1));", "not_permitted"],
  "leaves half a frame": ["lane.write(call(9999, 'echo', 1).subarray(0, 30));", "frame_stalled"],
  "pollutes a prototype": [
    `lane.write(frame(2, 9999, new Uint8Array([...head({ method: "echo", timeoutMs: 1, value: {},
       parts: [{ path: ["__proto__", "polluted"], bytes: 1 }] }), 1])));`,
    "bad_message",
  ],
  "calls ten thousand times at once": [
    "for (let id = 10_000; id < 20_000; id++) lane.write(call(id, 'sleep', 20));",
    undefined,
  ],
  "reads no answer": [
    "lane.pause(); for (let id = 10_000; id < 11_000; id++) lane.write(call(id, 'big', null));",
    undefined,
  ],
};

Deno.test("a helper outlives whatever a worker writes to it, stays small, and serves the next one", async () => {
  await using server = await startServer(20_000);
  const { helper } = await pidsOf(server);
  for (const [name, [code, rule]] of Object.entries(WORKER_ACTS)) {
    const { worker } = await pidsOf(server);
    const losses = server.eventsOf("worker_lost").length;
    const before = await answeredBy(server);
    const steal = `${stealLane(2)} outcome(helper("job").echo(1)); const lane = await stealing;`;
    const { ok, message } = await tell(server, `${steal}\n${code}\nreturn "done"`);
    assertEquals(ok, "done", `${name}: ${message}`);
    if (rule !== undefined) {
      await until(
        `the end of the lane after it ${name}`,
        () =>
          server.eventsOf("worker_output").some(({ text, pid }) =>
            pid === helper && String(text).includes(`broke the rule ${rule}`)
          ),
      );
    } else await until("some answers", async () => await answeredBy(server) > before + 1);
    assertEquals(await server.text("/plain"), "plain");
    const kib = parseInt(readStatus(helper)!["VmRSS"]!);
    assert(kib < 400_000, `${name}: ${kib} KiB`);
    Deno.kill(worker, "SIGKILL");
    await server.waitFor("worker_lost", losses + 1);
    await until("the next worker", async () => (await pidsOf(server)).worker !== worker);
    assertEquals(await outcomeOf(server, "helper('job').pid()"), helper, name);
  }
  assertEquals(server.eventsOf("worker_lost").every(({ role }) => role === "worker"), true);
});

/** What a helper does to its worker. */
const HELPER_ACTS: Record<string, string> = {
  "writes garbage": "lane.write(new Uint8Array(100_000).fill(0x47));",
  "announces more than there may be":
    "lane.write(Uint8Array.of(0x7f, 0xff, 0xff, 0xff, 3, 0, 0, 0, 0, 0, 0, 9));",
  "answers what nobody asked": "lane.write(result(4_000_000_000, 1));",
  "calls": "lane.write(call(1, 'echo', 1));",
  "introduces itself again":
    "lane.write(frame(1, 0, new TextEncoder().encode('{\"methods\":{}}')));",
  "answers with a part in a prototype":
    `lane.write(new Uint8Array([...frame(3, 1, head({ value: {}, parts: [{ path: ["__proto__", "polluted"], bytes: 0 }] }))]));`,
  "leaves half a frame": "lane.write(result(1, 'x'.repeat(100)).subarray(0, 30));",
};

for (const [name, code] of Object.entries(HELPER_ACTS)) {
  Deno.test(`a worker outlives a helper that ${name}, and only its calls fail`, async () => {
    await using server = await startServer(1_000);
    const { worker, helper } = await pidsOf(server);
    // The answer to this very call gives the lane away.
    const arm = `${stealLane(3)} stealing.then((lane) => { ${code} }); return "armed"`;
    assertEquals((await tellHelper(server, arm)).ok, "armed");
    await until("the lane's end", async () => {
      const outcome = await outcomeOf(server, "helper('job').echo(1)");
      return ["helper_lost", "helper_unavailable"].includes(String(outcome));
    });
    assertEquals(await server.text("/plain"), "plain");
    assertEquals((await tell(server, "return ({}).polluted")).ok, null);
    await until("the word of it", () => server.log.includes("A lane to job was closed"));
    assertEquals((await pidsOf(server)).worker, worker);
    // Another instance is as good as new.
    Deno.kill(helper, "SIGKILL");
    await until("another", async () => (await pidsOf(server)).helper !== helper);
    assertEquals(await outcomeOf(server, "helper('job').echo(2)"), 2);
  });
}
