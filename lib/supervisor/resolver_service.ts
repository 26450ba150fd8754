/** The resolver, as the supervisor has it: it is asked for names, and answers with addresses. */
import type net from "node:net";
import * as z from "zod/mini";
import { encodeFrame, FrameReader } from "../protocol/frame.ts";
import { MAX_RESOLVED_BYTES, Resolved } from "../protocol/resolve.ts";
import { bestEffort } from "./best_effort.ts";
import { bringUp } from "./bring_up.ts";
import { silentHealth } from "./health.ts";
import { openFeed } from "./lanes.ts";
import { ProcessSlot, type SlotOptions } from "./process_slot.ts";
import type { WorkerProcess } from "./worker_process.ts";

/** One that tells nothing of itself for so long is stuck, in milliseconds. */
const SILENCE_MS = 10_000;

/** How long a look-up may take: the C library asks each name server for five seconds, twice. */
const DEADLINE_MS = 12_000;

/** How many look-ups may be under way: each of a name of the config. */
const MAX_PENDING = 4_096;

export interface ResolverServiceOptions
  extends Pick<SlotOptions, "first" | "next" | "nextWorker" | "config"> {
  /** What it is started with; it is kept over a reload that asks for the same. */
  readonly plan: string;
  readonly grants: Parameters<typeof bringUp>[1]["grants"];
}

export class ResolverService {
  readonly plan: string;
  readonly #slot: ProcessSlot;
  readonly #pending = new Map<number, (addresses: readonly string[]) => void>();
  #feed: net.Socket | undefined;
  #lastId = 0;

  constructor({ plan, grants, ...options }: ResolverServiceOptions) {
    this.plan = plan;
    this.#slot = new ProcessSlot({
      ...options,
      role: { kind: "resolver" },
      generation: 0,
      restart: "always",
      bringUp: async (process, signal) => {
        const roleConfig = { role: "resolver" } as const;
        await bringUp(process, {
          config: options.config,
          listeners: [],
          grants,
          roleConfig,
          signal,
        });
        bestEffort("connect the resolver", () => this.#connectFeed(process));
      },
      health: ({ silentMs }) => silentHealth(silentMs, SILENCE_MS),
    });
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
  }

  /**
   * Looks a name up.
   *
   * @throws {Error} if the resolver is not there, or does not answer
   */
  resolve(name: string): Promise<readonly string[]> {
    const feed = this.#feed;
    if (feed === undefined) return Promise.reject(new Error("the resolver is not there"));
    if (this.#pending.size >= MAX_PENDING) return Promise.reject(new Error("it is busy"));
    const id = ++this.#lastId;
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        this.#pending.delete(id);
        reject(new Error("the resolver did not answer"));
      }, DEADLINE_MS);
      this.#pending.set(id, (addresses) => {
        clearTimeout(timer);
        this.#pending.delete(id);
        resolve(addresses);
      });
      feed.write(encodeFrame({ id, name }));
    });
  }

  /** Ends it. Never fails. */
  async close(): Promise<void> {
    await this.#slot.end();
  }

  #connectFeed(process: WorkerProcess): void {
    const frames = new FrameReader(MAX_RESOLVED_BYTES);
    const feed = openFeed(process, (closed) => {
      if (this.#feed === closed) this.#feed = undefined;
    });
    this.#feed = feed;
    feed.on("data", (chunk: Uint8Array) => {
      try {
        for (const value of frames.push(chunk)) {
          const { id, addresses } = z.parse(Resolved, value);
          this.#pending.get(id)?.(addresses);
        }
      } catch {
        // It broke the rules of the feed, as one that was taken over does.
        feed.destroy();
        process.killFor("broke the rules of its feed");
      }
    });
  }
}
