/** The entries that systemd's journal takes. */
const MAX_NAME_LENGTH = 64;

/**
 * The name of a fact as a field of the journal, which takes capitals, digits and `_` alone, up to 64
 * of them: `livedMs` is `HOLDFAST_LIVED_MS`. The prefix keeps it apart from all other fields.
 */
export function fieldName(name: string): string {
  const words = name.replace(/[A-Z]/g, "_$&").toUpperCase().replace(/[^A-Z0-9_]/g, "_");
  return `HOLDFAST_${words}`.slice(0, MAX_NAME_LENGTH);
}

// deno-lint-ignore no-control-regex
const CONTROL = /[\u0000-\u001f\u007f]/;

const encoder = new TextEncoder();

/**
 * An entry as a datagram of the native protocol (https://systemd.io/JOURNAL_NATIVE_PROTOCOL): a line
 * `NAME=value` a field. A value with a line end would begin another field, so one with any control
 * character is sent by its length, 64 bits in little endian, between its name and itself.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 *
 * const text = (value: string) => new TextDecoder().decode(encodeEntry([["MESSAGE", value]]));
 * assertEquals(text("hello"), "MESSAGE=hello\n");
 * assertEquals(text("a\nb"), "MESSAGE\n\x03\0\0\0\0\0\0\0a\nb\n");
 * ```
 *
 * @param fields names are capitals, digits and `_`; values may be untrusted
 */
export function encodeEntry(
  fields: readonly (readonly [name: string, value: string])[],
): Uint8Array<ArrayBuffer> {
  const parts = fields.flatMap(([name, value]) => {
    if (!CONTROL.test(value)) return [encoder.encode(`${name}=${value}\n`)];
    const bytes = encoder.encode(value);
    const length = new Uint8Array(8);
    new DataView(length.buffer).setBigUint64(0, BigInt(bytes.length), true);
    return [encoder.encode(`${name}\n`), length, bytes, encoder.encode("\n")];
  });
  const entry = new Uint8Array(parts.reduce((sum, { length }) => sum + length, 0));
  let end = 0;
  for (const part of parts) {
    entry.set(part, end);
    end += part.length;
  }
  return entry;
}
