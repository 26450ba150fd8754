import {
  assert,
  assertEquals,
  assertMatch,
  assertRejects,
  assertStringIncludes,
} from "@std/assert";
import { join } from "node:path";
import { HoldfastError } from "../lib/base/error.ts";
import { formatAccess, type Origin } from "../lib/logger/access_format.ts";
import { AccessLane } from "../lib/logger/access_lane.ts";
import { LogFiles, type LogFilesOptions } from "../lib/logger/log_files.ts";
import { Logger } from "../lib/logger/logger.ts";
import type { Rotation } from "../lib/logger/rotation.ts";
import {
  ACCESS_BURST,
  ACCESS_RECORDS_PER_SECOND,
  AccessRecord,
  MAX_ACCESS_BATCH,
  MAX_ACCESS_FRAME_BYTES,
} from "../lib/protocol/access.ts";
import { encodeFrame } from "../lib/protocol/frame.ts";
import { Violation } from "../lib/protocol/violation.ts";
import { mountSmall, whyNoSmallDisk } from "./harness/small_disk.ts";
import { testWith } from "./harness/needs.ts";
import { REPOSITORY } from "./harness/project.ts";
import { sleep, until } from "./harness/wait.ts";

const CLOSE_MS = 10_000;

const ROTATION: Rotation = { maxBytes: 64 * 2 ** 20, maxAgeMs: 0, keep: 14, compress: "none" };

const RECORD: AccessRecord = {
  time: Date.UTC(2000, 9, 10, 13, 55, 36, 250),
  remote: "127.0.0.1",
  method: "GET",
  path: "/apache_pb.gif?a=b",
  protocol: "HTTP/1.1",
  status: 200,
  bytes: 2326,
  durationMs: 1.25,
  referer: "http://www.example.com/start.html",
  userAgent: "Mozilla/4.08 [en] (Win98; I ;Nav)",
  cut: false,
};

const ORIGIN: Origin = { generation: 3, worker: 7, pid: 4711 };

/** A log folder of its own. */
class Folder implements AsyncDisposable {
  readonly path = Deno.realPathSync(Deno.makeTempDirSync({ prefix: "holdfast_log_" }));
  readonly troubles: string[] = [];

  file(name: string): string {
    return join(this.path, name);
  }

  read(name: string): string {
    return Deno.readTextFileSync(this.file(name));
  }

  names(): string[] {
    return [...Deno.readDirSync(this.path)].map(({ name }) => name).sort();
  }

