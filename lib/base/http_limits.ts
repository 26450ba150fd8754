/** What a worker allows its clients: the keys of the config's `http`. */

const HOUR_MS = 3_600_000;
const GIB = 2 ** 30;

interface Limit {
  readonly greatest: number;
  readonly default: number;
}

/** By the key of the config; 0 is no limit. */
const LIMITS = {
  headerTimeoutMs: { greatest: HOUR_MS, default: 60_000 },
  bodyTimeoutMs: { greatest: HOUR_MS, default: 60_000 },
  sendTimeoutMs: { greatest: HOUR_MS, default: 60_000 },
  minBytesPerSecond: { greatest: GIB, default: 100 },
  keepAliveTimeoutMs: { greatest: 24 * HOUR_MS, default: 75_000 },
  webSocketIdleTimeoutMs: { greatest: 24 * HOUR_MS, default: 0 },
  maxBodyBytes: { greatest: Number.MAX_SAFE_INTEGER, default: GIB },
  maxRequestsPerConnection: { greatest: Number.MAX_SAFE_INTEGER, default: 0 },
  maxConnections: { greatest: 1_048_576, default: 0 },
  maxConnectionsPerAddress: { greatest: 1_048_576, default: 0 },
  maxRequests: { greatest: 1_048_576, default: 0 },
  maxPenaltyMs: { greatest: 24 * HOUR_MS, default: 60_000 },
} as const satisfies Record<string, Limit>;

type HttpLimit = keyof typeof LIMITS;

/** The limits of a config, or of a worker. */
export type HttpLimits = Readonly<Record<HttpLimit, number>>;

/** What is counted when it acts: each limit, a PROXY header that is missing, and a flood. */
export type LimitKind = HttpLimit | "proxyProtocol" | "flood";

export const HTTP_LIMITS = Object.keys(LIMITS) as [HttpLimit, ...HttpLimit[]];
export const LIMIT_KINDS: readonly LimitKind[] = [...HTTP_LIMITS, "proxyProtocol", "flood"];

function ofEach<T>(read: (limit: Limit) => T): Record<HttpLimit, T> {
  return Object.fromEntries(HTTP_LIMITS.map((key) => [key, read(LIMITS[key])])) as never;
}

export const HTTP_BOUNDS = ofEach((limit): readonly [number, number] => [0, limit.greatest]);
export const DEFAULT_HTTP_LIMITS: HttpLimits = ofEach((limit) => limit.default);

/** What a config has that says nothing of its clients. Private addresses are a proxy's, as a rule. */
export const DEFAULT_HTTP = {
  ...DEFAULT_HTTP_LIMITS,
  penaltyExempt: [
    ...["10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"],
    ...["192.168.0.0/16", "::1/128", "fc00::/7", "fe80::/10"],
  ],
};
