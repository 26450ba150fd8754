/** Clients that limits act on again and again wait longer and longer before they are served again. */
import net from "node:net";
import type { LimitKind } from "../base/http_limits.ts";
import { clientKey } from "./limits_address.ts";

/**
 * How much each limit adds to a client's penalty, in milliseconds: what holds a worker up, and no more
 * than chance brings about. Browsers open connections on which they say nothing.
 */
const ADDED_MS: Partial<Record<LimitKind, number>> = {
  headerTimeoutMs: 250,
  bodyTimeoutMs: 2_000,
  sendTimeoutMs: 1_000,
  minBytesPerSecond: 2_000,
  maxBodyBytes: 1_000,
  flood: 10_000,
};

/** A penalty that is not longer than this has no effect: many may share an address. */
const TOLERATED_MS = 15_000;

/** Of how many clients it is known. */
const MOST_CLIENTS = 4_096;

export class Penalties {
  readonly #mostMs: number;
  readonly #exempt = new net.BlockList();
  /** Until when each client has one, by `performance.now()`; whoever got more last comes last. */
  readonly #untilMs = new Map<string, number>();
  readonly #nowMs: () => number;

  /**
   * @param mostMs how long a client is refused at the most; 0 for never
   * @param exempt addresses, and ranges in CIDR
   */
  constructor(mostMs: number, exempt: readonly string[], nowMs = () => performance.now()) {
    this.#mostMs = mostMs;
    this.#nowMs = nowMs;
    for (const text of exempt) {
      const [address, bits] = text.split("/") as [string, string?];
      const family = net.isIPv4(address) ? "ipv4" : "ipv6";
      if (bits === undefined) this.#exempt.addAddress(address, family);
      else this.#exempt.addSubnet(address, Number(bits), family);
    }
  }

  /** Whether there can be any. */
  get active(): boolean {
    return this.#mostMs !== 0;
  }

  /** A limit has acted on a client. */
  add(hostname: string | undefined, kind: LimitKind): void {
    const added = ADDED_MS[kind];
    const key = hostname === undefined ? undefined : clientKey(hostname);
    if (!this.active || added === undefined || key === undefined || this.#isExempt(key)) return;
    const nowMs = this.#nowMs();
    const sinceMs = Math.max(this.#untilMs.get(key) ?? 0, nowMs);
    this.#untilMs.delete(key);
    if (this.#untilMs.size >= MOST_CLIENTS) this.#forget(nowMs);
    this.#untilMs.set(key, Math.min(sinceMs + added, nowMs + TOLERATED_MS + this.#mostMs));
  }

  /** For how long a client is refused still, in milliseconds; 0 if it is not. */
  leftMs(hostname: string): number {
    // The common case: nobody has one.
    if (this.#untilMs.size === 0) return 0;
    const key = clientKey(hostname);
    const untilMs = key === undefined ? undefined : this.#untilMs.get(key);
    if (untilMs === undefined) return 0;
    const leftMs = untilMs - this.#nowMs();
    if (leftMs <= 0) this.#untilMs.delete(key!);
    return Math.max(0, leftMs - TOLERATED_MS);
  }

  #isExempt(key: string): boolean {
    const address = key.replace("/64", "");
    return this.#exempt.check(address, address.includes(":") ? "ipv6" : "ipv4");
  }

  /** Those that are over; if none is, the one that has got nothing more for longest. */
  #forget(nowMs: number): void {
    for (const [key, untilMs] of this.#untilMs) if (untilMs <= nowMs) this.#untilMs.delete(key);
    const [first] = this.#untilMs.keys();
    if (this.#untilMs.size >= MOST_CLIENTS) this.#untilMs.delete(first!);
  }
}
