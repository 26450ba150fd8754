/** The worker's own words for the log: the supervisor reads its stderr, cuts and escapes each line. */
export function report(text: string): void {
  try {
    Deno.stderr.writeSync(new TextEncoder().encode(`${text}\n`));
  } catch {
    // Nobody reads any more; serving goes on.
  }
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

/** What an error says on one line of a message: its name, its text, and where it was thrown. */
export function describeError(error: unknown): string {
  if (!(error instanceof Error)) return messageOf(error);
  const place = messageOf(error.stack).split("\n").find((line) => line.trim().startsWith("at "))
    ?.trim();
  return `${messageOf(error.name)}: ${messageOf(error)}${place ? ` (${place})` : ""}`;
}
