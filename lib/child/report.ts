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

/** How many causes of an error are told, and how many errors of one that has several. */
const MAX_CAUSES = 3;

/** How much is told of what was thrown and is no error. */
const MAX_THROWN_CHARS = 300;

/** Packages are read from an image: an operator knows them by the folder in which they lie there. */
export const IMAGE =
  /(?:file:\/\/)?\/[^\s()'"]*\/images\/packages\/[0-9a-f]{16,}\/(?=node_modules\/|npm\/)/g;

/** What an error says on one line: its name, its text, where it was thrown, and what it was caused by. */
export function describeError(error: unknown): string {
  return causesOf(error).map(describeOne).join("; caused by ").replace(IMAGE, "")
    .replace(/\s*\n\s*/g, " ");
}

/** An error, and what it was caused by, as far as it is told. */
export function causesOf(error: unknown): unknown[] {
  const all = [error];
  while (all.length <= MAX_CAUSES) {
    const last = all.at(-1);
    const cause = last instanceof Error ? readQuietly(() => last.cause) : undefined;
    if (cause === undefined || cause === null) break;
    all.push(cause);
  }
  return all;
}

function describeOne(error: unknown): string {
  if (!(error instanceof Error)) return describeThrown(error);
  const where = placesIn(readQuietly(() => error.stack)).join(", ");
  const errors = readQuietly(() => (error as AggregateError).errors);
  const several = Array.isArray(errors)
    ? errors.slice(0, MAX_CAUSES).map(messageOf).join("; ")
    : "";
  const said = [messageOf(error).replace(/\nRequire stack:(\n- .*)*/, ""), several]
    .filter((each) => each !== "").join(": ");
  return `${messageOf(error.name)}: ${said}${where === "" ? "" : ` (${where})`}`;
}

/** What was thrown and is no error. */
function describeThrown(thrown: unknown): string {
  if (typeof thrown !== "object" || thrown === null) return messageOf(thrown);
  const options = { depth: 2, compact: true, breakLength: Infinity, colors: false };
  const text = readQuietly(() => Deno.inspect(thrown, options)) ?? messageOf(thrown);
  return text.slice(0, MAX_THROWN_CHARS).toWellFormed();
}

/** What a getter of the app's gives, if it does not throw. */
function readQuietly<Value>(read: () => Value): Value | undefined {
  try {
    return read();
  } catch {
    return undefined;
  }
}