  open(rotation: Partial<Rotation> = {}, more: Partial<LogFilesOptions> = {}): Promise<LogFiles> {
    return LogFiles.open({
      folder: this.path,
      rotation: { ...ROTATION, ...rotation },
      onTrouble: (reason) => this.troubles.push(reason),
      ...more,
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.path, { recursive: true });
  }
}

/** The numbers in lines such as `line 12 xxx`, each of which must be whole. */
function numbersOf(text: string): number[] {
  if (text === "") return [];
  assert(text.endsWith("\n"), `no line end: ${text.slice(-80)}`);
  return text.trimEnd().split("\n").flatMap((line) => {
    if (line.startsWith("{")) {
      JSON.parse(line);
      return [];
    }
    const match = /^line (\d+) x* end$/.exec(line);
    assert(match !== null, `a torn line: ${JSON.stringify(line.slice(0, 120))}`);
    return [Number(match[1])];
  });
}

function numbered(number: number, length = 0): string {
  return `line ${number} ${"x".repeat(length)} end`;
}

async function gunzip(path: string): Promise<string> {
  const file = await Deno.open(path);
  return await new Response(file.readable.pipeThrough(new DecompressionStream("gzip"))).text();
}

// ---- files ----

Deno.test("lines are appended to both files in order, with mode 0640, and after a restart too", async () => {
  await using folder = new Folder();
  for (const round of [1, 2]) {
    const files = await folder.open();
    for (let line = 0; line < 3; line++) {
      assert(files.event(`event ${round} ${line}`));
      assert(files.access(`access ${round} ${line}`));
    }
    await files.close(CLOSE_MS);
  }
  const expect = (what: string) =>
    [1, 2].flatMap((round) => [0, 1, 2].map((line) => `${what} ${round} ${line}\n`)).join("");
  assertEquals(folder.read("holdfast.log"), expect("event"));
  assertEquals(folder.read("access.log"), expect("access"));
  for (const name of ["holdfast.log", "access.log"]) {
    assertEquals(Deno.statSync(folder.file(name)).mode! & 0o777, 0o640 & ~Deno.umask());
  }
  assertEquals(folder.troubles, []);
});

Deno.test("half a line that a killed logger left behind is ended before the next one", async () => {
  await using folder = new Folder();
  await Deno.writeTextFile(folder.file("access.log"), `${numbered(0)}\nline 1 xx`);
  const files = await folder.open();
  files.access(numbered(2));
  await files.flush(CLOSE_MS);
  await Deno.rename(folder.file("access.log"), folder.file("moved"));
  await Deno.writeTextFile(folder.file("access.log"), "theirs, and torn");
  await files.reopen();
  files.access(numbered(3));
  await files.close(CLOSE_MS);
  assertEquals(folder.read("moved"), `${numbered(0)}\nline 1 xx\n${numbered(2)}\n`);
  assertEquals(folder.read("access.log"), `theirs, and torn\n${numbered(3)}\n`);
});

Deno.test("a line end inside of a line makes no second line", async () => {
  await using folder = new Folder();
  const files = await folder.open();
  files.event('{"event":"x"}\n{"event":"forged"}');
  await files.close(CLOSE_MS);
  assertEquals(folder.read("holdfast.log"), '{"event":"x"}\\x0A{"event":"forged"}\n');
});

Deno.test("a file is set aside before it would be too large, and every line is in one of them", async () => {
  await using folder = new Folder();
  const files = await folder.open({ maxBytes: 64 * 1024, keep: 1000 });
  const count = 5_000;
  for (let line = 0; line < count; line++) files.access(numbered(line, 100));
  await files.close(CLOSE_MS);
  const names = folder.names().filter((name) => name.startsWith("access.log"));
  assert(names.length >= 9, `${names}`);
  for (const name of names) {
    assertMatch(name, /^access\.log(\.\d{8}T\d{6}\.\d{3}Z)?$/);
    assert(Deno.statSync(folder.file(name)).size <= 64 * 1024, name);
  }
  // The names sort by time, but for the newest one, which has none.
  const order = [...names.filter((name) => name !== "access.log"), "access.log"];
  assertEquals(
    order.flatMap((name) => numbersOf(folder.read(name))),
    Array.from({ length: count }, (_, line) => line),
  );
  assertEquals(folder.names().filter((name) => name.startsWith("holdfast.log")), ["holdfast.log"]);
});

Deno.test("old files are compressed, and only the newest ones are kept", async () => {
  await using folder = new Folder();
  let nowMs = Date.UTC(2026, 0, 1);
  // Left behind by a logger that was killed.
  await Deno.writeTextFile(folder.file("access.log.20250101T000000.000Z.gz.part"), "half");
  await Deno.writeTextFile(folder.file("access.log.20250101T000000.000Z"), "older\n");
  await Deno.writeTextFile(folder.file("access.log.mine"), "not ours\n");
  const files = await folder.open({ maxBytes: 1_000, keep: 3, compress: "gzip" }, {
    now: () => nowMs,
  });
  for (let line = 0; line < 6; line++) {
    files.access(numbered(line, 900));
    await files.flush(CLOSE_MS);
    nowMs += 1000;
  }
  await files.close(CLOSE_MS);
  const old = folder.names().filter((name) => name.startsWith("access.log."));
  assertEquals(old, [
    "access.log.20260101T000003.000Z.gz",
    "access.log.20260101T000004.000Z.gz",
    "access.log.20260101T000005.000Z.gz",
    "access.log.mine",
  ]);
  for (const [index, name] of old.slice(0, 3).entries()) {
    assertEquals(numbersOf(await gunzip(folder.file(name))), [index + 2]);
    assertEquals(Deno.statSync(folder.file(name)).mode! & 0o777, 0o640 & ~Deno.umask());
  }
  assertEquals(numbersOf(folder.read("access.log")), [5]);
  assertEquals(folder.troubles, []);
});

Deno.test("a file is set aside when it is old, at the next line, and an empty one is not", async () => {
  await using folder = new Folder();
  let nowMs = Date.now();
  const hour = 3_600_000;
  const files = await folder.open({ maxAgeMs: 24 * hour }, { now: () => nowMs });
  files.access(numbered(0));
  await files.flush(CLOSE_MS);
  nowMs += 23 * hour;
  files.access(numbered(1));
  await files.flush(CLOSE_MS);
  assertEquals(folder.names(), ["access.log", "holdfast.log"]);
  nowMs += 2 * hour;
  files.access(numbered(2));
  await files.flush(CLOSE_MS);
  nowMs += 20 * hour;
  files.access(numbered(3));
  files.event(numbered(0));
  await files.close(CLOSE_MS);
  const names = folder.names();
  assertEquals(names.length, 3, `${names}`);
  assertEquals(numbersOf(folder.read("access.log")), [2, 3]);
  assertEquals(numbersOf(folder.read(names[1]!)), [0, 1]);
});

Deno.test("the age of a file goes on over a restart", async () => {
  await using folder = new Folder();
  const hour = 3_600_000;
  const first = await folder.open({ maxAgeMs: hour });
  first.access(numbered(0));
  await first.close(CLOSE_MS);
  const second = await folder.open({ maxAgeMs: hour }, { now: () => Date.now() + 2 * hour });
  second.access(numbered(1));
  await second.close(CLOSE_MS);
  assertEquals(folder.names().length, 3);
  assertEquals(numbersOf(folder.read("access.log")), [1]);
});

Deno.test("20,000 lines over 20 renames and reopenings are each found exactly once, and whole", async () => {
  await using folder = new Folder();
  const files = await folder.open();
  const [count, renames] = [20_000, 20];
  const reopenings: Promise<void>[] = [];
  for (let line = 0; line < count; line++) {
    assert(files.access(numbered(line, line % 200)));
    if (line % (count / renames) === count / renames / 2) {
      Deno.renameSync(folder.file("access.log"), folder.file(`moved.${reopenings.length}`));
      reopenings.push(files.reopen());
      await reopenings.at(-1);
      assert(folder.names().includes("access.log"), "a new file after reopen");
    } else if (line % 37 === 0) await sleep(0);
  }
  await files.close(CLOSE_MS);
  const texts = folder.names().filter((name) => name !== "holdfast.log").map((name) =>
    folder.read(name)
  );
  assertEquals(texts.length, renames + 1);
  const numbers = texts.flatMap(numbersOf).sort((a, b) => a - b);
  assertEquals(numbers, Array.from({ length: count }, (_, line) => line));
  assertEquals([folder.read("holdfast.log"), folder.troubles], ["", []]);
});

Deno.test("what is written while nobody has awaited a reopening is lost neither", async () => {
  await using folder = new Folder();
  const files = await folder.open();
  const count = 20_000;
  let renamed = 0;
  for (let line = 0; line < count; line++) {
    while (!files.access(numbered(line))) throw new Error("there was no room");
    if (line % 1000 === 500) {
      await Deno.rename(folder.file("access.log"), folder.file(`moved.${renamed++}`))
        .catch(() => {});
      void files.reopen();
    }
    if (line % 11 === 0) await sleep(0);
  }
  await files.close(CLOSE_MS);
  const texts = folder.names().filter((name) => name !== "holdfast.log")
    .map((name) => folder.read(name));
  const numbers = texts.flatMap(numbersOf).sort((a, b) => a - b);
  assertEquals(numbers, Array.from({ length: count }, (_, line) => line));
});

Deno.test("after the file was removed, reopen makes a new one", async () => {
  await using folder = new Folder();
  const files = await folder.open();
  files.event("gone");
  await files.flush(CLOSE_MS);
  await Deno.remove(folder.file("holdfast.log"));
  await files.reopen();
  files.event("here");
  await files.close(CLOSE_MS);
  assertEquals(folder.read("holdfast.log"), "here\n");
});

Deno.test("a file that somebody else put at the path is not renamed by a rotation, but appended to", async () => {
  await using folder = new Folder();
  const files = await folder.open({ maxBytes: 100 });
  files.access(numbered(0, 80));
  await files.flush(CLOSE_MS);
  await Deno.rename(folder.file("access.log"), folder.file("moved"));
  await Deno.writeTextFile(folder.file("access.log"), "theirs\n");
  files.access(numbered(1));
  await files.close(CLOSE_MS);
  assertEquals(folder.names(), ["access.log", "holdfast.log", "moved"]);
  assertEquals(folder.read("access.log"), `theirs\n${numbered(1)}\n`);
});

Deno.test("a link that is planted at the path is not followed, and what was open is written on", async () => {
  await using folder = new Folder();
  await using elsewhere = new Folder();
  const target = elsewhere.file("passwd");
  await Deno.writeTextFile(target, "root\n");

  await Deno.symlink(target, folder.file("access.log"));
  const error = await assertRejects(() => folder.open(), HoldfastError);
  assertEquals([error.kind, error.code], ["environment", "log_unusable"]);
  assertStringIncludes(error.message, folder.file("access.log"));
  await Deno.remove(folder.file("access.log"));
  // One that leads nowhere would have a file made there.
  await Deno.symlink(elsewhere.file("new"), folder.file("access.log"));
  await assertRejects(() => folder.open(), HoldfastError);
  await Deno.remove(folder.file("access.log"));

  const files = await folder.open({ maxBytes: 100 });
  files.access(numbered(0));
  await files.flush(CLOSE_MS);
  await Deno.rename(folder.file("access.log"), folder.file("moved"));
  await Deno.symlink(target, folder.file("access.log"));
  await files.reopen();
  files.access(numbered(1));
  files.access(numbered(2, 80)); // and no rotation renames or follows it either
  await files.close(CLOSE_MS);
  assertEquals(Deno.readTextFileSync(target), "root\n");
  assertEquals(elsewhere.names(), ["passwd"]);
  assertEquals(numbersOf(folder.read("moved")), [0, 1, 2]);
  assertStringIncludes(folder.troubles[0] ?? "", "Cannot open");
});

Deno.test("a FIFO or a folder at the path is an error at once, and no wait", async () => {
  await using folder = new Folder();
  await new Deno.Command("mkfifo", { args: [folder.file("access.log")] }).output();
  assertEquals((await assertRejects(() => folder.open(), HoldfastError)).code, "log_unusable");
  await Deno.remove(folder.file("access.log"));
  await Deno.mkdir(folder.file("access.log"));
  assertEquals((await assertRejects(() => folder.open(), HoldfastError)).code, "log_unusable");
});

Deno.test("reading and writing the folder is all the permission that it takes", async () => {
  await using folder = new Folder();
  const program = `
    import { LogFiles } from ${JSON.stringify(join(REPOSITORY, "lib/logger/log_files.ts"))};
    const troubles = [];
    const files = await LogFiles.open({
      folder: ${JSON.stringify(folder.path)},
      rotation: { maxBytes: 1000, maxAgeMs: 0, keep: 2, compress: "gzip" },
      onTrouble: (reason) => troubles.push(reason),
    });
    for (let line = 0; line < 100; line++) files.access("line " + line + " " + "x".repeat(50) + " end");
    await files.flush(5000);
    await files.reopen();
    files.access("line 100  end");
    await files.close(5000);
    console.log(JSON.stringify(troubles));
  `;
  const grants = [`--allow-read=${folder.path}`, `--allow-write=${folder.path}`];
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--quiet", "--no-prompt", "--ext=ts", ...grants, "-"],
    cwd: REPOSITORY,
    stdin: "piped",
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(program));
  await writer.close();
  const { code, stdout } = await child.output();
  assertEquals([code, new TextDecoder().decode(stdout)], [0, "[]\n"]);
  assertEquals(folder.names().length, 4);
  assertEquals(numbersOf(folder.read("access.log")).at(-1), 100);
});

