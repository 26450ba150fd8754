/** What `holdfast status` shows of a generation. */
import { ownUid } from "../base/own_uid.ts";
import { countDescriptors } from "../os/file.ts";
import type { ProcessStatus, Status } from "../protocol/control.ts";
import type { Generation } from "./generation.ts";
import { residentBytes } from "./process_facts.ts";
import type { WorkerProcess } from "./worker_process.ts";

type GenerationStatus = Status["generations"][number];

/** Describes a generation with all its processes. */
export function describeGeneration(generation: Generation): GenerationStatus {
  return {
    generation: generation.number,
    state: generation.state,
    ...generation.endsInMs !== undefined && { endsInMs: generation.endsInMs },
    ageMs: Math.round(performance.now() - generation.startedMs),
    replacements: generation.replacements,
    wall: generation.config.wall,
    workers: generation.workers.map((slot, index) => ({
      index,
      replacements: slot.replacements,
      process: describeProcess(slot.process),
    })),
    spares: generation.spares.processes.flatMap((process) => describeProcess(process) ?? []),
    helpers: generation.helpers.map(({ helper, instance, slot }) => ({
      helper: helper.name,
      instance,
      replacements: slot.replacements,
      process: describeProcess(slot.process),
    })),
  };
}

/** Describes a process; nothing if it is gone. */
export function describeProcess(process: WorkerProcess | undefined): ProcessStatus | null {
  if (!process?.alive || process.pid === undefined) return null;
  const { accepted, connections, inFlight, answered, webSockets, latency, limited } =
    process.figures;
  return {
    worker: process.id,
    pid: process.pid,
    engine: process.engine ?? "unknown",
    ageMs: Math.round(process.ageMs),
    memoryBytes: residentBytes(process.pid),
    descriptors: countDescriptors(process.pid),
    ...{ accepted, connections, inFlight, answered },
    ...webSockets && { webSockets },
    denied: process.denied,
    ...process.dialling && { dialling: process.dialling },
    uid: process.account?.uid ?? ownUid() ?? 0,
    ...latency && { latency },
    ...limited && { limited },
  };
}
