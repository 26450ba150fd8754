/** The main thread's side of a spawner thread. */
import type { FromSpawner, ToSpawner } from "./spawner_message.ts";

/** What a spawner tells of one worker. */
export type SpawnerEvent = FromSpawner;

/** A thread from which workers are spawned. */
export interface Spawner {
  /** Whether its thread has failed; it spawns nothing any more then. */
  readonly failed: boolean;
  /** Sends; answers come as events of the worker that the message names. */
  post(message: ToSpawner): void;
  /** Sends the events of `worker` to `receive`, until it has exited. */
  subscribe(worker: number, receive: (event: SpawnerEvent) => void): void;
  /** Ends the thread. To be called when none of its workers lives. */
  close(): void;
}

/** Starts a spawner thread. */
export function startSpawner(): Spawner {
  const thread = new Worker(new URL("./spawner_thread.ts", import.meta.url), { type: "module" });
  let failed = false;
  const receivers = new Map<number, (event: SpawnerEvent) => void>();
  const deliver = (event: SpawnerEvent) => {
    const receive = receivers.get(event.worker);
    if (event.type === "exited") receivers.delete(event.worker);
    receive?.(event);
  };
  thread.onmessage = ({ data }: MessageEvent<FromSpawner>) => deliver(data);
  thread.onerror = (event) => {
    event.preventDefault();
    failed = true;
    // Its channels close with the thread, and its workers drain and leave by themselves.
    for (const worker of [...receivers.keys()]) {
      const status = { code: undefined, signal: undefined };
      deliver({ type: "exited", worker, status, error: `The spawner failed: ${event.message}` });
    }
  };
  return {
    get failed() {
      return failed;
    },
    post: (message) => thread.postMessage(message),
    subscribe: (worker, receive) => void receivers.set(worker, receive),
    close: () => thread.terminate(),
  };
}
