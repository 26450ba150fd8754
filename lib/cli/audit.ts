import type { Attempt } from "../audit/attempt.ts";
import { ATTEMPTS } from "../audit/attempts/catalogue.ts";
import { audit as runAudit } from "../audit/audit.ts";
import { summarize } from "../audit/summary.ts";
import { HoldfastError } from "../base/error.ts";
import { EXIT } from "../base/exit_code.ts";
import { configureLog, flushLog } from "../base/log.ts";
import { VERSION } from "../base/version.ts";
import { workingFolder } from "../config/spelled_path.ts";
import { landlockAbi } from "../os/landlock.ts";
import { formatMarkdown } from "./audit_report.ts";
import { formatSarif } from "./audit_sarif.ts";
import { formatAudit } from "./audit_text.ts";
import type { CliCommand, CommandOptions } from "./command.ts";
import { Progress } from "./progress.ts";
import { printLine } from "./terminal.ts";
import { viewOfOutput } from "./text.ts";
import { formatAge } from "./units.ts";

/** Tries every known escape from real processes, and reports which layer stopped what. */
export const audit: CliCommand = async (options) => {
  const { config, json, markdown, sarif, quick, all, wide } = options;
  requireOneForm(options);
  configureLog("none");
  const startMs = performance.now();
  const summary = await make(options);
  await flushLog();
  const machine = `Deno ${Deno.version.deno}, Linux ${Deno.osRelease()}, Landlock ABI ` +
    `${landlockAbi()}, ${Deno.build.arch}.`;
  if (json) printLine(JSON.stringify(summary));
  else if (markdown) printLine(formatMarkdown(summary, machine).trimEnd());
  else if (sarif) {
    printLine(formatSarif(summary, { version: VERSION, config, folder: workingFolder(), all }));
  } else {
    const took = `${config}, in ${formatAge(performance.now() - startMs)}. ${machine}`;
    const facts = [took, ...quick ? [QUICK] : []];
    printLine(formatAudit(summary, { ...viewOfOutput({ wide }), all, facts }));
  }
  return summary.passed ? EXIT.ok : EXIT.refused;
};

const QUICK = "Quick: some attempts of every area, as Holdfast ships. Without --quick all " +
  `${ATTEMPTS.length} are made, and each layer is tried alone.`;

function requireOneForm({ json, markdown, sarif }: CommandOptions): void {
  if ([json, markdown, sarif].filter((form) => form).length < 2) return;
  throw new HoldfastError("An audit is printed in one form: --json, --markdown or --sarif", {
    kind: "usage",
    code: "usage",
    hint: "Leave all but one out; see holdfast audit --help",
  });
}

async function make({ config, only, quick, stress, system }: CommandOptions) {
  const attempts = only === undefined ? ATTEMPTS : chooseAttempts(only);
  using progress = new Progress("looking at the app's code");
  return summarize(
    await runAudit({
      ...{ configFile: config, attempts, quick, stress, system },
      onPlan: (total) => progress.count("attempts", total),
      onResult: () => progress.add(),
    }),
  );
}

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
