/** Errors that a visitor sees only as an error page, one JSON object a line on stderr. */
export function writeReport(error: unknown): void {
  const text = error instanceof Error ? error.stack ?? error.message : String(error);
  const line = JSON.stringify({ event: "request_failed", error: text }) + "\n";
  Deno.stderr.writeSync(new TextEncoder().encode(line));
}
