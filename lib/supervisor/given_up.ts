/** Connections that a worker has given up, and that its runtime cannot end. */
import { endConnection, lookAtConnections } from "../os/end_connections.ts";

/** How many are looked for at once, and how often at the most, whatever a worker asks for. */
const MOST = 8_192;
const LEAST_MS = 500;

/** They are looked for among the descriptors of the worker, in two rounds over all of them. */
export class GivenUp {
  #before: readonly string[] = [];
  #peers: string[] = [];
  #from = 0;
  #lookedMs = -Infinity;
  /** Whether the kernel lets them be looked for. */
  allowed = true;

  /**
   * Takes more of them, and looks on. What a worker names here hurts nobody but itself: only its own
   * connections are ended.
   */
  look(pid: number, peers: readonly string[]): void {
    if (!this.allowed) return;
    this.#peers.push(...peers.slice(0, MOST - this.#peers.length));
    const nowMs = performance.now();
    if (nowMs - this.#lookedMs < LEAST_MS) return;
    this.#lookedMs = nowMs;
    const all = new Set([...this.#before, ...this.#peers]);
    if (all.size === 0) return;
    const next = lookAtConnections(pid, this.#from, (copy, peer) => {
      if (all.has(peer)) endConnection(copy, "kept");
    });
    this.allowed = next !== undefined;
    this.#from = next ?? 0;
    if (this.#from > 0) return;
    this.#before = this.#peers;
    this.#peers = [];
  }
}
