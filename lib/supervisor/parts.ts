/** The parts of a supervisor: put together, opened and closed. What happens between is in supervisor.ts. */
import { HoldfastError } from "../base/error.ts";
import type { Config } from "../config/config.ts";
import type { Status } from "../protocol/control.ts";
import { Candidates } from "./candidate.ts";
import type { ControlHandlers } from "./control_server.ts";
import { InheritedProcesses } from "./inherited_processes.ts";
import { Generations } from "./generations.ts";
import { History } from "./history.ts";
import { Images } from "./images.ts";
import { Launches } from "./launches.ts";
import type { Inheritance } from "./inheritance.ts";
import { ListenerTable } from "./listener_table.ts";
import type { OperationQueue } from "./operation_queue.ts";
import { names } from "./names.ts";
import { isWalled, type ReadConfig } from "./read_config.ts";
import { RuntimeKeeper } from "./runtime_keeper.ts";
import type { ServiceManager } from "./service_manager.ts";
import { Services } from "./services.ts";
import type { System } from "./system.ts";
import { Troubles } from "./troubles.ts";
import type { Estate } from "./upgrade.ts";

/** Of a config in which no runtime folder can be found: a process that may only read says why. */
export const CONFIG_UNCLEAR = "config_unclear";

function unclear(file: string): HoldfastError {
  return new HoldfastError(`No runtime folder can be found in ${file}`, {
    kind: "config",
    code: CONFIG_UNCLEAR,
    hint: `holdfast check --config ${file}`,
  });
}

export interface PartsOptions {
  /** The config's path, as it was given. */
  readonly file: string;
  readonly system: System;
  readonly operations: Pick<OperationQueue<never>, "signal" | "state" | "reload">;
  readonly handlers: ControlHandlers;
  /** What the metrics process is told. */
  readonly status: () => Status;
  /** Takes a new certificate into use. */
  readonly renew: () => Promise<boolean>;
}

export class Parts {
  readonly file: string;
  readonly operations: PartsOptions["operations"];
  readonly system: System;
  readonly startedMs = performance.now();
  readonly history = new History();
  readonly troubles = new Troubles();
  readonly generations: Generations;
  readonly runtime: RuntimeKeeper;
  readonly listeners: ListenerTable;
  readonly launches: Launches;
  readonly services: Services;
  readonly candidates: Candidates;
  readonly images: Images;
  /** How many connections waited on each listener of the app at the last check. */
  waiting: Record<string, number> = {};
  manager: ServiceManager | undefined;
  /** The processes of the program before this one. */
  former: InheritedProcesses | undefined;

  constructor({ file, system, operations, handlers, status, renew }: PartsOptions) {
    const { signal } = operations;
    const { troubles } = this;
    const generations: Generations = new Generations(async () => {
      this.images.prune();
      await this.services.endUnused(generations.all);
    });
    const runtime = new RuntimeKeeper({
      ...{ system, file, troubles, signal, handlers },
      config: () => generations.incumbent?.config,
      group: () => {
        const config = generations.incumbent?.config;
        return config && this.launches.accounts.groupOf(config);
      },
    });
    const listeners = new ListenerTable((address) =>
      runtime.record.orphans.bind(() => system.bindListener(address), signal)
    );
    const launches = new Launches(system, runtime, signal);
    const services = new Services({ system, launches, listeners, status, renew });
    this.images = new Images({
      ...{ system, runtime, generations },
      inherited: () => (this.former?.pids.length ?? 0) > 0,
    });
    this.system = system;
    this.file = file;
    this.operations = operations;
    this.generations = generations;
    this.runtime = runtime;
    this.listeners = listeners;
    this.launches = launches;
    this.services = services;
    this.candidates = new Candidates({
      ...{ system, generations, launches, listeners, runtime, services, signal },
      extendTimeout: (ms) => this.manager?.extendTimeout(ms),
    });
  }

  /**
   * Takes the lock, takes over what was left, and gives up what is not needed from then on.
   *
   * @param inheritance what the supervisor before this one in the same process left
   * @returns the config, as it is read
   * @throws {HoldfastError} if anything fails
   */
  async open(inheritance: Inheritance | undefined): Promise<ReadConfig> {
    this.system.closeIn();
    if (inheritance) this.#takeOver(inheritance);
    this.manager = this.system.openServiceManager(inheritance?.service);
    this.listeners.open(this.manager, inheritance?.listeners);
    const read = await this.system.readConfig(this.file);
    if (!inheritance && read.certain === false) throw unclear(this.file);
    // The lock first: a second supervisor must learn that it is one before it does anything else.
    await this.runtime.open(read);
    await this.launches.programsOf(undefined, isWalled(read) ? "kernel" : "deno");
    await this.runtime.openControl(inheritance?.control);
    this.system.giveUpPermissions();
    this.images.open();
    // What is rehearsed is to take the place of another generation, and judged as that.
    if (this.system.rehearses) this.generations.last = 1;
    return read;
  }

  /**
   * Removes temporary folders that nobody uses, with the wall of a config. Which are those of processes
   * that another supervisor has started is not known.
   */
  sweep(config: Config): void {
    const { orphans } = this.runtime.record;
    const others = (this.former?.pids.length ?? 0) + orphans.living.length;
    if (!this.system.ownsImages || others > 0) return;
    this.launches.temporary.sweep(this.runtime.folder, config);
  }

  #takeOver(inheritance: Inheritance): void {
    this.runtime.adopt(inheritance);
    names.adopt(inheritance.names);
    this.former = new InheritedProcesses(inheritance);
    this.generations.last = inheritance.lastGeneration;
    this.launches.lastWorker = inheritance.lastWorker;
    this.history.upgrades = inheritance.upgrades;
  }

  /** What the supervisor that takes this one's place in the same process is to have. */
  handOver(): Estate {
    const { listeners, ...service } = this.listeners.handOver();
    return {
      ...this.runtime.handOver(),
      listeners,
      service: this.manager && { ...this.manager.handOver(), ...service },
      drainMs: this.generations.incumbent!.config.reload.drainDeadlineMs,
      lastGeneration: this.generations.last,
      lastWorker: this.launches.lastWorker,
      upgrades: this.history.upgrades + 1,
    };
  }

  /** The number of the incumbent. */
  get generation(): number | undefined {
    return this.generations.incumbent?.number;
  }

  /** What the newest generation makes the state. */
  get health(): Exclude<Status["state"], "stopping"> {
    const { incumbent } = this.generations;
    if (incumbent === undefined) return this.former ? "upgrading" : "starting";
    return incumbent.failing ? "failing" : "serving";
  }

  /** Lets go of everything that is no process. */
  async close(): Promise<void> {
    await this.runtime.settled;
    if (this.system.ownsImages) await this.launches.temporary.close(this.runtime.folder);
    this.images.close();
    this.listeners.close();
    this.runtime.close();
    this.manager?.close();
    this.manager = undefined;
  }
}
