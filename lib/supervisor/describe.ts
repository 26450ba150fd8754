/** What `holdfast status` shows of a generation. */
import { readProcess } from "../os/file.ts";
import type { Status } from "../protocol/control.ts";
import type { Generation } from "./generation.ts";
import type { WorkerProcess } from "./worker_process.ts";

type GenerationStatus = Status["generations"][number];

/** Describes a generation with all its processes. */
export function describeGeneration(generation: Generation): GenerationStatus {
  return {
    generation: generation.number,
    state: generation.state,
    ageMs: Math.round(performance.now() - generation.startedMs),
    replacements: generation.replacements,
    wall: generation.config.wall,
    worker: describeProcess(generation.worker),
    helpers: generation.helpers.map(({ helper, instance, slot }) => ({
      helper: helper.name,
      instance,
      replacements: slot.replacements,
      process: describeProcess(slot.process),
    })),
  };
}

/** Describes a process; nothing if it is gone. */
export function describeProcess(process: WorkerProcess | undefined): GenerationStatus["worker"] {
  if (!process?.alive || process.pid === undefined) return null;
  const { accepted, connections, inFlight, answered } = process.figures;
  return {
    worker: process.id,
    pid: process.pid,
    engine: process.engine ?? "unknown",
    ageMs: Math.round(process.ageMs),
    memoryBytes: residentBytes(process.pid),
    ...{ accepted, connections, inFlight, answered },
    denied: process.denied,
  };
}

/** What of a process is in memory; 0 where the kernel does not say. */
function residentBytes(pid: number): number {
  const [, kibibytes] = readProcess(pid, "status")?.match(/^VmRSS:\s*(\d+) kB$/m) ?? [];
  return Number(kibibytes ?? 0) * 1024;
}
