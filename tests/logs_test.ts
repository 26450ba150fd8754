/** `holdfast logs`: what is asked for, how it reads, and files that are rotated meanwhile. */
import { assert, assertEquals, assertStringIncludes, assertThrows } from "@std/assert";
import { join } from "node:path";
import { HoldfastError } from "../lib/base/error.ts";
import { followLines, readLines } from "../lib/cli/follow_file.ts";
import { formatEvent, type LogFilter, parseLine, toPredicate } from "../lib/cli/log_filter.ts";
import { withoutColours } from "../lib/cli/log_formats.ts";
import { oldLogsOf } from "../lib/cli/log_place.ts";
import { parseAge } from "../lib/cli/units.ts";
import { setAside } from "../lib/logger/rotation.ts";
import { until } from "./harness/wait.ts";

const NOW = Date.parse("2026-11-29T12:00:00Z");

function logged(
  event: string,
  fields: Record<string, unknown> = {},
  level = "info",
  secondsAgo = 0,
) {
  const time = new Date(NOW - secondsAgo * 1000).toISOString();
  return JSON.stringify({ time, level, event, ...fields });
}

const LINES = [
  logged("serving", { listen: ["127.0.0.1:1"] }, "info", 7200),
  logged("worker_ready", { role: "worker.2", generation: 1, pid: 42 }, "info", 600),
  logged("worker_output", {
    role: "worker.2",
    pid: 42,
    text: "took req-7: 3 ms",
    stream: "stdout",
  }),
  logged("worker_output", { role: "worker", pid: 43, text: "paid", requestId: "req-7" }, "error"),
  logged("worker_output", { role: "helper mail.0", pid: 44, text: "sent req-77" }),
  logged("reload_failed", { reason: "no" }, "warn"),
  logged("log_dropped", { lines: 3 }, "critical"),
  "no JSON at all",
  '{"time":"when?","event":"x"}',
  "null",
];

Deno.test("events are found by process, level, name, request and time, and by all of them together", () => {
  const cases: [LogFilter, string][] = [
    [{}, "0123456"],
    [{ process: "worker" }, "123"],
    [{ process: "worker.2" }, "12"],
    [{ process: "mail" }, "4"],
    [{ process: "helper mail.0" }, "4"],
    [{ process: "43" }, "3"],
    [{ process: "supervisor" }, "056"],
    [{ process: "work" }, ""],
    [{ level: "warn" }, "356"],
    [{ level: "error" }, "36"],
    [{ event: "worker_ready" }, "1"],
    [{ event: "worker_*,serving" }, "01234"],
    [{ event: "worker" }, ""],
    [{ event: "*_dropped" }, "6"],
    [{ event: "." }, ""],
    [{ request: "req-7" }, "23"],
    [{ request: "req" }, ""],
    [{ since: "10m" }, "123456"],
    [{ since: "9m" }, "23456"],
    [{ since: "2026-11-29T11:55:00Z" }, "23456"],
    [{ process: "worker", level: "error", request: "req-7", since: "1m" }, "3"],
  ];
  for (const [filter, expected] of cases) {
    const isWanted = toPredicate(filter, NOW);
    const found = [...LINES.keys()].filter((index) => {
      const event = parseLine(LINES[index]!);
      return event !== undefined && isWanted(event);
    });
    assertEquals(found.join(""), expected, JSON.stringify(filter));
  }
  for (const wrong of [{ since: "ten" }, { since: "" }, { level: "loud" }, { level: "WARN" }]) {
    const { kind, hint } = assertThrows(() => toPredicate(wrong, NOW), HoldfastError);
    assertEquals(kind, "usage");
    assertStringIncludes(hint!, "--help");
  }
  assertEquals(["90s", "10m", "2h", "1d", "10", "m", "1.5h", "-1m"].map(parseAge), [
    ...[90_000, 600_000, 7_200_000, 86_400_000],
    ...[undefined, undefined, undefined, undefined],
  ]);
});

