/** The command line of Holdfast. */
import { runCli } from "./lib/cli/cli.ts";
import { compile } from "./lib/cli/compile.ts";

if (import.meta.main) Deno.exit(await runCli(Deno.args, { more: { compile } }));
