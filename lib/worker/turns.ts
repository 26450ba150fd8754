/**
 * Turns for pieces of requests' bodies. The runtime gives the pieces that it has without a look at
 * anything else: a client that sends them byte by byte would keep all others waiting.
 */

/** How many pieces are taken before other events have their turn. */
const PIECES = 256;

let left = PIECES;
let next: Promise<void> | undefined;

/** Takes a turn for one piece. @returns what to wait for, after many pieces */
export function takeTurn(): Promise<void> | undefined {
  if (left > 0) {
    left--;
    return undefined;
  }
  next ??= new Promise((resolve) => setTimeout(() => resolve(refill())));
  return next.then(takeTurn);
}

function refill(): void {
  left = PIECES;
  next = undefined;
}
