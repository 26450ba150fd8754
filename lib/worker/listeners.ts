/** Takes the listeners that the supervisor hands over (SCM_RIGHTS) by the runtime's IPC. */
import process from "node:process";

/**
 * Waits for `count` listeners and closes the IPC, which carries nothing else: an app that could
 * write to it could make its parent bind, leak descriptors or stop reading.
 *
 * @returns the handles, in the order in which they were sent
 */
export function receiveListeners(count: number): Promise<unknown[]> {
  const { promise, resolve, reject } = Promise.withResolvers<unknown[]>();
  const handles: unknown[] = [];
  process.on("message", (_message, handle) => {
    handles.push(handle);
    if (handles.length === count) finish();
  });
  process.on("disconnect", () => reject(new Error("The IPC ended before all listeners had come")));
  const finish = () => {
    process.removeAllListeners("message");
    process.removeAllListeners("disconnect");
    resolve(handles);
    process.disconnect?.();
  };
  return promise;
}