// ---- a full disk ----

const DISK = { missing: whyNoSmallDisk() };

interface DroppedLine {
  event: string;
  file: string;
  level: string;
  lines: number;
}

function droppedLines(text: string): DroppedLine[] {
  return text.split("\n").filter((line) => line.startsWith("{")).map((line) => JSON.parse(line))
    .filter(({ event }) => event === "log_dropped");
}

Deno.test("a log that is emptied between the halves of a line begins with a whole line", async () => {
  await using folder = new Folder();
  const files = await folder.open();
  const { write } = Deno.FsFile.prototype;
  let writes = 0;
  // A disk that is nearly full takes a part; then somebody makes room just before the next write.
  Deno.FsFile.prototype.write = function (bytes) {
    writes++;
    if (writes === 1) return write.call(this, bytes.subarray(0, bytes.length - 20));
    if (writes === 2) Deno.truncateSync(folder.file("access.log"), 0);
    return write.call(this, bytes);
  };
  try {
    for (let line = 1; line <= 3; line++) files.access(numbered(line, 100));
    await files.flush(CLOSE_MS);
    files.access(numbered(4, 100));
    await files.close(CLOSE_MS);
  } finally {
    Deno.FsFile.prototype.write = write;
  }
  assert(writes >= 3, `${writes} writes`);
  assertEquals(numbersOf(folder.read("access.log")), [4]);
  assertEquals(droppedLines(folder.read("holdfast.log")).map(({ lines }) => lines), [1]);
});

