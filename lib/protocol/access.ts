/** What a worker sends to the logger: a record for every request that it answered, in batches. */
import * as z from "zod/mini";

/** The longest frame on an access lane, in bytes of payload. */
export const MAX_ACCESS_FRAME_BYTES = 64 * 1024;

/** How many records one frame holds at the most. */
export const MAX_ACCESS_BATCH = 128;

/** How many records of one worker are written at once, and how many a second in the long run. */
export const ACCESS_BURST = 100_000;
export const ACCESS_RECORDS_PER_SECOND = 50_000;

/** How much of a path with its query goes into a record, in UTF-16 code units; likewise the others. */
export const MAX_ACCESS_PATH = 2_048;
export const MAX_ACCESS_REFERER = 1_024;
export const MAX_ACCESS_USER_AGENT = 512;
export const MAX_ACCESS_REMOTE = 128;
export const MAX_ACCESS_METHOD = 32;

// The last moment whose year has four digits.
const MAX_TIME_MS = Date.UTC(9999, 11, 31, 23, 59, 59, 999);

const Count = z.int().check(z.minimum(0));

/** One request and its answer. `null` stands for what the worker does not know. */
export const AccessRecord = z.strictObject({
  /** When the request came, in milliseconds since 1970. */
  time: z.int().check(z.minimum(0), z.maximum(MAX_TIME_MS)),
  /** The client's address without its port, or the path of a Unix socket. */
  remote: z.nullable(z.string().check(z.maxLength(MAX_ACCESS_REMOTE))),
  method: z.string().check(z.maxLength(MAX_ACCESS_METHOD)),
  /** Path and query. */
  path: z.string().check(z.maxLength(MAX_ACCESS_PATH)),
  /** Only where the client came by HTTPS. */
  secure: z.optional(z.literal(true)),
  /** Such as `HTTP/1.1`. */
  protocol: z.nullable(z.string().check(z.maxLength(16))),
  /** `null` if the worker ended before the app had answered. */
  status: z.nullable(z.int().check(z.minimum(100), z.maximum(999))),
  /** Bytes of the answer's body. */
  bytes: z.nullable(Count),
  /**
   * Milliseconds from the request to the end of its answer; for an answer that was whole at once, to
   * when the runtime had it.
   */
  durationMs: z.number().check(z.minimum(0)),
  referer: z.nullable(z.string().check(z.maxLength(MAX_ACCESS_REFERER))),
  userAgent: z.nullable(z.string().check(z.maxLength(MAX_ACCESS_USER_AGENT))),
  /** Whether the connection, or the worker, ended before the answer did. */
  cut: z.boolean(),
});

/** One frame of an access lane. */
export const AccessBatch = z.strictObject({
  records: z.array(AccessRecord).check(z.maxLength(MAX_ACCESS_BATCH)),
  /** Records that the worker dropped since its last frame. */
  dropped: Count,
});

export type AccessRecord = z.infer<typeof AccessRecord>;
export type AccessBatch = z.infer<typeof AccessBatch>;
