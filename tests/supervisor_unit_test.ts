import { assert, assertEquals, assertRejects, assertStringIncludes } from "@std/assert";
import { join } from "node:path";
import { HoldfastError } from "../lib/base/error.ts";
import { escapeUntrusted, MAX_UNTRUSTED_TEXT } from "../lib/base/escape.ts";
import { LineWriter } from "../lib/base/log.ts";
import { DEFAULT_OUTPUT_LIMITS, LINE_COST } from "../lib/base/output_limits.ts";
import { formatAge } from "../lib/cli/units.ts";
import { OutputLines } from "../lib/supervisor/output.ts";
import { controlSocketPath, openRuntimeFolder } from "../lib/supervisor/runtime_folder.ts";
import { cutAtRandom, randomFrom } from "./doubles/random.ts";
import { until } from "./harness/wait.ts";

const encoder = new TextEncoder();

/** Lets everything that waits for nothing but promises go on. */
async function settle(): Promise<void> {
  for (let turn = 0; turn < 20; turn++) await Promise.resolve();
}

// ---- what strangers print ----

Deno.test("text of strangers is logged without line ends, escapes and marks that reorder it", () => {
  const unsafe: Record<string, string> = {
    "\n": "\\x0a",
    "\r": "\\x0d",
    "\0": "\\x00",
    "\x1b": "\\x1b",
    "\x7f": "\\x7f",
    "\u009b": "\\x9b",
    "\u2028": "\\u2028",
    "\u2029": "\\u2029",
    "\u202e": "\\u202e",
    "\u2066": "\\u2066",
    "\u200f": "\\u200f",
    "\ufeff": "\\ufeff",
    "\ud800": "\ufffd",
  };
  for (const [mark, written] of Object.entries(unsafe)) {
    assertEquals(escapeUntrusted(`a${mark}b`), `a${written}b`);
  }
  const safe = 'plain "quoted" \\ ümlaut 漢字 \u{1f600} <b>&amp;';
  assertEquals(escapeUntrusted(safe), safe);
});

Deno.test("no code point of a stranger gets through as a control or a line end", () => {
  for (let code = 0; code <= 0xffff; code++) {
    const text = escapeUntrusted(String.fromCharCode(code));
    assert(/^[^\p{Cc}\p{Zl}\p{Zp}\p{Cs}]+$/u.test(text), `U+${code.toString(16)} got through`);
  }
});

Deno.test("text of strangers is cut, and the cut is told", () => {
  assertEquals(escapeUntrusted("x".repeat(12), 10), `${"x".repeat(10)}… (2 more)`);
  assertEquals(escapeUntrusted("x".repeat(10), 10), "x".repeat(10));
  // A pair that the cut goes through leaves no half.
  assertEquals(escapeUntrusted("ab\u{1f600}", 3).isWellFormed(), true);
  assert(escapeUntrusted("x".repeat(1e7)).length < MAX_UNTRUSTED_TEXT + 30);
});

/** Lines without a limit of their rate in the way. */
function linesOf(...chunks: (string | Uint8Array)[]): string[] {
  let nowMs = 0;
  const lines = new OutputLines(DEFAULT_OUTPUT_LIMITS, () => nowMs += 1000);
  const found: string[] = [];
  for (const chunk of chunks) {
    found.push(...lines.push(typeof chunk === "string" ? encoder.encode(chunk) : chunk));
  }
  return [...found, ...lines.end()];
}

Deno.test("what a worker prints becomes lines, however it was cut", () => {
  assertEquals(linesOf("a\nb", "c\n", "\nd"), ["a", "bc", "", "d"]);
  assertEquals(linesOf(""), []);
  const text = "one\nzwei ü\n漢字\u{1f600}\n\nlast";
  for (let seed = 1; seed <= 20; seed++) {
    const chunks = [...cutAtRandom(randomFrom(seed), encoder.encode(text), 3)];
    assertEquals(linesOf(...chunks), text.split("\n"), `seed ${seed}`);
  }
});

