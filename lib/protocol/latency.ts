/** How long requests took, and how they were answered: what a worker keeps and the metrics show. */
import * as z from "zod/mini";

/** Where the buckets end, inclusive, in seconds; a last one has no end. */
export const LATENCY_BOUNDS_S = [
  0.001,
  0.0025,
  0.005,
  0.01,
  0.025,
  0.05,
  0.1,
  0.25,
  0.5,
  1,
  2.5,
  5,
  10,
];

/** How many buckets there are. */
export const LATENCY_BUCKETS = LATENCY_BOUNDS_S.length + 1;

/** The classes of statuses, from 1xx on. */
export const STATUS_CLASSES = ["1xx", "2xx", "3xx", "4xx", "5xx"] as const;

/** Since the process started. */
export const Latency = z.strictObject({
  /** Requests in each bucket, those of the lower ones not counted in. */
  counts: z.array(z.int().check(z.minimum(0))).check(z.length(LATENCY_BUCKETS)),
  /** Requests by the class of their answers' status. */
  statuses: z.array(z.int().check(z.minimum(0))).check(z.length(STATUS_CLASSES.length)),
  /** All durations together, in milliseconds. */
  sumMs: z.number().check(z.minimum(0)),
});

export type Latency = z.infer<typeof Latency>;
