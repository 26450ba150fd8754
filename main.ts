/**
 * The command line of Holdfast. Everything else is loaded from here, so that signals are heard and a
 * missing flag, or a Deno that is too old, is named before it.
 */
// First, since the others cannot be loaded without it.
import "./lib/cli/require_proc.ts";
import { holdSignals } from "./lib/base/control_signals.ts";
import { loadFailed, requireDeno } from "./lib/base/runtime.ts";
import { printFailure } from "./lib/cli/failure.ts";

const dev = async () => (await import("./lib/dev/main.ts")).dev;
const compile = async () => (await import("./lib/cli/compile.ts")).compile;

async function run(): Promise<number> {
  if (Deno.args.includes("start")) holdSignals();
  try {
    requireDeno();
    const { runCli } = await import("./lib/cli/cli.ts");
    return await runCli(Deno.args, { more: { compile, dev } });
  } catch (error) {
    return printFailure(loadFailed(error));
  }
}

if (import.meta.main) Deno.exit(await run());
