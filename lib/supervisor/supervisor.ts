/**
 * The supervisor: holds the listeners and the right to spawn, and swaps generations. It parses no
 * HTTP, imports no app and believes no worker.
 */
import { dirname, join } from "node:path";
import { HoldfastError, toHoldfastError } from "../base/error.ts";
import { countEvents, flushLog, log, logToFiles } from "../base/log.ts";
import { VERSION } from "../base/version.ts";
import type { Compartment, Config, ListenAddress } from "../config/config.ts";
import { keepsRuntime, realRuntime, type RuntimePlace } from "../config/runtime_place.ts";
import { countDescriptors } from "../os/file.ts";
import type { Answer, ReloadResult, Status } from "../protocol/control.ts";
import { roleText } from "../protocol/role.ts";
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
import { children, observeChildren } from "./child_table.ts";
import type { ControlServer } from "./control_server.ts";
import { describeGeneration, describeProcess, residentBytes } from "./describe.ts";
import { removeCodeCaches } from "./code_cache.ts";
import { stampFiles } from "./file_stamp.ts";
import { type Code, GenerationCode } from "./generation_code.ts";
import { Generation, type GenerationRecord, type SlotSpawning } from "./generation.ts";
import type { Inheritance } from "./inheritance.ts";
import { InheritedProcesses } from "./inherited_processes.ts";
import { identityOf, isLost, type Listener } from "./listener.ts";
import { LogService } from "./log_service.ts";
import { MetricsService } from "./metrics_service.ts";
import { Orphans } from "./orphans.ts";
import { abortion, settlesWithin } from "./patience.ts";
import {
  allModules,
  LOGGER_ENTRY,
  METRICS_ENTRY,
  type Modules,
  type OwnPrograms,
  PREPARE_DEADLINE_MS,
} from "./prepare.ts";
import { movedRuntime, rehearse } from "./rehearsal.ts";
import type { ProcessRecord } from "./process_record.ts";
import { ReloadQueue } from "./reload_queue.ts";
import { requireWall } from "./require_wall.ts";
import { adoptRuntimeFolder, removeIfThere, type RuntimeFolder } from "./runtime_folder.ts";
import type { ServiceManager, ServiceState } from "./service_manager.ts";
import { LOOK_INTERVAL_MS } from "./silence.ts";
import type { DrainReason } from "./slot.ts";
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

/** What Holdfast brings for the processes of a config. */
interface Programs extends OwnPrograms {
  /** The folder of the Holdfast that brings them. */
  readonly holdfast: string;
  readonly denoDir: string;
}

/** A process to be: what it is granted, what it runs, and the files of its module graph. */
interface Planned {
  readonly who: Commanded;
  readonly compartment: Walled;
  readonly bundle: string;
  readonly modulesOf: (code: Code) => readonly string[];
}

