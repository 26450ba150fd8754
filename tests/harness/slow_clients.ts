/** Slow clients, and an app that shows what became of what they asked. */
import { formatRequest, type Wire } from "./http.ts";
import type { Server } from "./server.ts";
import { PATIENCE_MS, sleep, until } from "./wait.ts";

/** Answers by what is asked for; `/seen` says how many requests with a body it was given. */
export const LIMITED_APP = `
let seen = 0;
export default {
  async fetch(request, info) {
    const { pathname } = new URL(request.url);
    if (request.method === "POST") seen++;
    if (pathname === "/seen") return new Response(String(seen));
    if (pathname === "/buffer") return new Response(String((await request.arrayBuffer()).byteLength));
    if (pathname === "/copy") return new Response(String((await new Request(request).text()).length));
    if (pathname === "/pieces") {
      let bytes = 0;
      for await (const piece of request.body) bytes += piece.length;
      return new Response(String(bytes));
    }
    if (pathname === "/caught") {
      return await request.text().then(() => new Response("whole"), ({ status, message }) =>
        new Response(status + " " + message, { status: 418 }));
    }
    if (pathname === "/large") return new Response(new Uint8Array(32_000_000));
    if (pathname === "/stream") {
      return new Response(new ReadableStream({
        pull(controller) { controller.enqueue(new Uint8Array(100_000)); },
      }));
    }
    if (pathname === "/wait") await new Promise((resolve) => setTimeout(resolve, 4_000));
    if (pathname === "/socket") {
      const { socket, response } = Deno.upgradeWebSocket(request);
      socket.addEventListener("message", ({ data }) => socket.send(data));
      return response;
    }
    return new Response("here");
  },
};
`;

/** How often each limit has acted on the only worker's clients, once `settled` says so. */
export async function limitedWhen(
  server: Server,
  settled: (limited: Record<string, number | undefined>) => boolean,
) {
  let last = {};
  try {
    return await until("the limits to have acted", async () => {
      last = (await server.status()).generations[0]?.workers[0]?.process?.limited ?? {};
      return settled(last) ? last as Record<string, number> : undefined;
    });
  } catch (error) {
    throw new Error(`${(error as Error).message}: ${JSON.stringify(last)}`);
  }
}

/** The head of a request with a body of so many bytes. */
export const post = (path: string, bytes: number) =>
  formatRequest(path, { method: "POST", headers: { "content-length": String(bytes) } });

/** Reads whatever comes; whether the server has ended the connection, and not the reader's patience. */
export async function endsAfterAll(wire: Wire): Promise<boolean> {
  const endMs = performance.now() + PATIENCE_MS;
  while (performance.now() < endMs) {
    const how = await wire.ended().catch(() => "late");
    if (how !== "more") return how !== "late";
  }
  return false;
}

/** Sends a piece again and again, until the server has ended the connection; whether it has. */
export async function drip(wire: Wire, piece: Uint8Array): Promise<boolean> {
  let ended = false;
  const end = endsAfterAll(wire).finally(() => ended = true);
  while (!ended) {
    await wire.write(piece).catch(() => {});
    await sleep(100);
  }
  return await end;
}

/** Each is cut, whatever it does: by what it sends at first, and then again and again. */
export const SLOW: readonly [
  what: string,
  kind: string,
  first: Uint8Array | string,
  then?: string,
][] = [
  ["silence", "headerTimeoutMs", ""],
  ["half a head", "headerTimeoutMs", "GET / HTTP/1.1\r\nhost: a\r\nx-a: "],
  ["a head in drips", "headerTimeoutMs", "GET / HTTP/1.1\r\nhost: a\r\n", "x-b: y\r\n"],
  ["a body that never comes", "bodyTimeoutMs", post("/buffer", 100_000)],
  ["a body in drips", "minBytesPerSecond", post("/buffer", 100_000), "x"],
  ["pieces of a body in drips", "minBytesPerSecond", post("/pieces", 100_000), "x"],
  ["a copy of a request in drips", "minBytesPerSecond", post("/copy", 100_000), "x"],
  [
    "chunks in drips",
    "minBytesPerSecond",
    formatRequest("/pieces", { method: "POST", headers: { "transfer-encoding": "chunked" } }),
    "1\r\nx\r\n",
  ],
];
