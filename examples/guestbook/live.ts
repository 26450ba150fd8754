/** Live updates as Server-Sent Events, fed from the database that all workers share. */

/** An entry as the feed needs it: the id is the cursor, the fragment is what a page inserts. */
export interface LiveEntry {
  id: number;
  fragment: string;
}

export interface LiveSource {
  newestId(): number;
  listAfter(afterId: number, limit: number): LiveEntry[];
}

export interface LiveOptions {
  pollMs?: number;
  heartbeatMs?: number;
  report?: (error: unknown) => void;
}

interface Client {
  controller: ReadableStreamDefaultController<Uint8Array>;
  /** The last entry this client was sent. Only this cursor decides what comes next. */
  seenId: number;
}

interface Batch {
  bytes: Uint8Array;
  lastId: number;
}

const RETRY_MS = 1000;
const MAX_BATCH_ENTRIES = 50;
/** Above this many unread chunks a client is skipped. Its cursor waits, so it loses nothing. */
const MAX_UNREAD_CHUNKS = 8;

const encoder = new TextEncoder();

/**
 * Polls instead of listening to an in-process emitter: during a reload the entry may have been
 * signed in the other generation. Runs no timer while no client is connected.
 */
export class LiveFeed implements Disposable {
  #source: LiveSource;
  #options: Required<LiveOptions>;
  #clients = new Set<Client>();
  #timers: ReturnType<typeof setInterval>[] = [];

  constructor(source: LiveSource, options: LiveOptions = {}) {
    this.#source = source;
    this.#options = { pollMs: 500, heartbeatMs: 15_000, report: () => {}, ...options };
  }

  get clientCount(): number {
    return this.#clients.size;
  }

  /**
   * A stream of all entries after `afterId`, or of only new ones when it is undefined. It ends by
   * `cancel`, which the server calls when the browser is gone.
   */
  connect(afterId: number | undefined): ReadableStream<Uint8Array> {
    const newestId = this.#source.newestId();
    // A cursor from before the book was emptied must not wait for ids that are long gone.
    const seenId = Math.min(afterId ?? newestId, newestId);
    let client: Client;
    return new ReadableStream<Uint8Array>({
      start: (controller) => {
        client = { controller, seenId };
        controller.enqueue(encoder.encode(`retry: ${RETRY_MS}\n\n`));
        this.#clients.add(client);
        this.#startTimers();
        this.#deliver();
      },
      cancel: () => this.#leave(client),
    }, { highWaterMark: MAX_UNREAD_CHUNKS });
  }

  [Symbol.dispose](): void {
    for (const client of this.#clients) this.#leave(client);
  }

  #leave(client: Client): void {
    if (!this.#clients.delete(client)) return;
    if (this.#clients.size === 0) {
      for (const timer of this.#timers.splice(0)) {
        clearInterval(timer);
      }
    }
    try {
      client.controller.close();
    } catch {
      // The reader cancelled first, so there is nothing left to close.
    }
  }

  #startTimers(): void {
    if (this.#timers.length > 0) return;
    const heartbeat = encoder.encode(": still here\n\n");
    this.#timers = [
      setInterval(() => this.#deliver(), this.#options.pollMs),
      setInterval(() => {
        for (const client of this.#clients) {
          if (isReading(client)) client.controller.enqueue(heartbeat);
        }
      }, this.#options.heartbeatMs),
    ];
  }

  #deliver(): void {
    try {
      const newestId = this.#source.newestId();
      // Most clients share a cursor, so each batch is read and rendered once.
      const batches = new Map<number, Batch>();
      for (const client of this.#clients) {
        if (client.seenId >= newestId || !isReading(client)) continue;
        const batch = batches.get(client.seenId) ?? this.#readBatch(client.seenId);
        batches.set(client.seenId, batch);
        client.controller.enqueue(batch.bytes);
        client.seenId = batch.lastId;
      }
    } catch (error) {
      // In a timer this would end the process. Browsers come back after the retry time.
      this.#options.report(error);
      this[Symbol.dispose]();
    }
  }

  #readBatch(afterId: number): Batch {
    const entries = this.#source.listAfter(afterId, MAX_BATCH_ENTRIES);
    return {
      bytes: encoder.encode(entries.map(formatEvent).join("")),
      lastId: entries.at(-1)?.id ?? afterId,
    };
  }
}

function isReading(client: Client): boolean {
  return (client.controller.desiredSize ?? 0) > 0;
}

function formatEvent({ id, fragment }: LiveEntry): string {
  const data = fragment.split(/\r\n|\r|\n/).map((line) => `data: ${line}\n`).join("");
  return `event: entry\nid: ${id}\n${data}\n`;
}
