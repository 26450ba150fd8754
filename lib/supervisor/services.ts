/** The processes beside the workers: the loggers, the metrics process, the resolver, the acme process. */
import { join } from "node:path";
import { logToFiles } from "../base/log.ts";
import { acmeFiles } from "../config/acme_place.ts";
import type { Config } from "../config/config.ts";
import type { Answer, Status } from "../protocol/control.ts";
import { ENTRIES } from "../planner/programs.ts";
import { acmeCompartment } from "../sandbox/acme_compartment.ts";
import { logCompartment } from "../sandbox/log_compartment.ts";
import { metricsCompartment } from "../sandbox/metrics_compartment.ts";
import { namesOf, resolverCompartment } from "../sandbox/resolver_compartment.ts";
import type { Walled } from "../sandbox/wall.ts";
import { acmeRole, AcmeService } from "./acme_service.ts";
import { bestEffort } from "./best_effort.ts";
import { describeProcess } from "./describe.ts";
import type { Generation } from "./generation.ts";
import type { Launches } from "./launches.ts";
import type { Listener } from "./listener.ts";
import type { ListenerChange, ListenerTable } from "./listener_table.ts";
import { LogService } from "./log_service.ts";
import { MetricsService } from "./metrics_service.ts";
import { names } from "./names.ts";
import type { OwnService, OwnServiceOptions } from "./own_service.ts";
import { ResolverService } from "./resolver_service.ts";
import type { System } from "./system.ts";

export interface ServicesOptions {
  readonly system: System;
  readonly launches: Launches;
  readonly listeners: ListenerTable;
  /** What the metrics process is told. */
  readonly status: () => Status;
  /** Takes a new certificate into use, if there is one; says whether there is. */
  readonly renew: () => Promise<boolean>;
}

/** What brings one up. */
interface Asked {
  readonly config: Config;
  readonly generation: number;
  readonly signal: AbortSignal;
}

/** Those that a generation has. */
export interface OwnServices {
  logs?: LogService | undefined;
  metrics?: MetricsService | undefined;
  acme?: AcmeService | undefined;
}

export class Services {
  readonly #options: ServicesOptions;
  /** Those of the incumbent. */
  #own: OwnServices = {};
  /** With those that only draining generations still use. */
  readonly #logServices = new Set<LogService>();
  #resolver: ResolverService | undefined;

  constructor(options: ServicesOptions) {
    this.#options = options;
  }

  /** The logger of the incumbent. */
  get logs(): LogService | undefined {
    return this.#own.logs;
  }

  /**
   * Brings up those of a config: each that runs stays, if the config asks for no other.
   *
   * @param own takes each when it is up
   */
  async bringUp(own: OwnServices, asked: Asked, change: ListenerChange): Promise<void> {
    own.logs = await this.#logsFor(asked);
    own.metrics = await this.#metricsFor(asked, change);
    own.acme = await this.#acmeFor(asked, change);
  }

