/** A runtime whose accept fails does not try again by itself. */

/** What both engines accept with. */
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
export function keepAccepting(handle: ListeningHandle, backlog: number): () => void {
  const timer = setInterval(() => handle.listen(backlog), INTERVAL_MS);
  return () => clearInterval(timer);
}
