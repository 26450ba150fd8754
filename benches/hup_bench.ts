/**
 * What a reload costs: how long a HUP takes, how much processor time it takes in all processes, and what
 * the processes hold of memory. A bare `deno run` is timed in turn with it, so that figures of another
 * machine, or of a busy one, can be compared by their ratios.
 *
 *     deno run -A benches/hup_bench.ts [--reloads 20]
 */
import { parseArgs } from "@std/cli";
import { sleep } from "../tests/load/wait.ts";
import { RELOAD_SPACING_MS } from "../lib/supervisor/operation_queue.ts";
import { besideBoots, bootMs, countOf, print, printTable } from "./figures.ts";
import { HoldfastProcess } from "./holdfast_process.ts";

/** How long an old generation may take to be gone: its processor time counts then. */
const GONE_MS = RELOAD_SPACING_MS + 1_000;

/** The kernel counts processor time in hundredths of a second (proc_pid_stat(5)). */
const TICK_MS = 10;

const args = parseArgs(Deno.args, { string: ["reloads"], default: { reloads: "20" } });
const reloads = countOf(args.reloads, "reloads");

await using holdfast = await HoldfastProcess.start();
await sleep(GONE_MS);
print(`Load ${Deno.loadavg()[0]!.toFixed(1)}, ${navigator.hardwareConcurrency} processors`);
printMemory("after the start");

const rows: Record<"boot" | "hup" | "supervisor" | "others", number[]> = {
  ...{ boot: [], hup: [], supervisor: [], others: [] },
};
for (let round = 1; round <= reloads; round++) {
  rows.boot.push(await bootMs());
  await holdfast.writeGeneration(`hup_${round}`);
  const [own, others] = processorMs(holdfast.pid);
  const known = holdfast.logLines.length;
  holdfast.hangUp();
  await holdfast.waitForGeneration(`hup_${round}`);
  rows.hup.push(await reloadMs(known));
  await sleep(GONE_MS);
  const [ownAfter, othersAfter] = processorMs(holdfast.pid);
  rows.supervisor.push(ownAfter! - own!);
  rows.others.push(othersAfter! - others!);
}
const rowOf = besideBoots(rows.boot);
printTable([
  rowOf("a bare deno run", rows.boot),
  rowOf("HUP to reload_done", rows.hup),
  rowOf("processor time of the supervisor", rows.supervisor),
  rowOf("processor time of planner and worker", rows.others),
]);
printMemory(`after ${reloads} reloads`);
print(`Load ${Deno.loadavg()[0]!.toFixed(1)}`);

/** What the log says of the reload after so many lines. */
async function reloadMs(known: number): Promise<number> {
  for (;;) {
    const line = holdfast.logLines.slice(known).find((each) => each.includes('"reload_done"'));
    if (line !== undefined) return (JSON.parse(line) as { ms: number }).ms;
    await sleep(1);
  }
}

/** Of a process, and of its children that have ended. */
function processorMs(pid: number): [own: number, children: number] {
  const text = Deno.readTextFileSync(`/proc/${pid}/stat`);
  const fields = text.slice(text.lastIndexOf(")") + 2).split(" ").map(Number);
  return [(fields[11]! + fields[12]!) * TICK_MS, (fields[13]! + fields[14]!) * TICK_MS];
}

function printMemory(when: string): void {
  const mib = (pid: number, key: string) => {
    const text = Deno.readTextFileSync(`/proc/${pid}/smaps_rollup`);
    return Number(text.match(new RegExp(`^${key}:\\s+(\\d+)`, "m"))![1]) / 1024;
  };
  print(`\nMemory ${when}`);
  const pids = holdfast.processes().map(({ pid }) => pid);
  printTable([
    ...pids.map((pid, index) => ({
      process: index === 0 ? "supervisor" : "worker",
      "resident MiB": mib(pid, "Rss").toFixed(1),
      "proportional MiB": mib(pid, "Pss").toFixed(1),
    })),
    {
      process: "all",
      "resident MiB": "",
      "proportional MiB": pids.reduce((sum, pid) => sum + mib(pid, "Pss"), 0).toFixed(1),
    },
  ]);
}
