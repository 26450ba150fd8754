/** What systemd's journal is sent, by a journal that takes real datagrams. */
import { assert, assertEquals, assertMatch, assertThrows } from "@std/assert";
import type { LogRecord } from "@std/log";
import { join } from "node:path";
import { encodeEntry, fieldName } from "../lib/base/journal.ts";
import { JOURNAL_SOCKET } from "../lib/cli/journal_stream.ts";
import { journalFields } from "../lib/cli/log_formats.ts";
import { sendAtOnce, sendNotification } from "../lib/os/notify_socket.ts";
import { type Field, JournalDouble, withJournal } from "./harness/journal.ts";
import { PLAIN_APP, REPOSITORY } from "./harness/project.ts";
import { Server } from "./harness/server.ts";
import { until } from "./harness/wait.ts";
import { testWith, whyNoNamespaces } from "./harness/needs.ts";

/** What plays the journal, and what hides the machine's own. */
const PYTHON = { programs: ["python3"] } as const;
const NAMESPACES = { ...PYTHON, missing: whyNoNamespaces() };

const FORGED = "harmless\nMESSAGE=forged\nPRIORITY=0\n";

// The C library stays loaded once it is used: a test that did it first would seem to leak it.
assertThrows(() => sendAtOnce("/nowhere/socket", new Uint8Array(1)), Error);

function record(facts: Record<string, unknown>): LogRecord {
  return {
    msg: "worker_lost",
    args: [facts],
    datetime: new Date(0),
    levelName: "ERROR",
    loggerName: "default",
  };
}

// ---- fields ----

Deno.test("the name of a fact is a field of Holdfast's own, whatever the fact is called", () => {
  assertEquals(
    ["pid", "livedMs", "nextTryMs", "_PID", "MESSAGE", "a=b\nc", "ß", ""].map(fieldName),
    [
      ...["HOLDFAST_PID", "HOLDFAST_LIVED_MS", "HOLDFAST_NEXT_TRY_MS", "HOLDFAST___P_I_D"],
      ...["HOLDFAST__M_E_S_S_A_G_E", "HOLDFAST_A_B_C", "HOLDFAST_SS", "HOLDFAST_"],
    ],
  );
  assertEquals(fieldName("x".repeat(100)).length, 64);
});

Deno.test("an event has a line to read, its priority, and each fact as a field", () => {
  const facts = { pid: 7, how: "by \x1b[2J\n", listen: ["a", "b"], cut: null, left: undefined };
  assertEquals(journalFields(record({ ...facts, stuck: true })), [
    [
      "MESSAGE",
      String
        .raw`worker_lost pid=7 how="by \u001b[2J\n" listen="[\"a\",\"b\"]" cut=null stuck=true`,
    ],
    ["PRIORITY", "3"],
    ["SYSLOG_IDENTIFIER", "holdfast"],
    ["HOLDFAST_EVENT", "worker_lost"],
    ["HOLDFAST_PID", "7"],
    ["HOLDFAST_HOW", "by \x1b[2J\n"],
    ["HOLDFAST_LISTEN", '["a","b"]'],
    ["HOLDFAST_CUT", "null"],
    ["HOLDFAST_STUCK", "true"],
  ]);
});

Deno.test("the line to read is one line, without what a terminal obeys", () => {
  const [, line] = journalFields(record({ text: "\x1b\x7f\u009b\u202e\u2028" }))[0]!;
  assertEquals(line, String.raw`worker_lost text="\u001b\x7f\x9b\u202e\u2028"`);
});

// ---- over a real socket ----

testWith(
  PYTHON,
  "what is sent comes as it is: line ends, control characters, nothing at all",
  async () => {
    await using journal = await JournalDouble.create();
    const values = [
      ...["text", "", "=", "a=b", "\n", "\n\n", "a\n", "\nA=b", FORGED, "\x00", "\r", "\x1b[31m"],
      ...["tab\t", "ünïcödé 🦕\n🦕", "x".repeat(50_000), "y\n".repeat(25_000)],
    ];
    for (const value of values) {
      const entry: Field[] = [["MESSAGE", value], ["HOLDFAST_TEXT", value], ["HOLDFAST_PID", "7"]];
      const before = journal.entries.length;
      sendAtOnce(journal.socket, encodeEntry(entry));
      await journal.until("the entry", () => journal.entries.length > before);
      assertEquals(journal.entries[before], entry);
    }
  },
);

