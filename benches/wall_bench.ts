/**
 * What the kernel's wall costs: two Holdfasts with the same app run at once, one with
 * `"wall": "kernel"` and one with `"wall": "deno"`, and are measured in turn. Prints how long a
 * worker takes from its spawn until it accepts, and requests per second. Needs `wrk` and `h2load`.
 *
 *     deno run -A benches/wall_bench.ts [--reloads 15] [--rounds 5] [--seconds 2]
 */
import { parseArgs } from "@std/cli";
import { RELOAD_SPACING_MS } from "../lib/supervisor/operation_queue.ts";
import { sleep } from "../tests/load/wait.ts";
import { countOf, medianOf, print, printTable } from "./figures.ts";
import { HoldfastProcess } from "./holdfast_process.ts";
import { KINDS, measure } from "./load_tool.ts";

const args = parseArgs(Deno.args, {
  string: ["reloads", "rounds", "seconds"],
  default: { reloads: "15", rounds: "5", seconds: "2" },
});
const reloads = countOf(args.reloads, "reloads");
const rounds = countOf(args.rounds, "rounds");
const seconds = countOf(args.seconds, "seconds");

await using stack = new AsyncDisposableStack();
const start = async (wall: "kernel" | "deno") =>
  stack.use(await HoldfastProcess.start({ config: { wall } }));
const walled = await start("kernel");
const open = await start("deno");

for (let round = 0; round < reloads; round++) {
  for (const holdfast of round % 2 === 0 ? [walled, open] : [open, walled]) {
    await holdfast.reload();
    await sleep(RELOAD_SPACING_MS);
  }
}
const startMs = { kernel: readyTimesOf(walled), deno: readyTimesOf(open) };
const medians = { kernel: medianOf(startMs.kernel), deno: medianOf(startMs.deno) };
print(`\nFrom spawn to accepting, median of ${reloads + 1} workers each, in turn`);
printTable([{
  "kernel ms": Math.round(medians.kernel),
  "deno ms": Math.round(medians.deno),
  "difference ms": Math.round(medians.kernel - medians.deno),
  ratio: (medians.kernel / medians.deno).toFixed(2),
}]);

const rows = [];
for (const kind of KINDS) {
  const ratios: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const order = round % 2 === 0 ? [walled, open] : [open, walled];
    const perSecond = new Map<HoldfastProcess, number>();
    for (const holdfast of order) {
      perSecond.set(holdfast, (await measure(kind, holdfast.target, seconds)).perSecond);
    }
    ratios.push(perSecond.get(walled)! / perSecond.get(open)!);
  }
  rows.push({
    kind: kind.name,
    ratio: medianOf(ratios).toFixed(3),
    least: Math.min(...ratios).toFixed(3),
    most: Math.max(...ratios).toFixed(3),
  });
}
print(`\nRequests per second, kernel to deno, median of ${rounds} rounds of ${seconds} s`);
printTable(rows);

function readyTimesOf({ logLines }: HoldfastProcess): number[] {
  return logLines.filter((line) => line.includes('"event":"worker_ready"'))
    .map((line) => Number(JSON.parse(line).ms));
}
