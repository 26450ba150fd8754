/** An audit for a terminal: the result first, then what is not simply refused. Pure. */
import { MODES } from "../audit/mode.ts";
import type { Line, Summary } from "../audit/summary.ts";
import { outcomesOf, processesOf, toRows, verdictsOf, WORDS } from "./audit_rows.ts";
import { formatTable, wrapText } from "./table.ts";
import type { View } from "./text.ts";

/** How an audit is shown. */
export interface AuditView extends View {
  /** Every attempt, in every mode. */
  readonly all: boolean;
  /** On which machine, and anything else that is said of the whole. */
  readonly facts: readonly string[];
}

const VERDICTS = ["held", "contained", "failed", "unproven", "skipped"] as const;

const HEADS: Readonly<Record<typeof VERDICTS[number], string>> = {
  held: "HELD",
  contained: "CONTAINED",
  failed: "GOT THROUGH",
  unproven: "UNPROVEN",
  skipped: "NOT MADE",
};

/** The summary, what got through and what is contained; or all. */
export function formatAudit(summary: Summary, view: AuditView): string {
  const { width, paint, all, facts } = view;
  const { lines, passed } = summary;
  const result = passed
    ? paint("good", "THE WALL HOLDS: nothing got through.")
    : paint("bad", "THE WALL DOES NOT HOLD, or an attempt proves nothing.");
  const wrong = lines.filter(({ verdict }) => verdict === "failed" || verdict === "unproven");
  return [
    result,
    ...facts.map((fact) => wrapText(fact, width)),
    "",
    formatFigures(lines, view),
    ...wrong.length === 0 ? [] : ["", ...wrong.map((line) => explain(line, view))],
    ...all ? ["", formatAll(lines, view)] : formatContained(lines, view),
  ].join("\n");
}

/** How many have which verdict, for each process. */
function formatFigures(lines: readonly Line[], { width, paint }: View): string {
  const rows = processesOf(lines).map((process) => {
    const own = lines.filter((line) => line.process === process);
    const count = (verdict: Line["verdict"]) =>
      own.filter((line) => line.verdict === verdict).length;
    return [process, own.length, ...VERDICTS.map(count)];
  });
  const columns = ["ATTEMPTS", ...VERDICTS.map((verdict) => HEADS[verdict])];
  const table = formatTable(
    ["PROCESS", ...columns.map((head) => ({ head, align: "right" as const }))],
    rows,
    width,
  );
  const [head, ...others] = table.split("\n");
  return [paint("head", head!), ...others].join("\n");
}

/** What may happen within a bound, by attempt. */
function formatContained(lines: readonly Line[], { width, paint }: View): string[] {
  const contained = lines.filter(({ verdict }) => verdict === "contained");
  if (contained.length === 0) return [];
  const everybody = processesOf(contained).length;
  const rows = toRows(contained).map((row) => {
    const processes = [...row.verdicts.keys()];
    const who = processes.length === everybody && everybody > 1 ? "all" : processes.join(", ");
    return [row.line.id, row.line.title, who];
  });
  const [head, ...others] = formatTable(["ATTEMPT", "WHAT", "PROCESS"], rows, width).split("\n");
  return [
    "",
    wrapText(
      "Contained: it may happen, within a bound that is known and was looked at. docs/audit.md says why.",
      width,
    ),
    paint("head", head!),
    ...others,
  ];
}

/** Every attempt; what each layer did by itself where there is room. */
function formatAll(lines: readonly Line[], { width, paint }: View): string {
  const processes = processesOf(lines);
  const columns = [
    ...["ATTEMPT", "WHAT"],
    ...MODES.map(({ title }) => ({ head: title.toUpperCase(), rank: 0 })),
    ...processes.map((process) => process.toUpperCase()),
  ];
  const rows = toRows(lines).map((row) => [
    ...[row.line.id, row.line.title],
    ...outcomesOf(row.line),
    ...verdictsOf(row, processes),
  ]);
  const [head, ...others] = formatTable(columns, rows, width).split("\n");
  return [paint("head", head!), ...others].join("\n");
}

function explain({ process, id, title, verdict, details, outcomes }: Line, view: View): string {
  const { width, paint } = view;
  const seen = MODES.filter(({ name }) => outcomes[name] !== undefined)
    .map(({ name, title }) => `  ${title}: ${WORDS[outcomes[name]!]} (${details[name]})`);
  const [first, ...others] = [`${verdict}: ${id} against the ${process}, ${title}`, ...seen]
    .map((line) => wrapText(line, width, "    "));
  return [paint("bad", first!), ...others].join("\n");
}
