/** What is told of the supervisor: to `holdfast status` and the metrics, and to the service manager. */
import { countEvents, log } from "../base/log.ts";
import { ownUid } from "../base/own_uid.ts";
import { VERSION } from "../base/version.ts";
import type { Config } from "../config/config.ts";
import { countDescriptors } from "../os/file.ts";
import type { Status } from "../protocol/control.ts";
import { describeGeneration } from "./describe.ts";
import { residentBytes } from "./process_facts.ts";
import type { Parts } from "./parts.ts";
import type { ServiceState } from "./service_manager.ts";

/** Describes a supervisor with all that it runs. */
export function describeSupervisor(parts: Parts): Status {
  const { file, startedMs, operations, generations, listeners, services, history } = parts;
  const { incumbent } = generations;
  return {
    pid: Deno.pid,
    state: operations.state,
    memoryBytes: residentBytes(Deno.pid),
    descriptors: countDescriptors(Deno.pid),
    holdfast: VERSION,
    deno: Deno.version.deno,
    config: incumbent?.config.file ?? file,
    named: file,
    ageMs: Math.round(performance.now() - startedMs),
    listeners: listeners.app.map(({ text }) => text),
    https: incumbent?.config.listen.flatMap(({ tls, text }) => tls ? [text] : []) ?? [],
    waiting: parts.waiting,
    accepting: !incumbent?.stalled,
    ...services.describe(),
    events: countEvents(),
    drains: generations.drains,
    generations: generations.all.map(describeGeneration),
    former: parts.former?.describe() ?? [],
    reloads: history.reloads,
    reload: operations.reload,
    lastReload: history.lastReload ?? null,
    upgrades: history.upgrades,
    upgradeRefused: history.upgradeRefused ?? null,
    ended: generations.ended,
  };
}

/** What the service manager is told. */
export function serviceState({ operations, generation, listeners, history }: Parts): ServiceState {
  return {
    generation: generation ?? 0,
    listeners: listeners.app.map(({ text }) => text),
    failing: operations.state === "failing",
    lastReload: history.lastReload,
  };
}

/** Tells everybody that the first generation serves. */
export function tellServing(parts: Parts, config: Config): void {
  const { generation, launches, listeners, manager, startedMs } = parts;
  if (ownUid() === 0 && launches.accounts.of(config, "worker") === undefined) {
    log.warn("workers_run_as_root", { hint: "Set user in the config" });
  }
  manager?.ready(serviceState(parts));
  log.info("serving", {
    pid: Deno.pid,
    listen: listeners.app.map(({ text }) => text),
    generation,
    ms: Math.round(performance.now() - startedMs),
  });
}
