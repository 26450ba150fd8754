/** What the metrics process is granted: nothing. Pure. */
import type { Config, ListenAddress } from "../config/config.ts";
import type { Walled } from "./wall.ts";

/**
 * The compartment of the process that answers `GET /metrics`. It runs as the workers do: it parses
 * what whoever reaches its listener sends.
 *
 * @param listen the listener that it is handed
 * @param module its program, which Holdfast brings
 */
export function metricsCompartment(
  { limits, account, app }: Pick<Config, "limits" | "account" | "app">,
  listen: ListenAddress,
  module: string,
): Walled {
  const place = { module, project: app.project };
  // It parses what strangers send, and has little to compute.
  const jitless = true;
  return { app: place, unveil: [], env: [], net: [], limits, account, listen: [listen], jitless };
}
