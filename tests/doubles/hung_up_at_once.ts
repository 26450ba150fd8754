/** The command line of Holdfast, to which HUP comes as soon as it listens. */
import { holdOrders } from "../../lib/base/orders.ts";

holdOrders();
Deno.kill(Deno.pid, "SIGHUP");
const { runCli } = await import("../../lib/cli/cli.ts");
Deno.exit(await runCli(Deno.args));
