/**
 * What the acme process says to the supervisor, in frames of its feed: how its certificate stands. The
 * certificate itself is in a file. The supervisor does not answer.
 */
import * as z from "zod/mini";

/** The longest frame, in bytes of payload. */
export const MAX_ACME_BYTES = 16 * 1024;

/** How many frames it may send at once, and in the long run in a second: it has little to say. */
export const ACME_RATE = { burst: 20, perSecond: 0.5 } as const;

/** The end of the year 9999, in seconds: what a date can be written of. */
const LAST_SECOND = 253_402_300_799;

export const AcmeState = z.strictObject({
  /** When the certificate in the file ends, in seconds since 1970. */
  notAfter: z.int().check(z.minimum(0), z.maximum(LAST_SECOND)),
  /** Whether this process signed it itself, since there is no other yet. */
  selfSigned: z.boolean(),
  /** What has happened just now. */
  event: z.optional(z.discriminatedUnion("type", [
    /** The file has another certificate. */
    z.strictObject({ type: z.literal("issued") }),
    /** There is none, or no newer one, and it will be tried again. */
    z.strictObject({
      type: z.literal("failed"),
      reason: z.string().check(z.maxLength(1_000)),
      hint: z.string().check(z.maxLength(500)),
      nextTryMs: z.int().check(z.minimum(0)),
    }),
    /** It ends soon, and none could be had in its place so far. */
    z.strictObject({ type: z.literal("ends") }),
  ])),
});
export type AcmeState = z.infer<typeof AcmeState>;
