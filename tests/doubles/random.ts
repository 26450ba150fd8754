/** Chance that a test can repeat: the seed decides everything. */

/** Numbers from 0 up to 1 (mulberry32). */
export function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** One of them. */
export function pick<T>(random: () => number, from: readonly T[]): T {
  return from[Math.floor(random() * from.length)]!;
}

/** Cuts bytes into copies of pieces, each of up to `longest` bytes, some of them empty. */
export function* cutAtRandom(
  random: () => number,
  bytes: Uint8Array,
  longest: number,
): Generator<Uint8Array, void> {
  for (let at = 0; at < bytes.length;) {
    const length = Math.floor(random() * (longest + 1));
    yield bytes.slice(at, at + length);
    at += length;
  }
}
