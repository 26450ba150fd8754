/** Candidates: a whole generation is brought up beside the incumbent, which nothing here changes. */
import { log } from "../base/log.ts";
import type { Config, HelperConfig } from "../config/config.ts";
import type { OwnPrograms } from "../planner/programs.ts";
import type { Code } from "../sandbox/process_code.ts";
import { bestEffort } from "./best_effort.ts";
import { EarlySpawners } from "./early_spawner.ts";
import { GenerationCode } from "./generation_code.ts";
import { Generation } from "./generation.ts";
import type { Generations } from "./generations.ts";
import type { Launches, Planned } from "./launches.ts";
import type { Listener } from "./listener.ts";
import type { ListenerChange, ListenerTable } from "./listener_table.ts";
import { requireOutOfReach } from "./out_of_reach.ts";
import { knownConfig, type PlannedConfig, type ReadConfig } from "./read_config.ts";
import { PLAN_DEADLINE_MS } from "./run_planner.ts";
import type { RuntimeKeeper } from "./runtime_keeper.ts";
import type { OwnServices, Services } from "./services.ts";
import type { Spawner } from "./spawner.ts";
import type { System } from "./system.ts";
import { readTlsFiles } from "./tls_files.ts";

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
  readonly own: OwnServices;
  /** The folder of the Holdfast that brought its programs. */
  readonly brought: string;
}

/** How many processes are started ahead: the planner has work for one processor. */
const MAX_EARLY = Math.max(1, navigator.hardwareConcurrency - 1);

/** The instances of a config's helpers. */
function instancesOf({ helpers }: Config): { helper: HelperConfig; instance: number }[] {
  return helpers.flatMap((helper) =>
    Array.from({ length: helper.instances }, (_, instance) => ({ helper, instance }))
  );
}

/** The processes of a config: its workers, then its helpers. */
function plannedOf(config: Config, bundles: Pick<OwnPrograms, "worker" | "helper">): Planned[] {
  const worker: Planned = { who: "worker", compartment: config, bundle: bundles.worker };
  return [
    ...Array.from({ length: config.workers }, () => worker),
    ...instancesOf(config).map(({ helper }): Planned => ({
      who: `helper ${helper.name}`,
      compartment: helper,
      bundle: bundles.helper,
    })),
  ];
}

function closeAll(spawners: readonly Spawner[]): void {
  for (const spawner of spawners) bestEffort("close the spawner", () => spawner.close());
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
   * @param mayWiden whether it may grant more than what serves
   */
  async bringUp(what: ReadConfig | PlannedConfig, mayWiden = false): Promise<Candidate> {
    const { listeners: table, extendTimeout, ...options } = this.#options;
    const { system, generations, launches, runtime, services, signal } = options;
    extendTimeout(PLAN_DEADLINE_MS);
    const change: ListenerChange = new Map();
    /** Those that no slot has yet, and of them those that are for nothing yet. */
    const spawners: Spawner[] = [];
    const idle: Spawner[] = [];
    const early = new EarlySpawners();
    // Of one that fails before it starts the next one has the number.
    const number = generations.last + 1;
    let candidate: Generation | undefined;
    const own: OwnServices = {};
    let brought = "";
    try {
      const { incumbent } = generations;
      const known = await launches.programsOf(incumbent?.config);
      const { spawner } = await launches.programsOf();
      // Most of the time what is planned differs in the app's modules alone. The planner comes first: it
      // has the longest way.
      const ahead = () => {
        const all = incumbent === undefined ? [] : plannedOf(incumbent.config, known);
        const started = early.start(
          all.slice(0, MAX_EARLY).flatMap((each) =>
            launches.startEarly(incumbent!.config, each, number, incumbent!.code, known.spawner)
          ),
        );
        // The threads of the others take their time as well.
        while (idle.length < Math.max(1, all.length) - started) {
          idle.push(system.startSpawner(spawner));
        }
      };
      const { config: meant, code: made } = "code" in what
        ? what
        : await launches.plan(what, await runtime.codeFolder(what), {
          ...{ begun: ahead, mayWiden: mayWiden || number === 1 },
        });
      const config = table.resolve(meant);
      const keys = config.listen.flatMap(({ tls = [] }) => tls.map(({ key }) => key));
      requireOutOfReach(config, [runtime.folder, config.runtime, ...keys]);
      extendTimeout(PLAN_DEADLINE_MS + config.reload.readyDeadlineMs);
      const { holdfast, ...bundles } = await launches.programsOf(config);
      brought = holdfast;
      const instances = instancesOf(config);
      // It takes its time, and nothing of the project has a part in it.
      const asked = { config, generation: number, signal };
      const resolving = services.resolveFor(asked);
      resolving.catch(() => {});
      const code = new GenerationCode(made, this.#planAgain(meant));
      await system.makeFolders(config, launches.accounts, spawner);
      await services.bringUp(own, asked, change);
      // The acme process has seen to it that there is a certificate.
      await readTlsFiles(config, launches.accounts.of(config, "acme"), spawner);
      this.#warnOfMissingWall(config);
      const planned = plannedOf(config, bundles);
      const prepared = await Promise.all(
        planned.map((each) => launches.prepareSpawning(config, each, number, code)),
      );
      const spawnings = prepared.map(({ request, lend, next }, index) => {
        // What is lent to a process is not there before it.
        const begun = lend ? undefined : early.take(planned[index]!.who, request);
        const spawner = begun ?? idle.shift() ?? system.startSpawner(bundles.spawner);
        spawners.push(spawner);
        return { first: { spawner, request, lend }, next };
      });
      const left = early.endLeft();
      closeAll(idle.splice(0));
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
        logs: own.logs,
        workers: spawnings.slice(0, config.workers),
        helpers: instances.map((each, index) => ({ ...each, ...helpers[index]! })),
        nextWorker: launches.nextWorker,
      });
      generations.add(candidate);
      await candidate.start(signal);
      await left;
    } catch (error) {
      if (candidate) generations.remove(candidate);
      else closeAll(spawners);
      closeAll(idle);
      await early.end();
      table.abandon(change);
      await services.abandon(own, generations.all);
      throw error;
    }
    return { generation: candidate, change, own, brought };
  }

  /** Kept as long as the generation, and so it must hold nothing else of what was there when it came up. */
  #planAgain(config: Config): () => Promise<Code> {
    const { launches, runtime } = this.#options;
    return async () => {
      const known = knownConfig(config);
      return (await launches.plan(known, await runtime.codeFolder(known))).code;
    };
  }

  #warnOfMissingWall({ wall }: Config): void {
    if (wall === "kernel") return;
    log.warn("wall_is_deno_only", {
      missing: ["landlock", "seccomp", "limits"],
      hint: "Native code in a worker is not held back",
    });
  }
}
