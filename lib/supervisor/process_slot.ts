/** A place that one process is to fill, now and later: slot_states.ts says what is done when. */
import { log } from "../base/log.ts";
import { roleText } from "../protocol/role.ts";
import { bestEffort } from "./best_effort.ts";
import { killWorker } from "./bring_up.ts";
import { type DrainCause, type DrainOutcome, drainProcess, type Keeping } from "./drain.ts";
import type { HealthAction, Recycle } from "./health.ts";
import { ProcessStarter, type StartOptions, watchHealth } from "./process_starter.ts";
import { tellDrained, tellKeptLimit, tellReplaced, tellUnhealthy } from "./process_log.ts";
import type { SlotAct, SlotEvent } from "./slot_events.ts";
import { inCrashLoop, next, type Slot } from "./slot_states.ts";
import { sleep } from "../base/sleep.ts";
import { describeDeath, type WorkerProcess } from "./worker_process.ts";

export interface SlotOptions extends StartOptions {
  /** Says what is to become of a living process, if it is not to go on. */
  readonly health?: (process: WorkerProcess) => HealthAction | undefined;
  /** Whether one that died is replaced. */
  readonly restart: "always" | "never";
}

type Act<Kind extends SlotAct> = (act: Kind, arrived?: WorkerProcess) => unknown;
type Acts = { readonly [Kind in SlotAct["act"]]: Act<Extract<SlotAct, { act: Kind }>> };

export class ProcessSlot {
  readonly #options: SlotOptions;
  readonly #starter: ProcessStarter;
  readonly #stop = new AbortController();
  /** Those whose place another one has taken, until they are gone; in a drain all that are left. */
  readonly #draining = new Map<WorkerProcess | undefined, Promise<DrainOutcome>>();
  readonly #stopped = Promise.withResolvers<void>();
  readonly #kept = Promise.withResolvers<void>();
  readonly #letGo = Promise.withResolvers<DrainCause>();
  #slot: Slot;
  #process: WorkerProcess | undefined;
  #replacements = 0;
  /** Settles when the process that is brought up serves, or is gone. */
  #pending: Promise<void> = Promise.resolve();
  /** Gives up what is brought up. */
  #signal = this.#stop.signal;
  #failure: unknown;

  constructor(options: SlotOptions) {
    this.#options = options;
    this.#starter = new ProcessStarter(options);
    const restart = options.restart === "always";
    this.#slot = { state: "empty", restart, deaths: 0, recycleFromMs: 0 };
  }

  get process(): WorkerProcess | undefined {
    return this.#process;
  }

  /** Settles during a drain: no process of the slot accepts from then on. */
  get stopped(): Promise<void> {
    return this.#stopped.promise;
  }

  /** Settles during a drain: no process of the slot has anything but WebSockets that stay. */
  get kept(): Promise<void> {
    return this.#kept.promise;
  }

  /** How many processes took the place of another one. */
  get replacements(): number {
    return this.#replacements;
  }

