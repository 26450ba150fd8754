/** Requests that are replayed: from lines that somebody wrote, or from an access log. */
import { basename, extname } from "node:path";
import { HoldfastError } from "../base/error.ts";

/** One of them. */
export interface ReplayRequest {
  readonly method: string;
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string | Uint8Array<ArrayBuffer> | FormData | undefined;
}

/** How long one answer may take. */
const ANSWER_MS = 30_000;

const METHOD = "([A-Z]+)";
/** `POST /entries name=x`. */
const PLAIN = new RegExp(`^${METHOD}\\s+(/\\S*)(?:\\s+(.*))?$`);
/** `127.0.0.1 - - [10/Oct/2000:13:55:36 +0000] "GET /a HTTP/1.1" 200 5`. */
const COMMON = new RegExp(`^\\S+ \\S+ \\S+ \\[[^\\]]*\\] "${METHOD} (\\S+) [^"]*"`);

/**
 * Reads them: a line each, as `GET /path`, `POST /path BODY`, an object of JSON with `method`, `path`,
 * `headers` and `body` or `form`, or a line of an access log. A value of a form with an `@` in front names a
 * file that is sent. Empty lines and those with a `#` in front are passed over.
 *
 * @param readFile reads a file that a form names
 * @throws {HoldfastError} for a line that is none of these
 */
export function parseRequests(
  lines: string,
  file: string,
  readFile: (path: string) => Uint8Array<ArrayBuffer>,
): ReplayRequest[] {
  return lines.split("\n").flatMap((line, index) => {
    const said = line.trim();
    if (said === "" || said.startsWith("#")) return [];
    const found = readLine(said, readFile);
    if (found !== undefined) return [found];
    throw new HoldfastError(`${file}:${index + 1} is no request: ${said.slice(0, 80)}`, {
      kind: "usage",
      code: "usage",
      hint:
        'Write "GET /path", "POST /path BODY", {"method", "path", "headers", "body" or "form"}, or take ' +
        "the lines of an access log",
    });
  });
}

function readLine(
  line: string,
  readFile: (path: string) => Uint8Array<ArrayBuffer>,
): ReplayRequest | undefined {
  if (line.startsWith("{")) return readObject(line, readFile);
  const [, method, path, body] = PLAIN.exec(line) ?? COMMON.exec(line) ?? [];
  if (method === undefined || !path?.startsWith("/")) return undefined;
  return { method, path, headers: {}, body };
}

/** Also a line of an access log in JSON. */
function readObject(
  line: string,
  readFile: (path: string) => Uint8Array<ArrayBuffer>,
): ReplayRequest | undefined {
  try {
    const { method = "GET", path, headers = {}, body, form } = JSON.parse(line);
    if (typeof method !== "string" || typeof path !== "string" || path[0] !== "/") return undefined;
    const text = body === undefined || typeof body === "string" ? body : JSON.stringify(body);
    const given = form === undefined ? text : formOf(form, readFile);
    return { method: method.toUpperCase(), path, headers, body: given };
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

function formOf(
  values: Readonly<Record<string, unknown>>,
  readFile: (path: string) => Uint8Array<ArrayBuffer>,
): FormData {
  const form = new FormData();
  for (const [name, value] of Object.entries(values)) {
    const text = String(value);
    if (!text.startsWith("@")) form.append(name, text);
    else {
      const path = text.slice(1);
      const type = TYPES[extname(path)] ?? "application/octet-stream";
      form.append(name, new File([readFile(path)], basename(path), { type }));
    }
  }
  return form;
}

/** What a browser says of a file that it sends. */
const TYPES: Readonly<Record<string, string>> = {
  ...{ ".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif" },
  ...{ ".webp": "image/webp", ".avif": "image/avif", ".svg": "image/svg+xml" },
  ...{ ".pdf": "application/pdf", ".txt": "text/plain", ".csv": "text/csv" },
  ".json": "application/json",
};

/** What came of the requests. */
export interface Replayed {
  readonly sent: number;
  /** `POST /entries: 500`, those that the app failed to answer. */
  readonly failed: readonly string[];
}

/** Sends them one after the other; an app that fails in one of them goes on to the next. */
export async function replay(
  origin: string,
  requests: readonly ReplayRequest[],
  signal: AbortSignal,
): Promise<Replayed> {
  const failed: string[] = [];
  let sent = 0;
  for (const request of requests) {
    if (signal.aborted) break;
    sent++;
    const status = await send(origin, request, signal).catch((error) => (error as Error).message);
    if (typeof status === "string" || status >= 500) {
      failed.push(`${request.method} ${request.path}: ${status}`);
    }
  }
  return { sent, failed };
}

async function send(
  origin: string,
  { method, path, headers, body }: ReplayRequest,
  signal: AbortSignal,
): Promise<number> {
  const hasBody = body !== undefined && body !== "" && !["GET", "HEAD"].includes(method);
  const answer = await fetch(`${origin}${path}`, {
    method,
    redirect: "manual",
    headers: {
      connection: "close",
      // As a browser does from a page of the app's own.
      ...method !== "GET" && method !== "HEAD" && { origin, "sec-fetch-site": "same-origin" },
      ...hasBody && typeof body === "string" && { "content-type": typeOf(body) },
      ...headers,
    },
    ...hasBody && { body },
    signal: AbortSignal.any([signal, AbortSignal.timeout(ANSWER_MS)]),
  });
  // A stream of events has no end.
  if (answer.headers.get("content-type")?.startsWith("text/event-stream")) {
    await answer.body?.cancel();
  } else await answer.arrayBuffer();
  return answer.status;
}

function typeOf(body: string): string {
  if (/^[[{]/.test(body)) return "application/json";
  return /^[\w.%+-]+=/.test(body)
    ? "application/x-www-form-urlencoded"
    : "text/plain; charset=utf-8";
}