for (
  const [how, makeRoom] of [
    ["another file is removed", (folder: Folder) => Deno.remove(folder.file("ballast"))],
    ["the log is emptied", (folder: Folder) => Deno.truncate(folder.file("access.log"), 0)],
    ["the log is removed and reopened", async (folder: Folder, files: LogFiles) => {
      await Deno.remove(folder.file("access.log"));
      await files.reopen();
    }],
  ] as [string, (folder: Folder, files: LogFiles) => Promise<void>][]
) {
  testWith(
    DISK,
    `a full disk costs counted lines and tears none; it goes on when ${how}`,
    async () => {
      await using folder = new Folder();
      await using _disk = await mountSmall(folder.path);
      await Deno.writeFile(folder.file("ballast"), new Uint8Array(300 * 1024));
      const files = await folder.open();
      // Twice what the queue holds, at a length that no page and no batch is a multiple of.
      const [count, length] = [24_000, 333];
      let [taken, refused] = [0, 0];
      for (let line = 0; line < count; line++) {
        if (files.access(numbered(line, length))) taken++;
        else refused++;
        if (line % 500 === 0) await sleep(1);
      }
      await until("the trouble", () => folder.troubles.length > 0);
      assertMatch(folder.troubles[0]!, /ENOSPC|No space left/i);
      assert(refused > 1000, `${refused} refused`);
      const full = folder.read("access.log");
      assert(!full.endsWith("\n"), "the disk was full in the middle of a line, or this tests less");
      await sleep(500); // some tries that fail; that nothing is told has no event
      assertEquals(folder.troubles.length, 1, "one outage is told once");

      await makeRoom(folder, files);
      // There is room for a part of what waits: the rest waits on, and again nothing is torn.
      let looks = 0;
      await until("the count", async () => {
        // What waits may have filled the disk again before the other file came to write.
        if (++looks % 50 === 0) await Deno.truncate(folder.file("access.log"), 0);
        return droppedLines(folder.read("holdfast.log")).some(({ file }) => file === "access.log");
      });
      const written = folder.read("access.log");
      numbersOf(written.slice(0, written.lastIndexOf("\n") + 1));
      for (let more = 0; more < 10; more++) {
        await Deno.truncate(folder.file("access.log"), 0);
        await files.flush(500);
      }
      await files.flush(CLOSE_MS);
      await Deno.truncate(folder.file("access.log"), 0);
      assert(files.access(numbered(count)));
      await files.close(CLOSE_MS);
      assertEquals(numbersOf(folder.read("access.log")), [count]);
      const dropped = droppedLines(folder.read("holdfast.log"));
      const lines = dropped.reduce((sum, { lines }) => sum + lines, 0);
      assertEquals([...new Set(dropped.map(({ file, level }) => `${file} ${level}`))], [
        "access.log warn",
      ]);
      // Lines whose beginning was removed with the file were taken, and are counted too.
      assert(lines >= refused && lines <= refused + 20, `${lines} counted, ${refused} refused`);
      assertEquals(taken + refused, count);
    },
  );
}

