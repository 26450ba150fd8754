/** The command line of Holdfast. */
import { runCli } from "./lib/cli/cli.ts";

const compile = async () => (await import("./lib/cli/compile.ts")).compile;

if (import.meta.main) Deno.exit(await runCli(Deno.args, { more: { compile } }));
