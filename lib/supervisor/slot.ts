/**
 * A place that one process is to fill: it brings one up, another when that dies, and another in the
 * place of one that is to leave.
 */
import { log } from "../base/log.ts";
import type { Config } from "../config/config.ts";
import { countDescriptors } from "../os/file.ts";
import { type Role, roleText } from "../protocol/role.ts";
import type { ToWorker } from "../protocol/to_worker.ts";
import { attempt } from "./attempt.ts";
import { backoffMs, FAILING_DEATHS, LIVED_MS } from "./backoff.ts";
import { killWorker } from "./bring_up.ts";
import type { Renewal, Verdict } from "./judge.ts";
import { lookAtMainThread } from "./main_thread.ts";
import { settlesWithin, sleep } from "./patience.ts";
import { LOOK_INTERVAL_MS } from "./silence.ts";
import type { Spawner } from "./spawner.ts";
import type { SpawnRequest } from "./spawner_message.ts";
import { describeDeath, WorkerProcess } from "./worker_process.ts";

/** What a process may take over its own deadline before it is killed. */
const DRAIN_MARGIN_MS = 2_000;

/** What a process that seems stuck may take to show that it is not, before it is killed. */
const STUCK_GRACE_MS = 2_000;

/** A spawner that is confined, and what it is to spawn. */
export interface ConfinedSpawner {
  readonly spawner: Spawner;
  readonly request: SpawnRequest;
}

export interface SlotOptions {
  readonly role: Role;
  readonly generation: number;
  readonly config: Config;
  /** For the first process; the slot's own from here on. */
  readonly first: ConfinedSpawner;
  /** Starts another spawner, confined to what is there at that time. */
  readonly next: () => Promise<ConfinedSpawner>;
  /** Numbers processes over all generations. */
  readonly nextWorker: () => number;
  /** Brings up a process that was spawned, until it serves; it is gone if that fails. */
  readonly bringUp: (process: WorkerProcess, signal: AbortSignal) => Promise<void>;
  /** Says what is to become of a living process, if it is not to go on. */
  readonly judge?: (process: WorkerProcess) => Verdict | undefined;
  /** Whether one that died is replaced. */
  readonly restart: "always" | "never";
}

/** Why a process is told to drain. */
export type DrainReason = Extract<ToWorker, { type: "drain" }>["reason"];

/** How a process left that was told to drain, and its last words if it came to say them. */
export interface Departure {
  readonly end: "ended" | "killed";
  readonly drained: WorkerProcess["drained"];
}

export class Slot {
  readonly role: Role;
  readonly #options: SlotOptions;
  readonly #stop = new AbortController();
  /** Those whose place another one has taken, until they are gone. */
  readonly #leaving = new Map<WorkerProcess, Promise<Departure>>();
  readonly #stopped = Promise.withResolvers<void>();
  #spare: ConfinedSpawner | undefined;
  #process: WorkerProcess | undefined;
  #deaths = 0;
  #replacements = 0;
  #respawning: Promise<void> | undefined;
  #renewal: Promise<void> | undefined;
  #renewalFromMs = 0;

  constructor(options: SlotOptions) {
    this.#options = options;
    this.#spare = options.first;
    this.role = options.role;
  }

  get process(): WorkerProcess | undefined {
    return this.#process;
  }

  /** Settles during a drain: no process of the slot accepts from then on. */
  get stopped(): Promise<void> {
    return this.#stopped.promise;
  }

  /** How many processes took the place of another one. */
  get replacements(): number {
    return this.#replacements;
  }

  /** Whether the last ones died or hung one soon after the other, and none has served for long since. */
  get failing(): boolean {
    const servedMs = this.#process?.alive ? this.#process.answeringMs : 0;
    return this.#deaths >= FAILING_DEATHS && servedMs < LIVED_MS;
  }

  /** Whether one is about to take the place of another, or that one is not gone yet. */
  get renewing(): boolean {
    return this.#renewal !== undefined || this.#leaving.size > 0;
  }

