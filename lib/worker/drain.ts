/** The drain of a worker: stop accepting, finish requests in flight, close idle connections. */
import type { Acceptor } from "./engine.ts";
import type { Connection, Traffic } from "./traffic.ts";

/** How often the connections are checked. */
const LOOK_INTERVAL_MS = 25;

/** The result of a drain. */
export interface Drained {
  /** Requests answered since it began. */
  readonly answered: number;
  /** Connections that the deadline cut. */
  readonly cut: number;
}

/** The time limits of a drain. */
export interface DrainLimits {
  /** How long an idle connection stays open, for a client that is about to write. */
  readonly idleGraceMs: number;
  /** When the rest is cut. */
  readonly drainDeadlineMs: number;
}

/**
 * Stops accepting, and tells endless streams that the drain begins.
 *
 * @param spreadMs over what time they end
 * @param keep whether WebSockets stay
 */
export async function stopAccepting(
  acceptors: readonly Acceptor[],
  traffic: Traffic,
  spreadMs = 0,
  keep = false,
): Promise<void> {
  const stopping = acceptors.map((acceptor) => acceptor.stop());
  traffic.startDrain(spreadMs, keep);
  await Promise.all(stopping);
}

/**
 * Drains all but WebSockets, and cuts what is left at the deadline.
 *
 * @param ended that they are not to stay any more
 */
export async function drainAround(
  traffic: Traffic,
  limits: DrainLimits,
  ended: AbortSignal,
): Promise<Drained> {
  const drained = await drain(traffic, limits, (each) => ended.aborted || each.webSocket === true);
  if (ended.aborted) return { ...drained, cut: 0 };
  for (const connection of traffic.connections) if (!connection.webSocket) connection.cut();
  return drained;
}

/** Waits until no connection is left, or `ended` aborts. */
export function untilEmpty(traffic: Traffic, ended: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const look = () => {
      if (traffic.connections.size > 0 && !ended.aborted) return;
      traffic.onRoom.delete(look);
      resolve();
    };
    traffic.onRoom.add(look);
    ended.addEventListener("abort", look, { once: true });
    look();
  });
}

/**
 * Drains until no connection is left or the deadline is over.
 *
 * A connection is closed only while nothing is in flight on it: closing one that still receives a
 * request's body breaks that body (denoland/deno#36809).
 *
 * @param stays which connections are nothing to wait for
 */
export async function drain(
  traffic: Traffic,
  { idleGraceMs, drainDeadlineMs }: DrainLimits,
  stays: (connection: Connection) => boolean = () => false,
): Promise<Drained> {
  const startMs = performance.now();
  const answeredBefore = traffic.answered;
  const listLeft = () => [...traffic.connections].filter((each) => !stays(each));
  for (let left = listLeft(); left.length > 0; left = listLeft()) {
    const nowMs = performance.now();
    if (nowMs - startMs >= drainDeadlineMs) break;
    for (const connection of left) {
      const idleMs = nowMs - Math.max(startMs, connection.idleSinceMs);
      const idle = connection.inFlight === 0 &&
        (connection.closeAnnounced || idleMs >= idleGraceMs);
      const pastGrace = connection.closeAnnounced && !connection.uploading &&
        nowMs - startMs >= idleGraceMs;
      if (idle || pastGrace) connection.close();
    }
    await new Promise((resolve) => setTimeout(resolve, LOOK_INTERVAL_MS));
  }
  const cut = listLeft().length;
  const lastMs = Math.min(traffic.lastBytesMs, startMs + drainDeadlineMs) - performance.now();
  if (lastMs > 0) await new Promise((resolve) => setTimeout(resolve, lastMs));
  return { answered: traffic.answered - answeredBefore, cut };
}