Deno.test("a line of a worker can carry no escape and no forged line", () => {
  assertEquals(linesOf('\x1b[2J{"event":"x"}\r{"event":"y"}\n'), [
    '\\x1b[2J{"event":"x"}\\x0d{"event":"y"}',
  ]);
  assertEquals(linesOf(Uint8Array.of(0x61, 0xff, 0xfe, 0x62, 0x0a)), ["a\ufffd\ufffdb"]);
});

Deno.test("a line without an end is cut and the rest of it is skipped, up to the next line", () => {
  const { lineBytes } = DEFAULT_OUTPUT_LIMITS;
  const cut = `… (cut at ${lineBytes} bytes)`;
  const long = "x".repeat(lineBytes / 4);
  const whole = long.repeat(4);
  const chunks = Array.from({ length: 50 }, () => long);
  assertEquals(linesOf(...chunks, "tail\nnext\n"), [whole + cut, "next"]);
  // One that is as long as it may be is whole, and one byte more is cut.
  assertEquals(linesOf(`${whole}\n`, `${whole}x\n`, `${whole}\n`), [whole, whole + cut, whole]);
  // The limit is of bytes, and half a character is left out.
  assertEquals(linesOf(`x${"ü".repeat(lineBytes)}\n`), [`x${"ü".repeat(lineBytes / 2 - 1)}${cut}`]);
  // What is escaped is longer, within limits.
  const escaped = linesOf("\x1b".repeat(lineBytes) + "\n")[0]!;
  assertEquals(escaped.length, 2 * lineBytes);
});

Deno.test("a worker that prints without end and without lines costs no memory", () => {
  const lines = new OutputLines(DEFAULT_OUTPUT_LIMITS, () => 0);
  const chunk = encoder.encode("y".repeat(64 * 1024));
  const before = Deno.memoryUsage();
  const found: string[] = [];
  for (let round = 0; round < 2000; round++) found.push(...lines.push(chunk));
  const after = Deno.memoryUsage();
  assertEquals(found.length, 1);
  assert(after.heapTotal - before.heapTotal < 64 * 1024 * 1024, "125 MB were printed and kept");
});

Deno.test("too much output is dropped and counted, and lines come through again later", () => {
  let nowMs = 0;
  const cost = 1 + LINE_COST;
  const limits = { lineBytes: 1_000, bytesPerSecond: 20 * cost, burstBytes: 200 * cost };
  const lines = new OutputLines(limits, () => nowMs);
  const flood = encoder.encode("x\n".repeat(700));
  assertEquals([...lines.push(flood)].length, 200);
  assertEquals(lines.takeDropped(), { lines: 500, bytes: 500 });
  assertEquals(lines.takeDropped(), { lines: 0, bytes: 0 });
  nowMs += 1000;
  assertEquals([...lines.push(flood)].length, 20);
  // It is bytes that count: as much in few long lines as in many short ones.
  nowMs += 10_000;
  const long = "y".repeat(5 * cost - LINE_COST);
  assertEquals([...lines.push(encoder.encode(`${long}\n`.repeat(50)))].length, 40);
});

// ---- the log's writer ----

/** A reader of the log that takes bytes only when the test says so. */
class SlowReader {
  #text = "";
  #decoder = new TextDecoder();
  #waiting: (() => void)[] = [];
  open = false;
  /** How many bytes it takes at once. */
  mouthful = Infinity;
  failing = false;

  readonly write = async (bytes: Uint8Array): Promise<number> => {
    if (!this.open) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    if (this.failing) throw new Deno.errors.BrokenPipe("gone");
    const taken = bytes.subarray(0, Math.min(bytes.length, this.mouthful));
    this.#text += this.#decoder.decode(taken, { stream: true });
    return taken.length;
  };

