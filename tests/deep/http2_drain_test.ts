/** What is in flight on one connection of HTTP/2 at a reload: without TLS, and over it. */
import { assert, assertEquals } from "@std/assert";
import { Buffer } from "node:buffer";
import http2 from "node:http2";
import { Authority } from "../harness/certificates.ts";
import { testWith } from "../harness/needs.ts";
import { Server } from "../harness/server.ts";
import { createTlsProject } from "../harness/tls.ts";
import { sleep, until } from "../harness/wait.ts";

const PIECES = 30;
const EVERY_MS = 100;

const APP = `
const VERSION = "one";
const encoder = new TextEncoder();
/** Sends so many pieces, one after the other. */
function drip(count) {
  let sent = 0;
  return new ReadableStream({
    async pull(controller) {
      await new Promise((resolve) => setTimeout(resolve, ${EVERY_MS}));
      if (sent++ === count) controller.close();
      else controller.enqueue(encoder.encode("data: x\\n\\n"));
    },
  });
}
export default {
  async fetch(request) {
    const { pathname } = new URL(request.url);
    const headers = { version: VERSION };
    if (pathname === "/echo") return new Response(request.body, { headers });
    if (pathname === "/late") return new Response((await request.bytes()).length + "", { headers });
    if (pathname === "/stream") return new Response(drip(${PIECES}), { headers });
    if (pathname === "/slow") await new Promise((resolve) => setTimeout(resolve, 2_000));
    if (pathname !== "/events") return new Response("slow", { headers });
    return new Response(drip(Infinity), { headers: { ...headers, "content-type": "text/event-stream" } });
  },
};
`;

/** A request on a connection, and what came of it. */
class Exchange {
  readonly stream: http2.ClientHttp2Stream;
  status: number | undefined;
  version: string | undefined;
  text = "";
  end: "whole" | "broken" | undefined;

  constructor(session: http2.ClientHttp2Session, path: string, method = "GET") {
    this.stream = session.request({ ":path": path, ":method": method }, {
      endStream: method === "GET",
    });
    this.stream.on("response", (headers) => {
      this.status = headers[":status"];
      this.version = headers.version as string;
    });
    this.stream.on("data", (piece: Uint8Array) => this.text += new TextDecoder().decode(piece));
    this.stream.on("end", () => this.end ??= "whole");
    for (const event of ["error", "aborted"]) this.stream.on(event, () => this.end ??= "broken");
    this.stream.on("close", () => this.end ??= this.stream.rstCode === 0 ? "whole" : "broken");
  }

  async ended(): Promise<string> {
    await until("its end", () => this.end);
    return `${this.status} ${this.version} ${this.end}`;
  }
}

interface Place {
  readonly url: string;
  readonly ca?: string;
}

async function checkDrain(server: Server, { url, ca }: Place): Promise<void> {
  const session = http2.connect(url, ca === undefined ? {} : { ca });
  let told = false;
  let closed = false;
  session.on("goaway", () => told = true);
  session.on("close", () => closed = true);
  session.on("error", () => {});
  await new Promise((resolve) => session.once("connect", resolve));
  const [echo, late] = ["/echo", "/late"].map((path) => new Exchange(session, path, "POST"));
  const [stream, events, slow] = ["/stream", "/events", "/slow"].map((path) =>
    new Exchange(session, path)
  );
  const half = Buffer.alloc(50_000, "a");
  for (const upload of [echo!, late!]) upload.stream.write(half);
  await until(
    "the beginning of each",
    () => echo!.text.length > 0 && stream!.text.length > 0 && events!.text.length > 0,
  );
  await server.project.write("app.ts", APP.replace(`"one"`, `"two"`));
  assertEquals((await server.reload()).outcome, "done");
  // The grace time is long over while an upload goes on.
  for (let piece = 0; piece < 10; piece++) {
    await sleep(EVERY_MS);
    for (const upload of [echo!, late!]) upload.stream.write(half);
  }
  for (const upload of [echo!, late!]) upload.stream.end(half);
  const all = await Promise.all(
    [echo!, late!, stream!, events!, slow!].map((each) => each.ended()),
  );
  assertEquals(all, Array(5).fill("200 one whole"));
  assertEquals(echo!.text.length, 12 * half.length);
  assertEquals(late!.text, String(12 * half.length));
  assertEquals(stream!.text, "data: x\n\n".repeat(PIECES));
  assert(events!.text.endsWith("data: x\n\n"), events!.text.slice(-20));
  assertEquals(slow!.text, "slow");
  await until("the end of the connection", () => closed);
  assert(told, "no GOAWAY");
  const { outcome, cut } = await server.waitFor("generation_ended");
  assertEquals([outcome, cut], ["drained", 0]);
  const next = http2.connect(url, ca === undefined ? {} : { ca });
  assertEquals(await new Exchange(next, "/slow").ended(), "200 two whole");
  next.destroy();
}

const RELOAD = { idleGraceMs: 300, drainDeadlineMs: 60_000 };

Deno.test("streams in flight on HTTP/2 end whole at a reload, and uploads survive it", async () => {
  await using server = await Server.start({ files: { "app.ts": APP }, config: { reload: RELOAD } });
  await checkDrain(server, { url: server.project.origin });
});

testWith(
  { programs: ["openssl"] },
  "streams in flight on HTTP/2 over TLS end whole at a reload, and uploads survive it",
  async () => {
    await using authority = await Authority.create();
    const { project, port } = await createTlsProject(await authority.issue(), {
      files: { "app.ts": APP },
      config: { reload: RELOAD },
    });
    await using server = await Server.startOn(project);
    await checkDrain(server, { url: `https://localhost:${port}`, ca: authority.cert });
  },
);
