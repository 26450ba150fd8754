/** What an app finds changed in its runtime, so that it runs as it does elsewhere. */
import type { Configure } from "../protocol/to_worker.ts";
import { installEnvironment } from "./app_environment.ts";
import { Refusals } from "./refusals.ts";
import { installFacts } from "./system_facts.ts";

/**
 * Changes it, before anything of the app is loaded. None of it grants anything.
 *
 * @returns to be called at the end
 */
export function prepareRuntime({ grants, roleConfig }: Configure): () => void {
  installFacts(grants.sys ?? []);
  installEnvironment(grants.env);
  const refusals = new Refusals(
    grants.read,
    roleConfig.role === "helper" ? roleConfig.name : undefined,
  );
  refusals.install();
  // They would write below DENO_DIR, which nobody may: packages go on without them.
  const globals = globalThis as Record<string, unknown>;
  for (const name of ["caches", "localStorage"]) delete globals[name];
  return () => refusals.summarize();
}
