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
  AccessRecord,
  MAX_ACCESS_BATCH,
  MAX_ACCESS_FRAME_BYTES,
} from "../lib/protocol/access.ts";
import { encodeFrame } from "../lib/protocol/frame.ts";
import { Violation } from "../lib/protocol/violation.ts";
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
  const first = await folder.open({ maxAgeMs: 1_000 });
  first.access(numbered(0));
  await first.close(CLOSE_MS);
  const later = Date.now() + 2_000;
  const second = await folder.open({ maxAgeMs: 1_000 }, { now: () => later });
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
