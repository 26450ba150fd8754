/** A runtime whose accept fails, as for want of descriptors, does not try again by itself. */
import type net from "node:net";

/** What the kernel keeps for us while nobody accepts; `net.core.somaxconn` caps it. */
const BACKLOG = 511;

/** How often accepting is begun anew. */
const INTERVAL_MS = 1_000;

/** How often it is, of a Unix socket, after the last connection. */
const TRIES = 10;

/** What `node:net` accepts with. */
interface ListeningHandle {
  /** Begins to accept, if it does not: on a listener that was handed over this makes no listen(2). */
  listen(backlog: number): number;
}

/**
 * Begins accepting anew once a second. An accept that fails ends the runtime's loop for good and
 * tells nobody; where that loop still runs, this changes nothing.
 *
 * @returns ends it
 */
export function keepAccepting(handle: ListeningHandle): () => void {
  const timer = setInterval(() => handle.listen(BACKLOG), INTERVAL_MS);
  return () => clearInterval(timer);
}

/**
 * The same for a server that listens. A Unix socket's handle begins but once: after it, another
 * server accepts on a descriptor of the same socket, and again another, while no connection comes.
 *
 * @param make makes a server like it, which does not listen
 * @returns ends it; `server` itself is the caller's to close
 */
export function keepServing(server: net.Server, make: () => net.Server): () => void {
  const { _handle: handle } = server as unknown as {
    _handle: ListeningHandle & { fdForIpc(): number };
  };
  let tries = 0;
  let beside: net.Server | undefined;
  const came = () => tries = TRIES;
  server.on("connection", came);
  const timer = setInterval(() => {
    if (handle.listen(BACKLOG) === 0) return;
    // The turn in which a connection came is not the one to begin anew in.
    if (tries === 0 || tries-- === TRIES) return;
    let fd = -1;
    try {
      fd = handle.fdForIpc();
    } catch {
      // The same as a number that is none.
    }
    if (fd < 0) {
      // Still no descriptor.
      tries++;
      return;
    }
    const next = make();
    next.on("connection", came);
    next.on("error", () => {});
    next.listen({ fd });
    beside?.close();
    beside = next;
  }, INTERVAL_MS);
  return () => {
    clearInterval(timer);
    beside?.close();
  };
}
