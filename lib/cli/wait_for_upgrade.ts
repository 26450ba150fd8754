import { HoldfastError } from "../base/error.ts";
import type { Status } from "../protocol/control.ts";
import { askSupervisor } from "./control_client.ts";

/** How long the new supervisor may take to serve, after its rehearsal. */
const DEADLINE_MS = 60_000;

/** How often it is asked. */
const ASK_INTERVAL_MS = 200;

/** Whether nobody answered: who was to has put another program in its place, or has ended. */
export function hungUp(error: unknown): boolean {
  return error instanceof HoldfastError && error.code === "not_running";
}

/**
 * Waits until a generation of the new supervisor serves.
 *
 * @param upgrades how many there were before
 * @throws {HoldfastError} if there is none, or it does not serve in time
 */
export async function waitForUpgrade(runtime: string, upgrades: number): Promise<Status> {
  const endMs = performance.now() + DEADLINE_MS;
  while (performance.now() < endMs) {
    // It answers as soon as it is there; it is gone for good if nobody does.
    const { status } = await askSupervisor(runtime, "status", "status");
    const serves = status.generations.some(({ state }) => state === "serving");
    if (status.upgrades > upgrades && serves) return status;
    if (status.upgrades > upgrades && status.upgradeRefused !== null) {
      throw new HoldfastError(`The new supervisor serves nothing yet: ${status.upgradeRefused}`, {
        kind: "refused",
        code: "upgrade_unfinished",
        hint: "The workers of the old one serve on: mend that, and holdfast reload",
      });
    }
    await new Promise((resolve) => setTimeout(resolve, ASK_INTERVAL_MS));
  }
  throw new HoldfastError(`The new supervisor does not serve after ${DEADLINE_MS} ms`, {
    kind: "refused",
    code: "upgrade_late",
    hint: "See its log, and holdfast status; the workers of the old one serve meanwhile",
  });
}
