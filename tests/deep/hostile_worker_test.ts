import { assert, assertEquals, assertMatch } from "@std/assert";
import { join } from "node:path";
import { PROTOCOL_VERSION } from "../../lib/protocol/version.ts";
import type { Rule } from "../../lib/protocol/violation.ts";
import { backoffMs } from "../../lib/supervisor/backoff.ts";
import { HOSTILE_PHASES, hostileProgram } from "../doubles/hostile_programs.ts";
import { countDescriptors, isAlive, processesIn, readStatus } from "../harness/process.ts";
import { PLAIN_APP, REPOSITORY } from "../harness/project.ts";
import { type LogEvent, Server } from "../harness/server.ts";
import { PATIENCE_MS, until } from "../harness/wait.ts";

/** A real supervisor that runs `program_*.js` in the place of Holdfast's worker. */
const ENTRY = [join(REPOSITORY, "tests/doubles/hostile_supervisor.ts")];

const GOOD = { app: "./app.ts" };
const HOSTILE = { app: "./program_hostile.js" };

/** How much more memory a supervisor may have after it has met a hostile worker. */
const MORE_KIB = 64 * 1024;

function residentKib(pid: number): number {
  return Number.parseInt(readStatus(pid)!["VmRSS"]!);
}

/** The text of the answer to one question; a worker that does not answer must not stop the test. */
async function ask(server: Server, path: string): Promise<string> {
  return await (await server.get(path, { signal: AbortSignal.timeout(PATIENCE_MS) })).text();
}

/** Looks that the supervisor itself took no harm: it lives, answers, is no larger, logs properly. */
async function assertUnharmed(server: Server, before: { kib: number; descriptors?: number }) {
  assert(isAlive(server.pid), server.log);
  assertEquals((await server.status()).pid, server.pid);
  const limitKib = before.kib + MORE_KIB;
  await until(`at most ${limitKib} KiB`, () => residentKib(server.pid) <= limitKib);
  const { descriptors } = before;
  if (descriptors !== undefined) {
    await until(
      `at most ${descriptors} descriptors`,
      () => countDescriptors(server.pid) <= descriptors,
    );
  }
  assertWellLogged(server);
}

/** Every line is one event of the supervisor's own making. */
function assertWellLogged(server: Server): void {
  for (const line of server.log.split("\n").slice(0, -1)) {
    // deno-lint-ignore no-control-regex
    assert(!/[\u0000-\u001f\u007f-\u009f]/.test(line), JSON.stringify(line));
    const { time, level, event } = JSON.parse(line);
    assertMatch(time, /^\d{4}-\d\d-\d\dT[\d:.]+Z$/);
    assertMatch(level, /^(info|warning|warn|error)$/);
    assertMatch(event, /^[a-z_]+$/);
  }
}

async function bringInHostile(server: Server, program: string): Promise<void> {
  await server.project.write("program_hostile.js", program);
  await server.project.configure(HOSTILE);
}

// ---- a hostile candidate: the old generation goes on ----

interface Candidate {
  /** Statements of the hostile program. */
  readonly program: string;
  /** The rule that the log names; none if the worker fails without breaking one. */
  readonly rule?: Rule;
  /** The reason that the reload gives. */
  readonly reason: RegExp;
  readonly config?: Readonly<Record<string, unknown>>;
  readonly files?: Readonly<Record<string, string>>;
  /** How many descriptors more the supervisor may have after it; none if not given. */
  readonly keeps?: number;
  /** Whether the log may name a rule or not, as whoever is quicker has it. */
  readonly hurried?: true;
  /** What the test does from outside, with the worker's process, once the program prints "here". */
  readonly interfere?: (pid: number) => void;
}

const BROKE = (rule: Rule) => new RegExp(`broke the rule ${rule} \\(killed by SIGKILL\\)`);
const LATE = (step: string) => new RegExp(`did not ${step} within \\d+ ms`);

function violating(rule: Rule, program: string): Candidate {
  return { rule, program, reason: BROKE(rule) };
}

const HEADER = "const header = Buffer.alloc(4);";
/** A path that is about as long as a config may have it. */
function deepPath(index: number): string {
  return `./data/${index}/${Array.from({ length: 8 }, () => "é".repeat(119)).join("/")}`;
}

const LONG_PATHS = Object.fromEntries(
  Array.from({ length: 64 }, (_, index) => [deepPath(index), "rw"]),
);

