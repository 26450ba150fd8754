/** Prints what a program of Holdfast's own has found. */

/** Prints JSON as one line of ASCII, which is the same however its reader escapes what it reads. */
export function printAnswer(json: string): void {
  const text = json.replace(
    /[^\x20-\x7e]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
  let rest = new TextEncoder().encode(`${text}\n`);
  while (rest.length > 0) rest = rest.subarray(Deno.stdout.writeSync(rest));
}
