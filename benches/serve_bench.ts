/**
 * Requests per second of Holdfast as a ratio to a bare `Deno.serve` with the same app: both run at
 * once, are measured in turn, and the median of the rounds' ratios is printed. Needs `wrk` and
 * `h2load` (Debian packages wrk and nghttp2-client).
 *
 *     deno run -A benches/serve_bench.ts [--rounds 5] [--seconds 2] [--engines native,node]
 */
import { parseArgs } from "@std/cli";
import { ServerProcess } from "../tests/load/server_process.ts";
import { within } from "../tests/load/wait.ts";
import { countOf, enginesOf, medianOf, print, printTable } from "./figures.ts";
import { HoldfastProcess } from "./holdfast_process.ts";

interface Kind {
  name: string;
  command: (url: string, seconds: number) => [string, ...string[]];
  /** Answers per second, and how many were not good. */
  parse: (output: string) => Measured;
}

interface Measured {
  perSecond: number;
  failed: number;
}

const KINDS: Kind[] = [
  {
    name: "keep-alive",
    command: (url, seconds) => ["wrk", "-t1", "-c16", `-d${seconds}s`, url],
    parse: parseWrk,
  },
  {
    name: "connection per request",
    command: (url, seconds) => {
      return ["wrk", "-t1", "-c16", `-d${seconds}s`, "-H", "Connection: close", url];
    },
    parse: parseWrk,
  },
  {
    name: "h2c",
    command: (url, seconds) => ["h2load", "-c8", "-m10", `-D${seconds}`, url],
    parse: parseH2load,
  },
];

const args = parseArgs(Deno.args, {
  string: ["rounds", "seconds", "engines"],
  default: { rounds: "5", seconds: "2", engines: "native,node" },
});
const rounds = countOf(args.rounds, "rounds");
const seconds = countOf(args.seconds, "seconds");

await using stack = new AsyncDisposableStack();
const bare = stack.use(await ServerProcess.start("bare"));
const subjects: { name: string; target: string }[] = [];
for (const engine of enginesOf(args.engines)) {
  const { target } = stack.use(await HoldfastProcess.start({ engine }));
  subjects.push({ name: engine, target });
}

const rows = [];
for (const kind of KINDS) {
  const barePerSecond: number[] = [];
  const ratios = new Map<string, number[]>(subjects.map(({ name }) => [name, []]));
  const failures = new Map<string, number>();
  for (let round = 0; round < rounds; round++) {
    // The order turns from round to round, so that none is always measured on the hotter machine.
    const first = await measureBare(kind, round % 2 === 0 ? "now" : "later");
    const measured = new Map<string, Measured>();
    for (const { name, target } of round % 2 === 0 ? subjects : subjects.toReversed()) {
      measured.set(name, await measure(kind, target));
    }
    const { perSecond } = first ?? await measure(kind, bare.target);
    barePerSecond.push(perSecond);
    for (const [name, { perSecond: subjectPerSecond, failed }] of measured) {
      ratios.get(name)!.push(subjectPerSecond / perSecond);
      failures.set(name, (failures.get(name) ?? 0) + failed);
    }
  }
  for (const [name, ofRounds] of ratios) {
    const median = medianOf(ofRounds);
    rows.push({
      kind: kind.name,
      engine: name,
      "bare req/s": Math.round(medianOf(barePerSecond)),
      ratio: median === 0 ? "not served" : median.toFixed(2),
      least: Math.min(...ofRounds).toFixed(2),
      most: Math.max(...ofRounds).toFixed(2),
      failed: failures.get(name) ?? 0,
    });
  }
}
print(`\nHoldfast to bare Deno.serve, median of ${rounds} rounds of ${seconds} s`);
printTable(rows);

async function measureBare(kind: Kind, when: "now" | "later"): Promise<Measured | undefined> {
  return when === "now" ? await measure(kind, bare.target) : undefined;
}

async function measure(kind: Kind, target: string): Promise<Measured> {
  const [tool, ...toolArgs] = kind.command(`http://${target}/`, seconds);
  const child = new Deno.Command(tool, {
    args: toolArgs,
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  try {
    const output = await within(child.output(), (seconds + 20) * 1000, tool);
    return kind.parse(new TextDecoder().decode(output.stdout));
  } catch (error) {
    child.kill("SIGKILL");
    throw error;
  }
}

function parseWrk(output: string): Measured {
  const perSecond = figureOf(output, /Requests\/sec:\s+([\d.]+)/);
  const statuses = Number(/Non-2xx or 3xx responses: (\d+)/.exec(output)?.[1] ?? 0);
  const errors = /connect (\d+), read (\d+), write (\d+), timeout (\d+)/.exec(output)?.slice(1) ??
    [];
  return { perSecond, failed: errors.reduce((sum, count) => sum + Number(count), statuses) };
}

function parseH2load(output: string): Measured {
  const succeeded = figureOf(output, /(\d+) succeeded/);
  const failed = figureOf(output, /(\d+) failed/);
  const perSecond = succeeded === 0 ? 0 : figureOf(output, /([\d.]+) req\/s/);
  return { perSecond, failed };
}

function figureOf(output: string, pattern: RegExp): number {
  const figure = pattern.exec(output)?.[1];
  if (figure === undefined) throw new Error(`Cannot read the figures:\n${output}`);
  return Number(figure);
}