Deno.test("an event reads as on the terminal of a start, with its day if that is another, and has no escapes", () => {
  const today = new Date(NOW);
  const show = (line: string, day = today) => withoutColours(formatEvent(parseLine(line)!, day));
  const read = (text: string) => text.replaceAll(/\d\d:\d\d:\d\d/g, "TIME");
  assertEquals(read(show(LINES[5]!)), "TIME WARN  reload_failed reason=no");
  assertEquals(read(show(LINES[2]!)), "TIME worker.2 │ took req-7: 3 ms");
  const trace = logged("worker_output", { role: "worker", text: "Error: x\n    at y" }, "error");
  assertEquals(read(show(trace)), "TIME worker │ Error: x\nTIME worker │     at y");
  const later = new Date(NOW + 3 * 86_400_000);
  assertEquals(read(show(trace, later)).match(/^2026-11-\d\d TIME /gm)?.length, 2);
  // The logger, which writes the file, is confined since nobody trusts it.
  const hostile = JSON.stringify({
    ...{ time: new Date(NOW).toISOString(), level: "\x1b[2J", event: "worker_output\x1b]0;a\x07" },
    ...{ "\x1b[31m": "\x9b1m", list: ["\x1b[1m"], role: "worker\x1b[H", text: "\x1b[2J\u202e" },
  });
  const text = formatEvent(parseLine(hostile)!, today);
  // deno-lint-ignore no-control-regex
  assertEquals(withoutColours(text).match(/[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]/g), null);
  assertStringIncludes(text, "\\x1b[2J");
});

async function temporary() {
  const folder = await Deno.makeTempDir({ prefix: "holdfast_test_" });
  return { folder, [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }) };
}

Deno.test("a log is followed when it is rotated, emptied, removed and made anew, and no line is lost", async () => {
  await using place = await temporary();
  const path = join(place.folder, "holdfast.log");
  const add = (text: string) => Deno.writeTextFile(path, text, { append: true });
  await add("1\n2\n");
  const end = new AbortController();
  const found: string[] = [];
  let looks = 0;
  const following = (async () => {
    const options = { signal: end.signal, onEnd: () => looks++ };
    for await (const line of followLines(path, options)) found.push(line);
  })();
  const wait = (line: string) => until(`line ${line}`, () => found.includes(line));
  await wait("2");
  await add("3\nfour");
  await wait("3");
  await add("teen\n");
  await wait("fourteen");
  // What the logger writes to the old file before it writes to the new one is read too.
  const old = await setAside(path, Date.now());
  await Deno.writeTextFile(path, "");
  const then = looks;
  await until("a look at the new file", () => looks > then + 1);
  await Deno.writeTextFile(old, "5\n", { append: true });
  await add("6\n");
  await wait("6");
  await Deno.truncate(path);
  const before = looks;
  await until("a look at the empty file", () => looks > before + 1);
  await add("7\n");
  await wait("7");
  await Deno.remove(path);
  await add("8 ä\n");
  await wait("8 ä");
  end.abort();
  await following;
  assertEquals(found, ["1", "2", "3", "fourteen", "5", "6", "7", "8 ä"]);
});

Deno.test("older files of a log are known by the time of their end, and read though they are packed", async () => {
  await using place = await temporary();
  const path = join(place.folder, "holdfast.log");
  const packed = new Blob(["a\nb\n"]).stream().pipeThrough(new CompressionStream("gzip"));
  await Deno.writeFile(`${path}.20261124T182815.123Z.gz`, packed);
  for (const name of [".20261123T000000.000Z", ".20261125T000000.000Z.gz.part", ".1", "x"]) {
    await Deno.writeTextFile(path + name, "");
  }
  await Deno.writeTextFile(path, "");
  const old = oldLogsOf(path);
  assertEquals(old.map(({ endMs }) => new Date(endMs).toISOString()), [
    "2026-11-23T00:00:00.000Z",
    "2026-11-24T18:28:15.123Z",
  ]);
  const lines = await Array.fromAsync(readLines(old[1]!.path));
  assertEquals(lines, ["a", "b"]);
  assert(old[0]!.path.startsWith(place.folder));
});
