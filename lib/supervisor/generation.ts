/** One config snapshot, and the processes started from it: its workers and their helpers. */
import { log } from "../base/log.ts";
import type { Config, HelperConfig } from "../config/config.ts";
import { workerGrants } from "../sandbox/worker_command.ts";
import { LIVED_MS } from "./backoff.ts";
import { bringUp } from "./bring_up.ts";
import { readProcess } from "../os/file.ts";
import { PULSE_INTERVAL_MS } from "../protocol/limits.ts";
import { residentBytes } from "./describe.ts";
import { Acceptance } from "./acceptance.ts";
import { isFull, judgeHelper, type Verdict, wornOut } from "./judge.ts";
import type { GenerationCode } from "./generation_code.ts";
import type { Listener } from "./listener.ts";
import type { LogService } from "./log_service.ts";
import { type Departure, type DrainReason, Slot, type SlotOptions } from "./slot.ts";
import { Switchboard } from "./switchboard.ts";
import type { WorkerProcess } from "./worker_process.ts";

export type GenerationState = "starting" | "serving" | "draining" | "gone";

/** What is left of a generation when its last worker is gone. */
export interface GenerationRecord {
  readonly generation: number;
  /** How long the drain took, in milliseconds. */
  readonly drainMs: number;
  /** Requests answered during the drain. */
  readonly answered: number;
  /** Connections that were cut at the deadline; `null` if a worker could not say. */
  readonly cut: number | null;
  readonly outcome: "drained" | "cut" | "killed" | "died";
}

/** What a slot of a generation is spawned from and with. */
export type SlotSpawning = Pick<SlotOptions, "first" | "next">;

export interface GenerationOptions {
  readonly number: number;
  readonly config: Config;
  /** What its processes run; its own from here on. */
  readonly code: GenerationCode;
  readonly listeners: readonly Listener[];
  /** Where its workers' access records go, if they go anywhere. */
  readonly logs: LogService | undefined;
  /** An entry for each worker. */
  readonly workers: readonly SlotSpawning[];
  /** An entry for each instance of each helper. */
  readonly helpers: readonly (SlotSpawning & {
    readonly helper: HelperConfig;
    readonly instance: number;
  })[];
  /** Numbers processes over all generations. */
  readonly nextWorker: () => number;
}

/** An instance of a helper, for `status`. */
export interface HelperSlot {
  readonly helper: HelperConfig;
  readonly instance: number;
  readonly slot: Slot;
}

export class Generation {
  readonly number: number;
  readonly config: Config;
  readonly code: GenerationCode;
  readonly startedMs = performance.now();
  readonly helpers: readonly HelperSlot[];
  readonly logs: LogService | undefined;
  readonly workers: readonly Slot[];
  readonly #switchboard = new Switchboard();
  #helpersReady: Promise<unknown> = Promise.resolve();
  readonly #allReady = Promise.withResolvers<void>();
  #notReady: number;
  #state: GenerationState = "starting";
  readonly #acceptance = new Acceptance();
  /** The same, while no worker is full of clients. */
  readonly #unfilled = new Acceptance();
  #cut = false;

