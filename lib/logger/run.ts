/** The logger process: the only one that writes the log files. */
import net from "node:net";
import * as z from "zod/mini";
import type { Handed } from "../child/hand_over.ts";
import type { Equipment, Service } from "../child/life.ts";
import { report } from "../child/report.ts";
import { Feed, MAX_FEED_BYTES } from "../protocol/feed.ts";
import { FrameReader } from "../protocol/frame.ts";
import type { WorkerStats } from "../protocol/to_supervisor.ts";
import type { RoleConfig } from "../protocol/to_worker.ts";
import { LogFiles } from "./log_files.ts";
import { Logger, TICK_INTERVAL_MS } from "./logger.ts";

/** How long the exit waits for the feed's end, and for the disk. */
const LAST_LINES_MS = 2_000;

/** How many checks in a row must miss the file before that is reported: rotation renames it briefly. */
const MISSED_LOOKS = 3;

const HOUR_MS = 3_600_000;

/** Makes the logger's service. */
export function createLogger({ configure, handOvers }: Equipment): Service {
  const { roleConfig } = configure;
  if (roleConfig.role !== "logger") throw new Error(`A logger was told to be a ${roleConfig.role}`);
  let service: LoggerService;
  return {
    load: async () => {
      service = new LoggerService(await openFiles(roleConfig), roleConfig.access);
    },
    start: () => {
      handOvers.subscribe((handed) => service.take(handed));
      return "none";
    },
    figures: () => service.figures(),
    drain: () => service.drain(),
    close: () => service.close(),
  };
}

function openFiles(
  { folder, access, rotateBytes, rotateHours, keep, compress }: Extract<
    RoleConfig,
    { role: "logger" }
  >,
): Promise<LogFiles> {
  return LogFiles.open({
    folder,
    access: access === "off" ? "off" : "on",
    rotation: {
      maxBytes: rotateBytes,
      maxAgeMs: rotateHours * HOUR_MS,
      keep,
      compress: compress ? "gzip" : "none",
    },
    // The feed returns it as a line; the supervisor's own stderr has it too.
    onTrouble: (reason) => report(`Cannot write the log: ${reason}`),
  });
}

class LoggerService {
  readonly #files: LogFiles;
  readonly #logger: Logger;
  readonly #tick: ReturnType<typeof setInterval>;
  readonly #feedEnd = Promise.withResolvers<void>();
  #accepted = 0;
  #lanes = 0;
  #lines = 0;
  #missed = 0;

  constructor(files: LogFiles, access: Extract<RoleConfig, { role: "logger" }>["access"]) {
    this.#files = files;
    this.#logger = new Logger(files, access === "off" ? "json" : access);
    this.#tick = setInterval(() => {
      this.#logger.tick();
      void this.#look();
    }, TICK_INTERVAL_MS);
  }

  take({ message, handle }: Handed): void {
    const socket = new net.Socket({ handle, readable: true, writable: true } as never);
    socket.on("error", () => {});
    if (message.type === "feed") this.#readFeed(socket);
    else if (message.type === "access_lane") {
      const { type: _, ...origin } = message;
      this.#accepted++;
      this.#lanes++;
      const lane = this.#logger.openLane(origin, () => socket.destroy());
      socket.on("data", (chunk: Uint8Array) => {
        if (!lane.receive(chunk)) socket.destroy();
      });
      socket.on("close", () => {
        this.#lanes--;
        lane.end();
      });
    } else throw new Error(`Was handed a ${message.type}`);
  }

  #readFeed(socket: net.Socket): void {
    const frames = new FrameReader(MAX_FEED_BYTES);
    socket.on("data", (chunk: Uint8Array) => {
      for (const value of frames.push(chunk)) this.#takeFeed(z.parse(Feed, value));
    });
    socket.on("close", () => this.#feedEnd.resolve());
  }

  #takeFeed(feed: Feed): void {
    if (feed.type === "reopen") {
      void this.#files.reopen();
      return;
    }
    if (feed.dropped > 0) {
      const time = new Date().toISOString();
      const event = { time, level: "warn", event: "log_dropped", lines: feed.dropped };
      this.#files.event(JSON.stringify(event));
    }
    this.#lines += feed.lines.length;
    for (const line of feed.lines) this.#files.event(line);
  }

  async #look(): Promise<void> {
    this.#missed = await this.#files.areThere() ? 0 : this.#missed + 1;
  }

  figures(): WorkerStats {
    return {
      ...this.#missed >= MISSED_LOOKS && { unwritten: "gone" },
      ...this.#files.failing && { unwritten: "failing" },
      accepted: this.#accepted,
      connections: this.#lanes,
      inFlight: 0,
      answered: this.#lines,
    };
  }

  /** The last lines arrive before the feed's end. */
  async drain(): Promise<{ answered: number; cut: number }> {
    let timer: ReturnType<typeof setTimeout> | undefined;
    const late = new Promise<void>((resolve) => timer = setTimeout(resolve, LAST_LINES_MS));
    await Promise.race([this.#feedEnd.promise, late]);
    clearTimeout(timer);
    return { answered: this.#lines, cut: 0 };
  }

  async close(): Promise<void> {
    clearInterval(this.#tick);
    this.#logger.tick();
    await this.#files.close(LAST_LINES_MS);
  }
}
