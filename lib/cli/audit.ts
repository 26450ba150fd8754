import type { Attempt } from "../audit/attempt.ts";
import { ATTEMPTS } from "../audit/attempts/catalogue.ts";
import { audit as runAudit } from "../audit/audit.ts";
import { HoldfastError } from "../base/error.ts";
import { formatMarkdown, formatSummary } from "./audit_report.ts";
import { summarize } from "../audit/summary.ts";
import { EXIT } from "../base/exit_code.ts";
import { configureLog, flushLog } from "../base/log.ts";
import { landlockAbi } from "../os/landlock.ts";
import type { CliCommand } from "./command.ts";
import { printLine } from "./terminal.ts";

/** Tries every known escape from real processes, and reports which layer stopped what. */
export const audit: CliCommand = async ({ config, json, markdown, only, stress, system }) => {
  configureLog("none");
  const attempts = only === undefined ? ATTEMPTS : chooseAttempts(only);
  const summary = summarize(await runAudit({ configFile: config, attempts, stress, system }));
  await flushLog();
  const machine = `Deno ${Deno.version.deno}, Linux ${Deno.osRelease()}, Landlock ABI ` +
    `${landlockAbi()}, ${Deno.build.arch}.`;
  if (json) printLine(JSON.stringify(summary));
  else if (markdown) printLine(formatMarkdown(summary, machine).trimEnd());
  else printLine(`${formatSummary(summary)}\n${machine}`);
  return summary.passed ? EXIT.ok : EXIT.refused;
};

/** Those that an id names, whole (`EX4.shell`) or all of a kind (`EX4`). */
function chooseAttempts(ids: string): Attempt[] {
  const named = ids.split(",").map((id) => ({
    id,
    attempts: ATTEMPTS.filter((attempt) => attempt.id === id || attempt.id.startsWith(`${id}.`)),
  }));
  const none = named.find(({ attempts }) => attempts.length === 0);
  if (none) {
    throw new HoldfastError(`--only: there is no attempt ${none.id}`, {
      kind: "usage",
      code: "usage",
      hint: "The ids are in the first column of what holdfast audit prints; see holdfast --help",
    });
  }
  return [...new Set(named.flatMap(({ attempts }) => attempts))];
}
