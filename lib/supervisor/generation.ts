/** One config snapshot, and the processes started from it: the worker and its helpers. */
import type { Config, HelperConfig } from "../config/config.ts";
import { workerGrants } from "../sandbox/worker_command.ts";
import { bringUp } from "./bring_up.ts";
import type { Listener } from "./listener.ts";
import type { LogService } from "./log_service.ts";
import { Slot, type SlotOptions } from "./slot.ts";
import { Switchboard } from "./switchboard.ts";
import type { WorkerProcess } from "./worker_process.ts";

/** How long an instance of a helper may hold on to a call that is over, or say nothing at all. */
const STUCK_MARGIN_MS = 2_000;

export type GenerationState = "starting" | "serving" | "draining" | "gone";

/** What is left of a generation when its last worker is gone. */
export interface GenerationRecord {
  readonly generation: number;
  /** How long the drain took, in milliseconds. */
  readonly drainMs: number;
  /** Requests answered during the drain. */
  readonly answered: number;
  /** Connections that were cut at the deadline; `null` if the worker could not say. */
  readonly cut: number | null;
  readonly outcome: "drained" | "cut" | "killed" | "died";
}

/** What a slot of a generation is spawned from and with. */
export type SlotSpawning = Pick<SlotOptions, "spawner" | "startSpawner" | "request">;

export interface GenerationOptions {
  readonly number: number;
  readonly config: Config;
  readonly listeners: readonly Listener[];
  /** Where its workers' access records go, if they go anywhere. */
  readonly logs: LogService | undefined;
  readonly worker: SlotSpawning;
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
  readonly startedMs = performance.now();
  readonly helpers: readonly HelperSlot[];
  readonly logs: LogService | undefined;
  readonly #worker: Slot;
  readonly #switchboard = new Switchboard();
  #helpersReady: Promise<unknown> = Promise.resolve();
  #state: GenerationState = "starting";
  #cut = false;

  constructor(options: GenerationOptions) {
    const { number, config, listeners, nextWorker } = options;
    this.number = number;
    this.config = config;
    this.logs = options.logs;
    const common = { generation: number, config, nextWorker };
    this.helpers = options.helpers.map(({ helper, instance, ...spawning }) => ({
      helper,
      instance,
      slot: new Slot({
        ...common,
        ...spawning,
        role: `helper ${helper.name}.${instance}`,
        restart: helper.restart,
        bringUp: async (process, signal) => {
          await bringUpHelper(process, helper, config, signal);
          this.#switchboard.addInstance(process, { helper: helper.name, instance });
        },
        judge: (process) => judgeHelper(process, helper),
      }),
    }));
    this.#worker = new Slot({
      ...common,
      ...options.worker,
      role: "worker",
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
        }),
    });
  }

  get state(): GenerationState {
    return this.#state;
  }

  get workers(): readonly Slot[] {
    return [this.#worker];
  }

  /** How many workers of this generation were replaced after they died. */
  get replacements(): number {
    return this.#worker.replacements;
  }

  /**
   * Brings up the helpers and the first worker until it accepts connections. Until it says that it is
   * ready it accepts none, so that giving it up loses nothing.
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
    const outcomes = await Promise.allSettled([...helpers, starting(this.#worker)]);
    if (outcomes.some(({ status }) => status === "rejected")) {
      this.#state = "gone";
      await Promise.all(this.#slots.map((slot) => slot.kill()));
      for (const slot of this.#slots) slot.close();
      throw failed.signal.reason;
    }
    this.#state = "serving";
  }

  /** Lets the worker finish what it has, until its deadline, and then the helpers. Never fails. */
  async drain(): Promise<GenerationRecord> {
    const startMs = performance.now();
    this.#state = "draining";
    const end = await this.#worker.drain();
    const worker = this.#worker.process;
    await Promise.all(this.helpers.map(({ slot }) => slot.drain()));
    this.#state = "gone";
    for (const slot of this.#slots) slot.close();
    return {
      generation: this.number,
      drainMs: Math.round(performance.now() - startMs),
      answered: worker?.drained?.answered ?? 0,
      cut: worker?.drained?.cut ?? null,
      outcome: end === "killed" || this.#cut ? "killed" : outcomeOf(worker),
    };
  }

  /** Ends every process now. */
  cut(): void {
    this.#cut = true;
    for (const slot of this.#slots) slot.cut();
  }

  get #slots(): Slot[] {
    return [this.#worker, ...this.helpers.map(({ slot }) => slot)];
  }
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
    duty: { role: "helper", name, timeoutMs, concurrency },
    signal,
  });
}

/** A call that its helper does not let go of keeps the others waiting. */
function judgeHelper(process: WorkerProcess, { timeoutMs }: HelperConfig): string | undefined {
  const { figures: { overdueMs = 0 }, silentMs } = process;
  if (overdueMs > STUCK_MARGIN_MS) return `held on to a call ${overdueMs} ms longer than it may`;
  if (silentMs <= timeoutMs + STUCK_MARGIN_MS) return undefined;
  return `said nothing for ${Math.round(silentMs)} ms`;
}

function outcomeOf(worker: WorkerProcess | undefined): GenerationRecord["outcome"] {
  if (worker?.drained === undefined) return "died";
  return worker.drained.cut > 0 ? "cut" : "drained";
}
