/**
 * The metrics process, as the supervisor has it: it alone speaks HTTP about the supervisor, behind a
 * wall and with nothing granted. It is told the status every second, and nothing waits for it.
 */
import type net from "node:net";
import type { Status } from "../protocol/control.ts";
import { encodeFrame } from "../protocol/frame.ts";
import { bestEffort } from "./best_effort.ts";
import { bringUp } from "./bring_up.ts";
import { silentHealth } from "./health.ts";
import { openFeed } from "./lanes.ts";
import type { Listener } from "./listener.ts";
import { ProcessSlot, type SlotOptions } from "./process_slot.ts";
import type { WorkerProcess } from "./worker_process.ts";

/** How often it is told. */
const FEED_INTERVAL_MS = 1_000;

/** One that tells nothing of itself for so long is stuck, in milliseconds. */
const SILENCE_MS = 10_000;

export interface MetricsServiceOptions
  extends Pick<SlotOptions, "first" | "next" | "nextWorker" | "config"> {
  /** What it is started with; it is kept over a reload that asks for the same. */
  readonly plan: string;
  /** Of the table of listeners, which closes it. */
  readonly listener: Listener;
  readonly grants: Parameters<typeof bringUp>[1]["grants"];
  readonly status: () => Status;
}

export class MetricsService {
  readonly plan: string;
  readonly #slot: ProcessSlot;
  readonly #listener: Listener;
  readonly #status: () => Status;
  #feed: net.Socket | undefined;
  #timer: ReturnType<typeof setInterval> | undefined;

  constructor({ plan, listener, grants, status, ...options }: MetricsServiceOptions) {
    this.plan = plan;
    this.#listener = listener;
    this.#status = status;
    this.#slot = new ProcessSlot({
      ...options,
      role: { kind: "metrics" },
      generation: 0,
      restart: "always",
      bringUp: async (process, signal) => {
        await bringUp(process, {
          config: options.config,
          listeners: [listener],
          grants,
          roleConfig: { role: "metrics", listeners: [listener.text] },
          signal,
        });
        bestEffort("feed the metrics process", () => this.#connectFeed(process));
      },
      health: ({ silentMs }) => silentHealth(silentMs, SILENCE_MS),
    });
  }

  /** Where it listens. */
  get listen(): string {
    return this.#listener.text;
  }

  get listener(): Listener {
    return this.#listener;
  }

  /** Its process, if one lives. */
  get process(): WorkerProcess | undefined {
    return this.#slot.process;
  }

  get replacements(): number {
    return this.#slot.replacements;
  }

  /**
   * Brings it up.
   *
   * @throws {HoldfastError} if it does not come up; nothing is left behind then
   */
  async start(signal: AbortSignal): Promise<void> {
    await this.#slot.startAlone(signal);
    this.#timer = setInterval(() => this.#tell(), FEED_INTERVAL_MS);
  }

  /** Ends it. Never fails. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    await this.#slot.end();
  }

  #connectFeed(process: WorkerProcess): void {
    this.#feed = openFeed(process, (feed) => {
      if (this.#feed === feed) this.#feed = undefined;
    });
    this.#tell();
  }

  /** One that has not read the last status gets none: the next one says it all. */
  #tell(): void {
    if (this.#feed?.writableLength === 0) this.#feed.write(encodeFrame(this.#status()));
  }
}
