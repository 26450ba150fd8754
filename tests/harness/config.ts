/** A config for tests of what is computed from one. */
import { DEFAULT_HTTP } from "../../lib/base/http_limits.ts";
import { DEFAULT_OUTPUT_LIMITS } from "../../lib/base/output_limits.ts";
import type { Config } from "../../lib/config/config.ts";

/** What the schema fills in. */
export const DEFAULTS = {
  env: [] as string[],
  envValues: {},
  sys: [],
  jitless: false,
  dropAfterOpen: [] as string[],
  tmp: false,
  net: [] as string[],
  engine: "native" as const,
  wall: "kernel" as const,
  onViolation: "replace" as const,
  limits: { descriptors: 65_536, processes: 16_384, fileBytes: 64 * 2 ** 30 },
  log: {
    folder: undefined,
    access: "combined" as const,
    rotateBytes: 64 * 2 ** 20,
    rotateHours: 24,
    keep: 14,
    compress: true,
    outputLineBytes: DEFAULT_OUTPUT_LIMITS.lineBytes,
    outputBytesPerSecond: DEFAULT_OUTPUT_LIMITS.bytesPerSecond,
    outputBurstBytes: DEFAULT_OUTPUT_LIMITS.burstBytes,
  },
  workers: 1,
  spare: 0,
  trustedProxies: [],
  clientAddressHeader: "x-forwarded-for",
  recycle: {},
  watchdog: { pulseDeadlineMs: 10_000 },
  http: DEFAULT_HTTP,
  reload: {
    readyDeadlineMs: 10_000,
    idleGraceMs: 5_000,
    drainDeadlineMs: 30_000,
    shutdownDelayMs: 0,
    maxDraining: 4,
    spreadMs: 0,
    webSockets: "close",
    keepDeadlineMs: 14_400_000,
    maxKept: 2,
    keep: 5,
    probe: [],
    widen: "allow",
    warmUp: [],
  },
} satisfies Partial<Config>;

/** An app in /srv/app, with these changes. */
export function makeConfig(changes: Partial<Config> = {}): Config {
  return {
    file: "/srv/app/holdfast.jsonc",
    named: "/srv/app/holdfast.jsonc",
    folder: "/srv/app",
    app: { module: "/srv/app/main.ts", project: "/srv/app" },
    listen: [{ kind: "tcp", text: "127.0.0.1:8000", host: "127.0.0.1", port: 8000 }],
    unveil: [],
    helpers: [],
    ...DEFAULTS,
    account: undefined,
    runtime: "/srv/app/.holdfast",
    ...changes,
  };
}
