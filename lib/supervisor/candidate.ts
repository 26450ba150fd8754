/** Candidates: a whole generation is brought up beside the incumbent, which nothing here changes. */
import { log } from "../base/log.ts";
import type { Config } from "../config/config.ts";
import { bestEffort } from "./best_effort.ts";
import { GenerationCode } from "./generation_code.ts";
import { Generation } from "./generation.ts";
import type { Generations } from "./generations.ts";
import type { Launches, Planned } from "./launches.ts";
import type { Listener } from "./listener.ts";
import type { ListenerChange, ListenerTable } from "./listener_table.ts";
import type { LogService } from "./log_service.ts";
import type { MetricsService } from "./metrics_service.ts";
import { requireOutOfReach } from "./out_of_reach.ts";
import { knownConfig, type PlannedConfig, type ReadConfig } from "./read_config.ts";
import { PLAN_DEADLINE_MS } from "./run_planner.ts";
import type { RuntimeKeeper } from "./runtime_keeper.ts";
import type { Services } from "./services.ts";
import type { Spawner } from "./spawner.ts";
import type { System } from "./system.ts";

export interface CandidatesOptions {
  readonly system: System;
  readonly generations: Generations;
  readonly launches: Launches;
  readonly listeners: ListenerTable;
  readonly runtime: RuntimeKeeper;
  readonly services: Services;
  /** Gives up a candidate when it aborts. */
  readonly signal: AbortSignal;
  /** Told how long bringing one up may take. */
  readonly extendTimeout: (ms: number) => void;
}

/** A generation that accepts connections, and all that is to be kept with it. */
export interface Candidate {
  readonly generation: Generation;
  readonly change: ListenerChange;
  readonly logs: LogService | undefined;
  readonly metrics: MetricsService | undefined;
  /** The folder of the Holdfast that brought its programs. */
  readonly brought: string;
}

/** How many processes a generation of a config has; the first one has a worker at least. */
function countProcesses(config?: Config): number {
  if (config === undefined) return 1;
  return config.helpers.reduce((sum, { instances }) => sum + instances, config.workers);
}

export class Candidates {
  readonly #options: CandidatesOptions;

  constructor(options: CandidatesOptions) {
    this.#options = options;
  }

  /**
   * Brings up a generation of a config. Everything that can fail is here; what fails leaves nothing
   * behind.
   *
   * @param what a config that is planned first, or what was planned before and is brought back
   */
  async bringUp(what: ReadConfig | PlannedConfig): Promise<Candidate> {
    const { listeners: table, extendTimeout, ...options } = this.#options;
    const { system, generations, launches, runtime, services, signal } = options;
    extendTimeout(PLAN_DEADLINE_MS);
    const change: ListenerChange = new Map();
    const spawners: Spawner[] = [];
    // Of one that fails before it starts the next one has the number.
    const number = generations.last + 1;
    let candidate: Generation | undefined;
    let logs: LogService | undefined;
    let metrics: MetricsService | undefined;
    let brought = "";
    try {
      const { spawner } = await launches.programsOf();
      const startSpawners = (count: number) => {
        while (spawners.length < count) spawners.push(system.startSpawner(spawner));
      };
      // Their threads start while it is planned; most of the time it is as many as before.
      startSpawners(countProcesses("config" in what ? what.config : generations.incumbent?.config));
      const { config: meant, code: made } = "code" in what
        ? what
        : await launches.plan(what, await runtime.codeFolder(what));
      const config = table.resolve(meant);
      requireOutOfReach(config, [runtime.folder, config.runtime]);
      extendTimeout(PLAN_DEADLINE_MS + config.reload.readyDeadlineMs);
      const { holdfast, ...bundles } = await launches.programsOf(config);
      brought = holdfast;
      const instances = config.helpers.flatMap((helper) =>
        Array.from({ length: helper.instances }, (_, instance) => ({ helper, instance }))
      );
      startSpawners(countProcesses(config));
      for (const spare of spawners.splice(countProcesses(config))) {
        bestEffort("close the spawner", () => spare.close());
      }
      // It takes its time, and nothing of the project has a part in it.
      const resolving = services.resolveFor(config, number, signal);
      resolving.catch(() => {});
      const again = async () => {
        const known = knownConfig(meant);
        return (await launches.plan(known, await runtime.codeFolder(known))).code;
      };
      const code = new GenerationCode(made, again);
      await system.makeFolders(config, launches.accounts, spawner);
      logs = await services.logsFor(config, number, signal);
      metrics = await services.metricsFor(config, change, number, signal);
      this.#warnOfMissingWall(config);
      const worker: Planned = { who: "worker", compartment: config, bundle: bundles.worker };
      const planned: Planned[] = [
        ...Array.from({ length: config.workers }, () => worker),
        ...instances.map(({ helper }): Planned => ({
          who: `helper ${helper.name}`,
          compartment: helper,
          bundle: bundles.helper,
        })),
      ];
      const spawnings = await Promise.all(
        planned.map((each, index) =>
          launches.prepareSpawning(config, each, spawners[index]!, number, code)
        ),
      );
      const helpers = spawnings.slice(config.workers);
      const listeners: Listener[] = [];
      for (const address of config.listen) {
        listeners.push(await table.acquire(address, "app", change));
      }
      await resolving;
      candidate = new Generation({
        number,
        config,
        code,
        listeners,
        logs,
        workers: spawnings.slice(0, config.workers),
        helpers: instances.map((each, index) => ({ ...each, ...helpers[index]! })),
        nextWorker: launches.nextWorker,
      });
      generations.add(candidate);
      await candidate.start(signal);
    } catch (error) {
      if (candidate) generations.remove(candidate);
      else for (const spawner of spawners) bestEffort("close the spawner", () => spawner.close());
      table.abandon(change);
      await services.abandon(metrics, generations.all);
      throw error;
    }
    return { generation: candidate, change, logs, metrics, brought };
  }

  #warnOfMissingWall({ wall }: Config): void {
    if (wall === "kernel") return;
    log.warn("wall_is_deno_only", {
      missing: ["landlock", "seccomp", "limits"],
      hint: "Native code in a worker is not held back",
    });
  }
}
