/** What commands print. */
import { HoldfastError } from "../base/error.ts";
import { fillLines } from "./fill.ts";
import { columnsOfTerminal } from "./terminal_width.ts";

const encoder = new TextEncoder();

/** How long to wait for a reader of a pipe that does not block, in milliseconds. */
const PAUSE_MS = 10;

type Output = Pick<typeof Deno.stdout, "writeSync">;

/**
 * Writes all of a text. A reader that closes the pipe early, as `head` does, changes neither what a
 * command does nor its exit status.
 */
function write(output: Output, text: string): "written" | "unread" {
  let rest = encoder.encode(text);
  while (rest.length > 0) {
    try {
      rest = rest.subarray(output.writeSync(rest));
    } catch (error) {
      if (error instanceof Deno.errors.BrokenPipe) return "unread";
      if (!(error instanceof Deno.errors.WouldBlock)) throw error;
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, PAUSE_MS);
    }
  }
  return "written";
}

/** One line, or several, on standard output; says where nobody reads it any more. */
export function printLine(text: string): "written" | "unread" {
  try {
    return write(Deno.stdout, `${text}\n`);
  } catch (error) {
    throw new HoldfastError(`Cannot print: ${(error as Error).message}`, {
      kind: "environment",
      code: "output_failed",
      hint: "Check where standard output goes, and that there is room",
      cause: error,
    });
  }
}

/** What went wrong and what to do, on lines that fit. */
export function formatError(
  { kind, message, hint, cause }: Pick<HoldfastError, "kind" | "message" | "hint" | "cause">,
  width: number,
): string {
  const lines = [`holdfast: ${message}`];
  if (hint !== undefined) lines.push(`  hint: ${hint}`);
  if (kind === "bug") {
    lines.push(
      (cause as Error | undefined)?.stack ?? "",
      "This is a bug in Holdfast: please report it",
    );
  }
  return fillLines(lines.join("\n"), width, "    ");
}

/** The same, on standard error; what is no terminal gets long lines as they are. */
export function printError(error: HoldfastError): void {
  const width = Deno.stderr.isTerminal() ? columnsOfTerminal() : Infinity;
  try {
    write(Deno.stderr, `${formatError(error, width)}\n`);
  } catch {
    // The exit status still reports it.
  }
}