testWith(
  DISK,
  "a full disk that holdfast.log is on is told in holdfast.log itself, once there is room",
  async () => {
    await using folder = new Folder();
    await using _disk = await mountSmall(folder.path);
    await Deno.writeFile(folder.file("ballast"), new Uint8Array(900 * 1024));
    const files = await folder.open();
    const written: number[] = [];
    for (let line = 0; line < 20_000; line++) {
      if (files.event(numbered(line, 300))) written.push(line);
      if (line % 500 === 0) await sleep(1);
    }
    const refused = 20_000 - written.length;
    assert(refused > 1000, `${refused} refused`);
    const before = folder.read("holdfast.log");
    await Deno.remove(folder.file("ballast"));
    await until("the count", () => droppedLines(folder.read("holdfast.log")).length > 0);
    const after = folder.read("holdfast.log");
    // The line that was torn by the full disk was finished in its place.
    assertEquals(after.slice(0, before.length), before);
    const whole = numbersOf(after.slice(0, after.lastIndexOf("\n") + 1));
    assertEquals(whole, written.slice(0, whole.length));
    assertEquals(droppedLines(after), [
      { ...droppedLines(after)[0]!, event: "log_dropped", file: "holdfast.log", lines: refused },
    ]);
    await files.close(100);
  },
);

