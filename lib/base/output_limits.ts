/** How much of what a process prints goes into the log; for each of its two streams. */
export interface OutputLimits {
  /** The longest line; what is longer is cut. */
  readonly lineBytes: number;
  /** What is logged in the long run. */
  readonly bytesPerSecond: number;
  /** What is logged at once. */
  readonly burstBytes: number;
}

/** What a line counts besides its own bytes: about what the log adds to it. */
export const LINE_COST = 128;

/** What the config has by default. */
export const DEFAULT_OUTPUT_LIMITS: OutputLimits = {
  lineBytes: 64 * 1024,
  bytesPerSecond: 256 * 1024,
  burstBytes: 1024 * 1024,
};
