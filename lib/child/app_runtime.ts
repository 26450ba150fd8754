/** What an app finds changed in its runtime, so that it runs as it does elsewhere. */
import type { Configure } from "../protocol/to_worker.ts";
import { tellAbort } from "./abort.ts";
import { installEnvironment } from "./app_environment.ts";
import { openWithModes } from "./file_modes.ts";
import { GrantUse } from "./grant_use.ts";
import { QuietRefusals } from "./quiet_refusals.ts";
import { Refusals } from "./refusals.ts";
import { installFacts } from "./system_facts.ts";
import { countUses } from "./uses.ts";

/**
 * Changes it, before anything of the app is loaded. None of it grants anything.
 *
 * @returns to be called at the end
 */
export function prepareRuntime({ grants, roleConfig }: Configure): () => void {
  const use = new GrantUse(grants);
  use.install();
  installFacts(grants.sys ?? [], (kind) => use.sys(kind));
  const helper = roleConfig.role === "helper" ? roleConfig.name : undefined;
  const quiet = new QuietRefusals(grants.read, Deno.cwd(), helper);
  installEnvironment(grants.env, (name) => quiet.missName(name), (name) => use.env(name));
  const refusals = new Refusals(grants.read, helper);
  openWithModes();
  refusals.install();
  quiet.install();
  countUses(use);
  tellAbort();
  // They would write below DENO_DIR, which nobody may: packages go on without them.
  const globals = globalThis as Record<string, unknown>;
  for (const name of ["caches", "localStorage"]) delete globals[name];
  return () => {
    refusals.summarize();
    use.tell("all");
  };
}
