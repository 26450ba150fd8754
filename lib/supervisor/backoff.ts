/** The first wait before a worker that died is replaced, at the most. */
const FIRST_MS = 100;

/** The longest wait: the time an operator may have to wait for a recovery that nobody ordered. */
const LONGEST_MS = 30_000;

/** A worker that served as long as this ends the series of quick deaths. */
export const LIVED_MS = 10_000;

/** How many deaths in a row, of those that never served so long, are no accident any more. */
export const FAILING_DEATHS = 3;

/**
 * How long to wait before the next try: doubled with each death, up to a ceiling, and up to half of
 * it less by chance, so that several that died of one cause do not all try at once.
 *
 * ```ts
 * import { assertEquals } from "@std/assert";
 *
 * assertEquals([1, 2, 3, 20].map((deaths) => backoffMs(deaths, 1)), [100, 200, 400, 30000]);
 * assertEquals([1, 2, 3, 20].map((deaths) => backoffMs(deaths, 0)), [50, 100, 200, 15000]);
 * ```
 *
 * @param deaths how many died in a row, at least 1
 * @param chance 0 to 1
 */
export function backoffMs(deaths: number, chance: number = Math.random()): number {
  const mostMs = Math.min(LONGEST_MS, FIRST_MS * 2 ** (deaths - 1));
  return Math.round(mostMs * (1 + chance) / 2);
}
