import { audit as runAudit } from "../audit/audit.ts";
import { formatMarkdown, formatSummary } from "./audit_report.ts";
import { summarize } from "../audit/summary.ts";
import { EXIT } from "../base/exit_code.ts";
import { configureLog, flushLog } from "../base/log.ts";
import { landlockAbi } from "../os/landlock.ts";
import type { Command } from "./command.ts";
import { printLine } from "./terminal.ts";

/** Tries to escape from a real worker in every known way, and says which layer stopped what. */
export const audit: Command = async ({ config, json, markdown, stress, system }) => {
  configureLog("none");
  const summary = summarize(await runAudit({ configFile: config, stress, system }));
  await flushLog();
  const machine = `Deno ${Deno.version.deno}, Linux ${Deno.osRelease()}, Landlock ABI ` +
    `${landlockAbi()}, ${Deno.build.arch}.`;
  if (json) printLine(JSON.stringify(summary));
  else if (markdown) printLine(formatMarkdown(summary, machine).trimEnd());
  else printLine(`${formatSummary(summary)}\n${machine}`);
  return summary.passed ? EXIT.ok : EXIT.refused;
};
