/** How the limits reach what the native engine's runtime sends and receives by itself. */
import { limitedBody, pacedAnswer } from "./limited_body.ts";
import { BodyTooLarge, type ConnectionWatch, type Limits } from "./limits.ts";
import { Pace } from "./pace.ts";
import { endTurn, isCrumbled } from "./turns.ts";
import { copyResponse, findSlot, innerOf, isWhole, lengthOfBody } from "./response_body.ts";

type Bytes = Uint8Array<ArrayBuffer>;

/** What is set aside for a body of unknown length, and for any at once. */
const PIECE_BYTES = 65_536;
const MAX_PIECE_BYTES = 1_048_576;

const INNER_SLOT = findSlot("request", new Request("http://localhost/"));
const DISTURBED_SLOT = findSlot("[[disturbed]]", new ReadableStream());
const BACKING_SLOT = findSlot("[[resourceBacking]]", new ReadableStream());

/** A body: a stream, or bytes that have come already. */
interface InnerBody {
  streamOrStatic: ReadableStream<Bytes> | { body: string | Uint8Array };
  readonly stream: ReadableStream<Bytes>;
  unusable(): boolean;
  consume(): Promise<Bytes>;
  createProxy(): unknown;
}

/** What the runtime keeps behind a Request. */
interface InnerRequest {
  readonly body?: InnerBody | null;
}

/** A body that may be arriving. */
interface Upload {
  readonly core: Core;
  readonly limits: Limits;
  readonly watch: ConnectionWatch;
  /** Its Content-Length, if it has one. */
  readonly length: number | undefined;
  /** Ends its connection at once; not of HTTP/2, where others are on it. */
  readonly cut: (() => void) | undefined;
}

/** The part of the runtime's core that is used. */
interface Core {
  read(rid: number, into: Uint8Array): Promise<number>;
  tryClose(rid: number): void;
}

/** Watches the body of a request, whichever way the app reads it. */
export function watchUpload(request: Request, upload: Upload): void {
  const body = (request as unknown as Record<symbol, InnerRequest>)[INNER_SLOT]?.body;
  // What has come whole already waits for nobody.
  if (body?.streamOrStatic instanceof ReadableStream) watchArriving(body, upload);
}

const UPLOAD = Symbol("upload");

/** A body that may be arriving: its stream counts, and whoever wants all of it gets that without one. */
interface ArrivingBody extends InnerBody {
  [UPLOAD]: Upload | undefined;
}

/** What bodies that arrive are made of, made once of what the runtime's are. */
let arriving: object | undefined;

function watchArriving(body: InnerBody, upload: Upload): void {
  const watched = body as ArrivingBody;
  watched[UPLOAD] = upload;
  if (resourceOf(body) === undefined || typeof body.consume !== "function") watchStream(watched);
  else Object.setPrototypeOf(body, arriving ??= arrivingFrom(Object.getPrototypeOf(body)));
}

/** One prototype for all: the runtime would forget what it has learnt of each new one. */
function arrivingFrom(prototype: InnerBody): object {
  return Object.create(prototype, {
    stream: {
      get(this: ArrivingBody) {
        watchStream(this);
        return this.streamOrStatic;
      },
    },
    createProxy: {
      value(this: ArrivingBody) {
        watchStream(this);
        return Reflect.apply(prototype.createProxy, this, []);
      },
    },
    consume: {
      value(this: ArrivingBody) {
        const upload = this[UPLOAD];
        if (upload === undefined || this.unusable()) {
          return Reflect.apply(prototype.consume, this, []);
        }
        this[UPLOAD] = undefined;
        // It is taken from here on, for whoever asks.
        const stream = this.streamOrStatic as ReadableStream<Bytes>;
        stream.getReader();
        (stream as unknown as Record<symbol, boolean>)[DISTURBED_SLOT] = true;
        return readWhole(resourceOf(this)!, upload);
      },
    },
  });
}

function resourceOf({ streamOrStatic: stream }: InnerBody): number | undefined {
  return (stream as unknown as Record<symbol, { rid: number } | undefined>)[BACKING_SLOT]?.rid;
}

/** Puts a stream that counts in the place of the runtime's. */
function watchStream(body: ArrivingBody): void {
  const { [UPLOAD]: upload } = body;
  if (upload === undefined) return;
  body[UPLOAD] = undefined;
  const stream = body.streamOrStatic as ReadableStream<Bytes>;
  let reader: ReadableStreamDefaultReader<Bytes> | undefined;
  const source = {
    read: () => (reader ??= stream.getReader()).read(),
    cancel: (reason: unknown) => (reader ?? stream).cancel(reason),
    ...upload.cut && { cut: upload.cut },
  };
  body.streamOrStatic = limitedBody(source, upload.limits, upload.watch, "bytes");
}

/** Reads a body of which the runtime has the rest, at the client's pace. */
async function readWhole(
  rid: number,
  { core, limits, watch, length, cut }: Upload,
): Promise<Bytes> {
  const pace = new Pace(limits.settings, "bodyTimeoutMs");
  watch.paces.add(pace);
  const pieces: Bytes[] = [];
  // A client may say any length: no more is set aside than it sends soon.
  let piece = new Uint8Array(Math.min(length ?? PIECE_BYTES, MAX_PIECE_BYTES));
  let [filled, total] = [0, 0];
  let reads = 0;
  try {
    while (total !== length) {
      if (filled === piece.length) {
        pieces.push(piece);
        piece = new Uint8Array(Math.min((length ?? Infinity) - total, MAX_PIECE_BYTES));
        filled = 0;
      }
      pace.wait();
      const bytes = await core.read(rid, filled === 0 ? piece : piece.subarray(filled));
      pace.pass(bytes);
      if (bytes === 0) break;
      filled += bytes;
      total += bytes;
      reads++;
      if (limits.isTooLarge(total)) throw limits.bodyTooLarge(watch);
      const turn = endTurn(bytes);
      if (turn !== undefined) await turn;
    }
  } catch (error) {
    // The runtime takes what has come of the rest in one go, also from who is gone.
    if (!(error instanceof BodyTooLarge) || isCrumbled(total, reads)) cut?.();
    if (!(error instanceof Deno.errors.BadResource)) throw error;
    throw new Deno.errors.BadResource("Cannot read body as underlying resource unavailable");
  } finally {
    watch.paces.delete(pace);
    core.tryClose(rid);
  }
  if (pieces.length === 0 && filled === piece.length) return piece;
  const whole = new Uint8Array(total);
  let at = 0;
  for (const each of pieces) {
    whole.set(each, at);
    at += each.length;
  }
  whole.set(piece.subarray(0, filled), at);
  return whole;
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
