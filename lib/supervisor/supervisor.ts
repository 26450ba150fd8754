/**
 * The supervisor: holds the listeners and the right to spawn, and swaps generations. It parses no
 * HTTP, imports no app and believes no worker.
 */
import { dirname, join } from "node:path";
import { toHoldfastError } from "../base/error.ts";
import { flushLog, log, logToFiles } from "../base/log.ts";
import { VERSION } from "../base/version.ts";
import type { Compartment, Config, ListenAddress } from "../config/config.ts";
import type { Answer, ReloadResult, Status } from "../protocol/control.ts";
import { logCompartment } from "../sandbox/log_compartment.ts";
import { type Wall, type Walled, workerWall } from "../sandbox/wall.ts";
import {
  workerArguments,
  workerEnvironment,
  workerGrants,
  workerProgram,
} from "../sandbox/worker_command.ts";
import { adoptListener } from "./adopted_listener.ts";
import { attempt } from "./attempt.ts";
import type { ControlServer } from "./control_server.ts";
import { describeGeneration, describeProcess } from "./describe.ts";
import { stampFiles } from "./file_stamp.ts";
import { Former } from "./former.ts";
import { Generation, type GenerationRecord, type SlotSpawning } from "./generation.ts";
import type { Inheritance } from "./inheritance.ts";
import type { Listener } from "./listener.ts";
import { LogService } from "./log_service.ts";
import { allModules, LOGGER_ENTRY } from "./prepare.ts";
import { rehearse } from "./rehearsal.ts";
import { ReloadQueue } from "./reload_queue.ts";
import { requireWall } from "./require_wall.ts";
import { adoptRuntimeFolder, type RuntimeFolder } from "./runtime_folder.ts";
import type { Spawner } from "./spawner.ts";
import type { SpawnRequest } from "./spawner_message.ts";
import type { System } from "./system.ts";
import { handToNext } from "./upgrade.ts";

/** How long a worker that made a listener stop can keep it so. */
const LISTEN_AGAIN_MS = 1_000;

/** How often a candidate is tried whose files are replaced while it starts. */
const MAX_CANDIDATES = 3;

/** How many ended generations `status` remembers. */
const MAX_RECORDS = 10;

/** What Holdfast brings for the processes of a config. */
interface Programs {
  /** The folder of the Holdfast that brings them. */
  readonly holdfast: string;
  readonly denoDir: string;
  readonly worker: string;
  /** Programs that not every config needs, made for the first one that does. */
  readonly more: Map<"bundleHelper" | "bundleLogger", string>;
}

/** A process to be: what it is granted, what it runs, and the files of its module graph. */
interface Planned {
  readonly compartment: Walled;
  readonly bundle: string;
  readonly modules: readonly string[];
}

