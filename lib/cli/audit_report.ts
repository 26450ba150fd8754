/** An audit for people: a table in a terminal, a page for the docs. */
import Table from "cli-table3";
import { AREAS } from "../audit/attempt.ts";
import { MODES } from "../audit/mode.ts";
import type { Line, Summary } from "../audit/summary.ts";

const WORDS = {
  through: "got through",
  refused: "refused",
  unclear: "unclear",
  skipped: "not made",
} as const;

/** A table, and what there is to say about whatever is not held. */
export function formatSummary(summary: Summary): string {
  const table = new Table({
    head: ["ATTEMPT", "WHAT", ...MODES.map(({ title }) => title.toUpperCase()), "VERDICT"],
    style: { head: [], border: [], "padding-left": 0, "padding-right": 2, compact: true },
    chars: Object.fromEntries(BORDERS.map((border) => [border, ""])),
  });
  for (const line of summary.lines) {
    table.push([line.id, line.title.slice(0, 70), ...outcomesOf(line), line.verdict]);
  }
  const lines = table.toString().replace(/ +$/gm, "");
  return [lines, ...summary.lines.filter(needsWords).map(explain), formatCounts(summary)]
    .join("\n");
}

const BORDERS = [
  ...["top", "top-mid", "top-left", "top-right", "bottom", "bottom-mid", "bottom-left"],
  ...["bottom-right", "left", "left-mid", "mid", "mid-mid", "right", "right-mid", "middle"],
];

function outcomesOf({ outcomes }: Line): string[] {
  return MODES.map(({ name }) => outcomes[name] === undefined ? "-" : WORDS[outcomes[name]]);
}

function needsWords({ verdict }: Line): boolean {
  return verdict === "failed" || verdict === "unproven";
}

function explain({ id, title, verdict, details, outcomes }: Line): string {
  const seen = MODES.filter(({ name }) => outcomes[name] !== undefined)
    .map(({ name, title }) => `  ${title}: ${WORDS[outcomes[name]!]} (${details[name]})`);
  return [`${verdict}: ${id}, ${title}`, ...seen].join("\n");
}

/** One line of figures. */
export function formatCounts({ counts, lines, passed }: Summary): string {
  const figures = Object.entries(counts).filter(([, count]) => count > 0)
    .map(([verdict, count]) => `${count} ${verdict}`).join(", ");
  return `${lines.length} attempts: ${figures}. ${
    passed ? "Nothing got through." : "THE WALL DOES NOT HOLD, or an attempt proves nothing."
  }`;
}

/** The page of the docs. */
export function formatMarkdown(summary: Summary, machine: string): string {
  const areas = AREAS.flatMap((area) => {
    const lines = summary.lines.filter((line) => line.area === area);
    if (lines.length === 0) return [];
    return [
      `## ${area[0]!.toUpperCase()}${area.slice(1)}`,
      "",
      `| attempt | what | ${MODES.map(({ title }) => title).join(" | ")} | verdict |`,
      `| --- | --- | ${MODES.map(() => "---").join(" | ")} | --- |`,
      ...lines.map((line) =>
        `| ${line.id} | ${cell(line.title)} | ${outcomesOf(line).join(" | ")} | ${line.verdict} |`
      ),
      "",
      ...limits(lines),
    ];
  });
  return [
    "# The escape suite",
    "",
    "Made by `holdfast audit --markdown`; do not edit. Every attempt is made four times in a real",
    "worker: without any wall, where it must get through or it proves nothing; with Deno's permissions",
    "alone; with the kernel's wall alone and Deno's permissions wide open, which stands for native code",
    "in a worker that was taken over; and with both, as it ships. An attempt that one layer alone lets",
    "through is a known limit of that layer, with its reason below its table.",
    "",
    `${formatCounts(summary)} ${machine}`,
    "",
    ...areas,
  ].join("\n");
}

function limits(lines: readonly Line[]): string[] {
  const noted = lines.filter(({ note }) => note !== undefined);
  if (noted.length === 0) return [];
  return [...noted.map(({ id, note }) => `- ${id}: ${note}`), ""];
}

function cell(text: string): string {
  return text.replaceAll("|", "\\|").replaceAll("<", "&lt;");
}