Deno.test("writing costs its caller no turn: the disk is written to in another", async () => {
  await using folder = new Folder();
  const files = await folder.open();
  for (let line = 0; line < 100_000; line++) files.access(numbered(line, 100));
  assertEquals(Deno.statSync(folder.file("access.log")).size, 0);
  await files.close(CLOSE_MS);
});

// ---- lines of the access log ----

Deno.test("the formats are those of Apache's manual, and of JSON", () => {
  // https://httpd.apache.org/docs/2.4/logs.html#accesslog, but for the zone and the user's name.
  const common =
    '127.0.0.1 - - [10/Oct/2000:13:55:36 +0000] "GET /apache_pb.gif?a=b HTTP/1.1" 200 2326';
  assertEquals(formatAccess("common", RECORD, ORIGIN), common);
  assertEquals(
    formatAccess("combined", RECORD, ORIGIN),
    `${common} "http://www.example.com/start.html" "Mozilla/4.08 [en] (Win98; I ;Nav)"`,
  );
  assertEquals(JSON.parse(formatAccess("json", RECORD, ORIGIN)), {
    ...RECORD,
    time: "2000-10-10T13:55:36.250Z",
    ...ORIGIN,
  });
});

Deno.test("what is unknown is a hyphen", () => {
  const unknown = {
    ...RECORD,
    remote: null,
    protocol: null,
    status: null,
    bytes: null,
    referer: null,
    userAgent: "",
  };
  assertEquals(
    formatAccess("combined", unknown, ORIGIN),
    '- - - [10/Oct/2000:13:55:36 +0000] "GET /apache_pb.gif?a=b -" - - "-" "-"',
  );
});