export class Supervisor {
  readonly #system: System;
  readonly #file: string;
  readonly #startedMs = performance.now();
  readonly #uid = Deno.uid();
  readonly #environment = Deno.env.toObject();
  readonly #stopping = new AbortController();
  readonly #reloads = new ReloadQueue(() => this.#reload());
  readonly #stopped = Promise.withResolvers<void>();
  readonly #generations = new Set<Generation>();
  readonly #retiring = new Set<Promise<void>>();
  readonly #ended: GenerationRecord[] = [];
  #listeners = new Map<string, Listener>();
  readonly #addresses = new Map<string, ListenAddress>();
  #runtime: RuntimeFolder | undefined;
  /** By the folder of the Holdfast that brings them: it is another one in a newer executable. */
  readonly #programs = new Map<string, Programs>();
  /** The logger of the incumbent's config. */
  #logs: LogService | undefined;
  /** With those that only draining generations still use. */
  readonly #logServices = new Set<LogService>();
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
  readonly #listenAgain = setInterval(() => this.#lookAtListeners(), LISTEN_AGAIN_MS);

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
    const config = await this.#system.loadConfig(this.#file);
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
    log.info("serving", {
      pid: Deno.pid,
      listen: [...this.#listeners.keys()],
      generation: this.#incumbent?.number,
      ms: Math.round(performance.now() - this.#startedMs),
    });
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
      listeners: [...this.#listeners].map(([text, listener]) => ({
        listener,
        address: this.#addresses.get(text)!,
      })),
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
    return this.#lastReload;
  }

  async #tryReload(): Promise<void> {
    this.#stopping.signal.throwIfAborted();
    this.#logs?.reopen();
    const config = await this.#system.loadConfig(this.#file);
    await this.#switchTo(config);
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
    const added: Listener[] = [];
    const instances = config.helpers.flatMap((helper) =>
      Array.from({ length: helper.instances }, (_, instance) => ({ helper, instance }))
    );
    const spawners: Spawner[] = [];
    let candidate: Generation | undefined;
    let logs: LogService | undefined;
    let brought = "";
    try {
      // Their threads start while the modules are looked at; both take their time.
      for (let left = 1 + instances.length; left > 0; left--) {
        spawners.push(this.#system.startSpawner());
      }
      const { holdfast, denoDir, worker: bundle } = await this.#programsOf(config);
      brought = holdfast;
      const modules = await this.#system.prepareApp(config, denoDir, signal);
      onModules(allModules(modules));
      await this.#system.makeFolders(config);
      logs = await this.#logsFor(config, signal);
      const helperBundle = instances.length > 0 ? await this.#bundleOf(config, "bundleHelper") : "";
      this.#warnOfMissingWall(config);
      const worker = { compartment: config, bundle, modules: modules.app };
      const [spawning, ...helpers] = await Promise.all([
        this.#prepareSpawning(config, worker, spawners[0]!),
        ...instances.map(({ helper }, index) =>
          this.#prepareSpawning(config, {
            compartment: helper,
            bundle: helperBundle,
            modules: modules.helpers[helper.name]!,
          }, spawners[index + 1]!)
        ),
      ]);
      const listeners: Listener[] = [];
      for (const address of config.listen) listeners.push(await this.#listenerFor(address, added));
      candidate = new Generation({
        number: ++this.#lastGeneration,
        config,
        listeners,
        logs,
        worker: spawning,
        helpers: instances.map((each, index) => ({ ...each, ...helpers[index]! })),
        nextWorker: () => ++this.#lastWorker,
      });
      this.#generations.add(candidate);
      await candidate.start(signal);
    } catch (error) {
      if (candidate) this.#generations.delete(candidate);
      else for (const spawner of spawners) attempt("close the spawner", () => spawner.close());
      for (const listener of added) attempt(`close ${listener.text}`, () => listener.close());
      await this.#endUnusedLogs();
      throw error;
    }
    const incumbent = this.#incumbent;
    this.#incumbent = candidate;
    this.#forgetPrograms(brought);
    this.#logs = logs;
    logToFiles(logs && ((line) => logs.write(line)));
    this.#keepListeners(config, added);
    if (incumbent) this.#retire(incumbent);
    this.#former?.retire();
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
  async #bundleOf(config: Config, kind: "bundleHelper" | "bundleLogger"): Promise<string> {
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
      const { request, ...spawning } = await this.#prepareSpawning(
        config,
        { compartment, bundle, modules: [] },
        spawner,
        bundle,
      );
      const [run, ...args] = request.args;
      service = new LogService({
        ...{ log, config, ...spawning },
        grants: workerGrants(compartment),
        // Settings that lie above the log folder are none of its own.
        request: { ...request, args: [run!, "--no-config", ...args] },
        nextWorker: () => ++this.#lastWorker,
      });
    } catch (error) {
      attempt("close the spawner", () => spawner.close());
      throw error;
    }
    await service.start(signal);
    this.#logServices.add(service);
    return service;
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
    source = workerProgram(planned.bundle, planned.compartment.app.module),
  ): Promise<SlotSpawning> {
    const { denoDir } = await this.#programsOf(config);
    const wall = this.#wallOf(config, planned, denoDir);
    await spawner.confine(wall);
    return {
      spawner,
      request: this.#spawnRequest(planned, source, denoDir),
      startSpawner: async () => {
        const another = this.#system.startSpawner();
        try {
          await another.confine(wall);
          return another;
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
    { compartment, modules }: Planned,
    denoDir: string,
  ): Wall | undefined {
    if (config.wall === "deno") return undefined;
    const abi = this.#system.landlockAbi();
    requireWall(abi);
    const caches = this.#system.findCaches(denoDir);
    const forbidden = this.#runtime!.lockFile;
    return workerWall(compartment, {
      arch: Deno.build.arch,
      abi,
      caches,
      denoProgram: Deno.execPath(),
      modules,
      forbidden,
    });
  }

  async #listenerFor(address: ListenAddress, added: Listener[]): Promise<Listener> {
    const held = this.#listeners.get(address.text);
    if (held) return held;
    const listener = await this.#system.bindListener(address);
    added.push(listener);
    return listener;
  }

  #keepListeners(config: Config, added: readonly Listener[]): void {
    for (const listener of added) this.#listeners.set(listener.text, listener);
    const wanted = new Map(config.listen.map((address) => [address.text, address]));
    for (const [text, address] of wanted) this.#addresses.set(text, address);
    for (const [text, listener] of this.#listeners) {
      const address = wanted.get(text);
      // The switch has happened; what fails from here on is no reason to undo it.
      if (address) attempt(`update ${text}`, () => listener.update(address));
      else {
        this.#listeners.delete(text);
        attempt(`close ${text}`, () => listener.close());
        log.info("listener_closed", { listen: text });
      }
    }
  }

  #spawnRequest({ compartment }: Planned, source: string, denoDir: string): SpawnRequest {
    const { account, app }: Compartment = compartment;
    return {
      program: Deno.execPath(),
      args: workerArguments(compartment),
      env: workerEnvironment(compartment, this.#environment, denoDir),
      cwd: app.project,
      source,
      account: account && { uid: account.uid, gid: account.gid },
    };
  }

  #retire(generation: Generation): void {
    const work = generation.drain().then(async (record) => {
      this.#generations.delete(generation);
      this.#retiring.delete(work);
      this.#ended.unshift(record);
      this.#ended.length = Math.min(this.#ended.length, MAX_RECORDS);
      log.info("generation_ended", { ...record });
      await this.#endUnusedLogs();
    });
    this.#retiring.add(work);
  }

  /** Drains every generation and ends. A second call waits for the first. */
  async stop(): Promise<void> {
    if (!this.#stopping.signal.aborted) {
      log.info("stopping");
      this.#stopping.abort(new Error("The supervisor is stopping"));
      // A candidate or a switch under way sees the signal; what comes out of it is drained too.
      await this.#busy;
      if (this.#incumbent) this.#retire(this.#incumbent);
      this.#former?.retire();
      await Promise.all([...this.#retiring, this.#former?.gone]);
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

  /** Only a worker can have made a listener stop, and it does not take connections there again. */
  #lookAtListeners(): void {
    for (const [text, listener] of this.#listeners) {
      attempt(`listen on ${text} again`, () => {
        if (!listener.listenAgain()) return;
        log.error("listener_stopped", { listen: text, generation: this.#incumbent?.number });
        this.#incumbent?.worker?.condemn(`made ${text} stop`);
      });
    }
  }

  #letGo(): void {
    clearInterval(this.#listenAgain);
    for (const [text, listener] of this.#listeners) {
      attempt(`close ${text}`, () => listener.close());
    }
    this.#listeners.clear();
    attempt("close the control socket", () => this.#control?.close());
    this.#control = undefined;
    attempt("close the runtime folder", () => this.#runtime?.close());
    this.#runtime = undefined;
  }

  /** What `holdfast status` shows. */
  status(): Status {
    return {
      pid: Deno.pid,
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
      generations: [...this.#generations].map(describeGeneration),
      reloads: this.#reloadCount,
      lastReload: this.#lastReload ?? null,
      upgrades: this.#upgrades,
      upgradeRefused: this.#upgradeRefused ?? null,
      ended: this.#ended,
    };
  }
}
