/**
 * The command line of an executable that `holdfast compile --portable` made. Its header, which is a
 * shell script, starts this with three arguments before those of the user.
 */
// First, since the others cannot be loaded without it.
import "./lib/cli/require_proc.ts";
import { holdSignals } from "./lib/base/control_signals.ts";

if (import.meta.main) {
  if (Deno.args.includes("start")) holdSignals();
  const { runPacked } = await import("./lib/cli/packed.ts");
  Deno.exit(await runPacked(Deno.args));
}
