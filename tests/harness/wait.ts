/** How long a test waits for what must happen; only a hang makes it matter. */
export const PATIENCE_MS = 30_000;

/** How often a supervisor is asked for its figures: its workers tell theirs once a second. */
export const FIGURES_EVERY_MS = 100;

/** Waits until `look` gives a value. */
export async function until<T>(
  what: string,
  look: () => T | undefined | false | Promise<T | undefined | false>,
  patienceMs: number = PATIENCE_MS,
  everyMs = 10,
): Promise<T> {
  const endMs = performance.now() + patienceMs;
  while (true) {
    const found = await look();
    if (found !== undefined && found !== false) return found;
    if (performance.now() > endMs) throw new Error(`Gave up waiting for ${what}`);
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
}

/**
 * Waits until a listener of this process is closed. Test files run side by side in one process: a
 * program that another one starts has each descriptor from its fork until its exec.
 */
export async function untilRefused(connect: () => Promise<void>): Promise<void> {
  await until("a refused connection", () =>
    connect().then(() => false, (error) => {
      if (error instanceof Deno.errors.ConnectionRefused) return true;
      throw error;
    }));
}

/** Lets time pass. */
export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Waits until what a supervisor or its workers tell is as it should be. */
export function untilTold<T>(
  what: string,
  look: () => Promise<T | undefined | false>,
): Promise<T> {
  return until(what, look, PATIENCE_MS, FIGURES_EVERY_MS);
}