Deno.test("no client and no worker can end a field or a line by what it sends", () => {
  const evil = [
    '" 200 0 "-" "-"\n1.2.3.4 - - [x] "GET /forged HTTP/1.1" 200 1 "-" "-',
    "\r\n\u0000\u001b[2J\u0085\u2028\u2029\u202e\u007f\ufeff",
    '\\" \\x22 \\',
    "é 🦕 \ud800",
  ];
  for (const text of evil) {
    const record = { ...RECORD, method: text.slice(0, 32), path: `/${text}`, remote: text };
    const all = { ...record, protocol: text, referer: text, userAgent: text };
    const line = formatAccess("combined", all, ORIGIN);
    assertMatch(line, /^[\x20-\x7e]*$/);
    assertMatch(
      line,
      /^[^ "]+ - - \[10\/Oct\/2000:13:55:36 \+0000\] "[^ "]+ [^ "]+ [^ "]+" 200 2326 "[^"]*" "[^"]*"$/,
    );
    assert(!/\\(?!x[0-9A-F]{2})/.test(line), `a backslash that escapes nothing: ${line}`);
    const json = formatAccess("json", all, ORIGIN);
    assertMatch(json, /^[\x20-\x7e]*$/);
    assertEquals(JSON.parse(json).referer, text);
  }
  assertStringIncludes(
    formatAccess("combined", { ...RECORD, userAgent: 'é"\\\n' }, ORIGIN),
    String.raw`"\xC3\xA9\x22\x5C\x0A"`,
  );
});

// ---- lanes ----

function frame(records: unknown[], dropped = 0): Uint8Array {
  return encodeFrame({ records, dropped });
}

function violationOf(bytes: Uint8Array): string | undefined {
  try {
    [...new AccessLane().receive(bytes)];
    return undefined;
  } catch (error) {
    if (error instanceof Violation) return error.rule;
    throw error;
  }
}

Deno.test("a lane yields the records of whole frames however the bytes are cut", () => {
  const records = Array.from({ length: 5 }, (_, index) => ({ ...RECORD, path: `/${index}` }));
  const bytes = new Uint8Array([...frame(records.slice(0, 2)), ...frame(records.slice(2), 4)]);
  for (const size of [1, 3, 7, 100, bytes.length]) {
    const lane = new AccessLane();
    const found: AccessRecord[] = [];
    for (let at = 0; at < bytes.length; at += size) {
      found.push(...lane.receive(bytes.subarray(at, at + size)));
    }
    assertEquals(found, records);
    assertEquals(lane.takeMissing(), { flood: 0, worker: 4 });
    assertEquals(lane.takeMissing(), undefined);
  }
});

Deno.test("a lane refuses what is no batch of bounded records", () => {
  assertEquals(violationOf(frame([RECORD])), undefined); // control
  const header = (length: number) => {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setUint32(0, length);
    return bytes;
  };
  assertEquals(violationOf(header(MAX_ACCESS_FRAME_BYTES)), undefined); // control
  assertEquals(violationOf(header(MAX_ACCESS_FRAME_BYTES + 1)), "frame_too_long");
  assertEquals(violationOf(new TextEncoder().encode("GET / HTTP/1.1\r\n\r\n")), "frame_too_long");
  assertEquals(violationOf(new Uint8Array([0, 0, 0, 2, 0x7b, 0x7b])), "frame_not_json");
  assertEquals(violationOf(new Uint8Array([0, 0, 0, 1, 0xff])), "frame_not_json");
  const bad: unknown[] = [
    null,
    [],
    [RECORD],
    { records: [RECORD] },
    { records: [RECORD], dropped: -1 },
    { records: [RECORD], dropped: 0, worker: 1 },
    { records: Array(MAX_ACCESS_BATCH + 1).fill(0), dropped: 0 },
    ...Object.entries({
      worker: 2,
      pid: 1,
      generation: 1,
      time: 1.5,
      remote: "x".repeat(129),
      method: "x".repeat(33),
      path: "x".repeat(2049),
      protocol: "x".repeat(17),
      status: 1000,
      bytes: -1,
      durationMs: null,
      referer: "x".repeat(1025),
      userAgent: "x".repeat(513),
      cut: "no",
    }).map(([key, value]) => ({ records: [{ ...RECORD, [key]: value }], dropped: 0 })),
    { records: [{ ...RECORD, time: 8.64e15 }], dropped: 0 },
  ];
  for (const value of bad) {
    assertEquals(violationOf(encodeFrame(value)), "bad_message", JSON.stringify(value));
  }
});

Deno.test("half a frame that is never finished closes the lane, and byte by byte does not help", () => {
  let nowMs = 0;
  const lane = new AccessLane(() => nowMs);
  const bytes = frame([RECORD]);
  for (const byte of bytes.subarray(0, 8)) {
    assertEquals([...lane.receive(new Uint8Array([byte]))], []);
    nowMs += 600;
    lane.checkDeadline();
  }
  nowMs += 600;
  try {
    lane.checkDeadline();
    assert(false, "it was not noticed");
  } catch (error) {
    assertEquals((error as Violation).rule, "frame_stalled");
  }
});

Deno.test("a flood is cut to its rate and counted, and other lanes are not touched by it", async () => {
  await using folder = new Folder();
  const files = await folder.open({ maxBytes: 256 * 2 ** 20 });
  let nowMs = 0;
  const logger = new Logger(files, "common", () => nowMs);
  const flooding = logger.openLane({ generation: 1, worker: 1, pid: 11 }, () => {});
  const other = logger.openLane({ generation: 1, worker: 2, pid: 22 }, () => {});
  const batch = frame(Array.from({ length: MAX_ACCESS_BATCH }, () => ({ ...RECORD, path: "/f" })));
  let [sent, frames] = [0, 0];
  const flood = async (limit: number) => {
    while (sent < limit) {
      assert(flooding.receive(batch));
      sent += MAX_ACCESS_BATCH;
      // The files are faster than this when they get the turn.
      if (++frames % 64 === 0) await files.flush(CLOSE_MS);
    }
  };
  await flood(ACCESS_BURST * 1.5);
  nowMs += 1_000;
  await flood(ACCESS_BURST * 2.5);
  assert(other.receive(frame([{ ...RECORD, path: "/other" }])));
  logger.tick();
  await files.close(CLOSE_MS);
  const lines = folder.read("access.log").trimEnd().split("\n");
  const events = folder.read("holdfast.log").trimEnd().split("\n").map((line) => JSON.parse(line));
  assertEquals(events.length, 1, JSON.stringify(events));
  const [{ event, level, worker, pid, generation, records, byWorker }] = events;
  assertEquals([event, level, worker, pid, generation, byWorker], [
    "access_dropped",
    "warn",
    1,
    11,
    1,
    0,
  ]);
  assertEquals(lines.filter((line) => line.includes(" /f ")).length + records, sent);
  // A frame is taken whole or not at all.
  const beyond = sent - ACCESS_BURST - ACCESS_RECORDS_PER_SECOND;
  assert(records >= beyond && records < beyond + MAX_ACCESS_BATCH, `${records} of ${sent}`);
  assertEquals(lines.filter((line) => line.includes("/other")).length, 1);
});

Deno.test("a lane that breaks a rule is closed and named in the log; its bytes are in no other", async () => {
  await using folder = new Folder();
  const files = await folder.open();
  const logger = new Logger(files, "json");
  const origin = { generation: 5, worker: 9, pid: 99 };
  const lane = logger.openLane(origin, () => {});
  assert(lane.receive(frame([RECORD])));
  assertEquals(lane.receive(frame([{ ...RECORD, pid: 1 }])), false);
  assertEquals(lane.receive(frame([RECORD])), false, "closed is closed");
  lane.end();
  await files.close(CLOSE_MS);
  const [line, ...more] = folder.read("access.log").trimEnd().split("\n").map((l) => JSON.parse(l));
  assertEquals([line.generation, line.worker, line.pid, more], [5, 9, 99, []]);
  const [closed, ...others] = folder.read("holdfast.log").trimEnd().split("\n")
    .map((l) => JSON.parse(l));
  assertEquals([closed.event, closed.rule, closed.worker, others], [
    "access_lane_closed",
    "bad_message",
    9,
    [],
  ]);
});

Deno.test("a lane that stalls is closed by the clock, but not when the logger itself had stopped", async () => {
  await using folder = new Folder();
  const files = await folder.open();
  let nowMs = 0;
  const logger = new Logger(files, "json", () => nowMs);
  let closed = 0;
  const lane = logger.openLane(ORIGIN, () => closed++);
  const bytes = frame([RECORD]);
  lane.receive(bytes.subarray(0, 10));
  nowMs += 60_000; // a machine that slept
  logger.tick();
  assertEquals(closed, 0);
  assert(lane.receive(bytes.subarray(10)));
  lane.receive(bytes.subarray(0, 10));
  for (let second = 0; second < 10; second++) {
    nowMs += 1_000;
    logger.tick();
  }
  assertEquals(closed, 1);
  assertEquals(lane.receive(bytes.subarray(10)), false);
  await files.close(CLOSE_MS);
  assertEquals(folder.read("access.log").split("\n").length, 2);
  assertStringIncludes(folder.read("holdfast.log"), '"rule":"frame_stalled"');
});
