/** Decodes bodies that the app has compressed. */
import { Readable, type Transform } from "node:stream";
import * as zlib from "node:zlib";

const DECODERS: Readonly<Record<string, () => Transform>> = {
  gzip: zlib.createGunzip,
  "x-gzip": zlib.createGunzip,
  deflate: zlib.createInflate,
  br: zlib.createBrotliDecompress,
};

/** Makes what undoes a coding; nothing for one that is not known. */
export function decoderOf(coding: string): Transform | undefined {
  return Object.hasOwn(DECODERS, coding) ? DECODERS[coding]!() : undefined;
}

/** A body without its coding, as it comes. */
export function decode(
  body: ReadableStream<Uint8Array>,
  decoder: Transform,
): ReadableStream<Uint8Array> {
  const source = Readable.fromWeb(body as never);
  source.on("error", (error) => decoder.destroy(error));
  source.pipe(decoder);
  return Readable.toWeb(decoder) as unknown as ReadableStream<Uint8Array>;
}
