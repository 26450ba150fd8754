/** Tables for a terminal, of which a copy in an issue or a page is a table too. */
import { markdownTable } from "markdown-table";

/** A table with a line below its head; cells of other than one line are not for it. */
export function formatTable(
  head: readonly string[],
  rows: readonly (readonly unknown[])[],
): string {
  const cells = [head, ...rows].map((row) => row.map((cell) => String(cell)));
  return markdownTable(cells, { delimiterStart: false, delimiterEnd: false })
    .replace(/ +$/gm, "");
}