  /** Whether the last ones died or hung one soon after the other, and none has served for long since. */
  get failing(): boolean {
    return inCrashLoop(this.#slot, this.#process?.alive ? this.#process.answeringMs : 0);
  }

  /** Whether one is about to take the place of another, or that one is not gone yet. */
  get recycling(): boolean {
    const { state } = this.#slot;
    return state.startsWith("replacing") || state !== "keeping" && this.#draining.size > 0;
  }

  /**
   * Brings up the first process until it serves.
   *
   * @throws {HoldfastError} if it does not come up before the deadline; it is gone then
   */
  async start(signal: AbortSignal): Promise<void> {
    this.#signal = AbortSignal.any([signal, this.#stop.signal]);
    this.#dispatch({ type: "start" });
    await this.#pending;
    this.#signal = this.#stop.signal;
    if (this.#process === undefined) throw this.#failure ?? this.#signal.reason;
  }

  /** The same, of a slot that stands alone: where it throws, nothing of the slot is left. */
  async startAlone(signal: AbortSignal): Promise<void> {
    try {
      await this.start(signal);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /** Lets the process finish, and lets go of everything. Never fails. */
  async end(): Promise<void> {
    await this.drain("stopping");
    this.close();
  }

  /**
   * Lets the process finish what it has, until its deadline, and any that is leaving. Never fails.
   *
   * @param keep whether its WebSockets may stay
   * @returns how each of them left
   */
  async drain(cause: DrainCause, keep = false): Promise<DrainOutcome[]> {
    this.#dispatch({ type: "drain", cause, keep });
    await this.#pending;
    const all = [...this.#draining.keys()];
    void Promise.all(all.map((process) => process?.stopped)).then(() => this.#stopped.resolve());
    void Promise.all(all.map((process) => process?.kept)).then(() => this.#kept.resolve());
    return await Promise.all(this.#draining.values());
  }

  /** Has WebSockets end that stay in a drain. */
  letGo(cause: DrainCause): void {
    this.#dispatch({ type: "drain", cause, keep: false });
  }

  /**
   * Has another process take the place of the one that serves, now.
   *
   * @throws {Error} if it does not come up
   */
  async recycle(): Promise<void> {
    const process = this.#process;
    if (!process?.alive) return;
    this.#dispatch({ type: "recycle", recycle: { act: "recycle", cause: "unfit" } });
    await this.#pending;
    if (this.#process !== process) return;
    throw new Error(`Another ${this.#who} did not start: see worker_start_failed in the log`);
  }

  /** Ends the process now. */
  cut(): void {
    this.#dispatch({ type: "cut" });
  }

  /** Ends the process now, and waits until it is gone. */
  async kill(): Promise<void> {
    this.cut();
    if (this.#process?.alive) await killWorker(this.#process);
    await this.#pending;
  }

  /** Lets go of what no process has used. To be called when the process is gone. */
  close(): void {
    this.#dispatch({ type: "close" });
  }

  #dispatch(event: SlotEvent, arrived?: WorkerProcess): void {
    const now = { ms: performance.now(), jitter: Math.random() };
    const { slot, acts } = next(this.#slot, event, now);
    this.#slot = slot;
    for (const act of acts) void (this.#acts[act.act] as Act<SlotAct>)(act, arrived);
  }

  /** How each act is done; `arrived` is the process of a `ready`. */
  readonly #acts: Acts = {
    bringUp: () => this.#pending = this.#bringUp(),
    wait: ({ ms }) => sleep(ms, this.#stop.signal).then(() => this.#dispatch({ type: "timer" })),
    abort: ({ why }) => this.#stop.abort(new Error(`The ${this.#who} ${why}`)),
    takePlace: ({ recycle }, arrived) => this.#takePlace(arrived!, recycle),
    drain: ({ cause, keep }) => this.#drain(this.#process, cause, false, keep),
    letGo: ({ cause, recycle }) => {
      if (recycle?.cause === "limit") tellKeptLimit(this.#process!, recycle.facts);
      this.#letGo.resolve(cause);
    },
    endLate: ({ cause }, arrived) => cause ? this.#drain(arrived, cause) : kill(arrived),
    kill: () => [this.#process, ...this.#draining.keys()].forEach(kill),
    closeSpawner: () => this.#starter.close(),
    tellLost: ({ how, livedMs }) =>
      log.error("worker_lost", { ...this.#process?.logFields, how, livedMs }),
    tellStartFailed: ({ reason, nextTryMs }) => {
      const { generation } = this.#options;
      log.error("worker_start_failed", { role: this.#who, generation, reason, nextTryMs });
    },
    tellUnhealthy: ({ recycle }) => tellUnhealthy(this.#process!, recycle),
  };

  get #who(): string {
    return roleText(this.#options.role);
  }

  #bringUp(): Promise<void> {
    return this.#starter.start(this.#signal).then((process) => {
      this.#dispatch({ type: "ready", answeringMs: this.#process?.answeringMs ?? 0 }, process);
    }, (error: Error) => {
      this.#failure = error;
      this.#dispatch({ type: "startFailed", reason: error.message });
    });
  }

  #takePlace(process: WorkerProcess, recycle: Recycle | undefined): void {
    const old = this.#process;
    this.#process = process;
    if (old) this.#replacements++;
    void this.#watch(process);
    if (!old || !recycle) return;
    tellReplaced(old, process, recycle);
    void this.#drain(old, "replaced", recycle.cause === "stuck").then((outcome) => {
      this.#draining.delete(old);
      tellDrained(old, outcome);
    });
  }

  async #watch(process: WorkerProcess): Promise<void> {
    const death = await watchHealth(process, this.#options.health, (recycle) => {
      if (this.#process === process) this.#dispatch({ type: "recycle", recycle });
    });
    if (this.#process !== process) return;
    const [how, livedMs] = [describeDeath(death), Math.round(death.livedMs)];
    const spare = this.#options.spares?.ready ?? false;
    this.#dispatch({ type: "died", how, livedMs, servedMs: process.servedMs, spare });
  }

  #drain(
    process: WorkerProcess | undefined,
    cause: DrainCause,
    seemsStuck = false,
    keep = false,
  ) {
    const { reload } = this.#options.config;
    const { keepDeadlineMs: deadlineMs = 0 } = reload;
    const keeping: Keeping = { deadlineMs, letGo: this.#letGo.promise };
    const outcome = drainProcess(process, cause, reload, seemsStuck, keep ? keeping : undefined);
    this.#draining.set(process, outcome);
    return outcome;
  }
}

function kill(process: WorkerProcess | undefined): void {
  bestEffort("signal", () => process?.signal("SIGKILL"));
}
