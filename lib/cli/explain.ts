import { join } from "node:path";
import Table from "cli-table3";
import { EXIT } from "../base/exit_code.ts";
import { landlockAbi } from "../os/landlock.ts";
import { explainPolicy, type Explanation } from "./explanation.ts";
import { HOLDFAST_FOLDER } from "../supervisor/prepare.ts";
import type { Command } from "./command.ts";
import { printLine } from "./terminal.ts";

/** Says what each process may do, in words and in flags. */
export const explain: Command = async ({ config: file, json, system }) => {
  const config = await system.loadConfig(file);
  const denoDir = await system.findDenoDir(config);
  const explanation = explainPolicy(config, {
    arch: Deno.build.arch,
    abi: landlockAbi(),
    caches: system.findCaches(denoDir),
    denoDir,
    denoProgram: system.commandOf(config, "worker", config).program,
    commandOf: (who, compartment) => system.commandOf(config, who, compartment),
    logger: join(HOLDFAST_FOLDER, "lib/logger/main.ts"),
    metrics: join(HOLDFAST_FOLDER, "lib/metrics/main.ts"),
    modules: await system.prepareApp(config, denoDir),
    forbidden: config.file,
    environment: Deno.env.toObject(),
  });
  printLine(json ? JSON.stringify(explanation) : formatExplanation(explanation));
  return EXIT.ok;
};

function formatExplanation({ commands, rules, kernel }: Explanation): string {
  const table = new Table({
    head: ["PROCESS", "MAY", "WHAT", "BY"],
    style: { head: [], border: [] },
    colWidths: [20, 10, 60, 36],
    wordWrap: true,
    wrapOnWordBoundary: false,
  });
  for (const { process, may, what, by } of rules) table.push([process, may, what.join("\n"), by]);
  const lines = commands.flatMap(({ process, command }) => [
    `The ${process}'s command:`,
    `  ${command.join(" ")}`,
    "",
  ]);
  return [table.toString(), "", ...lines, ...kernel].join("\n");
}
