/** How much untrusted text goes into one log field, in UTF-16 code units. */
export const MAX_UNTRUSTED_TEXT = 4096;

// Control characters, line and paragraph separators, and marks that reorder text: with these a terminal or
// a log viewer would show something else than what was written.
// deno-lint-ignore no-control-regex
const UNSAFE = /[\u0000-\u001f\u007f-\u009f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]/g;

/**
 * Makes untrusted text safe to log: cut to `limit`, without line ends, terminal
 * escapes or text-direction marks.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals(escapeUntrusted("red: \u001b[31m\n"), "red: \\x1b[31m\\x0a");
 * ```
 */
export function escapeUntrusted(text: string, limit: number = MAX_UNTRUSTED_TEXT): string {
  const cut = text.length > limit ? `${text.slice(0, limit)}… (${text.length - limit} more)` : text;
  return cut.toWellFormed().replace(UNSAFE, (mark) => {
    const code = mark.charCodeAt(0).toString(16);
    return code.length <= 2 ? `\\x${code.padStart(2, "0")}` : `\\u${code.padStart(4, "0")}`;
  });
}
