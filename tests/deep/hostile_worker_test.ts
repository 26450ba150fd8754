/**
 * Real hostile workers, one of every kind of reaction that they call for. What differs in the bytes
 * alone is judged in tests/protocol_test.ts; some of these run in tests/hostile_worker_test.ts too.
 */
import { assert, assertEquals, assertMatch } from "@std/assert";
import { DEFAULT_OUTPUT_LIMITS } from "../../lib/base/output_limits.ts";
import type { ViolationCode } from "../../lib/protocol/violation.ts";
import { backoffMs } from "../../lib/supervisor/health.ts";
import { HOSTILE_PHASES, hostileProgram } from "../doubles/hostile_programs.ts";
import {
  ask,
  assertUnharmed,
  Besieged,
  bringInHostile,
  BROKE,
  type Candidate,
  ENTRY,
  GOOD,
  HOSTILE,
  LATE,
  residentKib,
  violating,
} from "../harness/besieged.ts";
import { isAlive, readStatus } from "../harness/process.ts";
import { PLAIN_APP } from "../harness/project.ts";
import { type LogEvent, Server } from "../harness/server.ts";
import { PATIENCE_MS, until } from "../harness/wait.ts";

// ---- a hostile candidate: the old generation goes on ----

/** For whoever is waited for in vain; the steps before must be done in it too. */
const SOON = { reload: { readyDeadlineMs: 5_000 } };

/** A path that is about as long as a config may have it. */
function deepPath(index: number): string {
  return `./data/${index}/${Array.from({ length: 8 }, () => "é".repeat(119)).join("/")}`;
}

const LONG_PATHS = Object.fromEntries(
  Array.from({ length: 64 }, (_, index) => [deepPath(index), "rw"]),
);

/** Stops a process, and waits until it is. */
async function stopBySignal(pid: number): Promise<void> {
  Deno.kill(pid, "SIGSTOP");
  await until("it to be stopped", () => readStatus(pid)?.["State"]?.startsWith("T"));
}

