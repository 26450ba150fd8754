/** Candidates: a whole generation is brought up beside the incumbent, which nothing here changes. */
import { dirname } from "node:path";
import { log } from "../base/log.ts";
import type { Config } from "../config/config.ts";
import { realRuntime } from "../config/runtime_place.ts";
import type { Code } from "../sandbox/process_code.ts";
import { bestEffort } from "./best_effort.ts";
import { GenerationCode } from "./generation_code.ts";
import { Generation } from "./generation.ts";
import type { Generations } from "./generations.ts";
import type { Launches, Planned } from "./launches.ts";
import type { Listener } from "./listener.ts";
import type { ListenerChange, ListenerTable } from "./listener_table.ts";
import type { LogService } from "./log_service.ts";
import type { MetricsService } from "./metrics_service.ts";
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

export class Candidates {
  readonly #options: CandidatesOptions;

  constructor(options: CandidatesOptions) {
    this.#options = options;
  }

  /**
   * Brings up a generation of a config. Everything that can fail is here; what fails leaves nothing
   * behind.
   *
   * @param earlier code that is brought back, in place of what the project has now
   */
  async bringUp(config: Config, earlier?: Code): Promise<Candidate> {
    const { listeners: table, extendTimeout, ...options } = this.#options;
    const { system, generations, launches, services, signal } = options;
    extendTimeout(PLAN_DEADLINE_MS + config.reload.readyDeadlineMs);
    const change: ListenerChange = new Map();
    const instances = config.helpers.flatMap((helper) =>
      Array.from({ length: helper.instances }, (_, instance) => ({ helper, instance }))
    );
    const spawners: Spawner[] = [];
    // Of one that fails before it starts the next one has the number.
    const number = generations.last + 1;
    let candidate: Generation | undefined;
    let logs: LogService | undefined;
    let metrics: MetricsService | undefined;
    let brought = "";
    try {
      const { holdfast, spawner, ...bundles } = await launches.programsOf(config);
      brought = holdfast;
      // Their threads start while the modules are looked at; both take their time.
      for (let left = config.workers + instances.length; left > 0; left--) {
        spawners.push(system.startSpawner(spawner));
      }
      const plan = async () => await launches.plan(config, await this.#codeFolder(config));
      const code = new GenerationCode(earlier ?? await plan(), plan);
      const gid = launches.accounts.groupOf(config);
      if (gid !== undefined && code.folder !== undefined) {
        await system.makePrivateFolder(dirname(dirname(code.folder)), gid);
      }
      await system.makeFolders(config, launches.accounts);
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

  /** Where a generation keeps its code: with its release, where each has a runtime folder of its own. */
  async #codeFolder(config: Config): Promise<string> {
    const { system, runtime, launches } = this.#options;
    const folder = realRuntime(config);
    try {
      // One that is in use may be open to workers of before.
      const gid = folder === runtime.folder
        ? config.account?.gid
        : launches.accounts.groupOf(config);
      if (folder !== runtime.folder || gid !== undefined) {
        await system.makePrivateFolder(folder, gid);
      }
      return folder;
    } catch (error) {
      if (folder === runtime.folder) throw error;
      return runtime.folder;
    }
  }

  #warnOfMissingWall({ wall }: Config): void {
    if (wall === "kernel") return;
    log.warn("wall_is_deno_only", {
      missing: ["landlock", "seccomp", "limits"],
      hint: "Native code in a worker is not held back",
    });
  }
}
