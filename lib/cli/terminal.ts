/** What commands print for people. */
import type { HoldfastError } from "../base/error.ts";

const encoder = new TextEncoder();

/** One line, or several, on standard output. */
export function printLine(text: string): void {
  Deno.stdout.writeSync(encoder.encode(`${text}\n`));
}

/** What went wrong and what to do, on standard error. */
export function printError({ kind, message, hint, cause }: HoldfastError): void {
  const lines = [`holdfast: ${message}`];
  if (hint !== undefined) lines.push(`  hint: ${hint}`);
  if (kind === "bug") {
    lines.push(
      (cause as Error | undefined)?.stack ?? "",
      "This is a fault of Holdfast: please report it",
    );
  }
  Deno.stderr.writeSync(encoder.encode(`${lines.join("\n")}\n`));
}
