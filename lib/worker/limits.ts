/**
 * What a worker allows its clients. Nothing here has a timer of a connection: once a second each one is
 * looked at, and what an engine does for a request costs a number or two.
 */
import { DEFAULT_HTTP, type HttpLimits, type LimitKind } from "../base/http_limits.ts";
import { MAX_GIVEN_UP } from "../protocol/limits.ts";
import type { WorkerStats } from "../protocol/to_supervisor.ts";
import { AddressTable } from "./limits_address.ts";
import type { Pace } from "./pace.ts";
import { Penalties } from "./penalties.ts";
import type { Connection, Traffic } from "./traffic.ts";

/** The realm's own: an app may put another class in its place. */
const { Response } = globalThis;

const LOOK_INTERVAL_MS = 1_000;

/** After so long the process was busy with something else, and what clients sent meanwhile waits. */
const LATE_MS = LOOK_INTERVAL_MS + 250;

/** How long a client may take to say something over TLS while others wait for room. */
const PRESSED_MS = 5_000;

/** How long a connection may take to end that was told to. */
const ENDING_MS = 5_000;

/** What the limits keep of a connection. */
export class ConnectionWatch {
  /** Whose fault it is what the connection is cut for, by the address. */
  client: string | undefined;
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

  /** A time that was not the client's: this process did nothing then. */
  forgive(ms: number, nowMs: number): void {
    this.sinceMs = Math.min(nowMs, this.sinceMs + ms);
    for (const pace of this.paces) pace.forgive(ms, nowMs);
  }

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
  readonly penalties: Penalties;
  readonly #traffic: Traffic;
  readonly #counts: Partial<Record<LimitKind, number>> = {};
  /** How many listeners wait for room. */
  pausing = 0;
  /** Connections that the supervisor is to end, by their clients, and how many there were. */
  readonly #givenUp: string[] = [];
  #givenUpCount = 0;
  #lookedMs = 0;

  constructor(
    traffic: Traffic,
    settings: HttpLimits = DEFAULT_HTTP,
    penaltyExempt: readonly string[] = DEFAULT_HTTP.penaltyExempt,
  ) {
    this.settings = settings;
    this.#traffic = traffic;
    this.addresses = new AddressTable(settings.maxConnectionsPerAddress);
    this.penalties = new Penalties(settings.maxPenaltyMs, penaltyExempt);
  }

  /** Looks at the connections from now on. */
  start(): void {
    this.#lookedMs = performance.now();
    setInterval(() => this.#look(performance.now()), LOOK_INTERVAL_MS);
  }

  count(kind: LimitKind): void {
    this.#counts[kind] = (this.#counts[kind] ?? 0) + 1;
  }

  /** How often each has acted, where one has; and what the supervisor is to end, told once. */
  figures(): Pick<WorkerStats, "limited" | "givenUp"> {
    const acted = Object.keys(this.#counts).length > 0;
    const [count, peers] = [this.#givenUpCount, this.#givenUp.splice(0, MAX_GIVEN_UP)];
    if (peers.length > 0) this.#traffic.tellRoom();
    return {
      ...acted && { limited: { ...this.#counts } },
      ...count > 0 && { givenUp: { count, peers } },
    };
  }

  /** A connection is not to be, and the runtime may keep it all the same: the supervisor ends it. */
  giveUp({ hostname, port }: Deno.NetAddr): void {
    this.#givenUpCount++;
    const [host = ""] = hostname.split("%");
    const spelled = host.includes(":") ? new URL(`http://[${host}]`).hostname.slice(1, -1) : host;
    this.#givenUp.push(`${spelled} ${port}`);
  }

  /** A client's connection kept everything else waiting, and was ended. */
  flooded(peer: string): void {
    this.count("flood");
    this.penalties.add(peer.split(" ")[0], "flood");
  }

  /** Whether no more connections are to be accepted. */
  get full(): boolean {
    const { maxConnections } = this.settings;
    const { connections } = this.#traffic;
    return maxConnections !== 0 && connections.size + this.#givenUp.length >= maxConnections;
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

  /** Whether any limit may act on a body that is not refused, by its Content-Length. */
  actsOn(length: string | null): boolean {
    const { bodyTimeoutMs, maxBodyBytes } = this.settings;
    return bodyTimeoutMs !== 0 || maxBodyBytes !== 0 && length === null;
  }

  /** Whether a body is longer than is allowed. */
  isTooLarge(bytes: number): boolean {
    const { maxBodyBytes } = this.settings;
    return maxBodyBytes !== 0 && bytes > maxBodyBytes;
  }

  /** Whether addresses are to be known before a connection is served. */
  get byAddress(): boolean {
    return this.addresses.counts || this.penalties.active;
  }

  /**
   * Counts a connection of a client.
   *
   * @returns what ends that; nothing if the client is not to be served
   */
  enter(hostname: string): (() => void) | undefined {
    if (this.penalties.leftMs(hostname) > 0) {
      this.count("maxPenaltyMs");
      return undefined;
    }
    const leave = this.addresses.enter(hostname);
    if (leave === undefined) this.count("maxConnectionsPerAddress");
    return leave;
  }

  /** The answer to a request that comes through a proxy from a client that has a penalty. */
  refuseClient({ client }: ConnectionWatch): Response | undefined {
    const leftMs = client === undefined ? 0 : this.penalties.leftMs(client);
    if (leftMs === 0) return undefined;
    this.count("maxPenaltyMs");
    const headers = { "retry-after": String(Math.ceil(leftMs / 1_000)) };
    return new Response("Too Many Requests\n", { status: 429, headers });
  }

  /** The error for a body that turned out too long. */
  bodyTooLarge({ client }: ConnectionWatch): BodyTooLarge {
    this.count("maxBodyBytes");
    this.penalties.add(client, "maxBodyBytes");
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
    const passedMs = nowMs - this.#lookedMs;
    const late = passedMs > LATE_MS;
    this.#lookedMs = nowMs;
    for (const connection of this.#traffic.connections) {
      const { watch } = connection;
      if (watch === undefined) continue;
      if (late) watch.forgive(passedMs, nowMs);
      this.#lookAt(connection, watch, nowMs);
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
    const pressed = this.pausing > 0 && kind === "headerTimeoutMs";
    const limitMs = watch.ending ? ENDING_MS : this.settings[kind];
    const waitedMs = nowMs - watch.sinceMs;
    if ((limitMs === 0 || waitedMs < limitMs) && (!pressed || waitedMs < PRESSED_MS)) return;
    if (kind === "headerTimeoutMs") return this.#cut(connection, kind);
    // It may be taking what it was answered, also when it was told to end.
    const free = nowMs > watch.busyUntilMs;
    if (watch.ending) {
      if (free) this.#cut(connection, kind);
      return;
    }
    watch.ending = true;
    watch.sinceMs = nowMs;
    this.count(kind);
    if (connection.retire && free) connection.retire();
    else connection.close();
  }

  #cut(connection: Connection, kind: LimitKind): void {
    const { watch } = connection;
    if (watch !== undefined && !watch.ending) {
      this.count(kind);
      this.penalties.add(watch.client, kind);
    }
    if (watch !== undefined) watch.ending = true;
    connection.cut();
  }
}
