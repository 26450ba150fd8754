/** The connections and requests of a worker, on either engine. */
import type { WorkerStats } from "../protocol/to_supervisor.ts";
import type { ConnectionWatch } from "./limits.ts";

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
  /** What the limits keep of it; nothing of one that they leave alone. */
  readonly watch?: ConnectionWatch | undefined;
  /** Which limit its silence falls under, whatever is in flight on it. */
  readonly idleLimit?: "webSocketIdleTimeoutMs" | undefined;
  /** Brings its watch up to date, on an engine that counts by itself; before each look. */
  measure?(): void;
  /** Ends the connection after what is in flight. */
  close(): void;
  /** Ends it where nothing is in flight, and whatever its client does; where `close` may wait for that. */
  retire?(): void;
  /** Ends it at once. */
  cut(): void;
}

/** Counts requests and connections, and knows whether a drain has begun. */
export class Traffic {
  readonly connections = new Set<Connection>();
  /** Called when one has ended. */
  readonly onRoom = new Set<() => void>();
  readonly #drain = new AbortController();
  #spreadUntilMs = 0;
  accepted = 0;
  inFlight = 0;
  answered = 0;
  draining = false;
  /** Until when the last bytes of connections that have ended may be on their way, by `performance.now()`. */
  lastBytesMs = 0;

  /** Removes a connection that has ended; @returns whether it was there */
  remove(connection: Connection): boolean {
    const removed = this.connections.delete(connection);
    this.tellRoom();
    return removed;
  }

  /** There may be room for another connection. */
  tellRoom(): void {
    for (const resume of this.onRoom) resume();
  }

  /** Aborts when the drain begins. */
  get drainSignal(): AbortSignal {
    return this.#drain.signal;
  }

  /** Whether what is endless ends over time, since another worker takes its clients. */
  get spreading(): boolean {
    return this.#spreadUntilMs > 0;
  }

  /**
   * Begins the drain.
   *
   * @param spreadMs over what time endless streams end; 0 for at once
   */
  startDrain(spreadMs = 0): void {
    this.draining = true;
    if (spreadMs > 0) this.#spreadUntilMs = performance.now() + spreadMs;
    this.#drain.abort();
  }

  /**
   * Has something endless end in the drain, at a moment of its own where that is spread.
   *
   * @returns what is to be called if it has ended before
   */
  endAtDrain(end: () => void): () => void {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const begin = () => {
      const leftMs = this.#spreadUntilMs - performance.now();
      if (leftMs <= 0) return end();
      timer = setTimeout(end, Math.random() * leftMs);
    };
    if (this.draining) begin();
    else this.drainSignal.addEventListener("abort", begin, { once: true });
    return () => {
      this.drainSignal.removeEventListener("abort", begin);
      clearTimeout(timer);
    };
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
