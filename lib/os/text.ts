/** Text as the C library takes it. */

/** With the zero at its end. */
export function textOf(value: string): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(`${value}\0`);
}

/**
 * An array of texts, with the null at its end.
 *
 * @returns the array, and what to call after its use: it holds addresses, and what lies there must not
 *   be collected before
 */
export function textList(
  values: readonly string[],
): { readonly list: Uint8Array<ArrayBuffer>; keep(): void } {
  const texts = values.map(textOf);
  const addresses = texts.map((text) =>
    BigInt(Deno.UnsafePointer.value(Deno.UnsafePointer.of(text)))
  );
  const list = new Uint8Array(BigUint64Array.from([...addresses, 0n]).buffer);
  return { list, keep: () => void texts.length };
}
