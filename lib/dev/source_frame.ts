/** Where in the sources an error is, and what stands there. */
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** A line of a file, with the lines around it. */
export interface SourceFrame {
  readonly file: string;
  readonly line: number;
  readonly column: number | undefined;
  /** With their numbers. */
  readonly lines: readonly { readonly number: number; readonly text: string }[];
}

/** A longer line is cut: it was made by a program. */
const MAX_CHARS = 160;

const MAX_FILE_BYTES = 4 * 1024 * 1024;

/** A place in a file: a URL, or a path, with a line and mostly a column. */
const PLACE = /(file:\/\/\/[^\s:()'"]+|\/[^\s:()'"]+\.\w+):(\d+)(?::(\d+))?/g;

/** What is ours or a package's is no place to mend. */
const FOREIGN = /\/node_modules\/|\$deno\$stdin|\/npm\/registry/;

/**
 * The first place that a message names and that can be read.
 *
 * @param allowed the folders whose files are shown
 */
export function frameOf(message: string, allowed: readonly string[]): SourceFrame | undefined {
  for (const [, place, line, column] of message.matchAll(PLACE)) {
    if (FOREIGN.test(place!)) continue;
    const file = pathOf(place!);
    if (file === undefined || !allowed.some((folder) => file.startsWith(join(folder, "/")))) {
      continue;
    }
    const frame = readFrame(file, Number(line), column === undefined ? undefined : Number(column));
    if (frame !== undefined) return frame;
  }
  return undefined;
}

/** The files that a message names; one that is missing may come. */
export function filesNamedIn(message: string): string[] {
  return [...message.matchAll(/file:\/\/\/[^\s:()'"]+/g)].flatMap(([url]) => pathOf(url) ?? []);
}

function pathOf(place: string): string | undefined {
  try {
    return place.startsWith("file:") ? fileURLToPath(place) : place;
  } catch {
    return undefined;
  }
}

function readFrame(
  file: string,
  line: number,
  column: number | undefined,
): SourceFrame | undefined {
  try {
    const { isFile, size } = Deno.statSync(file);
    if (!isFile || size > MAX_FILE_BYTES) return undefined;
    const all = Deno.readTextFileSync(file).split(/\r?\n/);
    if (line < 1 || line > all.length) return undefined;
    const first = Math.max(1, line - 1);
    const lines = all.slice(first - 1, line + 1)
      .map((text, index) => ({ number: first + index, text: plain(text) }));
    return { file, line, column, lines };
  } catch {
    return undefined;
  }
}

/** Without what a terminal would take for an order. */
function plain(text: string): string {
  // deno-lint-ignore no-control-regex
  return text.replaceAll("\t", " ").replace(/[\u0000-\u001f\u007f-\u009f]/g, "?")
    .slice(0, MAX_CHARS);
}

/** The frame as lines of text, with a mark below the column. */
export function frameLines({ lines, line, column }: SourceFrame): string[] {
  const width = String(lines.at(-1)!.number).length;
  return lines.flatMap(({ number, text }) => {
    const row = `${number === line ? ">" : " "} ${String(number).padStart(width)} | ${text}`;
    if (number !== line || column === undefined || column > MAX_CHARS) return [row];
    return [row, `  ${" ".repeat(width)} | ${" ".repeat(Math.max(0, column - 1))}^`];
  });
}
