/** The command line of Holdfast, to which HUP comes as soon as it listens. */
import { holdSignals } from "../../lib/base/control_signals.ts";

holdSignals();
Deno.kill(Deno.pid, "SIGHUP");
const { runCli } = await import("../../lib/cli/cli.ts");
Deno.exit(await runCli(Deno.args));
