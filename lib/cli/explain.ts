import { basename, join } from "node:path";
import Table from "cli-table3";
import { EXIT } from "../base/exit_code.ts";
import { landlockAbi } from "../os/landlock.ts";
import { explainPolicy, type Explanation } from "./explanation.ts";
import { HOLDFAST_FOLDER } from "../supervisor/prepare.ts";
import { realSystem } from "../supervisor/system.ts";
import type { Command } from "./command.ts";
import { printLine } from "./terminal.ts";

/** Says what each process may do, in words and in flags. */
export const explain: Command = async ({ config: file, json, system }) => {
  const config = await system.loadConfig(file);
  const denoDir = await system.findDenoDir(config);
  const explanation = explainPolicy(config, {
    arch: Deno.build.arch,
    abi: landlockAbi(),
    caches: system.findCaches(denoDir).map((path) =>
      // Each generation has its own; an executable has all of it beforehand.
      system.prepareApp === realSystem.prepareApp && basename(path) === "gen"
        ? join(config.runtime, "deno_dir_*", "gen")
        : path
    ),
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

/** The columns, with how many characters fit between their paddings. */
const COLUMNS = { PROCESS: 18, MAY: 8, WHAT: 58, BY: 34 };

/** What closes one block of lines off from the one before it. */
const BETWEEN = { "top-left": "├", "top-mid": "┼", "top-right": "┤" };

/** Nothing, where the next block draws the line. */
const NO_BOTTOM = { "bottom": "", "bottom-left": "", "bottom-mid": "", "bottom-right": "" };

function formatExplanation({ commands, rules, kernel }: Explanation): string {
  const blocks = [
    Object.keys(COLUMNS),
    ...rules.map(({ process, may, what, by }) => [process, may, what.join("\n"), by]),
  ];
  const drawn = blocks.map((cells, index) =>
    drawBlock(cells, {
      ...index > 0 && BETWEEN,
      ...index < blocks.length - 1 && NO_BOTTOM,
    })
  );
  const lines = commands.flatMap(({ process, command }) => [
    `The ${process}'s command:`,
    `  ${command.join(" ")}`,
    "",
  ]);
  return [...drawn, "", ...lines, ...kernel].join("\n");
}

/** One table a block and one row a line: the time to draw a cell grows with the cube of its length. */
function drawBlock(cells: readonly string[], chars: Record<string, string>): string {
  const widths = Object.values(COLUMNS);
  const columns = cells.map((cell, column) =>
    cell.split("\n").flatMap((line) =>
      line.match(new RegExp(`.{1,${widths[column]}}`, "gu")) ?? [""]
    )
  );
  const table = new Table({
    style: { head: [], border: [] },
    colWidths: widths.map((width) => width + 2),
    chars: { ...chars, ...NO_MIDDLE },
  });
  for (let row = 0; columns.some((lines) => row < lines.length); row++) {
    table.push(columns.map((lines) => lines[row] ?? ""));
  }
  return table.toString();
}

const NO_MIDDLE = { "mid": "", "left-mid": "", "mid-mid": "", "right-mid": "" };