  read(): void {
    this.open = true;
    for (const resolve of this.#waiting) resolve();
    this.#waiting = [];
  }

  get lines(): string[] {
    return this.#text.split("\n").slice(0, -1);
  }
}

Deno.test("a log that nobody reads makes nobody wait, is bounded, and says what it dropped", async () => {
  const reader = new SlowReader();
  const writer = new LineWriter(reader.write);
  const line = `${JSON.stringify({ text: "x".repeat(1000) })}\n`;
  for (let count = 0; count < 100_000; count++) writer.write(line);
  const startMs = performance.now();
  await writer.flush(50);
  assert(performance.now() - startMs >= 50, "the flush waits as long as it may");
  reader.read();
  await writer.flush(30_000);
  writer.write("later\n");
  await writer.flush(30_000);
  const events = reader.lines.filter((each) => each.startsWith("{"))
    .map((each) => JSON.parse(each));
  const dropped = events.filter(({ event }) => event === "log_dropped");
  const written = events.filter(({ text }) => text !== undefined).length;
  assertEquals(dropped.reduce((sum, { lines }) => sum + lines, 0) + written, 100_000);
  assert(written < 10_000, `${written} lines were kept`);
  assertEquals(reader.lines.at(-1), "later");
});

Deno.test("lines are written in order, in whatever pieces they are taken", async () => {
  const reader = new SlowReader();
  reader.open = true;
  reader.mouthful = 7;
  const writer = new LineWriter(reader.write);
  const lines = Array.from({ length: 500 }, (_, index) => `line ${index} ü`);
  for (const [index, line] of lines.entries()) {
    writer.write(`${line}\n`);
    if (index % 50 === 0) await settle();
  }
  await writer.flush(30_000);
  assertEquals(reader.lines, lines);
});

Deno.test("a reader that goes away and comes back finds whole lines, and how many it missed", async () => {
  const reader = new SlowReader();
  reader.open = true;
  const writer = new LineWriter(reader.write);
  writer.write('{"event":"a"}\n');
  await writer.flush(30_000);
  reader.failing = true;
  writer.write('{"event":"b"}\n');
  await writer.flush(30_000);
  reader.failing = false;
  writer.write('{"event":"c"}\n');
  await writer.flush(30_000);
  const events = reader.lines.map((line) => JSON.parse(line));
  assertEquals(events.map(({ event }) => event), ["a", "c", "log_dropped"]);
  assertEquals(events[2].lines, 1);
});

Deno.test("a line that was half written when its reader failed does not spoil the next", async () => {
  const reader = new SlowReader();
  reader.open = true;
  reader.mouthful = 5;
  const write = (bytes: Uint8Array) => {
    const written = reader.write(bytes);
    // The disk is full after the first five bytes.
    reader.failing = true;
    return written;
  };
  let current = write;
  const writer = new LineWriter((bytes) => current(bytes));
  writer.write('{"event":"torn"}\n');
  await writer.flush(30_000);
  reader.failing = false;
  reader.mouthful = Infinity;
  current = reader.write;
  writer.write('{"event":"next"}\n');
  await writer.flush(30_000);
  const [, ...whole] = reader.lines;
  assertEquals(whole.map((line) => JSON.parse(line).event), ["next", "log_dropped"]);
});

// ---- what status shows ----

Deno.test("an age reads as its two largest units", () => {
  const second = 1000;
  const ages: [number, string][] = [
    [0, "0s"],
    [999, "0s"],
    [second, "1s"],
    [59.9 * second, "59s"],
    [60 * second, "1m 0s"],
    [184 * second, "3m 4s"],
    [3599 * second, "59m 59s"],
    [3600 * second, "1h 0m"],
    [86_399 * second, "23h 59m"],
    [86_400 * second, "1d 0h"],
    [400 * 86_400 * second, "400d 0h"],
  ];
  for (const [ms, text] of ages) assertEquals(formatAge(ms), text);
});

// ---- the runtime folder ----

/** A folder that is gone after the test, and a place in it for the runtime folder. */
async function temporary() {
  const folder = await Deno.makeTempDir({ prefix: "holdfast_test_" });
  return {
    folder,
    runtime: join(folder, "run"),
    [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }),
  };
}

