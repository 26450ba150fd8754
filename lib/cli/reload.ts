import { EXIT } from "../base/exit_code.ts";
import { HoldfastError } from "../base/error.ts";
import { widening } from "../config/policy_lines.ts";
import { lastRelease } from "../planner/judge_widening.ts";
import { imagesIn } from "../supervisor/image_store.ts";
import type { ReloadResult, Status } from "../protocol/control.ts";
import { askSupervisor } from "./control_client.ts";
import type { AskingCommand } from "./command.ts";
import { findSupervisor } from "./find_supervisor.ts";
import { Progress } from "./progress.ts";
import { printLine } from "./terminal.ts";
import { hungUp, waitForUpgrade } from "./wait_for_upgrade.ts";

/** Reloads and waits for the outcome. */
export const reload: AskingCommand = async ({ config, widen, system }) => {
  const runtime = await findSupervisor(config, system);
  const before = (await askSupervisor(runtime, "status", "status")).status;
  const was = lastRelease(imagesIn(runtime))?.config;
  using progress = new Progress("the new version is starting", { afterMs: 1_000 });
  const result = await askReload(runtime, before, widen);
  progress.end();
  const status = printOutcome(result, "The new version");
  const is = lastRelease(imagesIn(runtime))?.config;
  if (was && is) { for (const line of widening(was, is).added) printLine(`+ ${line}`); }
  return status;
};

/**
 * Says what became of a switch.
 *
 * @param what was to serve
 * @throws {HoldfastError} if it was refused
 */
export function printOutcome(result: ReloadResult, what: string): number {
  if (result.outcome === "refused") {
    throw new HoldfastError(
      `${what} was refused, generation ${result.generation} keeps serving: ${result.reason}`,
      {
        kind: "refused",
        code: "reload_refused",
        ...result.hint !== undefined && { hint: result.hint },
      },
    );
  }
  printLine(`Generation ${result.generation} serves after ${result.ms} ms`);
  return EXIT.ok;
}

/** One that waits while an upgrade is under way is part of it: the new program loads everything. */
async function askReload(
  runtime: string,
  before: Status,
  widen: boolean,
): Promise<ReloadResult> {
  const startMs = performance.now();
  try {
    return (await askSupervisor(
      runtime,
      { type: "reload", ...widen && { widen } },
      "reloaded",
    )).result;
  } catch (error) {
    if (!hungUp(error)) throw error;
    const { status } = await askSupervisor(runtime, "status", "status");
    // The process stays the same; another one has not heard of this.
    if (status.pid !== before.pid) throw error;
    const { generations } = await waitForUpgrade(runtime, before.upgrades);
    return {
      outcome: "done",
      generation: generations.at(-1)?.generation ?? 0,
      ms: Math.round(performance.now() - startMs),
      at: new Date().toISOString(),
    };
  }
}
