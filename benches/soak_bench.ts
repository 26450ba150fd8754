/**
 * A soak: reloads and upgrades under every kind of load, and then workers that are killed. Prints what
 * became of each request, and what the supervisor holds; exit status 1 if a reload or an upgrade lost
 * one, or if a kill lost more than the killed worker had in flight.
 *
 *     deno run -A benches/soak_bench.ts [--reloads 500] [--upgrades 50] [--kills 50] [--workers 1,4]
 */
import { parseArgs } from "@std/cli";
import { isAllOk, type LoadReport, rowsOf, runLoad, sampleLinesOf } from "../tests/load/client.ts";
import { sleep } from "../tests/load/wait.ts";
import { countSockets, isWorker } from "../tests/harness/process.ts";
import { countOf, holdingOf, print, printTable } from "./figures.ts";
import { HoldfastProcess } from "./holdfast_process.ts";
import { RELOAD_SPACING_MS } from "../lib/supervisor/operation_queue.ts";

const CLIENTS = 2;
/** Only a hang makes it matter. */
const MAX_LOAD_MS = 4 * 3_600_000;

const args = parseArgs(Deno.args, {
  string: ["reloads", "upgrades", "kills", "workers"],
  default: { reloads: "500", upgrades: "50", kills: "50", workers: "1,4" },
});
const reloads = countOf(args.reloads, "reloads");
const upgrades = countOf(args.upgrades, "upgrades");
const kills = countOf(args.kills, "kills");

let verdict: "as it should be" | "lost" = "as it should be";
for (const workers of String(args.workers).split(",").map((text) => countOf(text, "workers"))) {
  await using holdfast = await HoldfastProcess.start({
    // What a draining generation holds while the next ones come.
    config: { workers, limits: { descriptors: 1_024 } },
  });
  print(`\n${workers} workers: ${reloads} reloads and ${upgrades} upgrades under load`);
  const { pid } = holdfast;
  const steady = await under(holdfast, () => renew(holdfast));
  if (!isAllOk(steady)) verdict = "lost";

  print(`\n${workers} workers: ${kills} kills under load`);
  let inFlight = 0;
  const killed = await under(holdfast, async () => inFlight = await kill(holdfast));
  const { refused, lost, raced, bad, unaccounted } = killed.total;
  print(`${inFlight} connections were open on the workers that were killed`);
  if (refused + bad + unaccounted > 0 || lost + raced > inFlight) verdict = "lost";

  const status = await holdfast.stop();
  print(`Exit status after TERM: ${status}; process ${pid} all the time: ${pid === holdfast.pid}`);
  for (const reason of holdfast.unanswered) print(`A fresh connection went unanswered: ${reason}`);
  if (status !== 0) verdict = "lost";
}
print(`\nAll in all: ${verdict}`);
Deno.exit(verdict === "lost" ? 1 : 0);

/** Loads while `work` is done. */
async function under(holdfast: HoldfastProcess, work: () => Promise<unknown>): Promise<LoadReport> {
  const enough = new AbortController();
  const loading = runLoad({
    target: holdfast.target,
    durationMs: MAX_LOAD_MS,
    clients: CLIENTS,
    signal: enough.signal,
  });
  loading.catch(() => {}); // it is awaited below; until then its failure must not end the process
  try {
    await work();
  } finally {
    enough.abort();
    await loading;
  }
  const report = await loading;
  printTable(rowsOf(report));
  for (const line of sampleLinesOf(report)) print(line);
  return report;
}

/** Reloads, with upgrades in between, and prints what the supervisor holds. */
async function renew(holdfast: HoldfastProcess): Promise<void> {
  const every = Math.max(1, Math.round(reloads / upgrades));
  const held: { after: string; "resident MiB": string; descriptors: number }[] = [];
  for (let count = 1, upgraded = 0; count <= reloads; count++) {
    await sleep(RELOAD_SPACING_MS);
    await holdfast.writeGeneration(`reload_${count}`);
    holdfast.hangUp();
    await holdfast.waitForGeneration(`reload_${count}`);
    if (count % every === 0 && upgraded < upgrades) {
      await holdfast.writeGeneration(`upgrade_${++upgraded}`);
      Deno.kill(holdfast.pid, "SIGUSR2");
      await holdfast.waitForGeneration(`upgrade_${upgraded}`);
    }
    if (count % Math.ceil(reloads / 8) === 0 || count === reloads) {
      held.push({ after: `${count} reloads, ${upgraded} upgrades`, ...holdingOf(holdfast.pid) });
    }
  }
  printTable(held);
}

/**
 * Kills a worker by chance, again and again, each after the one before was replaced.
 *
 * @returns how many connections were open on those that were killed
 */
async function kill(holdfast: HoldfastProcess): Promise<number> {
  let open = 0;
  for (let count = 1; count <= kills; count++) {
    // A new generation each time: what died before is no reason to wait.
    await sleep(RELOAD_SPACING_MS);
    await holdfast.writeGeneration(`kill_${count}`);
    holdfast.hangUp();
    await holdfast.waitForGeneration(`kill_${count}`);
    const workers = holdfast.processes().filter(({ pid }) => isWorker(pid));
    const victim = workers[Math.floor(Math.random() * workers.length)];
    if (victim === undefined) continue;
    open += countSockets(victim.pid);
    Deno.kill(victim.pid, "SIGKILL");
  }
  return open;
}
