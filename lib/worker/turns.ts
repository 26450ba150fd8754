/**
 * Turns for small pieces of requests' bodies. The runtime hands out what has come without a look at
 * anything else, and each piece costs it a move of all that follows: a client that sends its body byte
 * by byte would keep all others waiting.
 */

/** A piece that is not smaller pays for itself. */
const SMALL_BYTES = 1_024;

/** How many pieces say nothing yet. */
const FEW = 1_000;

/** Whether a body has come in so many and small pieces that the rest of it may cost too much. */
export function isCrumbled(bytes: number, pieces: number): boolean {
  return pieces > FEW && pieces * SMALL_BYTES > bytes;
}

/** How many small ones are taken before other events have their turn. */
const PIECES = 32;

let left = PIECES;
let next: Promise<void> | undefined;

/** Counts a piece that was taken. @returns what to wait for, after many small ones */
export function endTurn(bytes: number): Promise<void> | undefined {
  if (bytes >= SMALL_BYTES) return undefined;
  if (left > 0) left--;
  if (left > 0) return undefined;
  next ??= new Promise((resolve) => setTimeout(() => resolve(refill())));
  return next;
}

function refill(): void {
  left = PIECES;
  next = undefined;
}
