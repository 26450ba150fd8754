/**
 * What looking at durations, and telling spans of them, costs a worker: Holdfasts with the same app
 * run at once, two plain ones, one with `metrics` and one with `traces`, and are sent requests in
 * turn. Prints how much of the processor's time an answer takes the worker, as ratios to the first;
 * the ratio of the other plain one is what chance makes of it. Requests per second would tell what
 * else the machine does. Needs `wrk`.
 *
 *     deno run -A benches/latency_bench.ts [--rounds 10] [--seconds 2] [--engines native,node]
 */
import { parseArgs } from "@std/cli";
import { Collector } from "../tests/harness/collector.ts";
import { countOf, enginesOf, medianOf, print, printTable } from "./figures.ts";
import { HoldfastProcess } from "./holdfast_process.ts";
import { type Kind, KINDS, measure } from "./load_tool.ts";
import { freePort } from "../tests/harness/ports.ts";

/** USER_HZ of proc_pid_stat(5), on every architecture that Deno runs on. */
const TICKS_PER_SECOND = 100;

await using collector = new Collector();
const LOOKS = {
  nothing: () => ({}),
  metrics: () => ({ metrics: { listen: `127.0.0.1:${freePort()}` } }),
  traces: () => ({ traces: { collector: collector.address, service: "bench" } }),
} as const;

interface Subject {
  readonly looks: keyof typeof LOOKS;
  readonly target: string;
  readonly workerPid: number;
}

const args = parseArgs(Deno.args, {
  string: ["rounds", "seconds", "engines"],
  default: { rounds: "10", seconds: "2", engines: "native,node" },
});
const rounds = countOf(args.rounds, "rounds");
const seconds = countOf(args.seconds, "seconds");
const [keepAlive] = KINDS as [Kind];

const rows = [];
for (const engine of enginesOf(args.engines)) {
  await using stack = new AsyncDisposableStack();
  const start = async (looks: Subject["looks"]): Promise<Subject> => {
    const holdfast = stack.use(await HoldfastProcess.start({ engine, config: LOOKS[looks]() }));
    const named = await holdfast.namedProcesses();
    const workerPid = named.find(({ name }) => name.startsWith("worker"))!.pid;
    return { looks, target: holdfast.target, workerPid };
  };
  const first = await start("nothing");
  const others = [await start("nothing"), await start("metrics"), await start("traces")];
  // Their code is compiled as it grows hot.
  for (const subject of [first, ...others]) await microsecondsOf(subject);
  const ratios = new Map(others.map((subject) => [subject, [] as number[]]));
  const ofFirst: number[] = [];
  for (let round = 0; round < rounds; round++) {
    for (const subject of round % 2 === 0 ? others : others.toReversed()) {
      const without = await microsecondsOf(first);
      ofFirst.push(without);
      ratios.get(subject)!.push(await microsecondsOf(subject) / without);
    }
  }
  rows.push(...others.map((subject) => ({
    engine,
    with: subject.looks,
    "first µs": medianOf(ofFirst).toFixed(1),
    ratio: medianOf(ratios.get(subject)!).toFixed(3),
    least: Math.min(...ratios.get(subject)!).toFixed(3),
    most: Math.max(...ratios.get(subject)!).toFixed(3),
  })));
}
print(`\nA worker's processor time for an answer, median of ${rounds} rounds of ${seconds} s`);
printTable(rows);

/** What an answer takes the worker, in microseconds of the processor's time. */
async function microsecondsOf({ target, workerPid }: Subject): Promise<number> {
  const before = await ticksOf(workerPid);
  const { perSecond } = await measure(keepAlive, target, seconds);
  const ticks = await ticksOf(workerPid) - before;
  return ticks / TICKS_PER_SECOND * 1_000_000 / (perSecond * seconds);
}

/** utime and stime of proc_pid_stat(5). */
async function ticksOf(pid: number): Promise<number> {
  const text = await Deno.readTextFile(`/proc/${pid}/stat`);
  // The name before it may have spaces; what follows its parenthesis is field 3.
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ");
  return Number(fields[14 - 3]) + Number(fields[15 - 3]);
}
