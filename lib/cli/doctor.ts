import { EXIT } from "../base/exit_code.ts";
import { configureLog, flushLog } from "../base/log.ts";
import { countStates, examine, formatResults } from "../doctor/examine.ts";
import type { CliCommand } from "./command.ts";
import { readFacts } from "./doctor/facts.ts";
import { TERMINAL } from "./log_formats.ts";
import { printLine } from "./terminal.ts";

/** Looks for what would be in the way of a config on this machine; exits 1 if there is a fault. */
export const doctor: CliCommand = async ({ config, json, system }) => {
  configureLog(Deno.stderr.isTerminal() ? TERMINAL : "json");
  const results = examine(await readFacts(config, system));
  const counts = countStates(results);
  if (json) printLine(JSON.stringify({ counts, checks: results }));
  else {
    const colour = Deno.stdout.isTerminal() && !Deno.env.get("NO_COLOR");
    printLine(formatResults(results, colour));
  }
  await flushLog();
  return counts.fault > 0 ? EXIT.refused : EXIT.ok;
};
