/**
 * What reloads cost: what is lost under every kind of load, how soon new code answers, and how much
 * memory each process holds. Prints figures; exit status 1 if one request was not answered whole
 * and right.
 *
 *     deno run -A benches/reload_bench.ts [--reloads 100] [--clients 4] [--engines native,node]
 */
import { parseArgs } from "@std/cli";
import { isAllOk, type LoadReport, rowsOf, runLoad, sampleLinesOf } from "../tests/load/client.ts";
import { sleep } from "../tests/load/wait.ts";
import { countOf, enginesOf, medianOf, print, printTable } from "./figures.ts";
import { RELOAD_SPACING_MS } from "../lib/supervisor/operation_queue.ts";
import { HoldfastProcess } from "./holdfast_process.ts";

/** A reload that is asked for sooner waits; that wait is no part of what is measured here. */
const PAUSE_BETWEEN_RELOADS_MS = RELOAD_SPACING_MS;
const NEW_CODE_ROUNDS = 10;
/** An end for the load if all else fails: reloads under full load take a second or two each. */
const MAX_MS_PER_RELOAD = 20_000;

const args = parseArgs(Deno.args, {
  string: ["reloads", "clients", "engines"],
  default: { reloads: "100", clients: "4", engines: "native,node" },
});
const reloads = countOf(args.reloads, "reloads");
const clients = countOf(args.clients, "clients");

let verdict: "nothing lost" | "lost" = "nothing lost";
for (const engine of enginesOf(args.engines)) {
  await using holdfast = await HoldfastProcess.start({ engine });
  print(`\nEngine ${engine}: memory after the start`);
  printTable(await memoryRows(holdfast));

  await printNewCodeTimes(holdfast);

  print(`\nEngine ${engine}: ${reloads} reloads under load`);
  const report = await loadDuringReloads(holdfast);
  printTable(rowsOf(report));
  for (const line of sampleLinesOf(report)) print(line);
  print(`${Object.keys(report.total.generations).length} generations answered`);
  if (!isAllOk(report)) verdict = "lost";

  print(`\nEngine ${engine}: memory right after the load`);
  printTable(await memoryRows(holdfast));
  const status = await holdfast.stop();
  print(`Exit status after TERM: ${status}`);
  for (const reason of holdfast.unanswered) print(`A fresh connection went unanswered: ${reason}`);
  if (status !== 0 || holdfast.unanswered.length > 0) verdict = "lost";
}
if (verdict === "lost") print("\nSomething was lost: see the tables above");
Deno.exit(verdict === "lost" ? 1 : 0);

async function loadDuringReloads(holdfast: HoldfastProcess): Promise<LoadReport> {
  const enough = new AbortController();
  const loading = runLoad({
    target: holdfast.target,
    durationMs: reloads * MAX_MS_PER_RELOAD,
    clients,
    signal: enough.signal,
  });
  loading.catch(() => {}); // it is awaited below; until then its failure must not end the process
  const tookMs: number[] = [];
  const processCounts: number[] = [];
  const residentMib: number[] = [];
  try {
    for (let reload = 1; reload <= reloads; reload++) {
      await sleep(PAUSE_BETWEEN_RELOADS_MS);
      tookMs.push(await measureNewCode(holdfast, `load_${reload}`));
      const processes = holdfast.processes();
      processCounts.push(processes.length);
      residentMib.push(processes.reduce((sum, { residentKib }) => sum + residentKib / 1024, 0));
    }
  } finally {
    enough.abort();
    await loading;
  }
  print(`HUP to first answer of new code under load: ${textOf(tookMs)}`);
  const [most, mib] = [Math.max(...processCounts), Math.round(Math.max(...residentMib))];
  print(
    `At most ${most} processes at once, draining ones included, with ${mib} MiB resident in all`,
  );
  return await loading;
}

async function printNewCodeTimes(holdfast: HoldfastProcess): Promise<void> {
  const tookMs: number[] = [];
  for (let round = 1; round <= NEW_CODE_ROUNDS; round++) {
    await sleep(PAUSE_BETWEEN_RELOADS_MS);
    tookMs.push(await measureNewCode(holdfast, `idle_${round}`));
  }
  print(`\nHUP to first answer of new code without load: ${textOf(tookMs)}`);
}

async function measureNewCode(holdfast: HoldfastProcess, generation: string): Promise<number> {
  await holdfast.writeGeneration(generation);
  holdfast.hangUp();
  return await holdfast.waitForGeneration(generation);
}

function textOf(ms: number[]): string {
  const [median, least, most] = [medianOf(ms), Math.min(...ms), Math.max(...ms)].map(Math.round);
  return `median ${median} ms, least ${least} ms, most ${most} ms, of ${ms.length}`;
}

async function memoryRows(holdfast: HoldfastProcess): Promise<Record<string, string>[]> {
  return (await holdfast.namedProcesses()).map(({ pid, name, residentKib }) => ({
    process: name,
    pid: String(pid),
    "resident MiB": (residentKib / 1024).toFixed(1),
  }));
}
