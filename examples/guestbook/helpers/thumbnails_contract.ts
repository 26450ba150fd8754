/**
 * What crosses between the app and the helper that makes thumbnails. The helper judges what it is
 * asked by this, and the app judges what it is told: the helper reads strangers' pictures, so one
 * of them may have taken it over.
 */
import * as z from "zod";

/** The longest side of a picture, in pixels. */
export const PICTURE_SIDE = 2048;
/** The longest side of a thumbnail, in pixels. */
export const THUMBNAIL_SIDE = 480;
export const MAX_SOURCE_BYTES = 5 * 1024 * 1024;
/** Noise at the full size stays below this, and a helper that was taken over fills no disk. */
const MAX_PICTURE_BYTES = 6 * 1024 * 1024;
const MAX_THUMBNAIL_BYTES = 512 * 1024;

/** A JPEG within a square of `side` pixels. Only its outside is judged: nothing here decodes. */
function jpegWithin(side: number, maxBytes: number) {
  const pixels = z.number().int().min(1).max(side);
  return z.strictObject({
    bytes: z.instanceof(Uint8Array<ArrayBuffer>).refine(
      ({ length }) => length > 0 && length <= maxBytes,
      `Must have 1 to ${maxBytes} bytes`,
    ),
    width: pixels,
    height: pixels,
  });
}

const Refusal = z.strictObject({
  outcome: z.literal("refused"),
  reason: z.enum(["too_many_pixels", "not_a_picture", "broken"]),
});

const Pictures = z.strictObject({
  outcome: z.literal("picture"),
  picture: jpegWithin(PICTURE_SIDE, MAX_PICTURE_BYTES),
  thumbnail: jpegWithin(THUMBNAIL_SIDE, MAX_THUMBNAIL_BYTES),
});

/** What the helper makes of a stranger's bytes. */
export type Made = z.infer<typeof Pictures> | z.infer<typeof Refusal>;
export type RefusalReason = z.infer<typeof Refusal>["reason"];

/** The schemas of the helper's methods. */
export const thumbnailsContract = {
  make: {
    input: z.strictObject({
      photo: z.instanceof(Uint8Array<ArrayBuffer>).refine(
        ({ length }) => length <= MAX_SOURCE_BYTES,
        `Must have at most ${MAX_SOURCE_BYTES} bytes`,
      ),
    }),
    output: z.discriminatedUnion("outcome", [Pictures, Refusal]),
  },
};
