/** A body that reports how it ended, for an engine whose runtime does not. */

/**
 * The same body, at the same pace.
 *
 * @param onEnd called once: `"whole"` after the last chunk was taken, `"cut"` if the reader went
 * away or the body broke; with the bytes that were taken
 */
export function watchBody(
  body: ReadableStream<Uint8Array<ArrayBuffer>>,
  onEnd: (how: "whole" | "cut", bytes: number) => void,
): ReadableStream<Uint8Array<ArrayBuffer>> {
  const reader = body.getReader();
  let bytes = 0;
  return new ReadableStream({
    async pull(controller) {
      try {
        const { done, value } = await reader.read();
        if (done) {
          controller.close();
          onEnd("whole", bytes);
        } else {
          bytes += value.byteLength;
          controller.enqueue(value);
        }
      } catch (error) {
        onEnd("cut", bytes);
        throw error;
      }
    },
    async cancel(reason) {
      onEnd("cut", bytes);
      await reader.cancel(reason);
    },
  }, { highWaterMark: 0 });
}
