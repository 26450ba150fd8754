/** The worker's own words for the log: the supervisor reads its stderr, cuts and escapes each line. */
export function report(text: string): void {
  try {
    Deno.stderr.writeSync(new TextEncoder().encode(`${text}\n`));
  } catch {
    // Nobody reads any more; serving goes on.
  }
}

/** The same, as an event of its own with fields: the supervisor knows some by their `holdfast`. */
export function reportFields(fields: Readonly<Record<string, unknown>>): void {
  report(JSON.stringify(fields));
}

/** What an error says; anything may have been thrown. */
export function messageOf(error: unknown): string {
  const text: unknown = error instanceof Error ? error.message : error;
  try {
    return String(text).toWellFormed();
  } catch {
    return "It threw what has no text";
  }
}

/** How many places in the app's code an error is told with. */
const MAX_PLACES = 3;

/** The places in a stack that are in the code of the app, or of its packages, the innermost first. */
export function placesIn(stack: unknown, most: number = MAX_PLACES): string[] {
  return messageOf(stack).split("\n").map((line) => line.trim()).filter((line) =>
    line.startsWith("at ") && line.includes("file://") && !line.includes("$deno$stdin")
  ).slice(0, most);
}

/** What an error says on one line of a message: its name, its text, and where it was thrown. */
export function describeError(error: unknown): string {
  if (!(error instanceof Error)) return messageOf(error);
  const where = placesIn(error.stack).join(", ");
  return `${messageOf(error.name)}: ${messageOf(error)}${where === "" ? "" : ` (${where})`}`;
}