function modeOf(path: string): number {
  return Deno.lstatSync(path).mode! & 0o7777;
}

/** The error of a refused runtime folder; one that is taken all the same is let go first. */
async function refusalOf(folder: string): Promise<HoldfastError> {
  return await assertRejects(async () => (await openRuntimeFolder(folder)).close(), HoldfastError);
}

Deno.test("a runtime folder is made for its user alone, and left empty", async () => {
  await using place = await temporary();
  const opened = await openRuntimeFolder(place.runtime);
  assertEquals(opened.controlSocket, controlSocketPath(place.runtime));
  assertEquals(modeOf(place.runtime), 0o700);
  assertEquals(modeOf(join(place.runtime, "lock")), 0o600);
  assertEquals(await Deno.readTextFile(join(place.runtime, "lock")), `${Deno.pid}\n`);
  opened.close();
  assertEquals([...Deno.readDirSync(place.runtime)], []);
});

Deno.test("the workers' group may pass through a runtime folder, where it is named", async () => {
  await using place = await temporary();
  for (const [gid, expected] of [[Deno.gid()!, 0o710], [undefined, 0o700]] as const) {
    const opened = await openRuntimeFolder(place.runtime, gid);
    assertEquals(modeOf(place.runtime), expected);
    opened.close();
  }
});

Deno.test("a second supervisor learns who holds the runtime folder", async () => {
  await using place = await temporary();
  const opened = await openRuntimeFolder(place.runtime);
  const socket = controlSocketPath(place.runtime);
  await Deno.writeTextFile(socket, "of the first one");
  const error = await refusalOf(place.runtime);
  assertEquals([error.code, error.kind], ["already_running", "environment"]);
  assertStringIncludes(error.message, `pid ${Deno.pid}`);
  // It has not touched what belongs to the first.
  assertEquals(await Deno.readTextFile(socket), "of the first one");
  assertEquals(await Deno.readTextFile(join(place.runtime, "lock")), `${Deno.pid}\n`);
  await Deno.remove(socket);
  opened.close();
  (await openRuntimeFolder(place.runtime)).close();
});

Deno.test("a lock is over with the process that held it, however that ended", async () => {
  await using place = await temporary();
  const module = new URL("../lib/supervisor/runtime_folder.ts", import.meta.url).href;
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      "eval",
      `import { openRuntimeFolder } from ${JSON.stringify(module)};
      await openRuntimeFolder(${JSON.stringify(place.runtime)});
      setInterval(() => {}, 1000);`,
    ],
    stdin: "null",
    stdout: "null",
    stderr: "inherit",
  }).spawn();
  const lock = join(place.runtime, "lock");
  const read = () => Deno.readTextFile(lock).catch(() => undefined);
  await until("the lock to be held", async () => await read() === `${child.pid}\n`);
  assertStringIncludes((await refusalOf(place.runtime)).message, `pid ${child.pid}`);
  child.kill("SIGKILL");
  await child.status;
  const opened = await openRuntimeFolder(place.runtime);
  assertEquals(await read(), `${Deno.pid}\n`);
  opened.close();
});

Deno.test("a control socket that was left over is removed", async () => {
  await using place = await temporary();
  await Deno.mkdir(place.runtime, { mode: 0o700 });
  const path = controlSocketPath(place.runtime);
  // One that dies of SIGKILL cannot take its socket with it.
  const listener = new Deno.Command(Deno.execPath(), {
    args: [
      "eval",
      `Deno.listen({ transport: "unix", path: ${JSON.stringify(path)} });
      Deno.kill(Deno.pid, "SIGKILL");`,
    ],
  });
  assertEquals((await listener.output()).signal, "SIGKILL");
  assertEquals(Deno.lstatSync(path).isSocket, true);
  const opened = await openRuntimeFolder(place.runtime);
  assertEquals([...Deno.readDirSync(place.runtime)].map(({ name }) => name), ["lock"]);
  opened.close();
});

