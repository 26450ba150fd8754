/** Bodies of requests and answers, for whose pace and length there are limits. */
import type { ConnectionWatch, Limits } from "./limits.ts";
import { Pace } from "./pace.ts";
import { endTurn, isCrumbled } from "./turns.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** What the pieces of a request's body come from. */
interface BodySource {
  read(): Promise<{ done?: boolean | undefined; value?: Bytes | undefined }>;
  cancel(reason: unknown): Promise<unknown> | undefined;
  /** Ends the connection at once, where that can be done. */
  cut?(): void;
}

/**
 * The body of a request, which comes at the app's pace: the client is waited for while the app reads.
 *
 * @param type `bytes` where each piece has a buffer of its own, which a stream of bytes takes away
 */
export function limitedBody(
  source: BodySource,
  limits: Limits,
  watch: ConnectionWatch,
  type?: "bytes",
): ReadableStream<Bytes> {
  const pace = new Pace(limits.settings, "bodyTimeoutMs");
  let total = 0;
  let pieces = 0;
  const end = () => void watch.paces.delete(pace);
  // The runtime takes what has come of the rest in one go, also from who is gone.
  const cutIfCrumbled = () => void (isCrumbled(total, pieces) && source.cut?.());
  const pull = async (controller: ReadableStreamController<Bytes>) => {
    watch.paces.add(pace);
    pace.wait();
    let piece;
    try {
      piece = await source.read();
    } catch (error) {
      end();
      source.cut?.();
      throw error;
    }
    const { done, value } = piece;
    pace.pass(value?.byteLength ?? 0);
    if (done || value === undefined) {
      end();
      controller.close();
      if ("byobRequest" in controller) controller.byobRequest?.respond(0);
      return;
    }
    total += value.byteLength;
    pieces++;
    if (limits.isTooLarge(total)) {
      end();
      const error = limits.bodyTooLarge(watch);
      cutIfCrumbled();
      source.cancel(error)?.catch(() => {});
      throw error;
    }
    const turn = endTurn(value.byteLength);
    if (turn !== undefined) await turn;
    controller.enqueue(value as never);
  };
  const cancel = async (reason: unknown) => {
    end();
    cutIfCrumbled();
    await source.cancel(reason);
  };
  return type === undefined
    ? new ReadableStream({ pull, cancel }, { highWaterMark: 0 })
    : new ReadableStream({ type, pull, cancel } as UnderlyingByteSource, { highWaterMark: 0 });
}

/** The body of an answer, which goes at the client's pace: it is waited for until more is asked for. */
export function pacedAnswer(
  body: ReadableStream<Bytes>,
  limits: Limits,
  watch: ConnectionWatch,
): ReadableStream<Bytes> {
  const reader = body.getReader();
  const pace = new Pace(limits.settings, "sendTimeoutMs");
  let given = 0;
  const end = () => void watch.paces.delete(pace);
  return new ReadableStream({
    async pull(controller) {
      pace.pass(given);
      try {
        const { done, value } = await reader.read();
        if (done) {
          end();
          return controller.close();
        }
        given = value.byteLength;
        controller.enqueue(value);
      } catch (error) {
        end();
        throw error;
      }
      watch.paces.add(pace);
      pace.wait();
    },
    async cancel(reason) {
      end();
      // The kernel cuts it a little before the next look, or after.
      if (pace.waitedMs >= limits.settings.sendTimeoutMs && !watch.ending) {
        limits.count("sendTimeoutMs");
        limits.penalties.add(watch.client, "sendTimeoutMs");
      }
      await reader.cancel(reason);
    },
  }, { highWaterMark: 0 });
}
