import { EXIT } from "../base/exit_code.ts";
import type { Status } from "../protocol/control.ts";
import { askSupervisor } from "./control_client.ts";
import type { AskingCommand } from "./command.ts";
import { findSupervisor } from "./find_supervisor.ts";
import { printLine } from "./terminal.ts";

/** Drains and stops the running supervisor, waits for it, and says what has ended. */
export const stop: AskingCommand = async ({ config, system }) => {
  const runtime = await findSupervisor(config, system);
  const startMs = performance.now();
  const { status } = await askSupervisor(runtime, "status", "status");
  await askSupervisor(runtime, "stop", "stopped");
  printLine(describeStop(status, Math.round(performance.now() - startMs)));
  return EXIT.ok;
};

/** What has ended, and what it did when it was told to. */
export function describeStop({ pid, config, listeners, generations }: Status, ms: number): string {
  const inFlight = generations.flatMap(({ workers }) => workers)
    .reduce((sum, { process }) => sum + (process?.inFlight ?? 0), 0);
  const requests = inFlight === 0
    ? ""
    : `, with ${inFlight} ${inFlight === 1 ? "request" : "requests"} in flight`;
  return `Stopped pid ${pid} after ${ms} ms${requests}: it served ${config} on ${
    listeners.join(", ")
  }`;
}
