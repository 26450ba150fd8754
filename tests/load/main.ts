/**
 * Loads a server that serves `app.ts` and prints how every request ended. Exit status 1 if anything
 * but `ok` was seen.
 *
 *     deno run --allow-net tests/load/main.ts --target 127.0.0.1:8000 --seconds 10 --modes close,sse
 */
import { parseArgs } from "@std/cli";
import { isAllOk, MODE_NAMES, type ModeName, rowsOf, runLoad, sampleLinesOf } from "./client.ts";
import { parseTarget } from "./target.ts";

const args = parseArgs(Deno.args, {
  string: ["target", "seconds", "modes", "clients"],
  default: { seconds: "10", modes: MODE_NAMES.join(","), clients: "4" },
  unknown: (argument) => usage(`Cannot use argument ${JSON.stringify(argument)}`),
});
if (typeof args.target !== "string") usage("Cannot start: --target is missing");
try {
  parseTarget(args.target);
} catch (error) {
  usage((error as Error).message);
}
const modes = String(args.modes).split(",");
const stranger = modes.find((mode) => !MODE_NAMES.includes(mode as ModeName));
if (stranger !== undefined) usage(`Cannot use mode ${JSON.stringify(stranger)}`);
const seconds = Number(args.seconds);
const clients = Number(args.clients);
if (!(seconds > 0)) usage(`Cannot use --seconds ${args.seconds}: want a number above 0`);
if (!(clients > 0)) usage(`Cannot use --clients ${args.clients}: want a number above 0`);

const report = await runLoad({
  target: args.target,
  durationMs: seconds * 1000,
  modes: modes as ModeName[],
  clients,
});
// deno-lint-ignore no-console
console.table(rowsOf(report));
for (const line of sampleLinesOf(report)) print(line);
print(`answers by generation: ${JSON.stringify(report.total.generations)}`);
Deno.exit(isAllOk(report) ? 0 : 1);

function usage(error: string): never {
  print(error);
  print("Usage: main.ts --target HOST:PORT|unix:PATH [--seconds 10] [--clients 4] [--modes A,B]");
  print(`Modes: ${MODE_NAMES.join(", ")}`);
  Deno.exit(64);
}

function print(line: string): void {
  // deno-lint-ignore no-console
  console.log(line);
}
