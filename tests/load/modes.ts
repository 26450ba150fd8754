import { type AnswerHead, readBody, readHead, readText } from "./answer.ts";
import type { Connection } from "./connection.ts";
import { type Shape, streamBody } from "./shape.ts";
import { sleep } from "./wait.ts";

/** A whole answer that is not the right one. */
export class WrongAnswer extends Error {}

/** An answer that ended in order by its framing, but before all of it was there. */
export class ShortAnswer extends Error {}

/** What a mode may use for one request. */
export interface Exchange {
  connection: Connection;
  host: string;
  persistence: "keep_alive" | "close";
  shape: Shape;
  /** The request may take so long; an event stream, so long from one event to the next. */
  deadlineMs: number;
  /** Time is up: an endless answer may be left at its next boundary. */
  timeUp: AbortSignal;
  /** Kept from one request of a virtual client to its next. */
  memory: Memory;
  /** Told as soon as it is seen, so that a cut answer counts for its generation too. */
  seeGeneration(generation: string): void;
}

/** What a virtual client remembers. */
export interface Memory {
  lastEventId: number | undefined;
}

/** A whole and right answer. */
export interface Answered {
  /** `performance.now()` of the end of the answer; of the first event, for an event stream. */
  answeredAtMs: number;
  persistence: AnswerHead["persistence"];
}

/** One kind of load. */
export interface Mode {
  persistence: "keep_alive" | "close";
  thinkMs: number;
  exchange: (exchange: Exchange) => Promise<Answered>;
}

/** Every kind of load, by name. */
export const MODES = {
  close: { persistence: "close", thinkMs: 0, exchange: getRoot },
  keep_alive_0: { persistence: "keep_alive", thinkMs: 0, exchange: getRoot },
  keep_alive_20: { persistence: "keep_alive", thinkMs: 20, exchange: getRoot },
  keep_alive_500: { persistence: "keep_alive", thinkMs: 500, exchange: getRoot },
  slow: { persistence: "keep_alive", thinkMs: 0, exchange: getSlow },
  stream: { persistence: "close", thinkMs: 0, exchange: getStream },
  upload: { persistence: "close", thinkMs: 0, exchange: postWithLength },
  upload_chunked: { persistence: "close", thinkMs: 0, exchange: postInChunks },
  // A pause before a new stream, as a browser makes; else a server that ends each at once is spun on.
  sse: { persistence: "close", thinkMs: 50, exchange: getEvents },
} satisfies Record<string, Mode>;

/** The name of a kind of load. */
export type ModeName = keyof typeof MODES;

/** The names of every kind of load. */
export const MODE_NAMES = Object.keys(MODES) as ModeName[];

const ENCODER = new TextEncoder();

function getRoot(exchange: Exchange): Promise<Answered> {
  return getGeneration(exchange, "/");
}

function getSlow(exchange: Exchange): Promise<Answered> {
  return getGeneration(exchange, `/slow?ms=${exchange.shape.slowMs}`);
}

async function getGeneration(exchange: Exchange, path: string): Promise<Answered> {
  const { connection } = exchange;
  await connection.write(requestHead(exchange, "GET", path));
  const head = await readGoodHead(exchange);
  const body = await readText(connection, head.framing);
  const generation = /^generation (\S+)\n$/.exec(body)?.[1];
  const named = head.headers.get("x-generation");
  if (generation === undefined || (named !== undefined && named !== generation)) {
    throw new WrongAnswer(`body ${JSON.stringify(body.slice(0, 80))}, x-generation ${named}`);
  }
  if (named === undefined) exchange.seeGeneration(generation);
  return answered(head);
}

async function getStream(exchange: Exchange): Promise<Answered> {
  const { connection, shape } = exchange;
  const path = `/stream?chunks=${shape.streamChunks}&everyMs=${shape.streamEveryMs}`;
  await connection.write(requestHead(exchange, "GET", path));
  const head = await readGoodHead(exchange);
  const body = await readText(connection, head.framing);
  const expected = streamBody(shape.streamChunks);
  if (body === expected) return answered(head);
  if (expected.startsWith(body)) {
    throw new ShortAnswer(`the stream ended after ${body.length} of ${expected.length} bytes`);
  }
  throw new WrongAnswer(`the stream of ${body.length} bytes is not the expected one`);
}

function postWithLength(exchange: Exchange): Promise<Answered> {
  const { uploadPieces, uploadPieceBytes } = exchange.shape;
  const piece = new Uint8Array(uploadPieceBytes).fill(0x75);
  return post(exchange, `Content-Length: ${uploadPieces * uploadPieceBytes}`, piece, undefined);
}

