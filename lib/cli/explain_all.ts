import { join } from "node:path";
import type { Config } from "../config/config.ts";
import { landlockAbi } from "../os/landlock.ts";
import { explainPolicy, type Explanation } from "./explanation.ts";
import { examineCode } from "../planner/plan_code.ts";
import { HOLDFAST_FOLDER } from "../planner/programs.ts";
import { ownCode } from "../sandbox/process_code.ts";
import { knownConfig } from "../supervisor/read_config.ts";
import type { CommandOptions } from "./command.ts";
import { describeAccount, judgeNow } from "./judged_accounts.ts";
import { formatTable, wrapText } from "./table.ts";
import { type View, viewOfOutput } from "./text.ts";

/** All that each process may do, by which layer, and its flags; that takes a plan of its code. */
export async function explainAll(
  config: Config,
  { json, wide, system }: Pick<CommandOptions, "json" | "wide" | "system">,
): Promise<string> {
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
  return json
    ? JSON.stringify(explanation)
    : formatExplanation(explanation, viewOfOutput({ wide, piped: Infinity }));
}

function formatExplanation({ commands, rules, kernel }: Explanation, { width }: View): string {
  const rows = rules.map(({ process, may, what, by }) => [process, may, what.join("\n"), by]);
  const table = formatTable(["PROCESS", "MAY", "WHAT", { head: "BY", rank: 0 }], rows, width);
  const lines = commands.flatMap(({ process, command }) => [
    `The ${process}'s command:`,
    `  ${command.join(" ")}`,
    "",
  ]);
  return [table, "", ...lines, ...kernel.map((line) => wrapText(line, width))].join("\n");
}
