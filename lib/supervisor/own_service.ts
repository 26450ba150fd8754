/** A process of Holdfast's own beside the workers: a slot that stands alone. */
import type net from "node:net";
import { encodeFrame, FrameReader } from "../protocol/frame.ts";
import type { Grants, RoleConfig } from "../protocol/to_worker.ts";
import { bringUp } from "./bring_up.ts";
import { silentHealth } from "./health.ts";
import { openFeed } from "./lanes.ts";
import type { Listener } from "./listener.ts";
import { ProcessSlot, type SlotOptions } from "./process_slot.ts";
import type { WorkerProcess } from "./worker_process.ts";

/** One that tells nothing of itself for so long is stuck, in milliseconds. */
const SILENCE_MS = 10_000;

export interface OwnServiceOptions
  extends Pick<SlotOptions, "first" | "next" | "nextWorker" | "config"> {
  /** What it is started with; it is kept over a reload that asks for the same. */
  readonly plan: string;
  readonly grants: Grants;
}

type OwnRole = Exclude<RoleConfig["role"], "worker" | "helper">;

export abstract class OwnService {
  readonly plan: string;
  readonly #slot: ProcessSlot;
  #feed: net.Socket | undefined;

  /** @param listeners of the table of listeners, which closes them */
  constructor(
    { plan, grants, ...options }: OwnServiceOptions,
    roleConfig: Extract<RoleConfig, { role: OwnRole }>,
    listeners: readonly Listener[] = [],
  ) {
    const { config } = options;
    this.plan = plan;
    this.#slot = new ProcessSlot({
      ...options,
      role: { kind: roleConfig.role },
      generation: 0,
      restart: "always",
      bringUp: async (process, signal) => {
        this.prepare();
        await bringUp(process, { config, listeners, grants, roleConfig, signal });
        this.serve(process);
      },
      health: ({ silentMs }) => silentHealth(silentMs, SILENCE_MS),
    });
  }

  /** Called before a process is brought up. */
  protected prepare(): void {}

  /** Called when a process is up. */
  protected abstract serve(process: WorkerProcess): void;

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
  }

  /** Ends it. Never fails. */
  async close(): Promise<void> {
    await this.#slot.end();
  }

  /**
   * Has another process take over.
   *
   * @throws {Error} if it does not come up; the one before goes on then
   */
  protected async recycle(): Promise<void> {
    await this.#slot.recycle();
  }

  /** The supervisor's own end of what it says to the process, while that lives. */
  protected get feed(): net.Socket | undefined {
    return this.#feed;
  }

  /**
   * Opens that.
   *
   * @param take called with each value that comes back; where it throws, the process is killed
   */
  protected openFeed(
    process: WorkerProcess,
    back?: { readonly maxBytes: number; readonly take: (value: unknown) => void },
  ): void {
    const feed = openFeed(process, (closed) => {
      if (this.#feed === closed) this.#feed = undefined;
    });
    this.#feed = feed;
    if (back === undefined) return;
    const frames = new FrameReader(back.maxBytes);
    feed.on("data", (chunk: Uint8Array) => {
      try {
        for (const value of frames.push(chunk)) back.take(value);
      } catch {
        // It broke the rules of the feed, as one that was taken over does.
        feed.destroy();
        process.killFor("broke the rules of its feed");
      }
    });
  }

  /** Says something, if anybody is there. */
  protected say(value: unknown): void {
    this.#feed?.write(encodeFrame(value));
  }
}
