/** What the supervisor sends to the logger, in frames; the logger does not answer. */
import * as z from "zod/mini";

/** The longest frame, in bytes of payload. */
export const MAX_FEED_BYTES = 4 * 1024 * 1024;

/** How long one line may be, in UTF-16 code units; no code unit takes more than 3 bytes, or 6 escaped. */
export const MAX_FEED_LINE = 512 * 1024;

/** How many lines one frame holds at the most. */
export const MAX_FEED_LINES = 256;

export const Feed = z.discriminatedUnion("type", [
  z.strictObject({
    type: z.literal("lines"),
    /** Events, each a JSON object in one line. */
    lines: z.array(z.string()).check(z.maxLength(MAX_FEED_LINES)),
    /** How many lines before these were dropped. */
    dropped: z.int().check(z.minimum(0)),
  }),
  /** Reopen the files: they were renamed or removed. */
  z.strictObject({ type: z.literal("reopen") }),
]);
export type Feed = z.infer<typeof Feed>;
