/**
 * Frames on a channel: a 4-byte big-endian length, then as many bytes of JSON in UTF-8.
 */
import { Violation } from "./violation.ts";

const HEADER_BYTES = 4;

/** One message as a frame. */
export function encodeFrame(message: unknown): Uint8Array<ArrayBuffer> {
  const payload = new TextEncoder().encode(JSON.stringify(message));
  const frame = new Uint8Array(HEADER_BYTES + payload.length);
  new DataView(frame.buffer).setUint32(0, payload.length);
  frame.set(payload, HEADER_BYTES);
  return frame;
}

/** Cuts a stream of bytes into parsed JSON values and holds at most one frame. */
export class FrameReader {
  readonly #maxBytes: number;
  #held = new Uint8Array(0);

  /** @param maxBytes the longest payload to accept */
  constructor(maxBytes: number) {
    this.#maxBytes = maxBytes;
  }

  /** Whether a frame is incomplete. */
  get partial(): boolean {
    return this.#held.length > 0;
  }

  /**
   * Yields the value of every frame that `chunk` completes.
   *
   * @throws {Violation} for a frame that is too long, or whose payload is not JSON in UTF-8
   */
  *push(chunk: Uint8Array): Generator<unknown, void> {
    let bytes = chunk;
    if (this.#held.length > 0) {
      bytes = new Uint8Array(this.#held.length + chunk.length);
      bytes.set(this.#held);
      bytes.set(chunk, this.#held.length);
      this.#held = new Uint8Array(0);
    }
    while (bytes.length >= HEADER_BYTES) {
      const length = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0);
      // The peer chooses this number, so it is checked before anything is kept for it.
      if (length > this.#maxBytes) {
        throw new Violation("frame_too_long", `${length} bytes, allowed are ${this.#maxBytes}`);
      }
      if (bytes.length < HEADER_BYTES + length) break;
      yield parsePayload(bytes.subarray(HEADER_BYTES, HEADER_BYTES + length));
      bytes = bytes.subarray(HEADER_BYTES + length);
    }
    this.#held = bytes.slice();
  }
}

function parsePayload(payload: Uint8Array): unknown {
  try {
    return JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(payload));
  } catch {
    throw new Violation("frame_not_json", `${payload.length} bytes`);
  }
}
