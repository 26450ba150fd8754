/** How the limits reach what the native engine's runtime sends and receives by itself. */
import { limitedBody, pacedAnswer } from "./limited_body.ts";
import type { ConnectionWatch, Limits } from "./limits.ts";
import { Pace } from "./pace.ts";
import { copyResponse, findSlot, innerOf, isWhole, lengthOfBody } from "./response_body.ts";

const INNER_SLOT = findSlot("request", new Request("http://localhost/"));
const BACKING_SLOT = findSlot("[[resourceBacking]]", new ReadableStream());

/** What the runtime keeps behind a Request: its body is a stream, or bytes that have come already. */
interface InnerRequest {
  readonly body?: {
    streamOrStatic: ReadableStream<Uint8Array<ArrayBuffer>> | { body: string | Uint8Array };
  } | null;
}

/** Watches the body of a request, whichever way the app reads it. */
export function watchUpload(request: Request, limits: Limits, watch: ConnectionWatch): void {
  const body = (request as unknown as Record<symbol, InnerRequest>)[INNER_SLOT]?.body;
  if (!body) return;
  const { streamOrStatic: stream } = body;
  // What has come whole already waits for nobody.
  if (!(stream instanceof ReadableStream)) return;
  let reader: ReadableStreamDefaultReader<Uint8Array<ArrayBuffer>> | undefined;
  const source = {
    read: () => (reader ??= stream.getReader()).read(),
    cancel: (reason: unknown) => (reader ?? stream).cancel(reason),
  };
  body.streamOrStatic = limitedBody(source, limits, watch, "bytes");
}

/** Watches an answer that leaves over time. */
export function watchAnswer(
  response: Response,
  completed: Promise<void>,
  limits: Limits,
  watch: ConnectionWatch,
): Response {
  const { sendTimeoutMs, minBytesPerSecond } = limits.settings;
  if (sendTimeoutMs === 0 || response.status === 101) return response;
  if (isWhole(response)) return response;
  const stream = scriptStream(response);
  if (stream !== undefined) return copyResponse(response, pacedAnswer(stream, limits, watch));
  const bytes = lengthOfBody(response) ?? 0;
  if (minBytesPerSecond === 0 || bytes === 0) return response;
  // The runtime tells only when all of it is out.
  const pace = new Pace(limits.settings, "sendTimeoutMs", bytes);
  watch.paces.add(pace);
  pace.wait();
  const end = () => void watch.paces.delete(pace);
  completed.then(end, end);
  return response;
}

/**
 * The stream that JavaScript makes the body of. Another one, such as a file's, the runtime reads by
 * itself, and faster than code that watched it could be.
 */
export function scriptStream(
  response: Response,
): ReadableStream<Uint8Array<ArrayBuffer>> | undefined {
  if (isWhole(response)) return undefined;
  const inner = innerOf(response);
  if (inner?.body === null || (inner?.body?.source ?? null) !== null) return undefined;
  const { body } = response;
  if (body === null || body.locked || response.bodyUsed) return undefined;
  return (body as unknown as Record<symbol, unknown>)[BACKING_SLOT] ? undefined : body;
}
