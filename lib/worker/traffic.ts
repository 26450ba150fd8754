/** The connections and requests of a worker, on either engine. */
import type { WorkerStats } from "../protocol/to_supervisor.ts";

/** One connection of a client. */
export interface Connection {
  /** Requests whose answer is not out yet. */
  inFlight: number;
  /** When the last answer went out, by `performance.now()`; only kept up during a drain. */
  idleSinceMs: number;
  /** Whether the client was told that it will close; an HTTP/2 client may still send requests. */
  readonly closeAnnounced: boolean;
  /** Whether a request's body may still be arriving, which a close would break. */
  readonly uploading: boolean;
  /** Ends the connection after what is in flight. */
  close(): void;
}

/** Counts requests and connections, and knows whether a drain has begun. */
export class Traffic {
  readonly connections = new Set<Connection>();
  readonly #drain = new AbortController();
  accepted = 0;
  inFlight = 0;
  answered = 0;
  draining = false;
  /** Until when the last bytes of connections that have ended may be on their way, by `performance.now()`. */
  lastBytesMs = 0;

  /** Aborts when the drain begins: endless streams end then. */
  get drainSignal(): AbortSignal {
    return this.#drain.signal;
  }

  /** Begins the drain. */
  startDrain(): void {
    this.draining = true;
    this.#drain.abort();
  }

  figures(): WorkerStats {
    return {
      accepted: this.accepted,
      connections: this.connections.size,
      inFlight: this.inFlight,
      answered: this.answered,
    };
  }
}
