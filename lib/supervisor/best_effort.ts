/** Effects whose failure must not keep the rest from happening: the ends of things. */
import { log } from "../base/log.ts";

/**
 * Does `effect`; if it fails, that is logged.
 *
 * @returns whether it was done
 */
export function bestEffort(what: string, effect: () => void): boolean {
  try {
    effect();
    return true;
  } catch (error) {
    const reason = (error as Error).message;
    log.error("best_effort_failed", { effect: what, reason, formerly: "effect_failed" });
    return false;
  }
}
