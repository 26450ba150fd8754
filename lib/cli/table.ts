/** Tables for a terminal: columns that line up, and that fit its width. */
import { wrapAnsi } from "fast-wrap-ansi";
import { textWidth } from "./text.ts";

/** A column that is more than its head. */
export interface Column {
  readonly head: string;
  /** Of numbers, and of sizes. */
  readonly align?: "right";
  /** Where the width is too small, that with the highest goes first; one without a rank stays. */
  readonly rank?: number;
}

/** Between two columns. */
const GAP = 2;

/** A column whose cells are broken into lines has at least this width. */
const LEAST_WIDTH = 12;

/**
 * A table. Where it does not fit, columns with a rank are left out (one with nothing in it always), and then the cells of the widest
 * columns are broken into lines; a cell may also have several lines of its own.
 */
export function formatTable(
  head: readonly (string | Column)[],
  rows: readonly (readonly unknown[])[],
  width = Infinity,
): string {
  let columns = head.map((each, index) => {
    const column: Column = typeof each === "string" ? { head: each } : each;
    const cells = [column.head, ...rows.map((row) => String(row[index] ?? ""))];
    return { ...column, cells, width: widest(cells) };
  }).filter(({ rank, cells }) => rank === undefined || cells.slice(1).some((cell) => cell !== ""));
  const total = () => columns.reduce((sum, each) => sum + each.width + GAP, -GAP);
  while (total() > width) {
    const rank = Math.max(...columns.map(({ rank = -1 }) => rank));
    if (rank < 0) break;
    columns = columns.filter((each) => each.rank !== rank);
  }
  const narrow = columns.map((each) => each.width);
  for (let over = total() - width; over > 0 && over < Infinity; over--) {
    const most = Math.max(...narrow);
    if (most <= LEAST_WIDTH) break;
    narrow[narrow.lastIndexOf(most)] = most - 1;
  }
  columns = columns.map((each, index) => {
    if (narrow[index] === each.width) return each;
    const cells = each.cells.map((cell) => wrapText(cell, narrow[index]!));
    return { ...each, cells, width: widest(cells) };
  });
  return [head, ...rows].flatMap((_, row) => {
    const cells = columns.map((column) => column.cells[row]!.split("\n"));
    const height = Math.max(...cells.map((lines) => lines.length));
    return Array.from({ length: height }, (_, line) =>
      columns.map((column, index) => {
        const text = cells[index]![line] ?? "";
        const fill = " ".repeat(column.width - textWidth(text));
        return column.align === "right" ? fill + text : text + fill;
      }).join(" ".repeat(GAP)).trimEnd());
  }).join("\n");
}

/** Lines that fit; what is below the first one begins with `indent`. */
export function wrapText(text: string, width: number, indent = ""): string {
  if (width === Infinity) return text;
  return text.split("\n").map((line) => {
    if (textWidth(line) <= width) return line;
    const [first = "", ...others] = wrapAnsi(line, width - indent.length, { hard: true })
      .split("\n");
    return [first, ...others.map((each) => indent + each)].join("\n");
  }).join("\n");
}

function widest(cells: readonly string[]): number {
  return Math.max(...cells.flatMap((cell) => cell.split("\n")).map(textWidth));
}
