/**
 * What a worker allows its clients. Nothing here has a timer of a connection: once a second each one is
 * looked at, and what an engine does for a request costs a number or two.
 */
import { DEFAULT_HTTP_LIMITS, type HttpLimits, type LimitKind } from "../base/http_limits.ts";
import { AddressTable } from "./limits_address.ts";
import type { Pace } from "./pace.ts";
import type { Connection, Traffic } from "./traffic.ts";

/** The realm's own: an app may put another class in its place. */
const { Response } = globalThis;

const LOOK_INTERVAL_MS = 1_000;

/** What the limits keep of a connection. */
export class ConnectionWatch {
  /** Requests that have come on it. */
  asked = 0;
  /** What is waited for. */
  readonly paces = new Set<Pace>();
  /** What had come at the last look at which something had changed, and when that was. */
  seen = 0;
  sinceMs = performance.now();
  /** Whether it was told to end. */
  ending = false;
  /** Until when it may be busy with answers of which the runtime does not tell. */
  busyUntilMs = 0;

  /** An answer of so many bytes is on its way. */
  expect(bytes: number, { sendTimeoutMs, minBytesPerSecond }: HttpLimits): void {
    const ms = minBytesPerSecond === 0 ? Infinity : bytes * 1_000 / minBytesPerSecond;
    this.busyUntilMs = Math.max(this.busyUntilMs, performance.now() + sendTimeoutMs) + ms;
  }
}

/** The body of a request was longer than is allowed. */
export class BodyTooLarge extends Error {
  readonly status = 413;
  readonly statusCode = 413;

  constructor(bytes: number) {
    super(`The body is longer than http.maxBodyBytes (${bytes})`);
    this.name = "BodyTooLarge";
  }

  /** What Hono and its like answer with. */
  getResponse(): Response {
    return tooLarge();
  }
}

function tooLarge(): Response {
  return new Response("Content Too Large\n", { status: 413 });
}

function busy(): Response {
  return new Response("Service Unavailable\n", { status: 503, headers: { "retry-after": "1" } });
}

export class Limits {
  readonly settings: HttpLimits;
  readonly addresses: AddressTable;
  readonly #traffic: Traffic;
  readonly #counts: Partial<Record<LimitKind, number>> = {};

  constructor(traffic: Traffic, settings: HttpLimits = DEFAULT_HTTP_LIMITS) {
    this.settings = settings;
    this.#traffic = traffic;
    this.addresses = new AddressTable(settings.maxConnectionsPerAddress);
  }

  /** Looks at the connections from now on. */
  start(): void {
    setInterval(() => this.#look(performance.now()), LOOK_INTERVAL_MS);
  }

  count(kind: LimitKind): void {
    this.#counts[kind] = (this.#counts[kind] ?? 0) + 1;
  }

  /** How often each has acted; nothing where none has. */
  figures(): { limited?: Partial<Record<LimitKind, number>> } {
    return Object.keys(this.#counts).length === 0 ? {} : { limited: { ...this.#counts } };
  }

  /** Whether no more connections are to be accepted. */
  get full(): boolean {
    const { maxConnections } = this.settings;
    return maxConnections !== 0 && this.#traffic.connections.size >= maxConnections;
  }

  /**
   * The answer to a request that the app is not to see.
   *
   * @param length its Content-Length, if it may have a body
   */
  refuse(length: string | null | undefined): Response | undefined {
    const { maxRequests } = this.settings;
    if (maxRequests !== 0 && this.#traffic.inFlight >= maxRequests) {
      this.count("maxRequests");
      return busy();
    }
    if (!length || !this.isTooLarge(Number(length))) return undefined;
    this.count("maxBodyBytes");
    return tooLarge();
  }

  /** Whether a body is longer than is allowed. */
  isTooLarge(bytes: number): boolean {
    const { maxBodyBytes } = this.settings;
    return maxBodyBytes !== 0 && bytes > maxBodyBytes;
  }

  /** The error for a body that turned out too long. */
  bodyTooLarge(): BodyTooLarge {
    this.count("maxBodyBytes");
    return new BodyTooLarge(this.settings.maxBodyBytes);
  }

  /** Whether a request is the last one of its connection, of which it is the `asked`th. */
  isLast(asked: number): boolean {
    const { maxRequestsPerConnection: most } = this.settings;
    if (most === 0 || asked < most) return false;
    if (asked === most) this.count("maxRequestsPerConnection");
    return true;
  }

  #look(nowMs: number): void {
    for (const connection of this.#traffic.connections) {
      const { watch } = connection;
      if (watch !== undefined) this.#lookAt(connection, watch, nowMs);
    }
  }

  #lookAt(connection: Connection, watch: ConnectionWatch, nowMs: number): void {
    connection.measure?.();
    for (const pace of watch.paces) {
      const exceeded = pace.exceeded(nowMs);
      if (exceeded !== undefined) return this.#cut(connection, exceeded);
    }
    if (connection.closeAnnounced && connection.inFlight === 0) connection.close();
    const busy = connection.idleLimit === undefined && connection.inFlight > 0;
    if (busy || watch.asked !== watch.seen) {
      watch.seen = watch.asked;
      watch.sinceMs = nowMs;
      return;
    }
    const kind = connection.idleLimit ??
      (watch.asked === 0 ? "headerTimeoutMs" : "keepAliveTimeoutMs");
    const limitMs = this.settings[kind];
    if (limitMs === 0 || nowMs - watch.sinceMs < limitMs) return;
    if (watch.ending || watch.asked === 0) {
      // Told to end, it still sends what it has.
      if (nowMs > watch.busyUntilMs) this.#cut(connection, kind);
      return;
    }
    watch.ending = true;
    this.count(kind);
    connection.close();
  }

  #cut(connection: Connection, kind: LimitKind): void {
    const { watch } = connection;
    if (watch !== undefined && !watch.ending) this.count(kind);
    if (watch !== undefined) watch.ending = true;
    connection.cut();
  }
}
