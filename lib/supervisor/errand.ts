/**
 * Has a thread of the supervisor do something small, confined to that: no program is started for it,
 * and nothing that the thread gives up comes back to the rest of the supervisor.
 */
import { landlockAbi } from "../os/landlock.ts";
import { openThread } from "./spawner.ts";
import type { Errand, ErrandResult } from "./spawner_message.ts";

/**
 * Runs one.
 *
 * @param program of the thread, where it comes from no file
 * @throws {Error} with the kernel's reason
 */
export async function runErrand(
  errand: Omit<Errand, "abi">,
  program: string | undefined,
): Promise<Exclude<ErrandResult, { type: "failed" }>> {
  const { thread, started } = openThread(program);
  try {
    const { promise, resolve } = Promise.withResolvers<ErrandResult>();
    thread.onmessage = ({ data }: MessageEvent<ErrandResult>) => resolve(data);
    thread.onerror = (event) => {
      event.preventDefault();
      resolve({ type: "failed", error: event.message });
    };
    thread.postMessage({ ...errand, abi: landlockAbi() } satisfies Errand);
    const result = await promise;
    if (result.type === "failed") throw new Error(result.error);
    return result;
  } finally {
    started();
    thread.terminate();
  }
}
