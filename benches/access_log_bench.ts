/**
 * What the access log costs: engines with the same app run at once, without a log, with one whose
 * records are thrown away, and with one whose records go over a Unix socket to a logger that writes
 * files. They are measured in turn, and the median of the rounds' ratios to no log is printed. Needs
 * `wrk`.
 *
 *     deno run -A benches/access_log_bench.ts [--rounds 5] [--seconds 2] [--engines native,node]
 */
import { parseArgs } from "@std/cli";
import { fileURLToPath } from "node:url";
import { within } from "../tests/load/wait.ts";
import { countOf, enginesOf, medianOf, print, printTable } from "./figures.ts";
import { type Kind, KINDS, measure } from "./load_tool.ts";
import { freePort } from "../tests/harness/ports.ts";

const START_DEADLINE_MS = 20_000;

const args = parseArgs(Deno.args, {
  string: ["rounds", "seconds", "engines"],
  default: { rounds: "5", seconds: "2", engines: "native,node" },
});
const rounds = countOf(args.rounds, "rounds");
const seconds = countOf(args.seconds, "seconds");

const [keepAlive] = KINDS as [Kind];
/** With the headers that a browser sends: what is not there costs nothing. */
const kind: Kind = {
  ...keepAlive,
  command: (url, seconds) => [
    ...keepAlive.command(url, seconds),
    ...["-H", "Referer: https://www.example.com/some/page?with=query"],
    ...["-H", "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"],
  ],
};

await using stack = new AsyncDisposableStack();
const folder = await Deno.makeTempDir({ prefix: "holdfast_bench_" });
stack.defer(() => Deno.remove(folder, { recursive: true }));

const rows = [];
for (const engine of enginesOf(args.engines)) {
  const off = await serve(engine, "off");
  const subjects = [];
  for (const format of ["common", "combined"] as const) {
    subjects.push({ log: format, reader: "none", target: await serve(engine, format) });
    const lane = `${folder}/${engine}_${format}.sock`;
    const logs = `${folder}/${engine}_${format}`;
    await Deno.mkdir(logs);
    await start("access_log_reader.ts", lane, format, logs);
    subjects.push({ log: format, reader: "logger", target: await serve(engine, format, lane) });
  }
  const ratios = new Map(subjects.map((subject) => [subject, [] as number[]]));
  const perSecondOff: number[] = [];
  for (let round = 0; round < rounds; round++) {
    for (const subject of round % 2 === 0 ? subjects : subjects.toReversed()) {
      const without = (await measure(kind, off, seconds)).perSecond;
      perSecondOff.push(without);
      ratios.get(subject)!.push((await measure(kind, subject.target, seconds)).perSecond / without);
    }
  }
  for (const [{ log, reader }, ofRounds] of ratios) {
    rows.push({
      engine,
      log,
      reader,
      "off req/s": Math.round(medianOf(perSecondOff)),
      ratio: medianOf(ofRounds).toFixed(2),
      least: Math.min(...ofRounds).toFixed(2),
      most: Math.max(...ofRounds).toFixed(2),
    });
  }
}
print(`\nRequests per second with an access log to without, median of ${rounds} rounds`);
printTable(rows);

async function serve(engine: string, format: string, ...lane: string[]): Promise<string> {
  const port = freePort();
  await start("access_log_server.ts", String(port), engine, format, ...lane);
  return `127.0.0.1:${port}`;
}

/** Starts a script of this folder and waits until it says that it serves. */
async function start(script: string, ...scriptArgs: string[]): Promise<void> {
  const path = fileURLToPath(new URL(script, import.meta.url));
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", path, ...scriptArgs],
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  stack.defer(async () => {
    child.kill("SIGKILL");
    await child.status;
  });
  const lines = child.stdout.pipeThrough(new TextDecoderStream()).getReader();
  stack.defer(() => lines.cancel());
  const { value } = await within(lines.read(), START_DEADLINE_MS, script);
  if (!value?.includes("serving")) throw new Error(`Cannot start ${script}: it said ${value}`);
}