/** How long something that fails takes at least, in milliseconds. */
function quickest(fails: () => void): number {
  return Math.min(...Array.from({ length: 3 }, () => {
    const from = performance.now();
    assertThrows(fails, Error);
    return performance.now() - from;
  }));
}

testWith(PYTHON, "sending waits for nobody: a queue that is full is an error", async () => {
  await using journal = await JournalDouble.create();
  await journal.stop();
  const entry = encodeEntry([["MESSAGE", "hello"]]);
  let sent = 0;
  assertThrows(
    () => {
      for (; sent < 100_000; sent++) sendAtOnce(journal.socket, entry);
    },
    Error,
    "errno 11",
  );
  const waiting = quickest(() => sendNotification(journal.socket, "A=b\n"));
  assert(quickest(() => sendAtOnce(journal.socket, entry)) < waiting / 2);
  journal.continue();
  await journal.until("what was taken", () => journal.entries.length >= sent);
  assertEquals(journal.entries.length, sent);
});

testWith(
  PYTHON,
  "a journal that is not there, and an entry that is too long, are errors",
  async () => {
    await using journal = await JournalDouble.create();
    assertThrows(() => sendAtOnce(`${journal.socket}s`, new Uint8Array(1)), Error, "errno 2");
    assertThrows(() => sendAtOnce(journal.socket, new Uint8Array(10_000_000)), Error, "errno 90");
  },
);

// ---- a log that is sent there ----

/** Runs lines of a program whose log goes to a journal; gives what it left on stderr. */
async function logTo(socket: string, ...lines: string[]): Promise<string[]> {
  const program = [
    `import { configureLog, flushLog, log } from "${join(REPOSITORY, "lib/base/log.ts")}";`,
    `import { journal } from "${join(REPOSITORY, "lib/cli/log_formats.ts")}";`,
    `import { sendAtOnce } from "${join(REPOSITORY, "lib/os/notify_socket.ts")}";`,
    `configureLog(journal((entry) => sendAtOnce(${JSON.stringify(socket)}, entry)));`,
    ...lines,
    "await flushLog();",
  ];
  const { success, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["eval", program.join("\n")],
    cwd: REPOSITORY,
    stdin: "null",
    stdout: "null",
    stderr: "piped",
  }).output();
  const text = new TextDecoder().decode(stderr);
  assert(success, text);
  return text.split("\n").filter((line) => line !== "");
}

testWith(
  PYTHON,
  "an event that is too long for a datagram goes to stderr, the others to the journal",
  async () => {
    await using journal = await JournalDouble.create();
    const left = await logTo(
      journal.socket,
      'log.info("before");',
      'log.warn("long", { text: "x".repeat(1_000_000) });',
      'log.error("after");',
    );
    await journal.until("the last one", () => journal.eventsOf("after").length > 0);
    assertEquals(journal.entries.map((entry) => entry.slice(1)), [
      [["PRIORITY", "6"], ["SYSLOG_IDENTIFIER", "holdfast"], ["HOLDFAST_EVENT", "before"]],
      [["PRIORITY", "3"], ["SYSLOG_IDENTIFIER", "holdfast"], ["HOLDFAST_EVENT", "after"]],
    ]);
    assertEquals(left.length, 1);
    assertMatch(left[0]!, /^<4>\{.*"event":"long","text":"x{1000000}"\}$/);
  },
);

