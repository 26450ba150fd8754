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
  /** Whether it is a WebSocket, which a drain may keep. */
  readonly webSocket?: boolean | undefined;
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
  readonly #socketsEnd = new AbortController();
  #spreadUntilMs = 0;
  #restarting = false;
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

  /** Whether WebSockets are told that the service restarts, and not that it goes away. */
  get restarting(): boolean {
    return this.spreading || this.#restarting;
  }

  /** How many WebSockets are open. */
  get webSockets(): number {
    let count = 0;
    for (const { webSocket } of this.connections) if (webSocket) count++;
    return count;
  }

  /**
   * Begins the drain.
   *
   * @param spreadMs over what time endless streams end; 0 for at once
   * @param keep whether WebSockets stay until {@link Traffic.endWebSockets}
   */
  startDrain(spreadMs = 0, keep = false): void {
    this.draining = true;
    if (spreadMs > 0) this.#spreadUntilMs = performance.now() + spreadMs;
    this.#drain.abort();
    if (!keep) this.#socketsEnd.abort();
  }

  /**
   * Ends the WebSockets that stayed.
   *
   * @param replaced whether another worker takes their clients
   * @param spreadMs over what time; 0 for at once
   */
  endWebSockets(replaced: boolean, spreadMs = 0): void {
    this.#restarting = replaced;
    this.#spreadUntilMs = spreadMs > 0 ? performance.now() + spreadMs : 0;
    this.#socketsEnd.abort();
  }

  /**
   * Has something endless end in the drain, at a moment of its own where that is spread.
   *
   * @param webSocket whether it is one, which a drain may keep
   * @returns what is to be called if it has ended before
   */
  endAtDrain(end: () => void, webSocket = false): () => void {
    const { signal } = webSocket ? this.#socketsEnd : this.#drain;
    let timer: ReturnType<typeof setTimeout> | undefined;
    const begin = () => {
      const leftMs = this.#spreadUntilMs - performance.now();
      if (leftMs <= 0) return end();
      timer = setTimeout(end, Math.random() * leftMs);
    };
    if (signal.aborted) begin();
    else signal.addEventListener("abort", begin, { once: true });
    return () => {
      signal.removeEventListener("abort", begin);
      clearTimeout(timer);
    };
  }

  figures(): WorkerStats {
    const { webSockets } = this;
    return {
      ...webSockets > 0 && { webSockets },
      accepted: this.accepted,
      connections: this.connections.size,
      inFlight: this.inFlight,
      answered: this.answered,
    };
  }
}
