/**
 * What the kernel's wall costs: two Holdfasts with the same app run at once, one with
 * `"wall": "kernel"` and one with `"wall": "deno"`, and are measured in turn. Prints how long a
 * worker takes from its spawn until it accepts, and what it uses of a processor until then; and
 * requests per second, and processor time a request. On a busy machine only processor time means
 * something. Needs `wrk` and `h2load`.
 *
 *     deno run -A benches/wall_bench.ts [--reloads 15] [--rounds 5] [--seconds 2]
 */
import { parseArgs } from "@std/cli";
import { RELOAD_SPACING_MS } from "../lib/supervisor/operation_queue.ts";
import { sleep, within } from "../tests/load/wait.ts";
import { countOf, cpuSeconds, medianOf, print, printTable } from "./figures.ts";
import { HoldfastProcess } from "./holdfast_process.ts";
import { KINDS, measure } from "./load_tool.ts";

const args = parseArgs(Deno.args, {
  string: ["reloads", "rounds", "seconds"],
  default: { reloads: "15", rounds: "5", seconds: "2" },
});
const reloads = countOf(args.reloads, "reloads");
const rounds = countOf(args.rounds, "rounds");
const seconds = countOf(args.seconds, "seconds");

/** Only a hang makes it matter. */
const START_MS = 120_000;

await using stack = new AsyncDisposableStack();
const start = async (wall: "kernel" | "deno") =>
  stack.use(await HoldfastProcess.start({ config: { wall } }));
const walled = await start("kernel");
const open = await start("deno");

interface Starts {
  readonly ms: number[];
  readonly cpuMs: number[];
}
const starts = new Map<HoldfastProcess, Starts>(
  [walled, open].map((each) => [each, { ms: [], cpuMs: [] }]),
);
/** The newest worker of each, which has served nothing yet. */
const workers = new Map<HoldfastProcess, number>();

for (let round = 0; round < reloads; round++) {
  for (const holdfast of round % 2 === 0 ? [walled, open] : [open, walled]) {
    const { ms, pid } = await startAnother(holdfast);
    starts.get(holdfast)!.ms.push(ms);
    starts.get(holdfast)!.cpuMs.push(cpuSeconds(pid) * 1000);
    workers.set(holdfast, pid);
    await sleep(RELOAD_SPACING_MS);
  }
}
print(`\nFrom spawn to accepting, of ${reloads} workers each, in turn, in ms`);
printTable((["ms", "cpuMs"] as const).map((what) => {
  const [kernel, deno] = [walled, open].map((each) => starts.get(each)![what]);
  const medians = [medianOf(kernel!), medianOf(deno!)] as const;
  return {
    what: what === "ms" ? "time" : "processor time",
    ...{ kernel: Math.round(medians[0]), deno: Math.round(medians[1]) },
    difference: Math.round(medians[0] - medians[1]),
    "least, kernel": Math.round(Math.min(...kernel!)),
    "least, deno": Math.round(Math.min(...deno!)),
  };
}));

const rows = [];
for (const kind of KINDS) {
  const ratios: number[] = [];
  const costs: number[] = [];
  for (let round = 0; round < rounds; round++) {
    const order = round % 2 === 0 ? [walled, open] : [open, walled];
    const perSecond = new Map<HoldfastProcess, number>();
    const cost = new Map<HoldfastProcess, number>();
    for (const holdfast of order) {
      const before = cpuSeconds(workers.get(holdfast)!);
      const measured = (await measure(kind, holdfast.target, seconds)).perSecond;
      perSecond.set(holdfast, measured);
      cost.set(holdfast, (cpuSeconds(workers.get(holdfast)!) - before) / measured);
    }
    ratios.push(perSecond.get(walled)! / perSecond.get(open)!);
    costs.push(cost.get(walled)! / cost.get(open)!);
  }
  rows.push({
    kind: kind.name,
    "requests/s": medianOf(ratios).toFixed(3),
    least: Math.min(...ratios).toFixed(3),
    most: Math.max(...ratios).toFixed(3),
    "processor time": medianOf(costs).toFixed(3),
    "its least": Math.min(...costs).toFixed(3),
    "its most": Math.max(...costs).toFixed(3),
  });
}
print(
  `\nRequests per second and processor time a request, kernel to deno, median of ${rounds} rounds of ${seconds} s`,
);
printTable(rows);

/** Has it start a worker, by a reload that nobody waits for: a client would take its part of a processor. */
async function startAnother(holdfast: HoldfastProcess): Promise<{ ms: number; pid: number }> {
  const known = new Set(readyLines(holdfast));
  holdfast.hangUp();
  const line = await within(
    (async () => {
      for (;;) {
        const found = readyLines(holdfast).find((each) => !known.has(each));
        if (found !== undefined) return found;
        await sleep(2);
      }
    })(),
    START_MS,
    "a reload",
  );
  return JSON.parse(line);
}

function readyLines({ logLines }: HoldfastProcess): string[] {
  return logLines.filter((line) => line.includes('"event":"worker_ready"'));
}
