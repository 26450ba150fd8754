/** How wide a line may be where nothing says so. */
export const PLAIN_WIDTH = 80;

/** How wide the terminal is. */
export function columnsOfTerminal(): number {
  try {
    // Some terminals do not know, and say 0.
    return Deno.consoleSize().columns || PLAIN_WIDTH;
  } catch {
    return PLAIN_WIDTH;
  }
}
