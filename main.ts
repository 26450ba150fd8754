/** The command line of Holdfast. */
// First, since the others cannot be loaded without it.
import "./lib/cli/require_proc.ts";
import { runCli } from "./lib/cli/cli.ts";

const compile = async () => (await import("./lib/cli/compile.ts")).compile;

if (import.meta.main) Deno.exit(await runCli(Deno.args, { more: { compile } }));
