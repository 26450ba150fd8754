/** What a new version is asked before it takes the place of the old one. */

/** A question, and what is a good answer. */
export interface Probe {
  /** With a query, if there is one. */
  readonly path: string;
  /** What it may be answered with; nothing for any of 200 to 299. */
  readonly status: readonly number[];
  /** How long the whole answer may take. */
  readonly timeoutMs: number;
  /** How often in a row it is asked. */
  readonly times: number;
  readonly headers: Readonly<Record<string, string>>;
}