const CANDIDATES: Record<string, Candidate> = {
  "says ready twice": violating("not_permitted", "await goTo('loading'); await say(READY, READY);"),
  "says ready before hello": violating("not_permitted", "await say(READY);"),
  "says hello twice": violating("not_permitted", "await say(HELLO, HELLO);"),
  "says that it accepts before it is told to": violating(
    "not_permitted",
    "await goTo('loading'); await say(READY, { type: 'accepting', engine: 'node' });",
  ),
  "says drained before it serves": violating(
    "not_permitted",
    "await say(HELLO, { type: 'drained', answered: 0, cut: 0 });",
  ),
  "skips its listeners": violating("not_permitted", "await say(HELLO, READY);"),
  "says it received before it was handed anything": violating(
    "not_permitted",
    "await say(HELLO, { type: 'received', listeners: 1 });",
  ),
  "floods with hello": violating(
    "not_permitted",
    "for (;;) await say(...Array.from({ length: 1000 }, () => HELLO));",
  ),
  "floods with pulses": violating(
    "too_many_messages",
    "await goTo('serving'); for (;;) await say(...Array.from({ length: 1000 }, () => PULSE));",
  ),
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
    config: { reload: { readyDeadlineMs: 20_000 } },
  },
  "sends half a header and falls silent": {
    ...violating("frame_stalled", "await goTo('loading'); await send(Buffer.alloc(2));"),
    config: { reload: { readyDeadlineMs: 20_000 } },
  },
  "lets a message trickle in": {
    ...violating(
      "frame_stalled",
      "for (const byte of frame(HELLO)) { await send(Buffer.of(byte)); await sleep(300); }",
    ),
    config: { reload: { readyDeadlineMs: 20_000 } },
  },
  "sends a frame of 16 MiB": violating(
    "frame_too_long",
    "await send(frame(JSON.stringify('x'.repeat(16 * 1024 * 1024))));",
  ),
  "announces a frame of 4 GiB": violating(
    "frame_too_long",
    `${HEADER} header.writeUInt32BE(0xffffffff); await send(header);`,
  ),
  "announces 4 GiB and sends without end": violating(
    "frame_too_long",
    `${HEADER} header.writeUInt32BE(0xffffffff); await send(header);
    for (;;) await send(Buffer.alloc(1024 * 1024));`,
  ),
  "sends no JSON": violating("frame_not_json", "await send(frame('{\"type\":'));"),
  "sends no UTF-8": violating(
    "frame_not_json",
    "await send(Buffer.concat([Buffer.of(0, 0, 0, 3), Buffer.of(0x22, 0xff, 0x22)]));",
  ),
  "sends an empty frame": violating("frame_not_json", "await send(Buffer.alloc(4));"),
  "sends a shell command as a message": violating(
    "bad_message",
    "await say({ type: 'exec', command: ['/bin/sh', '-c', 'touch /tmp/owned'] });",
  ),
  "sends a key too many": violating("bad_message", "await say({ ...HELLO, path: '/etc/shadow' });"),
  "sends a key __proto__": violating(
    "bad_message",
    `await send(frame('{"type":"hello","version":${PROTOCOL_VERSION},"deno":"x","__proto__":{"polluted":1}}'));`,
  ),
  "sends terminal escapes as its version": violating(
    "bad_message",
    "await say({ ...HELLO, deno: '\\x1b[2J\\n' + 'x'.repeat(100), '\\x1b]0;evil\\n': 1 });",
  ),
  "says all that it will ever say at once": violating(
    "not_permitted",
    "await say(HELLO, received, READY, { type: 'accepting', engine: 'node' });",
  ),
  "gives up right after hello and stays": {
    program: "await say(HELLO, { type: 'failed', reason: 'no mood' });",
    reason: LATE("take its listeners"),
  },
  "gives up with the listeners in hand and stays": {
    program: "await goTo('configured'); await say(received, { type: 'failed', reason: 'mine' });",
    reason: LATE("load and open the app"),
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
  },
  "closes half of the channel and goes on": {
    program: "await say(HELLO); channel.end();",
    reason: LATE("take its listeners"),
  },
  "never reads what it is told": {
    // What it is told is more than the kernel keeps for it, so that a write that waits would hang.
    program: "channel.pause(); channel.removeAllListeners('data'); await say(HELLO);",
    reason: LATE("take its listeners"),
    config: { unveil: LONG_PATHS },
    files: Object.fromEntries(Object.keys(LONG_PATHS).map((path) => [`${path}/file`, ""])),
  },
  "spins without end": {
    program: "await goTo('configured'); await say(received); for (;;);",
    reason: LATE("load and open the app"),
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
    keeps: 0,
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
    program: "await goTo('loading'); print('here\\n'); await sleep(500); await say(READY);",
    interfere: (pid) => Deno.kill(pid, "SIGSTOP"),
    reason: LATE("load and open the app"),
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
        `ended before it said .*(exited with status ${code}|Cannot hand over a listener)`,
      ),
    };
  }
  CANDIDATES[`is killed while ${phase}`] = {
    program: `await goTo('${phase}'); print('here\\n');`,
    interfere: (pid) => Deno.kill(pid, "SIGKILL"),
    reason: new RegExp(`ended before it said ${message}: killed by SIGKILL`),
  };
}

