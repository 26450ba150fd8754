import { join } from "node:path";
import { EXIT } from "../base/exit_code.ts";
import { landlockAbi } from "../os/landlock.ts";
import { explainPolicy, type Explanation } from "./explanation.ts";
import { examineCode } from "../planner/plan_code.ts";
import { HOLDFAST_FOLDER } from "../planner/programs.ts";
import { ownCode } from "../sandbox/process_code.ts";
import { knownConfig } from "../supervisor/read_config.ts";
import { appFile } from "./app_file.ts";
import type { CliCommand } from "./command.ts";
import { describeAccount, judgeNow } from "./judged_accounts.ts";
import { loadConfig } from "./load_config.ts";
import { formatTable } from "./table.ts";
import { printLine } from "./terminal.ts";

/** Prints what each process may do, and its flags. */
export const explain: CliCommand = async ({ config: file, app, json, ...more }) => {
  const { system } = app === undefined ? more : appFile(app, { ...more, config: file });
  const config = await loadConfig(file, system);
  const { code } = await system.planCode(
    knownConfig(config),
    (packed) => examineCode(config, { packed }),
  );
  const own = ownCode();
  const judgement = judgeNow(config, code);
  const explanation = explainPolicy(config, {
    arch: Deno.build.arch,
    abi: landlockAbi(),
    denoProgram: system.commandOf(config, "worker", config, own).program,
    commandOf: (who, compartment) =>
      system.commandOf(config, who, compartment, code.processes[who] ?? own),
    accountOf: (who) => describeAccount(config, judgement, who),
    codeOf: (who) => code.processes[who] ?? own,
    logger: join(HOLDFAST_FOLDER, "lib/logger/main.ts"),
    metrics: join(HOLDFAST_FOLDER, "lib/metrics/main.ts"),
    acme: join(HOLDFAST_FOLDER, "lib/acme/main.ts"),
    resolver: join(HOLDFAST_FOLDER, "lib/resolver/main.ts"),
    forbidden: config.file,
    environment: Deno.env.toObject(),
  });
  printLine(json ? JSON.stringify(explanation) : formatExplanation(explanation));
  return EXIT.ok;
};

/** The columns and their widths. */
const COLUMNS = { PROCESS: 18, MAY: 8, WHAT: 58, BY: 34 };

function formatExplanation({ commands, rules, kernel }: Explanation): string {
  const rows = rules.flatMap(({ process, may, what, by }) =>
    wrap([process, may, what.join("\n"), by])
  );
  const table = formatTable(Object.keys(COLUMNS), rows);
  const lines = commands.flatMap(({ process, command }) => [
    `The ${process}'s command:`,
    `  ${command.join(" ")}`,
    "",
  ]);
  return [table, "", ...lines, ...kernel].join("\n");
}

/** Breaks cells into lines that fit their column. */
function wrap(cells: readonly string[]): string[][] {
  const widths = Object.values(COLUMNS);
  const columns = cells.map((cell, column) =>
    cell.split("\n").flatMap((line) =>
      line.match(new RegExp(`.{1,${widths[column]}}`, "gu")) ?? [""]
    )
  );
  const height = Math.max(...columns.map((lines) => lines.length));
  return Array.from(
    { length: height },
    (_, row) => columns.map((lines) => lines[row] ?? ""),
  );
}
