/** What came of reloads and upgrades: told in the log, and kept for `status`. */
import { toHoldfastError } from "../base/error.ts";
import { log } from "../base/log.ts";
import type { ReloadResult } from "../protocol/control.ts";

export class History {
  reloads = 0;
  lastReload: ReloadResult | undefined;
  upgrades = 0;
  /** Why the program was not replaced the last time. */
  upgradeRefused: string | undefined;

  /**
   * A reload has ended.
   *
   * @param error why it was refused
   * @param generation the one that serves after it
   */
  tellReload(error: Error | undefined, ms: number, generation = 0): ReloadResult {
    const { message, hint } = error ? toHoldfastError(error) : {};
    const result: ReloadResult = {
      outcome: error ? "refused" : "done",
      ...message !== undefined && { reason: message },
      ...hint !== undefined && { hint },
      generation,
      ms: Math.round(ms),
      at: new Date().toISOString(),
    };
    this.lastReload = result;
    if (error) log.error("reload_refused", { ...result });
    else log.info("reload_done", { ...result });
    return result;
  }

  /**
   * An upgrade was refused: one that is done leaves nobody to tell it.
   *
   * @returns why
   */
  tellUpgrade(
    error: Error = new Error("the program was not replaced"),
    generation: number | undefined,
  ): string {
    const { message } = toHoldfastError(error);
    this.upgradeRefused = message;
    log.error("upgrade_refused", { reason: message, generation });
    return message;
  }

  /** An upgrade has replaced the program, and no generation of the new one comes up. */
  tellUnfinished({ message }: Error): void {
    this.upgradeRefused = message;
    log.error("upgrade_unfinished", {
      reason: message,
      hint: "The workers from before it serve; HUP tries again",
    });
  }
}