testWith(
  PYTHON,
  "of a journal that is slow, and then gone, no event is lost and none is doubled",
  async () => {
    await using journal = await JournalDouble.create();
    const count = 1500;
    await journal.stop();
    const left = await logTo(
      journal.socket,
      `for (let number = 0; number < ${count}; number++) log.info("counted", { number });`,
      `Deno.removeSync(${JSON.stringify(journal.socket)});`,
      'log.info("gone");',
    );
    const printed = left.map((line) => JSON.parse(line.replace(/^<6>/, "")));
    assertEquals(printed.pop().event, "gone");
    journal.continue();
    await journal.until("all events", () => journal.entries.length + printed.length >= count);
    const numbers = [
      ...journal.eventsOf("counted").map(({ HOLDFAST_NUMBER }) => Number(HOLDFAST_NUMBER)),
      ...printed.map(({ number }) => number),
    ];
    assertEquals(numbers.sort((a, b) => a - b), Array.from({ length: count }, (_, index) => index));
    assert(journal.entries.length > 0 && printed.length > 0);
  },
);

// ---- a real supervisor ----

testWith(
  NAMESPACES,
  "a supervisor under systemd sends its events with fields, and prints nothing",
  async () => {
    await using journal = await JournalDouble.create();
    const app = `${PLAIN_APP}console.log(${JSON.stringify(FORGED)}); console.log("A=b\\rC=d");`;
    const project = { files: { "app.ts": app } };
    const prefix = withJournal(journal.folder);
    await using server = await Server.start({ ...project, prefix, wait: "nothing" });
    const find = (event: string) => journal.until(event, () => journal.eventsOf(event)[0]);
    const { MESSAGE, ...fields } = await find("serving");
    const address = `127.0.0.1:${server.project.port}`;
    assertEquals({ ...fields, HOLDFAST_MS: "" }, {
      PRIORITY: "6",
      SYSLOG_IDENTIFIER: "holdfast",
      HOLDFAST_EVENT: "serving",
      HOLDFAST_PID: String(server.pid),
      HOLDFAST_LISTEN: JSON.stringify([address]),
      HOLDFAST_GENERATION: "1",
      HOLDFAST_MS: "",
    });
    assertMatch(MESSAGE!, /^serving pid=\d+ listen="\[.*\]" generation=1 ms=\d+$/);
    await journal.until("what the app prints", () => journal.eventsOf("worker_output").length >= 5);
    assertEquals(
      journal.eventsOf("worker_output").map(({ HOLDFAST_TEXT }) => HOLDFAST_TEXT).sort(),
      ["", String.raw`A=b\x0dC=d`, "MESSAGE=forged", "PRIORITY=0", "harmless"],
    );
    const [worker] = await server.workers();
    Deno.kill(worker!, "SIGKILL");
    const lost = await find("worker_lost");
    assertEquals([lost.PRIORITY, lost.HOLDFAST_PID, lost.HOLDFAST_HOW], [
      "3",
      String(worker),
      "killed by SIGKILL",
    ]);
    assertMatch(lost.HOLDFAST_LIVED_MS!, /^\d+$/);
    await server.project.write("app.ts", "export default {");
    assertEquals((await server.reload()).outcome, "refused");
    await find("reload_refused");
    assertEquals((await server.stop()).code, 0);
    await find("stopped");
    const names = journal.entries.flatMap((entry) => entry.map(([name]) => name));
    assertEquals(
      new Set(names.filter((name) => !name.startsWith("HOLDFAST_"))),
      new Set(["MESSAGE", "PRIORITY", "SYSLOG_IDENTIFIER"]),
    );
    assert(journal.entries.every(([message]) => message![1] !== "forged"));
    assertEquals(server.log, "");
  },
);

testWith(NAMESPACES, "a journal that comes later gets events from then on", async () => {
  await using journal = await JournalDouble.create();
  const hidden = `${journal.socket}.hidden`;
  await Deno.rename(journal.socket, hidden);
  await using server = await Server.start({
    prefix: withJournal(journal.folder),
    wait: "nothing",
  });
  await until("a line on stderr", () => /^<6>\{.*"event":"serving"/m.test(server.log));
  await Deno.rename(hidden, journal.socket);
  server.signal("SIGHUP");
  await journal.until("the reload", () => journal.eventsOf("reload_done").length > 0);
  assert(!server.log.includes("reload_done"), `${JOURNAL_SOCKET} was not asked:\n${server.log}`);
});
