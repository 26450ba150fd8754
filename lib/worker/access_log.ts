/**
 * A worker's part of the access log: a record of every answer, sent to the logger in batches. It never
 * waits and its memory is bounded; if the logger is slow, records are dropped and counted.
 */
import {
  type AccessBatch,
  type AccessRecord,
  MAX_ACCESS_BATCH,
  MAX_ACCESS_FRAME_BYTES,
  MAX_ACCESS_METHOD,
  MAX_ACCESS_PATH,
  MAX_ACCESS_REFERER,
  MAX_ACCESS_REMOTE,
  MAX_ACCESS_USER_AGENT,
} from "../protocol/access.ts";
import { encodeFrame } from "../protocol/frame.ts";

/** How long a record waits for others to be sent with, in milliseconds. */
export const BATCH_INTERVAL_MS = 100;

/** Frames that wait for the logger; beyond it, records are dropped and counted. */
export const MAX_WAITING_FRAMES = 64;

/** The most bytes of a record in JSON besides its texts, and of one UTF-16 code unit. */
const BYTES_BESIDES = 340;
const BYTES_PER_UNIT = 6;

/**
 * Sends a frame to the logger.
 *
 * @returns whether it was taken; otherwise it is offered again
 */
export type SendFrame = (frame: Uint8Array) => boolean;

/** What is known of a request when it arrives. */
export interface RequestFacts {
  readonly method: string;
  /** A URL, or a path with its query. */
  readonly target: string;
  /** See {@link remoteName}. */
  readonly remote: string | null;
  readonly protocol: string | null;
  readonly referer: string | null;
  readonly userAgent: string | null;
}

/** A request without a complete answer. It is also the record: a second object would cost time. */
export class OpenRecord implements AccessRecord {
  readonly time: number = Date.now();
  readonly remote: string | null;
  readonly method: string;
  readonly path: string;
  readonly secure?: true;
  readonly protocol: string | null;
  status: number | null = null;
  bytes: number | null = null;
  durationMs = 0;
  readonly referer: string | null;
  readonly userAgent: string | null;
  cut = false;
  readonly #log: AccessLog;
  readonly #startMs = performance.now();
  #ended = false;

  constructor(log: AccessLog, request: RequestFacts) {
    this.#log = log;
    this.remote = request.remote;
    this.method = cut(request.method, MAX_ACCESS_METHOD);
    this.path = cut(toPath(request.target), MAX_ACCESS_PATH);
    if (request.target.startsWith("https:")) this.secure = true;
    this.protocol = request.protocol;
    this.referer = request.referer && cut(request.referer, MAX_ACCESS_REFERER);
    this.userAgent = request.userAgent && cut(request.userAgent, MAX_ACCESS_USER_AGENT);
  }

  /** Records the app's status; the body is still to come. */
  answer(status: number): void {
    this.status = status;
  }

  /**
   * Ends the record; only the first end counts.
   *
   * @param bytes of the body, if that is known
   */
  end(how: "whole" | "cut", bytes: number | null): void {
    if (this.#ended) return;
    this.#ended = true;
    // Microseconds are precise enough, and shorter.
    this.durationMs = Math.round((performance.now() - this.#startMs) * 1000) / 1000;
    this.bytes = bytes;
    this.cut = how === "cut";
    this.#log.add(this);
  }
}

function cut(text: string, limit: number): string {
  return text.length > limit ? text.slice(0, limit) : text;
}

export class AccessLog {
  /** Whether to read referer and user agent, which costs the native engine time. */
  readonly headers: "kept" | "left";
  readonly #open = new Set<OpenRecord>();
  #ended: OpenRecord[] = [];
  readonly #frames: Uint8Array[] = [];
  #dropped = 0;
  #send: SendFrame | undefined;
  #timer: ReturnType<typeof setTimeout> | undefined;

  /** @param headers `"left"` if the log's format has neither referer nor user agent */
  constructor(headers: "kept" | "left" = "kept") {
    this.headers = headers;
  }

  /** Sends to the logger from now on; what was recorded before is sent first. */
  attach(send: SendFrame): void {
    this.#send = send;
    this.#flush();
  }

  /**
   * Sends all records, requests without an answer as cut ones, and then nothing more. To be called at the
   * end of the drain, and when the lane has ended.
   */
  detach(): void {
    for (const record of this.#open) record.end("cut", null);
    this.#flush();
    this.#send = undefined;
    clearTimeout(this.#timer);
    this.#timer = undefined;
    this.#frames.length = 0;
  }

  /** Begins the record of a request. */
  begin(request: RequestFacts): OpenRecord {
    return new OpenRecord(this, request);
  }

  /** Keeps a record whose answer takes long, so that it is not lost if the worker ends. */
  keep(record: OpenRecord): void {
    this.#open.add(record);
  }

  /** Adds a record that has ended. */
  add(record: OpenRecord): void {
    this.#open.delete(record);
    this.#ended.push(record);
    if (this.#ended.length >= MAX_ACCESS_BATCH) this.#flush();
    else this.#timer ??= setTimeout(this.#onTimer, BATCH_INTERVAL_MS);
  }

  readonly #onTimer = () => {
    this.#timer = undefined;
    this.#flush();
  };

  #flush(): void {
    if (this.#ended.length > 0) {
      const ended = this.#ended;
      this.#ended = [];
      for (const records of split(ended)) this.#queue(records);
    }
    while (this.#send !== undefined && this.#frames.length > 0) {
      if (!this.#send(this.#frames[0]!)) break;
      this.#frames.shift();
    }
    const waits = this.#send !== undefined && this.#frames.length > 0;
    if (waits) this.#timer ??= setTimeout(this.#onTimer, BATCH_INTERVAL_MS);
  }

  #queue(records: AccessRecord[]): void {
    if (this.#frames.length >= MAX_WAITING_FRAMES) {
      this.#dropped += records.length;
      return;
    }
    this.#frames.push(encodeFrame({ records, dropped: this.#dropped } satisfies AccessBatch));
    this.#dropped = 0;
  }
}

/** Splits records into frames that are sure to fit. */
function* split(records: AccessRecord[]): Generator<AccessRecord[]> {
  let batch: AccessRecord[] = [];
  let bytes = 0;
  for (const record of records) {
    const { remote, method, path, referer, userAgent } = record;
    const units = (remote?.length ?? 0) + method.length + path.length + (referer?.length ?? 0) +
      (userAgent?.length ?? 0);
    const most = BYTES_BESIDES + BYTES_PER_UNIT * units;
    if (bytes + most > MAX_ACCESS_FRAME_BYTES - BYTES_BESIDES) {
      yield batch;
      batch = [];
      bytes = 0;
    }
    batch.push(record);
    bytes += most;
  }
  yield batch;
}

/** A client's address in a record; the same for all requests of a connection. */
export function remoteName(address: Deno.Addr): string | null {
  // The client of a Unix socket has no address; the text is nginx's.
  if (!("hostname" in address)) return "unix:";
  return address.hostname === "" ? null : cut(address.hostname, MAX_ACCESS_REMOTE);
}

function toPath(target: string): string {
  if (target.startsWith("/") || target === "*") return target;
  const authority = target.indexOf("://");
  const path = authority < 0 ? -1 : target.indexOf("/", authority + "://".length);
  return path < 0 ? target : target.slice(path);
}