const CANDIDATES: Record<string, Candidate> = {
  "says ready twice": violating("not_permitted", "await goTo('loading'); await say(READY, READY);"),
  "claims more listeners than it got": violating(
    "wrong_count",
    "await goTo('configured'); await say({ type: 'received', listeners: 7 });",
  ),
  "claims that it got no listener": violating(
    "wrong_count",
    "await goTo('configured'); await say({ type: 'received', listeners: 0 });",
  ),
  "speaks another version": {
    ...violating("version_mismatch", "await say({ ...HELLO, version: 99 });"),
    reason: /the worker speaks protocol 99, the supervisor \d+ \(killed by SIGKILL\)/,
  },
  "sends half a message and falls silent": {
    ...violating("frame_stalled", "await send(frame(HELLO).subarray(0, 9));"),
  },
  "announces 4 GiB and sends without end": violating(
    "frame_too_long",
    "await send(Buffer.alloc(4, 0xff)); for (;;) await send(Buffer.alloc(1024 * 1024));",
  ),
  "sends no JSON": violating("frame_not_json", "await send(frame('{\"type\":'));"),
  "sends terminal escapes as its version": violating(
    "bad_message",
    "await say({ ...HELLO, deno: '\\x1b[2J\\n' + 'x'.repeat(100), '\\x1b]0;evil\\n': 1 });",
  ),
  "gives up right after hello and stays": {
    program: "await say(HELLO, { type: 'failed', reason: 'no mood' });",
    reason: LATE("take its listeners"),
    config: SOON,
  },
  "gives up with the listeners in hand and stays": {
    program: "await goTo('configured'); await say(received, { type: 'failed', reason: 'mine' });",
    reason: LATE("load and open the app"),
    config: SOON,
  },
  "gives up with a reason full of escapes and exits": {
    program: `
      await say(HELLO, { type: 'failed', reason: '\\x1b[2J\\n{"event":"forged"}\\u202e' });
      channel.end(() => Deno.exit(1));
    `,
    reason:
      /\\x1b\[2J\\x0a\{"event":"forged"\}\\u202e \((exited with status 1|killed by SIGKILL)\)/,
  },
  "says nothing": { program: "", reason: LATE("say hello") },
  "closes the channel and goes on": {
    program: "await say(HELLO); channel.destroy();",
    reason: LATE("take its listeners"),
    config: SOON,
  },
  "closes half of the channel and goes on": {
    program: "await say(HELLO); channel.end();",
    reason: LATE("take its listeners"),
    config: SOON,
  },
  "never reads what it is told": {
    // What it is told is more than the kernel keeps for it, so that a write that waits would hang.
    program: "channel.pause(); channel.removeAllListeners('data'); await say(HELLO);",
    reason: LATE("take its listeners"),
    config: { ...SOON, unveil: LONG_PATHS },
    files: Object.fromEntries(Object.keys(LONG_PATHS).map((path) => [`${path}/file`, ""])),
  },
  "spins without end": {
    program: "await goTo('configured'); await say(received); for (;;);",
    reason: LATE("load and open the app"),
    config: SOON,
  },
  "sends its listeners back over the runtime's IPC": {
    program: `
      await goTo('configured');
      for (let count = 0; count < 200; count++) {
        process.send({ count }, handles[0], { keepOpen: true }, () => {});
      }
    `,
    reason: /./,
    hurried: true,
  },
  "floods the runtime's IPC": {
    program: `
      await say(HELLO);
      for (let count = 0; count < 200_000; count++) process.send({ x: 'x'.repeat(1000) });
    `,
    reason: /./,
    hurried: true,
  },
  "sends one endless message over the runtime's IPC": {
    program: "await say(HELLO); process.send('x'.repeat(200e6));",
    reason: /./,
    hurried: true,
  },
  "writes no JSON to the runtime's IPC": {
    program: `
      await say(HELLO);
      const ipc = new net.Socket({ fd: 3 });
      ipc.on("error", () => {});
      ipc.write('{"cmd":"NODE_UNKNOWN"}\\n{"cmd":"NODE_HANDLE","type":"net.Server"}\\nno JSON\\n');
    `,
    reason: /./,
    hurried: true,
  },
  "is stopped by a signal": {
    program: "await goTo('loading'); print('here\\n');",
    interfere: stopBySignal,
    reason: LATE("load and open the app"),
    config: SOON,
  },
  "breaks a rule and exits at once": {
    program: "channel.write(frame('no JSON')); await sleep(0); Deno.exit(3);",
    reason: /broke the rule frame_not_json|exited with status 3|hand over/,
    hurried: true,
  },
};

/** What a worker is being waited for in each phase, as the supervisor says it. */
const WAITED_FOR = {
  starting: "hello",
  introduced: "received",
  configured: "received",
  equipped: "ready",
  loading: "ready",
  ready: "accepting",
  opening: "accepting",
};

for (const [phase, message] of Object.entries(WAITED_FOR)) {
  for (const code of [0, 1]) {
    CANDIDATES[`exits with ${code} while ${phase}`] = {
      program: `await goTo('${phase}'); Deno.exit(${code});`,
      // What it said right before it exited may be lost with it.
      reason: new RegExp(
        `ended before (it said|its wall was looked at).*` +
          `(exited with status ${code}|Cannot hand over a listener)`,
      ),
    };
  }
  CANDIDATES[`is killed while ${phase}`] = {
    program: `await goTo('${phase}'); print('here\\n');`,
    interfere: (pid) => Deno.kill(pid, "SIGKILL"),
    reason: new RegExp(
      `ended before (it said ${message}|its wall was looked at): killed by SIGKILL`,
    ),
  };
}

Deno.test("each of these new workers is refused, and the old one goes on serving", async (t) => {
  await using besieged = await Besieged.start({ weighed: true });
  for (const [what, candidate] of Object.entries(CANDIDATES)) {
    await t.step(`a new worker that ${what}`, () => besieged.meet(candidate));
  }
  await besieged.assertReloads();
});

// ---- strange but within the rules ----

const DRAIN_WELL = `
  await goTo('draining');
  await say({ type: 'stopped' }, { type: 'drained', answered: 0, cut: 0 });
  channel.end(() => Deno.exit(0));
`;

const HARMLESS: Record<string, string> = {
  "speaks one byte at a time": `
    const whole = send;
    send = async (bytes) => { for (const byte of bytes) await whole(Buffer.of(byte)); };
    ${DRAIN_WELL}`,
  "prints 40 MB on its way": `
    const junk = ('y'.repeat(99) + '\\n').repeat(10_000);
    for (let count = 0; count < 40; count++) print(junk);
    ${DRAIN_WELL}`,
  "prints 40 MB without a line end": `
    const junk = 'y'.repeat(1_000_000);
    for (let count = 0; count < 40; count++) print(junk);
    ${DRAIN_WELL}`,
  "prints terminal escapes and forged log lines": `
    print('\\x1b[2J\\x1b]0;owned\\x07\\r');
    print('{"time":"2026-01-01T00:00:00.000Z","level":"info","event":"stopped"}\\n');
    print('a\\0b\\u202e\\u2028c\\x9b31m\\n');
    Deno.stdout.writeSync(Buffer.from([0xff, 0xfe, 0x80, 0x0a]));
    ${DRAIN_WELL}`,
  "talks to the runtime's IPC while it serves": `
    await goTo('serving');
    for (let count = 0; count < 1000; count++) process.send({ late: 'x'.repeat(1000) });
    await hear('drain');
    await say({ type: 'stopped' }, { type: 'drained', answered: 0, cut: 0 });
    channel.end(() => Deno.exit(0));
  `,
};

Deno.test("each of these workers may serve, and does the supervisor no harm", async (t) => {
  await using server = await Server.start({
    entry: ENTRY,
    // It is made to wait while it prints more than is read of it, some 4 MiB a second.
    config: { reload: { readyDeadlineMs: 60_000 } },
  });
  for (const [what, program] of Object.entries(HARMLESS)) {
    await t.step(`a worker that ${what}`, async () => {
      const kib = residentKib(server.pid);
      const logged = server.log.length;
      const beganMs = performance.now();
      const ended = server.eventsOf("generation_ended").length;
      await bringInHostile(server, program);
      assertEquals((await server.hangUp()).event, "reload_done", server.log.slice(-4000));
      assertEquals(await ask(server, "/"), "hostile");
      await assertUnharmed(server, { kib });
      assertEquals(server.eventsOf("stopped"), []);
      assertEquals(server.eventsOf("worker_violation"), []);
      await server.project.configure(GOOD);
      assertEquals((await server.hangUp()).event, "reload_done");
      await server.waitFor("generation_ended", ended + 2);
      assertEquals(await ask(server, "/"), "one /");
      // What two streams may print at once and in this time, and what is said besides.
      const { burstBytes, bytesPerSecond } = DEFAULT_OUTPUT_LIMITS;
      const seconds = (performance.now() - beganMs) / 1000;
      const most = 2 * (burstBytes + seconds * bytesPerSecond) + 200_000;
      const more = server.log.length - logged;
      assert(more < most, `${more} characters of log in ${seconds} s`);
    });
  }
});

Deno.test("lines that a worker prints too many of are counted in the log", async () => {
  await using server = await Server.start({ entry: ENTRY });
  await bringInHostile(
    server,
    `for (let n = 0; n < 5000; n++) print('x\\n'); ${DRAIN_WELL}`,
  );
  assertEquals((await server.hangUp()).event, "reload_done", server.log);
  const sum = (events: LogEvent[]) => events.reduce((all, { lines }) => all + Number(lines), 0);
  await until("all lines to be accounted for", () => {
    const printed = server.eventsOf("worker_output").length;
    return printed + sum(server.eventsOf("worker_output_dropped")) === 5000;
  });
});

// ---- a hostile incumbent: it is replaced, slower and slower, and a reload ends it ----

interface Incumbent {
  readonly program: string;
  readonly rule?: ViolationCode;
  readonly how: RegExp;
  readonly interfere?: (pid: number) => void;
}

const INCUMBENTS: Record<string, Incumbent> = {
  "floods with pulses": {
    program:
      "await goTo('serving'); for (;;) await say(...Array.from({ length: 99 }, () => PULSE));",
    rule: "too_many_messages",
    how: BROKE("too_many_messages"),
  },
  "exits with 0": {
    program: "await goTo('serving'); await sleep(50); Deno.exit(0);",
    how: /^exited with status 0$/,
  },
  "exits with 1": {
    program: "await goTo('serving'); await sleep(50); Deno.exit(1);",
    how: /^exited with status 1$/,
  },
  "is killed": {
    program: "await goTo('serving');",
    interfere: (pid) => Deno.kill(pid, "SIGKILL"),
    how: /^killed by SIGKILL$/,
  },
};

Deno.test("each of these serving workers is replaced, each time after a longer wait", async (t) => {
  await using server = await Server.start({
    entry: ENTRY,
    config: { reload: { readyDeadlineMs: 20_000, drainDeadlineMs: 300, idleGraceMs: 100 } },
  });
  for (const [what, { program, rule, how, interfere }] of Object.entries(INCUMBENTS)) {
    await t.step(`a serving worker that ${what}`, async () => {
      const kib = residentKib(server.pid);
      const before = (event: string) => server.eventsOf(event).length;
      const [losses, violations] = [before("worker_lost"), before("worker_violation")];
      await bringInHostile(server, program);
      const starts = before("worker_ready");
      assertEquals((await server.hangUp()).event, "reload_done");
      const { generation } = await server.waitFor("worker_ready", starts + 1);
      for (let death = 1; interfere && death <= 3; death++) {
        interfere((await server.waitFor("worker_ready", starts + death)).pid as number);
        await server.waitFor("worker_lost", losses + death);
      }
      await server.waitFor("worker_lost", losses + 3);
      await server.waitFor("worker_ready", starts + 4);
      const lost = server.eventsOf("worker_lost").slice(losses, losses + 3);
      const ready = server.eventsOf("worker_ready").slice(starts, starts + 4);
      for (const [index, death] of lost.entries()) {
        assertMatch(String(death.how), how);
        assertEquals(death.generation, generation);
        const waitedMs = Date.parse(String(ready[index + 1]!.time)) -
          Date.parse(String(death.time));
        // Times in the log are rounded to a millisecond.
        assert(waitedMs >= backoffMs(index + 1, 0) - 2, `replaced after ${waitedMs} ms`);
      }
      assertEquals(new Set(ready.map(({ pid }) => pid)).size, 4);
      assertEquals(
        [...new Set(server.eventsOf("worker_violation").slice(violations).map(({ rule }) => rule))],
        rule === undefined ? [] : [rule],
      );
      await assertUnharmed(server, { kib });
      await server.project.configure(GOOD);
      assertEquals((await server.hangUp()).event, "reload_done");
      await until("the good generation alone", async () => {
        const { generations } = await server.status();
        return generations.length === 1 && generations[0]!.generation !== generation;
      });
      assertEquals(await ask(server, "/"), "one /");
    });
  }
});

Deno.test("a serving worker whose replacements give up at once does not stop the tries", async () => {
  await using server = await Server.start({
    entry: ENTRY,
    config: { ...HOSTILE, reload: { readyDeadlineMs: 5_000 } },
    files: { "program_hostile.js": hostileProgram("await goTo('serving'); print('here\\n');") },
  });
  const [{ pid }] = [await server.waitFor("worker_output")];
  await server.project.write(
    "program_hostile.js",
    hostileProgram("await say(HELLO, { type: 'failed', reason: 'no mood' });"),
  );
  Deno.kill(pid as number, "SIGKILL");
  await server.waitFor("worker_start_failed", 2);
  await server.project.write("program_hostile.js", hostileProgram(DRAIN_WELL));
  await server.waitFor("worker_ready", 2);
  assertEquals(await ask(server, "/"), "hostile");
});

// ---- a drain that is not obeyed ----

const STUBBORN: Record<string, { program: string; interfere?: (pid: number) => unknown }> = {
  "ignores the word to drain": { program: "await goTo('draining');" },
  "says that it has drained and stays": {
    program:
      "await goTo('draining'); await say({ type: 'stopped' }, { type: 'drained', answered: 9e15, cut: 0 });",
  },
  "hangs up and stays": { program: "await goTo('serving'); channel.destroy();" },
  "never reads the word to drain": {
    program: "await goTo('serving'); channel.pause(); channel.removeAllListeners('data');",
  },
  "spins when told to drain": { program: "await goTo('draining'); for (;;);" },
  "has been stopped by a signal": {
    program: "await goTo('serving'); print('here\\n');",
    interfere: stopBySignal,
  },
  "accepts again and again while it drains": {
    program: `
      await goTo('draining');
      for (;;) { await say({ type: 'accepting', engine: 'native' }); await sleep(200); }
    `,
  },
};

Deno.test("each of these old workers is killed after its deadline, and the new one serves", async (t) => {
  await using server = await Server.start({
    entry: ENTRY,
    config: { reload: { readyDeadlineMs: 20_000, drainDeadlineMs: 300, idleGraceMs: 100 } },
  });
  for (const [what, { program, interfere }] of Object.entries(STUBBORN)) {
    await t.step(`an old worker that ${what}`, async () => {
      const kib = residentKib(server.pid);
      const ends = server.eventsOf("generation_ended").length;
      const printed = server.eventsOf("worker_output").length;
      await bringInHostile(server, program);
      const { generation } = await server.hangUp();
      // The good one before it.
      await server.waitFor("generation_ended", ends + 1);
      const [old] = await server.workers();
      if (interfere) {
        await server.waitFor("worker_output", printed + 1);
        await interfere(old!);
      }
      await server.project.configure(GOOD);
      assertEquals((await server.hangUp()).event, "reload_done");
      const ended = await server.waitFor("generation_ended", ends + 2);
      assertEquals([ended.generation, ended.outcome], [generation, "killed"]);
      assert(!isAlive(old!), "it lives on");
      assertEquals(await ask(server, "/"), "one /");
      await assertUnharmed(server, { kib });
    });
  }
});

for (const phase of HOSTILE_PHASES.filter((each) => each !== "serving" && each !== "draining")) {
  Deno.test(`TERM ends a supervisor whose first worker hangs while ${phase}`, async () => {
    await using server = await Server.start({
      entry: ENTRY,
      wait: "nothing",
      config: HOSTILE,
      files: { "program_hostile.js": hostileProgram(`await goTo('${phase}'); print('here\\n');`) },
    });
    await server.waitFor("worker_output");
    assertEquals((await server.stop()).code, 0);
    assertEquals(server.eventsOf("stopped").length, 1);
  });
}

// ---- a hostile app inside of Holdfast's own worker ----

/** The app gets at the worker's channel by standing in for the method that writes to it. */
const STEAL_CHANNEL = `
  import net from "node:net";
  import { Buffer } from "node:buffer";
  const write = net.Socket.prototype.write;
  const framed = (text) => {
    const payload = Buffer.from(text);
    const header = Buffer.alloc(4);
    header.writeUInt32BE(payload.length);
    return Buffer.concat([header, payload]);
  };
  let channel;
  const say = (bytes) => write.call(channel, bytes);
  const PULSE = '{"type":"pulse","accepted":0,"connections":0,"inFlight":0,"answered":0}';
`;

/** Apps that turn on the supervisor when they are asked for `/attack`. */
const TRAITORS: Record<string, { attack: string; rule?: ViolationCode; how: RegExp }> = {
  "floods its channel": {
    attack: "for (let count = 0; count < 10_000; count++) say(framed(PULSE));",
    rule: "too_many_messages",
    how: BROKE("too_many_messages"),
  },
  "sends 4 GiB": {
    attack: "say(Buffer.alloc(4, 0xff)); for (let n = 0; n < 50; n++) say(Buffer.alloc(1e6));",
    rule: "frame_too_long",
    how: BROKE("frame_too_long"),
  },
  "exits": { attack: "Deno.exit(0);", how: /^exited with status 0$/ },
  "hangs up": { attack: "channel.destroy();", how: /^exited with status 0$/ },
  "throws where nobody catches": {
    attack: "setTimeout(() => { throw new Error('boom'); });",
    how: /exited with status 1/,
  },
};

Deno.test("each of these apps loses its worker while it serves, and gets another", async (t) => {
  await using server = await Server.start({ config: { reload: { idleGraceMs: 100 } } });
  for (const [what, { attack, rule, how }] of Object.entries(TRAITORS)) {
    await t.step(`an app that ${what} while it serves`, async () => {
      const kib = residentKib(server.pid);
      const before = (event: string) => server.eventsOf(event).length;
      const [losses, violations] = [before("worker_lost"), before("worker_violation")];
      await server.project.write(
        "app.ts",
        `${STEAL_CHANNEL}
          net.Socket.prototype.write = function (...all) {
            channel ??= this;
            return write.apply(this, all);
          };
          export default {
            fetch(request) {
              if (request.url.endsWith("/attack")) { ${attack} }
              return new Response(${JSON.stringify(what)});
            },
          };`,
      );
      assertEquals((await server.hangUp()).event, "reload_done");
      const starts = before("worker_ready");
      await server.get("/attack", { signal: AbortSignal.timeout(PATIENCE_MS) }).then((answer) =>
        answer.body?.cancel()
      ).catch(() => {});
      assertMatch(String((await server.waitFor("worker_lost", losses + 1)).how), how);
      await server.waitFor("worker_ready", starts + 1);
      assertEquals(await ask(server, "/"), what);
      assertEquals(
        server.eventsOf("worker_violation").slice(violations).map((event) => event.rule),
        rule === undefined ? [] : [rule],
      );
      await assertUnharmed(server, { kib });
    });
  }
});

Deno.test("an app that blocks its worker for ever is ended by the next reload", async () => {
  await using server = await Server.start({
    config: { reload: { drainDeadlineMs: 300, idleGraceMs: 100 } },
    files: {
      "app.ts": `export default {
        fetch(request) {
          if (request.url.endsWith("/attack")) for (;;);
          return new Response("app");
        },
      };`,
    },
  });
  const attack = server.get("/attack", { signal: AbortSignal.timeout(PATIENCE_MS) }).then((
    answer,
  ) => answer.body?.cancel()).catch(() => {});
  await server.project.write("app.ts", PLAIN_APP);
  assertEquals((await server.hangUp()).event, "reload_done");
  const ended = await server.waitFor("generation_ended");
  assertEquals([ended.generation, ended.outcome], [1, "killed"]);
  await attack;
  assertEquals(await ask(server, "/"), "one /");
});
