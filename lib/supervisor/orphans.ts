/**
 * What a supervisor that was killed has left. Its processes see that it is gone, let go of the listeners
 * at once and finish what they have; but one whose event loop stands still sees nothing, and holds the
 * address.
 */
import { HoldfastError } from "../base/error.ts";
import { log } from "../base/log.ts";
import { holdsListener, killProcess } from "../os/process.ts";
import { bestEffort } from "./best_effort.ts";
import { sleep } from "../base/sleep.ts";
import { type KnownProcess, lives } from "./process_record.ts";

/** How long one that holds an address has to let go of it, as the watchdog gives one that is stuck. */
const GRACE_MS = 2_000;

/** How long the kernel may take to close what one had that has ended; a busy machine takes its time. */
const END_MS = 10_000;

const TRY_INTERVAL_MS = 50;

export class Orphans {
  #left: readonly KnownProcess[];
  #timer: ReturnType<typeof setTimeout> | undefined;

  constructor(left: readonly KnownProcess[]) {
    this.#left = left;
    if (left.length === 0) return;
    log.warn("orphans_found", {
      pids: left.map(({ pid }) => String(pid)),
      hint: "The supervisor before this one was killed; they finish what they have and leave",
    });
  }

  /** Those that have not ended yet. */
  get living(): readonly KnownProcess[] {
    if (this.#left.length > 0) this.#left = this.#left.filter(lives);
    return this.#left;
  }

  /**
   * Binds what one of them may hold still, and ends that one if it does not let go.
   *
   * @throws what `bind` throws, where none of them is the reason
   */
  async bind<Bound>(bind: () => Promise<Bound>, signal: AbortSignal): Promise<Bound> {
    // One that has ended by now may have threads that have not, with all that it has open.
    const found = this.living.length > 0;
    let untilMs = performance.now() + GRACE_MS;
    let ended: readonly KnownProcess[] | undefined;
    while (true) {
      try {
        return await bind();
      } catch (error) {
        const taken = error instanceof HoldfastError && error.code === "bind_failed";
        if (!taken || signal.aborted || !found) throw error;
        if (performance.now() >= untilMs) {
          // Those that were killed and are there still are waited for.
          if (ended ? !ended.some(lives) : (ended = this.#endHolders()).length === 0) throw error;
          untilMs = performance.now() + END_MS;
        }
        await sleep(TRY_INTERVAL_MS, signal);
      }
    }
  }

  /** Ends those that have not left within a time. */
  endAfter(ms: number): void {
    if (this.living.length === 0) return;
    this.#timer = setTimeout(() => {
      for (const orphan of this.living) end(orphan, `it did not leave within ${ms} ms`);
    }, ms);
  }

  /** Leaves those that live to themselves. */
  letGo(): void {
    clearTimeout(this.#timer);
  }

  /** Where the kernel does not say what one holds, it is one that may. */
  #endHolders(): readonly KnownProcess[] {
    const holders = this.living.filter(({ pid }) => holdsListener(pid) !== false);
    for (const orphan of holders) end(orphan, "it holds a listener and does not react");
    return holders;
  }
}

function end({ pid, start, role }: KnownProcess, reason: string): void {
  bestEffort(`end process ${pid}`, () => {
    if (killProcess(pid, start)) log.warn("orphan_killed", { pid, role, reason });
  });
}
