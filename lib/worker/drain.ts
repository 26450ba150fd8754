/** The end of a worker: stop accepting, finish what is in flight, close what is idle. */
import type { Acceptor } from "./engine.ts";
import type { Traffic } from "./traffic.ts";

/** How often the connections are looked at. */
const LOOK_INTERVAL_MS = 25;

/** How a drain went. */
export interface Drained {
  /** Requests answered from its beginning on. */
  readonly answered: number;
  /** Connections that the deadline cut. */
  readonly cut: number;
}

/** How long a drain waits for what. */
export interface DrainLimits {
  /** How long an idle connection stays open, for a client that is about to write. */
  readonly idleGraceMs: number;
  /** When the rest is cut. */
  readonly drainDeadlineMs: number;
}

/** Stops accepting; streams without an end are told that a drain begins. */
export function stopAccepting(acceptors: readonly Acceptor[], traffic: Traffic): void {
  for (const acceptor of acceptors) acceptor.stop();
  traffic.startDrain();
}

/**
 * Drains until no connection is left or the deadline is over.
 *
 * A connection is closed only while nothing is in flight on it: closing one that still receives a
 * request's body breaks that body (denoland/deno#36809).
 */
export async function drain(
  traffic: Traffic,
  { idleGraceMs, drainDeadlineMs }: DrainLimits,
): Promise<Drained> {
  const startMs = performance.now();
  const answeredBefore = traffic.answered;
  while (traffic.connections.size > 0) {
    const nowMs = performance.now();
    if (nowMs - startMs >= drainDeadlineMs) break;
    for (const connection of traffic.connections) {
      const idleMs = nowMs - Math.max(startMs, connection.idleSinceMs);
      const idle = connection.inFlight === 0 && (connection.told || idleMs >= idleGraceMs);
      const overstays = connection.told && !connection.uploading &&
        nowMs - startMs >= idleGraceMs;
      if (idle || overstays) connection.close();
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_INTERVAL_MS));
  }
  return { answered: traffic.answered - answeredBefore, cut: traffic.connections.size };
}
