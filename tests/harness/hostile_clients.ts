/** Clients that do what {@link Hostile} says, and honest ones meanwhile. */
import type { Hostile } from "./hostile_kinds.ts";
import { concat } from "./http.ts";
import { TYPE } from "./http2.ts";
import { sleep } from "./wait.ts";

export interface Place {
  readonly port: number;
  /** Trusted, in PEM: with it all goes over TLS. */
  readonly ca?: string | undefined;
  readonly alpn?: "h2" | "http/1.1";
}

/** What came of one connection. */
export interface Stayed {
  /** When the server ended it; nothing if it was there at the end. */
  readonly endedMs: number | undefined;
  /** The statuses of the answers of HTTP/1.1, in their order; or what an HTTP/2 server gave as its reason. */
  readonly answers: string[];
}

const EVERY_MS = 500;

/** What of an answer is kept. */
const KEPT_BYTES = 262_144;

/** RFC 9113, 7 */
const REASONS = [
  ...["NO_ERROR", "PROTOCOL_ERROR", "INTERNAL_ERROR", "FLOW_CONTROL_ERROR", "SETTINGS_TIMEOUT"],
  ...["STREAM_CLOSED", "FRAME_SIZE_ERROR", "REFUSED_STREAM", "CANCEL", "COMPRESSION_ERROR"],
  ...["CONNECT_ERROR", "ENHANCE_YOUR_CALM", "INADEQUATE_SECURITY", "HTTP_1_1_REQUIRED"],
];

async function connect({ port, ca, alpn = "http/1.1" }: Place, end: AbortSignal) {
  const place = { hostname: "127.0.0.1", port };
  if (ca === undefined) return await Deno.connect(place);
  const connection = await Deno.connectTls({ ...place, caCerts: [ca], alpnProtocols: [alpn] });
  const close = () => closeQuietly(connection);
  // Of a server that is busy a handshake may take for ever.
  end.addEventListener("abort", close, { once: true });
  try {
    await connection.handshake();
    return connection;
  } catch (error) {
    close();
    throw error;
  } finally {
    end.removeEventListener("abort", close);
  }
}

function closeQuietly(connection: Deno.Conn): void {
  try {
    connection.close();
  } catch {
    // It is closed.
  }
}

/** Has one client do it over one connection, until `end` aborts or the server has ended it. */
export async function molest(place: Place, hostile: Hostile, end: AbortSignal): Promise<Stayed> {
  const { first, then, everyMs = EVERY_MS, deaf } = hostile;
  const startMs = performance.now();
  let endedMs: number | undefined;
  const ended = Promise.withResolvers<void>();
  const over = () => {
    if (!end.aborted) endedMs ??= performance.now() - startMs;
    ended.resolve();
  };
  let connection: Deno.Conn;
  try {
    connection = await connect(place, end);
  } catch {
    return { endedMs: performance.now() - startMs, answers: ["no connection"] };
  }
  const kept: Uint8Array[] = [];
  let room = KEPT_BYTES;
  const close = () => {
    ended.resolve();
    closeQuietly(connection);
  };
  end.addEventListener("abort", close, { once: true });
  const reading = deaf ? undefined : (async () => {
    const buffer = new Uint8Array(65_536);
    for (let size; (size = await connection.read(buffer)) !== null;) {
      if (room > 0) kept.push(buffer.slice(0, Math.min(size, room)));
      room -= size;
    }
  })().then(over, over);
  const writing = (async () => {
    await writeAll(connection, first);
    for (let count = 0; then !== undefined && endedMs === undefined && !end.aborted; count++) {
      await Promise.race([sleep(everyMs), ended.promise]);
      await writeAll(connection, then(count));
    }
  })().catch(over);
  await ended.promise;
  if (end.aborted) close();
  end.removeEventListener("abort", close);
  // What had come before the end is read to its last byte; who is cut while it writes reads on.
  await Promise.race([Promise.all([reading, writing]), sleep(EVERY_MS)]);
  close();
  await Promise.all([reading, writing]);
  return { endedMs, answers: readAnswers(concat(kept), place) };
}

async function writeAll(connection: Deno.Conn, bytes: Uint8Array): Promise<void> {
  for (let sent = 0; sent < bytes.length;) sent += await connection.write(bytes.subarray(sent));
}

