/**
 * Asks the app before it serves anybody: a version that answers badly takes nobody's place. It is asked
 * within the process, and neither limits nor the access log nor other clients see anything of it.
 */
import { Buffer } from "node:buffer";
import type http from "node:http";
import { Duplex } from "node:stream";
import { escapeUntrusted } from "../base/escape.ts";
import { VERSION } from "../base/version.ts";
import { report } from "../child/report.ts";
import type { Probe } from "../base/probe.ts";
import type { Handler } from "./app.ts";

/** The realm's own: an app may put another class in its place. */
const { Request } = globalThis;

/** How long all requests that only warm up may take together, in ms. */
const WARM_UP_MS = 5_000;

/** How much of an answer is read, and how much of it is told. */
const MAX_BODY_BYTES = 1_048_576;
const TOLD_CHARS = 200;

const USER_AGENT = `Holdfast-Probe/${VERSION}`;

/** Whose requests they are, for the app. */
const REMOTE = { transport: "tcp", hostname: "127.0.0.1", port: 0 } as const;

interface Answer {
  readonly status: number;
  /** The first bytes of its body. */
  readonly text: string;
}

export interface ProbeOptions {
  readonly handler: Handler;
  /** Of the first listener, as in the config. */
  readonly address: string;
  readonly secure: boolean;
  readonly probes: readonly Probe[];
  readonly warmUp: readonly string[];
}

/**
 * Warms the app up, then probes it.
 *
 * @throws {Error} for the first probe that is not answered as it should be
 */
export async function probeApp(options: ProbeOptions): Promise<void> {
  const { probes, warmUp } = options;
  const endMs = performance.now() + WARM_UP_MS;
  for (const [index, path] of warmUp.entries()) {
    const timeoutMs = endMs - performance.now();
    if (timeoutMs <= 0) {
      report(`The warm-up has taken ${WARM_UP_MS} ms: ${warmUp.length - index} paths are left out`);
      break;
    }
    await ask(options, { path, timeoutMs, headers: {} }).catch((error: Error) => {
      report(`The warm-up of ${path} failed: ${error.message}`);
    });
  }
  for (const probe of probes) {
    for (let time = 1; time <= probe.times; time++) await check(options, probe, time);
  }
}

async function check(options: ProbeOptions, probe: Probe, time: number): Promise<void> {
  const startMs = performance.now();
  const which = `reload.probe: GET ${probe.path}${
    probe.times > 1 ? ` (${time} of ${probe.times})` : ""
  }`;
  const after = () => `after ${Math.round(performance.now() - startMs)} ms`;
  const { status, text } = await ask(options, probe).catch((error) => {
    throw new Error(
      `${which} failed ${after()}: ${error instanceof Error ? error.message : error}`,
    );
  });
  const isGood = probe.status.length === 0
    ? status >= 200 && status < 300
    : probe.status.includes(status);
  if (isGood) return;
  const wanted = probe.status.length === 0 ? "200 to 299" : probe.status.join(" or ");
  const said = escapeUntrusted(text, TOLD_CHARS);
  throw new Error(`${which} was answered with ${status} ${after()}, not with ${wanted}: ${said}`);
}

type Asked = Pick<Probe, "path" | "timeoutMs" | "headers">;

async function ask(options: ProbeOptions, asked: Asked): Promise<Answer> {
  const late = new AbortController();
  const timer = setTimeout(
    () => late.abort(new Error(`no whole answer within ${Math.round(asked.timeoutMs)} ms`)),
    asked.timeoutMs,
  );
  const { promise: never, reject } = Promise.withResolvers<never>();
  late.signal.addEventListener("abort", () => reject(late.signal.reason), { once: true });
  const { handler } = options;
  const answering = handler.kind === "node"
    ? askNode(handler.server, options, asked, late.signal)
    : askFetcher(handler.fetcher, options, asked, late.signal);
  answering.catch(() => {});
  try {
    return await Promise.race([answering, never]);
  } finally {
    clearTimeout(timer);
  }
}

/** The headers of a request, and the host that it is for. */
function headersOf({ address }: ProbeOptions, { headers }: Asked) {
  const names = Object.fromEntries(
    Object.entries(headers).map(([name, value]) => [name.toLowerCase(), value]),
  );
  const own = address.startsWith("unix:") || address.startsWith("systemd") ? "localhost" : address;
  return { "user-agent": USER_AGENT, ...names, host: names.host ?? own };
}

async function askFetcher(
  fetcher: Extract<Handler, { kind: "fetch" }>["fetcher"],
  options: ProbeOptions,
  asked: Asked,
  signal: AbortSignal,
): Promise<Answer> {
  const { host, ...headers } = headersOf(options, asked);
  const url = `${options.secure ? "https" : "http"}://${host}${asked.path}`;
  const done = Promise.withResolvers<void>();
  const request = new Request(url, { headers: { ...headers, host }, signal });
  try {
    const response = await fetcher.fetch(request, { remoteAddr: REMOTE, completed: done.promise });
    return { status: response.status, text: await readStart(response) };
  } finally {
    done.resolve();
  }
}

/** Reads an answer to its end, or to where it is long enough. */
async function readStart({ body }: Response): Promise<string> {
  let [read, text] = [0, ""];
  const decoder = new TextDecoder();
  for await (const chunk of body ?? []) {
    if (text.length < TOLD_CHARS) text += decoder.decode(chunk.subarray(0, 4 * TOLD_CHARS));
    read += chunk.byteLength;
    if (read > MAX_BODY_BYTES) break;
  }
  return text;
}

/** By a connection of its own that no socket belongs to. */
function askNode(
  server: http.Server,
  options: ProbeOptions,
  asked: Asked,
  signal: AbortSignal,
): Promise<Answer> {
  const { promise, resolve, reject } = Promise.withResolvers<Answer>();
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  const end = () => {
    const [head = "", ...body] = Buffer.concat(chunks).toString("latin1").split("\r\n\r\n");
    const status = Number(/^HTTP\/1\.[01] (\d{3})/.exec(head)?.[1]);
    if (status) resolve({ status, text: body.join("\r\n\r\n") });
    else reject(new Error("the app closed the connection"));
    connection.destroy();
  };
  const connection = new Duplex({
    read: () => {},
    write: (chunk: Uint8Array, _encoding, done) => {
      chunks.push(chunk);
      bytes += chunk.byteLength;
      done();
      if (bytes > MAX_BODY_BYTES) end();
    },
  });
  Object.assign(connection, { remoteAddress: REMOTE.hostname, remotePort: REMOTE.port });
  connection.on("finish", end);
  connection.on("close", end);
  connection.on("error", reject);
  signal.addEventListener("abort", () => connection.destroy(), { once: true });
  server.emit("connection", connection);
  // In 1.0 a body has no pieces with their lengths.
  const headers = Object.entries({ ...headersOf(options, asked), connection: "close" })
    .map(([name, value]) => `${name}: ${value}\r\n`);
  connection.push(`GET ${asked.path} HTTP/1.0\r\n${headers.join("")}\r\n`);
  return promise;
}
