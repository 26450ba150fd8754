/**
 * The first frame of a moving WebP. ImageMagick decodes all of them, whatever it is asked for, and
 * 5 MiB can hold 300 frames of 9 megapixels. The format: RFC 9649, section 2.
 */

const CHUNK_HEAD_BYTES = 8;
/** Place, size, duration and flags of a frame, before its own chunks. */
const FRAME_HEAD_BYTES = 16;
const ALPHA_FLAG = 0x10;

/** A WebP that does not move: the first frame, or the photo as it is if it has no frames. */
export function firstFrameOf(webp: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const view = new DataView(webp.buffer, webp.byteOffset, webp.byteLength);
  for (let at = 12; at + CHUNK_HEAD_BYTES <= webp.length;) {
    const size = view.getUint32(at + 4, true);
    const data = webp.subarray(at + CHUNK_HEAD_BYTES, at + CHUNK_HEAD_BYTES + size);
    if (typeAt(webp, at) === "ANMF") return stillOf(data);
    at += CHUNK_HEAD_BYTES + size + size % 2;
  }
  return webp;
}

function stillOf(frame: Uint8Array): Uint8Array<ArrayBuffer> {
  const chunks = frame.subarray(FRAME_HEAD_BYTES);
  // Width and height stand in both heads as the same six bytes. Without alpha neither is needed.
  const extended = typeAt(chunks, 0) === "ALPH"
    ? chunkOf("VP8X", Uint8Array.of(ALPHA_FLAG, 0, 0, 0, ...frame.subarray(6, 12)))
    : new Uint8Array();
  return chunkOf("RIFF", new TextEncoder().encode("WEBP"), extended, chunks);
}

function typeAt(bytes: Uint8Array, at: number): string {
  return String.fromCharCode(...bytes.subarray(at, at + 4));
}

function chunkOf(type: string, ...parts: Uint8Array[]): Uint8Array<ArrayBuffer> {
  const size = parts.reduce((sum, { length }) => sum + length, 0);
  const chunk = new Uint8Array(CHUNK_HEAD_BYTES + size + size % 2);
  chunk.set(new TextEncoder().encode(type));
  new DataView(chunk.buffer).setUint32(4, size, true);
  let at = CHUNK_HEAD_BYTES;
  for (const part of parts) {
    chunk.set(part, at);
    at += part.length;
  }
  return chunk;
}
