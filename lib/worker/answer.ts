/** What the worker changes in an app's answer, on either engine. */
import type { Fetcher, ServeInfo } from "./app.ts";
import { BodyTooLarge } from "./limits.ts";
import { HelperError } from "../helper/mod.ts";
import { describeError, report } from "../child/report.ts";
import { copyResponse } from "./response_body.ts";
import type { Traffic } from "./traffic.ts";

/** About when an EventSource comes back that a reload has ended: browsers take three seconds, too. */
const RETRY_MS = 3_000;

/** The realm's own: an app may put another class in its place. */
const { Response } = globalThis;

/**
 * The answer when the app's handler throws; it does not tell the client why.
 *
 * @param request what it was asked, where that is known
 */
export function answerForError(error: unknown, request?: Request): Response {
  // An error that passes by itself: the client should try again.
  if (error instanceof HelperError && error.passing) return error.getResponse();
  if (error instanceof BodyTooLarge) return error.getResponse();
  // The runtime takes any Host, also one with which no app can read the URL.
  if (request && !URL.canParse(request.url)) return refuseRequest();
  report(`The app threw while it answered a request: ${describeError(error)}`);
  return new Response("Internal Server Error", { status: 500 });
}

/** The answer to a request that no app could read. */
export function refuseRequest(): Response {
  return new Response(null, { status: 400, headers: { connection: "close" } });
}

/** Calls the app. An error becomes an answer; a promise is checked later. */
export function ask(
  fetcher: Fetcher,
  request: Request,
  info: ServeInfo,
): Response | Promise<unknown> {
  try {
    const answer: unknown = fetcher.fetch(request, info);
    return answer instanceof Response || answer instanceof Promise
      ? answer
      : Promise.resolve(answer);
  } catch (error) {
    return answerForError(error, request);
  }
}

/** Checks the result of an app's promise. */
export function requireResponse(answer: unknown): Response {
  if (answer instanceof Response) return answer;
  if (isForeign(answer)) {
    const { body, status, statusText, headers } = answer;
    return new Response(body, { status, statusText, headers: [...headers] });
  }
  return answerForError(new TypeError(`The app's fetch returned no Response but ${typeof answer}`));
}

/** Whether it is a Response of another class, such as a package's own: it has the standard's parts. */
function isForeign(answer: unknown): answer is Response {
  const { status, headers, arrayBuffer } = (answer ?? {}) as Partial<Response>;
  return typeof status === "number" && typeof arrayBuffer === "function" &&
    typeof headers?.[Symbol.iterator] === "function";
}

/** The answer to an upgrade that cannot be served here. */
export function refuseUpgrade(hint: string): Response {
  report(`An upgrade to WebSocket was answered with 501: ${hint}`);
  return new Response("Not Implemented: WebSockets are not served on this listener\n", {
    status: 501,
  });
}

function withHeader(response: Response, name: string, value: string): Response {
  try {
    response.headers.set(name, value);
    return response;
  } catch {
    // The headers of a Response that came from fetch() cannot be changed.
    const copy = copyResponse(response, response.body);
    copy.headers.set(name, value);
    return copy;
  }
}

/** Tells the client that this connection ends with this answer. */
export function withConnectionClose(response: Response): Response {
  return response.status === 101 ? response : withHeader(response, "connection", "close");
}

/**
 * Ends an endless event stream between two chunks when the drain begins. An EventSource then reconnects by
 * itself, with its Last-Event-ID, to a new worker.
 */
export function endEventsAtDrain(response: Response, traffic: Traffic): Response {
  // The body last: asking for it makes the runtime build a stream around what it has whole.
  if (!isEventStream(response) || response.body === null) return response;
  const { body } = response;
  let last: Uint8Array = new Uint8Array(0);
  const { readable, writable } = new TransformStream<Uint8Array, Uint8Array<ArrayBuffer>>({
    transform(chunk, controller) {
      last = chunk;
      controller.enqueue(chunk as Uint8Array<ArrayBuffer>);
    },
  });
  const ending = new AbortController();
  const forget = traffic.endAtDrain(() => ending.abort());
  // preventAbort leaves it to us how the answer ends: whole at a drain, broken if the app's stream broke.
  body.pipeTo(writable, { signal: ending.signal, preventAbort: true })
    .catch(async (error) => {
      if (!ending.signal.aborted) return await writable.abort(error);
      const writer = writable.getWriter();
      if (traffic.spreading && isBetweenEvents(last)) await writer.write(retryLater());
      await writer.close();
    })
    .catch(() => {})
    .finally(forget);
  return copyResponse(response, readable);
}

/** Whether a chunk ends an event, with an empty line. */
function isBetweenEvents(chunk: Uint8Array): boolean {
  return /(\n\n|\r\n\r\n|\r\r)$/.test(new TextDecoder("latin1").decode(chunk.subarray(-4)));
}

/** Tells an EventSource when to come back; each another time. */
function retryLater(): Uint8Array<ArrayBuffer> {
  return new TextEncoder().encode(`retry: ${Math.round(RETRY_MS * (0.5 + Math.random()))}\n\n`);
}

function isEventStream(response: Response): boolean {
  return response.headers.get("content-type")?.startsWith("text/event-stream") ?? false;
}