  constructor(options: GenerationOptions) {
    const { number, config, listeners, nextWorker } = options;
    this.number = number;
    this.config = config;
    this.code = options.code;
    this.logs = options.logs;
    const common = { generation: number, config, nextWorker };
    this.helpers = options.helpers.map(({ helper, instance, ...spawning }) => ({
      helper,
      instance,
      slot: new Slot({
        ...common,
        ...spawning,
        role: { kind: "helper", name: helper.name, index: instance },
        restart: helper.restart,
        bringUp: async (process, signal) => {
          await bringUpHelper(process, helper, config, signal);
          this.#switchboard.addInstance(process, { helper: helper.name, instance });
        },
        judge: (process) => judgeHelper(process, helper),
      }),
    }));
    this.#notReady = options.workers.length;
    this.workers = options.workers.map((spawning, index) =>
      new Slot({
        ...common,
        ...spawning,
        role: { kind: "worker", ...options.workers.length > 1 && { index } },
        restart: "always",
        bringUp: (process, signal) =>
          bringUp(process, {
            config,
            listeners,
            grants: workerGrants(config),
            signal,
            equip: async () => {
              // The app may call them as soon as it is loaded.
              await this.#helpersReady;
              this.#switchboard.addWorker(process);
              this.logs?.addWorker(process);
            },
            // One that served while another might still fail would be cut with the candidate.
            mayAccept: () => {
              if (--this.#notReady === 0) this.#allReady.resolve();
              return this.#allReady.promise;
            },
          }),
        judge: (process) => this.#judge(process),
      })
    );
  }

  get state(): GenerationState {
    return this.#state;
  }

  /** Whether no worker of it lives for long. */
  get failing(): boolean {
    return this.workers.every(({ failing }) => failing);
  }

  /** How many workers took the place of another one. */
  get replacements(): number {
    return this.workers.reduce((sum, { replacements }) => sum + replacements, 0);
  }

  /**
   * Brings up the helpers and the workers until they accept connections. Until all of them are ready
   * none accepts, so that giving them up loses nothing.
   *
   * @throws {HoldfastError} if one does not come up before the deadline; all are gone then
   */
  async start(signal: AbortSignal): Promise<void> {
    // One that fails ends the others at once: none is waited for in vain.
    const failed = new AbortController();
    const either = AbortSignal.any([signal, failed.signal]);
    const starting = (slot: Slot) =>
      slot.start(either).catch((error) => {
        failed.abort(error);
        throw error;
      });
    const helpers = this.helpers.map(({ slot }) => starting(slot));
    this.#helpersReady = Promise.all(helpers);
    this.#helpersReady.catch(() => {});
    const outcomes = await Promise.allSettled([...helpers, ...this.workers.map(starting)]);
    if (outcomes.some(({ status }) => status === "rejected")) {
      this.#state = "gone";
      await Promise.all(this.#slots.map((slot) => slot.kill()));
      for (const slot of this.#slots) slot.close();
      throw failed.signal.reason;
    }
    this.#state = "serving";
    this.#warnOfUnseenMemory();
  }

  /** A limit that is never reached, since nobody sees it, is worth a line. */
  #warnOfUnseenMemory(): void {
    const [process] = this.workers.flatMap(({ process }) => process?.alive ? [process] : []);
    if (this.config.recycle.maxMemoryBytes === undefined || process?.pid === undefined) return;
    if (residentBytes(process.pid) > 0) return;
    log.warn("memory_not_seen", {
      ...process.names,
      setting: "recycle.maxMemoryBytes",
      hint: "/proc hides the worker: take hidepid= off it, or ProtectProc= out of the unit",
    });
  }

  /** Lets the workers finish what they have, until the deadline, and then the helpers. Never fails. */
  async drain(reason: DrainReason): Promise<GenerationRecord> {
    const startMs = performance.now();
    this.#state = "draining";
    const departures = (await Promise.all(this.workers.map((slot) => slot.drain(reason)))).flat();
    await Promise.all(this.helpers.map(({ slot }) => slot.drain(reason)));
    this.#state = "gone";
    for (const slot of this.#slots) slot.close();
    this.code.close();
    return {
      generation: this.number,
      drainMs: Math.round(performance.now() - startMs),
      ...sumUp(this.#cut ? departures.map((each) => ({ ...each, end: "killed" })) : departures),
    };
  }

  /** Those that are worn out leave one at a time: the others serve meanwhile, and one more is enough. */
  #judge(process: WorkerProcess): Verdict | undefined {
    const { figures, silentMs, ageMs, pid = 0, chance } = process;
    const { recycle, watchdog: { pulseDeadlineMs } } = this.config;
    if (pulseDeadlineMs > 0 && silentMs > pulseDeadlineMs) return { act: "renew", cause: "stuck" };
    // One that is worn out from the start, or says so, is not to be replaced without end.
    if (process.servedMs < LIVED_MS) return undefined;
    if (this.workers.some(({ renewing }) => renewing)) return undefined;
    const deadlinePulses = pulseDeadlineMs / PULSE_INTERVAL_MS;
    if (pulseDeadlineMs > 0 && this.#unfilled.idlePulses > deadlinePulses) {
      return { act: "renew", cause: "not_accepting" };
    }
    const facts = wornOut(recycle, {
      maxRequests: figures.answered,
      maxAgeMs: ageMs,
      maxMemoryBytes: recycle.maxMemoryBytes === undefined ? 0 : residentBytes(pid),
    }, chance);
    return facts && { act: "renew", cause: "worn_out", facts };
  }

  /**
   * Looks whether connections that wait are accepted; to be called every second, of the incumbent.
   *
   * @param waiting how many wait on all listeners
   */
  lookAtAcceptance(waiting: number): void {
    const { stalled } = this.#acceptance;
    const processes = this.workers.flatMap(({ process }) => process?.alive ? [process] : []);
    const workers = processes.map(({ id, pulses, figures }) => ({ id, pulses, ...figures }));
    this.#acceptance.look(waiting, workers);
    // Where none waits, nobody needs to know.
    const limit = waiting === 0 ? Infinity : Math.min(
      ...processes.map((process) => descriptorLimit(process, this.config)),
    );
    const full = workers.some(({ connections }) => isFull(connections, limit));
    this.#unfilled.look(full ? 0 : waiting, workers);
    if (this.#acceptance.stalled === stalled) return;
    const facts = { generation: this.number, waiting };
    if (stalled) return log.info("accepting_again", facts);
    log.warn("accepting_stalled", {
      ...facts,
      connections: workers.reduce((sum, { connections }) => sum + connections, 0),
      descriptorLimit: limit,
      hint: full
        ? "Clients hold every descriptor that a worker may have: raise limits.descriptors and the " +
          "limit of open files that Holdfast is started with, or have more workers"
        : "See docs/operating.md#more-connections-than-descriptors",
    });
  }

  /** Whether connections wait and no worker accepts them. */
  get stalled(): boolean {
    return this.#acceptance.stalled;
  }

  /** Settles during a drain: none of its workers accepts from then on. */
  get stopped(): Promise<unknown> {
    return Promise.all(this.workers.map(({ stopped }) => stopped));
  }

  /** Ends every process now. */
  cut(): void {
    this.#cut = true;
    for (const slot of this.#slots) slot.cut();
  }

  get #slots(): Slot[] {
    return [...this.workers, ...this.helpers.map(({ slot }) => slot)];
  }
}

/** How many descriptors a worker may have: by the kernel, or by the config where that says nothing. */
function descriptorLimit({ pid = 0 }: WorkerProcess, { limits }: Config): number {
  const [, soft] = readProcess(pid, "limits")?.match(/^Max open files\s+(\d+)/m) ?? [];
  return Number(soft ?? limits.descriptors);
}

async function bringUpHelper(
  process: WorkerProcess,
  helper: HelperConfig,
  config: Config,
  signal: AbortSignal,
): Promise<void> {
  const { name, timeoutMs, concurrency } = helper;
  await bringUp(process, {
    config,
    listeners: [],
    grants: workerGrants(helper),
    roleConfig: { role: "helper", name, timeoutMs, concurrency },
    signal,
  });
}

/** The drains of all workers as one: the sum of their figures, and the worst of their outcomes. */
export function sumUp(
  ends: readonly Departure[],
): Pick<GenerationRecord, "answered" | "cut" | "outcome"> {
  const outcomes = ends.map(outcomeOf);
  const sum = (of: "answered" | "cut") =>
    ends.reduce((sum, { drained }) => sum + (drained?.[of] ?? 0), 0);
  return {
    answered: sum("answered"),
    cut: ends.every(({ drained }) => drained) ? sum("cut") : null,
    outcome: OUTCOMES.find((outcome) => outcomes.includes(outcome))!,
  };
}

/** The worst first. */
const OUTCOMES: readonly GenerationRecord["outcome"][] = ["killed", "died", "cut", "drained"];

function outcomeOf({ end, drained }: Departure): GenerationRecord["outcome"] {
  if (end === "killed") return "killed";
  if (drained === undefined) return "died";
  return drained.cut > 0 ? "cut" : "drained";
}
