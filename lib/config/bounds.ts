/** The least and the greatest value of each number of a config, and how many entries its lists have. */

type Bounds = readonly [least: number, greatest: number];

/** One hour, in milliseconds. */
const HOUR_MS = 3_600_000;
const MIB = 1_048_576;

/** By the place in a config. */
export const BOUNDS = {
  workers: [1, 64],
  spare: [0, 64],
  reload: {
    readyDeadlineMs: [100, 600_000],
    idleGraceMs: [0, 120_000],
    drainDeadlineMs: [0, HOUR_MS],
    shutdownDelayMs: [0, 600_000],
    maxDraining: [1, 64],
    spreadMs: [0, HOUR_MS],
    keepDeadlineMs: [1_000, 7 * 24 * HOUR_MS],
    maxKept: [1, 16],
    keep: [0, 100],
  },
  probe: {
    timeoutMs: [10, 600_000],
    times: [1, 100],
  },
  recycle: {
    maxRequests: [1, Number.MAX_SAFE_INTEGER],
    maxAgeMs: [10_000, 31_536_000_000],
    maxMemoryBytes: [128 * MIB, Number.MAX_SAFE_INTEGER],
  },
  watchdog: {
    /**
     * A worker sends its figures once a second, and the supervisor looks at them as often. A second each
     * for both, for a late look, and for the time until a stuck worker that recovers sends again.
     */
    pulseDeadlineMs: [4_000, HOUR_MS],
  },
  limits: {
    descriptors: [64, 1_048_576],
    processes: [32, 4_194_304],
    fileBytes: [MIB, Number.MAX_SAFE_INTEGER],
    memoryBytes: [128 * MIB, Number.MAX_SAFE_INTEGER],
  },
  helper: {
    instances: [1, 64],
    concurrency: [1, 1_024],
    timeoutMs: [10, HOUR_MS],
  },
  log: {
    rotateBytes: [65_536, 2 ** 40],
    rotateHours: [0, 8_784],
    keep: [0, 10_000],
    outputLineBytes: [256, 131_072],
    outputBytesPerSecond: [1_024, 64 * MIB],
    outputBurstBytes: [1_024, 64 * MIB],
  },
} as const satisfies Record<string, Bounds | Record<string, Bounds>>;

/** The most entries of each list. */
export const MOST = {
  listen: 16,
  certs: 64,
  // 64 paths of 1024 characters stay below the 128 KiB that Linux allows one argument of a program.
  unveil: 64,
  names: 128,
  helpers: 32,
  proxies: 256,
  probes: 32,
  warmUp: 64,
} as const;

/** The limits of a process of which a config says nothing else. */
export const DEFAULT_LIMITS = {
  descriptors: 65_536,
  processes: 16_384,
  fileBytes: 64 * 2 ** 30,
} as const;

/** How long, and in how many generations, WebSockets are kept where they are. */
export const DEFAULT_KEEPING = { keepDeadlineMs: 4 * HOUR_MS, maxKept: 2 } as const;

/** What a probe of a new version has, of which a config says its path alone. */
export const DEFAULT_PROBE = { timeoutMs: 2_000, times: 1 } as const;

/** The longest value of a variable that a config gives. */
export const MAX_VALUE_CHARS = 32_768;

/** The names that helpers may have. */
export const HELPER_NAME = /^[a-z][a-z0-9_]{0,31}$/;