const NO_MODULES: Modules = { app: [], helpers: {} };

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
  #orphans = new Orphans([]);
  #record: ProcessRecord | undefined;
  #closeRecord: (() => void) | undefined;
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
  #former: InheritedProcesses | undefined;
  #busy: Promise<unknown> = Promise.resolve();
  #failing = false;
  #runtimeChange: Promise<void> = Promise.resolve();
  /** What was told of each thing that is amiss. */
  readonly #troubles = new Map<string, string>();
  /** How many connections waited on each listener at the last look. */
  #waiting: Record<string, number> = {};
  readonly #look = setInterval(() => {
    this.#lookAtListeners();
    this.#lookAtIncumbent();
    this.#lookAtLogs();
    void this.#changeRuntime(() => this.#restoreRuntime());
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
      await this.#runtimeChange;
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
    const runtime = this.#runtime ??= await this.#system.openRuntimeFolder(
      realRuntime(config),
      config.account?.gid,
    );
    this.#keepRecord(inheritance);
    await this.#programsOf(config);
    this.#control = await this.#openControl(runtime, inheritance?.control);
    this.#system.giveUpPermissions();
    this.#removeLeftCode();
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
    this.#orphans.endAfter(this.#stopMs());
    log.info("serving", {
      pid: Deno.pid,
      listen: [...this.#listeners.keys()],
      generation: this.#incumbent?.number,
      ms: Math.round(performance.now() - this.#startedMs),
    });
  }

  #openControl(runtime: RuntimeFolder, fd?: number): Promise<ControlServer> {
    return this.#system.openControl(runtime.controlSocket, {
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
    }, fd);
  }

  /** The runtime folder in use. */
  get #runtimeFolder(): string {
    return dirname(this.#runtime!.lockFile);
  }

  /** A config may not move the runtime folder; a link to it may be moved. */
  #requireRuntime(after: RuntimePlace): void {
    const before = this.#incumbent?.config;
    if (!before) return;
    const place = (of: RuntimePlace) => ({ folder: of.folder, runtime: realRuntime(of) });
    if (keepsRuntime(place(before), place(after))) return;
    throw movedRuntime(
      `A running supervisor cannot move its runtime folder, from ${before.runtime} to ${after.runtime}`,
    );
  }

  /** Takes another runtime folder into use, or the same one once more. */
  async #useRuntime(folder: string): Promise<void> {
    const [oldControl, oldRuntime] = [this.#control, this.#runtime];
    const gid = this.#incumbent?.config.account?.gid;
    const runtime = await this.#system.openRuntimeFolder(folder, gid);
    try {
      this.#control = await this.#openControl(runtime);
    } catch (error) {
      attempt("close the runtime folder", () => runtime.close());
      throw error;
    }
    this.#runtime = runtime;
    attempt("remove the record of processes", () => this.#record?.close());
    this.#record = this.#system.openProcessRecord(this.#runtimeFolder);
    this.#writeRecord();
    attempt("close the control socket", () => oldControl?.close());
    attempt("close the runtime folder", () => oldRuntime?.close());
    log.info("runtime_opened", { folder });
  }

  /** Follows a link to the runtime folder that was moved. The switch has happened: it goes on without. */
  async #followRuntime(config: Config): Promise<void> {
    const folder = realRuntime(config);
    if (this.#stopping.signal.aborted || folder === this.#runtimeFolder) return;
    try {
      await this.#useRuntime(folder);
    } catch (error) {
      log.error("runtime_stays", {
        folder: this.#runtimeFolder,
        reason: (error as Error).message,
        hint: "Set runtime in the config to a folder that stays, such as /run/holdfast",
      });
    }
  }

  /** Makes the lock and the control socket anew where somebody has removed them. */
  async #restoreRuntime(): Promise<void> {
    const [runtime, control] = [this.#runtime, this.#control];
    if (!runtime || !control || this.#stopping.signal.aborted) return;
    const locked = identityOf(runtime.lockFile) === runtime.made;
    if (locked && identityOf(runtime.controlSocket) === control.made) return;
    try {
      if (locked) {
        control.close();
        await removeIfThere(runtime.controlSocket);
        this.#control = await this.#openControl(runtime);
      } else {
        // With an old release its runtime folder went: the next one has another.
        const folder = identityOf(dirname(this.#runtimeFolder)) === undefined
          ? (await this.#system.locateRuntime(this.#file)).runtime
          : this.#runtimeFolder;
        await this.#useRuntime(folder);
      }
      this.#told("runtime", undefined);
      log.warn("control_restored", { socket: this.#runtime!.controlSocket });
    } catch (error) {
      this.#told("runtime", (error as Error).message, (reason) => {
        log.error("control_lost", {
          ...{ socket: runtime.controlSocket, reason },
          hint: "Commands cannot reach it; HUP, USR2 and TERM can",
        });
      });
    }
  }

  /** Tells of what is amiss once, and again when it is another thing. */
  #told(what: string, reason: string | undefined, tell: (reason: string) => void = () => {}): void {
    if (reason === undefined) this.#troubles.delete(what);
    else if (this.#troubles.get(what) !== reason) {
      this.#troubles.set(what, reason);
      tell(reason);
    }
  }

  /** One change of the runtime folder after the other. */
  #changeRuntime(change: () => Promise<void>): Promise<void> {
    return this.#runtimeChange = this.#runtimeChange.then(change);
  }

  /** Has it on record what this supervisor starts, and learns what one that was killed has left. */
  #keepRecord(inheritance: Inheritance | undefined): void {
    this.#record = this.#system.openProcessRecord(this.#runtimeFolder);
    const own = new Set(inheritance?.residents.map(({ pid }) => pid));
    this.#orphans = new Orphans(this.#record.left().filter(({ pid }) => !own.has(pid)));
    const endObserving = observeChildren(() => this.#writeRecord());
    this.#closeRecord = () => {
      endObserving();
      this.#orphans.letGo();
      // The next start is to know of those that are left.
      if (this.#orphans.living.length === 0) this.#record?.close();
      else this.#writeRecord();
    };
  }

  #writeRecord(): void {
    const own = [...children].map(([pid, { role }]) => ({ pid, role: roleText(role) }));
    attempt("record the processes", () => this.#record?.write([...own, ...this.#orphans.living]));
  }

  /** Where a generation keeps its code: with its release, where each has a runtime folder of its own. */
  async #codeFolder(config: Config): Promise<string> {
    const [folder, gid] = [realRuntime(config), config.account?.gid];
    try {
      // One that is in use may be open to workers of before.
      if (folder !== this.#runtimeFolder || gid !== undefined) {
        await this.#system.makePrivateFolder(folder, gid);
      }
      return folder;
    } catch (error) {
      if (folder === this.#runtimeFolder) throw error;
      return this.#runtimeFolder;
    }
  }

  /** What the one before this one left compiled, which its processes may still run. */
  #removeLeftCode(): void {
    const left = this.#system.listCodeCaches(this.#runtimeFolder);
    if (this.#former) void this.#former.gone.then(() => removeCodeCaches(left));
    else removeCodeCaches(left);
  }

  #takeOver(inheritance: Inheritance): void {
    this.#runtime = adoptRuntimeFolder(inheritance.runtime, inheritance.lock);
    this.#former = new InheritedProcesses(inheritance);
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
    ].flatMap(({ listener, address }) =>
      address.kind === "systemd" || isLost(listener) ? [] : { listener, address }
    );
  }

  async #tryUpgrade(): Promise<void> {
    const { signal } = this.#stopping;
    signal.throwIfAborted();
    if (!this.#incumbent || !this.#runtime || !this.#control) {
      throw new Error("it does not serve yet");
    }
    await this.#changeRuntime(() => this.#restoreRuntime());
    this.#requireRuntime(await this.#system.locateRuntime(this.#file));
    const own = this.#system.ownProgram(this.#file);
    await rehearse(own, this.#runtimeFolder, signal);
    await this.#changeRuntime(() => this.#restoreRuntime());
    log.info("upgrading", { generation: this.#lastGeneration });
    await flushLog();
    signal.throwIfAborted();
    handToNext(own, {
      folder: this.#runtimeFolder,
      runtime: this.#runtime,
      control: this.#control,
      listeners: this.#heldListeners(),
      service: this.#manager?.bequest(),
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
    if (this.#logs?.fits) this.#logs.reopen();
    const config = await this.#system.loadConfig(this.#file);
    this.#requireRuntime(config);
    await this.#switchTo(this.#manager?.resolve(config) ?? config);
    await this.#changeRuntime(() => this.#followRuntime(config));
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
      const { holdfast, denoDir, spawner, ...bundles } = await this.#programsOf(config);
      brought = holdfast;
      // Their threads start while the modules are looked at; both take their time.
      for (let left = config.workers + instances.length; left > 0; left--) {
        spawners.push(this.#system.startSpawner(spawner));
      }
      code = new GenerationCode({
        ...{ system: this.#system, config, denoDir, signal },
        runtime: () => this.#runtimeFolder,
        findFolder: () => this.#codeFolder(config),
        earlier: this.#incumbent?.code,
      });
      const first = await code.prepare();
      onModules(allModules(first.modules));
      await this.#system.makeFolders(config);
      logs = await this.#logsFor(config, signal);
      metrics = await this.#metricsFor(config, signal);
      this.#warnOfMissingWall(config);
      const worker: Planned = {
        who: "worker",
        compartment: config,
        bundle: bundles.worker,
        modulesOf: ({ modules }) => modules.app,
      };
      const planned: Planned[] = [
        ...Array.from({ length: config.workers }, () => worker),
        ...instances.map(({ helper }): Planned => ({
          who: `helper ${helper.name}`,
          compartment: helper,
          bundle: bundles.helper,
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
      if (metrics && metrics !== this.#metrics) await this.#endMetrics(metrics);
      await this.#endUnusedLogs();
      throw error;
    }
    const incumbent = this.#incumbent;
    this.#incumbent = candidate;
    this.#forgetPrograms(brought);
    this.#logs = logs;
    logToFiles(logs && ((line) => logs.write(line)));
    this.#keepMetrics(config, metrics);
    this.#keepListeners(config, added);
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
    const loading = this.#system.loadPrograms(config, this.#runtimeFolder);
    // What is being made in the runtime folder is removed before a failure is told.
    const settled = loading.then(() => {}, () => {});
    const denoDir = await this.#system.findDenoDir(config).finally(() => settled);
    const programs = { holdfast, denoDir, ...await loading };
    this.#programs.set(holdfast, programs);
    return programs;
  }

  /** What the incumbent does not need is not needed: a reload to it reads it anew. */
  #forgetPrograms(kept: string): void {
    for (const holdfast of [...this.#programs.keys()]) {
      if (holdfast !== kept) this.#programs.delete(holdfast);
    }
  }

  /** The logger of a config: the one that runs, if the config asks for no other. */
  async #logsFor(config: Config, signal: AbortSignal): Promise<LogService | undefined> {
    const { folder } = config.log;
    if (folder === undefined) return undefined;
    const { access, rotateBytes, rotateHours, keep, compress } = config.log;
    const log = { folder, access, rotateBytes, rotateHours, keep, compress };
    const { holdfast, logger: bundle, spawner: program } = await this.#programsOf(config);
    const compartment = logCompartment(config, folder, join(holdfast, LOGGER_ENTRY));
    const planned: Planned = { who: "logger", compartment, bundle, modulesOf: () => [] };
    const plan = await this.#planOf(config, planned, log);
    if (this.#logs?.plan === plan) {
      if (!this.#logs.fits) await this.#logs.renew();
      return this.#logs;
    }
    const spawner = this.#system.startSpawner(program);
    let service: LogService;
    try {
      service = new LogService({
        ...await this.#prepareOwn(config, planned, spawner),
        ...{ log, config, plan },
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
    const { holdfast, metrics: bundle, spawner: program } = await this.#programsOf(config);
    const compartment = metricsCompartment(config, metrics.listen, join(holdfast, METRICS_ENTRY));
    const { text } = metrics.listen;
    const planned: Planned = { who: "metrics", compartment, bundle, modulesOf: () => [] };
    const plan = await this.#planOf(config, planned, text);
    const running = this.#metrics && !isLost(this.#metrics.listener) ? this.#metrics : undefined;
    if (running?.plan === plan) return running;
    // The one that runs may have it, or the program before this one in the same process.
    const held = running?.listen === text
      ? running.listener
      : config.listen.some((each) => each.text === text)
      ? undefined
      : this.#listeners.get(text);
    const listener = held ?? await this.#bind(metrics.listen);
    const spawner = this.#system.startSpawner(program);
    let service: MetricsService | undefined;
    try {
      service = new MetricsService({
        ...await this.#prepareOwn(config, planned, spawner),
        ...{ config, listener, plan },
        status: () => this.status(),
      });
      await service.start(signal);
      return service;
    } catch (error) {
      if (!service) attempt("close the spawner", () => spawner.close());
      if (!held) attempt(`close ${text}`, () => listener.close());
      throw error;
    }
  }

  #keepMetrics({ metrics }: Config, service: MetricsService | undefined): void {
    const old = this.#metrics;
    this.#metrics = service;
    if (service) this.#listeners.delete(service.listen);
    if (old && old !== service) void this.#endMetrics(old);
    if (metrics) service?.update(metrics.listen);
  }

  /** Ends a metrics process, with its listener where nobody else has it. */
  async #endMetrics(service: MetricsService): Promise<void> {
    await service.close();
    const { listener } = service;
    if (listener === this.#metrics?.listener) return;
    if (listener === this.#listeners.get(listener.text)) return;
    attempt(`close ${listener.text}`, () => listener.close());
  }

  /** What a program of Holdfast's own is spawned with. */
  async #prepareOwn(config: Config, planned: Planned, spawner: Spawner) {
    return {
      ...await this.#prepareSpawning(config, planned, spawner),
      grants: workerGrants(planned.compartment),
      nextWorker: () => ++this.#lastWorker,
    };
  }

  /** Has the log files opened anew; where the folder is another one, by a logger whose wall has that. */
  async #reopenLogs(): Promise<Answer> {
    const [logs, config] = [this.#logs, this.#incumbent?.config];
    if (!logs || !config) return { type: "refused", reason: "the config has no log.folder" };
    if (logs.fits) logs.reopen();
    else {
      await this.#system.makeFolders({ ...config, unveil: [], helpers: [] });
      await logs.renew();
    }
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

  /** By this a logger, or a metrics process, is known to be the one that another config asks for. */
  async #planOf(config: Config, planned: Planned, duty: unknown): Promise<string> {
    const { denoDir } = await this.#programsOf(config);
    const command = this.#system.commandOf(config, planned.who, planned.compartment);
    // Not with Deno's caches, of which the names come and go with every command of Deno's.
    const wall = this.#wallOf(config, command, planned, { denoDir, modules: NO_MODULES }, []);
    const request = this.#spawnRequest(config, command, planned, denoDir, 0, wall);
    const plain = (_: string, value: unknown) => typeof value === "bigint" ? `${value}` : value;
    return JSON.stringify([request, duty], plain);
  }

  /** Builds the wall of a process around a spawner, and around each that comes after it. */
  async #prepareSpawning(
    config: Config,
    planned: Planned,
    spawner: Spawner,
    own?: GenerationCode,
  ): Promise<SlotSpawning> {
    const { denoDir, spawner: program } = await this.#programsOf(config);
    const generation = this.#lastGeneration + 1;
    const requestOf = (code: Code): SpawnRequest => {
      // What lies at a name is asked each time: the deno program above all may be another one by then.
      const command = this.#system.commandOf(config, planned.who, planned.compartment);
      const wall = this.#wallOf(config, command, planned, code);
      return this.#spawnRequest(config, command, planned, code.denoDir, generation, wall);
    };
    const first = own?.code ?? { denoDir, modules: NO_MODULES };
    return {
      first: { spawner, request: requestOf(first) },
      next: async () => {
        const request = requestOf(await own?.renew() ?? first);
        return { spawner: this.#system.startSpawner(program), request };
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
    caches = this.#system.findCaches(code.denoDir),
  ): Wall | undefined {
    if (config.wall === "deno") return undefined;
    const abi = this.#system.landlockAbi();
    requireWall(abi);
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
    // A socket whose file is gone is bound anew; what waits in the old one is its workers'.
    if (held && !isLost(held)) {
      requireSameKind(this.#addresses.get(address.text), address);
      return held;
    }
    const listener = this.#manager?.adopt(address) ?? await this.#bind(address);
    added.push(listener);
    return listener;
  }

  #bind(address: ListenAddress): Promise<Listener> {
    return this.#orphans.bind(() => this.#system.bindListener(address), this.#stopping.signal);
  }

  #keepListeners(config: Config, added: readonly Listener[]): void {
    for (const listener of added) {
      const old = this.#listeners.get(listener.text);
      if (old) {
        attempt(`close ${old.text}`, () => old.close());
        this.#manager?.closes(old.text);
      }
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
    { log }: Config,
    { program, args, env, input }: Command,
    { who, compartment, bundle }: Planned,
    denoDir: string,
    generation: number,
    wall: Wall | undefined,
  ): SpawnRequest {
    const { account, app }: Compartment = compartment;
    // What is Holdfast's own imports no module of the app's project.
    const imports = who !== "logger" && who !== "metrics";
    const source = input === "nothing" ? "" : imports ? workerProgram(bundle, app.module) : bundle;
    return {
      ...{ program, args, wall },
      env: {
        ...workerEnvironment(compartment, this.#environment, denoDir, generation),
        ...env,
      },
      cwd: app.project,
      source,
      output: {
        lineBytes: log.outputLineBytes,
        bytesPerSecond: log.outputBytesPerSecond,
        burstBytes: log.outputBurstBytes,
      },
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
      const metrics = this.#metrics;
      this.#metrics = undefined;
      if (metrics) await this.#endMetrics(metrics);
      await this.#runtimeChange;
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
    this.#waiting = {};
    for (const [text, listener] of this.#listeners) {
      this.#told(
        text,
        isLost(listener) ? "its file was removed or replaced" : undefined,
        (reason) => {
          log.error("listener_lost", { listen: text, reason, hint: "HUP binds it anew" });
        },
      );
      attempt(`set the options of ${text} back`, () => {
        const options = listener.setBack();
        if (options.length === 0) return;
        // Which worker it was nobody can tell, and nobody is worse off now.
        const generation = this.#incumbent?.number;
        const changed = options.map(({ level, name }) => `${level}:${name}`);
        log.error("listener_changed", { listen: text, generation, options: changed });
      });
      attempt(`look at what waits on ${text}`, () => this.#waiting[text] = listener.waiting());
      attempt(`listen on ${text} again`, () => {
        if (!listener.listenAgain()) return;
        log.error("listener_stopped", { listen: text, generation: this.#incumbent?.number });
        for (const { process } of this.#incumbent?.workers ?? []) {
          process?.condemn(`made ${text} stop`);
        }
      });
    }
    this.#incumbent?.lookAtAcceptance(sumOf(this.#waiting));
  }

  #lookAtLogs(): void {
    const { log: { folder }, trouble } = this.#logs ?? { log: { folder: "" } };
    this.#told("log", trouble, (reason) => log.error("log_unwritten", { folder, reason }));
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
    attempt("close the record of processes", () => this.#closeRecord?.());
    this.#closeRecord = undefined;
    attempt("close the runtime folder", () => this.#runtime?.close());
    this.#runtime = undefined;
    this.#manager?.close();
    this.#manager = undefined;
  }

  #state(): Status["state"] {
    if (this.#stopping.signal.aborted) return "stopping";
    if (this.#incumbent === undefined) return this.#former ? "upgrading" : "starting";
    if (this.#incumbent.failing) return "failing";
    return this.#upgrading ? "upgrading" : "serving";
  }

  /** What `holdfast status` shows. */
  status(): Status {
    return {
      pid: Deno.pid,
      state: this.#state(),
      memoryBytes: residentBytes(Deno.pid),
      descriptors: countDescriptors(Deno.pid),
      holdfast: VERSION,
      deno: Deno.version.deno,
      config: this.#incumbent?.config.file ?? this.#file,
      named: this.#file,
      ageMs: Math.round(performance.now() - this.#startedMs),
      listeners: [...this.#listeners.keys()],
      waiting: this.#waiting,
      accepting: !this.#incumbent?.stalled,
      logger: this.#logs
        ? {
          folder: this.#logs.log.folder,
          dropped: this.#logs.dropped,
          replacements: this.#logs.replacements,
          ...this.#logs.trouble !== undefined && { trouble: this.#logs.trouble },
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

/** What a socket takes is settled when it is bound. */
function requireSameKind(bound: ListenAddress | undefined, wanted: ListenAddress): void {
  const alone = (address: ListenAddress | undefined) =>
    address?.kind === "tcp" && address.ipv6Only === true;
  if (alone(bound) === alone(wanted)) return;
  const [is, shall] = alone(bound) ? ["IPv6 alone", "IPv4 too"] : ["IPv4 too", "IPv6 alone"];
  throw new HoldfastError(
    `${wanted.text} was bound to take ${is}, and is to take ${shall} by the new config`,
    {
      kind: "environment",
      code: "listener_rebind",
      hint: "Restart Holdfast; beside an IPv4 address with its port, [::] takes IPv6 alone",
    },
  );
}

function sumOf(counts: Readonly<Record<string, number>>): number {
  return Object.values(counts).reduce((sum, count) => sum + count, 0);
}
