/** The slots of a generation: with what its workers and helpers are brought up. */
import type { Config, HelperConfig } from "../config/config.ts";
import { withTemporary } from "../sandbox/temporary.ts";
import { workerGrants } from "../sandbox/worker_command.ts";
import { bringUp } from "./bring_up.ts";
import type { GenerationCode } from "./generation_code.ts";
import { helperHealth } from "./health.ts";
import type { HelperLanes } from "./lanes.ts";
import type { Listener } from "./listener.ts";
import type { LogService } from "./log_service.ts";
import { ProcessSlot, type SlotOptions } from "./process_slot.ts";
import { type SpareOptions, SpareWorkers } from "./spare_workers.ts";
import type { WorkerProcess } from "./worker_process.ts";

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
  readonly slot: ProcessSlot;
}

/** Makes the slot of an instance of a helper, which every worker is connected to. */
export function helperSlot(
  { number, config, nextWorker }: GenerationOptions,
  { helper, instance, ...spawning }: GenerationOptions["helpers"][number],
  lanes: HelperLanes,
): HelperSlot {
  const { name, timeoutMs, concurrency, restart } = helper;
  const slot = new ProcessSlot({
    ...{ generation: number, config, nextWorker, restart, ...spawning },
    role: { kind: "helper", name, index: instance },
    bringUp: async (process, signal) => {
      const grants = workerGrants(withTemporary(helper, process.temporary));
      const roleConfig = { role: "helper", name, timeoutMs, concurrency } as const;
      await bringUp(process, { config, listeners: [], grants, roleConfig, signal });
      lanes.connectHelper(process, { helper: name, instance });
    },
    health: ({ figures, silentMs }) => helperHealth({ ...figures, silentMs }, helper),
  });
  return { helper, instance, slot };
}

/** What the workers of a generation have in common. */
export interface WorkerHooks {
  /** Settles when helpers and logger can be reached; called before the app is loaded. */
  readonly beforeLoad: (process: WorkerProcess) => Promise<void>;
  /** Settles when it may accept. */
  readonly acceptBarrier: () => Promise<void>;
  /** Whether what comes up is to be probed. */
  readonly tried: () => boolean;
  readonly spares: SpareWorkers;
  readonly health: NonNullable<SlotOptions["health"]>;
}

/** Makes the slot of a worker. */
export function workerSlot(
  { number, config, nextWorker, listeners, workers }: GenerationOptions,
  spawning: SlotSpawning,
  index: number,
  { beforeLoad, acceptBarrier, health, spares, tried }: WorkerHooks,
): ProcessSlot {
  return new ProcessSlot({
    ...{ generation: number, config, nextWorker, restart: "always", health, spares, ...spawning },
    role: { kind: "worker", ...workers.length > 1 && { index } },
    bringUp: (process, signal) =>
      bringUpBy(config, listeners, beforeLoad, tried)(process, signal, acceptBarrier),
  });
}

/** The workers of a generation that wait to take the place of one that ends. */
export function spareWorkers(
  { number, config, nextWorker, listeners, workers }: GenerationOptions,
  beforeLoad: WorkerHooks["beforeLoad"],
): SpareWorkers {
  return new SpareWorkers({
    ...{ generation: number, config, nextWorker, next: workers[0]!.next, count: config.spare },
    bringUp: bringUpBy(config, listeners, beforeLoad),
  });
}

/** How a worker is brought up, in a slot or as a spare one. */
function bringUpBy(
  config: Config,
  listeners: readonly Listener[],
  beforeLoad: WorkerHooks["beforeLoad"],
  tried = () => false,
): SpareOptions["bringUp"] {
  return (process, signal, acceptBarrier) =>
    bringUp(process, {
      ...{ config, listeners, signal, acceptBarrier, tried: tried() },
      grants: workerGrants(withTemporary(config, process.temporary)),
      beforeLoad: () => beforeLoad(process),
    });
}
