/** How wide a text is on a terminal, and in which colours. */
import truncatedWidth from "fast-string-truncated-width";
import { columnsOfTerminal, PLAIN_WIDTH } from "./terminal_width.ts";

/** How many columns a line takes; colours take none. */
export function textWidth(line: string): number {
  return truncatedWidth(line).width;
}

/** What of a line fits, with the end of its colours. */
export function cutLine(line: string, width: number): string {
  const { truncated, index } = truncatedWidth(line, { limit: width });
  return truncated ? `${line.slice(0, index)}${line.includes("\x1b") ? "\x1b[0m" : ""}` : line;
}

/** What a text is meant to tell at a glance. */
export type Tone = "bad" | "warning" | "good" | "head" | "faint";

/** Numbers of SGR (ECMA-48). */
const STYLES: Readonly<Record<Tone, string>> = {
  bad: "31;1",
  warning: "33",
  good: "32",
  head: "1",
  faint: "2",
};

/** Colours a text, or does not. */
export type Paint = (tone: Tone, text: string) => string;

/** For a pipe, and with NO_COLOR. */
export const plain: Paint = (_, text) => text;

/** For a terminal. */
export const coloured: Paint = (tone, text) => `\x1b[${STYLES[tone]}m${text}\x1b[0m`;

/** What a text is made for. */
export interface View {
  /** Columns. */
  readonly width: number;
  readonly paint: Paint;
}

/**
 * The view of standard output: a terminal's own width and colours; elsewhere a width that is always the same,
 * or that of the variable COLUMNS, and no colours.
 *
 * @param options.piped the width where it is no terminal; what searches a text wants no cells that are broken
 */
export function viewOfOutput(
  { wide = false, piped = PLAIN_WIDTH }: { readonly wide?: boolean; readonly piped?: number } = {},
): View {
  const isTerminal = Deno.stdout.isTerminal();
  const paint = isTerminal && !Deno.noColor ? coloured : plain;
  const width = isTerminal ? columnsOfTerminal() : columnsAsked() ?? piped;
  return { width: wide ? Infinity : width, paint };
}

/** Some that ask a supervisor may read no variables. */
function columnsAsked(): number | undefined {
  const may = Deno.permissions.querySync({ name: "env", variable: "COLUMNS" }).state === "granted";
  const asked = may ? Number(Deno.env.get("COLUMNS")) : NaN;
  return Number.isInteger(asked) && asked > 0 ? asked : undefined;
}
