/**
 * The soak of soak_bench.ts on two hosts behind HAProxy, which checks their health: reloads and
 * upgrades of one host after the other under every kind of load, and then workers that are killed.
 * Prints what became of each request, and what the supervisors hold; exit status 1 if a reload or an
 * upgrade lost one, or if the kills lost more than was open on the killed workers. Wants root, haproxy,
 * iproute2 and curl; the hosts are network namespaces, which are gone at the end.
 *
 *     deno run -A benches/balancer_soak_bench.ts [--reloads 500] [--upgrades 50] [--kills 50] [--workers 1]
 */
import { parseArgs } from "@std/cli";
import { Scene, type Site } from "../tests/harness/balanced_hosts.ts";
import { countSockets, isWorker, processesIn } from "../tests/harness/process.ts";
import {
  isAllOk,
  type LoadReport,
  MODE_NAMES,
  rowsOf,
  sampleLinesOf,
} from "../tests/load/client.ts";
import { countOf, holdingOf, medianOf, print, printTable } from "./figures.ts";

const POINTS = 8;

const args = parseArgs(Deno.args, {
  string: ["reloads", "upgrades", "kills", "workers"],
  default: { reloads: "500", upgrades: "50", kills: "50", workers: "1" },
});
const reloads = countOf(args.reloads, "reloads");
const upgrades = countOf(args.upgrades, "upgrades");
const kills = countOf(args.kills, "kills");
const workers = countOf(args.workers, "workers");

/** How long each kind of step takes, and what both supervisors hold at some points of the way. */
class Account {
  readonly #scene: Scene;
  readonly #steps: number;
  readonly #held: Record<string, string | number>[] = [];
  readonly #tookMs = new Map<string, number[]>();

  constructor(scene: Scene, steps: number) {
    this.#scene = scene;
    this.#steps = steps;
  }

  async time(step: string, work: () => Promise<void>): Promise<void> {
    const startMs = performance.now();
    await work();
    const tookMs = this.#tookMs.get(step) ?? [];
    this.#tookMs.set(step, [...tookMs, performance.now() - startMs]);
  }

  /** Writes down what is held, if this step is one of the points. */
  note(step: number, after: string): void {
    if (step % Math.ceil(this.#steps / POINTS) !== 0 && step !== this.#steps) return;
    const [one, two] = this.#scene.sites.map(({ server }) => holdingOf(server.pid));
    this.#held.push({
      after,
      "one: resident MiB": one!["resident MiB"],
      "one: descriptors": one!.descriptors,
      "two: resident MiB": two!["resident MiB"],
      "two: descriptors": two!.descriptors,
    });
  }

  print(): void {
    printTable(this.#held);
    for (const [step, tookMs] of this.#tookMs) {
      print(`${step} took ${Math.round(medianOf(tookMs))} ms, the median of ${tookMs.length}`);
    }
  }
}

/** Ends the soak early; without it the hosts would outlive this process. */
const interrupted = Promise.withResolvers<never>();
interrupted.promise.catch(() => {}); // it is awaited only under load
for (const signal of ["SIGINT", "SIGTERM"] as const) {
  Deno.addSignalListener(signal, () => interrupted.reject(new Error(`Ended by ${signal}`)));
}

const verdict = await soak();
print(`\nAll in all: ${verdict}`);
Deno.exit(verdict === "lost" ? 1 : 0);

async function soak(): Promise<"as it should be" | "lost"> {
  let verdict: "as it should be" | "lost" = "as it should be";
  await using scene = await Scene.start({
    workers,
    // What a draining generation holds while the next ones come.
    limits: { descriptors: 1_024 },
    reload: { readyDeadlineMs: 20_000, maxDraining: 64 },
  });

  print(`${reloads} reloads and ${upgrades} upgrades of two hosts under load, ${workers} workers`);
  const steady = await under(scene, () => renew(scene));
  if (!isAllOk(steady)) verdict = "lost";

  print(`\n${kills} kills under load`);
  let inFlight = 0;
  const { total, samples } = await under(scene, async () => inFlight = await kill(scene));
  print(`${inFlight} connections were open on the workers that were killed`);
  // HAProxy answers for a worker that died with a request which it may not send again.
  const isBroken = samples.some((each) => each.outcome === "bad" && each.reason !== "status 502");
  const { refused, unaccounted, lost, raced, bad } = total;
  if (isBroken || refused + unaccounted > 0 || lost + raced + bad > inFlight) verdict = "lost";

  const downs = scene.balancer.log.match(/^Server \S+ is DOWN/gm)?.length ?? 0;
  print(`HAProxy took a host for gone ${downs} times`);
  for (const site of scene.sites) await site.stop();
  return verdict;
}

/** Loads through HAProxy in every mode while `work` is done, and prints the account. */
async function under(scene: Scene, work: () => Promise<unknown>): Promise<LoadReport> {
  const report = await scene.loadWhile(MODE_NAMES, async () => {
    await Promise.race([work(), interrupted.promise]);
  });
  printTable(rowsOf(report));
  for (const line of sampleLinesOf(report)) print(line);
  return report;
}

/** Reloads, with upgrades in between, each of the host whose turn it is. */
async function renew(scene: Scene): Promise<void> {
  const every = Math.max(1, Math.round(reloads / upgrades));
  const account = new Account(scene, reloads);
  for (let count = 1, upgraded = 0; count <= reloads; count++) {
    const site = scene.sites[count % 2]!;
    await account.time("a reload", async () => {
      await site.reload();
      await site.answers();
    });
    if (count % every === 0 && upgraded < upgrades) {
      const other = scene.sites[++upgraded % 2]!;
      await account.time("an upgrade", async () => {
        await other.upgrade();
        await other.answers();
      });
    }
    account.note(count, `${count} reloads, ${upgraded} upgrades`);
  }
  account.print();
}

/**
 * Kills a worker by chance, again and again, on the host whose turn it is.
 *
 * @returns how many connections were open on those that were killed
 */
async function kill(scene: Scene): Promise<number> {
  const account = new Account(scene, kills);
  let open = 0;
  for (let count = 1; count <= kills; count++) {
    const site = scene.sites[count % 2]!;
    await account.time("a reload and a kill", async () => {
      // A new generation each time: what died before is no reason to wait.
      await site.reload();
      await site.answers();
      open += killOne(site);
    });
    account.note(count, `${count} kills`);
  }
  account.print();
  return open;
}

function killOne(site: Site): number {
  const workers = processesIn(site.server.project.folder).filter(isWorker);
  const victim = workers[Math.floor(Math.random() * workers.length)];
  if (victim === undefined) throw new Error(`No worker to kill in ${site.server.project.folder}`);
  const open = countSockets(victim);
  Deno.kill(victim, "SIGKILL");
  return open;
}