function postInChunks(exchange: Exchange): Promise<Answered> {
  const { uploadPieceBytes } = exchange.shape;
  const piece = ENCODER.encode(
    `${uploadPieceBytes.toString(16)}\r\n${"u".repeat(uploadPieceBytes)}\r\n`,
  );
  return post(exchange, "Transfer-Encoding: chunked", piece, ENCODER.encode("0\r\n\r\n"));
}

async function post(
  exchange: Exchange,
  framingHeader: string,
  piece: Uint8Array,
  ending: Uint8Array | undefined,
): Promise<Answered> {
  const { connection, shape } = exchange;
  await connection.write(requestHead(exchange, "POST", "/upload", framingHeader));
  // The answer is read while the body is sent: a server that refuses half-way says so at once.
  let hasAnswer = false;
  const answering = (async () => {
    const head = await readGoodHead(exchange);
    hasAnswer = true;
    return { head, body: await readText(connection, head.framing) };
  })();
  answering.catch(() => hasAnswer = true);

  let sent = 0;
  let writeError: unknown;
  try {
    for (; sent < shape.uploadPieces && !hasAnswer; sent++) {
      if (sent > 0) await sleep(shape.uploadEveryMs);
      if (!hasAnswer) await connection.write(piece);
    }
    if (ending !== undefined && !hasAnswer) await connection.write(ending);
  } catch (error) {
    writeError = error;
  }
  const { head, body } = await answering;
  if (writeError !== undefined || sent < shape.uploadPieces) {
    throw new WrongAnswer(`${head.status} came before the whole body was sent`);
  }
  const expected = String(shape.uploadPieces * shape.uploadPieceBytes);
  if (body !== expected) {
    throw new WrongAnswer(
      `the server counted ${JSON.stringify(body.slice(0, 80))}, not ${expected}`,
    );
  }
  return answered(head);
}

async function getEvents(exchange: Exchange): Promise<Answered> {
  const { connection, memory, shape, timeUp } = exchange;
  const path = `/events?everyMs=${shape.eventEveryMs}`;
  const resume = memory.lastEventId === undefined
    ? undefined
    : `Last-Event-ID: ${memory.lastEventId}`;
  await connection.write(requestHead(exchange, "GET", path, resume));
  const head = await readGoodHead(exchange);
  const type = head.headers.get("content-type") ?? "";
  if (!type.startsWith("text/event-stream")) throw new WrongAnswer(`content-type ${type}`);

  const decoder = new TextDecoder();
  let answeredAtMs: number | undefined;
  let rest = "";
  for await (const piece of readBody(connection, head.framing)) {
    const parts = (rest + decoder.decode(piece, { stream: true })).split("\n\n");
    rest = parts.pop()!;
    for (const event of parts) {
      memory.lastEventId = checkEvent(event, memory.lastEventId);
      answeredAtMs ??= performance.now();
    }
    connection.expectWithin(exchange.deadlineMs);
    if (timeUp.aborted && rest === "") {
      return { answeredAtMs: answeredAtMs ?? performance.now(), persistence: "close" };
    }
  }
  if (rest !== "") {
    throw new ShortAnswer(`the stream ended within an event: ${JSON.stringify(rest)}`);
  }
  // A close-delimited stream has no end of its own, so its end cannot be told from a cut.
  if (head.framing.kind === "until_close") throw new ShortAnswer("the stream has no terminator");
  return { answeredAtMs: answeredAtMs ?? performance.now(), persistence: "close" };
}

function checkEvent(event: string, lastId: number | undefined): number {
  const match =
    /^(?:data: event (\d+) of generation \S+\nid: (\d+)|id: (\d+)\ndata: event (\d+) of generation \S+)$/
      .exec(event);
  const id = Number(match?.[2] ?? match?.[3]);
  if (match === null || id !== Number(match[1] ?? match[4])) {
    throw new WrongAnswer(`event ${JSON.stringify(event.slice(0, 80))}`);
  }
  const expected = (lastId ?? -1) + 1;
  if (id !== expected) throw new WrongAnswer(`event ${id} came where ${expected} was due`);
  return id;
}

async function readGoodHead(exchange: Exchange): Promise<AnswerHead> {
  const head = await readHead(exchange.connection);
  const generation = head.headers.get("x-generation");
  if (generation !== undefined) exchange.seeGeneration(generation);
  if (head.status < 200 || head.status > 299) throw new WrongAnswer(`status ${head.status}`);
  return head;
}

function answered(head: AnswerHead): Answered {
  return { answeredAtMs: performance.now(), persistence: head.persistence };
}

function requestHead(
  exchange: Exchange,
  method: "GET" | "POST",
  path: string,
  header?: string,
): Uint8Array {
  const lines = [`${method} ${path} HTTP/1.1`, `Host: ${exchange.host}`];
  if (exchange.persistence === "close") lines.push("Connection: close");
  if (header !== undefined) lines.push(header);
  return ENCODER.encode(`${lines.join("\r\n")}\r\n\r\n`);
}