Deno.test("a runtime folder that others may enter is closed to them", async () => {
  await using place = await temporary();
  for (const mode of [0o777, 0o755, 0o710, 0o701, 0o770]) {
    await Deno.mkdir(place.runtime, { recursive: true });
    await Deno.chmod(place.runtime, mode);
    const opened = await openRuntimeFolder(place.runtime);
    assertEquals(modeOf(place.runtime), 0o700);
    opened.close();
  }
});

Deno.test("a link in the place of the runtime folder is refused", async () => {
  await using place = await temporary();
  const elsewhere = join(place.folder, "elsewhere");
  await Deno.mkdir(elsewhere, { mode: 0o755 });
  await Deno.symlink(elsewhere, place.runtime);
  const error = await refusalOf(place.runtime);
  assertEquals([error.code, error.kind], ["runtime_folder", "environment"]);
  assertStringIncludes(error.message, "is no folder of this user");
  assertEquals([modeOf(elsewhere), [...Deno.readDirSync(elsewhere)]], [0o755, []]);
});

Deno.test("a file in the place of the runtime folder is refused and left as it is", async () => {
  await using place = await temporary();
  await Deno.writeTextFile(place.runtime, "precious");
  assertEquals((await refusalOf(place.runtime)).code, "runtime_folder");
  assertEquals(await Deno.readTextFile(place.runtime), "precious");
});

Deno.test("a runtime folder that cannot be made is refused with a hint", async () => {
  await using place = await temporary();
  const error = await refusalOf(join(place.folder, "missing", "run"));
  assertEquals([error.code, error.kind], ["runtime_folder", "environment"]);
  assertStringIncludes(error.hint!, "runtime");
});

Deno.test("a lock that is a link is refused: others may have put it there while they could", async () => {
  await using place = await temporary();
  const precious = join(place.folder, "precious");
  await Deno.writeTextFile(precious, "precious");
  await Deno.mkdir(place.runtime);
  await Deno.chmod(place.runtime, 0o777);
  await Deno.symlink(precious, join(place.runtime, "lock"));
  const error = await refusalOf(place.runtime).catch((reason) => reason as Error);
  assertEquals(await Deno.readTextFile(precious), "precious");
  assert(error instanceof HoldfastError, error.message);
  assertEquals(error.code, "runtime_folder");
});

Deno.test("a runtime folder is let go though its files were removed meanwhile", async () => {
  await using place = await temporary();
  const opened = await openRuntimeFolder(place.runtime);
  await Deno.remove(place.runtime, { recursive: true });
  opened.close();
});

Deno.test("two supervisors never hold one runtime folder, even if the first just lets it go", async () => {
  await using place = await temporary();
  const first = await openRuntimeFolder(place.runtime);
  const { open } = Deno;
  try {
    // The worst moment: the second has opened the lock's file, and the first removes it.
    Deno.open = async (...args) => {
      const file = await open(...args);
      Deno.open = open;
      first.close();
      return file;
    };
    const held = await Promise.allSettled([
      openRuntimeFolder(place.runtime),
      until("the first to let go", () => Deno.open === open)
        .then(() => new Promise((resolve) => setTimeout(resolve, 100)))
        .then(() => openRuntimeFolder(place.runtime)),
    ]);
    const holders = held.flatMap((each) => each.status === "fulfilled" ? [each.value] : []);
    for (const holder of holders) holder.close();
    assertEquals(holders.length, 1, "both hold it");
  } finally {
    Deno.open = open;
  }
});
