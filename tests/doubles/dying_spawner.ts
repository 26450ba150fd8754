/** A spawner thread that dies when its process is there, before it can say so. */
import "../../lib/supervisor/spawner_thread.ts";

const thread = self as unknown as { postMessage(message: { type: string }): void };
const post = thread.postMessage.bind(thread);
thread.postMessage = (message) => {
  if (message.type !== "spawned") return post(message);
  queueMicrotask(() => {
    throw new Error("it died");
  });
};
