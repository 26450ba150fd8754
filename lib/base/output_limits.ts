/** How much of what a process prints goes into the log; for each of its two streams. */
export interface OutputLimits {
  /** The longest line; what is longer is cut. */
  readonly lineBytes: number;
  /** How much is logged in the long run. */
  readonly bytesPerSecond: number;
  /** How much is logged at once. */
  readonly burstBytes: number;
}

/** Added to each line's bytes: about what the log adds to it. */
export const LINE_COST = 128;

/** The defaults of the config. */
export const DEFAULT_OUTPUT_LIMITS: OutputLimits = {
  lineBytes: 64 * 1024,
  bytesPerSecond: 256 * 1024,
  burstBytes: 1024 * 1024,
};