for (const [what, candidate] of Object.entries(CANDIDATES)) {
  const { program, rule, reason, config, files = {}, keeps = 0, hurried, interfere } = candidate;
  // Whoever serves breaks the rule only when it is the incumbent already; see below.
  if (rule === "too_many_messages") continue;
  Deno.test(`a new worker that ${what} is refused, and the old one goes on serving`, async () => {
    await using server = await Server.start({
      entry: ENTRY,
      config: { reload: { readyDeadlineMs: 1500 }, ...config },
      files,
    });
    const [oldWorker] = await server.workers();
    const kib = residentKib(server.pid);
    await bringInHostile(server, hostileProgram(program));
    let descriptors: number | undefined;
    for (let round = 1; round <= 2; round++) {
      const outcome = server.hangUp();
      if (interfere) {
        const heres = () => server.eventsOf("worker_output").filter(({ text }) => text === "here");
        const here = await until("the worker's sign", () => heres()[round - 1]);
        interfere(here.pid as number);
      }
      // While it does its worst.
      assertEquals(await ask(server, "/during"), "one /during");
      const refused = await outcome;
      assertEquals(refused.event, "reload_refused", server.log);
      assertMatch(String(refused.reason), reason);
      const rules = server.eventsOf("worker_violation").map((event) => event.rule);
      if (rule !== undefined) assertEquals(rules, Array.from({ length: round }, () => rule));
      else if (!hurried) assertEquals(rules, []);
      assertEquals(await ask(server, "/"), "one /");
      // The first round warms the runtime up; from then on nothing may be added.
      if (round === 1) {
        await until(
          "the hostile one to be gone",
          () => processesIn(server.project.folder).length === 1,
        );
        descriptors = countDescriptors(server.pid) + keeps;
      }
    }
    await assertUnharmed(server, { kib, ...descriptors !== undefined && { descriptors } });
    const [generation, ...others] = (await server.status()).generations;
    assertEquals(
      [
        generation!.generation,
        generation!.state,
        generation!.workers[0]?.process?.pid,
        others.length,
      ],
      [1, "serving", oldWorker, 0],
    );
    assertEquals(processesIn(server.project.folder), [oldWorker!]);
    await server.project.write("app.ts", PLAIN_APP.replace("one", "two"));
    await server.project.configure(GOOD);
    assertEquals((await server.hangUp()).event, "reload_done");
    assertEquals(await ask(server, "/"), "two /");
  });
}

Deno.test("the versions of both sides are in the log when they differ", async () => {
  await using server = await Server.start({ entry: ENTRY });
  await bringInHostile(server, hostileProgram("await say({ ...HELLO, version: 99 });"));
  assertEquals((await server.hangUp()).event, "reload_refused");
  const [{ detail }] = server.eventsOf("worker_violation") as [LogEvent];
  assertEquals(detail, `the worker speaks protocol 99, the supervisor ${PROTOCOL_VERSION}`);
});

// ---- strange but within the rules ----

const DRAIN_WELL = `
  await goTo('draining');
  await say({ type: 'drained', answered: 0, cut: 0 });
  channel.end(() => Deno.exit(0));
`;

const HARMLESS: Record<string, string> = {
  "speaks one byte at a time": `
    const whole = send;
    send = async (bytes) => { for (const byte of bytes) await whole(Buffer.of(byte)); };
    ${DRAIN_WELL}`,
  "prints 100 MB on its way": `
    const junk = ('y'.repeat(99) + '\\n').repeat(10_000);
    for (let count = 0; count < 100; count++) print(junk);
    ${DRAIN_WELL}`,
  "prints 100 MB without a line end": `
    const junk = 'y'.repeat(1_000_000);
    for (let count = 0; count < 100; count++) print(junk);
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
    await say({ type: 'drained', answered: 0, cut: 0 });
    channel.end(() => Deno.exit(0));
  `,
};

