/**
 * The supervisor: holds the listeners and the right to spawn, and swaps generations. It parses no
 * HTTP, imports no app and believes no worker.
 */
import { dirname, join } from "node:path";
import { toHoldfastError } from "../base/error.ts";
import { countEvents, flushLog, log, logToFiles } from "../base/log.ts";
import { VERSION } from "../base/version.ts";
import type { Compartment, Config, ListenAddress } from "../config/config.ts";
import { countDescriptors } from "../os/file.ts";
import type { Answer, ReloadResult, Status } from "../protocol/control.ts";
import { logCompartment } from "../sandbox/log_compartment.ts";
import { metricsCompartment } from "../sandbox/metrics_compartment.ts";
import { type Wall, type Walled, workerWall } from "../sandbox/wall.ts";
import {
  type Command,
  type Commanded,
  workerEnvironment,
  workerGrants,
  workerProgram,
} from "../sandbox/worker_command.ts";
import { adoptListener } from "./adopted_listener.ts";
import { attempt } from "./attempt.ts";
import type { ControlServer } from "./control_server.ts";
import { describeGeneration, describeProcess, residentBytes } from "./describe.ts";
import { removeCodeCaches } from "./code_cache.ts";
import { stampFiles } from "./file_stamp.ts";
import { Former } from "./former.ts";
import { type Code, GenerationCode } from "./generation_code.ts";
import { Generation, type GenerationRecord, type SlotSpawning } from "./generation.ts";
import type { Inheritance } from "./inheritance.ts";
import type { Listener } from "./listener.ts";
import { LogService } from "./log_service.ts";
import { MetricsService, sameMetrics } from "./metrics_service.ts";
import { abortion, settlesWithin } from "./patience.ts";
import { allModules, LOGGER_ENTRY, METRICS_ENTRY, PREPARE_DEADLINE_MS } from "./prepare.ts";
import { rehearse } from "./rehearsal.ts";
import { ReloadQueue } from "./reload_queue.ts";
import { requireWall } from "./require_wall.ts";
import { adoptRuntimeFolder, type RuntimeFolder } from "./runtime_folder.ts";
import type { ServiceManager, ServiceState } from "./service_manager.ts";
import { LOOK_INTERVAL_MS } from "./silence.ts";
import type { ConfinedSpawner, DrainReason } from "./slot.ts";
import type { Spawner } from "./spawner.ts";
import type { SpawnRequest } from "./spawner_message.ts";
import type { System } from "./system.ts";
import { type Estate, handToNext } from "./upgrade.ts";

/** How often a candidate is tried whose files are replaced while it starts. */
const MAX_CANDIDATES = 3;

/** How long a reload waits until the old workers say that they accept no more. */
const STOP_ACCEPTING_MS = 5_000;

/** What stopping takes besides the deadlines of the config. */
const STOP_MARGIN_MS = 15_000;

/** How many ended generations `status` remembers. */
const MAX_RECORDS = 10;

/** Programs that not every config needs. */
type BundleKind = "bundleHelper" | "bundleLogger" | "bundleMetrics";

/** What Holdfast brings for the processes of a config. */
interface Programs {
  /** The folder of the Holdfast that brings them. */
  readonly holdfast: string;
  readonly denoDir: string;
  readonly worker: string;
  /** Programs that not every config needs, made for the first one that does. */
  readonly more: Map<BundleKind, string>;
}

/** A process to be: what it is granted, what it runs, and the files of its module graph. */
interface Planned {
  readonly who: Commanded;
  readonly compartment: Walled;
  readonly bundle: string;
  readonly modulesOf: (code: Code) => readonly string[];
}