  /** Brings one up, unless the one that runs is the same. */
  async #bring<Kind extends OwnService>(
    { config, generation, signal }: Asked,
    { who, compartmentOf, roleConfig, running, make }: {
      readonly who: "logger" | "metrics" | "resolver" | "acme";
      /** @param module its program, which Holdfast brings */
      readonly compartmentOf: (module: string) => Walled;
      readonly roleConfig: unknown;
      readonly running: Kind | undefined;
      readonly make: (options: OwnServiceOptions) => Kind;
    },
  ): Promise<Kind> {
    const { system, launches } = this.#options;
    const programs = await launches.programsOf(config);
    const compartment = compartmentOf(join(programs.holdfast, ENTRIES[who]));
    const planned = { who, compartment, bundle: programs[who] };
    const plan = launches.planOf(config, planned, roleConfig);
    if (running?.plan === plan) return running;
    const spawner = system.startSpawner(programs.spawner);
    let service: Kind;
    try {
      service = make({
        ...await launches.prepareOwn(config, planned, spawner, generation),
        ...{ config, plan },
      });
    } catch (error) {
      bestEffort("close the spawner", () => spawner.close());
      throw error;
    }
    await service.start(signal);
    return service;
  }

  async #logsFor(asked: Asked): Promise<LogService | undefined> {
    const { config } = asked;
    const { folder } = config.log;
    if (folder === undefined) return undefined;
    const { access, rotateBytes, rotateHours, keep, compress } = config.log;
    const log = { folder, access, rotateBytes, rotateHours, keep, compress };
    const running = this.logs;
    const service = await this.#bring(asked, {
      who: "logger",
      compartmentOf: (module) => logCompartment(config, folder, module),
      roleConfig: log,
      running,
      make: (options) => new LogService(options, log),
    });
    if (service === running && !service.fits) await service.renew();
    this.#logServices.add(service);
    return service;
  }

  async #metricsFor(asked: Asked, change: ListenerChange): Promise<MetricsService | undefined> {
    const { listeners, status } = this.#options;
    const { config } = asked;
    const { metrics } = config;
    if (metrics === undefined) return undefined;
    const { listen } = metrics;
    // The one that runs may have it, or the program before this one in the same process.
    const listener = await listeners.acquire(listen, "metrics", change);
    const running = this.#own.metrics;
    return await this.#bring(asked, {
      who: "metrics",
      compartmentOf: (module) => metricsCompartment(config, listen, module),
      roleConfig: listen.text,
      running: running?.listener === listener ? running : undefined,
      make: (options) => new MetricsService(options, listener, status),
    });
  }

  async #acmeFor(asked: Asked, change: ListenerChange): Promise<AcmeService | undefined> {
    const { config } = asked;
    const { acme } = config;
    if (acme === undefined) return undefined;
    const listeners: Listener[] = [];
    for (const each of acme.listen) {
      listeners.push(await this.#options.listeners.acquire(each, "acme", change));
    }
    const role = acmeRole({ ...config, acme }, acmeFiles(config.runtime).cert);
    const running = this.#own.acme;
    return await this.#bring(asked, {
      who: "acme",
      compartmentOf: (module) => acmeCompartment(config, acme, module),
      roleConfig: role,
      running: running?.has(listeners) ? running : undefined,
      make: (options) => new AcmeService(options, role, listeners, this.#options.renew),
    });
  }

  /**
   * Sees to it that the names of a config are looked up: by the resolver that runs, if it knows them all.
   * What other generations dial is looked up by the same one.
   */
  async resolveFor(asked: Asked): Promise<void> {
    const { config } = asked;
    if (config.wall === "deno") return;
    const dialled = [...new Set([...namesOf(config), ...names.all])].sort();
    if (dialled.length === 0) return;
    const running = this.#resolver;
    const service = await this.#bring(asked, {
      who: "resolver",
      compartmentOf: (module) => resolverCompartment(config, dialled, module),
      roleConfig: null,
      running,
      make: (options) => new ResolverService(options),
    });
    if (service !== running) {
      void running?.close();
      this.#resolver = service;
      names.setSource((name) => service.resolve(name));
    }
    names.prepare(dialled);
  }

  /** Takes those of the incumbent's config into use; what it does not need ends. */
  keep(own: OwnServices): void {
    const { metrics, acme } = this.#own;
    this.#own = own;
    const { logs } = own;
    logToFiles(logs && ((line) => logs.write(line)));
    if (metrics !== own.metrics) void metrics?.close();
    // Two at a time would ask the authority for the same.
    if (acme === own.acme) return;
    void Promise.resolve(acme?.close()).then(() => own.acme?.begin());
  }

  /** Ends what was brought up for a candidate that has failed. */
  async abandon(
    { metrics, acme }: OwnServices,
    generations: readonly Generation[],
  ): Promise<void> {
    if (metrics !== this.#own.metrics) await metrics?.close();
    if (acme !== this.#own.acme) await acme?.close();
    await this.endUnused(generations);
  }

  /** Has the log files opened anew; where the folder is another one, by a logger whose wall has that. */
  async reopen(config: Config | undefined): Promise<Answer> {
    const { system, launches } = this.#options;
    const { logs } = this.#own;
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
    const used = new Set([this.logs, ...generations.map(({ logs }) => logs)]);
    for (const service of [...this.#logServices]) {
      if (used.has(service)) continue;
      this.#logServices.delete(service);
      await service.close();
    }
  }

  /** Ends what nothing is logged for: the metrics process, and the acme process. */
  async endOthers(): Promise<void> {
    const { metrics, acme } = this.#own;
    this.#own = { logs: this.logs };
    await Promise.all([metrics?.close(), acme?.close()]);
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
    this.#own = {};
    await this.endUnused([]);
  }

  /** What `holdfast status` shows of them. */
  describe(): Pick<Status, "logger" | "metrics" | "resolver" | "acme"> {
    const { logs, metrics, acme } = this.#own;
    const common = ({ replacements, process }: OwnService) => {
      return { replacements, process: describeProcess(process) };
    };
    return {
      resolver: this.#resolver ? common(this.#resolver) : null,
      logger: logs
        ? {
          ...{ folder: logs.log.folder, dropped: logs.dropped, ...common(logs) },
          ...logs.trouble !== undefined && { trouble: logs.trouble },
        }
        : null,
      metrics: metrics ? { listen: metrics.listener.text, ...common(metrics) } : null,
      acme: acme ? { ...acme.describe(), ...common(acme) } : null,
    };
  }
}
