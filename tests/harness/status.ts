/** What `holdfast status` is told, made up. */
import type { ProcessStatus, Status } from "../../lib/protocol/control.ts";

/** A status with these workers. */
export function statusWith(...workers: Partial<ProcessStatus>[]): Status {
  return {
    ...{ pid: 1, holdfast: "0.1.0", deno: "2.9.6", config: "/a", memoryBytes: 1, descriptors: 1 },
    ...{
      ageMs: 1,
      listeners: [],
      waiting: {},
      accepting: true,
      logger: null,
      metrics: null,
      resolver: null,
      events: {},
      reloads: 0,
    },
    ...{ reload: "idle", state: "serving", lastReload: null, upgrades: 0, upgradeRefused: null },
    drains: { outcomes: { drained: 0, cut: 0, killed: 0, died: 0 }, ms: 0, cut: 0 },
    ended: [],
    generations: [{
      ...{ generation: 1, state: "serving", ageMs: 1, replacements: 0, wall: "kernel" },
      helpers: [],
      workers: workers.map((process, index) => ({
        ...{ index, replacements: 0 },
        process: {
          ...{ worker: index, pid: 1, engine: "native", ageMs: 1, memoryBytes: 1, descriptors: 1 },
          ...{ accepted: 0, connections: 0, inFlight: 0, answered: 0, denied: 0, ...process },
        },
      })),
    }],
  };
}
