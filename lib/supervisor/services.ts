/** The processes beside the workers: the loggers, and the metrics process. */
import { join } from "node:path";
import { logToFiles } from "../base/log.ts";
import type { Config } from "../config/config.ts";
import type { Answer, Status } from "../protocol/control.ts";
import { ENTRIES } from "../planner/programs.ts";
import { logCompartment } from "../sandbox/log_compartment.ts";
import { metricsCompartment } from "../sandbox/metrics_compartment.ts";
import { namesOf, resolverCompartment } from "../sandbox/resolver_compartment.ts";
import { bestEffort } from "./best_effort.ts";
import { describeProcess } from "./describe.ts";
import type { Generation } from "./generation.ts";
import type { Launches, Planned } from "./launches.ts";
import type { ListenerChange, ListenerTable } from "./listener_table.ts";
import { LogService } from "./log_service.ts";
import { MetricsService } from "./metrics_service.ts";
import { names } from "./names.ts";
import { ResolverService } from "./resolver_service.ts";
import type { System } from "./system.ts";

export interface ServicesOptions {
  readonly system: System;
  readonly launches: Launches;
  readonly listeners: ListenerTable;
  /** What the metrics process is told. */
  readonly status: () => Status;
}

export class Services {
  readonly #options: ServicesOptions;
  #logs: LogService | undefined;
  /** With those that only draining generations still use. */
  readonly #logServices = new Set<LogService>();
  #metrics: MetricsService | undefined;
  #resolver: ResolverService | undefined;

  constructor(options: ServicesOptions) {
    this.#options = options;
  }

  /** The logger of the incumbent. */
  get logs(): LogService | undefined {
    return this.#logs;
  }

