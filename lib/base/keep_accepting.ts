/** The runtime does not accept again by itself after accept failed, as for lack of descriptors. */
import type net from "node:net";

/** The kernel's queue of connections to be accepted; `net.core.somaxconn` caps it. */
export const BACKLOG = 511;

/** How often accepting is started again. */
const INTERVAL_MS = 1_000;

/** How many times that is done for a Unix socket after its last connection. */
const TRIES = 10;

/** What `node:net` accepts with. */
interface ListeningHandle {
  /** Begins to accept, if it does not: on a listener that was handed over this makes no listen(2). */
  listen(backlog: number): number;
}

/**
 * Starts accepting again once a second. An accept that fails ends the runtime's loop for good and
 * without an error; while that loop runs, this changes nothing.
 *
 * @returns a function that ends it
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
 * @returns a function that ends it; `server` itself is the caller's to close
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
    // Not in the turn in which a connection came.
    if (tries === 0 || tries-- === TRIES) return;
    let fd = -1;
    try {
      fd = handle.fdForIpc();
    } catch {
      // Treated like a descriptor below 0.
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
