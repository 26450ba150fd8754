/** The command line of the npm package, in which every program was bundled beforehand. */
// First, since the others cannot be loaded without it.
import "../../lib/cli/require_proc.ts";
import { holdSignals } from "../../lib/base/control_signals.ts";
import { requireDeno } from "../../lib/base/runtime.ts";
import { printFailure } from "../../lib/cli/failure.ts";

const dev = async () => (await import("../../lib/dev/main.ts")).dev;
const compile = async () => (await import("../../lib/cli/compile.ts")).compile;

/** Every program was bundled beforehand. */
async function loadSystem() {
  const { realSystem } = await import("../../lib/supervisor/system.ts");
  const { readPrograms } = await import("../../lib/planner/prebuilt.ts");
  return { ...realSystem, loadPrograms: readPrograms };
}

async function run(): Promise<number> {
  if (Deno.args.includes("start")) holdSignals();
  try {
    requireDeno();
    const { runCli } = await import("../../lib/cli/cli.ts");
    return await runCli(Deno.args, { loadSystem, more: { compile, dev } });
  } catch (error) {
    return printFailure(error);
  }
}

if (import.meta.main) Deno.exit(await run());
