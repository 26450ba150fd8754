/**
 * The logger without its process and sockets: a feed of events from
 * the supervisor, and a lane for each worker.
 */
import { escapeUntrusted } from "../base/escape.ts";
import { Violation } from "../protocol/violation.ts";
import { type AccessFormat, formatAccess, type Origin } from "./access_format.ts";
import { AccessLane } from "./access_lane.ts";
import type { LogFiles } from "./log_files.ts";

/** How often {@link Logger.tick} is to be called, in milliseconds. */
export const TICK_INTERVAL_MS = 1_000;

/** The logger's end of a lane, as its socket sees it. */
export interface LaneEnd {
  /**
   * Takes bytes of the worker.
   *
   * @returns whether more may come; otherwise the worker broke a rule, that was logged, and the
   * socket is to be closed
   */
  receive(chunk: Uint8Array): boolean;
  /** To be called when the lane's socket has ended. */
  end(): void;
}

interface OpenLane {
  readonly lane: AccessLane;
  readonly origin: Origin;
  readonly onViolation: () => void;
}

export class Logger {
  readonly #files: LogFiles;
  readonly #format: AccessFormat;
  readonly #nowMs: () => number;
  readonly #lanes = new Set<OpenLane>();
  #tickedMs: number;

  constructor(
    files: LogFiles,
    format: AccessFormat,
    nowMs: () => number = () => performance.now(),
  ) {
    this.#files = files;
    this.#format = format;
    this.#nowMs = nowMs;
    this.#tickedMs = nowMs();
  }

  /** Adds an event of the supervisor: one line of JSON, without its end. */
  event(line: string): void {
    this.#files.event(line);
  }

  /**
   * Opens the lane of a worker.
   *
   * @param origin the worker, as the supervisor names it
   * @param onViolation called once if {@link Logger.tick} finds that the lane must be closed
   */
  openLane(origin: Origin, onViolation: () => void): LaneEnd {
    const open: OpenLane = { lane: new AccessLane(this.#nowMs), origin, onViolation };
    this.#lanes.add(open);
    return {
      receive: (chunk) => this.#receive(open, chunk),
      end: () => this.#end(open),
    };
  }

  /** Looks after the lanes; to be called every {@link TICK_INTERVAL_MS}. */
  tick(): void {
    // A logger that was stopped itself has not read what was sent meanwhile.
    const late = this.#nowMs() - this.#tickedMs > 2 * TICK_INTERVAL_MS;
    this.#tickedMs = this.#nowMs();
    for (const open of this.#lanes) {
      this.#reportMissing(open);
      if (late) continue;
      try {
        open.lane.checkDeadline();
      } catch (error) {
        this.#refuse(open, error);
        open.onViolation();
      }
    }
  }

  #receive(open: OpenLane, chunk: Uint8Array): boolean {
    if (!this.#lanes.has(open)) return false;
    try {
      for (const record of open.lane.receive(chunk)) {
        this.#files.access(formatAccess(this.#format, record, open.origin));
      }
      return true;
    } catch (error) {
      this.#refuse(open, error);
      return false;
    }
  }

  #refuse(open: OpenLane, error: unknown): void {
    this.#end(open);
    // Any other error in a worker's bytes must not end the logger either.
    const rule = error instanceof Violation ? error.rule : "bad_message";
    const detail = escapeUntrusted(error instanceof Error ? error.message : String(error), 500);
    this.#say("error", "access_lane_closed", { ...open.origin, rule, detail });
  }

  #end(open: OpenLane): void {
    if (this.#lanes.delete(open)) this.#reportMissing(open);
  }

  #reportMissing({ lane, origin }: OpenLane): void {
    const missing = lane.takeMissing();
    if (missing === undefined) return;
    const { flood, worker: byWorker } = missing;
    this.#say("warn", "access_dropped", { ...origin, records: flood + byWorker, flood, byWorker });
  }

  #say(level: "warn" | "error", event: string, fields: Record<string, string | number>): void {
    const time = new Date().toISOString();
    this.#files.event(JSON.stringify({ time, level, event, ...fields }));
  }
}