  /**
   * Brings up the first process until it serves.
   *
   * @throws {HoldfastError} if it does not come up before the deadline; it is gone then
   */
  async start(signal: AbortSignal): Promise<void> {
    this.#process = await this.#bringUp(AbortSignal.any([signal, this.#stop.signal]));
    void this.#watch(this.#process);
  }

  /**
   * Lets the process finish what it has, until its deadline, and any that is leaving. Never fails.
   *
   * @returns how each of them left, the process of the slot first
   */
  async drain(reason: DrainReason): Promise<Departure[]> {
    this.#stop.abort(new Error(`The ${roleText(this.role)} is draining`));
    await this.#respawning;
    await this.#renewal;
    const ends = [this.#end(this.#process, reason), ...this.#leaving.values()];
    const stops = [this.#process, ...this.#leaving.keys()].map((process) => process?.stopped);
    void Promise.all(stops).then(() => this.#stopped.resolve());
    return await Promise.all(ends);
  }

  /**
   * Has another process take the place of the one that serves, now.
   *
   * @throws {Error} if it does not come up
   */
  async renew(): Promise<void> {
    const process = this.#process;
    if (!process?.alive) return;
    this.#renewalFromMs = 0;
    this.#renew(process, { act: "renew", cause: "unfit" });
    await this.#renewal;
    if (this.#process === process) {
      const role = roleText(this.role);
      throw new Error(`Another ${role} did not start: see worker_start_failed in the log`);
    }
  }

  /** Ends the process now. */
  cut(): void {
    this.#stop.abort(new Error(`The ${roleText(this.role)} was cut`));
    for (const process of [this.#process, ...this.#leaving.keys()]) {
      attempt("signal", () => process?.signal("SIGKILL"));
    }
  }

  /** Ends the process now, and waits until it is gone. */
  async kill(): Promise<void> {
    this.cut();
    if (this.#process?.alive) await killWorker(this.#process);
  }

  /** Lets go of what no process has used. To be called when the process is gone. */
  close(): void {
    this.#stop.abort(new Error(`The ${roleText(this.role)} is gone`));
    attempt("close the spawner", () => this.#spare?.spawner.close());
    this.#spare = undefined;
  }

  async #end(
    process: WorkerProcess | undefined,
    reason: DrainReason,
    cause?: Renewal["cause"],
  ): Promise<Departure> {
    if (!process?.alive) return { end: "ended", drained: process?.drained };
    const told = attempt("drain", () => process.command({ type: "drain", reason }));
    const { shutdownDelayMs, drainDeadlineMs } = this.#options.config.reload;
    const patienceMs = (reason === "stopping" ? shutdownDelayMs : 0) + drainDeadlineMs;
    let limitMs = told ? patienceMs + DRAIN_MARGIN_MS : 0;
    if (cause === "stuck") {
      await settlesWithin(process.exited, STUCK_GRACE_MS);
      if (process.silentMs >= STUCK_GRACE_MS) limitMs = 0;
    }
    if (await settlesWithin(process.exited, limitMs)) {
      return { end: "ended", drained: process.drained };
    }
    await killWorker(process);
    return { end: "killed", drained: process.drained };
  }

  async #bringUp(signal: AbortSignal): Promise<WorkerProcess> {
    const { role, generation, config, next, nextWorker, bringUp } = this.#options;
    signal.throwIfAborted();
    // A wall is made of what was there when it was built: a file that was put in the place of
    // another since then is behind it. So each process has a spawner of its own, as long as it lives.
    const { spawner, request } = this.#spare ?? await next();
    this.#spare = undefined;
    const close = () => attempt("close the spawner", () => spawner.close());
    let process: WorkerProcess;
    try {
      const identity = { id: nextWorker(), role, generation, onViolation: config.onViolation };
      process = new WorkerProcess(identity, spawner, request);
    } catch (error) {
      close();
      throw error;
    }
    void process.exited.then(close);
    await bringUp(process, signal);
    log.info("worker_ready", {
      ...process.names,
      engine: process.engine,
      ms: Math.round(process.ageMs),
    });
    return process;
  }

  async #watch(process: WorkerProcess): Promise<void> {
    const { judge, restart } = this.#options;
    const look = setInterval(() => {
      process.look();
      const verdict = judge?.(process);
      if (verdict?.act === "kill") process.condemn(verdict.reason);
      if (verdict?.act === "renew") this.#renew(process, verdict);
    }, LOOK_INTERVAL_MS);
    const death = await process.exited;
    clearInterval(look);
    if (this.#stop.signal.aborted || this.#process !== process) return;
    log.error("worker_lost", {
      ...process.names,
      how: describeDeath(death),
      livedMs: Math.round(death.livedMs),
    });
    this.#countDeath(process.servedMs);
    // One that is about to take its place anyway is there sooner than another would be.
    await this.#renewal;
    if (restart === "always" && this.#process === process) this.#respawning = this.#respawn();
  }

  #countDeath(servedMs: number): void {
    this.#deaths = servedMs >= LIVED_MS ? 1 : this.#deaths + 1;
  }

  /** Tries until a process serves again. */
  async #respawn(): Promise<void> {
    const { signal } = this.#stop;
    let waitMs = backoffMs(this.#deaths);
    while (!signal.aborted) {
      await sleep(waitMs, signal);
      if (signal.aborted) return;
      try {
        this.#fill(await this.#bringUp(signal));
        return;
      } catch (error) {
        if (signal.aborted) return;
        waitMs = this.#startFailed(error as Error);
      }
    }
  }

  #fill(process: WorkerProcess): void {
    this.#process = process;
    this.#replacements++;
    if (!this.#stop.signal.aborted) void this.#watch(process);
  }

  /** @returns when to try again, in milliseconds from now */
  #startFailed(error: Error): number {
    const nextTryMs = backoffMs(++this.#deaths);
    log.error("worker_start_failed", {
      role: roleText(this.role),
      generation: this.#options.generation,
      reason: error.message,
      nextTryMs,
    });
    return nextTryMs;
  }

  #renew(process: WorkerProcess, verdict: Renewal): void {
    if (this.#stop.signal.aborted || this.#process !== process || this.#renewal) return;
    if (performance.now() < this.#renewalFromMs) return;
    this.#renewal = this.#replace(process, verdict).finally(() => this.#renewal = undefined);
  }

  /** Brings up another process, and has the old one leave when that serves. */
  async #replace(old: WorkerProcess, renewal: Renewal): Promise<void> {
    const { signal } = this.#stop;
    if (renewal.cause === "stuck") {
      const { names, pid = 0, silentMs } = old;
      log.error("worker_stuck", {
        ...names,
        silentMs: Math.round(silentMs),
        ...lookAtMainThread(pid),
        hint: "Something keeps its event loop busy; see docs/operating.md#the-watchdog",
      });
    }
    if (renewal.cause === "not_accepting") {
      log.error("worker_not_accepting", {
        ...old.names,
        connections: old.figures.connections,
        descriptors: countDescriptors(old.pid ?? 0),
        hint: "Something in it keeps descriptors, or closed its listener; see " +
          "docs/operating.md#more-connections-than-descriptors",
      });
    }
    let next: WorkerProcess;
    try {
      next = await this.#bringUp(signal);
    } catch (error) {
      // The old one goes on.
      if (signal.aborted) return;
      this.#renewalFromMs = performance.now() + this.#startFailed(error as Error);
      return;
    }
    if (renewal.cause === "stuck") this.#countDeath(old.answeringMs);
    else this.#deaths = 0;
    this.#fill(next);
    const names = { ...old.names, next: next.id };
    if (renewal.cause === "stuck" || renewal.cause === "not_accepting") {
      log.info("worker_replaced", names);
    } else {
      const facts = renewal.cause === "worn_out" ? renewal.facts : {};
      log.info("worker_recycled", { ...names, ...facts });
    }
    this.#leaving.set(old, this.#leave(old, renewal.cause));
  }

  async #leave(process: WorkerProcess, cause: Renewal["cause"]): Promise<Departure> {
    const departure = await this.#end(process, "replaced", cause);
    this.#leaving.delete(process);
    const { answered = 0, cut = null } = departure.drained ?? {};
    log.info("worker_left", { ...process.names, end: departure.end, answered, cut });
    return departure;
  }
}
