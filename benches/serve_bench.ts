/**
 * Requests per second of Holdfast as a ratio to a bare `Deno.serve` with the same app: both run at
 * once, are measured in turn, and the median of the rounds' ratios is printed. Needs `wrk` and
 * `h2load` (Debian packages wrk and nghttp2-client).
 *
 *     deno run -A benches/serve_bench.ts [--rounds 5] [--seconds 2] [--engines native,node]
 */
import { parseArgs } from "@std/cli";
import { ServerProcess } from "../tests/load/server_process.ts";
import { countOf, enginesOf, medianOf, print, printTable } from "./figures.ts";
import { HoldfastProcess } from "./holdfast_process.ts";
import { type Kind, KINDS, measure, type Measured } from "./load_tool.ts";

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
      measured.set(name, await measure(kind, target, seconds));
    }
    const { perSecond } = first ?? await measure(kind, bare.target, seconds);
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
  return when === "now" ? await measure(kind, bare.target, seconds) : undefined;
}
