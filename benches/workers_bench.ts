/**
 * How connections and requests spread over several workers. Prints the share of each. Needs `wrk`.
 *
 *     deno run -A benches/workers_bench.ts [--workers 2,4] [--seconds 5] [--engines native,node]
 */
import { parseArgs } from "@std/cli";
import type { Status } from "../lib/protocol/control.ts";
import { PULSE_INTERVAL_MS } from "../lib/protocol/limits.ts";
import { sleep } from "../tests/load/wait.ts";
import { countOf, enginesOf, print, printTable } from "./figures.ts";
import { HoldfastProcess } from "./holdfast_process.ts";
import { type Kind, measure, wrk } from "./load_tool.ts";

const KINDS: Kind[] = [
  wrk("keep-alive, 4 connections", ["-c4"]),
  wrk("keep-alive, 16 connections", ["-c16"]),
  wrk("keep-alive, 256 connections", ["-c256"]),
  wrk("connection per request, 16 at a time", ["-c16", "-H", "Connection: close"]),
];

const args = parseArgs(Deno.args, {
  string: ["workers", "seconds", "engines"],
  default: { workers: "2,4", seconds: "5", engines: "native,node" },
});
const seconds = countOf(args.seconds, "seconds");

for (const engine of enginesOf(args.engines)) {
  for (const workers of String(args.workers).split(",").map((text) => countOf(text, "workers"))) {
    await using holdfast = await HoldfastProcess.start({ engine, config: { workers } });
    const rows: Record<string, string | number>[] = [];
    for (const kind of KINDS) {
      const before = await figuresOf(holdfast);
      const { perSecond, failed } = await measure(kind, holdfast.target, seconds);
      // Workers tell their figures once in that time.
      await sleep(2 * PULSE_INTERVAL_MS);
      const after = await figuresOf(holdfast);
      const shares = (of: "accepted" | "answered") =>
        after.map((figures, index) => figures[of] - before[index]![of]).join(" ");
      rows.push({
        load: kind.name,
        "connections of each": shares("accepted"),
        "answers of each": shares("answered"),
        "answers/s": Math.round(perSecond),
        failed,
      });
    }
    print(`\nEngine ${engine}, ${workers} workers`);
    printTable(rows);
  }
}

async function figuresOf(holdfast: HoldfastProcess) {
  const { stdout } = await holdfast.run("status", "--json");
  const { generations } = JSON.parse(stdout) as Status;
  return generations[0]!.workers.map(({ process }) => process!);
}