export class Supervisor {
  readonly #system: System;
  readonly #file: string;
  readonly #startedMs = performance.now();
  readonly #uid = Deno.uid();
  readonly #environment = Deno.env.toObject();
  readonly #stopping = new AbortController();
  readonly #reloads = new ReloadQueue(() => this.#reload(), () => this.#roomToDrain());
  readonly #stopped = Promise.withResolvers<void>();
  readonly #generations = new Set<Generation>();
  readonly #retiring = new Set<Promise<void>>();
  readonly #ended: GenerationRecord[] = [];
  #listeners = new Map<string, Listener>();
  readonly #addresses = new Map<string, ListenAddress>();
  #runtime: RuntimeFolder | undefined;
  #manager: ServiceManager | undefined;
  /** By the folder of the Holdfast that brings them: it is another one in a newer executable. */
  readonly #programs = new Map<string, Programs>();
  /** The logger of the incumbent's config. */
  #logs: LogService | undefined;
  /** With those that only draining generations still use. */
  readonly #logServices = new Set<LogService>();
  #metrics: MetricsService | undefined;
  readonly #drains = { outcomes: { drained: 0, cut: 0, killed: 0, died: 0 }, ms: 0, cut: 0 };
  #control: ControlServer | undefined;
  #incumbent: Generation | undefined;
  #lastGeneration = 0;
  #lastWorker = 0;
  #reloadCount = 0;
  #lastReload: ReloadResult | undefined;
  #upgrades = 0;
  #upgradeRefused: string | undefined;
  #upgrading = false;
  /** What the supervisor that was here before left; nothing once it is taken. */
  #inheritance: Inheritance | undefined;
  #former: Former | undefined;
  #busy: Promise<unknown> = Promise.resolve();
  #failing = false;
  readonly #look = setInterval(() => {
    this.#lookAtListeners();
    this.#lookAtIncumbent();
  }, LOOK_INTERVAL_MS);

  /**
   * @param file the config's path
   * @param inheritance what the one before it in this process left
   */
  constructor(file: string, system: System, inheritance?: Inheritance) {
    this.#file = file;
    this.#system = system;
    this.#inheritance = inheritance;
  }

  /** Settles when everything has ended. */
  get stopped(): Promise<void> {
    return this.#stopped.promise;
  }

  /**
   * Brings up the first generation.
   *
   * @throws {HoldfastError} if anything fails; nothing is left behind then
   */
  async start(): Promise<void> {
    const work = this.#start();
    this.#busy = work.catch(() => {});
    try {
      await work;
    } catch (error) {
      this.#former?.retire();
      await this.#former?.gone;
      this.#letGo();
      await this.#endLogs();
      this.#stopped.resolve();
      // Told to stop before it was up: that is no failure.
      if (!this.#stopping.signal.aborted) throw error;
    }
  }

  async #start(): Promise<void> {
    this.#system.closeIn();
    const inheritance = this.#inheritance;
    if (inheritance) this.#takeOver(inheritance);
    this.#manager = this.#system.openServiceManager(inheritance?.service);
    const config = this.#manager.resolve(await this.#system.loadConfig(this.#file));
    // The lock first: a second supervisor must learn that it is one before it does anything else.
    const runtime = this.#runtime ??= await this.#system.openRuntimeFolder(config.runtime);
    await this.#programsOf(config);
    this.#control = await this.#system.openControl(runtime.controlSocket, {
      status: () => ({ type: "status", status: this.status() }),
      reload: async (): Promise<Answer> => ({ type: "reloaded", result: await this.reload() }),
      upgrade: async (): Promise<Answer> => ({
        type: "upgrade_refused",
        reason: await this.upgrade(),
      }),
      reopen: () => this.#reopenLogs(),
      stop: async (): Promise<Answer> => {
        await this.stop();
        return { type: "stopped" };
      },
    }, inheritance?.control);
    this.#system.giveUpPermissions();
    this.#removeLeftCode(runtime);
    try {
      await this.#switchTo(config);
    } catch (error) {
      if (!this.#former || this.#stopping.signal.aborted) throw error;
      // The old one's workers serve still: better them than nobody.
      this.#upgradeRefused = (error as Error).message;
      log.error("upgrade_unfinished", {
        reason: this.#upgradeRefused,
        hint: "The workers from before it serve; HUP tries again",
      });
      return;
    }
    if (this.#uid === 0 && config.account === undefined) {
      log.warn("workers_run_as_root", { hint: "Set user in the config" });
    }
    this.#manager.serving(this.#serviceState());
    log.info("serving", {
      pid: Deno.pid,
      listen: [...this.#listeners.keys()],
      generation: this.#incumbent?.number,
      ms: Math.round(performance.now() - this.#startedMs),
    });
  }

  /** What the one before this one left compiled, which its processes may still run. */
  #removeLeftCode({ lockFile }: RuntimeFolder): void {
    const folder = dirname(lockFile);
    const left = this.#system.listCodeCaches(folder);
    if (this.#former) void this.#former.gone.then(() => removeCodeCaches(left));
    else removeCodeCaches(left);
  }

  #takeOver(inheritance: Inheritance): void {
    this.#runtime = adoptRuntimeFolder(inheritance.runtime, inheritance.lock);
    this.#former = new Former(inheritance);
    this.#lastGeneration = inheritance.lastGeneration;
    this.#lastWorker = inheritance.lastWorker;
    this.#upgrades = inheritance.upgrades;
    for (const { address, fd } of inheritance.listeners) {
      this.#listeners.set(address.text, adoptListener(fd, address));
      this.#addresses.set(address.text, address);
    }
  }

  /**
   * Puts the program that lies there now in this one's place, once it has rehearsed. It does not come
   * back from that; never throws.
   *
   * @returns why it was refused
   */
  async upgrade(): Promise<string> {
    try {
      if (this.#upgrading) throw new Error("an upgrade is under way");
      this.#upgrading = true;
      await this.#busy;
      const work = this.#tryUpgrade();
      // A reload waits, and is what the new program does anyway.
      this.#busy = work.catch(() => {});
      await work.finally(() => this.#upgrading = false);
      throw new Error("the program was not replaced");
    } catch (error) {
      const { message } = toHoldfastError(error);
      this.#upgradeRefused = message;
      log.error("upgrade_refused", { reason: message, generation: this.#incumbent?.number });
      return message;
    }
  }

  /** What is listened on, with the listener that the metrics process has. */
  #heldListeners(): Estate["listeners"] {
    const metrics = this.#incumbent?.config.metrics;
    return [
      ...[...this.#listeners].filter(([text]) => !this.#manager?.isPassed(text))
        .map(([text, listener]) => ({ listener, address: this.#addresses.get(text)! })),
      ...metrics && this.#metrics
        ? [{ listener: this.#metrics.listener, address: metrics.listen }]
        : [],
    ].flatMap(({ listener, address }) => address.kind === "systemd" ? [] : { listener, address });
  }

  async #tryUpgrade(): Promise<void> {
    const { signal } = this.#stopping;
    signal.throwIfAborted();
    if (!this.#incumbent || !this.#runtime || !this.#control) {
      throw new Error("it does not serve yet");
    }
    await rehearse(this.#system.ownProgram(), signal);
    log.info("upgrading", { generation: this.#lastGeneration });
    await flushLog();
    signal.throwIfAborted();
    handToNext(this.#system.ownProgram(), {
      folder: dirname(this.#runtime.lockFile),
      runtime: this.#runtime,
      control: this.#control,
      listeners: this.#heldListeners(),
      service: this.#manager?.bequest(),
      former: this.#former?.residents ?? [],
      lastGeneration: this.#lastGeneration,
      lastWorker: this.#lastWorker,
      upgrades: this.#upgrades + 1,
    });
  }

  /** Brings in new code and new config. Never throws: the result says how it went. */
  reload(): Promise<ReloadResult> {
    return this.#reloads.request();
  }

  /** Each generation that drains holds its processes: a reload waits until one more may. */
  async #roomToDrain(): Promise<void> {
    const { signal } = this.#stopping;
    const { maxDraining = Infinity } = this.#incumbent?.config.reload ?? {};
    if (this.#retiring.size < maxDraining || signal.aborted) return;
    log.warn("reload_waits", {
      draining: this.#retiring.size,
      hint: "Raise reload.maxDraining, or lower reload.drainDeadlineMs",
    });
    while (this.#retiring.size >= maxDraining && !signal.aborted) {
      await Promise.race([...this.#retiring, abortion(signal)]);
    }
  }

  async #reload(): Promise<ReloadResult> {
    const startMs = performance.now();
    const result = (facts: Pick<ReloadResult, "outcome" | "reason" | "hint">): ReloadResult => ({
      ...facts,
      generation: this.#incumbent?.number ?? 0,
      ms: Math.round(performance.now() - startMs),
      at: new Date().toISOString(),
    });
    await this.#busy;
    this.#reloadCount++;
    if (!this.#stopping.signal.aborted) this.#manager?.reloading();
    const work = this.#tryReload();
    this.#busy = work.catch(() => {});
    try {
      await work;
      this.#lastReload = result({ outcome: "done" });
      log.info("reload_done", { ...this.#lastReload });
    } catch (error) {
      const { message, hint } = toHoldfastError(error);
      this.#lastReload = result({
        outcome: "refused",
        reason: message,
        ...hint !== undefined && { hint },
      });
      log.error("reload_refused", { ...this.#lastReload });
    }
    if (!this.#stopping.signal.aborted) this.#manager?.reloaded(this.#serviceState());
    return this.#lastReload;
  }

  async #tryReload(): Promise<void> {
    this.#stopping.signal.throwIfAborted();
    this.#logs?.reopen();
    const config = await this.#system.loadConfig(this.#file);
    await this.#switchTo(this.#manager?.resolve(config) ?? config);
  }

  /**
   * Brings in a config. Where a file of the app is replaced meanwhile, as a deployment does, the wall
   * stands around the one before and the candidate fails: then another one is tried.
   */
  async #switchTo(config: Config): Promise<void> {
    for (let left = MAX_CANDIDATES - 1;; left--) {
      let replaced = () => false;
      try {
        return await this.#tryCandidate(config, (modules) => {
          const stamp = stampFiles(modules);
          replaced = () => stampFiles(modules) !== stamp;
        });
      } catch (error) {
        if (!replaced() || left === 0 || this.#stopping.signal.aborted) throw error;
        log.warn("files_changed", { reason: (error as Error).message, left });
      }
    }
  }

  /** Everything that can fail comes before the one step that changes the incumbent. */
  async #tryCandidate(
    config: Config,
    onModules: (modules: readonly string[]) => void,
  ): Promise<void> {
    const { signal } = this.#stopping;
    this.#manager?.extend(PREPARE_DEADLINE_MS + config.reload.readyDeadlineMs);
    const added: Listener[] = [];
    const instances = config.helpers.flatMap((helper) =>
      Array.from({ length: helper.instances }, (_, instance) => ({ helper, instance }))
    );
    const spawners: Spawner[] = [];
    let candidate: Generation | undefined;
    let logs: LogService | undefined;
    let metrics: MetricsService | undefined;
    let code: GenerationCode | undefined;
    let brought = "";
    try {
      // Their threads start while the modules are looked at; both take their time.
      for (let left = config.workers + instances.length; left > 0; left--) {
        spawners.push(this.#system.startSpawner());
      }
      const { holdfast, denoDir, worker: bundle } = await this.#programsOf(config);
      brought = holdfast;
      code = new GenerationCode({
        ...{ system: this.#system, config, denoDir, signal },
        runtime: dirname(this.#runtime!.lockFile),
        earlier: this.#incumbent?.code,
      });
      const first = await code.prepare();
      onModules(allModules(first.modules));
      await this.#system.makeFolders(config);
      logs = await this.#logsFor(config, signal);
      metrics = await this.#metricsFor(config, signal);
      const helperBundle = instances.length > 0 ? await this.#bundleOf(config, "bundleHelper") : "";
      this.#warnOfMissingWall(config);
      const worker: Planned = {
        who: "worker",
        compartment: config,
        bundle,
        modulesOf: ({ modules }) => modules.app,
      };
      const planned: Planned[] = [
        ...Array.from({ length: config.workers }, () => worker),
        ...instances.map(({ helper }): Planned => ({
          who: `helper ${helper.name}`,
          compartment: helper,
          bundle: helperBundle,
          modulesOf: ({ modules }) => modules.helpers[helper.name]!,
        })),
      ];
      const spawnings = await Promise.all(
        planned.map((each, index) => this.#prepareSpawning(config, each, spawners[index]!, code)),
      );
      const helpers = spawnings.slice(config.workers);
      const listeners: Listener[] = [];
      for (const address of config.listen) listeners.push(await this.#listenerFor(address, added));
      candidate = new Generation({
        number: ++this.#lastGeneration,
        config,
        code,
        listeners,
        logs,
        workers: spawnings.slice(0, config.workers),
        helpers: instances.map((each, index) => ({ ...each, ...helpers[index]! })),
        nextWorker: () => ++this.#lastWorker,
      });
      this.#generations.add(candidate);
      await candidate.start(signal);
    } catch (error) {
      if (candidate) this.#generations.delete(candidate);
      else for (const spawner of spawners) attempt("close the spawner", () => spawner.close());
      for (const listener of added) attempt(`close ${listener.text}`, () => listener.close());
      code?.close();
      if (metrics !== this.#metrics) await metrics?.close();
      await this.#endUnusedLogs();
      throw error;
    }
    const incumbent = this.#incumbent;
    this.#incumbent = candidate;
    this.#forgetPrograms(brought);
    this.#logs = logs;
    logToFiles(logs && ((line) => logs.write(line)));
    this.#keepListeners(config, added);
    this.#keepMetrics(config, metrics);
    if (incumbent) this.#retire(incumbent, "replaced");
    this.#former?.retire();
    if (incumbent) await this.#untilStopped(incumbent);
  }

  /**
   * A reload is done when only the new version takes new connections: whoever connects after it must
   * not meet the old one. The switch has happened, so that an old worker that says nothing delays
   * the outcome and no more.
   */
  async #untilStopped(old: Generation): Promise<void> {
    const ended = Promise.race([old.stopped, abortion(this.#stopping.signal)]);
    if (await settlesWithin(ended, STOP_ACCEPTING_MS)) return;
    log.warn("still_accepting", {
      generation: old.number,
      waitedMs: STOP_ACCEPTING_MS,
      hint: "A worker keeps its event loop busy; it is killed after reload.drainDeadlineMs",
    });
  }

  /** What every config needs, made once. */
  async #programsOf(config: Config): Promise<Programs> {
    const holdfast = this.#system.holdfastOf(config);
    const known = this.#programs.get(holdfast);
    if (known !== undefined) return known;
    const denoDir = await this.#system.findDenoDir(config);
    const worker = await this.#system.bundleWorker(config);
    const programs = { holdfast, denoDir, worker, more: new Map() };
    this.#programs.set(holdfast, programs);
    return programs;
  }

  /** What the incumbent does not need is not needed: a reload to it reads it anew. */
  #forgetPrograms(kept: string): void {
    for (const holdfast of [...this.#programs.keys()]) {
      if (holdfast !== kept) this.#programs.delete(holdfast);
    }
  }

  /** A program that not every config needs. */
  async #bundleOf(config: Config, kind: BundleKind): Promise<string> {
    const { more } = await this.#programsOf(config);
    const known = more.get(kind);
    if (known !== undefined) return known;
    const bundle = await this.#system[kind](config);
    more.set(kind, bundle);
    return bundle;
  }

  /** The logger of a config: the one that runs, if the config asks for no other. */
  async #logsFor(config: Config, signal: AbortSignal): Promise<LogService | undefined> {
    const { folder } = config.log;
    if (folder === undefined) return undefined;
    const log = { ...config.log, folder };
    if (this.#logs && JSON.stringify(this.#logs.log) === JSON.stringify(log)) return this.#logs;
    const module = join((await this.#programsOf(config)).holdfast, LOGGER_ENTRY);
    const compartment = logCompartment(config, folder, module);
    const bundle = await this.#bundleOf(config, "bundleLogger");
    const spawner = this.#system.startSpawner();
    let service: LogService;
    try {
      service = new LogService({
        ...await this.#prepareOwn(
          config,
          { who: "logger", compartment, bundle, modulesOf: () => [] },
          spawner,
        ),
        ...{ log, config },
      });
    } catch (error) {
      attempt("close the spawner", () => spawner.close());
      throw error;
    }
    await service.start(signal);
    this.#logServices.add(service);
    return service;
  }

  /** The metrics process of a config: the one that runs, if the config asks for no other. */
  async #metricsFor(config: Config, signal: AbortSignal): Promise<MetricsService | undefined> {
    const { metrics } = config;
    if (metrics === undefined) return undefined;
    if (sameMetrics(metrics, this.#incumbent?.config.metrics)) return this.#metrics;
    const module = join((await this.#programsOf(config)).holdfast, METRICS_ENTRY);
    const compartment = metricsCompartment(config, metrics.listen, module);
    const bundle = await this.#bundleOf(config, "bundleMetrics");
    const { text } = metrics.listen;
    // The one before this in the same process may have left it.
    const left = config.listen.some((each) => each.text === text)
      ? undefined
      : this.#listeners.get(text);
    if (left) this.#listeners.delete(text);
    const listener = left ?? await this.#system.bindListener(metrics.listen);
    const spawner = this.#system.startSpawner();
    let service: MetricsService;
    try {
      service = new MetricsService({
        ...await this.#prepareOwn(
          config,
          { who: "metrics", compartment, bundle, modulesOf: () => [] },
          spawner,
        ),
        ...{ config, listener },
        status: () => this.status(),
      });
    } catch (error) {
      attempt("close the spawner", () => spawner.close());
      attempt(`close ${listener.text}`, () => listener.close());
      throw error;
    }
    await service.start(signal);
    return service;
  }

  #keepMetrics({ metrics }: Config, service: MetricsService | undefined): void {
    const old = this.#metrics;
    this.#metrics = service;
    if (old !== service) void old?.close();
    else if (metrics) service?.update(metrics.listen);
  }

  /** What a program of Holdfast's own is spawned with. */
  async #prepareOwn(config: Config, planned: Planned, spawner: Spawner) {
    return {
      ...await this.#prepareSpawning(config, planned, spawner),
      grants: workerGrants(planned.compartment),
      nextWorker: () => ++this.#lastWorker,
    };
  }

  /** Has the log files opened anew. */
  #reopenLogs(): Answer {
    if (!this.#logs) return { type: "refused", reason: "the config has no log.folder" };
    this.#logs.reopen();
    return { type: "reopened" };
  }

  /** Ends each logger that no generation writes to any more. */
  async #endUnusedLogs(): Promise<void> {
    const used = new Set([this.#logs, ...[...this.#generations].map(({ logs }) => logs)]);
    for (const service of [...this.#logServices]) {
      if (used.has(service)) continue;
      this.#logServices.delete(service);
      await service.close();
    }
  }

  /** Ends every logger; what is logged after this goes to stderr alone. */
  async #endLogs(): Promise<void> {
    logToFiles(undefined);
    this.#logs = undefined;
    await this.#endUnusedLogs();
  }

  /** Builds the wall of a process around a spawner, and around each that comes after it. */
  async #prepareSpawning(
    config: Config,
    planned: Planned,
    spawner: Spawner,
    own?: GenerationCode,
  ): Promise<SlotSpawning> {
    const { denoDir } = await this.#programsOf(config);
    const command = this.#system.commandOf(config, planned.who, planned.compartment);
    const generation = this.#lastGeneration + 1;
    const confine = async (around: Spawner, code: Code): Promise<ConfinedSpawner> => {
      await around.confine(this.#wallOf(config, command, planned, code));
      const request = this.#spawnRequest(command, planned, code.denoDir, generation);
      return { spawner: around, request };
    };
    const first = own?.code ?? { denoDir, modules: { app: [], helpers: {} } };
    return {
      first: await confine(spawner, first),
      next: async () => {
        const code = await own?.renew() ?? first;
        const another = this.#system.startSpawner();
        try {
          return await confine(another, code);
        } catch (error) {
          attempt("close the spawner", () => another.close());
          throw error;
        }
      },
    };
  }

  #warnOfMissingWall({ wall }: Config): void {
    if (wall === "kernel") return;
    log.warn("wall_is_deno_only", {
      missing: ["landlock", "seccomp", "limits"],
      hint: "Native code in a worker is not held back",
    });
  }

  /** The kernel's layer for a process of this config; an error where the machine has none. */
  #wallOf(
    config: Config,
    { program: denoProgram, files }: Command,
    { compartment, modulesOf }: Planned,
    code: Code,
  ): Wall | undefined {
    if (config.wall === "deno") return undefined;
    const abi = this.#system.landlockAbi();
    requireWall(abi);
    const caches = this.#system.findCaches(code.denoDir);
    const forbidden = this.#runtime!.lockFile;
    return workerWall(compartment, {
      arch: Deno.build.arch,
      abi,
      caches,
      denoProgram,
      modules: [...files, ...modulesOf(code)],
      forbidden,
    });
  }

  async #listenerFor(address: ListenAddress, added: Listener[]): Promise<Listener> {
    const held = this.#listeners.get(address.text);
    if (held) return held;
    const listener = this.#manager?.adopt(address) ?? await this.#system.bindListener(address);
    added.push(listener);
    return listener;
  }

  #keepListeners(config: Config, added: readonly Listener[]): void {
    for (const listener of added) {
      this.#listeners.set(listener.text, listener);
      attempt(`store ${listener.text}`, () => this.#manager?.listens(listener));
    }
    const wanted = new Map(config.listen.map((address) => [address.text, address]));
    for (const [text, address] of wanted) this.#addresses.set(text, address);
    for (const [text, listener] of this.#listeners) {
      const address = wanted.get(text);
      // The switch has happened; what fails from here on is no reason to undo it.
      if (address) attempt(`update ${text}`, () => listener.update(address));
      else {
        this.#listeners.delete(text);
        attempt(`close ${text}`, () => listener.close());
        this.#manager?.closes(text);
        log.info("listener_closed", { listen: text });
      }
    }
  }

  #spawnRequest(
    { program, args, env, input }: Command,
    { who, compartment, bundle }: Planned,
    denoDir: string,
    generation: number,
  ): SpawnRequest {
    const { account, app }: Compartment = compartment;
    // What is Holdfast's own imports no module of the app's project.
    const imports = who !== "logger" && who !== "metrics";
    const source = input === "nothing" ? "" : imports ? workerProgram(bundle, app.module) : bundle;
    return {
      ...{ program, args },
      env: {
        ...workerEnvironment(compartment, this.#environment, denoDir, generation),
        ...env,
      },
      cwd: app.project,
      source,
      account: account && { uid: account.uid, gid: account.gid },
    };
  }

  #retire(generation: Generation, reason: DrainReason): void {
    const work = generation.drain(reason).then(async (record) => {
      this.#generations.delete(generation);
      this.#retiring.delete(work);
      this.#ended.unshift(record);
      this.#ended.length = Math.min(this.#ended.length, MAX_RECORDS);
      this.#drains.outcomes[record.outcome]++;
      this.#drains.ms += record.drainMs;
      this.#drains.cut += record.cut ?? 0;
      log.info("generation_ended", { ...record });
      await this.#endUnusedLogs();
    });
    this.#retiring.add(work);
  }

  /** Drains every generation and ends. A second call waits for the first. */
  async stop(): Promise<void> {
    if (!this.#stopping.signal.aborted) {
      log.info("stopping");
      this.#manager?.stopping(this.#stopMs());
      this.#stopping.abort(new Error("The supervisor is stopping"));
      // A candidate or a switch under way sees the signal; what comes out of it is drained too.
      await this.#busy;
      if (this.#incumbent) this.#retire(this.#incumbent, "stopping");
      this.#former?.retire();
      await Promise.all([...this.#retiring, this.#former?.gone]);
      await this.#metrics?.close();
      this.#letGo();
      log.info("stopped");
      await this.#endLogs();
      this.#stopped.resolve();
    }
    await this.stopped;
  }

  /** Ends every worker now; for a second order to stop. */
  cut(): void {
    log.warn("cutting", { generations: this.#generations.size });
    for (const generation of this.#generations) generation.cut();
    this.#former?.cut();
  }

  /** The longest that stopping takes: what is under way, then the worker, then its helpers. */
  #stopMs(): number {
    const { reload } = this.#incumbent?.config ?? {};
    if (!reload) return STOP_MARGIN_MS;
    return reload.readyDeadlineMs + 2 * reload.drainDeadlineMs + STOP_MARGIN_MS;
  }

  #serviceState(): ServiceState {
    return {
      generation: this.#incumbent?.number ?? 0,
      listeners: [...this.#listeners.keys()],
      failing: this.#failing,
      lastReload: this.#lastReload,
    };
  }

  /**
   * Only a worker can have made a listener stop, and which one nobody can tell: the socket is one.
   * None takes connections there again until it listens anew, so all are replaced.
   */
  #lookAtListeners(): void {
    if (this.#incumbent && !this.#stopping.signal.aborted) {
      this.#manager?.goes(this.#serviceState());
    }
    for (const [text, listener] of this.#listeners) {
      attempt(`listen on ${text} again`, () => {
        if (!listener.listenAgain()) return;
        log.error("listener_stopped", { listen: text, generation: this.#incumbent?.number });
        for (const { process } of this.#incumbent?.workers ?? []) {
          process?.condemn(`made ${text} stop`);
        }
      });
    }
  }

  /** Tells when the incumbent begins to fail, and when that is over. */
  #lookAtIncumbent(): void {
    const { failing = false, number: generation } = this.#incumbent ?? {};
    if (failing === this.#failing) return;
    this.#failing = failing;
    if (failing) log.error("failing", { generation, hint: "See why its workers die, and reload" });
    else log.info("serving_again", { generation });
  }

  #letGo(): void {
    clearInterval(this.#look);
    for (const [text, listener] of this.#listeners) {
      attempt(`close ${text}`, () => listener.close());
    }
    this.#listeners.clear();
    attempt("close the control socket", () => this.#control?.close());
    this.#control = undefined;
    attempt("close the runtime folder", () => this.#runtime?.close());
    this.#runtime = undefined;
    this.#manager?.close();
    this.#manager = undefined;
  }

  /** What `holdfast status` shows. */
  status(): Status {
    return {
      pid: Deno.pid,
      state: this.#incumbent?.failing ? "failing" : "serving",
      memoryBytes: residentBytes(Deno.pid),
      descriptors: countDescriptors(Deno.pid),
      holdfast: VERSION,
      deno: Deno.version.deno,
      config: this.#incumbent?.config.file ?? this.#file,
      ageMs: Math.round(performance.now() - this.#startedMs),
      listeners: [...this.#listeners.keys()],
      logger: this.#logs
        ? {
          folder: this.#logs.log.folder,
          dropped: this.#logs.dropped,
          replacements: this.#logs.replacements,
          process: describeProcess(this.#logs.process),
        }
        : null,
      metrics: this.#metrics
        ? {
          listen: this.#metrics.listen,
          replacements: this.#metrics.replacements,
          process: describeProcess(this.#metrics.process),
        }
        : null,
      events: countEvents(),
      drains: this.#drains,
      generations: [...this.#generations].map(describeGeneration),
      reloads: this.#reloadCount,
      reload: this.#reloads.state,
      lastReload: this.#lastReload ?? null,
      upgrades: this.#upgrades,
      upgradeRefused: this.#upgradeRefused ?? null,
      ended: this.#ended,
    };
  }
}
