/** What the log says of the processes of a slot, and of a generation. */
import { log } from "../base/log.ts";
import { countDescriptors } from "../os/file.ts";
import type { AcceptChange } from "./accept_health.ts";
import type { DrainOutcome } from "./drain.ts";
import type { Recycle, RecycleReason } from "./health.ts";
import { diagnoseHang } from "./process_facts.ts";
import type { WorkerStats } from "../protocol/to_supervisor.ts";
import type { WorkerProcess } from "./worker_process.ts";

/** Another one is to take its place: what is wrong with it, if something is. */
export function tellUnhealthy(
  { logFields, pid = 0, silentMs, figures }: WorkerProcess,
  { cause }: Recycle,
): void {
  if (cause === "stuck") {
    log.error("worker_stuck", {
      ...logFields,
      silentMs: Math.round(silentMs),
      ...diagnoseHang(pid),
      hint: "Something keeps its event loop busy; see docs/operating.md#the-watchdog",
    });
  }
  if (cause === "not_accepting") {
    log.error("worker_not_accepting", {
      ...logFields,
      connections: figures.connections,
      descriptors: countDescriptors(pid),
      hint: "Something in it keeps descriptors, or closed its listener; see " +
        "docs/operating.md#more-connections-than-descriptors",
    });
  }
}

/** It was kept for its WebSockets, and has come to a limit. */
export function tellKeptLimit({ logFields }: WorkerProcess, facts: RecycleReason): void {
  log.warn("kept_worker_limited", { ...logFields, ...facts });
}

/** Another one has taken its place. */
export function tellReplaced(old: WorkerProcess, next: WorkerProcess, recycle: Recycle): void {
  const logFields = { ...old.logFields, next: next.id };
  const { cause } = recycle;
  if (cause === "stuck" || cause === "not_accepting") log.info("worker_replaced", logFields);
  else log.info("worker_recycled", { ...logFields, ...cause === "limit" && recycle.facts });
}

/** One that was replaced is gone. */
export function tellDrained({ logFields }: WorkerProcess, { end, drained }: DrainOutcome): void {
  const { answered = 0, cut = null } = drained ?? {};
  const facts = { ...logFields, end, answered, answeredInDrain: answered, cut };
  log.info("worker_drained", { ...facts, formerly: "worker_left" });
}

/** The limit of its memory is never reached, since /proc hides it. */
export function tellUnseenMemory({ logFields }: WorkerProcess): void {
  log.warn("memory_not_seen", {
    ...logFields,
    setting: "recycle.maxMemoryBytes",
    hint: "/proc hides the worker: take hidepid= off it, or ProtectProc= out of the unit",
  });
}

/** How often it is said that limits have acted on a worker's clients. */
const LIMITED_EVERY_MS = 10_000;

/** What happens to the connections of honest clients too. */
const USUAL: ReadonlySet<string> = new Set(["keepAliveTimeoutMs", "maxRequestsPerConnection"]);

/** Says which limits of `http` have acted on the clients of a worker, and how often since it last said so. */
export class LimitedLog {
  #told: NonNullable<WorkerStats["limited"]> = {};
  #atMs = -Infinity;

  look(limited: NonNullable<WorkerStats["limited"]>, logFields: object): void {
    if (performance.now() - this.#atMs < LIMITED_EVERY_MS) return;
    const acted = Object.entries(limited).flatMap(([kind, count]) => {
      const more = count - (this.#told[kind as keyof typeof limited] ?? 0);
      return more > 0 && !USUAL.has(kind) ? [[kind, more]] : [];
    });
    if (acted.length === 0) return;
    this.#told = limited;
    this.#atMs = performance.now();
    log.warn("clients_limited", {
      ...logFields,
      ...Object.fromEntries(acted),
      hint: "See docs/limits.md: each is a key of http in the config",
    });
  }
}

/** Connections wait and no worker accepts them, or that is over. */
export function tellAcceptance(
  facts: { readonly generation: number; readonly waiting: number },
  { stalled, connections, descriptorLimit, full }: AcceptChange,
): void {
  if (!stalled) return log.info("accepting_again", facts);
  log.warn("accepting_stalled", {
    ...facts,
    connections,
    descriptorLimit,
    hint: full
      ? "Clients hold every descriptor that a worker may have: raise limits.descriptors and the " +
        "limit of open files that Holdfast is started with, or have more workers"
      : "See docs/operating.md#more-connections-than-descriptors",
  });
}
