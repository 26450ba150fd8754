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

/** One with all that there is to say of: an old generation that drains, processes that are down, a refused reload. */
export const BUSY_STATUS: Status = {
  pid: 101,
  holdfast: "0.1.0",
  deno: "2.9.6",
  config: "/srv/app/holdfast.jsonc",
  memoryBytes: 80 * 2 ** 20,
  descriptors: 40,
  ageMs: 184_000,
  metrics: null,
  resolver: null,
  events: {},
  drains: { outcomes: { drained: 0, cut: 0, killed: 0, died: 0 }, ms: 0, cut: 0 },
  listeners: ["127.0.0.1:8000", "unix:/run/app.sock"],
  waiting: {},
  accepting: true,
  logger: null,
  generations: [
    {
      generation: 1,
      state: "draining",
      ageMs: 184_000,
      replacements: 0,
      wall: "kernel",
      workers: [{
        index: 0,
        replacements: 0,
        process: {
          worker: 1,
          pid: 202,
          engine: "native",
          ageMs: 183_000,
          memoryBytes: 53 * 2 ** 20,
          descriptors: 36,
          accepted: 31,
          connections: 32,
          inFlight: 33,
          answered: 34,
          denied: 35,
        },
      }],
      helpers: [],
    },
    {
      generation: 2,
      state: "serving",
      ageMs: 4000,
      replacements: 3,
      wall: "deno",
      workers: [0, 1].map((index) => ({ index, replacements: index, process: null })),
      helpers: [
        {
          helper: "thumbnails",
          instance: 1,
          replacements: 2,
          process: {
            worker: 7,
            pid: 303,
            engine: "none",
            ageMs: 3000,
            memoryBytes: 90 * 2 ** 20,
            descriptors: 0,
            accepted: 41,
            connections: 42,
            inFlight: 43,
            answered: 44,
            denied: 45,
            uid: 2013265999,
          },
        },
        { helper: "notify", instance: 0, replacements: 0, process: null },
      ],
    },
  ],
  reloads: 5,
  reload: "idle",
  state: "serving",
  lastReload: { outcome: "refused", generation: 2, ms: 9, at: "2026-11-23", reason: "no good" },
  upgrades: 0,
  upgradeRefused: null,
  ended: [],
};
