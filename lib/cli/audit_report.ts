/** An audit as a page for the docs. */
import { AREAS } from "../audit/attempt.ts";
import { MODES } from "../audit/mode.ts";
import type { Line, Summary } from "../audit/summary.ts";
import { outcomesOf, processesOf, type Row, toRows, verdictsOf } from "./audit_rows.ts";

/** The counts for each process, and the result. */
export function formatCounts({ lines, passed }: Summary): string {
  const figures = processesOf(lines).map((process) => {
    const own = lines.filter((line) => line.process === process);
    const verdicts = Map.groupBy(own, ({ verdict }) => verdict);
    const counts = [...verdicts].map(([verdict, all]) => `${all.length} ${verdict}`).join(", ");
    return `The ${process}: ${own.length} attempts, ${counts}.`;
  });
  return `${figures.join(" ")} ${
    passed ? "Nothing got through." : "THE WALL DOES NOT HOLD, or an attempt proves nothing."
  }`;
}

/** The page of the docs. */
export function formatMarkdown(summary: Summary, machine: string): string {
  const processes = processesOf(summary.lines);
  const rows = toRows(summary.lines);
  const areas = AREAS.flatMap((area) => {
    const own = rows.filter(({ line }) => line.area === area);
    if (own.length === 0) return [];
    const heads = ["attempt", "what", ...MODES.map(({ title }) => title), ...processes];
    return [
      `## ${area[0]!.toUpperCase()}${area.slice(1)}`,
      "",
      `| ${heads.join(" | ")} |`,
      `| ${heads.map(() => "---").join(" | ")} |`,
      ...own.map((row) => {
        const { line } = row;
        const cells = [...outcomesOf(line), ...verdictsOf(row, processes)];
        return `| ${line.id} | ${cell(line.title)} | ${cells.join(" | ")} |`;
      }),
      "",
      ...limits(own),
    ];
  });
  return [
    "# The escape suite",
    "",
    "Made by `holdfast audit --markdown --config examples/guestbook/holdfast.jsonc`; do not edit. Every",
    "attempt is made in a real process that runs as the worker, as each helper and as the logger of the",
    "config, with the same flags and the same wall. It is made in four modes: without any wall, where it must get",
    "through or it proves nothing; with Deno's permissions alone; with the kernel's wall alone and Deno's",
    "permissions wide open, which stands for native code in a process that was taken over; and with both,",
    "as Holdfast ships. An attempt that one layer alone lets through is a known limit of that layer, with its",
    "reason below its table.",
    "",
    "Against a helper and the logger everything is tried with both layers. In the other three modes only",
    "the areas network and helper are tried, which depend on the process. The rest is the same program behind rules that are made",
    "by the same code, so the worker's four modes show what each layer does. The four columns are of",
    "the first process that the attempt is for, and the last columns are the verdict on each; `-` means",
    "that it was not made there; the last part of this page says why.",
    "",
    "Where root makes the audit, and the config names no `user`, the subject is uid 0 without capabilities, as a",
    "process that the log names as `account_shared`. An account of its own takes away more still.",
    "",
    `${formatCounts(summary)} ${machine}`,
    "",
    ...areas,
    ...notMade(summary.lines),
  ].join("\n");
}

/** Each attempt that was not made against a process, by the reason. */
function notMade(lines: readonly Line[]): string[] {
  const skipped = lines.filter(({ verdict }) => verdict === "skipped");
  if (skipped.length === 0) return [];
  const by = Map.groupBy(skipped, ({ process, details }) => {
    // What exactly the machine said differs from attempt to attempt.
    const [reason] = (details.both ?? details.neither ?? "").split(/: (?!run with)/);
    return `Against the ${process}, ${reason}`;
  });
  return [
    "## Not made",
    "",
    ...[...by].map(([why, all]) => `- ${why}: ${all.map(({ id }) => id).join(", ")}.`),
    "",
  ];
}

function limits(rows: readonly Row[]): string[] {
  const noted = rows.map(({ line }) => line).filter(({ note }) => note !== undefined);
  if (noted.length === 0) return [];
  return [...noted.map(({ id, note }) => `- ${id}: ${note}`), ""];
}

function cell(text: string): string {
  return text.replaceAll("|", "\\|").replaceAll("<", "&lt;");
}
