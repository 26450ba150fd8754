/** What a response contains, as far as that is known without reading `.body`, which is slow. */
import { Buffer } from "node:buffer";

/** The realm's own: an app may put another class in its place. */
const { Response } = globalThis;

/** A response's internal slots; they describe the body without reading it. */
export function findSlot(name: string, of: object = new Response("x")): symbol {
  const slots = Object.getOwnPropertySymbols(of);
  return slots.find((slot) => slot.description === name) ?? Symbol(name);
}

const TEXT_SLOT = findSlot("serve fast body");
const BYTES_SLOT = findSlot("serve native response");
const INNER_SLOT = findSlot("response");

/** Whether the runtime has the whole answer and sends it at once. */
export function isWhole(response: Response): boolean {
  const slots = response as unknown as Record<symbol, unknown>;
  return (slots[TEXT_SLOT] ?? slots[BYTES_SLOT] ?? null) !== null;
}

/** About how long an answer is that the runtime has whole: a string's characters count as bytes. */
export function wholeLength(response: Response): number {
  const slots = response as unknown as Record<symbol, { length?: number } | null | undefined>;
  return slots[TEXT_SLOT]?.length ?? 0;
}

export function innerOf(
  response: Response,
): { body?: { source?: unknown } | null } | null | undefined {
  return (response as unknown as Record<symbol, never>)[INNER_SLOT];
}

/** The length of a body, in bytes, if it is known without reading `.body`. */
export function lengthOfBody(response: Response): number | null {
  const slots = response as unknown as Record<symbol, unknown>;
  const inner = innerOf(response);
  const body = slots[TEXT_SLOT] ?? inner?.body?.source;
  if (typeof body === "string") return Buffer.byteLength(body);
  if (body instanceof Uint8Array) return body.byteLength;
  if (body instanceof Blob) return body.size;
  if (inner?.body === null) return 0;
  const text = isWhole(response) ? null : headersOf(response).get("content-length");
  return text !== null && /^\d{1,15}$/.test(text) ? Number(text) : null;
}

/** What fetch() decodes by itself. */
const DECODED = /^(gzip|br)$/i;

/**
 * The headers that go with the body of a response. fetch() decodes a body but keeps the
 * headers of the encoded one; the runtime's own server removes those too (seen with Deno 2.9.6).
 */
export function headersOf(response: Response): Headers {
  // Only what came from fetch() has a URL.
  if (response.url === "" || !DECODED.test(response.headers.get("content-encoding") ?? "")) {
    return response.headers;
  }
  const headers = new Headers(response.headers);
  headers.delete("content-encoding");
  headers.delete("content-length");
  return headers;
}

/** A copy of a response with another body. */
export function copyResponse(response: Response, body: Response["body"]): Response {
  const { status, statusText } = response;
  return new Response(body, { status, statusText, headers: headersOf(response) });
}
