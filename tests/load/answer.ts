import { type Connection, MalformedAnswer } from "./connection.ts";

/** How the end of a body is told. */
export type Framing =
  | { kind: "none" }
  | { kind: "length"; bytes: number }
  | { kind: "chunked" }
  | { kind: "until_close" };

/** Status line and headers of an answer. */
export interface AnswerHead {
  status: number;
  /** Names are in lower case. */
  headers: Map<string, string>;
  framing: Framing;
  /** Whether the connection may carry another request. */
  persistence: "keep_alive" | "close";
}

const MAX_HEADERS = 200;

/** Reads the head of the answer to a GET or POST; interim answers (1xx) are passed over. */
export async function readHead(connection: Connection): Promise<AnswerHead> {
  while (true) {
    const line = await connection.readLine();
    const match = /^HTTP\/1\.([01]) (\d{3})(?: .*)?$/.exec(line);
    if (match === null) throw new MalformedAnswer(`status line ${JSON.stringify(line)}`);
    const status = Number(match[2]);
    const headers = await readFields(connection);
    if (status >= 100 && status < 200 && status !== 101) continue;
    const framing = framingOf(status, headers);
    const asksClose = (headers.get("connection") ?? "").toLowerCase().split(/\s*,\s*/).includes(
      "close",
    );
    const persistence = asksClose || match[1] === "0" || framing.kind === "until_close"
      ? "close"
      : "keep_alive";
    return { status, headers, framing, persistence };
  }
}

/** The body in the pieces it comes in. It ends without an error only if the body came whole. */
export async function* readBody(
  connection: Connection,
  framing: Framing,
): AsyncGenerator<Uint8Array, void> {
  switch (framing.kind) {
    case "none":
      return;
    case "length":
      return yield* readExactly(connection, framing.bytes);
    case "until_close":
      for (let piece; (piece = await connection.readSomeOrEnd(65_536)) !== undefined;) yield piece;
      return;
    case "chunked":
      return yield* readChunks(connection);
  }
}

/** The body as text, whole. */
export async function readText(connection: Connection, framing: Framing): Promise<string> {
  const decoder = new TextDecoder();
  let text = "";
  for await (const piece of readBody(connection, framing)) {
    text += decoder.decode(piece, { stream: true });
  }
  return text + decoder.decode();
}

async function* readExactly(
  connection: Connection,
  bytes: number,
): AsyncGenerator<Uint8Array, void> {
  for (let left = bytes; left > 0;) {
    const piece = await connection.readSome(left);
    left -= piece.byteLength;
    yield piece;
  }
}

async function* readChunks(connection: Connection): AsyncGenerator<Uint8Array, void> {
  while (true) {
    const line = await connection.readLine();
    const match = /^([0-9a-fA-F]{1,8})[ \t]*(?:;.*)?$/.exec(line);
    if (match === null) throw new MalformedAnswer(`chunk size ${JSON.stringify(line)}`);
    const bytes = parseInt(match[1]!, 16);
    if (bytes === 0) break;
    yield* readExactly(connection, bytes);
    const end = await connection.readLine();
    if (end !== "") throw new MalformedAnswer("a chunk is longer than it said");
  }
  await readFields(connection); // the trailers, and the empty line without which the body is not whole
}

async function readFields(connection: Connection): Promise<Map<string, string>> {
  const fields = new Map<string, string>();
  for (let count = 0; count <= MAX_HEADERS; count++) {
    const line = await connection.readLine();
    if (line === "") return fields;
    const match = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]+):[ \t]*(.*?)[ \t]*$/.exec(line);
    if (match === null) throw new MalformedAnswer(`header line ${JSON.stringify(line)}`);
    const name = match[1]!.toLowerCase();
    const before = fields.get(name);
    fields.set(name, before === undefined ? match[2]! : `${before}, ${match[2]}`);
  }
  throw new MalformedAnswer(`more than ${MAX_HEADERS} headers`);
}

function framingOf(status: number, headers: Map<string, string>): Framing {
  const encoding = headers.get("transfer-encoding");
  const length = headers.get("content-length");
  if (encoding !== undefined && length !== undefined) {
    throw new MalformedAnswer("both content-length and transfer-encoding");
  }
  if (encoding !== undefined) {
    if (encoding.toLowerCase() === "chunked") return { kind: "chunked" };
    throw new MalformedAnswer(`transfer-encoding ${JSON.stringify(encoding)}`);
  }
  if (length !== undefined) {
    if (!/^\d{1,15}$/.test(length)) {
      throw new MalformedAnswer(`content-length ${JSON.stringify(length)}`);
    }
    return { kind: "length", bytes: Number(length) };
  }
  return status === 101 || status === 204 || status === 304
    ? { kind: "none" }
    : { kind: "until_close" };
}
