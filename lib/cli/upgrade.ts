import { EXIT } from "../base/exit_code.ts";
import { HoldfastError } from "../base/error.ts";
import type { Status } from "../protocol/control.ts";
import { askSupervisor } from "./control_client.ts";
import type { CliCommand } from "./command.ts";
import { findSupervisor } from "./find_supervisor.ts";
import { printLine } from "./terminal.ts";

/** How long the new supervisor may take to serve, after its rehearsal. */
const DEADLINE_MS = 60_000;

/** How often its status is read. */
const ASK_INTERVAL_MS = 200;

/** Replaces the supervisor's program and waits for the outcome. */
export const upgrade: CliCommand = async ({ config, system }) => {
  const runtime = await findSupervisor(config, system);
  const before = (await askSupervisor(runtime, "status", "status")).status;
  try {
    const { reason } = await askSupervisor(runtime, "upgrade", "upgrade_refused");
    throw new HoldfastError(`The upgrade was refused, the old version keeps serving: ${reason}`, {
      kind: "refused",
      code: "upgrade_refused",
    });
  } catch (error) {
    // The supervisor has replaced its program, which closed this connection.
    if (!(error instanceof HoldfastError) || error.code !== "not_running") throw error;
  }
  const after = await waitForNext(runtime, before.upgrades);
  const [newest] = after.generations.slice(-1);
  printLine(`Holdfast ${after.holdfast} serves generation ${newest?.generation}, pid ${after.pid}`);
  return EXIT.ok;
};

/** Waits until a generation of the new supervisor serves. */
async function waitForNext(runtime: string, upgrades: number): Promise<Status> {
  const endMs = performance.now() + DEADLINE_MS;
  while (performance.now() < endMs) {
    // It answers as soon as it has started; if nothing answers it has exited.
    const { status } = await askSupervisor(runtime, "status", "status");
    const serves = status.generations.some(({ state }) => state === "serving");
    if (status.upgrades > upgrades && serves) return status;
    await new Promise((resolve) => setTimeout(resolve, ASK_INTERVAL_MS));
  }
  throw new HoldfastError(`The new supervisor does not serve after ${DEADLINE_MS} ms`, {
    kind: "refused",
    code: "upgrade_late",
    hint: "See its log and holdfast status; the old workers keep serving meanwhile",
  });
}
