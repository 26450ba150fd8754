/** The first wait before a worker that died is replaced. */
const FIRST_MS = 100;

/** The longest wait: the time an operator may have to wait for a recovery that nobody ordered. */
const LONGEST_MS = 30_000;

/** A worker that lived as long as this ends the series of quick deaths. */
export const LIVED_MS = 10_000;

/**
 * How long to wait before the next try.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals([1, 2, 3, 20].map(backoffMs), [100, 200, 400, 30000]);
 * ```
 *
 * @param deaths how many died in a row, at least 1
 */
export function backoffMs(deaths: number): number {
  return Math.min(LONGEST_MS, FIRST_MS * 2 ** (deaths - 1));
}
