/** What an app finds changed in its runtime, so that it runs as it does elsewhere. */
import type { Grants } from "../protocol/to_worker.ts";
import { installEnvironment } from "./app_environment.ts";
import { Refusals } from "./refusals.ts";
import { installFacts } from "./system_facts.ts";

/** Changes it, before anything of the app is loaded. None of it grants anything. */
export function prepareRuntime(grants: Grants): void {
  installFacts(grants.sys ?? []);
  installEnvironment(grants.env);
  new Refusals(grants.read).install();
  // They would write below DENO_DIR, which nobody may: packages go on without them.
  const globals = globalThis as Record<string, unknown>;
  for (const name of ["caches", "localStorage"]) delete globals[name];
}