  /** The logger of a config: the one that runs, if the config asks for no other. */
  async logsFor(
    config: Config,
    generation: number,
    signal: AbortSignal,
  ): Promise<LogService | undefined> {
    const { system, launches } = this.#options;
    const { folder } = config.log;
    if (folder === undefined) return undefined;
    const { access, rotateBytes, rotateHours, keep, compress } = config.log;
    const log = { folder, access, rotateBytes, rotateHours, keep, compress };
    const { holdfast, logger: bundle, spawner: program } = await launches.programsOf(config);
    const compartment = logCompartment(config, folder, join(holdfast, ENTRIES.logger));
    const planned: Planned = { who: "logger", compartment, bundle };
    const plan = launches.planOf(config, planned, log);
    if (this.#logs?.plan === plan) {
      if (!this.#logs.fits) await this.#logs.renew();
      return this.#logs;
    }
    const spawner = system.startSpawner(program);
    let service: LogService;
    try {
      service = new LogService({
        ...await launches.prepareOwn(config, planned, spawner, generation),
        ...{ log, config, plan },
      });
    } catch (error) {
      bestEffort("close the spawner", () => spawner.close());
      throw error;
    }
    await service.start(signal);
    this.#logServices.add(service);
    return service;
  }

  /** The metrics process of a config: the one that runs, if the config asks for no other. */
  async metricsFor(
    config: Config,
    change: ListenerChange,
    generation: number,
    signal: AbortSignal,
  ): Promise<MetricsService | undefined> {
    const { system, launches, listeners, status } = this.#options;
    const { metrics } = config;
    if (metrics === undefined) return undefined;
    const { holdfast, metrics: bundle, spawner: program } = await launches.programsOf(config);
    const compartment = metricsCompartment(config, metrics.listen, join(holdfast, ENTRIES.metrics));
    const { text } = metrics.listen;
    const planned: Planned = { who: "metrics", compartment, bundle };
    const plan = launches.planOf(config, planned, text);
    // The one that runs may have it, or the program before this one in the same process.
    const listener = await listeners.acquire(metrics.listen, "metrics", change);
    if (this.#metrics?.plan === plan && this.#metrics.listener === listener) return this.#metrics;
    const spawner = system.startSpawner(program);
    let service: MetricsService | undefined;
    try {
      service = new MetricsService({
        ...await launches.prepareOwn(config, planned, spawner, generation),
        ...{ config, listener, plan },
        status,
      });
      await service.start(signal);
      return service;
    } catch (error) {
      if (!service) bestEffort("close the spawner", () => spawner.close());
      throw error;
    }
  }

  /**
   * Sees to it that the names of a config are looked up: by the resolver that runs, if it knows them all.
   * What other generations dial is looked up by the same one.
   */
  async resolveFor(config: Config, generation: number, signal: AbortSignal): Promise<void> {
    const { system, launches } = this.#options;
    if (config.wall === "deno") return;
    const dialled = [...new Set([...namesOf(config), ...names.all])].sort();
    if (dialled.length === 0) return;
    const { holdfast, resolver: bundle, spawner: program } = await launches.programsOf(config);
    const module = join(holdfast, ENTRIES.resolver);
    const compartment = resolverCompartment(config, dialled, module);
    const planned: Planned = { who: "resolver", compartment, bundle };
    const plan = launches.planOf(config, planned, null);
    if (this.#resolver?.plan !== plan) {
      const spawner = system.startSpawner(program);
      let service: ResolverService;
      try {
        const spawning = await launches.prepareOwn(config, planned, spawner, generation);
        service = new ResolverService({ ...spawning, config, plan });
      } catch (error) {
        bestEffort("close the spawner", () => spawner.close());
        throw error;
      }
      await service.start(signal);
      void this.#resolver?.close();
      this.#resolver = service;
      names.setSource((name) => service.resolve(name));
    }
    names.prepare(dialled);
  }

  /** Takes those of the incumbent's config into use; what it does not need ends. */
  keep(logs: LogService | undefined, metrics: MetricsService | undefined): void {
    this.#logs = logs;
    logToFiles(logs && ((line) => logs.write(line)));
    if (metrics !== this.#metrics) void this.#metrics?.close();
    this.#metrics = metrics;
  }

  /** Ends what was brought up for a candidate that has failed. */
  async abandon(
    metrics: MetricsService | undefined,
    generations: readonly Generation[],
  ): Promise<void> {
    if (metrics !== this.#metrics) await metrics?.close();
    await this.endUnused(generations);
  }

  /** Has the log files opened anew; where the folder is another one, by a logger whose wall has that. */
  async reopen(config: Config | undefined): Promise<Answer> {
    const { system, launches } = this.#options;
    const logs = this.#logs;
    if (!logs || !config) return { type: "refused", reason: "the config has no log.folder" };
    if (logs.fits) logs.reopen();
    else {
      const { spawner } = await launches.programsOf();
      await system.makeFolders({ ...config, unveil: [], helpers: [] }, launches.accounts, spawner);
      await logs.renew();
    }
    return { type: "reopened" };
  }

  /** Ends each logger that no generation writes to any more, and the resolver that none needs. */
  async endUnused(generations: readonly Generation[]): Promise<void> {
    const resolves = generations.some(({ config }) =>
      config.wall === "kernel" && namesOf(config).length > 0
    );
    if (!resolves) await this.#endResolver();
    const used = new Set([this.#logs, ...generations.map(({ logs }) => logs)]);
    for (const service of [...this.#logServices]) {
      if (used.has(service)) continue;
      this.#logServices.delete(service);
      await service.close();
    }
  }

  /** Ends the metrics process. */
  async endMetrics(): Promise<void> {
    await this.#metrics?.close();
    this.#metrics = undefined;
  }

  async #endResolver(): Promise<void> {
    names.setSource(undefined);
    const resolver = this.#resolver;
    this.#resolver = undefined;
    await resolver?.close();
  }

  /** Ends every logger; what is logged after this goes to stderr alone. */
  async endLogs(): Promise<void> {
    logToFiles(undefined);
    this.#logs = undefined;
    await this.endUnused([]);
  }

  /** What `holdfast status` shows of them. */
  describe(): Pick<Status, "logger" | "metrics" | "resolver"> {
    const [logs, metrics, resolver] = [this.#logs, this.#metrics, this.#resolver];
    return {
      resolver: resolver
        ? { replacements: resolver.replacements, process: describeProcess(resolver.process) }
        : null,
      logger: logs
        ? {
          folder: logs.log.folder,
          dropped: logs.dropped,
          replacements: logs.replacements,
          ...logs.trouble !== undefined && { trouble: logs.trouble },
          process: describeProcess(logs.process),
        }
        : null,
      metrics: metrics
        ? {
          listen: metrics.listen,
          replacements: metrics.replacements,
          process: describeProcess(metrics.process),
        }
        : null,
    };
  }
}