function readAnswers(bytes: Uint8Array, { alpn }: Place): string[] {
  if (alpn !== "h2") {
    const text = new TextDecoder("latin1").decode(bytes);
    return [...text.matchAll(/HTTP\/1\.[01] (\d{3})/g)].map(([, status]) => status!);
  }
  const reasons: string[] = [];
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  for (let at = 0; at + 17 <= bytes.length; at += 9 + (view.getUint32(at) >>> 8)) {
    if (view.getUint8(at + 3) !== TYPE.goAway) continue;
    reasons.push(REASONS[view.getUint32(at + 13)] ?? "GOAWAY");
  }
  return reasons.slice(-1);
}

/** So many clients of a kind, each with as many connections as its kind has. */
export async function besiege(
  place: Place,
  hostile: Hostile,
  clients: number,
  end: AbortSignal,
): Promise<Stayed[]> {
  const count = clients * (hostile.connections ?? 1);
  return await Promise.all(Array.from({ length: count }, () => molest(place, hostile, end)));
}

/** What honest clients noticed. */
export interface Noticed {
  readonly ms: number[];
  readonly failed: string[];
}

/** One that asks every now and then, on a connection of its own each time or on one that stays. */
export async function beHonest(
  { port, ca }: Place,
  connections: "new" | "kept",
  end: AbortSignal,
): Promise<Noticed> {
  const ms: number[] = [];
  const failed: string[] = [];
  using client = Deno.createHttpClient({
    ...ca !== undefined && { caCerts: [ca] },
    ...connections === "new" && { poolMaxIdlePerHost: 0 },
  });
  const url = `${ca === undefined ? "http" : "https"}://127.0.0.1:${port}/`;
  while (!end.aborted) {
    const startMs = performance.now();
    try {
      const signal = AbortSignal.timeout(30_000);
      const response = await fetch(url, {
        client,
        signal,
        method: "POST",
        body: "x".repeat(1_000),
      });
      const text = await response.text();
      if (response.status === 200 && text === "1000") ms.push(performance.now() - startMs);
      else failed.push(`${response.status} ${text.slice(0, 100)}`);
    } catch (error) {
      const { message, cause } = error as Error;
      failed.push(`${message}: ${cause} after ${Math.round(performance.now() - startMs)} ms`);
    }
    await sleep(50);
  }
  return { ms, failed };
}

/** The first bytes of a client of TLS: a whole ClientHello. */
export async function recordHello(): Promise<Uint8Array> {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const { port } = listener.addr as Deno.NetAddr;
  const client = Deno.connectTls({ hostname: "127.0.0.1", port });
  using connection = await listener.accept();
  const dialled = await client;
  const shaking = dialled.handshake().catch(() => {});
  const buffer = new Uint8Array(16_384);
  const size = await connection.read(buffer);
  dialled.close();
  await shaking;
  return buffer.slice(0, size!);
}

/** Shakes hands again and again, each time for another name, and goes. */
export async function shakeHands(
  { port }: Place,
  ca: string,
  name: (count: number) => string,
  end: AbortSignal,
): Promise<number> {
  let count = 0;
  for (; !end.aborted; count++) {
    try {
      const connection = await Deno.connect({ hostname: "127.0.0.1", port });
      const secured = await Deno.startTls(connection, { hostname: name(count), caCerts: [ca] });
      try {
        await secured.handshake();
      } finally {
        secured.close();
      }
    } catch {
      // Nobody has a certificate for most of the names.
    }
  }
  return count;
}

/** Asks for new keys again and again in TLS 1.2, by openssl; how long it was let. */
export async function renegotiate({ port }: Place, end: AbortSignal): Promise<Stayed> {
  const startMs = performance.now();
  const child = new Deno.Command("openssl", {
    args: ["s_client", "-tls1_2", "-connect", `127.0.0.1:${port}`],
    stdin: "piped",
    stdout: "piped",
    stderr: "null",
  }).spawn();
  const stop = () => child.kill("SIGKILL");
  end.addEventListener("abort", stop, { once: true });
  const output = child.stdout.bytes();
  const writer = child.stdin.getWriter();
  try {
    for (;;) {
      await writer.write(new TextEncoder().encode("R\n"));
      await sleep(100);
    }
  } catch {
    // It has ended.
  }
  await writer.close().catch(() => {});
  await child.status;
  await output;
  end.removeEventListener("abort", stop);
  return { endedMs: end.aborted ? undefined : performance.now() - startMs, answers: [] };
}
