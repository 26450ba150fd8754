/** Waiting with an end. */
import { sleep } from "../base/sleep.ts";

/** Whether `promise` settles within `ms`. */
export async function settlesWithin(promise: Promise<unknown>, ms: number): Promise<boolean> {
  const stop = new AbortController();
  const settled = promise.then(() => true);
  const late = sleep(ms, stop.signal).then(() => false);
  return await Promise.race([settled, late]).finally(() => stop.abort());
}

/** Settles when `signal` aborts. */
export function whenAborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
