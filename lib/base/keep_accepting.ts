/** A runtime whose accept fails does not try again by itself. */

/** What the kernel keeps for us while nobody accepts; `net.core.somaxconn` caps it. */
const BACKLOG = 511;

/** What `node:net` accepts with. */
export interface ListeningHandle {
  /** Begins to accept, if it does not: on a listener that was handed over this makes no listen(2). */
  listen(backlog: number): number;
}

/** How often accepting is begun anew. */
const INTERVAL_MS = 1_000;

/**
 * Begins accepting anew once a second. An accept that fails, as for want of descriptors, ends the
 * runtime's loop for good and tells nobody; where that loop still runs, this changes nothing.
 *
 * @returns ends it
 */
export function keepAccepting(handle: ListeningHandle): () => void {
  const timer = setInterval(() => handle.listen(BACKLOG), INTERVAL_MS);
  return () => clearInterval(timer);
}