for (const [what, program] of Object.entries(HARMLESS)) {
  Deno.test(`a worker that ${what} may serve, and does the supervisor no harm`, async () => {
    await using server = await Server.start({
      entry: ENTRY,
      config: { reload: { readyDeadlineMs: 20_000 } },
    });
    const kib = residentKib(server.pid);
    await bringInHostile(server, hostileProgram(program));
    assertEquals((await server.hangUp()).event, "reload_done", server.log);
    assertEquals(await ask(server, "/"), "hostile");
    await assertUnharmed(server, { kib });
    assertEquals(server.eventsOf("stopped"), []);
    assertEquals(server.eventsOf("worker_violation"), []);
    await server.project.configure(GOOD);
    assertEquals((await server.hangUp()).event, "reload_done");
    await server.waitFor("generation_ended", 2);
    assertEquals(await ask(server, "/"), "one /");
    assert(server.log.length < 2_000_000, `${server.log.length} characters of log`);
  });
}

Deno.test("lines that a worker prints too many of are counted in the log", async () => {
  await using server = await Server.start({ entry: ENTRY });
  await bringInHostile(
    server,
    hostileProgram(`for (let n = 0; n < 5000; n++) print('x\\n'); ${DRAIN_WELL}`),
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
  readonly rule?: Rule;
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
  "sends no JSON": {
    program: "await goTo('serving'); await send(frame('nonsense'));",
    rule: "frame_not_json",
    how: BROKE("frame_not_json"),
  },
  "says ready again": {
    program: "await goTo('serving'); await say(READY);",
    rule: "not_permitted",
    how: BROKE("not_permitted"),
  },
  "says drained though nobody asked": {
    program: "await goTo('serving'); await say({ type: 'drained', answered: 0, cut: 0 });",
    rule: "not_permitted",
    how: BROKE("not_permitted"),
  },
  "lies about its figures": {
    program: "await goTo('serving'); await say({ ...PULSE, inFlight: -1 });",
    rule: "bad_message",
    how: BROKE("bad_message"),
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

for (const [what, { program, rule, how, interfere }] of Object.entries(INCUMBENTS)) {
  Deno.test(`a serving worker that ${what} is replaced, each time after a longer wait`, async () => {
    await using server = await Server.start({
      entry: ENTRY,
      config: { ...HOSTILE, reload: { drainDeadlineMs: 300, idleGraceMs: 100 } },
      files: { "program_hostile.js": hostileProgram(program) },
    });
    const kib = residentKib(server.pid);
    for (let death = 1; interfere && death <= 3; death++) {
      interfere((await server.waitFor("worker_ready", death)).pid as number);
      await server.waitFor("worker_lost", death);
    }
    await server.waitFor("worker_lost", 3);
    await server.waitFor("worker_ready", 4);
    const lost = server.eventsOf("worker_lost").slice(0, 3);
    const ready = server.eventsOf("worker_ready").slice(0, 4);
    for (const [index, death] of lost.entries()) {
      assertMatch(String(death.how), how);
      const waitedMs = Date.parse(String(ready[index + 1]!.time)) - Date.parse(String(death.time));
      // Times in the log are rounded to a millisecond.
      assert(waitedMs >= backoffMs(index + 1, 0) - 2, `replaced after ${waitedMs} ms`);
    }
    assertEquals(new Set(ready.map(({ pid }) => pid)).size, 4);
    assertEquals(
      [...new Set(server.eventsOf("worker_violation").map((event) => event.rule))],
      rule === undefined ? [] : [rule],
    );
    await assertUnharmed(server, { kib });
    await server.project.configure(GOOD);
    assertEquals((await server.hangUp()).event, "reload_done");
    await until("the good generation alone", async () => {
      const { generations } = await server.status();
      return generations.length === 1 && generations[0]!.generation === 2;
    });
    assertEquals(await ask(server, "/"), "one /");
  });
}

Deno.test("a serving worker whose replacements give up at once does not stop the tries", async () => {
  await using server = await Server.start({
    entry: ENTRY,
    config: { ...HOSTILE, reload: { readyDeadlineMs: 500 } },
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

const STUBBORN: Record<string, { program: string; interfere?: (pid: number) => void }> = {
  "ignores the word to drain": { program: "await goTo('draining');" },
  "says that it has drained and stays": {
    program: "await goTo('draining'); await say({ type: 'drained', answered: 9e15, cut: 0 });",
  },
  "hangs up and stays": { program: "await goTo('serving'); channel.destroy();" },
  "never reads the word to drain": {
    program: "await goTo('serving'); channel.pause(); channel.removeAllListeners('data');",
  },
  "spins when told to drain": { program: "await goTo('draining'); for (;;);" },
  "has been stopped by a signal": {
    program: "await goTo('serving'); print('here\\n');",
    interfere: (pid) => Deno.kill(pid, "SIGSTOP"),
  },
  "accepts again and again while it drains": {
    program: `
      await goTo('draining');
      for (;;) { await say({ type: 'accepting', engine: 'native' }); await sleep(200); }
    `,
  },
};

for (const [what, { program, interfere }] of Object.entries(STUBBORN)) {
  Deno.test(`an old worker that ${what} is killed after its deadline, and the new one serves`, async () => {
    await using server = await Server.start({
      entry: ENTRY,
      config: { ...HOSTILE, reload: { drainDeadlineMs: 300, idleGraceMs: 100 } },
      files: { "program_hostile.js": hostileProgram(program) },
    });
    const kib = residentKib(server.pid);
    const [old] = await server.workers();
    if (interfere) {
      await server.waitFor("worker_output");
      interfere(old!);
    }
    await server.project.configure(GOOD);
    assertEquals((await server.hangUp()).event, "reload_done");
    const ended = await server.waitFor("generation_ended");
    assertEquals([ended.generation, ended.outcome], [1, "killed"]);
    assert(!isAlive(old!), "it lives on");
    assertEquals(await ask(server, "/"), "one /");
    await assertUnharmed(server, { kib });
  });
}

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

/** Apps that lie in place of the worker's own "ready". */
const HOSTILE_APPS: Record<string, { instead: string; rule: Rule }> = {
  "sends garbage": { instead: 'write.call(this, Buffer.from("garbage"))', rule: "frame_too_long" },
  "sends no JSON": { instead: 'write.call(this, framed("nonsense"))', rule: "frame_not_json" },
  "says ready twice": {
    instead: "write.call(this, Buffer.concat([bytes, bytes]))",
    rule: "not_permitted",
  },
  "asks for a shell": {
    instead: `write.call(this, framed('{"type":"exec","path":"/bin/sh"}'))`,
    rule: "bad_message",
  },
};

for (const [what, { instead, rule }] of Object.entries(HOSTILE_APPS)) {
  Deno.test(`an app that ${what} on the worker's channel is refused, and the old one goes on`, async () => {
    await using server = await Server.start();
    const kib = residentKib(server.pid);
    await server.project.write(
      "app.ts",
      `${STEAL_CHANNEL}
      net.Socket.prototype.write = function (bytes) { return ${instead}; };
      export default { fetch: () => new Response("hostile") };`,
    );
    const refused = await server.hangUp();
    assertEquals(refused.event, "reload_refused");
    assertMatch(String(refused.reason), BROKE(rule));
    assertEquals(server.eventsOf("worker_violation").map((event) => event.rule), [rule]);
    assertEquals(await ask(server, "/"), "one /");
    await assertUnharmed(server, { kib });
  });
}

/** Apps that turn on the supervisor when they are asked for `/attack`. */
const TRAITORS: Record<string, { attack: string; rule?: Rule; how: RegExp }> = {
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

for (const [what, { attack, rule, how }] of Object.entries(TRAITORS)) {
  Deno.test(`an app that ${what} while it serves loses its worker and gets another`, async () => {
    await using server = await Server.start({
      files: {
        "app.ts": `${STEAL_CHANNEL}
          net.Socket.prototype.write = function (...all) {
            channel ??= this;
            return write.apply(this, all);
          };
          export default {
            fetch(request) {
              if (request.url.endsWith("/attack")) { ${attack} }
              return new Response("app");
            },
          };`,
      },
    });
    const kib = residentKib(server.pid);
    await server.get("/attack", { signal: AbortSignal.timeout(PATIENCE_MS) }).then((answer) =>
      answer.body?.cancel()
    ).catch(() => {});
    assertMatch(String((await server.waitFor("worker_lost")).how), how);
    await server.waitFor("worker_ready", 2);
    assertEquals(await ask(server, "/"), "app");
    assertEquals(
      server.eventsOf("worker_violation").map((event) => event.rule),
      rule === undefined ? [] : [rule],
    );
    await assertUnharmed(server, { kib });
  });
}

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
