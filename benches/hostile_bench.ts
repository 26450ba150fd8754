/**
 * Slow and greedy clients against Deno's own server and against Holdfast: how long each stays, and what
 * honest clients notice. Holdfast's times are set to five seconds, so that a run is short.
 *
 *     deno run -A benches/hostile_bench.ts [--seconds 20] [--each 20]
 */
import { parseArgs } from "@std/cli";
import { join } from "node:path";
import { formatRequest } from "../tests/harness/http.ts";
import { freePort } from "../tests/harness/ports.ts";
import { Project } from "../tests/harness/project.ts";
import { Server } from "../tests/harness/server.ts";
import { countOf, medianOf, print, printTable } from "./figures.ts";

const args = parseArgs(Deno.args, {
  string: ["seconds", "each"],
  default: { seconds: "20", each: "20" },
});
const seconds = countOf(args.seconds, "seconds");
const each = countOf(args.each, "each");
const HONEST = 20;
const LIMIT_MS = 5_000;

const APP = `
export default {
  async fetch(request) {
    const { pathname } = new URL(request.url);
    if (pathname === "/large") return new Response(new Uint8Array(32_000_000));
    if (pathname === "/stream") {
      return new Response(new ReadableStream({ pull: (c) => c.enqueue(new Uint8Array(100_000)) }));
    }
    return new Response(request.method === "POST" ? String((await request.arrayBuffer()).byteLength) : "here");
  },
};
`;

const bytes = (text: string) => new TextEncoder().encode(text);
const upload = (headers: Record<string, string>) => formatRequest("/", { method: "POST", headers });

/** What a client sends at first, and then each half a second; whether it reads. */
const HOSTILE: Record<string, { first: Uint8Array; then?: Uint8Array; deaf?: true }> = {
  "silence": { first: bytes("") },
  "half a request line": { first: bytes("GET / HT") },
  "half a head": { first: bytes("GET / HTTP/1.1\r\nhost: a\r\nx-a: ") },
  "a head in drips": { first: bytes("GET / HTTP/1.1\r\nhost: a\r\n"), then: bytes("x-b: y\r\n") },
  "half a preface of HTTP/2": { first: bytes("PRI * HTTP/2.0\r\n") },
  "a body that never comes": { first: upload({ "content-length": "100000" }) },
  "a body in drips": { first: upload({ "content-length": "100000" }), then: bytes("x") },
  "chunks in drips": {
    first: upload({ "transfer-encoding": "chunked" }),
    then: bytes("1\r\nx\r\n"),
  },
  "idle after an answer": { first: formatRequest("/") },
  "takes nothing of 32 MB": { first: formatRequest("/large"), deaf: true },
  "takes nothing of a stream": { first: formatRequest("/stream"), deaf: true },
};

/** How long a connection stays, in seconds; nothing if it was there at the end. */
async function stay(port: number, { first, then, deaf }: typeof HOSTILE[string], endMs: number) {
  const connection = await Deno.connect({ hostname: "127.0.0.1", port });
  const startMs = performance.now();
  let ended: number | undefined;
  const end = () => ended ??= (performance.now() - startMs) / 1_000;
  const write = (data: Uint8Array) => connection.write(data).catch(end);
  if (first.length > 0) await write(first);
  const buffer = new Uint8Array(65_536);
  if (!deaf) {
    (async () => {
      while (await connection.read(buffer) !== null);
    })().then(end, end);
  }
  while (performance.now() < endMs && ended === undefined) {
    if (then !== undefined) await write(then);
    await new Promise((resolve) => setTimeout(resolve, 500));
    // Who does not read learns of the end by what is written.
    if (deaf) await write(bytes("G"));
  }
  const stayed = ended;
  connection.close();
  return stayed;
}

async function honest(origin: string, endMs: number): Promise<{ ms: number[]; failed: number }> {
  const ms: number[] = [];
  let failed = 0;
  while (performance.now() < endMs) {
    const startMs = performance.now();
    try {
      await (await fetch(origin, { method: "POST", body: "x".repeat(1_000) })).text();
      ms.push(performance.now() - startMs);
    } catch {
      failed++;
    }
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  return { ms, failed };
}

async function besiege(port: number) {
  const endMs = performance.now() + seconds * 1_000;
  const clients = Array.from({ length: HONEST }, () => honest(`http://127.0.0.1:${port}/`, endMs));
  const kinds = Object.entries(HOSTILE).map(async ([what, hostile]) => {
    const all = Array.from({ length: each }, () => stay(port, hostile, endMs));
    const stayed = (await Promise.all(all)).map((one) => one ?? Infinity);
    return [
      what,
      stayed.every(Number.isFinite) ? `cut after ${medianOf(stayed).toFixed(0)} s` : "open",
    ];
  });
  const ends = Object.fromEntries(await Promise.all(kinds));
  const answers = await Promise.all(clients);
  const times = answers.flatMap(({ ms }) => ms).sort((a, b) => a - b);
  const failed = answers.reduce((sum, each) => sum + each.failed, 0);
  const p99 = times[Math.floor(times.length * 0.99)]!;
  return { ends, honest: `${times.length} answered, ${failed} failed, p99 ${p99.toFixed(0)} ms` };
}

const project = await Project.create({
  files: { "app.ts": APP },
  config: {
    http: {
      ...{ headerTimeoutMs: LIMIT_MS, bodyTimeoutMs: LIMIT_MS, sendTimeoutMs: LIMIT_MS },
      keepAliveTimeoutMs: LIMIT_MS,
    },
  },
});
const results: Record<string, Awaited<ReturnType<typeof besiege>>> = {};
{
  const port = freePort();
  const code = `import app from ${JSON.stringify(join(project.folder, "app.ts"))};
Deno.serve({ port: ${port}, hostname: "127.0.0.1" }, app.fetch);`;
  await project.write("bare.ts", code);
  const bare = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", project.path("bare.ts")],
    stdout: "null",
    stderr: "null",
  }).spawn();
  while (!await fetch(`http://127.0.0.1:${port}/`).then((it) => it.text()).catch(() => false)) {
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  results["Deno.serve"] = await besiege(port);
  bare.kill("SIGKILL");
  await bare.status;
}
{
  await using _server = await Server.startOn(project);
  results["Holdfast"] = await besiege(project.port);
}
printTable([
  ...Object.keys(HOSTILE).map((client) => ({
    client,
    ...Object.fromEntries(Object.entries(results).map(([who, { ends }]) => [who, ends[client]])),
  })),
  {
    client: `${HONEST} honest clients meanwhile`,
    ...Object.fromEntries(Object.entries(results).map(([who, { honest }]) => [who, honest])),
  },
]);
print(`\n${each} of each, watched for ${seconds} s; Holdfast's times are ${LIMIT_MS / 1_000} s`);
