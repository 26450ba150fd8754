/** The worker's own words for the log: the supervisor reads its stderr, cuts and escapes each line. */
export function report(text: string): void {
  try {
    Deno.stderr.writeSync(new TextEncoder().encode(`${text}\n`));
  } catch {
    // Nobody reads any more; serving goes on.
  }
}

/** What an error says on one line of a message: its name, its text, and where it was thrown. */
export function describeError(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const place = error.stack?.split("\n").find((line) => line.trim().startsWith("at "))?.trim();
  return `${error.name}: ${error.message}${place ? ` (${place})` : ""}`;
}
