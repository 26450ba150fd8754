/**
 * The command line of an executable that `holdfast compile --portable` made. Its header, which is a
 * shell script, starts this with three arguments of its own before those of the user.
 */
// First, since the others cannot be loaded without it.
import "./lib/cli/require_proc.ts";
import { runPacked } from "./lib/cli/packed.ts";

if (import.meta.main) Deno.exit(await runPacked(Deno.args));
